"""Arrays from files: sizes are known before memory is spent, and nothing is unpickled."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from models.advisor.inputs import arrays
from models.advisor.inputs.arrays import GIB, MemoryLimit, chunks_of, read_npy, read_npz, read_torch

LIMIT = MemoryLimit(0.001)
ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def header_alone(shape, path, dtype="<f8"):
    """A .npy file that announces an array and does not hold it."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return path


def test_plain_arrays_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(ROWS))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy", LIMIT), ROWS)
    np.savez_compressed(tmp_path / "a.npz", embeddings=ROWS, labels=np.array(["b", "a"] * 3))
    found = read_npz(tmp_path / "a.npz", LIMIT)
    np.testing.assert_array_equal(found["embeddings"], ROWS)
    assert found["labels"].tolist() == ["b", "a"] * 3
    torch.save(torch.from_numpy(ROWS).bfloat16(), tmp_path / "a.pt")
    np.testing.assert_allclose(read_torch(tmp_path / "a.pt", LIMIT), ROWS, rtol=0.01)
    torch.save({"embeddings": torch.from_numpy(ROWS), "labels": torch.arange(6)}, tmp_path / "b.pt")
    assert read_torch(tmp_path / "b.pt", LIMIT)["labels"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_mapped_array_takes_no_memory(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    assert isinstance(read_npy(tmp_path / "a.npy", LIMIT), np.memmap)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_in_chunks_keep_no_mapping(tmp_path, monkeypatch, order):
    monkeypatch.setattr(arrays, "CHUNK", 4)
    np.save(tmp_path / "a.npy", np.asarray(ROWS, order=order))
    mapped = read_npy(tmp_path / "a.npy", LIMIT)
    for rows in (mapped, mapped[1:], np.asarray(mapped), mapped[[5, 0]]):
        found = list(chunks_of(rows))
        assert [start for start, _ in found] == list(range(0, len(rows), 4))
        np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows)
        assert {(type(part), part.dtype.name) for _, part in found} == {(np.ndarray, "float64")}


def test_objects_are_refused_and_never_unpickled(tmp_path):
    objects = np.array([Bomb(), Bomb()], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", embeddings=objects)
    torch.save({"embeddings": Bomb()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Bomb()))
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(ValueError, match=r"holds Python objects.*np\.save"):
            read(tmp_path / name, LIMIT)
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match="not a file of tensors alone, so it is not read"):
            read_torch(tmp_path / name, LIMIT)


def test_a_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """A few kilobytes that expand to gigabytes: the zip directory says so."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", bytes(2**21))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=r"takes 0\.0 GiB once read, more than the limit of 0\.001 GiB"):
        read_npz(tmp_path / "bomb.npz", LIMIT)


def test_a_header_that_lies_is_refused(tmp_path):
    """Neither the file nor the directory holds what the header of the array announces."""
    path = header_alone((10**6, 10**6), tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"takes .* GiB once read"):
        read_npy(path, LIMIT)
    small = header_alone((4, 4), tmp_path / "b.npy")
    with pytest.raises(ValueError, match="announces 128 bytes, the file holds 0; it is damaged"):
        read_npy(small, LIMIT)
    for source in (path, small):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(source, "embeddings.npy")
        with pytest.raises(ValueError, match=r"announces .* bytes, the archive 0; it is damaged"):
            read_npz(tmp_path / "a.npz", LIMIT)


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch.save(torch.zeros(1).expand(2**20, 512), tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"takes 2\.0 GiB once read"):
        read_torch(tmp_path / "a.pt", LIMIT)
    torch.save({"embeddings": [1, 2]}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match="expected one tensor or a dictionary of tensors, got dict"):
        read_torch(tmp_path / "b.pt", LIMIT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rows: rows.to_sparse(), "expected a plain tensor, got one that is sparse_coo"),
        (lambda rows: rows.to_sparse_csr(), "expected a plain tensor, got one that is sparse_csr"),
        (
            lambda rows: torch.quantize_per_tensor(rows, 0.1, 0, torch.quint8),
            "expected a plain tensor, got one that is quantized",
        ),
        (lambda rows: rows.to("meta"), r"expected a plain tensor, got one that is without numbers \(device meta\)"),
        (
            lambda rows: torch.nested.nested_tensor([rows[0], rows[1, :2]]),
            "expected a plain tensor, got one that is nested",
        ),
        (lambda rows: rows.to(torch.complex32), r"holds torch\.complex32, which NumPy does not have"),
    ],
    ids=["sparse", "compressed rows", "quantized", "meta", "nested", "complex32"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_arrays_are_refused(tmp_path, make, message):
    torch.save({"embeddings": make(torch.from_numpy(ROWS))}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt, embeddings: {message}"):
        read_torch(tmp_path / "a.pt", LIMIT)
    torch.save(make(torch.from_numpy(ROWS)), tmp_path / "b.pt")
    with pytest.raises(ValueError, match=rf"b\.pt: {message}"):
        read_torch(tmp_path / "b.pt", LIMIT)


def test_floats_that_numpy_lacks_are_read_as_float32(tmp_path):
    """Powers of two, which eight bits hold; the limit counts what is read, not what the file holds."""
    rows = torch.tensor([[0.5, 1.0], [-2.0, 4.0]]).repeat(500, 1)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16):
        torch.save(rows.to(dtype), tmp_path / "a.pt")
        found = read_torch(tmp_path / "a.pt", LIMIT)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, rows)
        assert (tmp_path / "a.pt").stat().st_size < 7500
        with pytest.raises(ValueError, match="more than the limit"):
            read_torch(tmp_path / "a.pt", MemoryLimit(7500 / GIB))


def test_what_is_no_array_is_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"not an array")
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    cut = io.BytesIO()
    np.savez(cut, embeddings=ROWS)
    (tmp_path / "b.npz").write_bytes(cut.getvalue()[:-40])
    np.save(tmp_path / "c.npy", np.array([(1, 2.0)], dtype="i4,f8"))
    np.save(tmp_path / "d.npy", ROWS.astype(complex))
    with pytest.raises(ValueError, match=r"not a whole .npy array"):
        read_npy(tmp_path / "a.npy", LIMIT)
    for name in "ab":
        with pytest.raises(ValueError, match=r"not a whole .npz file"):
            read_npz(tmp_path / f"{name}.npz", LIMIT)
    for name in "cd":
        with pytest.raises(ValueError, match="expected numbers, or text for labels"):
            read_npy(tmp_path / f"{name}.npy", LIMIT)


def test_the_limit_counts_bytes():
    MemoryLimit(1).require(GIB, "a")
    with pytest.raises(ValueError, match=r"^a: .*--memory-limit"):
        MemoryLimit(1).require(GIB + 1, "a")

"""Arrays in .npy, .npz and .pt files. Nothing is ever unpickled, and sizes are known before memory is spent."""

import math
import mmap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

GIB = 2**30
# Rows worked on together: a set that is mapped from a file is never in memory as a whole.
CHUNK = 4096
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class MemoryLimit:
    """How much memory the arrays of a run may take together.

    Args:
        gibibytes: positive.
    """

    def __init__(self, gibibytes: float) -> None:
        self.bytes = int(gibibytes * GIB)

    def require(self, size: int, what: str) -> None:
        """Refuse what does not fit.

        Raises:
            ValueError: names the array, its size and the limit.
        """
        if size > self.bytes:
            raise ValueError(
                f"{what}: takes {size / GIB:,.1f} GiB once read, more than the limit of {self.bytes / GIB:.3g} GiB "
                "(--memory-limit)"
            )


def read_npy(path: Path, limit: MemoryLimit) -> np.ndarray:
    """The array of a .npy file, mapped rather than read, so that only the rows in use take memory.

    Raises:
        ValueError: not a .npy file, an object array, or one whose size the file does not have.
    """
    with open(path, "rb") as file:
        dtype, shape, fortran = _header(file, str(path))
        start = file.tell()
    _require_plain(dtype, str(path))
    size = math.prod(shape) * dtype.itemsize
    limit.require(size, str(path))
    held = path.stat().st_size - start
    if size != held:
        raise ValueError(f"{path}: its header announces {size:,} bytes, the file holds {held:,}; it is damaged")
    if size == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def text_array(texts: list[str], limit: MemoryLimit, what: str) -> np.ndarray:
    """Labels (N,) as NumPy keeps text: every one padded to the longest, four bytes a character.

    Raises:
        ValueError: they then exceed the limit, whatever they take in the file.
    """
    longest = max(map(len, texts), default=0)
    limit.require(4 * longest * len(texts), f"{what}: labels, each padded to the longest of {longest:,} characters")
    return np.array(texts, dtype=np.str_)


def chunks_of(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and float64 copy of a few thousand rows at a time; of a mapped file through a mapping of its own, whose
    pages are given back at the end."""
    if isinstance(rows, np.memmap) and isinstance(rows.base, mmap.mmap):
        order = "C" if rows.flags.c_contiguous else "F"
        rows = np.memmap(rows.filename, rows.dtype, "r", rows.offset, rows.shape, order)
    for start in range(0, len(rows), CHUNK):
        yield start, np.array(rows[start : start + CHUNK], dtype=np.float64)


def read_npz(path: Path, limit: MemoryLimit) -> dict[str, np.ndarray]:
    """All arrays of a .npz file. The zip directory and every array's header are held against the limit first.

    Raises:
        ValueError: not a .npz file, one that expands beyond the limit, object arrays, a damaged member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            limit.require(sum(member.file_size for member in members), str(path))
            return {member.filename[:-4]: _read_member(archive, member, path) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole .npz file ({error})") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    name = f"{path}, {member.filename}"
    with archive.open(member) as file:
        dtype, shape, _ = _header(file, name)
        _require_plain(dtype, name)
        size, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    if size != held:
        raise ValueError(f"{name}: its header announces {size:,} bytes, the archive {held:,}; it is damaged")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


@runtime_checkable
class Readable(Protocol):
    """What bytes can be read from, such as a file or an archive's member."""

    def read(self, size: int = -1, /) -> bytes: ...


def _header(file: Readable, name: str) -> tuple[np.dtype, tuple[int, ...], bool]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in READ_HEADER:
            raise ValueError(f"format {version} holds no plain numbers")
        shape, fortran, dtype = READ_HEADER[version](file)
    except ValueError as error:
        raise ValueError(f"{name}: not a whole .npy array ({str(error).splitlines()[0]})") from error
    return dtype, shape, fortran


def _require_plain(dtype: np.dtype, name: str) -> None:
    if dtype.hasobject:
        raise ValueError(
            f"{name}: holds Python objects, which would have to be unpickled and could run any code; store plain "
            "numbers: np.save(file, np.asarray(values, dtype=np.float32))"
        )
    if dtype.kind not in "fiubUS":
        raise ValueError(f"{name}: expected numbers, or text for labels, got dtype {dtype}")


def read_torch(path: Path, limit: MemoryLimit) -> dict[str, np.ndarray] | np.ndarray:
    """A .pt file of one tensor, or of a dictionary of tensors, read with ``weights_only``; floats that NumPy does not
    have (bfloat16, float8) as float32.

    Raises:
        ValueError: anything but tensors is in it, one is no plain array (sparse, quantized, nested, on no device), or
            it expands beyond the limit.
    """
    limit.require(path.stat().st_size, str(path))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            limit.require(sum(member.file_size for member in archive.infolist()), str(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; all of them say that the file is not one of tensors
        raise ValueError(
            f"{path}: not a file of tensors alone, so it is not read (unpickling could run any code); store them with "
            f"torch.save(tensor, file) or as .npy ({str(error).splitlines()[0][:120]})"
        ) from error
    tensors = {"": content} if isinstance(content, torch.Tensor) else content
    if not isinstance(tensors, dict) or not all(isinstance(each, torch.Tensor) for each in tensors.values()):
        raise ValueError(f"{path}: expected one tensor or a dictionary of tensors, got {type(content).__name__}")
    names = {key: str(path) if isinstance(content, torch.Tensor) else f"{path}, {key}" for key in tensors}
    for key, tensor in tensors.items():
        _require_dense(tensor, names[key])
    # A tensor may be a view that repeats one stored number.
    limit.require(sum(each.numel() * each.element_size() for each in tensors.values()), str(path))
    limit.require(sum(4 * each.numel() for each in tensors.values() if _widens(each)), str(path))
    arrays = {str(key): _as_array(each, names[key]) for key, each in tensors.items()}
    return arrays[""] if isinstance(content, torch.Tensor) else arrays


def _require_dense(tensor: torch.Tensor, name: str) -> None:
    kind = (
        "nested" if tensor.is_nested else "quantized" if tensor.is_quantized
        else "without numbers (device meta)" if tensor.is_meta
        else str(tensor.layout).removeprefix("torch.") if tensor.layout is not torch.strided else ""
    )  # fmt: skip
    if kind:
        raise ValueError(f"{name}: expected a plain tensor, got one that is {kind}; store tensor.to_dense(), or "
                         "tensor.dequantize()")  # fmt: skip


def _widens(tensor: torch.Tensor) -> bool:
    """Whether NumPy lacks these floats, so that they are read as ones of four bytes."""
    return tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)


def _as_array(tensor: torch.Tensor, name: str) -> np.ndarray:
    tensor = tensor.detach()
    try:
        plain = tensor.float() if _widens(tensor) else tensor
        return plain.resolve_conj().resolve_neg().contiguous().numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name}: holds {tensor.dtype}, which NumPy does not have; store tensor.float()") from error

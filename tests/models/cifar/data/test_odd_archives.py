"""Archives as people and programs make them: links, separators, sizes that headers claim, damage between members."""

import gzip
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

import models.cifar.data.limits
import models.cifar.data.sources
from models.cifar.data.image_folder import load_image_folder
from tests.models.cifar.data.image_files import encoded, random_pixels, write
from tests.models.cifar.data.test_odd_folders import BASE, TWO, counts, image


def read(path, **options):
    return load_image_folder(path, None, path.parent / "cache", **options)


def add(path, name, **header):
    """One more member of a tar file, of no content."""
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        for key, value in header.items():
            setattr(info, key, value)
        archive.addfile(info)


def link(path, name, target, hard=False):
    add(path, name, type=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target)


def add_zip_link(path, name, target):
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)


FOLLOWED = {
    "beside it": {"train/a/x.png": "0.png"},
    "in another folder": {"train/a/x.png": "../../test/b/1.png"},
    "a chain": {"train/a/x.png": "y.txt", "train/a/y.txt": "z.txt", "train/a/z.txt": "./0.png"},
    "through a linked folder": {"train/a/x.png": "../../store/1.png", "store": "test/b"},
}


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_links_within_an_archive_are_followed(tmp_path, name, suffix):
    path = write(tmp_path, BASE, suffix)
    for where, target in FOLLOWED[name].items():
        (link if suffix == ".tar" else add_zip_link)(path, where, target)
    data = read(path)
    assert counts(data)["train"] == [3, 2]
    images = dict(zip(data.parts["train"].names(), data.parts["train"].images))
    wanted = data.parts["train"].images[0] if name in ("beside it", "a chain") else data.parts["test"].images[3]
    np.testing.assert_array_equal(images["train/a/x.png"], wanted)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_hard_links_are_images_too(tmp_path, suffix):
    """Read in the order in which their content lies: backwards, a compressed archive would be read once for each."""
    plain = write(tmp_path, BASE, ".tar")
    for i in range(2, 8):
        link(plain, f"train/a/{i}.png", "train/a/0.png", hard=True)
    path = plain
    if suffix != ".tar":
        path = tmp_path / f"packed{suffix}"
        with tarfile.open(plain) as source, tarfile.open(path, f"w:{suffix[5:]}") as target:
            for member in source:
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    data = read(path)
    assert counts(data) == {**TWO, "train": [8, 2]}
    for i in (0, *range(2, 8)):
        np.testing.assert_array_equal(data.parts["train"].images[i], data.parts["train"].images[0])
    with models.cifar.data.sources.open_source(path) as source:
        names = [entry.name for entry in source.files]
    assert names.index("train/a/7.png") < names.index("train/a/1.png")


LEFT = {
    "absolute": ("train/a/x.png", "/etc/hostname", "is a link out of the archive"),
    "above the top": ("train/a/x.png", "../../../x.png", "is a link out of the archive"),
    "to nothing": ("train/a/x.png", "9.png", "is a link to nothing"),
    "to itself": ("train/a/x.png", "x.png", "is a link that leads in a circle"),
    "to a folder": ("train/c", "b", "is a link to a folder of the archive"),
}


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_links_that_lead_nowhere_are_named(tmp_path, name, suffix):
    where, target, message = LEFT[name]
    path = write(tmp_path, BASE, suffix)
    (link if suffix == ".tar" else add_zip_link)(path, where, target)
    with pytest.raises(ValueError, match=f"{where} {message}" if where != "train/c" else "train and test has: c"):
        read(path)


def test_a_linked_class_is_named(tmp_path):
    path = write(tmp_path, BASE, ".tar")
    for part in ("train", "test"):
        link(path, f"{part}/c", "b")
    with pytest.raises(ValueError, match=r"2 images cannot be read: .*train/c is a link to a folder of the archive"):
        read(path)


def test_a_linked_part_is_named(tmp_path):
    path = write(tmp_path, {f"data/{name}": data for name, data in BASE.items() if name.startswith("train")}, ".tar")
    link(path, "train", "data/train")
    data = read(path)
    assert counts(data) == {"train": [2, 2]}


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_devices_are_not_opened(tmp_path, kind):
    path = write(tmp_path, BASE, ".tar")
    add(path, "train/a/x.png", type=kind)
    with pytest.raises(ValueError, match=r"train/a/x\.png is no regular file"):
        read(path)
    assert counts(read(path, skip_unreadable=True)) == TWO


def test_backslashes_in_a_zip_are_separators(tmp_path):
    path = write(tmp_path, {name.replace("/", "\\"): data for name, data in BASE.items()}, ".zip")
    assert counts(read(path)) == TWO
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/a/0.png", image())
    with pytest.raises(ValueError, match=r"several members of the name train/a/0\.png"):
        read(path)
    outside = write(tmp_path, {**BASE, "..\\..\\x.png": b""}, ".zip")
    with pytest.raises(ValueError, match="points outside of the archive"):
        read(outside)


def test_a_zip_by_another_name(tmp_path):
    path = write(tmp_path, BASE, ".zip").rename(tmp_path / "images.tar")
    assert counts(read(path)) == TWO
    path = write(tmp_path, BASE, ".tar.gz").rename(tmp_path / "images.tar")
    assert counts(read(path)) == TWO


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write(tmp_path, BASE, ".zip")
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"member train/a/0\.png is encrypted"):
        read(path)


def test_a_damaged_header_between_two_members_is_noticed(tmp_path):
    """Python's own reader ends there without a word, and all that follows would be lost."""
    path = write(tmp_path, dict(sorted(BASE.items(), key=lambda item: item[0].split("/")[2])), ".tar")
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        offsets = [member.offset for member in archive]
    for offset in offsets[1:]:
        path.write_bytes(whole[: offset + 150] + b"\xff" + whole[offset + 151 :])
        with tarfile.open(path) as archive:
            assert len(archive.getmembers()) < len(offsets)
        with pytest.raises(ValueError, match="no end mark"):
            read(path)


# --- sizes ------------------------------------------------------------------------------------------------------------


def peak_of(call):
    """(the error that a call ends in, the most memory that it took)."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            call()
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_member_of_a_zip_that_expands_to_gigabytes_is_not_unpacked(tmp_path):
    """Its header says so: here it says 3 GiB."""
    path = write(tmp_path, BASE, ".zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/x.bmp", bytes(2**20))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"train/a/x.bmp") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 24 : place + 28] = struct.pack("<I", 3 * 2**30)
    path.write_bytes(data)
    message, peak = peak_of(lambda: read(path))
    assert "x.bmp has 3,221,225,472 bytes, more than the 268,435,456" in message
    assert peak < 2**23


def test_a_member_that_is_larger_than_its_header_says_is_refused(tmp_path):
    path = write(tmp_path, BASE, ".zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/x.bmp", bytes(2**24))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"train/a/x.bmp") - 46
    data[place + 24 : place + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    message, peak = peak_of(lambda: read(path))
    assert "train/a/x.bmp cannot be read (Bad CRC-32" in message
    assert peak < 2**23


def headers(*members):
    """A tar file's blocks, with sizes as given instead of contents."""
    blocks = b""
    for name, size, kind in members:
        info = tarfile.TarInfo(name)
        info.size, info.type = size, kind
        blocks += info.tobuf(tarfile.GNU_FORMAT)
    return blocks


@pytest.mark.parametrize(
    ("kind", "message"), [(tarfile.GNUTYPE_LONGNAME, "a header is said to have"), (tarfile.XHDTYPE, "a header is said")]
)
def test_a_header_of_a_header_of_gigabytes_is_not_read(tmp_path, kind, message):
    path = tmp_path / "images.tar.gz"
    path.write_bytes(gzip.compress(headers(("x", 2**31, kind)) + bytes(2**16)))
    found, peak = peak_of(lambda: read(path))
    assert message in found
    assert peak < 2**23


def test_a_tar_that_claims_more_than_an_archive_may_have(tmp_path):
    path = tmp_path / "images.tar.gz"
    path.write_bytes(gzip.compress(headers(("train/a/0.png", 2**40, tarfile.REGTYPE)) + bytes(2**16)))
    found, peak = peak_of(lambda: read(path))
    assert "its members expand to more than 512 GiB" in found
    assert peak < 2**23


def test_zeros_behind_the_end_of_a_tar_are_counted(tmp_path, monkeypatch):
    path = write(tmp_path, BASE, ".tar.gz")
    with gzip.open(path, "ab") as file:
        file.write(bytes(2**22))
    assert counts(read(path)) == TWO
    monkeypatch.setattr(models.cifar.data.limits, "LARGEST_EXPANDED", 2**21)
    (tmp_path / "other").mkdir()
    path = path.rename(tmp_path / "other" / path.name)
    with pytest.raises(ValueError, match="expand to more than"):
        read(path)


def test_members_are_counted_while_they_come(tmp_path, monkeypatch):
    """The list of an archive of a million small members ends where the limit is, without its reader's own list."""
    monkeypatch.setattr(models.cifar.data.limits, "LARGEST_COUNT", 2000)
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for i in range(4000):
            archive.addfile(tarfile.TarInfo(f"train/a/{i}.png"))
    with pytest.raises(ValueError, match="more than 2,000 files and folders"):
        read(path)


def test_many_classes_take_no_square_of_time(tmp_path):
    data = encoded(random_pixels(np.random.default_rng(0), 4, 4))
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3000):
            for part in ("train", "test"):
                archive.writestr(f"{part}/{i:04}/0.png", data)
    start = time.perf_counter()
    assert len(read(path).classes) == 3000
    # A second or less; three thousand times three thousand names would take many.
    assert time.perf_counter() - start < 20


def test_a_sparse_member_is_named(tmp_path):
    """As GNU tar --sparse writes one: a header that says where its data belong."""
    path = write(tmp_path, BASE, ".tar")
    whole = path.read_bytes().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    info = tarfile.TarInfo("train/a/x.bmp")
    info.size = 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"%011o\0" % 2**31
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(whole + bytes(block) + bytes(512) + bytes(1024))
    with pytest.raises(ValueError, match=r"train/a/x\.bmp is a sparse file"):
        read(path)


def test_a_folder_that_changes_while_it_is_read_is_not_kept(tmp_path, monkeypatch):
    path = write(tmp_path, BASE)
    real = models.cifar.data.image_folder.decode

    def changing(data):
        (path / "train/a/1.png").write_bytes(image())
        return real(data)

    monkeypatch.setattr(models.cifar.data.image_folder, "decode", changing)
    with pytest.raises(ValueError, match="has changed while its images were read"):
        read(path)
    assert not list(tmp_path.glob("cache/*"))


def test_a_stream_is_read_twice_not_once_for_each(tmp_path, monkeypatch):
    """Once for the list and once for the images, in their order."""
    path = write(tmp_path, BASE, ".tar.gz")
    rewinds = []
    real = gzip.GzipFile.rewind
    monkeypatch.setattr(gzip.GzipFile, "rewind", lambda self: rewinds.append(1) or real(self))
    read(path)
    assert len(rewinds) <= 2

"""Folders and archives of image files: ``train/<class>/<file>`` and ``test/<class>/<file>`` (or ``val``), and those of
Tiny-ImageNet: ``train/<class>/images/<file>``, and ``val/images/<file>`` with a table of classes.

Archives are read where they are, member by member; nothing is unpacked to disk. Images are decoded once: the result is
kept in one file whose name holds a checksum of the source, and whose parts carry checksums of their own (zip's CRC-32).
"""

import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from theory.numerics.cache import kept

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Folders of a part, the first that is there.
PARTS = {"train": ("train",), "test": ("test", "val")}
# Images of different sizes, if no size is asked for, are brought to this one, CIFAR's.
MIXED_SIZE = 32
# Part of the key of kept files: to be raised when decoding changes, so that old files are not read.
VERSION = 1
# A broken archive can end in any of these.
READ_ERRORS = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError)

# Tiny-ImageNet keeps the images of a class one folder further down, and tells the classes of val/ in a table.
INNER, TABLE = "images", "val_annotations.txt"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Source:
    """Files of a folder or archive, by relative names in the order in which they are best read, and its folders."""

    files: list[str]
    folders: list[str]
    read: Callable[[str], bytes]


def load_image_folder(path: Path, image_size: int | None, cache: Path) -> tuple[Arrays, tuple[str, ...]]:
    """Decoded images, from ``cache`` if they are there.

    Gray, palette, CMYK and other 8-bit images become RGB; transparency is dropped. Where a size is asked for, the
    largest square in the middle of an image is resized to it (bicubic, with antialiasing). Files that do not end as
    images do, and hidden ones, are passed over. The order is that of the sorted names.

    Args:
        path: a folder, or an archive (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip), which may hold everything in one folder.
        image_size: height and width; None keeps the size that all images have, and takes 32 if they differ.
        cache: folder for what was decoded.

    Returns:
        train_images and test_images, uint8 (N, 3, H, W); train_labels and test_labels, int64 (N,); the sorted names of
        the classes.

    Raises:
        ValueError: names the path and, where one is to blame, the member: unreadable, not of this layout, a class
            without images, only one class, classes that differ between the parts, an image that cannot be decoded.
    """
    path = Path(path)

    def decode() -> tuple[Arrays, tuple[str, ...]]:
        with _open(path) as source:
            return _decode(path, source, image_size)

    try:
        key = _key(path, image_size)
        return kept(
            Path(cache) / f"{_stem(path)}-{key[:24]}.npz",
            lambda file: _read_kept(file, key),
            decode,
            lambda file, found: _write_kept(file, key, *found),
            "decoded images",
        )
    except READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read to its end ({error or type(error).__name__})") from error


def is_archive(path: Path) -> bool:
    """Whether a name ends as an archive's does."""
    return Path(path).name.lower().endswith(ARCHIVE_SUFFIXES)


def _stem(path: Path) -> str:
    name = path.resolve().name
    ends = [suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)]
    return name[: -len(max(ends, key=len))] if ends and path.is_file() else name


def _key(path: Path, image_size: int | None) -> str:
    """Checksum of what the result depends on: an archive's bytes, or names, sizes and times of a folder's files."""
    digest = hashlib.sha256(f"{VERSION} {image_size}\n".encode())
    if path.is_dir():
        for name in _walk(path)[0]:
            status = os.stat(path / name)
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    else:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _walk(path: Path) -> tuple[list[str], list[str]]:
    """Files and folders of every class, relative, sorted; Tiny-ImageNet's inner folders and table too."""
    files, folders = [], []
    for part in (name for names in PARTS.values() for name in names):
        if (path / part / TABLE).is_file():
            files.append(f"{part}/{TABLE}")
        for folder in sorted((path / part).iterdir()) if (path / part).is_dir() else ():
            inside = [folder, folder / INNER] if (folder / INNER).is_dir() else [folder]
            for place in inside if folder.is_dir() else ():
                relative = place.relative_to(path).as_posix()
                folders.append(relative)
                with os.scandir(place) as entries:
                    files += sorted(f"{relative}/{entry.name}" for entry in entries if entry.is_file())
    return files, folders


def _class_folders(path: Path, source: _Source) -> dict[tuple[str, ...], list[str]]:
    """Files by the folder of their class: (..., part, class). Tiny-ImageNet's are put where others have theirs."""
    parts = {name: _parts_of(name, path) for name in source.files}
    told: dict[tuple[str, ...], dict[str, str]] = {}
    for name, place in parts.items():
        if place[-2:] == (PARTS["test"][1], TABLE):
            lines = source.read(name).decode(errors="replace").splitlines()
            told[place[:-1]] = dict(line.split("\t")[:2] for line in lines if line.count("\t"))

    def folder_of(place: tuple[str, ...], file: str | None) -> tuple[str, ...] | None:
        if place[-1:] != (INNER,):
            return place
        if place[:-1] in told:
            known = told[place[:-1]].get(file)
            return None if known is None else (*place[:-1], known)
        # part/images: of one class's name, or (test) of images whose classes nobody tells.
        return place[:-1] if place[-3:-2] and place[-3] in ("train", *PARTS["test"]) else place

    images: dict[tuple[str, ...], list[str]] = {}
    for folder in source.folders:
        place = folder_of(_parts_of(folder, path), None)
        if place is not None:
            images.setdefault(place, [])
    for name, (*folder, last) in parts.items():
        place = folder_of(tuple(folder), last)
        if place is not None:
            inside = images.setdefault(place, [])
            if last.lower().endswith(IMAGE_SUFFIXES) and not last.startswith("."):
                inside.append(name)
    for place in [each for each in images if each[-2:] == (PARTS["test"][0], INNER) and (*each[:-2], "val") in told]:
        del images[place]
    return images


@contextmanager
def _open(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        yield _Source(*_walk(path), lambda name: (path / name).read_bytes())
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            files = [info.filename for info in archive.infolist() if not info.is_dir()]
            yield _Source(files, [info.filename for info in archive.infolist() if info.is_dir()], archive.read)
    else:
        with tarfile.open(path, "r:*") as archive:
            members = archive.getmembers()
            _require_end(archive, members, path)
            files = {member.name: member for member in members if member.isreg()}
            folders = [member.name for member in members if member.isdir()]
            names = [member.name for member in members if member.isreg()]
            yield _Source(names, folders, lambda name: archive.extractfile(files[name]).read())


def _require_end(archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: Path) -> None:
    """Refuse a tar file that was cut, also between two members, or whose compressed bytes are damaged."""
    # A compressed stream is compared with its checksum where it ends.
    while archive.fileobj.read(2**20):
        pass
    if path.name.lower().endswith(".tar") and members:
        last = members[-1]
        blocks = -(-last.size // tarfile.BLOCKSIZE) if last.isreg() else 0
        if path.stat().st_size < last.offset_data + (blocks + 1) * tarfile.BLOCKSIZE:
            raise ValueError(f"{path}: cannot be read to its end (it has no end mark)")


def _parts_of(name: str, path: Path) -> tuple[str, ...]:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError(f"{path}: member {name} points outside of the archive")
    return pure.parts


def _arrange(path: Path, source: _Source) -> tuple[tuple[str, ...], dict[str, list[tuple[str, int]]]]:
    """Names of the classes, and (file, label) of each part, sorted."""
    twice = [name for name, count in Counter(source.files).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: has several members of the name {twice[0]}")
    images = _class_folders(path, source)
    images = {folder: names for folder, names in images.items() if not _is_hidden(folder)}
    found, roots = {}, set()
    for part, spellings in PARTS.items():
        here = next((s for s in spellings if any(s in folder[-2:-1] for folder in images)), None)
        if here is None:
            wanted = " or ".join(f"{spelling}/<class>/" for spelling in spellings)
            raise ValueError(f"{path}: has no folder {wanted} with images")
        folders = {folder: names for folder, names in images.items() if folder[-2:-1] == (here,)}
        for folder, names in sorted(folders.items()):
            if not names:
                raise ValueError(f"{path}: {'/'.join(folder)} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        roots |= {folder[:-2] for folder in folders}
        found[part] = {folder[-1]: sorted(names) for folder, names in folders.items()}
    if len(roots) > 1:
        raise ValueError(f"{path}: has train or test folders at several places, {sorted(map('/'.join, roots))}")
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise ValueError(f"{path}: train has one class only, {classes[0]}; at least 2 are needed")
    if set(classes) != set(found["test"]):
        differing = sorted(set(classes) ^ set(found["test"]))
        raise ValueError(f"{path}: classes that only one of train and test has: {', '.join(differing)}")
    return classes, {
        part: [(name, label) for label, each in enumerate(classes) for name in names[each]]
        for part, names in found.items()
    }


def _is_hidden(folder: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in folder)


def _decode(path: Path, source: _Source, image_size: int | None) -> tuple[Arrays, tuple[str, ...]]:
    classes, parts = _arrange(path, source)
    # Where an image goes; it is read in the order of the source, because a compressed tar cannot be read backwards.
    slots = {name: (part, i) for part, files in parts.items() for i, (name, _) in enumerate(files)}
    arrays: Arrays = {}
    wanted = [name for name in source.files if name in slots]
    for name in tqdm(wanted, desc=f"decoding {path.name}", unit=" images", disable=None):
        part, i = slots[name]
        data = source.read(name)
        try:
            pixels = decode_image(data, image_size)
        except Exception as error:  # decoders end in any exception on damaged input
            raise ValueError(f"{path}: {name} cannot be decoded ({error})") from error
        if not arrays:
            arrays = _room(path, {part: len(files) for part, files in parts.items()}, pixels.shape)
        if pixels.shape != arrays[f"{part}_images"].shape[1:]:
            return _decode(path, source, MIXED_SIZE)
        arrays[f"{part}_images"][i] = pixels
    for part, files in parts.items():
        arrays[f"{part}_labels"] = np.array([label for _, label in files], dtype=np.int64)
    return arrays, classes


def _room(path: Path, counts: dict[str, int], shape: tuple[int, ...]) -> Arrays:
    try:
        return {f"{part}_images": np.empty((count, *shape), dtype=np.uint8) for part, count in counts.items()}
    except MemoryError as error:
        height, width = shape[1:]
        raise ValueError(f"{path}: images of {height} x {width} do not fit in memory; set image_size") from error


def decode_image(data: bytes, image_size: int | None) -> np.ndarray:
    """An encoded image as uint8 (3, H, W); H and W are its own, or ``image_size``.

    Raises:
        ValueError: more than 8 bits a channel.
        Exception: whatever the decoder raises on damaged data.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode[0] in "IF":
            raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
        if image.mode == "P" and "transparency" in image.info:
            # Directly to RGB, transparent entries of the palette would be warned about.
            image = image.convert("RGBA")
        image = image.convert("RGB")
        if image_size is not None and image.size != (image_size, image_size):
            width, height = image.size
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
            image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
        return np.asarray(image).transpose(2, 0, 1)


def _write_kept(path: Path, key: str, arrays: Arrays, classes: tuple[str, ...]) -> None:
    with open(path, "wb") as file:
        np.savez(file, key=np.array(key), classes=np.array(classes), **arrays)


def _read_kept(path: Path, key: str) -> tuple[Arrays, tuple[str, ...]]:
    # Every part is read to its end, where its checksum is compared.
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("key")) != key:
        raise ValueError("made for another source")
    classes = tuple(str(name) for name in arrays.pop("classes"))
    if set(arrays) != {f"{part}_{what}" for part in PARTS for what in ("images", "labels")}:
        raise ValueError(f"has {', '.join(sorted(arrays))}")
    return arrays, classes

"""Where image files lie: a folder, a .zip or a .tar, listed in one way and read file by file; nothing is unpacked.

Links are followed in a folder, as everybody does there, and within an archive; one that leads out of its archive, or to
a folder in it, becomes an entry that cannot be read. Headers are held against the limits before anything is read.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from models.cifar.data.decoding import IMAGE_SUFFIXES
from models.cifar.data.limits import LARGEST_FILE, BoundedReads, require_member_limits, size_problem
from models.cifar.data.names import Place, is_hidden, is_part, part_of
from theory.numerics.manifest import MANIFEST, has_manifest

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
# A broken archive can end in any of these.
READ_ERRORS = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError)
UNPACKED_BY: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open
}  # fmt: skip
ZIP_MAGIC = b"PK"
LONGEST_CHAIN = 40
LONGEST_LINK = 4096
CHUNK_BYTES = 2**20

NO_FILE = "is no regular file"
BROKEN = "is a link to nothing"
OUTSIDE = "is a link out of the archive, which is not followed"
TO_FOLDER = "is a link to a folder of the archive, which is not followed"


class Entry(NamedTuple):
    """A file: its name where it lies, the parts of that name, and why it cannot be read (empty if it can)."""

    name: str
    place: Place
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """Files in the order in which they are best read, folders, and how a file is read by its name.

    ``left_out`` are folders beside those of the parts, which were not looked into; ``rivals`` those of them that may be
    classes, if the folder of the training images is one.
    """

    files: list[Entry]
    folders: list[Place]
    read: Callable[[str], bytes]
    left_out: tuple[str, ...] = ()
    rivals: tuple[Place, ...] = ()


def is_archive(path: Path) -> bool:
    """Whether a name ends as an archive's does."""
    return Path(path).name.lower().endswith(ARCHIVE_SUFFIXES)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """The files of a folder or archive.

    Raises:
        ValueError: names the path: over a limit, encrypted, a member's name that leads out of the archive or that
            several have, or no end mark.
        OSError, RuntimeError and others of ``READ_ERRORS``: it cannot be read to its end.
    """
    if path.is_dir():
        yield walk(path).source(path)
    elif _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            yield _list_zip(archive, path)
    else:
        with _unpacked(path) as file, tarfile.open(fileobj=BoundedReads(file), mode="r:") as archive:
            yield _list_tar(archive, file, path)


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return path.name.lower().endswith(".zip") or file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


# --- folders ----------------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """What a folder holds: (place, file's status or None, problem), folders, and what is said of some in ``Source``.
    Files beside the parts have no status: of them the names alone are told."""

    files: list[tuple[Place, os.stat_result | None, str]]
    folders: list[Place]
    left_out: list[Place]
    rivals: list[Place]

    def source(self, path: Path) -> Source:
        """The files, to be read."""
        files = [Entry("/".join(place), place, problem) for place, _, problem in self.files]
        left_out = tuple("/".join(place) for place in self.left_out)
        return Source(files, self.folders, lambda name: _read_file(path / name), left_out, tuple(self.rivals))

    def stamps(self) -> Iterator[str]:
        """A line a file: all that tells whether it is another one than before."""
        for place, status, problem in self.files:
            yield f"{'/'.join(place)}\0{problem if status is None else stamp(status)}\n"
        for place in (*self.folders, *self.left_out):
            yield f"{'/'.join(place)}/\n"
        for place in self.rivals:
            yield f"{'/'.join(place)}/\0may be a class\n"

    def newest(self) -> int:
        """Nanoseconds since 1970: the last change of a file."""
        return max((status.st_ctime_ns for _, status, _ in self.files if status is not None), default=0)


def stamp(status: os.stat_result) -> str:
    """What changes when a file is written to, replaced by another one, or renamed over."""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def walk(path: Path) -> Walk:
    """Files and folders, links followed, without folders of runs, which draw pictures of their own.

    Where parts (train/, test/) lie at the top, nothing else is looked into; beside a train/ alone, of images without
    classes, folders are asked whether images lie directly in them.
    """
    found = Walk([], [], [], [])
    _walk_into(path, (), found, (), top=True)
    return found


def _walk_into(path: Path, place: Place, found: Walk, above: tuple[tuple[int, int], ...], top: bool = False) -> None:
    status = os.stat(path)
    here = (status.st_dev, status.st_ino)
    if here in above:
        found.files.append((place, None, "is a link to a folder that it lies in"))
        return
    folders, files = [], []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            where = (*place, entry.name)
            if _is_folder(entry):
                folders.append((where, entry.path, entry.name))
            else:
                files.append(_status(entry, where))
    # Pictures of runs would be one more class, and another one with every run.
    if place and any(where[-1] == MANIFEST and not problem for where, _, problem in files) and has_manifest(path):
        return
    found.folders += [place] if place else []
    visible = [each for each in folders if not is_hidden(each[2])]
    parts = [each for each in visible if is_part(each[2])] if top else []
    found.files += [(where, None, problem) for where, _, problem in files] if parts else files
    require_member_limits(len(found.files) + len(found.folders), 0, path)
    found.left_out += [where for where, _, _ in folders if parts and where not in {each[0] for each in parts}]
    if not parts:
        found.left_out += [where for where, _, name in folders if is_hidden(name)]
    for where, inner, _ in parts or visible:
        _walk_into(Path(inner), where, found, (*above, here), top=top and not parts and len(visible) == 1)
    if len(parts) == 1 and part_of(parts[0][2]) == "train" and _is_flat(found, parts[0][0]):
        found.rivals += [where for where, inner, name in visible if not is_part(name) and _may_be_class(inner)]


def _is_flat(found: Walk, folder: Place) -> bool:
    """Whether images lie directly in a folder, and none in folders of it."""
    inner = [place[len(folder) :] for place, _, _ in found.files if place[: len(folder)] == folder]
    return {len(place) for place in inner if _is_image(place[-1])} == {1}


def _may_be_class(path: str) -> bool:
    """Whether images lie directly in a folder that is no run's, and has none in it."""
    try:
        with os.scandir(path) as entries:
            inner = list(entries)
    except OSError:
        return False
    folders = [path, *(entry.path for entry in inner if _is_folder(entry))]
    images = any(_is_image(entry.name) and not _is_folder(entry) for entry in inner)
    return images and not any(has_manifest(Path(each)) for each in folders)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, say
        return False


def _status(entry: os.DirEntry, place: Place) -> tuple[Place, os.stat_result | None, str]:
    try:
        status = entry.stat()
    except OSError as error:
        return place, None, BROKEN if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    # A pipe would be waited for.
    return place, status, size_problem(status.st_size) if stat.S_ISREG(status.st_mode) else NO_FILE


def _read_file(path: Path) -> bytes:
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(size_problem(len(data)))
    return data


# --- archives ---------------------------------------------------------------------------------------------------------


def _list_zip(archive: zipfile.ZipFile, path: Path) -> Source:
    infos = archive.infolist()
    require_member_limits(len(infos), sum(info.file_size for info in infos), path)
    listing: _Listing[zipfile.ZipInfo] = _Listing(path)
    for info in sorted(infos, key=lambda each: each.header_offset):
        # Old programs wrote backslashes, against the format, which knows no other separator than /.
        name = info.filename.replace("\\", "/")
        if name.endswith("/"):
            listing.folder(name)
            continue
        if info.flag_bits & 1:
            raise ValueError(f"{path}: member {info.filename} is encrypted; unpack the archive first")
        if stat.S_ISLNK(info.external_attr >> 16):
            short = info.file_size <= LONGEST_LINK
            target = _read_member(archive, info).decode(errors="surrogateescape") if short else "/"
            listing.link(name, target)
        else:
            listing.file(name, info, size_problem(info.file_size))
    return listing.source(lambda info: _read_member(archive, info), order=lambda info: info.header_offset)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # Not ZipFile.read: it unpacks all that is there before it holds that against what the header says.
    with archive.open(info) as file:
        return file.read(max(1, info.file_size))


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, unpacked if they are packed in one of the ways that its first bytes tell."""
    with ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))
        start = raw.read(6)
        raw.seek(0)
        unpack = next((each for magic, each in UNPACKED_BY.items() if start.startswith(magic)), None)
        yield raw if unpack is None else stack.enter_context(unpack(raw))


def _list_tar(archive: tarfile.TarFile, file: io.BufferedIOBase, path: Path) -> Source:
    listing: _Listing[tuple[int, int]] = _Listing(path)
    count = expanded = 0
    while (member := archive.next()) is not None:
        # A member object is ten times as large as what is needed of it here.
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed leaves the list of what next() has read out
        count, expanded = count + 1, expanded + member.size
        require_member_limits(count, expanded, path)
        if member.isdir():
            listing.folder(member.name)
        elif member.issym():
            listing.link(member.name, member.linkname)
        elif member.islnk():
            listing.link(member.name, member.linkname, from_top=True)
        elif not member.isreg() or member.sparse is not None:
            listing.file(member.name, None, NO_FILE if not member.isreg() else "is a sparse file; unpack the archive")
        else:
            listing.file(member.name, (member.offset_data, member.size), size_problem(member.size))
    _require_end(file, archive.offset, path)

    def read(where: tuple[int, int]) -> bytes:
        offset, size = where
        file.seek(offset)
        data = file.read(size)
        if len(data) != size:
            raise EOFError("the archive ends within it")
        return data

    return listing.source(read, order=lambda where: where[0])


def _require_end(file: io.BufferedIOBase, offset: int, path: Path) -> None:
    """Refuse a tar file that was cut, or damaged between two members: an empty block must follow the last one."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"{path}: cannot be read to its end (it has no end mark behind its last whole member)")
    # A compressed stream is compared with its checksum where it ends.
    rest = 0
    while data := file.read(CHUNK_BYTES):
        rest += len(data)
        require_member_limits(0, rest, path)


# Where a member lies in its archive.
Where = TypeVar("Where")


class _Listing(Generic[Where]):
    """Members of an archive as they come, and where their links lead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[Place, tuple[str, Where | None, str]] = {}
        self.links: dict[Place, tuple[str, Place | None]] = {}
        self.folders: dict[Place, None] = {}

    def file(self, name: str, where: Where | None, problem: str) -> None:
        """A file that lies somewhere, or cannot be read."""
        self.files[self._new(name)] = (name, where, problem)

    def folder(self, name: str) -> None:
        """A folder with an entry of its own."""
        self.folders[self._place(name)] = None

    def link(self, name: str, target: str, from_top: bool = False) -> None:
        """A link to a place from where it lies, or from the top of the archive."""
        place = self._new(name)
        self.links[place] = (name, _joined(() if from_top else place[:-1], target))

    def source(self, read: Callable[[Where], bytes], order: Callable[[Where], int]) -> Source:
        """All that is there, in the order of the places that ``order`` takes from where files lie."""
        known = {place[:depth] for place in (*self.files, *self.links) for depth in range(1, len(place))}
        known |= set(self.folders)
        found: dict[str, tuple[Place, Where | None, str]] = {}
        for place, (name, where, problem) in self.files.items():
            found[name] = (place, where, problem)
        for place, (name, target) in self.links.items():
            end, problem = self._followed(target, known)
            nowhere: tuple[Place, Where | None, str] = (place, None, problem)
            found[name] = nowhere if problem else (place, *self.files[end][1:])

        # Links lie where their targets do: a compressed archive that goes back for each would never end.
        def place_of(name: str) -> int:
            _, there, _ = found[name]
            return -1 if there is None else order(there)

        def content_of(name: str) -> bytes:
            _, there, problem = found[name]
            if there is None:
                raise ValueError(problem)
            return read(there)

        entries = [Entry(name, found[name][0], found[name][2]) for name in sorted(found, key=place_of)]
        return Source(entries, list(self.folders), content_of)

    def _followed(self, place: Place | None, folders: set[Place]) -> tuple[Place, str]:
        for _ in range(LONGEST_CHAIN):
            if place is None:
                return (), OUTSIDE
            if place in self.files:
                return place, ""
            if place in folders or not place:
                return (), TO_FOLDER
            # A link, or beneath one.
            depth = next((depth for depth in range(1, len(place) + 1) if place[:depth] in self.links), None)
            if depth is None:
                return (), BROKEN
            target = self.links[place[:depth]][1]
            place = None if target is None else target + place[depth:]
        return (), "is a link that leads in a circle"

    def _new(self, name: str) -> Place:
        place = self._place(name)
        if place in self.files or place in self.links:
            raise ValueError(f"{self.path}: has several members of the name {'/'.join(place)}")
        return place

    def _place(self, name: str) -> Place:
        place = None if name.startswith("/") or ".." in name.split("/") else _joined((), name)
        if place is None:
            raise ValueError(f"{self.path}: member {name} points outside of the archive")
        return place


def _joined(place: Place, name: str) -> Place | None:
    """The place that a relative name leads to; None outside."""
    if name.startswith("/"):
        return None
    parts = list(place)
    for part in name.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)

"""manifest.json: the SHA-256 of every file that a run has written, so that what was edited or damaged since is noticed.

A file is entered *before* it takes its place, its new hash beside that of the file which stands there (null where none
does); the earlier one is struck out when the next file is entered, or at the end. So whenever a process dies, every
file has one of the at most two hashes that the manifest names for it. Within a process renames come in the order of
these steps; after a loss of power that is so on file systems that keep the order of renames (ext4, XFS, Btrfs, APFS).

The manifest ends with its own hash, and is read back byte by byte. It guards against accidents and hasty edits, not
against somebody who writes a new one.

Not entered are checkpoints (.pt), which have checksums of their own, and files that others put into the folder.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from theory.numerics.locks import exclusive
from theory.numerics.part_files import PART, DamagedFileError, write_part

MANIFEST = "manifest.json"
FORMAT = "contrastive-theory-toolkit run folder, 1"
MUTEX = ".manifest.lock"
UNLISTED = (".pt",)
CHANGED = "is not what the run wrote; it was edited or damaged since"
# Files that runs and figures read: one of these that the manifest does not name is not of the run.
READ = (".csv", ".json", ".npz", ".sha256")

# Name -> the hashes that its file may have, the newest last; null: there may be no file.
Listing = dict[str, list[str | None]]
# Folder -> name -> the hash of the file that this process has put into place.
_placed: dict[Path, dict[str, str]] = {}


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file, in hexadecimal; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_manifest(folder: Path) -> bool:
    """Whether the folder has a manifest of this toolkit, whole or damaged; other programs have manifests too."""
    try:
        return is_manifest((folder / MANIFEST).read_bytes())
    except OSError:
        return False


def is_manifest(content: bytes) -> bool:
    """Whether a file's content is a manifest of this toolkit, whole or damaged."""
    return FORMAT.split(",")[0].encode() in content


def read_manifest(folder: Path) -> Listing:
    """What the manifest says.

    Raises:
        DamagedFileError: missing, or not what was written.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{path}: missing, so {folder} is not a run folder of this version") from error
    try:
        files = json.loads(content)["files"]
        whole = _as_bytes(files) == content
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFileError(f"{path}: not a whole manifest ({type(error).__name__})") from error
    if not whole:
        raise DamagedFileError(f"{path}: is not what was written; it was edited or damaged since")
    return files


def _as_bytes(files: Listing) -> bytes:
    ordered = dict(sorted(files.items()))
    own = hashlib.sha256(json.dumps([FORMAT, ordered]).encode()).hexdigest()
    return (json.dumps({"format": FORMAT, "files": ordered, "sha256": own}, indent=1) + "\n").encode()


def begin_manifest(folder: Path) -> None:
    """A manifest that names nothing yet; from now on what is written into the folder is entered.

    Raises:
        OSError: not writable.
    """
    with exclusive(folder / MUTEX):
        _write(folder, {})


def _write(folder: Path, files: Listing) -> None:
    part = write_part(folder / MANIFEST, _as_bytes(files))
    try:
        os.replace(part, folder / MANIFEST)
    finally:
        part.unlink(missing_ok=True)


def owner(path: Path) -> Path | None:
    """The folder whose manifest a file belongs to: its own, or the one above; None where neither has one, or the file
    is none that is entered."""
    if path.name in (MANIFEST, MUTEX) or path.suffix in UNLISTED:
        return None
    return next((folder for folder in (path.parent, path.parent.parent) if has_manifest(folder)), None)


@contextmanager
def entered(digests: Mapping[Path, str]) -> Iterator[None]:
    """The files are in their folders' manifests, as what will stand there; the block puts them into place.

    Raises:
        DamagedFileError: a manifest is damaged.
        OSError: not writable.
    """
    by_folder: dict[Path, dict[str, str]] = {}
    for path, digest in digests.items():
        folder = owner(path)
        if folder is not None:
            by_folder.setdefault(folder, {})[path.relative_to(folder).as_posix()] = digest
    for folder, new in by_folder.items():
        with exclusive(folder / MUTEX):
            files = read_manifest(folder)
            for name, placed in _placed.pop(folder, {}).items():
                if files.get(name, [None])[-1] == placed:
                    files[name] = [placed]
            for name, digest in new.items():
                # Where an earlier process died both of its hashes are in question: what stands there tells.
                before = files.get(name, [None])
                before = [digest_of(folder / name)] if len(before) > 1 else before
                files[name] = [*(each for each in before if each != digest), digest]
            _write(folder, files)
    yield
    for folder, new in by_folder.items():
        _placed.setdefault(folder, {}).update(new)


def settle(folder: Path) -> None:
    """Strike out the hashes of files that were replaced, and the names of files that were never put into place. What
    was edited or removed keeps its entry.

    Raises:
        DamagedFileError: the manifest is damaged.
        OSError: not writable.
    """
    with exclusive(folder / MUTEX):
        files = read_manifest(folder)
        found = {name: digest_of(folder / name) for name in files}
        settled = {name: [found[name]] if found[name] in hashes else hashes for name, hashes in files.items()}
        settled = {name: hashes for name, hashes in settled.items() if hashes != [None]}
        _placed.pop(folder, None)
        if settled != files:
            _write(folder, settled)


def adopt(folder: Path) -> None:
    """A manifest that takes all files of the folder as they are; folders in its folders, such as those of tasks, have
    one each.

    Raises:
        OSError: a file cannot be read, or a manifest not written.
    """
    for room in _rooms(folder):
        for inner in _rooms(room):
            adopt(inner)
    names = (name for name in _names(folder) if Path(name).suffix not in UNLISTED and name.count("/") < 2)
    with exclusive(folder / MUTEX):
        _write(folder, {name: [digest_of(folder / name)] for name in names})


def _rooms(folder: Path) -> list[Path]:
    """Folders in a folder that are no run folders of their own; hidden ones are under way."""
    return [path for path in sorted(folder.iterdir())
            if path.is_dir() and not path.name.startswith(".") and not has_manifest(path)]  # fmt: skip


def _names(folder: Path) -> Iterator[str]:
    """Files of the folder and of the folders in it, but for hidden ones and those in run folders of their own."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != MANIFEST and not path.name.startswith("."):
            yield path.name
    for room in _rooms(folder):
        yield from (f"{room.name}/{name}" for name in _names(room))
        if (room / MANIFEST).exists():
            # None of ours, or one that is damaged.
            yield f"{room.name}/{MANIFEST}"


@dataclass(frozen=True)
class Discrepancies:
    """Names of files that are not as the manifest says.

    Attributes:
        changed: edited or damaged since they were written.
        missing: gone.
        foreign: tables, settings and batches that are not of the run.
        parts: what a process left that was stopped while it wrote; harmless.
    """

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def discrepancies(folder: Path) -> Discrepancies:
    """Hold every file against the manifest.

    Raises:
        DamagedFileError: the manifest itself is missing or damaged.
        OSError: a file cannot be read.
    """
    files = read_manifest(folder)
    found = {name: digest_of(folder / name) for name in files}
    names = tuple(_names(folder))
    return Discrepancies(
        tuple(name for name, digest in found.items() if digest is not None and digest not in files[name]),
        tuple(name for name, digest in found.items() if digest is None and None not in files[name]),
        tuple(name for name in names if name not in files and Path(name).suffix in READ),
        tuple(path.relative_to(folder).as_posix() for path in sorted(folder.rglob(f".*{PART}")) if path.is_file()),
    )


def require_unchanged(path: Path, content: bytes) -> bytes:
    """The content of a file, if its folder has no manifest, or one that agrees.

    Raises:
        DamagedFileError: the file was edited or damaged since it was written, or is not of the run, or its manifest is
            damaged.
    """
    folder = owner(path)
    # A run that is under way may write the file and the manifest again between the two readings.
    for _ in range(3):
        if folder is None:
            return content
        hashes = read_manifest(folder).get(path.relative_to(folder).as_posix())
        if hashes is None:
            raise DamagedFileError(f"{path}: is not of the run in {folder}, whose manifest does not name it")
        if hashlib.sha256(content).hexdigest() in hashes:
            return content
        content = path.read_bytes()
    raise DamagedFileError(f"{path}: {CHANGED}")

"""What is kept for the next time: one file each in the cache folder, read back where it is whole, else made again.

A file begins with a SHA-256 over its key (the question that it answers) and its content. One that was edited, damaged,
cut, or put in the place of another one is therefore not believed, whatever was changed in it.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from theory.numerics.whole_files import replacing

CACHE_VARIABLE = "CONTRASTIVE_THEORY_CACHE"
Kept = TypeVar("Kept")
Piece = bytes | memoryview

# The first line of a file: this, the digest in hexadecimal, and the end of the line.
MARK = b"sha256 "
HEAD_BYTES = len(MARK) + 64 + 1


def cache_folder() -> Path:
    """The folder that the environment variable CONTRASTIVE_THEORY_CACHE names, else one in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrastive-theory-toolkit"


def kept(
    path: Path,
    key: bytes,
    read: Callable[[memoryview], Kept],
    make: Callable[[], Kept],
    write: Callable[[Kept], Sequence[Piece]],
    what: str,
) -> Kept:
    """What an earlier call has left in a file; else it is made, and left there, with a warning where that fails.

    Args:
        key: all that the result depends on. A file is believed only where its SHA-256 is that of this key and of what
            the file holds.
        read: the result from the content, bytes that it may keep and change; any error means that it cannot be used,
            and a warning says so.
        write: the content, in pieces.
        what: is kept, in the plural, for warnings.
    """
    try:
        return read(_content(path, key))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # what was believed by its checksum may still end its reader in any exception
        warnings.warn(f"{path}: damaged, {what} are made again ({error!r})", stacklevel=3)
    found = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            _write(temporary, key, write(found))
    except OSError as error:
        warnings.warn(f"{path}: {what} are not kept for the next time ({error})", stacklevel=3)
    return found


def _content(path: Path, key: bytes) -> memoryview:
    """What a file holds behind its first line, which must be the one that belongs to it."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        # Not bytes(size): zeros that are overwritten at once are half the time that it takes to read them.
        content = np.empty(max(0, os.fstat(file.fileno()).st_size - len(head)), dtype=np.uint8).data
        if file.readinto(content) != len(content) or file.read(1):
            raise ValueError("its length has changed while it was read")
    if head != _head(key, [content]):
        raise ValueError("its SHA-256 is not that of its content and key: edited, or made for another question")
    return content


def _head(key: bytes, pieces: Sequence[Piece]) -> bytes:
    # The length before the key, so that no other key and content make the same bytes.
    digest = hashlib.sha256(len(key).to_bytes(8, "big") + key)
    for piece in pieces:
        digest.update(piece)
    return MARK + digest.hexdigest().encode() + b"\n"


def _write(path: Path, key: bytes, pieces: Sequence[Piece]) -> None:
    with open(path, "wb") as file:
        file.write(_head(key, pieces))
        for piece in pieces:
            file.write(piece)

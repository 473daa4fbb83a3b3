"""Locks on folders: one that a run holds while it uses its folder, and one for the moment of a change.

Both are locks of the operating system (flock) on a file, which end with the process that holds them, however it ends.
On NFS Linux turns them into locks of the server, which other hosts see too, unless it is mounted with local_lock=flock
or =all: then only processes of one host see each other. Where a file system has no locks, a warning says that nothing
guards the folder.
"""

import errno
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # Windows has none, and a module has no other type

LOCK = ".lock"
TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# Device and inode of a lock file -> its descriptor and how often this process holds it. A process does not exclude
# itself.
_held: dict[tuple[int, int], list[int]] = {}


class InUseError(ValueError):
    """Another process uses the folder; the message says which."""


@dataclass(frozen=True)
class FolderLock:
    """A lock that this process holds until it is released, or the process ends."""

    key: tuple[int, int]

    def release(self) -> None:
        """Once for every ``lock_folder``; more do nothing."""
        entry = _held.get(self.key)
        if entry is None:
            return
        entry[1] -= 1
        if entry[1] == 0:
            del _held[self.key]
            os.close(entry[0])


def lock_folder(folder: Path) -> FolderLock:
    """Say that this process uses the folder.

    Raises:
        InUseError: another one does.
        OSError: not writable.
    """
    path = folder / LOCK
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    state = os.fstat(handle)
    key = state.st_dev, state.st_ino
    if key in _held:
        os.close(handle)
        _held[key][1] += 1
        return FolderLock(key)
    try:
        if not _lock(handle, wait=False):
            raise InUseError(f"{folder}: in use by process {_holder(handle)}")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} ({socket.gethostname()})\n".encode(), 0)
    except BaseException:
        os.close(handle)
        raise
    _held[key] = [handle, 1]
    return FolderLock(key)


def holder(folder: Path) -> str | None:
    """Which other process uses the folder, such as "4711 (host)"; None where none does. Writes nothing.

    Raises:
        OSError: the lock file cannot be read.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    try:
        state = os.fstat(handle)
        if (state.st_dev, state.st_ino) in _held or _lock(handle, wait=False, shared=True):
            return None
        return _holder(handle)
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    return os.read(handle, 200).decode(errors="replace").strip() or "of unknown number"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """No other process that asks for the same file is inside its block at the same time; waits for it.

    Raises:
        OSError: the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, wait: bool, shared: bool = False) -> bool:
    """Whether the lock was to be had; with a warning where there is none to have."""
    why = "this system has no flock"
    if fcntl is not None:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            return True
        except OSError as error:
            if error.errno in TAKEN and not wait:
                return False
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL):
                raise
            why = str(error.strerror)
    warnings.warn(f"no locks here ({why}): see to it that only one process uses a run folder", stacklevel=2)
    return True

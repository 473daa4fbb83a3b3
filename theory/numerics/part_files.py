"""New content waits in a hidden part file beside its place, until it is whole and takes it."""

import os
import secrets
from pathlib import Path

# What a killed run may leave behind; a resumed one removes it.
PART = ".part"


class DamagedFileError(ValueError):
    """A file of a run folder is missing, truncated or not what it should be."""


def new_part(path: Path) -> Path:
    """An empty part file for ``path``, with the permissions that the umask gives to new files.

    Raises:
        OSError: the folder is not there or not writable.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o666))
    return part


def write_part(path: Path, data: bytes) -> Path:
    """A part file for ``path`` that holds ``data``, flushed to disk; none is left if that fails.

    Raises:
        OSError: the disk is full, or the folder not writable.
    """
    part = new_part(path)
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part

"""Processes that die, or disks that fill, at a chosen call to the file system."""

import builtins
import io
import os
from contextlib import contextmanager
from pathlib import Path

from models.run_folder import ENVIRONMENT
from theory.numerics.manifest import MANIFEST

CALLS = ("open", "replace", "rename", "mkdir", "unlink", "rmdir", "fsync", "ftruncate", "pwrite")


class KilledError(BaseException):
    """The process is dead: nothing that it still does reaches the disk."""


class Disk:
    """Counts the calls that change something, and lets one fail.

    Args:
        at: the number of the call, from 0; None: all go well.
        error: what that call alone raises; None: it and all later ones are those of a dead process.

    Attributes:
        killed: whether the last of these has met its death.
    """

    killed = False

    def __init__(self, at=None, error=None):
        self.count, self.at, self.error = 0, at, error
        Disk.killed = False

    def call(self, true, *args, **kwargs):
        number, self.count = self.count, self.count + 1
        if self.at is not None and (number == self.at or (self.error is None and number > self.at)):
            if self.error is None:
                Disk.killed = True
                raise KilledError
            raise self.error
        return true(*args, **kwargs)

    @contextmanager
    def watched(self, monkeypatch):
        """The file system's calls go through this object."""
        true_open = io.open

        def opened(file, mode="r", *args, **kwargs):
            writes = isinstance(file, str | os.PathLike) and not {*mode}.isdisjoint("wax+")
            return (
                self.call(true_open, file, mode, *args, **kwargs) if writes else true_open(file, mode, *args, **kwargs)
            )

        def through(true):
            return lambda *args, **kwargs: self.call(true, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", opened)
            patch.setattr(io, "open", opened)
            for name in CALLS:
                patch.setattr(os, name, through(getattr(os, name)))
            yield self


def contents(folder: Path, without=(ENVIRONMENT, MANIFEST)) -> dict[str, bytes]:
    """The files of a run folder that do not tell of its starts, by name; of run folders in it too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and name.name not in without:
            found[name.as_posix()] = path.read_bytes()
    return found

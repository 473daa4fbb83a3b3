"""The folder of a run: born whole, locked while in use, and continued only if it is what the run has left there.

A new folder is put together aside and renamed into its place, so that it has its settings, the environment and the
manifest from the first moment; one that is there and empty is filled in place, and counts as empty until all three are
there. A run that goes on holds every file against the manifest (theory/numerics/manifest.py), and its settings and
versions against those that it is started with.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from models.environment import environment, other_versions
from theory.numerics.locks import LOCK, FolderLock, InUseError, lock_folder
from theory.numerics.manifest import MANIFEST, MUTEX, adopt, begin_manifest, discrepancies, has_manifest, settle
from theory.numerics.whole_files import PART, DamagedFileError, read_json, to_plain, write_json

ENVIRONMENT = "environment.json"
ACCEPT = "--accept-other-version"
# Of these the folder's owner cannot be told to choose another folder: results could not be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Seconds after which a folder that was put together aside, and is in use by nobody, is one that a killed start left.
STALE = 60.0


class OpenRun:
    """A run folder that this process uses until it is closed; ``with`` gives its path.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, lock: FolderLock) -> None:
        self.path = path
        self._lock: FolderLock | None = lock

    def close(self) -> None:
        """Settle the manifest, and let others use the folder."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            # What is not settled is no damage; and the folder may be gone, or its disk full.
            with suppress(OSError, DamagedFileError):
                settle(self.path)
        finally:
            lock.release()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Of an owner that is gone; an unsettled manifest is as good.
        lock = getattr(self, "_lock", None)
        if lock is not None:
            lock.release()


def differing(first: dict, second: dict, prefix: str = "") -> dict[str, tuple]:
    """Settings in which two configurations differ: dotted name -> (value in first, value in second), in their order."""
    found: dict[str, tuple] = {}
    for name in {**second, **first}:
        one, other = first.get(name), second.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= differing(one, other, f"{prefix}{name}.")
        elif one != other:
            found[f"{prefix}{name}"] = (one, other)
    return found


def with_defaults(stored: Any, now: Any) -> Any:
    """What is stored of a dataclass, with the defaults of the settings that it lacks: these came later, and what was
    made before them is as their defaults say.

    Args:
        now: the dataclass of today; of anything else what is stored is left as it is.
    """
    if not isinstance(stored, dict) or not is_dataclass(now):
        return stored
    found = dict(stored)
    for each in fields(now):
        if each.name in stored:
            found[each.name] = with_defaults(stored[each.name], getattr(now, each.name))
        elif each.default is not MISSING:
            found[each.name] = to_plain(each.default)
        elif each.default_factory is not MISSING:
            found[each.name] = to_plain(each.default_factory())
    return found


def open_run_folder(
    name: str,
    path: Path | None,
    resume: bool,
    config: object,
    device: torch.device,
    file: str = "config.json",
    other: Callable[[dict, dict], Sequence[str]] = lambda stored, config: sorted(differing(stored, config)),
    accept_other_version: bool = False,
) -> OpenRun:
    """The folder, made if need be, with the settings and, in environment.json, this start after the earlier ones.

    Args:
        name, path: where; without a path in runs/NAME-DATE-TIME.
        resume: go on with the run that is there.
        config: what the results depend on.
        file: that keeps it.
        other: names of the settings that make the stored run (its settings first) another one.
        accept_other_version: go on with results of another version of the code, of NumPy, SciPy or torch, or of one
            that kept no manifest; environment.json keeps that, and what differs.

    Raises:
        ValueError: a folder that is not empty, cannot be written or is in use by another process; no such run where one
            is to be continued, or one that was edited, damaged, or made with other settings or by another version.
        OSError: the disk is full.
    """
    if resume and path is None:
        raise ValueError("--resume: give the run folder to continue with --out")
    if path is not None and not resume and path == Path():
        raise ValueError("--out: is empty, or the current folder; give the path of a folder that is to be made")
    folder = path or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    settings = to_plain(config)
    if not isinstance(settings, dict):
        raise TypeError(f"config: must be settings by name, got a {type(config).__name__}")
    with _usable(folder):
        if not resume:
            return _begin(folder, {file: settings, ENVIRONMENT: {"runs": [environment(device)]}})
        if not folder.is_dir() or not any((folder / name).exists() for name in (MANIFEST, ENVIRONMENT)):
            # Before anything is written there, a lock included.
            raise DamagedFileError(f"--resume: {folder / MANIFEST}: missing; there is no run to continue")
        with _locked(folder) as lock:
            history = _continue(folder, settings, file, other, accept_other_version)
            start = environment(device)
            start |= _accepted(folder, history[-1], start, accept_other_version)
            _remove_parts(folder)
            settle(folder)
            write_json(folder / ENVIRONMENT, {"runs": [*history, start]})
        return OpenRun(folder, lock)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """What keeps a folder from being used at all is an argument's fault."""
    try:
        yield
    except InUseError as error:
        raise InUseError(f"--out {error}") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ValueError(f"--out {folder}: cannot be used ({error.strerror}: {error.filename})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[FolderLock]:
    """The lock, which is held on after a block that ends well."""
    lock = lock_folder(folder)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def _remove_parts(folder: Path) -> None:
    for leftover in (path for path in folder.rglob(f".*{PART}") if path.is_file()):
        leftover.unlink()


# --- a new folder -----------------------------------------------------------------------------------------------------


def _begin(folder: Path, files: dict[str, object]) -> OpenRun:
    taken = f"--out {folder}: exists and is not an empty folder; choose another, or --resume it where the command can"
    if folder.is_dir():
        with _locked(folder) as lock:
            if not is_vacant(folder, files):
                raise ValueError(taken)
            _fill(folder, files)
        return OpenRun(folder, lock)
    if folder.exists():
        raise ValueError(taken)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        with _locked(aside) as lock:
            _fill(aside, files)
            aside.rename(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise ValueError(taken) from error
        raise
    return OpenRun(folder, lock)


def _fill(folder: Path, files: dict[str, object]) -> None:
    _remove_parts(folder)
    begin_manifest(folder)
    for name, content in files.items():
        write_json(folder / name, content)


def is_vacant(folder: Path, files: Sequence[str] | dict) -> bool:
    """Whether a folder is empty, but for what a start leaves that was stopped before all ``files`` were written."""
    own = {path.name for path in folder.iterdir()} - {LOCK, MUTEX}
    own = {name for name in own if not (name.startswith(".") and name.endswith(PART))}
    unborn = has_manifest(folder) and own <= {MANIFEST, *files} and not {*files} <= own
    return not own or unborn


def _remove_stale(folder: Path) -> None:
    """What starts of this folder have left aside that were killed."""
    for aside in folder.parent.iterdir():
        with suppress(OSError, InUseError):
            named = aside.name.startswith(f".{folder.name}.") and aside.name.endswith(".new")
            if named and time.time() - aside.stat().st_mtime > STALE:
                with _locked(aside) as lock:
                    shutil.rmtree(aside, ignore_errors=True)
                lock.release()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` that takes its place when the block ends well, with a manifest. A whole one of
    before that was stopped just before it was in place is put there first.

    Raises:
        ValueError: what stands there is not of a run, or a link to a folder, and is left alone.
        OSError: not writable.
    """
    if path.is_symlink():
        raise ValueError(f"{path}: is a link, which a new folder would replace; remove it, or give the folder itself")
    beside, before = (path.with_name(f".{path.name}.{kind}{PART}") for kind in ("new", "old"))
    if not path.exists() and has_manifest(before) and _is_whole(beside):
        # Stopped between the two renames. An old folder alone is one that was replaced and not wholly removed, and
        # whose successor somebody has deleted.
        beside.rename(path)
    for leftover in (beside, before):
        shutil.rmtree(leftover, ignore_errors=True)
    if path.exists() and not has_manifest(path) and not (path.is_dir() and is_vacant(path, {})):
        raise ValueError(f"{path}: is not a folder of this run; move it away")
    beside.mkdir(parents=True)
    yield beside
    if has_manifest(beside):
        settle(beside)
    else:
        adopt(beside)
    if path.exists():
        path.rename(before)
    beside.rename(path)
    shutil.rmtree(before, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Whether a folder has a manifest that its files are in line with."""
    try:
        found = discrepancies(folder) if has_manifest(folder) else None
    except DamagedFileError:
        return False
    return found is not None and not (found.changed or found.missing or found.foreign)


# --- a run that goes on -----------------------------------------------------------------------------------------------


def _continue(
    folder: Path, config: dict, file: str, other: Callable[[dict, dict], Sequence[str]], accept_other_version: bool
) -> list[dict]:
    """The run's earlier starts, if it is whole and has these settings."""
    none = "there is no run to continue"
    if not has_manifest(folder):
        if not (folder / ENVIRONMENT).exists() or (folder / MANIFEST).exists():
            raise DamagedFileError(f"--resume: {folder / MANIFEST}: missing, or not a manifest; {none}")
        if not accept_other_version:
            raise ValueError(
                f"--resume {folder}: an earlier version wrote it, without a manifest, so that nobody can say whether "
                f"its files are whole; start a new run, or take them as they are with {ACCEPT}"
            )
    if has_manifest(folder):
        _require_whole(folder)
    try:
        stored, history = read_json(folder / file), read_json(folder / ENVIRONMENT).get("runs")
        if not (isinstance(history, list) and history and all(isinstance(start, dict) for start in history)):
            raise DamagedFileError(f"{folder / ENVIRONMENT}: has no list of runs")
    except DamagedFileError as error:
        raise DamagedFileError(f"--resume: {error}; {none}") from error
    names, values = other(stored, config), differing(stored, config)
    if names:
        told = (f"{n} {values[n][0]} (now {values[n][1]})" if n in values else n for n in names)
        raise ValueError(f"--resume {folder}: the run there has another {', '.join(told)}")
    if not has_manifest(folder):
        adopt(folder)
    return history


def _require_whole(folder: Path) -> None:
    try:
        found = discrepancies(folder)
    except DamagedFileError as error:
        raise DamagedFileError(f"--resume: {error}; put back a copy, or start a new run") from error
    if found.changed:
        raise DamagedFileError(
            f"--resume {folder}: {', '.join(found.changed)}: edited or damaged since the run wrote it; put back a "
            "copy, or delete it if it is a table or figure, which the run makes again"
        )
    if found.foreign:
        raise DamagedFileError(f"--resume {folder}: {', '.join(found.foreign)}: not of this run; move it away")


def _accepted(folder: Path, before: dict, now: dict, accept_other_version: bool) -> dict:
    """What the new start says of versions that it accepts."""
    others = other_versions(before, now)
    if not others:
        return {}
    if not accept_other_version:
        told = ", ".join(f"{name} {str(was)[:12]} (now {str(new)[:12]})" for name, (was, new) in others.items())
        raise ValueError(
            f"--resume {folder}: what is there was made by another version: {told}; start a new run, or go on with "
            f"{ACCEPT}, which {ENVIRONMENT} then keeps"
        )
    return {"accepted_other_version": {name: was for name, (was, _) in others.items()}}

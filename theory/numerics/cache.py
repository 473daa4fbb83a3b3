"""What is kept for the next time: one file each in the cache folder, read back where it is whole, else made again."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from theory.numerics.whole_files import replacing

CACHE_VARIABLE = "CONTRASTIVE_THEORY_CACHE"
Kept = TypeVar("Kept")


def cache_folder() -> Path:
    """The folder that the environment variable CONTRASTIVE_THEORY_CACHE names, else one in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrastive-theory-toolkit"


def kept(
    path: Path, read: Callable[[Path], Kept], make: Callable[[], Kept], write: Callable[[Path, Kept], None], what: str
) -> Kept:
    """What an earlier call has left in a file; else it is made, and left there, with a warning where that fails.

    Args:
        read: raises an error, whichever, where the file is damaged or answers another question; a warning says so.
        write: to the given path, whose file takes the place of ``path`` once it is whole.
        what: is kept, in the plural, for warnings.
    """
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # damage can end a reader in any exception
        warnings.warn(f"{path}: damaged, {what} are made again ({error!r})", stacklevel=3)
    found = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            write(temporary, found)
    except OSError as error:
        warnings.warn(f"{path}: {what} are not kept for the next time ({error})", stacklevel=3)
    return found

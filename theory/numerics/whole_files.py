"""Files that are written whole or not at all."""

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

# What a killed run may leave behind; a resumed one removes it.
PART = ".part"


class DamagedFileError(ValueError):
    """A file of a run folder is missing, truncated or not what it should be."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` when the block ends well.

    Raises:
        OSError: names ``path``; what stood there is untouched.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file under a temporary name, flush it to disk, then rename it over ``path``.

    Raises:
        OSError: the disk is full or the folder not writable; ``path`` is then what it was before.
    """
    data = data.encode() if isinstance(data, str) else data
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: object) -> None:
    """Dataclasses, paths and NumPy numbers included; NaN becomes null."""
    write_whole(path, json.dumps(to_plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Settings that ``write_json`` has kept.

    Raises:
        DamagedFileError: missing, not JSON, or no settings by name.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedFileError(f"{path}: missing, so {path.parent} is not a run folder") from error
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise DamagedFileError(f"{path}: not a whole JSON file ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path}: holds no settings by name")
    return content


def to_plain(value: object) -> object:
    """What JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_table(path: Path, rows: list[dict]) -> None:
    """Rows as CSV, floats in the shortest form that reads back to the same number; what a row lacks is empty."""
    GrowingTable(path).write(rows)


class GrowingTable:
    """A table that is written again and again as it gets more rows; each row is turned into text once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []
        # By identity: the rows themselves are kept, so that no other one can take their place.
        self._lines: dict[int, tuple[dict, str]] = {}

    def write(self, rows: list[dict]) -> None:
        """All rows, the file whole or not at all. Rows that were written before must not have been changed.

        Raises:
            OSError: the file could not be written.
        """
        names = list(dict.fromkeys(name for row in rows for name in row))
        if names != self._names:
            self._names, self._lines = names, {}
        for row in rows:
            if id(row) not in self._lines:
                self._lines[id(row)] = row, _csv_line([row.get(name) for name in names])
        write_whole(self.path, _csv_line(names) + "".join(self._lines[id(row)][1] for row in rows))


def _csv_line(values: list) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(_cell(value) for value in values)
    return text.getvalue()


def _cell(value: object) -> object:
    """What stands in a CSV: NaN and None leave it empty, NumPy numbers are written as Python's."""
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

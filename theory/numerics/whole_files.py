"""Files that are written whole or not at all."""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from theory.numerics.manifest import digest_of, entered, owner, require_unchanged
from theory.numerics.part_files import PART, DamagedFileError, new_part, write_part

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["PART", "DamagedFileError", "GrowingTable", "exact_floats", "read_json", "replacing", "to_plain",
           "write_all", "write_json", "write_table", "write_whole"]  # fmt: skip


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` when the block ends well, and is
    entered into the manifest of its run folder, if that has one.

    Raises:
        OSError: names ``path``; what stood there is untouched.
    """
    temporary = None
    try:
        temporary = new_part(path)
        yield temporary
        with entered({path: str(digest_of(temporary))} if owner(path) else {}):
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file under a temporary name, flush it to disk, then rename it over ``path``.

    Raises:
        OSError: the disk is full or the folder not writable; ``path`` is then what it was before.
    """
    write_all({path: data})


def write_all(files: Mapping[Path, str | bytes]) -> None:
    """Write files, each whole or not at all, in their order, with one entry into the manifest of their run folder.

    Raises:
        OSError: names the file; it, and those after it, are then what they were before.
    """
    contents = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    parts: dict[Path, Path] = {}
    path = next(iter(contents), Path())
    try:
        for path, data in contents.items():
            parts[path] = write_part(path, data)
        with entered({path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}):
            for path, part in parts.items():
                os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Dataclasses, paths and NumPy numbers included; NaN becomes null."""
    write_whole(path, json.dumps(to_plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Settings that ``write_json`` has kept.

    Raises:
        DamagedFileError: missing, not JSON, no settings by name, or not what its run folder's manifest says.
    """
    try:
        content = json.loads(require_unchanged(path, path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedFileError(f"{path}: missing, so {path.parent} is not a run folder") from error
    except DamagedFileError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise DamagedFileError(f"{path}: not a whole JSON file ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path}: holds no settings by name")
    return content


@overload
def to_plain(value: "DataclassInstance | dict") -> dict: ...


@overload
def to_plain(value: object) -> object: ...


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


def exact_floats(pandas_version: str) -> dict[str, str]:
    """Options of pandas.read_csv that read every float back to the number that was written, as pandas does from 3.1 on
    by itself: of random ones a third are off by one unit of the last place before."""
    release = tuple(int(part) for part in pandas_version.split(".")[:2])
    return {} if release >= (3, 1) else {"float_precision": "round_trip"}


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
        self._fields: dict[int, dict[str, str]] = {}

    def write(self, rows: list[dict]) -> None:
        """All rows, the file whole or not at all. Rows that were written before must not have been changed.

        Raises:
            OSError: the file could not be written.
        """
        write_whole(self.path, self.text(rows))

    def take(self, row: dict, fields: dict[str, str]) -> None:
        """A row that an earlier process wrote with this text in its fields, which it keeps: read back, a whole number
        becomes a float where its column also has empty fields."""
        self._lines[id(row)] = row, ""
        self._fields[id(row)] = fields

    def text(self, rows: list[dict]) -> str:
        """What ``write`` writes."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        if names != self._names:
            self._names = names
            self._lines = {key: (row, _csv_line([self._fields[key].get(name) for name in names]))
                           for key, (row, _) in self._lines.items() if key in self._fields}  # fmt: skip
        for row in rows:
            if id(row) not in self._lines:
                self._lines[id(row)] = row, _csv_line([row.get(name) for name in names])
        return _csv_line(names) + "".join(self._lines[id(row)][1] for row in rows)


def _csv_line(values: list) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(_cell(value) for value in values)
    return text.getvalue()


def _cell(value: object) -> object:
    """What stands in a CSV: NaN and None leave it empty, NumPy numbers are written as Python's."""
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

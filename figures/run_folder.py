"""Reading a run folder: tables that are whole, or a clear error."""

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from theory.numerics.manifest import require_unchanged
from theory.numerics.whole_files import DamagedFileError, exact_floats, read_json

__all__ = [
    "DamagedFileError",
    "RunFolder",
    "parse_table",
    "read_json",
    "read_run_folder",
    "read_table",
    "without_controls",
]


# Columns of names, which users choose or which a run takes from folders.
NAMES = ("arm", "contrast", "curve", "head", "name", "run", "wording")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, read once.

    Attributes:
        path: the folder.
        config: config.json.
        tables: name -> table of every NAME.csv that the folder has.
    """

    path: Path
    config: dict
    tables: dict[str, pd.DataFrame]


def read_run_folder(path: Path) -> RunFolder:
    """Read config.json and all tables.

    Raises:
        DamagedFileError: the folder is not a run folder, or a file in it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise DamagedFileError(f"{path}: there is no such folder")
    config = read_json(path / "config.json")
    return RunFolder(path, config, {file.stem: read_table(file) for file in sorted(path.glob("*.csv"))})


def without_controls(rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of a noise sweep's grid: control cells stand beside it. Runs of earlier versions have none."""
    return rows[rows["control"] == "no"] if "control" in rows else rows


def read_table(path: Path) -> pd.DataFrame:
    """One CSV table, held against the manifest of its run folder. Where that has none, a table that was cut off is told
    apart by its end, as all tables end in a newline.

    Raises:
        DamagedFileError: missing, empty, cut off, edited, not of the run, or a line with too few or too many fields;
            names the line.
    """
    try:
        text = require_unchanged(path, path.read_bytes()).decode()
    except DamagedFileError:
        raise
    except (UnicodeDecodeError, OSError) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error})") from error
    lines = text.splitlines()
    if len(lines) < 2:
        raise DamagedFileError(f"{path}: holds no rows; delete the file, its cells are then computed again")
    if not text.endswith("\n"):
        raise DamagedFileError(
            f"{path}: truncated, it does not end with a whole line; put back a whole copy of it, or start a new run"
        )
    for number, line in enumerate(lines, start=1):
        if _count_fields(line) != _count_fields(lines[0]):
            raise DamagedFileError(
                f"{path}: line {number} has {_count_fields(line)} fields, the header "
                f"{_count_fields(lines[0])}; put back a whole copy of it, or start a new run"
            )
    return parse_table(text)


def parse_table(text: str) -> pd.DataFrame:
    """A table from the text of its file, every float as it was written.

    Names are text, whatever they look like, and nothing but an empty field is missing: somebody's run may be called
    None, NA or 01.
    """
    names = dict.fromkeys(NAMES, str)
    return pd.read_csv(io.StringIO(text), low_memory=False, keep_default_na=False, na_values=[""], dtype=names,
                       **exact_floats(pd.__version__))  # fmt: skip


def _count_fields(line: str) -> int:
    """Commas outside quotes, plus one."""
    return sum(part.count(",") for part in line.split('"')[::2]) + 1

"""Tables with one column a feature and, perhaps, one of labels: CSV and parquet."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from models.advisor.inputs.arrays import MemoryLimit, text_array
from theory.console.extras import require_extra
from theory.numerics.whole_files import exact_floats

# Before every label while pandas reads it, which takes cells such as NA for missing otherwise, whatever is asked of it.
MARK = "="
# A whole number of 64 bits as it is written, a row of digits, and any number.
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
DIGITS = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def read_csv(path: Path, label_column: str, limit: MemoryLimit) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (N, D) float64 and labels (N,), or None where the table has no such column.

    Labels are what the cells say: "01" is not "1", and NA is a name like every other one.

    Raises:
        ValueError: text where a number belongs (names column, row and line), columns without a name, an empty label,
            no table.
    """
    limit.require(path.stat().st_size, str(path))
    try:
        table = pd.read_csv(path, low_memory=False, converters={label_column: MARK.__add__},
                            **exact_floats(pd.__version__))  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a whole CSV table ({str(error).strip().splitlines()[-1]})") from error
    values, column = _split(table, path, label_column, first_line=2)
    if column is None:
        return values, None
    return values, _labels_of_text([each[len(MARK) :] for each in column], path, label_column, limit)


def read_parquet(path: Path, label_column: str, limit: MemoryLimit) -> tuple[np.ndarray, np.ndarray | None]:
    """As ``read_csv``. The sizes of the columns are read off the file's own directory first.

    Raises:
        ValueError: as ``read_csv``; pyarrow is not installed.
    """
    require_extra("parquet", f"{path}: a parquet file")
    from pyarrow import lib, parquet

    try:
        described = parquet.ParquetFile(path)
        metadata = described.metadata
        # Eight bytes a value is what a column of dictionary codes may expand to.
        stored = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        limit.require(max(stored, 8 * metadata.num_rows * metadata.num_columns), str(path))
        table = described.read().to_pandas()
    except lib.ArrowException as error:
        raise ValueError(f"{path}: not a whole parquet table ({str(error).splitlines()[0]})") from error
    values, column = _split(table, path, label_column, first_line=None)
    return values, None if column is None else _typed_labels(column, path, label_column, limit)


def _split(
    table: pd.DataFrame, path: Path, label_column: str, first_line: int | None
) -> tuple[np.ndarray, pd.Series | None]:
    unnamed = [i for i, name in enumerate(table.columns) if str(name).startswith("Unnamed: ")]
    if unnamed:
        raise ValueError(
            f"{path}: column {unnamed[0] + 1} has no name; if it numbers the rows, write the table without it "
            "(to_csv(index=False))"
        )
    names = [str(name) for name in table.columns]
    counted = [[str(i + first) for i in range(len(names))] for first in (0, 1)]
    if label_column not in table and names not in counted and all(map(_is_number, names)):
        raise ValueError(
            f"{path}: its first line holds numbers, {', '.join(names[:3])}, ...: put names of columns there"
        )
    labels = table.pop(label_column) if label_column in table else None
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
            numbers = pd.to_numeric(column, errors="coerce")
            row = int(np.flatnonzero(numbers.isna())[0]) if numbers.isna().any() else 0
            line = "" if first_line is None else f" (line {row + first_line})"
            raise ValueError(
                f"{path}: column {name!r}, row {row}{line}: expected a number, got {str(column.iloc[row])!r}; name the "
                f"column of labels with --label-column, now {label_column!r}"
            )
    if not len(table.columns):
        raise ValueError(f"{path}: has no column of numbers")
    return table.to_numpy(dtype=np.float64), labels


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels_of_text(texts: list[str], path: Path, label_column: str, limit: MemoryLimit) -> np.ndarray:
    """Whole numbers as numbers if every label is one in its plain form; fractions as such, to be refused by name."""
    _require_labels([not each for each in texts], path, label_column)
    if all(map(WHOLE.fullmatch, texts)):
        return np.array([int(each) for each in texts], dtype=np.int64)
    if all(map(NUMBER.fullmatch, texts)) and not all(map(DIGITS.fullmatch, texts)):
        return np.array([float(each) for each in texts])
    return text_array(texts, limit, str(path))


def _typed_labels(column: pd.Series, path: Path, label_column: str, limit: MemoryLimit) -> np.ndarray:
    _require_labels(column.isna(), path, label_column)
    if pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(column):
        return column.to_numpy()
    return text_array(column.astype(str).tolist(), limit, str(path))


def _require_labels(missing: pd.Series | list[bool], path: Path, label_column: str) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        raise ValueError(f"{path}: row {rows[0]} has no label in column {label_column!r}")

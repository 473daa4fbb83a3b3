"""Results on disk: every file is written whole or not at all, and a finished cell is never lost."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from figures.run_folder import read_table
from models.run_folder import open_run_folder
from theory.numerics.whole_files import DamagedFileError, GrowingTable, to_plain, write_all

# The column that binds a row to the settings of its cell and of the run.
BOUND = "settings_digest"


@dataclass(frozen=True)
class Tables:
    """What a run keeps of its cells: a table with one row each, and perhaps one with several.

    Attributes:
        rows: name of the table with one row a cell, in its column "cell".
        details: name of the other, or None.
        keys: columns that tell a detail from all others.
        count: column of ``rows`` that says how many details a cell has; None where the last key counts them from 0.
    """

    rows: str = "rows"
    details: str | None = "layers"
    keys: tuple[str, ...] = ("cell", "layer")
    count: str | None = None


CELLS_AND_LAYERS = Tables()
CELLS_ALONE = Tables(details=None)


class RunRecorder:
    """The run folder of a sweep: its tables, by default rows.csv (one row a cell) and layers.csv (one a layer of each).

    Both are rewritten whole after every cell, details first, so that a cell in the rows always has its details. The
    folder is this process's as long as the recorder is there.

    Args:
        path: created if need be.
        config: what the results depend on; a resumed run must have the same.
        resume: continue the run that is there.
        tables: what is kept, under which names.
        accept_other_version: also one of another version of the code.

    Raises:
        ValueError: the folder is not empty, cannot be written or is in use; it holds another run, or none where one is
            to be resumed, or a damaged or edited one, or one of another version.
        OSError: the disk is full.
    """

    def __init__(
        self,
        path: Path,
        config: dict,
        resume: bool,
        device: torch.device,
        tables: Tables = CELLS_AND_LAYERS,
        accept_other_version: bool = False,
    ) -> None:
        self.path = Path(path)
        self.tables = tables
        self.rows_path = self.path / f"{tables.rows}.csv"
        self.details_path = None if tables.details is None else self.path / f"{tables.details}.csv"
        self._rows_table = GrowingTable(self.rows_path)
        self._details_table = None if self.details_path is None else GrowingTable(self.details_path)
        self.rows: list[dict] = []
        self.details: list[dict] = []
        self._config = to_plain(config)
        self._bound: dict[int, str] = {}
        self._open = open_run_folder("", self.path, resume, config, device, accept_other_version=accept_other_version)
        if resume and self.rows_path.exists() and (self.details_path is None or self.details_path.exists()):
            try:
                self._load_cells()
            except DamagedFileError as error:
                raise DamagedFileError(f"--resume: {error}") from error

    def _load_cells(self) -> None:
        """Keep the cells that have their row and all their details; the others are computed again."""
        rows = _read_keyed(self.rows_path, ["cell"])
        if self._details_table is None:
            self.rows = _taken(self._rows_table, rows)
            return
        details = _read_keyed(self._details_table.path, [*self.tables.keys])
        counts = details["cell"].value_counts()
        name = self.tables.count
        if name is None:
            expected = (details.groupby("cell")[self.tables.keys[-1]].max() + 1).reindex(rows["cell"])
        else:
            expected = rows.set_index("cell")[name]
        whole = {cell for cell, count in expected.items() if counts.get(cell, 0) == count}
        self.rows = _taken(self._rows_table, rows[rows["cell"].isin(whole)])
        self.details = _taken(self._details_table, details[details["cell"].isin(whole)])

    def bind(self, settings: Mapping[int, object]) -> None:
        """Rows of these cells are of these settings, and those of earlier starts must be.

        Args:
            settings: cell -> all that its row depends on, besides the run's configuration.

        Raises:
            ValueError: an earlier start had other settings for a cell.
        """
        for cell, each in settings.items():
            text = json.dumps([self._config, cell, to_plain(each)], allow_nan=False)
            # With a letter in front, so that no reader takes a column of digits for numbers.
            self._bound[cell] = f"s{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        for row in self.rows:
            # Rows that an earlier version wrote, and that are taken as they are, have no such column.
            if isinstance(row.get(BOUND), str) and row[BOUND] != self._bound.get(row["cell"], row[BOUND]):
                raise ValueError(
                    f"--resume {self.path}: {self.rows_path.name}: cell {row['cell']} was measured with other settings "
                    "than this version gives it; start a new run"
                )

    @property
    def finished(self) -> set[int]:
        """Cells that need not be computed again."""
        return {int(row["cell"]) for row in self.rows}

    def add(self, row: dict, details: Sequence[dict] = ()) -> None:
        """Store a finished cell, with its details if the run keeps them."""
        if row["cell"] in self._bound:
            row = {**row, BOUND: self._bound[row["cell"]]}
        self.rows = sorted([*self.rows, row], key=lambda r: r["cell"])
        self.details = sorted([*self.details, *details], key=lambda r: tuple(r[key] for key in self.tables.keys))
        table = self._details_table
        texts = {} if table is None else {table.path: table.text(self.details)}
        write_all({**texts, self.rows_path: self._rows_table.text(self.rows)})


def _taken(table: GrowingTable, rows: pd.DataFrame) -> list[dict]:
    """Rows of the table's file, by their place there, as values, while the table keeps their text."""
    with open(table.path, encoding="utf-8", newline="") as file:
        fields = list(csv.DictReader(file))
    found = rows.to_dict("records")
    for place, row in zip(rows.index, found):
        table.take(row, fields[place])
    return found


def _read_keyed(path: Path, keys: list[str]) -> pd.DataFrame:
    """A table whose rows differ in ``keys``."""
    table = read_table(path)
    missing = {*keys} - {*table.columns}
    if missing or table.duplicated(keys).any():
        what = f"has no column {', '.join(missing)}" if missing else "has a row twice"
        raise DamagedFileError(f"{path}: {what}; start a new run")
    return table

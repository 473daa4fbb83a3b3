"""Results on disk: every file is written whole or not at all, and a finished cell is never lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from figures.run_folder import read_table
from models.run_folder import open_run_folder
from theory.numerics.whole_files import DamagedFileError, GrowingTable


@dataclass(frozen=True)
class Tables:
    """What a run keeps of its cells: a table with one row each, and perhaps one with several.

    Attributes:
        rows: name of the table with one row a cell, in its column "cell".
        details: name of the other, or None.
        keys: columns that tell a detail from all others.
        count: column of ``rows`` that says how many details a cell has; None where all cells have equally many.
    """

    rows: str = "rows"
    details: str | None = "layers"
    keys: tuple[str, ...] = ("cell", "layer")
    count: str | None = None


CELLS_AND_LAYERS = Tables()
CELLS_ALONE = Tables(details=None)


class RunRecorder:
    """The run folder of a sweep: its tables, by default rows.csv (one row a cell) and layers.csv (one a layer of each).

    Both are rewritten whole after every cell, details first, so that a cell in the rows always has its details.

    Args:
        path: created if need be.
        config: what the results depend on; a resumed run must have the same.
        resume: continue the run that is there.
        tables: what is kept, under which names.

    Raises:
        ValueError: the folder holds another run, or none where one is to be resumed, or a damaged one.
        OSError: not writable.
    """

    def __init__(
        self, path: Path, config: dict, resume: bool, device: torch.device, tables: Tables = CELLS_AND_LAYERS
    ) -> None:
        self.path = Path(path)
        self.tables = tables
        self.rows_path = self.path / f"{tables.rows}.csv"
        self.details_path = None if tables.details is None else self.path / f"{tables.details}.csv"
        self._rows_table = GrowingTable(self.rows_path)
        self._details_table = None if self.details_path is None else GrowingTable(self.details_path)
        self.rows: list[dict] = []
        self.details: list[dict] = []
        open_run_folder("", self.path, resume, config, device)
        if resume and self.rows_path.exists() and (self.details_path is None or self.details_path.exists()):
            try:
                self._load_cells()
            except DamagedFileError as error:
                raise DamagedFileError(f"--resume: {error}") from error

    def _load_cells(self) -> None:
        """Keep the cells that have their row and all their details; the others are computed again."""
        rows = _read_keyed(self.rows_path, ["cell"])
        if self.details_path is None:
            self.rows = rows.to_dict("records")
            return
        details = _read_keyed(self.details_path, [*self.tables.keys])
        counts = details["cell"].value_counts()
        name = self.tables.count
        expected = pd.Series(counts.max(), rows["cell"]) if name is None else rows.set_index("cell")[name]
        whole = {cell for cell, count in expected.items() if counts.get(cell, 0) == count}
        self.rows = rows[rows["cell"].isin(whole)].to_dict("records")
        self.details = details[details["cell"].isin(whole)].to_dict("records")

    @property
    def finished(self) -> set[int]:
        """Cells that need not be computed again."""
        return {int(row["cell"]) for row in self.rows}

    def add(self, row: dict, details: Sequence[dict] = ()) -> None:
        """Store a finished cell, with its details if the run keeps them."""
        self.rows = sorted([*self.rows, row], key=lambda r: r["cell"])
        self.details = sorted([*self.details, *details], key=lambda r: tuple(r[key] for key in self.tables.keys))
        if self._details_table is not None:
            self._details_table.write(self.details)
        self._rows_table.write(self.rows)


def _read_keyed(path: Path, keys: list[str]) -> pd.DataFrame:
    """A table whose rows differ in ``keys``."""
    table = read_table(path)
    missing = {*keys} - {*table.columns}
    if missing or table.duplicated(keys).any():
        what = f"has no column {', '.join(missing)}" if missing else "has a row twice"
        raise DamagedFileError(f"{path}: {what}; start a new run")
    return table

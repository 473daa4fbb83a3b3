"""Verdicts of single cells, kept in the columns of their rows, so that those of a whole run follow from its table."""

from collections.abc import Iterable
from dataclasses import asdict

from theory.judging.verdicts import Status, Verdict, combine_cells

NUMBERS = ("measured", "bound", "margin", "relative_margin")
COUNTS = {"applicable": 0, "cases": 0, "where": -1}


def verdict_columns(key: str, verdict: Verdict | None) -> dict:
    """Columns KEY_status, KEY_measured and so on; of None, of which nothing is said, empty, and counts 0."""
    values = {} if verdict is None else asdict(verdict)
    empty = {"status": "", **dict.fromkeys(NUMBERS, ""), **COUNTS, "detail": ""}
    return {f"{key}_{name}": values.get(name, default) for name, default in empty.items()}


def verdict_of(row: dict, key: str, statement: str) -> Verdict | None:
    """The verdict that the columns of a row hold, as they are written or as they are read back; None where they are
    empty.

    Raises:
        ValueError: the row has no such columns, or they hold no verdict.
    """
    try:
        status, detail = row[f"{key}_status"], row[f"{key}_detail"]
        if not isinstance(status, str) or not status:
            return None
        measured, bound, margin, relative = (float(row[f"{key}_{name}"]) for name in NUMBERS)
        applicable, cases, where = (int(row[f"{key}_{name}"]) for name in COUNTS)
    except KeyError as error:
        raise ValueError(f"rows are an earlier version's, without the column {error}") from error
    words = detail if isinstance(detail, str) else ""
    return Verdict(statement, Status(status), measured, bound, margin, relative, applicable, cases, where, words)


def verdict_of_rows(rows: Iterable[dict], key: str, statement: str) -> Verdict:
    """One verdict on all cells.

    Raises:
        ValueError: as ``verdict_of``.
    """
    found = (verdict_of(row, key, statement) for row in rows)
    return combine_cells(statement, [verdict for verdict in found if verdict is not None])

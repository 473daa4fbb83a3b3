"""The numbers of a claim as its report shows them: differences with their intervals, and verdicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What columns of verdicts are called; others go by their own names.
HEADINGS = {"contrast": "statement", "measure": "about", "side": "verdict"}
MISSING = "–"


@dataclass(frozen=True)
class NumberTable:
    """A table as it is shown; the first column names the row, and numbers stand on the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


def number_tables(rows: Sequence[dict], level: str = "95 %") -> list[NumberTable]:
    """A finding's numbers: differences with their intervals, and verdicts with the columns that they have.

    Args:
        level: of the intervals, in words.
    """
    contrasts = [row for row in rows if "difference" in row]
    others = [row for row in rows if "difference" not in row]
    found = []
    if others:
        names = list(dict.fromkeys(name for row in others for name in row))
        numeric = tuple(
            all(number(row.get(name)) == MISSING or is_number(row[name]) for row in others) for name in names
        )
        cells = tuple(tuple(number(row.get(name)) for name in names) for row in others)
        found.append(NumberTable(tuple(HEADINGS.get(name, name.replace("_", " ")) for name in names), cells, numeric))
    if contrasts:
        # What matters comes first: on a phone the rest is reached by scrolling.
        headings = ("compared", f"difference [{level} interval]", "answer", "first", "second", "measure", "seeds")
        numeric = (False, True, False, True, True, False, True)
        found.append(NumberTable(headings, tuple(_contrast_cells(row) for row in contrasts), numeric))
    return found


def _contrast_cells(row: dict) -> tuple[str, ...]:
    scale, decimals = _scale(row)
    arms = [_fixed(row.get(name), 1 if scale > 1.0 else decimals, scale) for name in ("first", "second")]
    if scale > 1.0:
        arms = [arm if arm == MISSING else f"{arm} %" for arm in arms]
    return (str(row["contrast"]), difference_words(row), shown_side(row),
            *arms, str(row.get("measure", MISSING)), number(row.get("seeds")))  # fmt: skip


def difference_words(row: dict) -> str:
    """ "+2.11 points [−0.40, +4.62]": a difference with its interval."""
    scale, decimals = _scale(row)
    middle, low, high = (_fixed(row.get(name), decimals, scale, sign=True) for name in ("difference", "low", "high"))
    interval = f"[{low}, {high}]" if MISSING not in (low, high) else "[no interval]"
    return f"{middle}{' points' if scale > 1.0 and middle != MISSING else ''} {interval}"


def shown_side(row: dict) -> str:
    """Where a difference lies, and whether it matters."""
    side = side_words(row.get("side"), row.get("direction"))
    if row.get("inside") is True:
        return "does not matter" if side == "undecided" else f"{side}, does not matter"
    return side


def _scale(row: dict) -> tuple[float, int]:
    """Accuracies are shown in per cent; and the decimals of all of a row's numbers."""
    if row.get("measure") == "accuracy":
        return 100.0, 2
    return 1.0, _decimals([row.get(name) for name in ("difference", "low", "high", "first", "second")])


def side_words(side: str | None, direction: str | None) -> str:
    """Where a difference lies, as seen from the claim."""
    if side not in ("above", "below"):
        return str(side or "undecided")
    return "claimed side" if side == "above" or direction == "differs" else "other side"


def _decimals(values: Sequence[float | None]) -> int:
    """So many that the smallest of the values that matter has two digits, and three of the largest are shown."""
    sizes = [abs(value) for value in values if is_number(value) and value]
    if not sizes:
        return 0
    large = 2 - math.floor(math.log10(max(sizes)))
    difference = abs(values[0]) if is_number(values[0]) and values[0] else max(sizes)
    return min(9, max(0, large, 1 - math.floor(math.log10(difference))))


def _fixed(value: float | None, decimals: int, scale: float = 1.0, sign: bool = False) -> str:
    if value is None or not is_number(value):
        return MISSING
    return f"{scale * value:{'+' if sign else ''},.{decimals}f}".replace("-", "−")


def number(value: object) -> str:
    """A cell: whole numbers with separators, others to four digits, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if not isinstance(value, (int, float)):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    whole = float(value).is_integer() and abs(value) < 1e15
    return (f"{value:,.0f}" if whole else f"{value:.4g}").replace("-", "−")


def is_number(value: object) -> bool:
    """Whether a cell holds a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

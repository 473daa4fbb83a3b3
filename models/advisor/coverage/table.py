"""Counts of draws, the share in which each guarantee held with its interval, and the verdict of the one rule for
statements in probability."""

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from theory.judging.rates import RateCell, clopper_pearson, contradictions, judge_rates
from theory.judging.verdicts import Status

# Of things that are wrong on purpose, the share that must be noticed.
NOTICED = 0.9
# Draws from which on a planted violation must be noticed.
ENOUGH = 100
# Lines of the table are in this order.
ORDER = ("EXACT", "CERTIFIED", "PREDICTED", "control", "planted")
# What predictions of one kind differ in.
PLACE = re.compile(r"(, (relu|softmax))|( (n =|strength|layer) [\d.]+)")


def coverage_rows(outcomes: pd.DataFrame, delta: float) -> Iterator[dict]:
    """A row for every source and guarantee: source, status, guarantee, promised, draws, held, share, low, high,
    verdict.

    VIOLATED takes all guarantees of a source and status together (theory.judging.rates): were all kept, one would be
    called so in at most one run in a thousand.

    Args:
        outcomes: columns source, status, guarantee, held; one row a draw and guarantee.
        delta: what a guarantee may fail with; controls must be noticed in a share NOTICED of draws.
    """
    for status in ORDER:
        allowed = 1.0 - NOTICED if status == "control" else delta
        for source, part in outcomes[outcomes["status"] == status].groupby("source", sort=False):
            counts = part.groupby("guarantee", sort=False)["held"].agg(["sum", "count"]).astype(int)
            cells = [RateCell(f"in {source}", name, n - held, n) for name, held, n in counts.itertuples()]
            broken = contradictions(cells, allowed)
            for cell, (held, count) in zip(cells, counts.to_numpy().tolist()):
                low, high = clopper_pearson(held, count)
                yield {"source": source, "status": status, "guarantee": cell.claim, "promised": 1.0 - allowed,
                       "draws": count, "held": held, "share": held / count, "low": low, "high": high,
                       "verdict": _verdict(cell, cell in broken, allowed)}  # fmt: skip


def _verdict(cell: RateCell, broken: bool, allowed: float) -> str:
    if broken:
        return Status.VIOLATED.value
    alone = RateCell(cell.place, cell.claim, cell.failures, cell.trials, pool=cell.place)
    found = judge_rates(cell.claim, [alone], allowed).status
    return (found if found is Status.HOLDS else Status.UNDECIDED).value


def text_of(rows: Sequence[dict]) -> str:
    """The table for a terminal; of predictions that differ in their place only the one that held least."""
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        place = PLACE.sub("", row["guarantee"]) if row["status"] == "PREDICTED" else row["guarantee"]
        sort = re.search(r"(n =|strength|layer) ", row["guarantee"])
        kinds.setdefault((row["source"], row["status"], place, sort and sort[1]), []).append(row)
    lines = [("source", "status", "guarantee", "promised", "draws", "share that held [95 %]", "verdict")]
    for (source, status, _, _), several in kinds.items():
        row = min(several, key=lambda each: each["share"])
        name = row["guarantee"] + (f"; least of {len(several)}" if len(several) > 1 else "")
        share = f"{row['share']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        lines.append((source, status, name, f"{row['promised']:.2f}", str(row["draws"]), share, row["verdict"]))
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip() for line in lines)


def failed(rows: Sequence[dict]) -> list[dict]:
    """Guarantees that are VIOLATED, and planted violations that enough draws do not show."""
    return [
        row for row in rows
        if (row["verdict"] == Status.VIOLATED.value) != (row["status"] == "planted")
        and (row["status"] != "planted" or row["draws"] >= ENOUGH)
    ]  # fmt: skip

"""All claims at a glance: differences in units of the smallest effect worth deciding, so that they share an axis."""

import math
from collections.abc import Mapping, Sequence

from paper_checks.claims import Claim
from paper_checks.report.entries import LABELS

FOREST = "forest"
# Characters of a claim's wording beside its id.
ROOM = 46
ANSWERED = ("reproduced", "contradicted", "no difference", "undecided")


def forest_rows(rows: Sequence[Mapping], claims: Mapping[str, Claim]) -> list[dict]:
    """The rows of forest.csv, one a difference; a claim without one has a row too, for its answer.

    Args:
        rows: of results.csv, of this run or a kept one; where they have no worth, as those of earlier versions, it is
            what the claim names for their measure.
        claims: by id.
    """
    found: list[dict] = []
    seen: set[str] = set()
    for row in rows:
        claim = claims[row["claim"]]
        worth = row.get("worth", math.nan)
        if not _finite(worth):
            worth = claim.worth.get(row.get("measure", ""), math.nan)
        known = _finite(worth) and _finite(row.get("difference"))
        if not known and claim.id in seen:
            continue
        own = {"claim": claim.id, "wording": claim.wording, "answer": row["answer"]}
        if known:
            ends = {name: row[key] / worth if _finite(row.get(key)) else math.nan
                    for name, key in (("effect", "difference"), ("low", "low"), ("high", "high"))}  # fmt: skip
            found = [each for each in found if each["claim"] != claim.id or each["contrast"]]
            found.append({**own, "contrast": row["contrast"], "direction": row.get("direction"), **ends})
        else:
            found.append(
                {**own, "contrast": "", "direction": "", "effect": math.nan, "low": math.nan, "high": math.nan}
            )
        seen.add(claim.id)
    return found


def forest_words(rows: Sequence[Mapping]) -> str:
    """What is seen in the forest plot, for who does not see it."""
    drawn = [row for row in rows if row["contrast"]]
    claims: dict[str, list[Mapping]] = {}
    for row in drawn:
        claims.setdefault(row["claim"], []).append(row)
    either = [name for name, each in claims.items() if any(row.get("direction") == "differs" for row in each)]
    words = [
        f"Forest plot: {len(drawn)} differences of {len(claims)} claims with their intervals, in units of the smallest "
        "effect worth deciding; the band from −1 to 1, where differences do not matter, is shaded, and the claimed "
        "side is on the right" + (f", of {', '.join(either)} (†) on either side" if either else "")
    ]
    for answer in ANSWERED:
        own = {name: each for name, each in claims.items() if each[0]["answer"] == answer}
        if own:
            label = LABELS.get(answer, answer)
            words.append(f"{label} ({len(own)}): {', '.join(f'{name} {_reach(each)}' for name, each in own.items())}")
    rest = [row for row in rows if not row["contrast"]]
    if rest:
        told = ", ".join(f"{row['claim']} {LABELS.get(row['answer'], row['answer'])}" for row in rest)
        words.append(f"without differences in such units: {told}")
    return ". ".join(words) + "."


def _reach(rows: Sequence[Mapping]) -> str:
    """ "at +2.1", "from −1.6 to +4.9"."""
    low, high = min(row["effect"] for row in rows), max(row["effect"] for row in rows)
    first, last = (f"{value:+.1f}".replace("-", "−") for value in (low, high))
    return f"at {first}" if first == last else f"from {first} to {last}"


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

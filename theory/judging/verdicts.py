"""Verdicts: a measurement held against a bound, with its margin, and nothing said that is too close to call.

Source: theory.md, "What verification means here".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import mpmath
import numpy as np

from theory.judging.exact_replay import ExactReplay
from theory.numerics.inputs import Numbers
from theory.numerics.precision import ABSOLUTE_MARGIN, EXACT_DIGITS, EXACT_EQUALITY, RELATIVE_MARGIN

# (trial, alpha, beta) -> smallest margin of the trial, in mpmath numbers, which have no types
ExactMargin = Callable[[int, np.ndarray, np.ndarray], Numbers]


class Status(StrEnum):
    """What a check found."""

    HOLDS = "HOLDS"
    VIOLATED = "VIOLATED"
    UNDECIDED = "UNDECIDED"
    NOT_APPLICABLE = "NOT_APPLICABLE"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one statement on a set of batches.

    Attributes:
        statement: what was claimed, e.g. "Theorem 2a: cross cosines".
        status: HOLDS, VIOLATED, UNDECIDED (too close to call) or NOT_APPLICABLE (no hypothesis satisfied).
        measured, bound, margin: of the tightest case; margin = bound - measured, negative when violated.
        relative_margin: margin over the larger of |bound| and |measured|; 1 or -1 where the margin is infinite.
        applicable: cases that satisfy the hypotheses; ``cases`` is how many were looked at.
        where: index of the tightest case, usually its trial; -1 when there is none.
        detail: a sentence for people.
        noticed_in_all, noticed_in_one, noticed_anywhere: of statements in probability, which failure rates would have
            been noticed (theory.judging.rates.judge_rates).
    """

    statement: str
    status: Status
    measured: float = float("nan")
    bound: float = float("nan")
    margin: float = float("nan")
    relative_margin: float = float("nan")
    applicable: int = 0
    cases: int = 0
    where: int = -1
    detail: str = ""
    noticed_in_all: float = float("nan")
    noticed_in_one: float = float("nan")
    noticed_anywhere: float = float("nan")

    def __str__(self) -> str:
        if self.status is Status.NOT_APPLICABLE:
            return f"{self.statement}: {self.status}  ({self.detail})"
        # What holds by high precision may look the other way round in float64.
        relation = "<=" if self.measured <= self.bound else "=" if self.status is Status.HOLDS else ">"
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.statement}: {self.status}  {self.applicable:,} of {self.cases:,} cases apply, "
            f"tightest {self.measured:.4g} {relation} {self.bound:.4g}{detail}"
        )


def reject_nan(**arrays: Numbers) -> None:
    """Raise before a NaN can pass for "not violated".

    Raises:
        ValueError: names the array.
    """
    for name, array in arrays.items():
        if np.isnan(np.asarray(array, dtype=float)).any():
            raise ValueError(f"{name}: contains NaN, no verdict is possible")


def judge(
    statement: str,
    measured: Numbers,
    bound: Numbers,
    applicable: Numbers,
    exact: ExactReplay | None = None,
    exact_margin: ExactMargin | None = None,
    *,
    discrete: bool = False,
) -> Verdict:
    """Hold ``measured <= bound`` case by case, where applicable.

    Args:
        statement: name of the claim.
        measured: (..., trials) in float64; leading axes (layers) are part of the case.
        bound: broadcasts against ``measured``.
        applicable: (trials,) booleans, the hypotheses' check.
        exact: high-precision replay of a trial, consulted when a float64 margin is too close to call. Without it such a
            case is UNDECIDED.
        exact_margin: smallest margin of a replayed trial, from its number and its exact alpha and beta.
        discrete: the measured values are counts, or are compared with a tolerance: equality is no near-tie.

    Raises:
        ValueError: NaN in an applicable case.
    """
    measured, bound = np.broadcast_arrays(np.asarray(measured, dtype=float), np.asarray(bound, dtype=float))
    trials = measured.shape[-1]
    index = np.flatnonzero(np.broadcast_to(applicable, (trials,)))
    if index.size == 0 or measured.size == 0:
        return Verdict(statement, Status.NOT_APPLICABLE, cases=trials, detail="no case satisfies the hypotheses")
    measured, bound = measured.reshape(-1, trials)[:, index], bound.reshape(-1, trials)[:, index]
    reject_nan(measured=measured, bound=bound)

    size = np.maximum(np.abs(bound), np.abs(measured))
    with np.errstate(invalid="ignore"):
        margin = np.where(bound == measured, 0.0, bound - measured)
    # An infinite excess (a false edge) has no ratio; -1 is that of any measured value that dwarfs its bound, and 1 that
    # of any bound that dwarfs the measured value.
    finite = np.isfinite(margin)
    relative = np.where(finite, margin, np.sign(margin)) / np.where(finite & (size > 0), size, 1.0)
    close = (np.abs(margin) <= RELATIVE_MARGIN * size) | (np.abs(margin) <= ABSOLUTE_MARGIN)
    close &= finite & (not discrete)
    violated = ~close & ~(measured <= bound)

    # The tightest case is reported: a violation if there is one, else the smallest margin that could be called.
    candidates = violated if violated.any() else ~close if (~close).any() else close
    # Ratios go up to 2, where signs differ: no margin is wider than an infinite one.
    if (candidates & (margin < np.inf)).any():
        candidates = candidates & (margin < np.inf)
    layer, column = np.unravel_index(np.where(candidates, relative, np.inf).argmin(), margin.shape)
    verdict = Verdict(
        statement, Status.VIOLATED if violated.any() else Status.HOLDS,
        float(measured[layer, column]), float(bound[layer, column]), float(margin[layer, column]),
        float(relative[layer, column]), int(index.size), trials, int(index[column]),
    )  # fmt: skip
    if violated.any():
        return replace(verdict, detail=f"violated in {int(violated.any(axis=0).sum())} cases")

    tied = np.flatnonzero(close.any(axis=0))
    tied = tied[np.argsort(np.where(close, margin, np.inf).min(axis=0)[tied], kind="stable")]
    return _settle_ties(verdict, index[tied], exact, exact_margin)


def _settle_ties(
    verdict: Verdict, tied: np.ndarray, exact: ExactReplay | None, exact_margin: ExactMargin | None
) -> Verdict:
    """Re-evaluate near-ties in high precision, worst first; those that cannot be leave the verdict UNDECIDED."""
    if tied.size == 0:
        return verdict
    if exact is None or exact_margin is None:
        return _left_open(verdict, tied, 0)
    checked = tied[: exact.limit]
    for trial in checked:
        with mpmath.workdps(EXACT_DIGITS):
            margin = exact_margin(int(trial), *exact(int(trial)))
        if not margin >= -EXACT_EQUALITY:
            return replace(
                verdict, status=Status.VIOLATED, margin=float(margin), where=int(trial),
                detail=f"in high precision: bound - measured = {float(margin):.3g}",
            )  # fmt: skip
    if checked.size < tied.size:
        return _left_open(verdict, tied, checked.size)
    return replace(verdict, detail=f"{tied.size} near-ties settled in high precision")


def _left_open(verdict: Verdict, tied: np.ndarray, settled: int) -> Verdict:
    detail = f"{tied.size - settled} cases are too close to call in float64 and were not re-evaluated"
    return replace(verdict, status=Status.UNDECIDED, where=int(tied[settled]), detail=detail)


SEVERITY = (Status.VIOLATED, Status.UNDECIDED, Status.HOLDS, Status.NOT_APPLICABLE)


def combine_parts(statement: str, parts: Iterable[Verdict]) -> Verdict:
    """One verdict for the parts of a theorem, checked on the same cases: the most serious status, and of the parts
    with that status the tightest."""
    parts = list(parts)
    return replace(
        _most_serious(statement, parts),
        applicable=max((v.applicable for v in parts), default=0),
        cases=max((v.cases for v in parts), default=0),
    )


def combine_cells(statement: str, cells: Iterable[Verdict]) -> Verdict:
    """One verdict for one statement on several sets of cases."""
    cells = list(cells)
    return replace(
        _most_serious(statement, cells), applicable=sum(v.applicable for v in cells), cases=sum(v.cases for v in cells)
    )


def _most_serious(statement: str, verdicts: list[Verdict]) -> Verdict:
    if not verdicts:
        return Verdict(statement, Status.NOT_APPLICABLE, detail="nothing was checked")
    status = min((v.status for v in verdicts), key=SEVERITY.index)
    decisive = [v for v in verdicts if v.status is status]
    # A count that must be zero and is zero has no margin to speak of, nor has an infinite one: prefer a part that has.
    tightest = min(decisive, key=lambda v: v.relative_margin if v.bound != v.measured and v.margin < np.inf else np.inf)
    part = "" if tightest.statement == statement else tightest.statement.removeprefix(f"{statement}: ")
    detail = "; ".join(text for text in (part, tightest.detail) if text)
    return replace(tightest, statement=statement, detail=detail)

"""Several looks at growing numbers of seeds, at the error rate of one: each look has its share of it.

The seeds at which a claim may be looked at, n_1 < ... < n_K, are settled before the run, and look j has the share s_j
= n_j / (n_1 + ... + n_K) of every error rate: a hypothesis whose p-value at look j is p_j (decisions.py) is rejected
if p_j <= s_j a at some look that was taken. That is, over looks its p-value is

    p = min over the looks that were taken of p_j / s_j.

Proof that p is a p-value: if the hypothesis is true, P(p <= a) <= P(p_j <= s_j a for some j = 1, ..., K) <= sum_j s_j
a = a. The middle step counts looks that were never taken, too: *which* looks are taken, and why, does not matter -
because this claim or another one that shares its arms was undecided, because time ran out, or because somebody was
curious. So shared arms, an order of claims by what they promise, and runs that are stopped and continued leave the
rate as it is. Intervals of look j have level 1 - 5 % s_j; those of all looks together cover with probability 95 %.

What it costs: the last look has more than half of the level if the numbers of seeds double, s_K = 2^(K-1)/(2^K - 1). A
boundary of O'Brien and Fleming's kind would leave it nearly all, which saves about a seventh of the seeds of a
difference that is found at the last look only. It would have to be integrated or simulated for Student's ratios of
every plan, and again for every combination of looks that a stopped run leaves; the sum above is exact arithmetic. And
large differences, which are most of what is decided early, are found earlier than with it.

Several looks begin with five seeds or more. Differences of accuracies have few levels: of two or three seeds they are
equal, or nearly, so often that the small level of a first look is exceeded many times over. From five seeds on all
looks together keep to 5 % for sides if differences are normal but for rounding (the tests try deviations from half a
step to ten), and for the third answer if they deviate by a step or so, or the worth is many steps, as a point is of
hundreds of test images.

The first look that decides gives the answer, and later seeds of arms that other claims go on with do not change it.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from paper_checks.statistics.decisions import DECIDED, Answer, PValues
from theory.numerics.inputs import require_count

# Of the first of several looks.
FEWEST = 5


def looks(first: int, cap: int) -> tuple[int, ...]:
    """Numbers of seeds at which a claim is looked at: the cap, its half, a quarter, ..., and the first stage.

    Args:
        first: seeds of the first stage, 1 or more.
        cap: largest number of seeds, ``first`` or more.

    Returns:
        growing numbers; halves below one and a half times the first stage are left out.

    Raises:
        ValueError: numbers that cannot be, or several looks of which the first has fewer than FEWEST seeds; names the
            argument.
    """
    require_count(first, "first", 1)
    require_count(cap, "cap", first)
    if cap > first < FEWEST:
        raise ValueError(f"cap: several looks need a first stage of {FEWEST} seeds or more, got {cap} over {first}")
    found: list[int] = []
    seeds = cap
    while seeds > first and (not found or 2 * seeds >= 3 * first):
        found.append(seeds)
        seeds = -(-seeds // 2)
    return (first, *reversed(found))


def shares(plan: Sequence[int]) -> tuple[float, ...]:
    """Of the error rate, by look: in proportion to the seeds. They add up to 1.

    Raises:
        ValueError: no look, or numbers of seeds that do not grow.
    """
    if not plan or any(later <= earlier for earlier, later in pairwise(plan)) or plan[0] < 1:
        raise ValueError(f"plan: must be growing numbers of seeds, 1 or more, got {list(plan)}")
    return tuple(seeds / sum(plan) for seeds in plan)


def to_come(plan: Sequence[int], taken: int) -> list[tuple[int, float]]:
    """Seeds and share of the error rate of each look that is left after so many; none without a plan."""
    return [*zip(plan, shares(plan))][taken:] if plan else []


def over_looks(found: Sequence[PValues], plan: Sequence[int]) -> PValues:
    """The p-values of a claim over the looks that were taken.

    Args:
        found: of the first looks of the plan, one a look, all with the same hypotheses.
        plan: seeds of all looks.

    Raises:
        ValueError: no look was taken, or more than planned.
    """
    portions = shares(plan)
    if not 1 <= len(found) <= len(portions):
        raise ValueError(f"found: must be of 1 to {len(portions)} looks, got {len(found)}")

    def smallest(values: Iterable[float | None]) -> float | None:
        known = [value / share for value, share in zip(values, portions) if value is not None]
        return min(1.0, *known) if known else None

    return PValues(
        min(1.0, *(each.reproduced / share for each, share in zip(found, portions))),
        smallest(each.contradicted for each in found),
        smallest(each.same for each in found),
    )


def first_decision(found: Sequence[PValues], plan: Sequence[int]) -> tuple[int, Answer]:
    """Which look decides, and how; the last one that was taken, and undecided, if none does.

    Raises:
        ValueError: as :func:`over_looks`.
    """
    for count in range(1, len(found) + 1):
        answer = over_looks(found[:count], plan).answer
        if answer in DECIDED:
            return count - 1, answer
    return max(0, len(found) - 1), over_looks(found, plan).answer

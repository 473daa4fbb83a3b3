"""The error rate over all claims of a run: which answers still stand when many claims were asked at once.

By itself every claim is decided wrongly in at most 5 % of runs (decisions.py). Of 26 claims about arms that do not
differ at all, one or more would be decided in 1 - .95^26 = 74 % of runs, were they independent. An answer *stands over
all claims* if it is among those that Holm's step-down procedure keeps: the probability that a single one of these is
wrong is at most 5 %.

The family: all trends and comparisons of the run, decided or not; those that could not be measured count too, with
p-value 1, since what was asked was settled before the run. Claims of the kind "theorem" are not among them: they are
decided by verdicts of theory.judging.verdicts, not by p-values.

The hypotheses: a claim that contrasts are above 0 has two or three (decisions.py), with weight 1/2 each: R, "some
contrast is 0 or less"; C, "all are 0 or more"; and, where it names the smallest effect worth deciding, E, "every
contrast matters". A claim that arms differ has R, "some contrast is 0", with weight 1, and perhaps E with weight 1/2.
P-values are those over all looks that were taken (sequential.py). A claim by itself rejects a hypothesis of weight w
at level 5 % w.

What can be true at once weighs at most 1 a claim: R and C together say that some contrast is 0, which E denies, so
that of the three at most two are true; and that some contrast is 0 and E are never true together. So all K claims
weigh K, and the third answer makes no other answer harder.

Holm's procedure with weights (S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6,
1979), with what is impossible left out (J. P. Shaffer, Modified sequentially rejective multiple test procedures, J.
Am. Stat. Assoc. 81, 1986): go through the hypotheses by growing p/w, and reject as long as

    p/w <= 5 % / sum over claims of min(1, weight of its hypotheses that are not yet rejected, this one included).

Proof: let N be the true hypotheses, W their weight, and h the first of them to be rejected. None of N was rejected
before, so a claim's hypotheses in N are among those that are not yet rejected, and they can be true at once: they
weigh no more than its term. The denominator was at least W, then, and p_h <= 5 % w_h / W. For some h of N this has
probability at most sum_N 5 % w_h / W = 5 %. Nothing was asked about how claims depend on each other (arms and seeds
are shared), nor about which hypotheses are true, nor which looks were taken; and since all answers of a claim are in
the family, one on the wrong side and one that denies a difference that matters are errors that count.

An adjusted p-value is the smallest level in place of 5 % at which a hypothesis is rejected: the largest, over the
hypotheses up to it, of p/w times that sum. That of a claim is the one of the hypothesis that its answer rejects - a
difference that is clear, but smaller than what matters, may reject another one more strongly - and of an undecided
claim the smallest of its own.

It inherits what decisions.py assumes of single contrasts, differences close to normal: where values have few levels,
so that all seeds may agree by accident, p-values are too small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paper_checks.statistics.decisions import LEVEL, Answer, PValues
from theory.numerics.inputs import require_range


@dataclass(frozen=True)
class Standing:
    """A claim among all claims of its run.

    Attributes:
        p_value: of the claim by itself, p/w: of the hypothesis that its answer rejects, or, of a claim that is not
            decided, the smallest of its own.
        adjusted: the same over all claims.
        stands: whether its answer does: decided by its own rule, and the adjusted p-value is at most 5 %.
    """

    p_value: float
    adjusted: float
    stands: bool


def weighted_holm(
    p_values: Sequence[float], weights: Sequence[float], claims: Sequence[str] | None = None, most: float = 1.0
) -> list[float]:
    """Adjusted p-values, by Holm's step-down procedure with weights, in the order of the hypotheses.

    Args:
        p_values: one a hypothesis, in [0, 1].
        weights: above 0; a hypothesis with twice the weight is rejected at twice the level.
        claims: whose each hypothesis is; by default each stands for itself.
        most: that the hypotheses of one claim weigh which can be true at once; with ``claims`` only.

    Raises:
        ValueError: values out of range, NaN included, or another number of weights or claims.
    """
    if len(p_values) != len(weights):
        raise ValueError(f"weights: must be one a hypothesis, got {len(weights)} for {len(p_values)}")
    if claims is not None and len(claims) != len(p_values):
        raise ValueError(f"claims: must be one a hypothesis, got {len(claims)} for {len(p_values)}")
    for p_value, weight in zip(p_values, weights):
        require_range(p_value, "p_values", 0.0, 1.0)
        require_range(weight, "weights", 0.0, float("inf"), closed="neither")
    adjusted, largest = [1.0] * len(p_values), 0.0
    remaining: dict[object, list[float]] = {}
    whose = range(len(p_values)) if claims is None else claims
    for claim, weight in zip(whose, weights):
        remaining.setdefault(claim, []).append(weight)
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i] / weights[i]):
        possible = sum(sum(each) if claims is None else min(most, sum(each)) for each in remaining.values())
        largest = max(largest, p_values[i] / weights[i] * possible)
        adjusted[i] = min(1.0, largest)
        remaining[whose[i]].remove(weights[i])
    return adjusted


def standings(claims: Mapping[str, tuple[Answer, PValues]]) -> dict[str, Standing]:
    """How every claim stands among all of them.

    Args:
        claims: answer and p-values of all trends and comparisons of a run.
    """
    # claim, the answer that rejecting it gives, p-value, weight
    family = [(name, *each) for name, (_, found) in claims.items() for each in found.hypotheses]
    adjusted = weighted_holm([each[2] for each in family], [each[3] for each in family], [each[0] for each in family])
    by_answer = {(name, side): value for (name, side, *_), value in zip(family, adjusted)}
    found = {}
    for name, (answer, values) in claims.items():
        own = {side: (min(1.0, value / weight), by_answer[name, side]) for side, value, weight in values.hypotheses}
        p_value, at_least = own.get(answer) or min(own.values())
        found[name] = Standing(p_value, at_least, answer in own and at_least <= 1.0 - LEVEL)
    return found

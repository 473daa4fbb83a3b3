"""One row of attention over a random batch: brackets of E(own weight/all weight), from all weights of the row's pool.

The pool is split into strata; of each, a fixed number of units is drawn without replacement; some weight of the row's
own class may be present in every batch. Uniform batches have one stratum, class-balanced ones a stratum a class, views
one whose units are pairs. Statement and proof: theory.md, section 6 (Proposition 6).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln

from theory.numerics.laplace_rule import LaplaceRule

# Relative; of sums of a few hundred terms. Logarithms of binomial coefficients add to it in large pools.
ROUND_OFF = 1e-11
STEP, LOSS = 0.35, 1e-12
# Positive weights below it, which only high powers have, count as this.
SMALLEST = 1e-300


def round_off(units: int) -> float:
    """What probabilities of so many units may be off by: sixteen roundings of a logarithm of a factorial, or
    ROUND_OFF."""
    return max(ROUND_OFF, float(gammaln(units + 1.0)) * 2.0**-49)


@dataclass(frozen=True)
class Sides:
    """Bounds of the expected shares of own (``inside``) and of other classes (``outside``), and P(no weight at all).

    Attributes:
        empty: (rows,), or its two bounds where degrees are not exact.
    """

    inside: tuple[Float[np.ndarray, "*sizes rows"], Float[np.ndarray, "*sizes rows"]]
    outside: tuple[Float[np.ndarray, "*sizes rows"], Float[np.ndarray, "*sizes rows"]]
    empty: tuple[Float[np.ndarray, "*sizes rows"], Float[np.ndarray, "*sizes rows"]]

    def bracket(self, error: float = ROUND_OFF) -> tuple[np.ndarray, np.ndarray]:
        """max(in-, 1 - empty - out+) and min(in+, 1 - empty - out-), moved apart by the round-off, in [0, 1]."""
        lower = np.maximum(self.inside[0] * (1.0 - error), 1.0 - self.empty[1] - self.outside[1] - error)
        upper = np.minimum(self.inside[1], 1.0 - self.empty[0] - self.outside[0] * (1.0 - error)) + error
        return np.clip(lower, 0.0, 1.0), np.clip(upper, 0.0, 1.0)


def missing_all(sizes: np.ndarray, hits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """P(none of the hits is drawn): C(P - d, m)/C(P, m), elementwise."""
    left = sizes - hits
    safe = np.maximum(left - draws, 0)
    logs = gammaln(left + 1.0) - gammaln(safe + 1.0) - gammaln(sizes + 1.0) + gammaln(sizes - draws + 1.0)
    return np.where(left >= draws, np.minimum(np.exp(logs), 1.0), 0.0)


def row_sides(
    weights: Float[np.ndarray, " units"],
    own: Bool[np.ndarray, " units"],
    strata: Int[np.ndarray, " units"],
    draws: Int[np.ndarray, "sizes strata"],
    present: float = 0.0,
) -> list[tuple[float, float, float, float, float]]:
    """(in-, in+, out-, out+, empty) of one row for several batch sizes, from its weights: O(units nodes) a batch size.

    Args:
        weights: h_ij of the pool, without the row itself; 0 or at least SMALLEST.
        strata: 0..S-1; ``draws``: how many units of each a batch of each size has besides the row.
        present: weight of the row's own class that every batch has.
    """
    count = draws.shape[1]
    sizes = np.bincount(strata, minlength=count)
    masses = np.bincount(strata, weights=weights, minlength=count)
    degree = np.bincount(strata, weights=weights > 0, minlength=count)
    hits = np.bincount(strata, weights=(weights > 0) & own, minlength=count)
    positive = np.append(weights, present)
    positive = positive[positive > 0]
    if positive.size == 0:
        return [(0.0, 0.0, 0.0, 0.0, 1.0)] * len(draws)
    rule = LaplaceRule.spanning(positive.min(), positive.max(), positive.sum(), STEP, LOSS)
    used = np.flatnonzero(weights > 0)
    h, stratum, inside = weights[used], strata[used], own[used]
    decay = np.exp(-h[:, None] * rule.nodes)
    sums = np.stack([decay[stratum == s].sum(axis=0) for s in range(count)]) + (sizes - degree)[:, None]
    kernel = rule.kernel(h)
    before, behind = rule.before(h), rule.behind(kernel)
    with np.errstate(divide="ignore"):
        log_means = np.log(np.maximum(sums, 1e-300) / np.maximum(sizes, 1)[:, None])
        others = np.maximum(sums[stratum] - decay, 0.0) / np.maximum(sizes - 1, 1)[stratum, None]
        log_others = np.log(np.maximum(others, 1e-300))
    self_kernel = rule.kernel(np.array(present))
    found = []
    for m in draws:
        chance = m / np.maximum(sizes, 1)
        rest = np.maximum(m - 1, 0) / np.maximum(sizes - 1, 1)
        usual = float(chance @ masses)
        # Sums over the other strata, without the cancellation of subtracting one's own.
        elsewhere = (1.0 - np.eye(count)) @ (chance * masses)
        apart = elsewhere[stratum] + rest[stratum] * (masses[stratum] - h)
        low = chance[stratum] * (h / (h + present + np.maximum(apart, 0.0)))
        log_all = m @ log_means - present * rule.nodes
        log_rest = log_all - m[stratum, None] * log_means[stratum] + np.maximum(m - 1, 0)[stratum, None] * log_others
        tail = np.exp(log_rest)
        high = (kernel * tail).sum(axis=1) + before + tail[:, -1] * behind
        high = chance[stratum] * np.minimum(high / (1.0 - rule.error), 1.0)
        in_low, in_high = low[inside].sum(), high[inside].sum()
        empty = 0.0
        if present > 0:
            around = np.exp(m @ log_means)
            lot = (self_kernel * around).sum() + rule.before(present) + around[-1] * rule.behind(self_kernel)
            in_low += present / (present + usual)
            in_high += min(float(lot) / (1.0 - rule.error), 1.0)
        else:
            empty = float(np.prod(missing_all(sizes, degree, m)))
        # An own share needs an own neighbour in the batch, a foreign one a foreign neighbour.
        own_cap = 1.0 if present > 0 else 1.0 - float(np.prod(missing_all(sizes, hits, m)))
        out_cap = 1.0 - float(np.prod(missing_all(sizes, degree - hits, m)))
        found.append((in_low, min(in_high, own_cap), low[~inside].sum(), min(high[~inside].sum(), out_cap), empty))
    return found

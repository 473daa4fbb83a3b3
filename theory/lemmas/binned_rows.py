"""Proposition 6's bracket from histograms of a tile's cosines: sums over rows become sums over the bins' edges.

On a bin [lo, hi] of weights f(h) = h/(h + X) obeys

    (1 - eta) f(h) <= chord of f at h <= f(h),   eta = tanh^2(ln(hi/lo)/4),   whatever X >= 0 is,

and exp(-t h) lies below its chord. What is a unit's own is left out of phi_ij by (1+x)^M <= 1 + M x + q x^2 on
x <= 1/(P-1), with the q that makes it an equality there. Proof: theory.md, section 6 ("What is computed").
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from theory.lemmas.batch_weights import Weight
from theory.lemmas.drawn_rows import Sides, missing_all, round_off
from theory.numerics.laplace_rule import LaplaceRule

STEP, LOSS, ROUND_OFF, STEEP = 0.5, 1e-8, 1e-9, 4.0
# Weights smaller than this share of the largest are bracketed less tightly.
SPAN = 1e-40


@dataclass(frozen=True)
class RowBins:
    """Histograms of a tile of R rows, by group of columns, over B equal bins of [-1, 1].

    Attributes:
        counts: how many cosines are in each bin.
        places: sums of their places in the bin, 0 at its lower and 1 at its upper edge.
        reach: how far a true cosine may be from where it was placed.
    """

    counts: Float[np.ndarray, "groups R B"]
    places: Float[np.ndarray, "groups R B"]
    reach: float


@dataclass(frozen=True)
class RowPool:
    """What may be drawn beside each row of a tile.

    Attributes:
        own: whether a group is of the row's own class.
        stratum: of each group.
        sizes: units in each stratum.
        draws: how many of them a batch has besides the row, for each batch size.
        present: bounds of the weight of the row's own class that every batch has.
        degrees: units of each group that surely, and that possibly, weigh more than 0.
    """

    own: Bool[np.ndarray, "groups R"]
    stratum: tuple[int, ...]
    sizes: Int[np.ndarray, "strata R"]
    draws: Int[np.ndarray, "sizes strata R"]
    present: Float[np.ndarray, "2 R"]
    degrees: Int[np.ndarray, "2 groups R"]

    def by_stratum(self, groups: np.ndarray) -> np.ndarray:
        """Sums over the groups of each stratum."""
        found = np.zeros((len(self.sizes), *groups.shape[1:]))
        for stratum, group in zip(self.stratum, groups):
            found[stratum] += group
        return found


@dataclass(frozen=True)
class Edges:
    """A tile's weights as weights at the edges of its bins, those in use.

    Attributes:
        low_values, high_values: weight at each edge, with cosines at the near and at the far end of their reach, (E,).
        low, high: units at each edge such that sums of h are at most and at least the true ones, (groups, R, E).
        numerator: units at each edge such that sums of h/(h + X) are at least the true ones, whatever X is.
        concave: units at each edge such that they are at most the true ones, with ``high_values``.
    """

    low_values: np.ndarray
    high_values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    numerator: np.ndarray
    concave: np.ndarray

    @classmethod
    def of(cls, weight: Weight, bins: RowBins, possible: np.ndarray) -> "Edges | None":
        """None where no weight is positive.

        Args:
            possible: units of each group that may weigh more than 0, (groups, R).
        """
        number = bins.counts.shape[-1]
        edges = -1.0 + 2.0 * np.arange(number + 1) / number
        used = np.flatnonzero(bins.counts.any(axis=(0, 1)) & (weight.value(edges[1:] + bins.reach) > 0.0))
        if used.size == 0:
            return None
        kept = slice(used[0], used[-1] + 1)
        edges = edges[used[0] : used[-1] + 2]
        counts, places = bins.counts[..., kept], bins.places[..., kept]
        low_values, high_values = weight.value(edges - bins.reach), weight.value(edges + bins.reach)
        above = _places_of_weights(weight, edges, counts, places, bins.reach, high=True)
        below = _places_of_weights(weight, edges, counts, places, bins.reach, high=False)
        lower = _places_of_weights(weight, edges, counts, places, -bins.reach, high=False)
        # In the bin with the cut, only the units that the bins above leave over can be positive.
        kink = high_values[:-1] == 0.0
        positive = np.clip((possible - counts[..., ~kink].sum(axis=-1))[..., None], 0.0, counts)
        with np.errstate(divide="ignore"):
            ratio = np.where(kink, 1.0, high_values[1:] / np.where(kink, 1.0, high_values[:-1]))
        # Where a bin's weights differ by more, all of its units count as if at its upper edge.
        steep = kink | (ratio > STEEP)
        sag = np.where(steep, 1.0, np.cosh(0.25 * np.log(np.where(steep, 1.0, ratio))) ** 2)
        whole = np.where(kink, positive, counts)
        return cls(
            low_values,
            high_values,
            _at_edges(counts, lower),
            _at_edges(counts, above),
            _at_edges(np.where(steep, whole, counts * sag), np.where(steep, whole, above * sag)),
            # Units counted in the bin with the cut need not be those counted above: nothing is sure to come off.
            _at_edges(counts, np.where(kink, 0.0, below)),
        )


def _places_of_weights(
    weight: Weight, edges: np.ndarray, counts: np.ndarray, places: np.ndarray, shift: float, *, high: bool
) -> np.ndarray:
    """Sums of places of the weights between those at the bin's edges: at least (``high``) or at most the true ones.

    The mean place of cosines bounds that of weights on one side (their chord), and the place of the weight of the mean
    cosine on the other (Jensen)."""
    values = weight.value(edges + shift)
    if high == weight.convex:
        found = places
    else:
        width, rise = edges[1:] - edges[:-1], values[1:] - values[:-1]
        mean = edges[:-1] + width * places / np.where(counts > 0, counts, 1.0)
        found = counts * (weight.value(mean + shift) - values[:-1]) / np.where(rise > 0, rise, 1.0)
        found = np.clip(found, 0.0, counts)
    if weight.convex:
        return found
    kink = (values[:-1] == 0.0) & (values[1:] > 0.0)
    return np.where(kink, counts if high else 0.0, found)


def _at_edges(counts: np.ndarray, places: np.ndarray) -> np.ndarray:
    found = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1))
    found[..., :-1] += counts - places
    found[..., 1:] += places
    return found


def bracket_rows(weight: Weight, bins: RowBins, pool: RowPool) -> dict[str, np.ndarray]:
    """lower, upper, empty (sizes, R); mass of each group and sums of squares, (groups, R), at mid-reach."""
    edges = Edges.of(weight, bins, pool.degrees[1])
    groups, rows = pool.own.shape
    if edges is None:
        zeros = np.zeros((1, 1))
        edges = Edges(zeros[0], zeros[0], *(np.zeros((groups, rows, 1)) for _ in range(4)))
    error = max(ROUND_OFF, round_off(int(pool.sizes.sum(axis=0).max())))
    sides = [side.bracket(error) + side.empty for side in _all_sides(edges, pool)]
    low, high = edges.low @ edges.low_values, edges.high @ edges.high_values
    return {
        "lower": np.stack([each[0] for each in sides]),
        "upper": np.stack([each[1] for each in sides]),
        "empty": np.stack([0.5 * (each[2] + each[3]) for each in sides]),
        "masses": 0.5 * (low + high),
        "squares": 0.5 * (edges.low @ edges.low_values**2 + edges.high @ edges.high_values**2),
    }


def _all_sides(edges: Edges, pool: RowPool) -> list[Sides]:
    """For each batch size."""
    positive = np.concatenate([edges.high_values, pool.present.ravel()])
    positive = positive[positive > 0]
    masses = pool.by_stratum(edges.high @ edges.high_values)
    if positive.size == 0:
        rule = None
    else:
        total = float(masses.sum(axis=0).max() + pool.present.max())
        smallest = max(positive.min(), SPAN * positive.max())
        rule = LaplaceRule.spanning(smallest, positive.max(), total, STEP, LOSS)
    zero = np.zeros_like(masses[0])
    if rule is None:
        one = np.ones_like(zero)
        return [Sides((zero, zero), (zero, zero), (one, one)) for _ in pool.draws]
    transforms = Transforms.of(edges, pool, rule)
    return [_sides(edges, pool, draws, masses, transforms) for draws in pool.draws]


@dataclass(frozen=True)
class Transforms:
    """Sums over bins at the nodes of a rule: all that batch sizes have in common.

    Attributes:
        log_means: logarithms of bounds of phi, (strata, R, Q).
        kernels: sums of h t exp(-b t h) for b = 1, 2, 3, (groups, R, Q); for b = 1, 3 at least, for b = 2 at most.
        before, behind, behind_cubed: what nodes outside add at most, (groups, R).
    """

    rule: LaplaceRule
    log_means: np.ndarray
    kernels: tuple[np.ndarray, np.ndarray, np.ndarray]
    before: np.ndarray
    behind: np.ndarray
    behind_cubed: np.ndarray

    @classmethod
    def of(cls, edges: Edges, pool: RowPool, rule: LaplaceRule) -> "Transforms":
        decay = np.exp(-edges.low_values[:, None] * rule.nodes)
        idle = pool.sizes - pool.by_stratum(edges.low.sum(axis=-1))
        sums = pool.by_stratum(edges.low @ decay) + np.maximum(idle, 0.0)[..., None]
        means = np.clip(sums / np.maximum(pool.sizes, 1)[..., None], 1e-300, 1.0)
        once, twice, thrice = (rule.kernel(edges.high_values, times) for times in (1, 2, 3))
        return cls(
            rule, np.log(means),
            (edges.numerator @ once, edges.concave @ twice, edges.numerator @ thrice),
            edges.numerator @ rule.before(edges.high_values),
            edges.numerator @ rule.behind(once),
            edges.numerator @ rule.behind(thrice, 3),
        )  # fmt: skip


def _sides(edges: Edges, pool: RowPool, draws: np.ndarray, masses: np.ndarray, transforms: Transforms) -> Sides:
    """One batch size."""
    rule, log_means = transforms.rule, transforms.log_means
    sizes = np.maximum(pool.sizes, 1)
    chance, rest = draws / sizes, np.maximum(draws - 1, 0) / np.maximum(sizes - 1, 1)
    usual = (chance * masses).sum(axis=0)
    log_drawn = (draws[..., None] * log_means).sum(axis=0)
    shares = np.zeros((2, 2, len(usual)))
    # Sums over the other strata, without the cancellation of subtracting one's own: weights differ by many magnitudes.
    elsewhere = np.tensordot(1.0 - np.eye(len(sizes)), chance * masses, axes=1)
    for group, (own, s) in enumerate(zip(pool.own, pool.stratum)):
        apart = pool.present[1] + elsewhere[s] + rest[s] * masses[s]
        values = edges.low_values
        below = (1.0 - rest[s])[:, None] * values + apart[:, None]
        low = (edges.low[group] * values / np.where(below > 0, below, 1.0)).sum(axis=-1)
        high = _drawn(transforms, group, s, pool.sizes[s], draws[s], log_drawn - pool.present[0][:, None] * rule.nodes)
        for side, share in enumerate((low, np.maximum(high, low))):
            shares[0, side] += np.where(own, chance[s] * share, 0.0)
            shares[1, side] += np.where(own, 0.0, chance[s] * share)
    kernel, around = rule.kernel(pool.present[1]), np.exp(log_drawn)
    lot = (kernel * around).sum(axis=-1) + rule.before(pool.present[1]) + around[:, -1] * rule.behind(kernel)
    always, perhaps = pool.present > 0
    total = pool.present[0] + usual
    shares[0, 0] += np.where(always, pool.present[0] / np.where(total > 0, total, 1.0), 0.0)
    shares[0, 1] += np.where(perhaps, np.minimum(lot / (1.0 - rule.error), 1.0), 0.0)
    sure, possible = pool.degrees
    none = lambda hits: np.prod(missing_all(pool.sizes, pool.by_stratum(hits), draws), axis=0)  # noqa: E731
    empty = np.where(perhaps, 0.0, none(possible)), np.where(always, 0.0, none(sure))
    # An own share needs an own neighbour in the batch, a foreign one a foreign neighbour.
    own_cap = np.where(perhaps, 1.0, 1.0 - none(possible * pool.own))
    out_cap = 1.0 - none(possible * ~pool.own)
    inside, outside = shares
    return Sides(
        (np.minimum(inside[0], own_cap), np.minimum(inside[1], own_cap)),
        (np.minimum(outside[0], out_cap), np.minimum(outside[1], out_cap)),
        empty,
    )


def _drawn(
    transforms: Transforms, group: int, stratum: int, sizes: np.ndarray, draws: np.ndarray, log_drawn: np.ndarray
) -> np.ndarray:
    """Upper bound of the sum over a group's units of E h/(h + the rest of the batch), each given that it is drawn."""
    rule, log_mean = transforms.rule, transforms.log_means[stratum]
    further = np.maximum(draws - 1, 0)
    out = np.where(sizes > 1, 1.0 / np.maximum(sizes - 1, 1), 0.0)
    # (1+x)^M <= 1 + M x + q x^2 with x = out (1 - exp(-t h)/phi) <= out, in powers of exp(-t h)/phi.
    square = np.where(further >= 2, np.maximum(np.expm1(further * np.log1p(out)) - further * out, 0.0), 0.0)
    slope = np.where(further >= 1, further * out + 2.0 * square, 0.0)
    constant = 1.0 + further * out + square
    rest = [
        np.exp(np.where((further >= k)[:, None] & (draws > 0)[:, None], log_drawn - (1 + k) * log_mean, -np.inf))
        for k in range(3)
    ]
    once, twice, thrice = (kernel[group] for kernel in transforms.kernels)
    before = transforms.before[group]
    plain = (once * rest[0]).sum(axis=-1) + before + rest[0][:, -1] * transforms.behind[group]
    cubed = (thrice * rest[2]).sum(axis=-1) + before + rest[2][:, -1] * transforms.behind_cubed[group]
    mixed = (twice * rest[1]).sum(axis=-1)
    return (constant * plain + square * cubed) / (1.0 - rule.error) - slope * mixed / (1.0 + rule.error)

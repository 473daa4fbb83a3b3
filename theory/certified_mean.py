"""Propositions 8 and 9: from given rows to new ones, and choosing among candidates without losing the guarantee.

Proposition 8. (i) X_1, ..., X_m independent in [0, 1], mu the mean of their expectations: with probability at least
1 - delta, mu >= L, the smallest mu' <= mean X with kl(mean X || mu') <= ln(1/delta)/m. Applied to Proposition 6's or
7's values of m new rows against a stored pool, the radius does not depend on the batch size.
(ii) U, the average of a [0, 1]-valued function over all batches of n of N independent identically distributed rows: the
same with floor(N/n) in place of m, whatever is computed of a batch.
(iii) Asymptotic only: estimate +- z sd(psi)/sqrt(N), psi the influence of each row on the mean in-class share.
Proposition 9. Candidates in an order fixed beforehand, each with a bound that fails with probability at most delta;
those before the first whose bound misses its target are accepted: with probability at least 1 - delta all of them keep
theirs. Proofs: theory.md, section 6; this toolkit's statement.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float
from scipy.special import rel_entr

from theory.affinity import unit_points
from theory.batches.clusters import cluster_layout
from theory.lemmas.batch_weights import Weight
from theory.numerics.inputs import Array, Numbers, as_floats, as_numpy, require_count, require_points, require_range
from theory.numerics.precision import half_as_float64, widen

TILE_ENTRIES = 2_000_000
# Of a divergence in float64.
DIVERGENCE_ERROR = 4e-16


def bernoulli_divergence(p: Numbers, q: Numbers) -> Numbers:
    """kl(p || q) = p ln(p/q) + (1-p) ln((1-p)/(1-q)) in nats, elementwise; infinite where q excludes what p allows."""
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    return rel_entr(p, q) + rel_entr(1.0 - p, 1.0 - q)


@half_as_float64
def divergence_floor(mean: float, count: int, delta: float) -> float:
    """The smallest mu <= mean with kl(mean || mu) <= ln(1/delta)/count, from below: less by what round-off may be,
    4e-16 of the divergence and 1e-16 (1 + sqrt(count)) of mu.

    Args:
        mean: in [0, 1].
        count: how many independent values in [0, 1] it is the mean of.
        delta: in (0, 1).

    Raises:
        ValueError: out of range; names the argument.
    """
    require_range(mean, "mean", 0.0, 1.0)
    count = require_count(count, "count", 1)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    # Where delta is nearly 1, a last digit of the divergence is far in mu.
    mean, allowed = float(mean), -math.log(float(delta)) / count + DIVERGENCE_ERROR
    low, high = 0.0, mean
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if bernoulli_divergence(mean, middle) <= allowed else (middle, high)
    return max(low - 1e-16 * (1.0 + math.sqrt(count)), 0.0)


@half_as_float64
def mean_floor(values: Float[Array, " m"], delta: float) -> float:
    """A bound that the values' expected mean falls below with probability at most delta (Proposition 8 (i)).

    For a bound from above: 1 - mean_floor(1 - values, delta).

    Args:
        values: independent, in [0, 1], such as the lower ends of Proposition 6's brackets of new rows.

    Raises:
        ValueError: values of another shape or range, none at all, or delta outside (0, 1).
    """
    found = as_floats(values, "values")
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"values: expected shape (m,), m >= 1, got {found.shape}")
    require_range(found, "values", 0.0, 1.0)
    return divergence_floor(min(1.0, float(found.mean())), len(found), delta)


@half_as_float64
def batch_floor_of_mean(
    average: float, num_rows: int, batch_size: int, delta: float, sampled: int | None = None
) -> float:
    """A bound that the expected value of a whole new batch falls below with probability at most delta (8 (ii)).

    Args:
        average: of a [0, 1]-valued function over all batches of ``batch_size`` of ``num_rows`` rows, independent and
            identically distributed.
        sampled: the average is over so many batches only, drawn independently and uniformly of all; delta is then
            halved between the two steps.

    Raises:
        ValueError: out of range; a batch size outside [1, num_rows].
    """
    require_range(average, "average", 0.0, 1.0)
    num_rows = require_count(num_rows, "num_rows", 1)
    batch_size = require_count(batch_size, "batch_size", 1, num_rows)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    if sampled is not None:
        delta = 0.5 * float(delta)
        average = divergence_floor(average, require_count(sampled, "sampled", 1), delta)
    return divergence_floor(average, num_rows // batch_size, delta)


def fixed_sequence(floors: Sequence[float] | np.ndarray, targets: Sequence[float] | float) -> int:
    """How many candidates are accepted: those before the first whose floor is below its target (Proposition 9).

    Args:
        floors: one bound a candidate, in the order that was fixed before the data were seen, each below its candidate's
            true value with probability at least 1 - delta.
        targets: what each has to reach, or one for all; fixed before the data were seen as well.

    Raises:
        ValueError: NaN, or another number of targets.
    """
    found = as_floats(floors, "floors")
    if found.ndim != 1 or np.isnan(found).any():
        raise ValueError(f"floors: expected numbers of shape (candidates,), got {found.shape}")
    asked = as_floats(targets, "targets")
    if asked.shape not in ((), found.shape) or np.isnan(asked).any():
        raise ValueError(f"targets: expected one number, or one for each of {len(found)} candidates")
    missed = np.flatnonzero(~(found >= asked))
    return int(missed[0]) if missed.size else len(found)


@half_as_float64
def asymptotic_interval(
    estimate: float, influence: Float[Array, " N"], confidence: float = 0.95
) -> tuple[float, float]:
    """estimate +- z sd(psi)/sqrt(N), in [0, 1]: right in the limit of many rows, no guarantee for any number of them.

    Raises:
        ValueError: estimate outside [0, 1], confidence outside (0, 1), fewer than 2 influences or NaN among them.
    """
    require_range(estimate, "estimate", 0.0, 1.0)
    require_range(confidence, "confidence", 0.0, 1.0, closed="neither")
    psi = as_floats(influence, "influence")
    if psi.ndim != 1 or psi.size < 2 or not np.isfinite(psi).all():
        raise ValueError(f"influence: expected finite numbers of shape (N,), N >= 2, got {psi.shape}")
    radius = NormalDist().inv_cdf(0.5 + 0.5 * float(confidence)) * float(psi.std(ddof=1)) / math.sqrt(psi.size)
    return max(0.0, float(estimate) - radius), min(1.0, float(estimate) + radius)


def share_influence(
    points: Float[Array, "N D"], labels: Array, weight: Weight
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Each row's in-class share r_i of its weight in the pool, and psi_j, its influence on the mean of shares.

    psi_j = r_j - mean r + sum_i h_ij (1[y_i = y_j] - r_i)/M_i; rows without weight have r = 0 and contribute nothing.
    Memory O(N tile).

    Raises:
        ValueError: bad points or labels.
    """
    if getattr(points, "ndim", 0) != 2:
        raise ValueError(f"points: expected shape (N, D), got {tuple(getattr(points, 'shape', ()))}")
    points = widen(points, "points")
    require_points(points)
    layout, weight = cluster_layout(labels, points.shape[0]), weight.at_precision(points.dtype)
    xp = array_namespace(points)
    unit = layout.sort_rows(unit_points(points), axis=0)
    count, shares = layout.num_points, np.zeros(layout.num_points)
    reached = np.zeros(count)
    step = max(1, TILE_ENTRIES // count)
    for own in layout.slices:
        for start in range(own.start, own.stop, step):
            rows = slice(start, min(start + step, own.stop))
            cosines = as_numpy(unit[rows] @ xp.matrix_transpose(unit)).astype(np.float64)
            h = weight.value(np.clip(cosines, -1.0, 1.0))
            h[np.arange(len(h)), np.arange(rows.start, rows.stop)] = 0.0
            mass = h.sum(axis=1)
            inverse = np.where(mass > 0, 1.0 / np.where(mass > 0, mass, 1.0), 0.0)
            shares[rows] = h[:, own].sum(axis=1) * inverse
            reached -= (shares[rows] * inverse) @ h
            reached[own] += inverse @ h[:, own]
    psi = shares - shares.mean() + reached
    return layout.unsort_rows(shares), layout.unsort_rows(psi)

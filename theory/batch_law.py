"""Proposition 6: what one attention block does to a random batch of given rows, exactly from two sides.

Setting: N unit rows with labels, weights h(C) >= 0 of a cosine, nothing else assumed. A batch is a uniformly random
n-subset. S_i is row i's in-class share of the batch's weight (0 where the row has none). With P = N - 1, c = (n-1)/P,
a = (n-2)/(P-1), M_i the row's weight in the pool, and sums over rows j of i's own class,

    in- = c sum h_ij/(h_ij + a (M_i - h_ij)),   in+ = c sum int_0^inf h_ij exp(-t h_ij) phi_ij(t)^{n-2} dt,

phi_ij(t) the mean of exp(-t h_il) over l != i, j; out-, out+ likewise over the other classes, each also at most the
chance that the batch has such a neighbour at all; empty_i the chance that it has none of any class. Then

    max(in-, 1 - empty_i - out+)  <=  E S_i  <=  min(in+, 1 - empty_i - out-),

with equality at n = 2, 3, N (of new rows: 2, 3), and a width of at most 1/(1 + c (sum_j h_ij)^2/sum_j h_ij^2).
Theorem 2's regime is the special case without cross-class neighbours: E S_i = 1 - empty_i exactly.
Proof: theory.md, section 6; this toolkit's statement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Int

from theory.batches.clusters import index_among, index_labels
from theory.lemmas.batch_weights import BatchKind, Rows, Weight, unit_rows
from theory.lemmas.cosine_bins import binned_laws
from theory.lemmas.drawn_rows import SMALLEST, Sides, round_off, row_sides
from theory.numerics.inputs import Array

__all__ = ["BatchLaw", "Weight", "batch_laws", "expected_sharpness"]

# Pools up to here are worked out weight by weight, larger ones from histograms of cosines.
EXACT_ROWS = 512


@dataclass(frozen=True)
class BatchLaw:
    """One weight's bracket of every row, for several batch sizes, and what the rows have in the whole pool.

    lower, upper are bounds however the pool was worked out. Of pools that are read off histograms empty is the middle
    of two bounds, degrees count cosines as they were computed, and mass, share and effective_neighbours are right to
    about three digits.

    Attributes:
        weight: as applied, with the cut of the points' precision.
        batch_sizes: (sizes,).
        lower, upper: bracket of E S_i, (sizes, N).
        empty: P(row i has no weight in the batch), (sizes, N).
        degree, cross_degree: d_i and f_i, how many other rows (of other classes) weigh more than 0, (N,). Their
            difference is the row's hits in its own class.
        mass: M_i, the row's weight in the pool without itself, (N,).
        share: in-class share of M_i, 0 where M_i = 0, (N,).
        effective_neighbours: (sum_j h_ij)^2/sum_j h_ij^2 over the pool, 0 where M_i = 0, (N,); a batch of n rows has
            about (n-1)/(N-1) of them.
    """

    weight: Weight
    batch_sizes: tuple[int, ...]
    lower: Float[np.ndarray, "sizes N"]
    upper: Float[np.ndarray, "sizes N"]
    empty: Float[np.ndarray, "sizes N"]
    degree: Int[np.ndarray, " N"]
    cross_degree: Int[np.ndarray, " N"]
    mass: Float[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]
    effective_neighbours: Float[np.ndarray, " N"]


def expected_sharpness(
    points: Float[Array, "N D"],
    labels: Array,
    batch_size: int,
    weight: Weight,
    *,
    batches: str = "uniform",
    attend_self: bool = False,
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Proposition 6's bracket (lower, upper) of every row's expected affinity sharpness, float64, in the library of the
    points.

    Args:
        points: rows of any norms.
        labels: (N,), at least two classes of at least two rows.
        batch_size: n, rows of a batch, in [2, N].
        weight: what a pair of rows weighs.
        batches: "uniform"; "balanced": n/K rows of each class; "pairs": labels name pairs of rows (two views), of which
            n/2 are drawn with both rows. With pairs and exponential weights S_i is NT-Xent's probability of the
            positive at temperature 1/kappa.
        attend_self: the row attends to itself too, with weight h(1), which counts as its own class (softmax attention).

    Raises:
        ValueError: bad points, labels or batch size; names the argument.
    """
    if not isinstance(weight, Weight):
        raise ValueError(f"weight: expected a Weight, got {type(weight).__name__}")
    (law,) = _laws(points, labels, [batch_size], [weight], batches, attend_self)
    xp = array_namespace(points)
    return tuple(xp.asarray(side[0], device=device(points)) for side in (law.lower, law.upper))


def batch_laws(
    points: Float[Array, "N D"],
    labels: Array,
    batch_sizes: Sequence[int],
    weights: Sequence[Weight],
    *,
    batches: str = "uniform",
    attend_self: bool = False,
    new_rows: tuple[Float[Array, "R D"], Array] | None = None,
    exact: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[BatchLaw, ...]:
    """Brackets for many weights and batch sizes from one pass over the rows: memory O(N tile), never N x N.

    Args:
        new_rows: points (R, D) and labels (R,) of rows that are not of the pool: the laws are theirs, in batches of one
            such row and n - 1 rows of the pool. For Proposition 8; not with pairs.
        exact: True: every weight by itself, O(N^2) exponentials a node, weight and batch size; False: from histograms
            of cosines, whose rounding the bracket includes; None: exact up to EXACT_ROWS rows. (Exact are bounds for
            the float64 cosines. True ones differ by about 1e-16, which matters where they equal a threshold, or where
            every excess of a row over it is as small.)
        progress: called with the number of rows that are done.

    Raises:
        ValueError: as ``expected_sharpness``; no weights; new rows of another dimension, or with labels that the pool
            does not have.
    """
    return _laws(points, labels, batch_sizes, weights, batches, attend_self, new_rows, exact, progress, "batch_sizes")


def _laws(
    points: Array,
    labels: Array,
    batch_sizes: Sequence[int],
    weights: Sequence[Weight],
    batches: str,
    attend_self: bool,
    new_rows: tuple | None = None,
    exact: bool | None = None,
    progress: Callable[[int], object] | None = None,
    name: str = "batch_size",
) -> tuple[BatchLaw, ...]:
    points, unit = unit_rows(points)
    kind = BatchKind.of(batches, labels, len(unit), batch_sizes, name)
    if isinstance(weights, Weight) or len(weights) == 0 or not all(isinstance(each, Weight) for each in weights):
        raise ValueError("weights: expected a sequence of at least one Weight")
    applied = [each.at_precision(points.dtype) for each in weights]
    if kind.kind == "pairs" and any(not each.convex for each in applied):
        raise ValueError("power: must lie in [1, 100] where views are drawn in pairs")
    rows = Rows(unit, kind.index, True) if new_rows is None else _new_rows(new_rows, kind, labels, unit.shape[1])
    if exact if exact is not None else kind.num_points <= EXACT_ROWS:
        return _exact_laws(unit, rows, kind, applied, attend_self, progress)
    found = binned_laws(points, rows, kind, applied, attend_self, progress)
    return tuple(BatchLaw(weight, kind.batch_sizes, **fields) for weight, fields in zip(applied, found))


def _new_rows(new_rows: tuple, kind: BatchKind, labels: Array, dim: int) -> Rows:
    if kind.kind == "pairs":
        raise ValueError("new_rows: have no partner in a pool of pairs")
    if not isinstance(new_rows, tuple | list) or len(new_rows) != 2:
        raise ValueError("new_rows: expected a pair of points and labels")
    unit = unit_rows(new_rows[0], "new_rows")[1]
    if unit.shape[1] != dim:
        raise ValueError(f"new_rows: expected points of {dim} dimensions, got {unit.shape[1]}")
    index = index_among(index_labels(labels)[0], new_rows[1], "new_rows")
    if len(index) != len(unit):
        raise ValueError(f"new_rows: expected {len(unit)} labels, one a point, got {len(index)}")
    return Rows(unit, index, False)


def _exact_laws(
    unit: np.ndarray,
    rows: Rows,
    kind: BatchKind,
    weights: list[Weight],
    attend_self: bool,
    progress: Callable | None = None,
) -> tuple[BatchLaw, ...]:
    """Row by row from float64 cosines."""
    count = len(rows.index)
    sides, facts = np.zeros((len(weights), count, len(kind.batch_sizes), 5)), np.zeros((len(weights), 5, count))
    for i in range(count):
        cosines = np.clip(unit @ rows.unit[i], -1.0, 1.0)
        own = kind.index == rows.index[i]
        for w, weight in enumerate(weights):
            h = weight.value(cosines)
            # A power that underflows makes no neighbour less.
            h = np.where(weight.positive(cosines), np.maximum(h, SMALLEST), 0.0)
            if rows.member:
                h[i] = 0.0
            mass = h.sum()
            facts[w, :, i] = (
                np.count_nonzero(h), np.count_nonzero(h[~own]), mass, h[own].sum() / mass if mass > 0 else 0.0,
                _effective(h),
            )  # fmt: skip
            sides[w, i] = row_sides(*_units(kind, rows, i, h, weight.bound * attend_self))
        if progress is not None:
            progress(i + 1)
    laws = []
    for weight, found, (degree, cross, mass, share, effective) in zip(weights, sides, facts):
        in_low, in_high, out_low, out_high, empty = np.moveaxis(found, -1, 0).swapaxes(1, 2)
        lower, upper = Sides((in_low, in_high), (out_low, out_high), (empty, empty)).bracket(round_off(count))
        degrees = degree.astype(np.int64), cross.astype(np.int64)
        laws.append(BatchLaw(weight, kind.batch_sizes, lower, upper, empty, *degrees, mass, share, effective))
    return tuple(laws)


def _units(kind: BatchKind, rows: Rows, i: int, h: np.ndarray, itself: float) -> tuple:
    """What ``row_sides`` takes: the units that may be drawn beside row i, and what is always there."""
    row_class = rows.index[i]
    _, draws = kind.units(row_class, rows.member)
    if kind.kind == "pairs":
        sums = np.bincount(kind.index, weights=h)
        units = np.delete(sums, row_class)
        return units, np.zeros(len(units), bool), np.zeros(len(units), int), draws, sums[row_class] + itself
    others = np.arange(len(h)) != i if rows.member else np.ones(len(h), dtype=bool)
    strata = kind.index if kind.kind == "balanced" else np.zeros(len(h), dtype=int)
    return h[others], kind.index[others] == row_class, strata[others], draws, itself


def _effective(h: np.ndarray) -> float:
    """(sum h)^2/sum h^2, without underflow."""
    scaled = h / h.max() if h.max() > 0 else h
    return float(scaled.sum() ** 2 / (scaled**2).sum()) if scaled.any() else 0.0

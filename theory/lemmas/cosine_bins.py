"""Proposition 6 for large pools: each row's cosines in a histogram, from which weights and batch sizes are bracketed.

A tile of rows against all columns is counted into equal bins of [-1, 1], of which the count and the sum of the places
in the bin are kept. A true cosine lies within ``reach`` of where it was placed: the round-off of a dot product in the
points' precision. What is made of the bins is in binned_rows.py. Proof: theory.md, section 6 ("What is computed").
"""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace, device

from theory.affinity import unit_points
from theory.lemmas.batch_weights import BatchKind, Rows, Weight
from theory.lemmas.binned_rows import RowBins, RowPool, bracket_rows
from theory.numerics.inputs import Array, as_numpy
from theory.numerics.precision import dtype_name

# Bins per unit of inverse temperature, so that weights change by at most 5 % in a bin; and the fewest and most bins.
BINS_A_KAPPA, FEWEST_BINS, MOST_BINS = 40.0, 1024, 16384
# Entries of a tile of cosines, and the most rows that it has.
TILE, MOST_ROWS = 4_000_000, 128
UNIT_ROUND_OFF = {"float32": 2.0**-24, "float64": 2.0**-53}


def dot_error(dim: int, dtype: object) -> float:
    """How far the computed cosine of two unit rows may be from the true one, however the products are added up:
    gamma_{D+4}, components rounded once included."""
    rounding = (dim + 4) * UNIT_ROUND_OFF[dtype_name(dtype)]
    return 1.01 * rounding / (1.0 - rounding)


def number_of_bins(weights: list[Weight]) -> int:
    """A power of two that is fine enough for all of them."""
    kappa = max((each.inverse_temperature or 0.0 for each in weights), default=0.0)
    return min(MOST_BINS, max(FEWEST_BINS, 2 ** math.ceil(math.log2(max(BINS_A_KAPPA * kappa, 1.0)))))


def binned_laws(
    points: Array, rows: Rows, kind: BatchKind, weights: list[Weight], attend_self: bool, progress: Callable | None
) -> list[dict[str, np.ndarray]]:
    """Fields of a BatchLaw for each weight.

    Args:
        points: the pool, whose library, device and precision the cosines are computed in.
    """
    results: list[dict[str, np.ndarray]] = [{} for _ in weights]
    order, asked = np.argsort(kind.index, kind="stable"), np.argsort(rows.index, kind="stable")
    xp = array_namespace(points)

    def stored(unit: np.ndarray) -> Array:
        # Normalized in float64: every component is then off by one rounding of its own precision.
        return xp.asarray(unit, dtype=points.dtype, device=device(points))

    unit = rows.unit if rows.member else unit_points(as_numpy(points).astype(np.float64))
    pool = stored(unit[order])
    tile_rows = max(1, min(MOST_ROWS, TILE // kind.num_points))
    bins = number_of_bins(weights)
    for start in range(0, len(asked), tile_rows):
        which = asked[start : start + tile_rows]
        cosines = as_numpy(stored(rows.unit[which]) @ xp.matrix_transpose(pool))
        itself = np.arange(start, start + len(which)) if rows.member else None
        tile = Tile(cosines, kind, rows.index[which], itself, points.shape[1], bins)
        for weight, result in zip(weights, results):
            for name, value in tile.law(weight, attend_self).items():
                shape = (*value.shape[:-1], len(asked))
                result.setdefault(name, np.zeros(shape, value.dtype))[..., which] = value
        if progress is not None:
            progress(start + len(which))
    return results


class Tile:
    """Some rows against a pool whose columns stand class by class.

    Args:
        row_classes: classes of the rows.
        itself: the column that is the row itself, None for rows that the pool does not have.
        dim: of the points.
        bins: their number.
    """

    def __init__(
        self,
        cosines: np.ndarray,
        kind: BatchKind,
        row_classes: np.ndarray,
        itself: np.ndarray | None,
        dim: int,
        bins: int,
    ) -> None:
        self.cosines, self.kind, self.itself, self.bins = cosines, kind, itself, bins
        self.classes = classes = row_classes
        # The second term is the rounding of a place in units of bins.
        self.dot_error = dot_error(dim, cosines.dtype)
        self.reach = self.dot_error + 2.0 * UNIT_ROUND_OFF[dtype_name(cosines.dtype)]
        stops = np.cumsum(kind.sizes)
        self.columns = [slice(stop - size, stop) for stop, size in zip(stops, kind.sizes)]
        units = [kind.units(each, itself is not None) for each in classes]
        self.sizes, self.draws = np.stack([u[0] for u in units], axis=1), np.stack([u[1] for u in units], axis=2)
        rows = len(classes)
        if kind.kind == "balanced":
            self.stratum = tuple(range(len(stops)))
            self.own = np.arange(len(stops))[:, None] == classes
        else:
            groups = [True, False] if kind.kind == "uniform" else [False]
            self.own, self.stratum = np.repeat(np.array(groups)[:, None], rows, axis=1), (0,) * len(groups)

    def law(self, weight: Weight, attend_self: bool) -> dict[str, np.ndarray]:
        """Fields of a BatchLaw but for the weight and the batch sizes."""
        rows, itself = np.arange(len(self.classes)), weight.bound * attend_self
        present: np.ndarray
        if self.kind.kind == "pairs":
            bins, partner = self._pair_histograms(weight)
            # Pairs are weighed by the mean of their two weights, half of their sum, and so is what is always there.
            present = 0.5 * (weight.value(partner + self.reach * np.array([[-1.0], [1.0]])) + itself)
        else:
            bins, present = self._histograms, np.full((2, len(rows)), itself)
        # Units that surely and that possibly weigh more than 0.
        degrees = np.stack([self._counts(weight, self.dot_error), self._counts(weight, -self.dot_error)])
        found = bracket_rows(weight, bins, RowPool(self.own, self.stratum, self.sizes, self.draws, present, degrees))
        masses, squares = found.pop("masses"), found.pop("squares")
        if self.kind.kind == "pairs":
            h = weight.value(self.cosines.astype(np.float64))
            h[rows, self.itself] = 0.0
            mass, square, own_mass = h.sum(axis=1), (h**2).sum(axis=1), h[rows, self._partner]
            degree = np.count_nonzero(h, axis=1)
            cross = degree - (own_mass > 0.0)
        else:
            mass, square, own_mass = masses.sum(axis=0), squares.sum(axis=0), (masses * self.own).sum(axis=0)
            counts = self._counts(weight, 0.0)
            degree, cross = counts.sum(axis=0), (counts * ~self.own).sum(axis=0)
        some = (mass > 0) & (square > 0)
        return found | {
            "degree": degree, "cross_degree": cross, "mass": mass,
            "share": np.where(some, own_mass / np.where(some, mass, 1.0), 0.0),
            "effective_neighbours": np.where(some, mass**2 / np.where(some, square, 1.0), 0.0),
        }  # fmt: skip

    def _counts(self, weight: Weight, margin: float) -> np.ndarray:
        """Units of each group with a cosine above the cut by more than a margin, without the row, (groups, R)."""
        rows = np.arange(len(self.classes))
        if weight.kind == "relu":
            above = self.cosines > weight.threshold + margin
        else:
            above = np.ones(self.cosines.shape, dtype=bool)
        if self.kind.kind == "pairs":
            either = above[:, ::2] | above[:, 1::2]
            return (np.count_nonzero(either, axis=1) - either[rows, self.classes])[None]
        if self.itself is not None:
            above[rows, self.itself] = False
        if self.kind.kind == "balanced":
            return np.stack([np.count_nonzero(above[:, columns], axis=1) for columns in self.columns])
        own = np.array([np.count_nonzero(row[self.columns[k]]) for row, k in zip(above, self.classes)])
        return np.stack([own, np.count_nonzero(above, axis=1) - own])

    @cached_property
    def _histograms(self) -> RowBins:
        """Own class and the others (uniform), or every class by itself (balanced)."""
        counts = np.zeros((len(self.own), len(self.classes), self.bins))
        places = np.zeros_like(counts)
        for r, k in enumerate(self.classes):
            cells, inside = self._placed(self.cosines[r])
            own = self.columns[k]
            if self.kind.kind == "uniform":
                counts[0, r], places[0, r] = self._count(cells[own], inside[own])
                counts[1, r], places[1, r] = self._count(cells, inside)
                counts[1, r] -= counts[0, r]
                places[1, r] -= places[0, r]
            else:
                for group, columns in enumerate(self.columns):
                    counts[group, r], places[group, r] = self._count(cells[columns], inside[columns])
            if self.itself is not None:
                group, column = 0 if self.kind.kind == "uniform" else k, self.itself[r]
                counts[group, r, cells[column]] -= 1.0
                places[group, r, cells[column]] -= inside[column]
        return RowBins(counts, np.clip(places, 0.0, counts), self.reach)

    def _pair_histograms(self, weight: Weight) -> tuple[RowBins, np.ndarray]:
        """Of each pair the cosine whose weight is the pair's mean weight; and the partner's cosine."""
        rows = np.arange(len(self.classes))
        mean = weight.mean_cosine(self.cosines[:, ::2].astype(np.float64), self.cosines[:, 1::2].astype(np.float64))
        counts = np.zeros((1, len(rows), self.bins))
        places = np.zeros_like(counts)
        for r, pair in enumerate(self.classes):
            cells, inside = self._placed(np.delete(mean[r], pair))
            counts[0, r], places[0, r] = self._count(cells, inside)
        partner = self.cosines[rows, self._partner].astype(np.float64)
        return RowBins(counts, np.clip(places, 0.0, counts), self.reach), partner

    @property
    def _partner(self) -> np.ndarray:
        """The column of each row's other half; pairs are made of the pool's own rows."""
        assert self.itself is not None
        return self.itself ^ 1

    def _placed(self, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bin of each cosine, and its place there."""
        half = np.asarray(self.bins / 2.0, dtype=cosines.dtype)
        scaled = np.clip(cosines * half + half, 0, self.bins)
        cells = np.clip(scaled.astype(np.intp), 0, self.bins - 1)
        return cells, scaled - cells

    def _count(self, cells: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.bincount(cells, minlength=self.bins), np.bincount(cells, weights=places, minlength=self.bins)

"""Proposition 6 for large pools: each row's cosines in a histogram, from which every weight and batch size is bracketed.

A tile of rows against all columns is counted into FINE cells; FINE/COARSE of them form a bin, of which the count and the
sum of the cells' centers are kept. A row's true cosine lies within ``reach`` of its cell's center: half a cell and the
round-off of a dot product in the points' precision. On a bin [lo, hi] of weights f(h) = h/(h + X) obeys

    (1 - eta) f(h) <= chord of f at h <= f(h),   eta = tanh^2(ln(hi/lo)/4),   whatever X >= 0 is,

and exp(-t h) lies below its chord, so that sums over rows become sums over the bins' edges, on a known side. What is a
row's own is left out of phi_ij by (1+x)^M <= 1 + M x + q x^2 on x <= 1/(P-1), q making it an equality there.
Proof: theory.md, section 6 ("What is computed").
"""

from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace, device

from theory.affinity import unit_points
from theory.lemmas.batch_weights import BatchKind, Weight
from theory.lemmas.binned_rows import RowBins, RowPool, bracket_rows
from theory.numerics.inputs import Array, as_numpy
from theory.numerics.precision import dtype_name

FINE, COARSE = 32768, 2048
# Entries of a tile of cosines, and the most rows that it has.
TILE, MOST_ROWS = 4_000_000, 128
UNIT_ROUND_OFF = {"float32": 2.0**-24, "float64": 2.0**-53}


def dot_error(dim: int, dtype: object) -> float:
    """How far the computed cosine of two unit rows may be from the true one, however the products are added up:
    gamma_{D+4}, components rounded once included."""
    rounding = (dim + 4) * UNIT_ROUND_OFF[dtype_name(dtype)]
    return 1.01 * rounding / (1.0 - rounding)


def place_error(dim: int, dtype: object) -> float:
    """How far a true cosine may be from its cell's center: half a cell, a dot product's error, and the rounding of the
    place in units of cells."""
    return 1.0 / FINE + dot_error(dim, dtype) + 2.0 * UNIT_ROUND_OFF[dtype_name(dtype)]


def binned_laws(
    points: Array, kind: BatchKind, weights: list[Weight], attend_self: bool, progress: Callable | None
) -> list[dict[str, np.ndarray]]:
    """Fields of a BatchLaw for each weight."""
    count = kind.num_points
    results: list[dict[str, np.ndarray]] = [{} for _ in weights]
    order = np.argsort(kind.index, kind="stable")
    xp = array_namespace(points)
    # Normalised in float64: every component is then off by one rounding of its own precision.
    exact = unit_points(as_numpy(points).astype(np.float64))[order]
    unit = xp.asarray(exact, dtype=points.dtype, device=device(points))
    rows_of_tile = max(1, min(MOST_ROWS, TILE // count))
    for start in range(0, count, rows_of_tile):
        rows = slice(start, min(start + rows_of_tile, count))
        cosines = as_numpy(unit[rows] @ xp.matrix_transpose(unit))
        tile = Tile(cosines, kind, kind.index[order[rows]], start, points.shape[1])
        for weight, result in zip(weights, results):
            for name, value in tile.law(weight, attend_self).items():
                shape = (*value.shape[:-1], count)
                result.setdefault(name, np.zeros(shape, value.dtype))[..., order[rows]] = value
        if progress is not None:
            progress(rows.stop)
    return results


class Tile:
    """Rows ``start``, ``start + 1``, ... of a pool whose rows and columns stand class by class."""

    def __init__(self, cosines: np.ndarray, kind: BatchKind, classes: np.ndarray, start: int, dim: int) -> None:
        self.cosines, self.kind, self.classes, self.start = cosines, kind, classes, start
        self.dot_error, self.reach = dot_error(dim, cosines.dtype), place_error(dim, cosines.dtype)
        stops = np.cumsum(kind.sizes)
        self.columns = [slice(stop - size, stop) for stop, size in zip(stops, kind.sizes)]
        units = [kind.units(each) for each in classes]
        self.sizes, self.draws = np.stack([u[0] for u in units], axis=1), np.stack([u[1] for u in units], axis=2)
        rows = len(classes)
        if kind.kind == "balanced":
            self.stratum = tuple(range(len(stops)))
            self.own = np.arange(len(stops))[:, None] == classes
        else:
            groups = [True, False] if kind.kind == "uniform" else [False]
            self.own, self.stratum = np.repeat(np.array(groups)[:, None], rows, axis=1), (0,) * len(groups)
        self._bins = None if kind.kind == "pairs" else self._histograms()

    def law(self, weight: Weight, attend_self: bool) -> dict[str, np.ndarray]:
        """Fields of a BatchLaw but for the weight and the batch sizes."""
        rows, itself = np.arange(len(self.classes)), weight.bound * attend_self
        if self.kind.kind == "pairs":
            bins, partner = self._pair_histograms(weight)
            # Pairs are weighed by the mean of their two weights, half of their sum, and so is what is always there.
            present = 0.5 * (weight.value(partner + self.reach * np.array([[-1.0], [1.0]])) + itself)
        else:
            bins, present = self._bins, np.full((2, len(rows)), itself)
        # Units that surely and that possibly weigh more than 0.
        degrees = np.stack([self._counts(weight, self.dot_error), self._counts(weight, -self.dot_error)])
        found = bracket_rows(weight, bins, RowPool(self.own, self.stratum, self.sizes, self.draws, present, degrees))
        masses, squares = found.pop("masses"), found.pop("squares")
        if self.kind.kind == "pairs":
            h = weight.value(self.cosines.astype(np.float64))
            h[rows, self.start + rows] = 0.0
            mass, square, own_mass = h.sum(axis=1), (h**2).sum(axis=1), h[rows, (self.start + rows) ^ 1]
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
        """Units of each group with a cosine above the cut by more than a margin, without the row itself, (groups, R)."""
        rows = np.arange(len(self.classes))
        if weight.kind == "relu":
            above = self.cosines > weight.threshold + margin
        else:
            above = np.ones(self.cosines.shape, dtype=bool)
        if self.kind.kind == "pairs":
            either = above[:, ::2] | above[:, 1::2]
            return (np.count_nonzero(either, axis=1) - either[rows, self.classes])[None]
        above[rows, self.start + rows] = False
        if self.kind.kind == "balanced":
            return np.stack([np.count_nonzero(above[:, columns], axis=1) for columns in self.columns])
        own = np.array([np.count_nonzero(row[self.columns[k]]) for row, k in zip(above, self.classes)])
        return np.stack([own, np.count_nonzero(above, axis=1) - own])

    def _histograms(self) -> RowBins:
        """Own class and the others (uniform), or every class by itself (balanced)."""
        fine = np.zeros((len(self.own), len(self.classes), FINE), dtype=np.int32)
        for r, k in enumerate(self.classes):
            cells = _cells(self.cosines[r])
            if self.kind.kind == "uniform":
                fine[0, r] = np.bincount(cells[self.columns[k]], minlength=FINE)
                fine[1, r] = np.bincount(cells, minlength=FINE)
                fine[1, r] -= fine[0, r]
                fine[0, r, cells[self.start + r]] -= 1
            else:
                for group, columns in enumerate(self.columns):
                    fine[group, r] = np.bincount(cells[columns], minlength=FINE)
                fine[k, r, cells[self.start + r]] -= 1
        return self._coarse(fine)

    def _pair_histograms(self, weight: Weight) -> tuple[RowBins, np.ndarray]:
        """Of each pair the cosine whose weight is the pair's mean weight; and the partner's cosine."""
        rows = np.arange(len(self.classes))
        mean = weight.mean_cosine(self.cosines[:, ::2].astype(np.float64), self.cosines[:, 1::2].astype(np.float64))
        fine = np.zeros((1, len(rows), FINE), dtype=np.int32)
        for r, pair in enumerate(self.classes):
            cells = _cells(mean[r])
            fine[0, r] = np.bincount(cells, minlength=FINE)
            fine[0, r, cells[pair]] -= 1
        return self._coarse(fine), self.cosines[rows, (self.start + rows) ^ 1].astype(np.float64)

    def _coarse(self, fine: np.ndarray) -> RowBins:
        share = FINE // COARSE
        offsets = np.stack([np.ones(share), (np.arange(share) + 0.5) / share], axis=1)
        both = fine.reshape(*fine.shape[:-1], COARSE, share) @ offsets
        return RowBins(both[..., 0], both[..., 1], self.reach)


def _cells(cosines: np.ndarray) -> np.ndarray:
    half = np.asarray(FINE / 2.0, dtype=cosines.dtype)
    return np.clip((cosines * half + half).astype(np.intp), 0, FINE - 1)

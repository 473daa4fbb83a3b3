"""Attention weights as functions of a cosine, and kinds of random batches, for Proposition 6 (theory.md, section 6)."""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float, Int

from theory.affinity import effective_threshold, unit_points
from theory.batches.clusters import index_labels
from theory.numerics.inputs import (
    Array,
    Numbers,
    as_numpy,
    require_choice,
    require_count,
    require_points,
    require_range,
    require_threshold,
)
from theory.numerics.precision import widen

KINDS = ("relu", "exponential")
BATCHES = ("uniform", "balanced", "pairs")
# exp(-2 kappa) is then far from underflow, so that every weight is positive.
LARGEST_INVERSE_TEMPERATURE = 300.0
# An excess of 1e-7 over the threshold then still has a weight that a float holds.
LARGEST_POWER = 40.0


@dataclass(frozen=True)
class Weight:
    """What a pair of rows with cosine C weighs before normalization, nondecreasing in C.

    Attributes:
        kind: "relu": ReLU(C - threshold)^power; "exponential": exp(inverse_temperature (C - 1)).
        threshold: tau in [0, 1); as in stacks, rows of points are cut at max(tau, tau_num) (``at_precision``).
        power: p in (0, 40].
        inverse_temperature: kappa in (0, 300].

    Raises:
        ValueError: another kind, a parameter out of range, or one that the kind does not have.
    """

    kind: str
    threshold: float = 0.0
    power: float = 1.0
    inverse_temperature: float | None = None

    def __post_init__(self) -> None:
        require_choice(self.kind, "kind", KINDS)
        require_threshold(self.threshold)
        require_range(self.power, "power", 0.0, LARGEST_POWER, closed="right")
        for name in ("threshold", "power"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.kind == "relu":
            if self.inverse_temperature is not None:
                raise ValueError("inverse_temperature: is of exponential weights only, got one for relu")
            return
        if (self.threshold, self.power) != (0.0, 1.0):
            raise ValueError("threshold: with power, is of relu weights only, got one for exponential")
        require_range(self._kappa, "inverse_temperature", 0.0, LARGEST_INVERSE_TEMPERATURE, closed="right")
        object.__setattr__(self, "inverse_temperature", float(self._kappa))

    @property
    def _kappa(self) -> float:
        """inverse_temperature as a number: NaN where there is none."""
        return math.nan if self.inverse_temperature is None else self.inverse_temperature

    def value(self, cosine: Numbers) -> Numbers:
        """h(C), elementwise; of arrays and tensors in their own library, half precision as float32."""
        cosine = widen(cosine, "cosine") if hasattr(cosine, "dtype") else cosine
        if self.kind == "exponential":
            shifted = self._kappa * (cosine - 1.0)
            return array_namespace(shifted).exp(shifted) if hasattr(shifted, "shape") else math.exp(shifted)
        excess = cosine - self.threshold
        excess = array_namespace(excess).clip(excess, 0.0) if hasattr(excess, "shape") else max(excess, 0.0)
        return excess if self.power == 1.0 else excess**self.power

    def positive(self, cosine: Array | float) -> Array | bool:
        """h(C) > 0, elementwise, whatever a power makes of it in floating point."""
        return cosine == cosine if self.kind == "exponential" else cosine > self.threshold

    @property
    def bound(self) -> float:
        """B = h(1), the largest weight that a cosine in [-1, 1] has."""
        return float(self.value(1.0))

    @property
    def convex(self) -> bool:
        """Whether h is convex; ReLU to a power below 1 is concave above the threshold instead."""
        return self.kind == "exponential" or self.power >= 1.0

    def at_precision(self, dtype: object) -> "Weight":
        """The weight with the cut that is applied to points of this dtype."""
        if self.kind == "exponential":
            return self
        return Weight("relu", float(effective_threshold(self.threshold, dtype)), self.power)

    def mean_cosine(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The cosine whose weight is the mean of two cosines' weights; the larger one where that is 0."""
        if self.kind == "exponential":
            apart = np.exp(-self._kappa * np.abs(first - second))
            return np.maximum(first, second) + np.log(0.5 + 0.5 * apart) / self._kappa
        mean = 0.5 * (self.value(first) + self.value(second))
        return np.where(mean > 0, self.threshold + mean ** (1.0 / self.power), np.maximum(first, second))


@dataclass(frozen=True)
class BatchKind:
    """How random batches of a pool are drawn.

    "uniform": every n-subset alike. "balanced": n/K rows of each of the K classes. "pairs": labels name pairs of rows
    (two views of one sample), n/2 pairs are drawn and both rows of each are in the batch.

    Attributes:
        kind: one of BATCHES.
        index: each row's class, 0..K-1.
        sizes: rows of each class.
        batch_sizes: numbers n of rows in a batch.
    """

    kind: str
    index: Int[np.ndarray, " N"]
    sizes: Int[np.ndarray, " K"]
    batch_sizes: tuple[int, ...]

    @classmethod
    def of(
        cls, kind: str, labels: Array, num_points: int, batch_sizes: Numbers, name: str = "batch_size"
    ) -> "BatchKind":
        """Checked.

        Args:
            name: of the batch sizes, for errors.

        Raises:
            ValueError: an unknown kind; labels of another number, one class, one-row classes, classes of other than
                two rows for pairs; a batch size outside [2, N], or one that the kind cannot have.
        """
        require_choice(kind, "batches", BATCHES)
        values, index = index_labels(labels, num_points)
        sizes = np.bincount(index, minlength=len(values))
        if len(values) < 2:
            raise ValueError(f"labels: needs at least 2 classes, got {len(values)}")
        if sizes.min() < 2:
            raise ValueError(f"labels: every class needs at least 2 rows, class {values[sizes.argmin()]} has 1")
        if kind == "pairs" and sizes.max() > 2:
            raise ValueError(f"labels: pairs are classes of 2 rows, class {values[sizes.argmax()]} has {sizes.max()}")
        if isinstance(batch_sizes, str | bytes) or not hasattr(batch_sizes, "__len__") or len(batch_sizes) == 0:
            raise ValueError(f"{name}: expected a sequence of at least one batch size, got {batch_sizes!r:.40}")
        found = tuple(require_count(n, name, 2, num_points) for n in batch_sizes)
        for n in found:
            if kind == "balanced" and (n % len(sizes) or n // len(sizes) > sizes.min()):
                raise ValueError(
                    f"{name}: balanced batches of {len(sizes)} classes have a multiple of {len(sizes)} rows, at "
                    f"most {len(sizes) * sizes.min()} (the smallest class has {sizes.min()}), got {n}"
                )
            if kind == "pairs" and n % 2:
                raise ValueError(f"{name}: batches of pairs have an even number of rows, got {n}")
        return cls(kind, index, sizes, found)

    @property
    def num_points(self) -> int:
        return len(self.index)

    def units(self, row_class: int | np.integer, member: bool) -> tuple[np.ndarray, np.ndarray]:
        """Units in each stratum, (strata,), and how many of them are drawn beside a row, (sizes, strata).

        Args:
            row_class: the row's.
            member: whether the row is one of the pool's; if not, it joins batches that are drawn from all of the pool.
        """
        n = np.array(self.batch_sizes)
        if self.kind == "uniform":
            return np.array([self.num_points - member]), (n - 1)[:, None]
        if self.kind == "pairs":
            return np.array([self.num_points // 2 - 1]), (n // 2 - 1)[:, None]
        own = np.arange(len(self.sizes)) == row_class
        return self.sizes - own * member, (n // len(self.sizes))[:, None] - own


@dataclass(frozen=True)
class Rows:
    """The rows that are asked about.

    Attributes:
        unit: normalized in float64.
        index: their classes among the pool's.
        member: whether they are the pool's own rows, in its order.
    """

    unit: Float[np.ndarray, "R D"]
    index: Int[np.ndarray, " R"]
    member: bool


def unit_rows(points: Float[Array, "N D"], name: str = "points") -> tuple[Array, Float[np.ndarray, "N D"]]:
    """A pool of rows, half precision as float32, and the rows normalized in float64.

    Raises:
        ValueError: another shape, NaN, infinity or zero rows.
    """
    if getattr(points, "ndim", 0) != 2:
        raise ValueError(f"{name}: expected shape (N, D), got {tuple(getattr(points, 'shape', ()))}")
    points = widen(points, name)
    require_points(points, name)
    return points, unit_points(as_numpy(points).astype(np.float64))

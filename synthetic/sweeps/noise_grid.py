"""The noise sweep's grid: settings, the ceilings that theory gives for them, and the cells."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, oblique
from synthetic.batches.noise import NoiseKind
from theory.lemmas.pair_law import NOISE_RANGE
from theory.noise_ceiling import (
    bounded_extremes,
    bounded_persistence,
    bounded_separation,
    gaussian_extremes,
    gaussian_persistence,
    gaussian_separation,
    recommended_threshold,
)
from theory.numerics.inputs import (
    require_count,
    require_flags,
    require_mixing,
    require_number,
    require_range,
    require_threshold,
)
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_DIM, LARGEST_SEED, LARGEST_TRIALS, require_batch, require_grid

# Default noise levels reach this far past the largest ceiling, in this many steps.
PAST_CEILING, NUM_LEVELS, QUICK_LEVELS = 1.5, 16, 9
# The defaults of --quick.
QUICK = {"ambient_dims": (64,), "batch_sizes": (32, 96), "trials": 50, "depth": 4}


@dataclass(frozen=True)
class SweepSettings:
    """What the rows of a noise sweep depend on. The same settings give the same rows on one machine."""

    ambient_dims: tuple[int, ...] = (64, 256)
    """Dimensions D of the space that the points live in."""
    batch_sizes: tuple[int, ...] = (32, 96, 256)
    """Points n in a batch, shared out among the clusters."""
    geometry: Geometry = field(default_factory=Geometry)
    """Clean clusters."""
    noise: Literal["gaussian", "bounded", "sphere", "worst"] = "gaussian"
    """gaussian (E|e|^2 = sigma^2), bounded (uniform in the ball), sphere (its surface), worst (attains the bound)."""
    noise_levels: tuple[float, ...] | None = None
    """Levels sigma (Gaussian: 0, or 1e-6 to 1e6) or eps < 1 (bounded). Default: 16 levels up to 1.5 times the largest
    ceiling, and each batch size's own two ceilings."""
    trials: int = 200
    """Batches a cell."""
    depth: int = 6
    """Blocks of the stack."""
    threshold: float | None = None
    """tau in [0, 1). Default: what Theorem 2a recommends for the noise level."""
    mixing: float = 0.5
    """lambda in (0, 1]."""
    delta: float = 0.05
    """Failure probability that the Gaussian ceilings allow."""
    controls: bool = True
    """Also measure the control cells (synthetic/sweeps/noise_controls.py), on which mistakes show that the grid cannot
    see: equiangular clusters, on which the bounds are attained, unequal sizes, another mixing weight."""
    control_trials: int = 80_000
    """Batches of the control cell that confirms Theorem 2b's event, which fails almost as often as allowed: with half
    as many one run in fifty leaves it undecided, with a quarter one in six."""
    seed: int = 0
    """Every batch is drawn from (seed, cell, trial)."""


@dataclass(frozen=True)
class Ceilings:
    """Noise levels up to which theory guarantees separation of the batch and persistence at every depth, and the one
    at which it guarantees recovery at layers 1 to L (Theorem 2f); 0 where it guarantees nothing."""

    separation: float
    persistence: float
    fusion: float = 0.0

    def guarantees(self, noise: NoiseKind, level: float) -> tuple[bool, bool]:
        """Whether separation and persistence are guaranteed at this noise: up to the ceiling for Gaussian noise,
        strictly below it for bounded noise; never where the clean batch already fails (ceiling 0)."""
        separation, persistence = (
            ceiling > 0.0 and (level <= ceiling if noise == "gaussian" else level < ceiling)
            for ceiling in (self.separation, self.persistence)
        )
        return separation, persistence


def build_cells(
    settings: SweepSettings, num_levels: int = NUM_LEVELS
) -> tuple[list[Cell], dict[tuple[int, int], Ceilings]]:
    """The cells, and the ceilings by (ambient_dim, batch_size). Every group begins with Theorem 1's noise-free cell.

    Raises:
        ValueError: settings that cannot be run, named.
    """
    _check(settings)
    laws = {
        (dim, n): ConeLaw.of(settings.geometry, dim, settings.geometry.sizes(n), settings)
        for dim in settings.ambient_dims
        for n in settings.batch_sizes
    }
    ceilings = {group: law.ceilings(settings.noise) for group, law in laws.items()}
    even = _even_levels(settings, ceilings.values(), num_levels)
    cells: list[Cell] = []
    for (dim, n), ceiling in ceilings.items():
        sizes = settings.geometry.sizes(n)
        levels = settings.noise_levels or _with_ceilings(even, ceiling, settings.noise)
        cell_of = partial(Cell, ambient_dim=dim, sizes=sizes, depth=settings.depth, mixing=settings.mixing,
                          trials=settings.trials, seed=settings.seed)  # fmt: skip
        cells.append(
            cell_of(
                index=len(cells),
                noise="none",
                noise_level=0.0,
                threshold=0.0,
                mapped=True,
                geometry=oblique(settings.geometry),
            )
        )
        for level in levels:
            extremes = laws[dim, n].extremes(settings.noise, float(level))
            recommended = recommended_threshold(*extremes, sizes)
            cells.append(
                cell_of(
                    index=len(cells),
                    noise=settings.noise,
                    noise_level=float(level),
                    mapped=False,
                    threshold=recommended if settings.threshold is None else settings.threshold,
                    geometry=settings.geometry,
                    extremes=extremes,
                )
            )
    # Subspaces that do not fit, or clusters that do not exist, show when they are drawn: before any work.
    for cell in {(c.ambient_dim, c.sizes, c.mapped): c for c in cells}.values():
        cell.points([0])
        cell.query_key_map()
    return cells, ceilings


def _with_ceilings(levels: list[float], ceilings: Ceilings, noise: NoiseKind) -> list[float]:
    """The levels and the group's own ceilings, where the guarantees are hardest to keep; close neighbours give way.

    Bounded noise is guaranteed strictly below its ceiling, and the worst case fails strictly above: both are looked at.
    """
    edges = (1.0,) if noise == "gaussian" else (0.999, 1.001)
    own = [level for level in (ceilings.persistence, ceilings.separation) if level > 0.0]
    kept = [level for level in levels if all(abs(level / c - 1.0) > 0.02 for c in own)]
    return sorted({*kept, *(level * edge for level in own for edge in edges)})


def _check(settings: SweepSettings) -> None:
    require_flags(settings)
    for name in ("ambient_dims", "batch_sizes"):
        values = getattr(settings, name)
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name}: give at least one value, each once, got {list(values)}")
    for dim in settings.ambient_dims:
        require_count(dim, "ambient_dims", 2, LARGEST_DIM)
        for size in settings.batch_sizes:
            require_batch(size, dim, "batch_sizes", dim_name="ambient_dims")
    require_grid(
        len(settings.ambient_dims) * len(settings.batch_sizes) * (1 + len(settings.noise_levels or (0,) * NUM_LEVELS)),
        ("batch_sizes", "ambient_dims", "noise_levels"),
    )
    require_count(settings.trials, "trials", 1, LARGEST_TRIALS)
    require_count(settings.depth, "depth", 1, LARGEST_DEPTH)
    require_count(settings.control_trials, "control_trials", 1, LARGEST_TRIALS)
    require_count(settings.seed, "seed", 0, LARGEST_SEED)
    require_mixing(settings.mixing)
    require_number(settings.delta, "delta", 0.0, 1.0, closed="neither")
    if settings.threshold is not None:
        require_threshold(settings.threshold)
    levels = settings.noise_levels
    if levels is not None:
        if not levels or len(set(levels)) != len(levels):
            raise ValueError(f"noise_levels: give at least one value, each once, got {list(levels)}")
        if settings.noise == "gaussian":
            require_range(np.array([level for level in levels if level != 0.0]), "noise_levels", *NOISE_RANGE)
        else:
            require_range(np.asarray(levels), "noise_levels", 0.0, 1.0, closed="left")


class ConeLaw(NamedTuple):
    """Clusters in cones, as the Gaussian functions of theory.noise_ceiling take them, in their order."""

    ambient_dim: int
    num_clusters: int
    sizes: tuple[int, ...]
    min_within_cos: float
    max_between_cos: float
    delta: float

    @staticmethod
    def of(geometry: Geometry, dim: int, sizes: tuple[int, ...], settings: SweepSettings) -> "ConeLaw":
        """What all clean batches of a geometry obey."""
        cosines = geometry.clean_cosines(geometry.bases(dim, settings.seed))
        return ConeLaw(dim, geometry.num_clusters, sizes, *cosines, settings.delta)

    @property
    def angles(self) -> tuple[float, float]:
        """theta_w and theta_b, radians."""
        return float(np.arccos(self.min_within_cos)), float(np.arccos(self.max_between_cos))

    def ceilings(self, noise: NoiseKind) -> Ceilings:
        """Theorem 2b's."""
        if noise == "gaussian":
            return Ceilings(gaussian_separation(*self), gaussian_persistence(*self))
        return Ceilings(bounded_separation(*self.angles), bounded_persistence(*self.angles, self.sizes))

    def extremes(self, noise: NoiseKind, level: float) -> tuple[float, float]:
        """(alpha, beta) that Theorem 2b allows at a noise level."""
        return gaussian_extremes(*self, level) if noise == "gaussian" else bounded_extremes(*self.angles, level)


def _even_levels(settings: SweepSettings, ceilings, count: int) -> list[float]:
    """Even steps up to well past the largest ceiling, rounded to three digits."""
    largest = max(c.separation for c in ceilings)
    top = PAST_CEILING * largest if largest > 0.0 else 1.5
    if settings.noise != "gaussian":
        top = min(top, 0.96)
    return [float(f"{top * (i + 1) / count:.3g}") for i in range(count)]

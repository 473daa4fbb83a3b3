"""A cell of a sweep's grid: many batches of one kind, drawn from (seed, cell, trial), and the stack they go through."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synthetic.batches import seeding
from synthetic.batches.geometry import Geometry
from synthetic.batches.noise import NoiseKind, add_noise
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.numerics.inputs import require_count, require_mixing, require_threshold
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_SEED, LARGEST_TRIALS, require_batch
from theory.subspaces import separating_map

# Bytes of points generated and held at a time.
TRIAL_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Cell:
    """One point of a sweep's grid: a batch size and a noise level, and the stack that its batches go through.

    ``mapped`` cells are Theorem 1's: no noise, oblique (random) subspaces, queries and keys W x, threshold 0.
    ``extremes`` are (alpha, beta) that theory allows at this noise, where it says so; ``control`` names the cells that
    stand beside the grid (synthetic/sweeps/noise_controls.py, noise_fusion.py). Without ``unit_inputs`` noisy points
    are left as long as they are, and the stack does not normalize them.
    """

    index: int
    ambient_dim: int
    sizes: tuple[int, ...]
    noise: NoiseKind
    noise_level: float
    threshold: float
    mapped: bool
    geometry: Geometry
    depth: int
    mixing: float
    trials: int
    seed: int
    extremes: tuple[float, float] | None = None
    control: str = ""
    unit_inputs: bool = True

    def __post_init__(self) -> None:
        require_threshold(self.threshold)
        require_mixing(self.mixing)
        require_count(self.trials, "trials", 1, LARGEST_TRIALS)
        require_count(self.depth, "depth", 1, LARGEST_DEPTH)
        require_count(self.seed, "seed", 0, LARGEST_SEED)
        require_batch(self.batch_size, self.ambient_dim, "batch_sizes", self.trials, self.depth)

    @property
    def batch_size(self) -> int:
        return sum(self.sizes)

    @property
    def labels(self) -> np.ndarray:
        return contiguous_labels(self.sizes)

    def batches(self) -> Iterator[np.ndarray]:
        """The cell's batches in chunks (trials, n, D) that fit TRIAL_CHUNK_BYTES."""
        chunk = max(1, TRIAL_CHUNK_BYTES // (8 * self.batch_size * self.ambient_dim))
        for start in range(0, self.trials, chunk):
            yield self.points(range(start, min(start + chunk, self.trials)))

    def points(self, trials: Sequence[int]) -> np.ndarray:
        """Observed points (len(trials), n, D) of the given trials; the same whichever are asked for together."""
        clean_rngs, noise_rngs = self.generators(trials)
        clean = self.geometry.draw(self.bases, self.sizes, clean_rngs)
        noisy = add_noise(clean, self.labels, self.noise_level, self.noise, noise_rngs)
        return unit_points(noisy) if self.unit_inputs else noisy

    def generators(self, trials: Sequence[int]) -> tuple[list[np.random.Generator], list[np.random.Generator]]:
        """Of the clean points and of the noise of each trial."""
        clean, noise = (
            seeding.trial_generators(self.seed, self.index, trials, stream)
            for stream in (seeding.POINTS, seeding.NOISE)
        )
        return clean, noise

    @property
    def bases(self) -> np.ndarray:
        return _bases(self.geometry, self.ambient_dim, self.seed)

    @property
    def clean_angles(self) -> tuple[float, float]:
        """theta_w and theta_b of the clean batches, radians."""
        within, between = self.geometry.clean_cosines(self.bases)
        return float(np.arccos(within)), float(np.arccos(between))

    def query_key_map(self) -> tuple[np.ndarray | None, float]:
        """W and its condition number; (None, 1) for cells without a map."""
        return separating_map(self.bases) if self.mapped else (None, 1.0)


@lru_cache(maxsize=8)
def _bases(geometry: Geometry, ambient_dim: int, seed: int) -> np.ndarray:
    return geometry.bases(ambient_dim, seed)

"""Batches to train on: noisy clusters on a union of subspaces, labeled, or as two noisy views of the same points."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from synthetic.batches import seeding
from synthetic.batches.geometry import Geometry
from synthetic.batches.noise import add_noise
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels

Supervision = Literal["labels", "views"]
Subspaces = Literal["fixed", "fresh"]
# Batches for evaluation are keyed apart from those for training, whatever the number of steps.
EVALUATION = 2**31


@dataclass(frozen=True)
class TrainingBatch:
    """Rows of all views, one view after the other.

    Attributes:
        points: unit vectors (n, D), float64.
        classes: cluster of every row.
        samples: number of the clean point that the row was made of.
        targets: what the loss takes for positives: the classes, or the samples.
        views: 1 or 2.
    """

    points: Float[Tensor, "n D"]
    classes: Int[Tensor, " n"]
    samples: Int[Tensor, " n"]
    targets: Int[Tensor, " n"]
    views: int


@dataclass(frozen=True)
class BatchSource:
    """Batch number s of a training, the same whenever it is asked for.

    Attributes:
        noise_level: sigma of the Gaussian noise of every row; two views are two draws of it on one clean point.
        batch_size: rows n, all views together.
        subspaces: "fixed": the same for all batches, so that weights can learn them; "fresh": new ones for every
            batch, so that only the batch itself can tell its clusters.
    """

    geometry: Geometry
    ambient_dim: int
    batch_size: int
    noise_level: float
    supervision: Supervision
    subspaces: Subspaces
    seed: int

    def __post_init__(self) -> None:
        if self.supervision == "views" and self.batch_size % 2:
            raise ValueError(f"batch_sizes: two views need an even number of rows, got {self.batch_size}")
        if self.supervision not in ("labels", "views"):
            raise ValueError(f"supervision: must be labels or views, got {self.supervision!r}")
        if self.subspaces not in ("fixed", "fresh"):
            raise ValueError(f"subspaces: must be fixed or fresh, got {self.subspaces!r}")
        # Sizes, subspaces and clusters that cannot be: before any work.
        self.batch(0)

    @property
    def views(self) -> int:
        return 2 if self.supervision == "views" else 1

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Points of each cluster in one view."""
        return self.geometry.sizes(self.batch_size // self.views)

    @cached_property
    def bases(self) -> np.ndarray:
        """The fixed subspaces; those of all trainings with this ambient dimension and seed of the geometry."""
        return self.geometry.bases(self.ambient_dim, 0)

    def batch(self, number: int, evaluation: bool = False) -> TrainingBatch:
        """Batch ``number`` of the training, or of the evaluation, which shares none with it."""
        key = number + EVALUATION * evaluation
        rng = seeding.generator(self.seed, key, seeding.POINTS)
        bases = self.bases
        if self.subspaces == "fresh":
            bases = self.geometry.bases(self.ambient_dim, int(rng.integers(2**31)))
        labels = contiguous_labels(self.sizes)
        clean = self.geometry.draw(bases, self.sizes, [rng])
        noise = [[seeding.generator(self.seed, key, seeding.NOISE, view)] for view in range(self.views)]
        rows = [unit_points(add_noise(clean, labels, self.noise_level, "gaussian", draws))[0] for draws in noise]
        classes = torch.from_numpy(labels).repeat(self.views)
        samples = torch.arange(len(labels)).repeat(self.views)
        targets = classes if self.views == 1 else samples
        return TrainingBatch(torch.from_numpy(np.concatenate(rows)), classes, samples, targets, self.views)

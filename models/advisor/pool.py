"""The pool that batches are drawn from: unit rows with classes, raw or centered."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.advisor.inputs.arrays import chunks_of
from models.advisor.inputs.features import FeatureSet
from theory.affinity import unit_points


@dataclass(frozen=True)
class Pool:
    """Rows of one strength.

    Attributes:
        points: (P, D) unit vectors, float32.
        classes: (P,) in 0..K-1.
        center: (D,) what was subtracted, or None.
        paired: classes are view pairs: rows i and i + P/2 show the same thing, and batches hold both.
    """

    points: Float[Tensor, "P D"]
    classes: Int[np.ndarray, " P"]
    center: np.ndarray | None
    paired: bool

    @property
    def size(self) -> int:
        return len(self.classes)

    @property
    def chance(self) -> float:
        """Mean affinity sharpness of uniform attention over a batch as large as the pool; no batch size changes it but
        for view pairs (``chance_at``)."""
        counts = np.bincount(self.classes).astype(float)
        return float((counts * (counts - 1)).sum() / (self.size * (self.size - 1)))

    def chance_at(self, batch_size: int) -> float:
        """Mean affinity sharpness of uniform attention in batches of this size."""
        return 1.0 / (batch_size - 1) if self.paired else self.chance


def main_strength(features: FeatureSet) -> float | None:
    """Of view pairs the smallest strength above 0, with which all questions but that of the strength are asked."""
    return None if features.classes is not None else min(s for s in features.strengths if s > 0)


def pool_of(
    features: FeatureSet, centered: bool, strength: float | None = None, center: np.ndarray | None = None
) -> Pool:
    """With labels the embeddings, or their views of a strength; without labels the embeddings and those views as pairs
    (``main_strength`` unless told otherwise).

    Args:
        center: subtract this; None is the mean of these very rows.
    """
    paired = features.classes is None
    if strength is None and paired:
        strength = main_strength(features)
    rows = features.embeddings if strength is None else features.views[features.strengths.index(strength)]
    parts = [features.embeddings, rows] if paired else [rows]
    classes = np.tile(np.arange(features.num_rows), 2) if paired else features.classes
    if centered and center is None:
        center = sum(chunk.sum(0) for part in parts for _, chunk in chunks_of(part)) / len(classes)
    points = torch.empty(len(classes), rows.shape[1])
    for first, part in zip((0, len(rows)), parts):
        for start, chunk in chunks_of(part):
            unit = unit_points(chunk - center if centered else chunk)
            points[first + start : first + start + len(chunk)] = torch.from_numpy(unit)
    return Pool(points, classes, center if centered else None, paired)


def thinned(pool: Pool, most: int, seed: int) -> Pool:
    """At most so many of the rows, at random and the same at every strength; of view pairs both views or none. Classes
    of which fewer than two rows are left are left out."""
    if pool.size <= most:
        return pool
    rng = np.random.default_rng([seed, 8])
    if pool.paired:
        kept = np.sort(rng.permutation(pool.size // 2)[: most // 2])
        rows = np.concatenate([kept, kept + pool.size // 2])
        classes = np.tile(np.arange(len(kept)), 2)
    else:
        rows = np.sort(rng.permutation(pool.size)[:most])
        rows = rows[np.bincount(pool.classes[rows])[pool.classes[rows]] > 1]
        classes = pool.classes[rows]
    return Pool(pool.points[torch.from_numpy(rows)], classes, pool.center, pool.paired)

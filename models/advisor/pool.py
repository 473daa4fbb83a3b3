"""The pool that batches are drawn from: unit rows with classes, raw or centered."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.advisor.inputs.arrays import chunks_of
from models.advisor.inputs.checks import NO_DIRECTION
from models.advisor.inputs.features import FeatureSet
from theory.affinity import unit_points


@dataclass(frozen=True)
class Pool:
    """Rows of one strength.

    Attributes:
        points: (P, D) unit vectors, float32.
        classes: (P,) in 0..K-1.
        center: (D,) what was subtracted, or None.
        bank: (P,) True in a random half of the rows (both views or none): all choices are made from it, that of the
            mean included, so that the other half may stand for new rows.
        paired: classes are view pairs: rows i and i + P/2 show the same thing, and batches hold both.
    """

    points: Float[Tensor, "P D"]
    classes: Int[np.ndarray, " P"]
    center: np.ndarray | None
    bank: Bool[np.ndarray, " P"]
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

    def take(self, rows: Int[np.ndarray, " rows"]) -> "Pool":
        """Some of the rows; of view pairs both views or none."""
        classes = self.classes[rows]
        if self.paired:
            classes = np.unique(classes, return_inverse=True)[1]
        return Pool(self.points[torch.from_numpy(rows)], classes, self.center, self.bank[rows], self.paired)


def main_strength(features: FeatureSet) -> float | None:
    """Of view pairs the smallest strength above 0, with which all questions but that of the strength are asked."""
    return None if features.classes is not None else min(s for s in features.strengths if s > 0)


def pool_of(
    features: FeatureSet,
    centered: bool,
    strength: float | None = None,
    center: np.ndarray | None = None,
    seed: int = 0,
) -> Pool:
    """With labels the embeddings, or their views of a strength; without labels the embeddings and those views as pairs
    (``main_strength`` unless told otherwise).

    Args:
        center: subtract this; None is the mean of the bank.
        seed: of the bank.

    Raises:
        ValueError: a row equal to what is subtracted; names it.
    """
    classes, paired = features.classes, features.classes is None
    if strength is None and paired:
        strength = main_strength(features)
    rows = features.embeddings if strength is None else features.views[features.strengths.index(strength)]
    parts = [features.embeddings, rows] if paired else [rows]
    names = ["embeddings"] * (paired or strength is None)
    names += [] if strength is None else [f"view of strength {strength:g}"]
    if classes is None:
        classes = np.tile(np.arange(features.num_rows), 2)
    half = np.zeros(features.num_rows, dtype=bool)
    half[np.random.default_rng([seed, 7]).permutation(features.num_rows)[: (features.num_rows + 1) // 2]] = True
    if centered and center is None:
        sums = [half[start : start + len(chunk)] @ chunk for part in parts for start, chunk in chunks_of(part)]
        center = sum(sums) / (len(parts) * half.sum())
    points = torch.empty(len(classes), rows.shape[1])
    for first, part, name in zip((0, len(rows)), parts, names):
        for start, chunk in chunks_of(part):
            moved = chunk if center is None or not centered else _moved(chunk, center, start, name)
            points[first + start : first + start + len(chunk)] = torch.from_numpy(unit_points(moved))
    return Pool(points, classes, center if centered else None, np.tile(half, len(parts)), paired)


def _moved(chunk: np.ndarray, center: np.ndarray, start: int, name: str) -> np.ndarray:
    """Rows less the center, of which none may be left without a direction."""
    moved = chunk - center
    flat = np.linalg.norm(moved, axis=1) <= NO_DIRECTION * np.linalg.norm(center)
    if flat.any():
        raise ValueError(
            f"{name}: row {start + int(np.argmax(flat))} is the mean that is subtracted, so centering leaves it no "
            "direction; leave it out"
        )
    return moved


def thinned(pool: Pool, most: int, seed: int) -> Pool:
    """At most so many of the rows, at random and the same at every strength; of view pairs both views or none.

    Which ones does not depend on their classes, so that they stand for all: a class may keep one row, or none.
    """
    if pool.size <= most:
        return pool
    rng = np.random.default_rng([seed, 8])
    if pool.paired:
        kept = np.sort(rng.permutation(pool.size // 2)[: most // 2])
        return pool.take(np.concatenate([kept, kept + pool.size // 2]))
    return pool.take(np.sort(rng.permutation(pool.size)[:most]))

"""Small sets of embeddings for the tests: Gaussian classes away from the origin, with noisy views."""

import numpy as np

from models.advisor.inputs.features import FeatureSet, feature_set

STRENGTHS = (0.0, 0.5, 1.0, 2.0)
# Classes are those of the first seed, whichever rows are drawn of them.
CENTERS = np.random.default_rng(7).normal(size=(4, 12))


def rows_of(seed: int, count: int = 240, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (count, 12) and labels of four classes."""
    rng = np.random.default_rng([seed, 0])
    labels = np.arange(count) % len(CENTERS)
    return 2.0 + 1.5 * CENTERS[labels] + noise * rng.normal(size=(count, 12)), labels


def views_of(embeddings: np.ndarray, seed: int) -> list[np.ndarray]:
    """Views at STRENGTHS: Gaussian noise twice as large as the strength."""
    rng = np.random.default_rng([seed, 1])
    return [embeddings + 2.0 * strength * rng.normal(size=embeddings.shape) for strength in STRENGTHS]


def gaussian_set(seed: int, count: int = 240, labeled: bool = True, noise: float = 1.0) -> FeatureSet:
    """A set of them with views."""
    embeddings, labels = rows_of(seed, count, noise)
    return feature_set(embeddings, labels if labeled else None, views_of(embeddings, seed), STRENGTHS)

"""Batches with prescribed cosines have them."""

import numpy as np
import pytest

from synthetic.batches.prescribed_cosines import draw_batches, equiangular_batches, mean_cosines
from tests.strategies import labels_of


@pytest.mark.parametrize(("clusters", "size"), [(2, 2), (3, 4), (5, 2)])
def test_equiangular_batches_have_their_cosines(clusters, size):
    rng = np.random.default_rng(0)
    within = rng.uniform(0.0, 1.0, 20)
    # Every cosine that a batch can have, both ends included.
    low, high = -(1 + (size - 1) * within) / ((clusters - 1) * size), (1 + (size - 1) * within) / size
    between = low + (high - low) * np.concatenate([[0.0, 1.0], rng.random(18)]) * (1 - 1e-12)
    between = np.maximum(between, low * (1 - 1e-12))
    points = equiangular_batches(within, between, clusters, size)
    labels = labels_of((size,) * clusters)
    for trial in range(20):
        for i, x in enumerate(points[trial]):
            for j, y in enumerate(points[trial]):
                same = within[trial] if labels[i] == labels[j] else between[trial]
                assert x @ y == pytest.approx(1.0 if i == j else same, abs=1e-13)


def test_cosines_that_no_batch_has_are_refused():
    for between in (0.8, -0.8):
        with pytest.raises(ValueError, match=r"^between:"):
            equiangular_batches(np.array([0.1]), np.array([between]), 2, 3)


@pytest.mark.parametrize(("kind", "error"), [("equiangular", 1e-12), ("noisy", 0.02)])
def test_drawn_batches_have_their_mean_cosines(kind, error):
    """Noisy ones on average, in many dimensions: of 2,000 dimensions a mean over pairs is right to about .005."""
    points = draw_batches(kind, 0.6, 0.2, 3, 4, 2000, 4, 0, 0)
    within, between = mean_cosines(points, 3)
    assert np.abs(within - 0.6).max() < error
    assert np.abs(between - 0.2).max() < error
    labels = labels_of((4, 4, 4))
    cosines = points[0] @ points[0].T
    same = (labels[:, None] == labels) & ~np.eye(12, dtype=bool)
    assert within[0] == pytest.approx(cosines[same].mean(), abs=1e-12)
    assert between[0] == pytest.approx(cosines[labels[:, None] != labels].mean(), abs=1e-12)

"""Geometry against whole matrices of cosines."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from models.advisor.pool import pool_of
from models.advisor.questions import geometry as module
from models.advisor.questions.geometry import geometry
from tests.models.advisor.rows import gaussian_set


@pytest.mark.parametrize("centered", [False, True])
def test_against_whole_matrices(centered):
    pool = pool_of(gaussian_set(0, 120, noise=1.5), centered)
    found = geometry(pool, 0)
    points = pool.points.double().numpy()
    cosines, off = points @ points.T, ~np.eye(120, dtype=bool)
    own = (pool.classes[:, None] == pool.classes) & off
    cross = cosines[~own & off]
    assert found.median_cosine == pytest.approx(np.median(cosines[off]), abs=1e-3)
    assert found.smallest_within == pytest.approx(cosines[own].min(), abs=1e-6)
    assert found.largest_cross == pytest.approx(cross.max(), abs=1e-6)
    assert found.closer == pytest.approx((cross > cosines[own].min()).mean(), abs=1e-3)
    assert found.chance == pytest.approx(own.sum() / off.sum())
    nearest = np.argsort(np.where(off, -cosines, np.inf), axis=1)
    same = pool.classes[nearest] == pool.classes[:, None]
    assert found.agreement == pytest.approx(same[:, :10].mean(), abs=1e-6)
    right = 0
    for i in range(120):
        rest = np.arange(120) != i
        knn = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.1))
        right += knn.fit(points[rest], pool.classes[rest]).predict(points[i : i + 1])[0] == pool.classes[i]
    assert found.knn == pytest.approx(right / 120)
    assert found.centered == centered
    assert not found.separated


def test_tight_classes_are_separated_and_copies_counted():
    features = gaussian_set(0, 40, noise=0.01)
    found = geometry(pool_of(features, True), 0)
    assert found.separated
    assert found.closer == 0
    copies = features.take(np.r_[np.arange(40), 0, 4, 8])
    assert geometry(pool_of(copies, False), 0).duplicates == 6
    assert found.duplicates == 0


def test_of_view_pairs_the_nearest_row_counts():
    found = geometry(pool_of(gaussian_set(0, 60, labeled=False, noise=3.0), True), 0)
    assert found.knn == found.agreement > 0.5
    assert found.chance == pytest.approx(1 / 119)


def test_of_many_rows_a_part_is_looked_at(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    pool = pool_of(gaussian_set(0, 400), True)
    part, whole = geometry(pool, 0), None
    monkeypatch.undo()
    whole = geometry(pool, 0)
    assert (part.rows_seen, whole.rows_seen) == (50, 400)
    assert part.closer == pytest.approx(whole.closer, abs=0.15)
    assert part.smallest_within >= whole.smallest_within

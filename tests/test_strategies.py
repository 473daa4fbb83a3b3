"""The helpers are tested too: strategies give what they promise, and reach where the theorems have something to say."""

import numpy as np
from hypothesis import given, settings

from tests.strategies import any_batch, clustered_batch, separate_subspaces
from theory.batches.clusters import cluster_layout
from theory.measurements import pair_extremes
from theory.persistence import admits_threshold
from theory.subspaces import separating_map


@given(any_batch())
def test_batches_are_valid(batch):
    points, labels = batch
    assert np.linalg.norm(points, axis=1).min() > 0
    cluster_layout(labels, len(points))


def share_inside(strategy, inside, examples=200):
    hits = []

    @settings(max_examples=examples, database=None)
    @given(strategy)
    def collect(batch):
        hits.append(bool(inside(batch)))

    collect()
    return np.mean(hits)


def test_clustered_batches_reach_theorem_2a():
    def inside(batch):
        points, labels, sizes = batch
        alpha, beta = pair_extremes(points, labels)
        return admits_threshold(alpha, beta, sizes) and beta > 0

    assert share_inside(clustered_batch(), inside) > 0.2


def test_separate_subspaces_reach_theorem_1b():
    def inside(batch):
        points, labels, _, bases = batch
        return pair_extremes(points @ separating_map(bases)[0].T, labels)[0] > 1e-6

    assert share_inside(separate_subspaces(), inside) > 0.4

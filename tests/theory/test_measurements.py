import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import reference
from tests.strategies import any_batch
from theory import measurements as m
from theory.affinity import affinity_matrix, target_affinity
from theory.batches.clusters import cluster_layout


@given(any_batch())
def test_extremes_quantiles_and_integrity_are_the_double_loop(batch):
    points, labels = batch
    within, cross = reference.extremes(points, labels)
    alpha, beta = m.pair_extremes(points, labels)
    assert alpha == pytest.approx(min(within), abs=1e-14)
    assert beta == pytest.approx(max(cross), abs=1e-14)
    low, high = m.pair_quantiles(points, labels, 0.1)
    assert low == pytest.approx(np.quantile(within, 0.1), abs=1e-12)
    assert high == pytest.approx(np.quantile(cross, 0.9), abs=1e-12)
    assert m.cluster_integrity(points, labels) == pytest.approx(min(within) - max(cross), abs=1e-14)
    np.testing.assert_allclose(m.cluster_integrity(torch.from_numpy(points), labels), alpha - beta, atol=1e-14)


def test_tiles_do_not_change_the_extremes(monkeypatch):
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((2, 50, 5)), rng.permutation(np.repeat([0, 1, 2], [20, 7, 23]))
    whole = m.pair_extremes(points, labels)
    monkeypatch.setattr(m, "TILE_ROWS", 3)
    np.testing.assert_allclose(m.pair_extremes(points, labels), whole, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shuffled", [False, True])
def test_no_pair_is_overlooked(shuffled):
    """Every pair in turn has the extreme cosine of its kind, or the only edge, in one direction or both."""
    labels = np.repeat([0, 1, 2], [2, 4, 3])
    labels = np.random.default_rng(0).permutation(labels) if shuffled else labels
    layout = cluster_layout(labels)
    for i in range(9):
        for j in range(9):
            cosines, edges = np.full((9, 9), 0.1), np.zeros((9, 9))
            edges[i, j] = 1.0
            if i != j:
                cosines[i, j] = cosines[j, i] = -0.5 if labels[i] == labels[j] else 0.7
            alpha, beta = m.cosine_extremes(layout.sort_matrix(cosines), layout)
            expected = (0.1, 0.1) if i == j else (-0.5, 0.1) if labels[i] == labels[j] else (0.1, 0.7)
            assert (alpha, beta) == expected, (i, j)
            assert m.false_edges(edges, labels) == (labels[i] != labels[j])
            assert m.fragments(edges, labels).sum() == 9 - (i != j and labels[i] == labels[j])


@given(any_batch(), st.sampled_from([0.0, 0.3, 0.8]))
def test_graph_measurements_are_the_loops(batch, threshold):
    points, labels = batch
    affinity = affinity_matrix(points, threshold)
    same = labels[:, None] == labels[None, :]
    edges = (affinity > 0) | (affinity.T > 0)
    assert m.false_edges(affinity, labels) == np.triu(edges & ~same).sum()
    clusters = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    expected = [reference.components(edges[np.ix_(rows, rows)]) for rows in clusters]
    np.testing.assert_array_equal(m.fragments(affinity, labels), expected)
    whole = not np.any(edges & ~same) and max(expected) == 1
    assert bool(m.recovered(affinity, labels)) == whole
    expected = [sum(affinity[i, j] for j in range(len(labels)) if same[i, j] and j != i) for i in range(len(labels))]
    np.testing.assert_allclose(m.affinity_sharpness(affinity, labels), expected, atol=1e-15)
    tensor = torch.from_numpy(affinity)
    assert m.false_edges(tensor, labels) == m.false_edges(affinity, labels)
    np.testing.assert_array_equal(m.fragments(tensor, labels).numpy(), m.fragments(affinity, labels))


@given(hnp.arrays(bool, st.integers(1, 12).map(lambda n: (n, n)), elements=st.floats(0, 1).map(lambda p: p < 0.12)))
def test_components_of_any_graph(edges):
    assert m.count_components(edges) == reference.components(edges)


@pytest.mark.parametrize("size", [1, 2, 64, 301])
def test_components_of_a_chain_and_of_its_worst_numbering(size):
    chain = np.eye(size, k=1, dtype=bool)
    shuffled = np.random.default_rng(size).permutation(size)
    assert m.count_components(chain) == 1
    assert m.count_components(chain[np.ix_(shuffled, shuffled)]) == 1
    if size > 2:
        cut = chain.copy()
        cut[size // 2 - 1, size // 2] = False
        assert m.count_components(np.stack([cut, chain])).tolist() == [2, 1]


def test_sharpness_leaves_the_row_itself_out():
    uniform = np.full((4, 4), 0.25)
    np.testing.assert_array_equal(m.affinity_sharpness(uniform, np.array([0, 0, 1, 1])), 0.25)


def test_ideal_affinity_is_recovered_and_sharp():
    labels = np.array([2, 0, 2, 0, 1, 1, 1])
    target = target_affinity(labels)
    np.testing.assert_allclose(m.affinity_sharpness(target, labels), 1.0)
    assert m.recovered(target, labels)
    leaky = target.copy()
    leaky[0, 1] = 1e-3
    assert m.false_edges(leaky, labels) == 1
    assert not m.recovered(leaky, labels)


def test_chance_is_uniform_attention():
    labels = np.array([0, 1, 0, 1, 1])
    uniform = (1 - np.eye(5)) / 4
    np.testing.assert_allclose(m.chance_sharpness(labels), m.affinity_sharpness(uniform, labels))
    np.testing.assert_allclose(m.chance_sharpness(labels, include_self=True), np.array([2, 3, 2, 3, 3]) / 5)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: m.pair_extremes(np.eye(4), np.zeros(4, int)), "at least 2 clusters"),
        (lambda: m.pair_extremes(np.eye(4), np.array([0, 0, 0, 1])), "cluster 1 has 1"),
        (lambda: m.pair_extremes(np.eye(4), np.array([0, 0, 1])), "labels: expected 4"),
        (lambda: m.cluster_integrity(np.eye(4), np.array([0, 0, 1, 1]), level=0.7), "level"),
        (lambda: m.affinity_sharpness(np.full((4, 4), np.nan), np.array([0, 0, 1, 1])), "affinity"),
        (lambda: m.fragments(np.ones((4, 3)), np.array([0, 0, 1, 1])), "affinity: expected shape"),
        (lambda: cluster_layout(np.zeros((2, 2), int)), "labels: expected integers"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_quantiles_are_numpys(count):
    values = np.random.default_rng(count).standard_normal((3, count))
    for level in (0.0, 0.05, 1 / 3, 0.95, 1.0):
        expected = np.quantile(values, level, axis=-1)
        np.testing.assert_allclose(m.linear_quantile(values, level), expected, rtol=1e-13)
        np.testing.assert_allclose(m.linear_quantile(torch.from_numpy(values), level), expected, rtol=1e-13)


@pytest.mark.slow
def test_quantiles_of_more_values_than_torch_takes():
    values = torch.zeros(2**24 + 1)
    values[: 2**24 // 10] = 1.0
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values, 0.5)  # noqa: TID251
    assert [float(m.linear_quantile(values, level)) for level in (0.05, 0.89, 0.91)] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "level", "names"),
    [
        (np.ones(0), 0.5, "values: needs at least one"),
        (np.array(1.0), 0.5, "values: needs at least one"),
        (np.array([1.0, np.nan]), 0.5, "values: contains NaN"),
        (np.ones(3), 1.1, "level: must lie in"),
        (np.ones(3), -0.1, "level: must lie in"),
        (np.ones(3), np.nan, "level: must lie in"),
    ],
)
def test_bad_quantiles_are_named(values, level, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        m.linear_quantile(values, level)

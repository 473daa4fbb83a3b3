import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from tests.strategies import any_batch
from theory.affinity import affinity_matrix, cosine_gram, effective_threshold, normalize_rows, target_affinity
from theory.numerics.precision import numerical_threshold


@given(any_batch(), st.sampled_from([1e-6, 0.1, 0.5]), st.sampled_from([1, 2, 3]), st.booleans())
def test_affinity_is_the_double_loop(batch, threshold, power, signed):
    points, _ = batch
    expected = reference.affinity(points, threshold, power, signed)
    # A cosine within rounding of the cut may fall on either side of it when signs are ignored: keep clear of it.
    cosines = np.abs(cosine_gram(points))
    if not signed and np.any(np.abs(cosines - threshold) < 1e-12):
        return
    np.testing.assert_allclose(affinity_matrix(points, threshold, power, signed=signed), expected, atol=1e-9)


@given(any_batch())
def test_numpy_and_torch_agree(batch):
    points, labels = batch
    for function in (cosine_gram, affinity_matrix):
        np.testing.assert_allclose(function(torch.from_numpy(points)).numpy(), function(points), atol=1e-12)
    np.testing.assert_array_equal(target_affinity(torch.from_numpy(labels)).numpy(), target_affinity(labels))


def test_trials_are_batched():
    points = np.random.default_rng(0).standard_normal((3, 2, 7, 4))
    together = affinity_matrix(points, 0.2)
    for index in np.ndindex(3, 2):
        np.testing.assert_array_equal(together[index], affinity_matrix(points[index], 0.2))


def test_extreme_norms_do_not_overflow():
    points = np.array([[1e200, 0.0], [1e-200, 1e-200], [0.0, 3.0]])
    np.testing.assert_allclose(cosine_gram(points)[0], [1.0, np.sqrt(0.5), 0.0], atol=1e-15)


def test_round_off_is_no_neighbour():
    """Orthogonal clusters of one cosine each: without the numerical cut, 1e-17 would be normalized to weight 1."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((40, 40)))[0].T
    cosines = cosine_gram(basis)
    assert np.any((cosines > 0) & (cosines < 1e-15)), "round-off expected in this batch"
    assert affinity_matrix(basis).max() == 0.0


def test_target_rows_are_uniform_over_positives():
    labels = np.array([1, 0, 1, 1, 0])
    half = [[0, 0, 1, 1, 0], [0, 0, 0, 0, 2], [1, 0, 0, 1, 0], [1, 0, 1, 0, 0], [0, 2, 0, 0, 0]]
    np.testing.assert_array_equal(target_affinity(labels), np.array(half) / 2)


def test_threshold_of_float32_and_conditioned_maps():
    assert effective_threshold(0.0, np.float64, condition=100.0) == numerical_threshold("float64") * 100
    assert effective_threshold(0.0, torch.float32) == numerical_threshold(np.float32)
    assert effective_threshold(0.3, torch.float64) == 0.3


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: cosine_gram(np.zeros((3, 2))), "points: contains a zero vector"),
        (lambda: cosine_gram(np.full((3, 2), np.nan)), "points: contains NaN"),
        (lambda: cosine_gram(torch.full((3, 2), torch.inf)), "points: contains NaN or infinity"),
        (lambda: cosine_gram(np.ones((3, 2), dtype=int)), "points: expected a floating dtype"),
        (lambda: affinity_matrix(np.eye(3), 1.0), r"threshold: must lie in \[0, 1\)"),
        (lambda: affinity_matrix(np.eye(3), -0.1), r"threshold: must lie in \[0, 1\)"),
        (lambda: affinity_matrix(np.eye(3), np.nan), r"threshold: must lie in \[0, 1\)"),
        (lambda: affinity_matrix(np.eye(3), power=0), "power"),
        (lambda: normalize_rows(-np.eye(3)), "affinity: entries"),
        (lambda: target_affinity(np.array([0, 0, 0])), "at least 2 clusters"),
        (lambda: target_affinity(np.array([0, 0, 1])), "cluster 1 has 1"),
        (lambda: target_affinity(np.array([0.0, 0.0, 1.0])), "labels: expected integers"),
        (lambda: effective_threshold(0.0, np.int64), "dtype"),
        (lambda: effective_threshold(0.0, np.float64, condition=1e11), "condition"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call()

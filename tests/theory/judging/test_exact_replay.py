import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.stack import AttentionStack
from tests.strategies import MIXINGS, any_batch
from theory.judging.exact_replay import ExactReplay
from theory.numerics.precision import numerical_threshold


@given(any_batch(), MIXINGS, st.floats(0.05, 0.9), st.booleans())
def test_replay_is_the_stack(batch, mixing, threshold, normalize):
    """The same block, written twice: they differ by round-off, unless a cosine lies exactly on the threshold."""
    points, labels = batch
    stack = AttentionStack(3, threshold, mixing, normalize="every" if normalize else "never")
    trajectory = stack.measure(torch.from_numpy(points)[None], labels)
    replay = ExactReplay(lambda trial: points, labels, threshold, mixing, 3, normalize=normalize)
    alpha, beta = replay(0)
    np.testing.assert_allclose(alpha.astype(float), trajectory.alpha[:, 0], atol=1e-6)
    np.testing.assert_allclose(beta.astype(float), trajectory.beta[:, 0], atol=1e-6)


def test_replay_with_a_map_and_per_trial_parameters():
    rng = np.random.default_rng(0)
    points, matrix = rng.standard_normal((2, 6, 4)), rng.standard_normal((3, 4))
    labels, cut, mixing = np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.2]), np.array([0.5, 0.9])
    stack = AttentionStack(
        4, torch.tensor(cut)[:, None, None], torch.tensor(mixing)[:, None, None], query_key_map=torch.from_numpy(matrix)
    )
    trajectory = stack.measure(torch.from_numpy(points), labels)
    replay = ExactReplay(points.__getitem__, labels, cut, mixing, 4, matrix)
    for trial in range(2):
        np.testing.assert_allclose(replay(trial)[0].astype(float), trajectory.alpha[:, trial], atol=1e-10)


def test_replay_has_fifty_digits():
    """1 - cos of two points 1e-30 apart is 5e-61 / ...: far below float64, still exact here."""
    points = np.array([[1.0, 0.0], [1.0, 1e-15], [0.0, 1.0], [1e-15, 1.0]])
    alpha, _ = ExactReplay(lambda trial: points, np.array([0, 0, 1, 1]), numerical_threshold("float64"), 0.5, 1)(0)
    assert 1.0 - float(alpha[0]) == 0.0
    with mpmath.workdps(50):
        assert float((1 - alpha[0]) / (mpmath.mpf(1e-15) ** 2 / 2)) == pytest.approx(1.0)

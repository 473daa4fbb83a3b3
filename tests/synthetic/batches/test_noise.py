import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic.batches.noise import add_noise
from synthetic.batches.seeding import trial_generators
from synthetic.batches.union_of_subspaces import cone_clusters, equiangular_clusters, subspace_bases
from tests.strategies import labels_of
from theory.measurements import pair_extremes
from theory.noise_ceiling import bounded_extremes

SIZES = (5, 4)
LABELS = labels_of(SIZES)


def clean(trials=20, dim=8, within=0.9):
    bases = subspace_bases(2, dim, 3, np.random.default_rng(0))
    return cone_clusters(bases, SIZES, within, trial_generators(0, 0, range(trials), 0))


def noisy(points, level, kind, cell=0):
    return add_noise(points, LABELS, level, kind, trial_generators(0, cell, range(len(points)), 1))


def test_gaussian_noise_has_its_energy():
    points = clean(2000)
    energy = ((noisy(points, 0.7, "gaussian") - points) ** 2).sum(-1)
    # |e|^2 = sigma^2 chi^2_D / D: 18,000 of them, five standard errors.
    assert energy.mean() == pytest.approx(0.49, abs=5 * 0.49 * np.sqrt(2 / 8 / energy.size))


def test_bounded_noise_fills_the_ball_and_the_sphere():
    points = clean(1000)
    radii = np.linalg.norm(noisy(points, 0.3, "bounded") - points, axis=-1)
    assert radii.max() <= 0.3 + 1e-12
    # Uniform in the ball of R^8: (r/eps)^8 is uniform on [0, 1].
    assert ((radii / 0.3) ** 8).mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * radii.size))
    np.testing.assert_allclose(np.linalg.norm(noisy(points, 0.3, "sphere") - points, axis=-1), 0.3)


@given(st.floats(0.01, 0.99), st.sampled_from([1.0, 0.9, 0.3, -0.5]))
def test_worst_case_attains_both_angular_bounds(level, within):
    """Orthogonal clusters have many closest pairs, so one that avoids the widest pair is always there."""
    points = clean(3, within=within)
    observed = noisy(points, level, "worst")
    assert np.linalg.norm(observed - points, axis=-1).max() <= level * (1 + 1e-9)
    alpha, beta = pair_extremes(observed, LABELS)
    expected = bounded_extremes(float(np.arccos(within)), np.pi / 2, level)
    np.testing.assert_allclose(alpha, expected[0], atol=1e-9)
    np.testing.assert_allclose(beta, expected[1], atol=1e-9)


@pytest.mark.parametrize("closest", [(0, 1), (0, 2), (1, 2)])
def test_worst_case_turns_the_closest_clusters(closest):
    """Of clusters at different angles the closest ones are turned towards each other, wherever they stand."""
    between = np.full((3, 3), 0.1)
    between[closest] = between[closest[::-1]] = 0.4
    labels, rngs = labels_of((3, 3, 3)), trial_generators(0, 1, range(2), 0)
    points = equiangular_clusters(0.8, between, (3, 3, 3), 12, rngs)
    observed = add_noise(points, labels, 0.15, "worst", rngs)
    expected = bounded_extremes(float(np.arccos(0.8)), float(np.arccos(0.4)), 0.15)
    for trial in range(2):
        np.testing.assert_allclose(pair_extremes(observed[trial], labels), expected, atol=1e-9)
    moved = np.unique(labels[np.abs(observed - points).max(axis=(0, 2)) > 1e-9])
    assert {*closest} <= {*moved.tolist()}


def test_no_noise_is_no_noise():
    points = clean(2)
    for kind, level in (("none", 0.5), ("gaussian", 0.0), ("bounded", 0.0), ("worst", 0.0)):
        np.testing.assert_array_equal(noisy(points, level, kind), points)


@pytest.mark.parametrize("kind", ["gaussian", "bounded", "sphere", "worst"])
def test_a_trial_does_not_depend_on_its_batch(kind):
    points = clean(5)
    alone = add_noise(points[3:4], LABELS, 0.4, kind, trial_generators(0, 0, [3], 1))
    np.testing.assert_array_equal(alone[0], noisy(points, 0.4, kind)[3])


@pytest.mark.parametrize(
    ("level", "kind", "names"),
    [(-0.1, "gaussian", "noise_level"), (np.nan, "gaussian", "noise_level"), (1.0, "bounded", r"\[0, 1\)"),
     (1.5, "worst", r"\[0, 1\)"), (0.5, "pink", "kind")],
)  # fmt: skip
def test_bad_input_is_named(level, kind, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        noisy(clean(1), level, kind)

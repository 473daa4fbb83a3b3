"""Theorem 2b: ceilings of bounded and Gaussian noise."""

import numpy as np
import pytest

from synthetic.batches.noise import add_noise
from synthetic.batches.seeding import generator, trial_generators
from synthetic.batches.union_of_subspaces import circle_clusters, cone_clusters, subspace_bases
from tests.reference import pair_upper_tail
from tests.strategies import labels_of
from theory import noise_ceiling as nc
from theory.judging.verdicts import Status
from theory.measurements import pair_extremes
from theory.persistence import admits_threshold, threshold_interval

pytestmark = pytest.mark.theorems
DEGREE = np.pi / 180


# --- bounded noise ----------------------------------------------------------------------------------------------------


def test_values_by_hand():
    assert nc.bounded_separation(0.0, np.pi / 2) == pytest.approx(np.sin(22.5 * DEGREE))
    assert nc.bounded_separation(0.5, 0.5) == 0.0
    assert nc.bounded_separation(0.7, 0.5) == 0.0
    assert nc.bounded_threshold_separation(60 * DEGREE, 150 * DEGREE) == pytest.approx(np.sin(15 * DEGREE))
    assert nc.bounded_threshold_separation(100 * DEGREE, 150 * DEGREE) == 0.0
    alpha, beta = nc.bounded_extremes(0.2, 1.2, np.sin(0.1))
    assert (alpha, beta) == pytest.approx((np.cos(0.4), np.cos(1.0)))
    assert nc.bounded_extremes(3.0, 0.1, 0.9) == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize(("theta_w", "theta_b"), [(0.0, np.pi / 2), (0.3, 1.2), (0.1, 2.5), (0.5, 1.5)])
@pytest.mark.parametrize("sizes", [4, (7, 3, 3)])
def test_bounded_persistence_is_where_the_hypotheses_end(theta_w, theta_b, sizes):
    level = nc.bounded_persistence(theta_w, theta_b, sizes)
    assert 0 < level <= nc.bounded_separation(theta_w, theta_b) + 1e-12
    for factor, expected in ((1.0, True), (1 + 1e-7, False)):
        assert (
            threshold_interval(*nc.bounded_extremes(theta_w, theta_b, factor * level), sizes) is not None
        ) == expected


def test_persistence_ceiling_is_zero_where_the_clean_batch_fails():
    assert nc.bounded_persistence(0.5, 0.51, 8) == 0.0
    assert nc.bounded_persistence(1.6, 3.0, 8) == 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sizes", [(2, 2), (4, 3)])
def test_ceiling_is_attained_on_the_circle(seed, sizes):
    """Worst-case noise just under eps_sep never breaks separation, just over it always does."""
    rng = generator(seed, 0)
    theta_w = rng.uniform(0.05, 1.0)
    theta_b = rng.uniform(theta_w + 0.05, np.pi - theta_w / 2 - 0.01)
    labels = labels_of(sizes)
    clean = circle_clusters(theta_w, theta_b, sizes, 5, rng)
    ceiling = nc.bounded_separation(theta_w, theta_b)
    for factor, separated in ((1 - 1e-6, True), (1 + 1e-6, False)):
        noisy = add_noise(clean[None], labels, factor * ceiling, "worst", [rng])
        assert np.linalg.norm(noisy - clean, axis=-1).max() <= factor * ceiling * (1 + 1e-12)
        alpha, beta = pair_extremes(noisy, labels)
        assert bool(alpha > beta) is separated
        assert (float(alpha[0]), float(beta[0])) == pytest.approx(
            nc.bounded_extremes(theta_w, theta_b, factor * ceiling), abs=1e-9
        )


@pytest.mark.parametrize("kind", ["bounded", "sphere", "worst"])
@pytest.mark.parametrize("within", [1.0, 0.9])
def test_no_bounded_noise_below_the_ceiling_breaks_separation(kind, within):
    sizes = (6, 5, 4)
    labels = labels_of(sizes)
    bases = subspace_bases(3, 9, 3, generator(0, 0))
    clean = cone_clusters(bases, sizes, within, trial_generators(0, 1, range(100), 0))
    ceiling = nc.bounded_separation(float(np.arccos(within)), np.pi / 2)
    for factor, must_hold in ((1 - 1e-6, True), (1 + 1e-6, False)):
        noisy = add_noise(clean, labels, factor * ceiling, kind, trial_generators(0, 1, range(100), 1))
        alpha, beta = pair_extremes(noisy, labels)
        if must_hold:
            assert np.all(alpha > beta)
        elif kind == "worst":
            assert np.all(alpha < beta)


def test_check_bounded_notices_what_breaks():
    inside = np.array([0.95]), np.array([0.1])
    good = nc.check_bounded(*inside, 0.2, 1.5, 0.1, 5)
    assert good.status is Status.HOLDS
    assert nc.check_bounded(np.array([0.3]), np.array([0.1]), 0.2, 1.5, 0.1, 5).status is Status.VIOLATED
    assert nc.check_bounded(np.array([0.95]), np.array([0.6]), 0.2, 1.5, 0.1, 5).status is Status.VIOLATED
    with pytest.raises(ValueError, match="NaN"):
        nc.check_bounded(np.array([np.nan]), np.array([0.6]), 0.2, 1.5, 0.1, 5)


def test_bounded_cosines_have_no_slack():
    alpha, beta = nc.bounded_extremes(0.2, 1.5, 0.1)
    assert nc.check_bounded(np.array([alpha]), np.array([beta]), 0.2, 1.5, 0.1, 5).status is Status.HOLDS
    for a, b in ((alpha - 1e-9, beta), (alpha, beta + 1e-9)):
        assert nc.check_bounded(np.array([a]), np.array([b]), 0.2, 1.5, 0.1, 5).status is Status.VIOLATED


def test_a_persistence_ceiling_five_percent_too_strong_is_noticed(monkeypatch):
    sizes, rng = (3, 3), generator(3, 0)
    labels, clean = labels_of(sizes), circle_clusters(0.3, 1.4, sizes, 4, generator(3, 0))
    level = 1.04 * nc.bounded_persistence(0.3, 1.4, sizes)
    alpha, beta = pair_extremes(add_noise(clean[None], labels, level, "worst", [rng]), labels)
    assert nc.check_bounded(alpha, beta, 0.3, 1.4, level, sizes).status is Status.HOLDS
    true_ceiling = nc.bounded_persistence
    monkeypatch.setattr(nc, "bounded_persistence", lambda *a: 1.05 * true_ceiling(*a))
    assert nc.check_bounded(alpha, beta, 0.3, 1.4, level, sizes).status is Status.VIOLATED


@pytest.mark.parametrize("seed", range(10))
def test_the_threshold_at_the_persistence_ceiling_is_admissible(seed):
    """The ceiling is rounded to the side where 2a holds, so what is recommended there is inside the interval."""
    rng = generator(seed, 9)
    clusters, size, dim = int(rng.integers(2, 9)), int(rng.integers(2, 40)), int(rng.integers(3, 600))
    within = rng.uniform(0.3, 1.0)
    law = (dim, clusters, size, within, rng.uniform(-0.2, 0.5 * within**2), 0.05)
    sigma = nc.gaussian_persistence(*law)
    assert sigma > 0
    extremes = nc.gaussian_extremes(*law, sigma)
    low, high = threshold_interval(*extremes, size)
    assert low <= nc.recommended_threshold(*extremes, size) < high
    angles = float(np.arccos(within)), float(np.arccos(law[4]))
    extremes = nc.bounded_extremes(*angles, nc.bounded_persistence(*angles, size))
    assert threshold_interval(*extremes, size) is not None


def test_a_bounded_ceiling_five_percent_too_strong_is_noticed(monkeypatch):
    sizes, rng = (3, 3), generator(3, 0)
    labels, clean = labels_of(sizes), circle_clusters(0.3, 1.4, sizes, 4, generator(3, 0))
    level = 1.04 * nc.bounded_separation(0.3, 1.4)
    alpha, beta = pair_extremes(add_noise(clean[None], labels, level, "worst", [rng]), labels)
    assert nc.check_bounded(alpha, beta, 0.3, 1.4, level, sizes).status is Status.HOLDS
    true_ceiling = nc.bounded_separation
    monkeypatch.setattr(nc, "bounded_separation", lambda *a: 1.05 * true_ceiling(*a))
    assert nc.check_bounded(alpha, beta, 0.3, 1.4, level, sizes).status is Status.VIOLATED


# --- Gaussian noise ---------------------------------------------------------------------------------------------------

LAWS = [(64, 8, 32, 1.0, 0.0, 0.05), (16, 2, 8, 0.9, 0.5, 0.05), (256, 4, (9, 5, 3, 2), 0.8, 0.1, 1e-6)]


@pytest.mark.parametrize("law", LAWS)
def test_ceiling_balances_the_independent_tails(law):
    """At sigma_sep the union bound's two tails, from the harmonic series, meet their budgets at one cosine."""
    sigma = nc.gaussian_separation(*law)
    alpha, beta = nc.gaussian_extremes(*law, sigma)
    assert alpha == pytest.approx(beta, abs=1e-7)
    dim, clusters, sizes, within, between, delta = law
    sizes = np.broadcast_to(sizes, clusters)
    within_pairs = (sizes * (sizes - 1)).sum() / 2
    cross_pairs = sizes.sum() * (sizes.sum() - 1) / 2 - within_pairs
    upper = float(pair_upper_tail(dim, sigma, between, beta))
    lower = float(1 - pair_upper_tail(dim, sigma, within, alpha))
    assert upper * 2 * cross_pairs == pytest.approx(delta, rel=1e-4)
    assert lower * 2 * within_pairs == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize("law", LAWS)
def test_persistence_ceiling_is_where_the_hypotheses_end(law):
    sigma = nc.gaussian_persistence(*law)
    assert 0 < sigma < nc.gaussian_separation(*law)
    for factor, expected in ((0.9999, True), (1.0001, False)):
        alpha, beta = nc.gaussian_extremes(*law, factor * sigma)
        assert bool(admits_threshold(alpha, beta, law[2])) is expected


def test_a_threshold_needs_positive_alpha_under_gaussian_noise_too():
    """Wide clusters in opposite directions stay separated longer than any threshold in [0, 1) can tell them apart."""
    opposite = (8, 2, 4, 0.5, -0.9, 0.05)
    sigma = nc.gaussian_threshold_separation(*opposite)
    assert 0 < sigma < nc.gaussian_separation(*opposite)
    alpha, beta = nc.gaussian_extremes(*opposite, sigma)
    assert alpha == pytest.approx(0.0, abs=1e-6)
    assert beta < 0
    acute = (64, 8, 32, 1.0, 0.0, 0.05)
    assert nc.gaussian_threshold_separation(*acute) == nc.gaussian_separation(*acute)


def test_clean_batches_that_fail_have_no_ceiling():
    assert nc.gaussian_separation(16, 2, 4, 0.5, 0.5, 0.05) == 0.0
    assert nc.gaussian_persistence(16, 2, 8, 0.9, 0.89, 0.05) == 0.0
    assert nc.gaussian_extremes(16, 2, 4, 0.7, 0.2, 0.05, 0.0) == (0.7, 0.2)


def test_ceilings_move_the_right_way():
    base = nc.gaussian_separation(64, 4, 8, 0.9, 0.0, 0.05)
    assert nc.gaussian_separation(128, 4, 8, 0.9, 0.0, 0.05) > base
    assert nc.gaussian_separation(64, 8, 8, 0.9, 0.0, 0.05) < base
    assert nc.gaussian_separation(64, 4, 8, 0.95, 0.0, 0.05) > base
    assert nc.gaussian_separation(64, 4, 8, 0.9, 0.1, 0.05) < base
    assert nc.gaussian_separation(64, 4, 8, 0.9, 0.0, 0.01) < base


def test_recommended_threshold_is_admissible_below_the_ceiling():
    alpha, beta = nc.gaussian_extremes(64, 8, 12, 0.9, 0.0, 0.05, 0.3)
    low, high = threshold_interval(alpha, beta, 12)
    assert low < nc.recommended_threshold(alpha, beta, 12) < high
    assert nc.recommended_threshold(0.5, 0.45, 12) == pytest.approx(0.475)
    assert nc.recommended_threshold(0.2, 0.45, 12) == pytest.approx(0.45)
    assert nc.recommended_threshold(-0.2, -0.1, 12) == 0.0
    low, high = threshold_interval(0.9999, 0.9995, 4)
    assert low < nc.recommended_threshold(0.9999, 0.9995, 4) < high


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((1, 2, 4, 0.9, 0.0, 0.05), "ambient_dim"),
        ((8, 1, 4, 0.9, 0.0, 0.05), "num_clusters"),
        ((8, 2, 1, 0.9, 0.0, 0.05), "cluster_size"),
        ((8, 2, (4, 4, 4), 0.9, 0.0, 0.05), "cluster_size: expected 1 or 2"),
        ((8, 2, 4, 1.1, 0.0, 0.05), "min_within_cos"),
        ((8, 2, 4, 0.9, np.nan, 0.05), "max_between_cos"),
        ((8, 2, 4, 0.9, 0.0, 0.0), "delta"),
        ((8, 2, 4, 0.9, 0.0, 1.0), "delta"),
    ],
)
def test_gaussian_bad_input_is_named(arguments, names):
    for ceiling in (nc.gaussian_separation, nc.gaussian_persistence):
        with pytest.raises(ValueError, match=names):
            ceiling(*arguments)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: nc.bounded_separation(-0.1, 1.0), "theta_within"),
        (lambda: nc.bounded_extremes(0.1, 1.0, 1.0), r"noise_level: must lie in \[0, 1\)"),
        (lambda: nc.bounded_persistence(0.1, 4.0, 5), "theta_between"),
        (lambda: nc.gaussian_extremes(8, 2, 4, 0.9, 0.0, 0.05, -1.0), "noise_level"),
    ],
)
def test_bounded_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()

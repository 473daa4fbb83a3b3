"""Propositions 8 and 9: closed forms, exact coverage, and the rate at which wrong candidates are accepted."""

import math
from itertools import combinations

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import binom

from tests.reference_batches import pool_weights
from theory.batch_law import Weight, batch_laws
from theory.certified_mean import (
    asymptotic_interval,
    batch_floor_of_mean,
    bernoulli_divergence,
    divergence_floor,
    fixed_sequence,
    mean_floor,
    share_influence,
)
from theory.judging.rates import clopper_pearson

pytestmark = pytest.mark.usefixtures("as_users_call")


def test_closed_forms():
    """All values 1: mu^m = delta. None: 0. The divergence of 1/2 and 1/4 by hand."""
    assert divergence_floor(1.0, 10, 0.05) == pytest.approx(0.05 ** (1 / 10), rel=1e-12)
    assert divergence_floor(0.0, 10, 0.05) == 0.0
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert bernoulli_divergence(0.5, 0.25) == pytest.approx(expected)
    assert bernoulli_divergence(0.5, 0.0) == math.inf
    assert divergence_floor(0.5, 100, math.exp(-100 * expected)) == pytest.approx(0.25, abs=1e-12)


def test_the_floor_is_below_hoeffdings_and_above_nothing():
    """Pinsker: kl >= 2 (x - mu)^2, so that the radius is at most sqrt(ln(1/delta)/2m)."""
    for mean in (0.1, 0.5, 0.93):
        for count in (5, 50, 500):
            floor = divergence_floor(mean, count, 0.05)
            assert mean - math.sqrt(math.log(20) / (2 * count)) <= floor <= mean
            assert bernoulli_divergence(mean, floor) >= math.log(20) / count * (1 - 1e-9)


def test_coverage_of_coin_tosses_exactly():
    """P(floor > mu), summed over the binomial law, is at most delta for every mu, and more than a tenth of it for some:
    coins are the hardest values there are."""
    count, delta = 30, 0.05
    floors = np.array([divergence_floor(k / count, count, delta) for k in range(count + 1)])
    missed = [binom.pmf(np.flatnonzero(floors > mu), count, mu).sum() for mu in np.linspace(0.01, 0.99, 197)]
    assert max(missed) <= delta
    assert max(missed) > delta / 10


def test_coverage_of_values_of_different_laws():
    """Two kinds of coins, half of the values each: at most delta of 2,000 samples are missed, by far."""
    rng, delta = np.random.default_rng(0), 0.1
    chances = np.repeat([0.3, 0.8], 12)
    values = rng.random((2000, 24)) < chances
    missed = sum(mean_floor(row.astype(float), delta) > chances.mean() for row in values)
    assert clopper_pearson(missed, 2000)[1] < delta


def test_new_rows_against_a_bank():
    """The lower ends of Proposition 6 for new rows: floors of 300 samples of 30 rows against the population's mean."""
    rng = np.random.default_rng(1)
    bank, labels = rng.standard_normal((12, 3)), np.arange(12) % 2
    bank += 1.5 * np.array([[1, 0, 0], [0, 1, 0]])[labels]
    new_labels = np.arange(40) % 2
    new = rng.standard_normal((40, 3)) + 1.5 * np.array([[1, 0, 0], [0, 1, 0]])[new_labels]
    weight = Weight("exponential", inverse_temperature=5.0)
    (law,) = batch_laws(bank, labels, [4], [weight], new_rows=(new, new_labels))
    values = law.lower[0]
    missed = sum(mean_floor(values[rng.integers(0, 40, 30)], 0.1) > values.mean() for _ in range(300))
    assert clopper_pearson(missed, 300)[1] < 0.1
    # What a batch holds of the bank by enumeration, for one row.
    h = pool_weights(np.concatenate([bank, new[:1]]), weight.value)[12, :12]
    shares = [h[list(b)][labels[list(b)] == new_labels[0]].sum() / h[list(b)].sum() for b in combinations(range(12), 3)]
    assert values[0] <= np.mean(shares) <= law.upper[0, 0]


def test_whole_batches_by_their_blocks():
    assert batch_floor_of_mean(0.9, 100, 5, 0.05) == divergence_floor(0.9, 20, 0.05) == pytest.approx(0.667, abs=1e-3)
    assert batch_floor_of_mean(0.9, 104, 5, 0.05) == batch_floor_of_mean(0.9, 100, 5, 0.05)
    assert batch_floor_of_mean(0.9, 500, 5, 0.05) == pytest.approx(0.811, abs=1e-3)
    twice = divergence_floor(divergence_floor(0.9, 40, 0.025), 20, 0.025)
    assert batch_floor_of_mean(0.9, 100, 5, 0.05, sampled=40) == twice < batch_floor_of_mean(0.9, 100, 5, 0.05)


def test_coverage_of_averages_over_all_pairs():
    """U of the kernel "both are heads", n = 2 of 20 tosses: k(k-1)/(20 19) from k heads, exactly over the binomial."""
    total, delta = 20, 0.05
    heads = np.arange(total + 1)
    averages = heads * (heads - 1) / (total * (total - 1))
    floors = np.array([batch_floor_of_mean(u, total, 2, delta) for u in averages])
    for chance in np.linspace(0.05, 0.95, 37):
        assert binom.pmf(heads[floors > chance**2], total, chance).sum() <= delta


def test_wrong_candidates_are_accepted_at_most_delta():
    """Ten candidates, the last seven just short of the target; bounds of coins by their exact (Clopper-Pearson) law,
    which use delta up: in order at most delta, each by itself far more."""
    rng, count, target, delta, runs = np.random.default_rng(2), 40, 0.6, 0.1, 2000
    truth = np.array([0.95] * 3 + [0.599] * 7)
    exact = np.array([clopper_pearson(k, count, 1.0 - 2.0 * delta)[0] for k in range(count + 1)])
    floors = exact[rng.binomial(count, truth, (runs, 10))]
    accepted = np.array([fixed_sequence(row, target) for row in floors])
    wrong = int((accepted > 3).sum())
    assert clopper_pearson(wrong, runs)[1] < delta
    assert wrong > 0.3 * delta * runs, "the bounds are close to their level, so that the rule is put to the test"
    assert (floors[:, 3:] >= target).any(axis=1).mean() > 2.0 * delta


def test_the_sequence_stops_at_the_first_failure():
    assert fixed_sequence([0.9, 0.8, 0.5, 0.9], 0.7) == 2
    assert fixed_sequence([0.9, 0.8], [0.9, 0.8]) == 2
    assert fixed_sequence([0.1, 0.9], 0.5) == 0
    assert fixed_sequence([], 0.5) == 0
    for floors, targets in (([0.5, math.nan], 0.5), ([[0.5]], 0.5), ("ab", 0.5)):
        with pytest.raises(ValueError, match=r"^floors: "):
            fixed_sequence(floors, targets)
    for targets in ([0.5], math.nan, [[0.5, 0.5]]):
        with pytest.raises(ValueError, match=r"^targets: "):
            fixed_sequence([0.5, 0.6], targets)


# --- asymptotics ------------------------------------------------------------------------------------------------------


def rows(seed, total, dim=4):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(total) % 3)
    return rng.standard_normal((total, dim)) + 1.5 * np.eye(3, dim)[labels], labels


WEIGHT = Weight("exponential", inverse_temperature=3.0)


def test_influence_by_its_formula():
    points, labels = rows(0, 9)
    h = pool_weights(points, WEIGHT.value)
    shares, psi = share_influence(points, labels, WEIGHT)
    same, mass = labels[:, None] == labels, h.sum(axis=1)
    expected = np.array([(h[i] * same[i]).sum() / mass[i] for i in range(9)])
    np.testing.assert_allclose(shares, expected, rtol=1e-12)
    for j in range(9):
        reached = sum(h[i, j] * (same[i, j] - expected[i]) / mass[i] for i in range(9))
        assert psi[j] == pytest.approx(expected[j] - expected.mean() + reached, abs=1e-12)
    tensors = share_influence(torch.from_numpy(points), torch.from_numpy(labels), WEIGHT)
    np.testing.assert_allclose(tensors, (shares, psi), atol=1e-12)


def test_influence_is_what_a_row_more_weighs():
    """Numerically: give row j a little more mass, and watch the mean share."""
    points, labels = rows(1, 12)
    h = pool_weights(points, WEIGHT.value)
    same = labels[:, None] == labels

    def mean_share(mass):
        weighted = h * mass
        return float(mass @ ((weighted * same).sum(1) / weighted.sum(1)) / mass.sum())

    psi, step = share_influence(points, labels, WEIGHT)[1], 1e-6
    for j in range(12):
        more, less = np.ones(12), np.ones(12)
        more[j], less[j] = 1.0 + step, 1.0 - step
        slope = (mean_share(more) - mean_share(less)) / (2.0 * step)
        assert psi[j] / 12 == pytest.approx(slope, abs=1e-8)


def test_influence_in_tiles(monkeypatch):
    points, labels = rows(2, 30)
    expected = share_influence(points, labels, WEIGHT)
    monkeypatch.setattr("theory.certified_mean.TILE_ENTRIES", 70)
    np.testing.assert_allclose(share_influence(points, labels, WEIGHT), expected, atol=1e-13)


def test_rows_without_weight_have_none():
    shares, psi = share_influence(np.eye(4), [0, 0, 1, 1], Weight("relu", threshold=0.5))
    assert not shares.any()
    assert not psi.any()


def test_asymptotic_coverage():
    """Samples of 150 rows of one law, against the mean of all their estimates: about 95 %, not 80 and not 100."""
    estimates, radii = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, 150)
        points = rng.standard_normal((150, 4)) + 1.5 * np.eye(3, 4)[labels]
        shares, psi = share_influence(points, labels, WEIGHT)
        low, high = asymptotic_interval(shares.mean(), psi)
        estimates.append(shares.mean())
        radii.append(0.5 * (high - low))
    covered = int((np.abs(np.array(estimates) - np.mean(estimates)) <= radii).sum())
    low, high = clopper_pearson(covered, 150)
    assert low < 0.95 < high
    assert asymptotic_interval(0.5, np.array([-1.0, 1.0]), 0.95)[0] == 0.0
    assert asymptotic_interval(0.5, np.array([-0.1, 0.1] * 50))[1] == pytest.approx(0.5 + 1.96 * 0.1005 / 10, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_floor([], 0.05), r"^values: expected shape"),
        (lambda: mean_floor([0.5, 1.1], 0.05), r"^values: must lie in \[0, 1\]"),
        (lambda: mean_floor([0.5, math.nan], 0.05), r"^values: must lie"),
        (lambda: mean_floor([0.5], 0.0), r"^delta: must lie in \(0, 1\)"),
        (lambda: batch_floor_of_mean(0.5, 10, 11, 0.05), r"^batch_size: must be a whole number in \[1, 10\]"),
        (lambda: asymptotic_interval(0.5, [1.0]), r"^influence: expected finite"),
        (lambda: asymptotic_interval(1.5, [0.0, 1.0]), r"^estimate: must lie"),
        (lambda: share_influence(np.ones(3), [0, 1, 1], WEIGHT), r"^points: expected shape"),
        (lambda: share_influence(np.ones((4, 2)), [0, 1, 1, 1], WEIGHT), r"^labels: every cluster"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("count", [5, 10**4, 10**6, 10**12])
def test_the_floor_is_never_above_by_round_off(count):
    """kl(mean || floor) in 40 digits: at least what is allowed, and hardly more."""
    with mpmath.workdps(40):
        mean, allowed = mpmath.mpf("0.7"), -mpmath.log(mpmath.mpf("0.05")) / count
        floor = mpmath.mpf(divergence_floor(0.7, count, 0.05))
        kl = mean * mpmath.log(mean / floor) + (1 - mean) * mpmath.log((1 - mean) / (1 - floor))
        assert allowed <= kl
        assert kl <= allowed * (1 + mpmath.mpf(10) ** -3)


def test_the_floor_is_proved_where_delta_is_nearly_one():
    """The radius is so small there that the last digit of the divergence is far in mu."""
    count, delta = 315294114, 0.999
    with mpmath.workdps(40):
        mean, floor = mpmath.mpf(0.34852), mpmath.mpf(divergence_floor(0.34852, count, delta))
        kl = mean * mpmath.log(mean / floor) + (1 - mean) * mpmath.log((1 - mean) / (1 - floor))
        assert kl >= -mpmath.log(mpmath.mpf(delta)) / count
        assert mean - floor < 1e-5

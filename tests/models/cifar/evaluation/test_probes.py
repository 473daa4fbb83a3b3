import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from models.cifar.evaluation import probes
from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.logistic_regression import fit_linear
from models.cifar.evaluation.probes import ProbeConfig, knn_scores, probe
from tests.models.cifar.evaluation.labelled_features import clusters, gaussian, random_labels

SMALL = ProbeConfig(neighbours=(1, 5), temperatures=(0.1, 0.5))
SMALL_LINEAR = ProbeConfig(kind="linear", l2_weights=(1e-1, 1e-3))
BOTH = pytest.mark.parametrize("config", [SMALL, SMALL_LINEAR], ids=["knn", "linear"])


# --- nearest neighbours -----------------------------------------------------------------------------------------------


def signed_square_cosine(a, b):
    """sign(c) c^2 of integer vectors, exactly."""
    dot = sum(x * y for x, y in zip(a, b))
    return Fraction(dot * abs(dot), sum(x * x for x in a) * sum(y * y for y in b))


def slow_knn(train, labels, rows, k, temperature, classes):
    scores = []
    for row in rows:
        found = [signed_square_cosine(row, other) for other in train]
        nearest = sorted(range(len(train)), key=lambda j: (-found[j], j))[:k]
        votes = [0.0] * classes
        for j in nearest:
            cosine = math.copysign(math.sqrt(abs(found[j])), found[j])
            votes[labels[j]] += math.exp(cosine / temperature)
        scores.append([vote / sum(votes) for vote in votes])
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("tile_rows", [1, 7, None])
@pytest.mark.parametrize("k", [1, 2, 9, 40])
def test_neighbours_on_a_lattice_full_of_ties_are_the_double_loops(k, tile_rows):
    rng = np.random.default_rng(0)
    lattice = np.array([p for p in np.ndindex(3, 3, 3) if p != (1, 1, 1)]) - 1
    train, rows = rng.choice(lattice, 40), rng.choice(lattice, 30)
    labels = rng.integers(0, 4, 40)
    norms = rng.uniform(0.1, 10.0, (40, 1))
    scores = knn_scores(torch.from_numpy(train * norms), torch.from_numpy(labels), torch.from_numpy(rows * 1.0),
                        k, 0.3, 4, tile_rows=tile_rows)  # fmt: skip
    expected = slow_knn(train.tolist(), labels.tolist(), rows.tolist(), k, 0.3, 4)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


def test_votes_fall_off_with_the_angle():
    angles = torch.tensor([0.2, 0.5, -0.3, 3.0], dtype=torch.float64)
    train = torch.stack([angles.cos(), angles.sin()], -1)
    row = torch.tensor([[5.0, 0.0]], dtype=torch.float64)
    scores = knn_scores(train, torch.tensor([0, 1, 1, 2]), row, 3, 0.25, 3)
    first, second = math.exp(math.cos(0.2) / 0.25), sum(math.exp(math.cos(a) / 0.25) for a in (0.5, 0.3))
    expected = torch.tensor([[first, second, 0.0]], dtype=torch.float64) / (first + second)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("temperature", [1e-300, 1e-4, 1e300])
def test_extreme_temperatures_stay_finite(temperature):
    scores = knn_scores(gaussian(9, 4, 0), torch.arange(9) % 2, gaussian(5, 4, 1), 5, temperature, 2)
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(scores.sum(-1), torch.ones(5, dtype=torch.float64))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 40))
def test_scores_do_not_depend_on_the_order_of_the_rows_or_on_tiles(seed, tile_rows, k):
    train, labels, rows = gaussian(60, 37, seed), random_labels(60, 5, seed), gaussian(50, 37, seed + 1)
    # Equal rows and equal directions: ties must not be settled by whoever comes first in a tile.
    train[30:] = 2.0 * train[:30]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(50))
    whole = knn_scores(train, labels, rows, k, 0.1, 5)
    parts = knn_scores(train, labels, rows[order], k, 0.1, 5, tile_rows=tile_rows)
    assert torch.equal(parts, whole[order])


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_scores_are_those_of_rotated_and_scaled_features(seed, k):
    train, rows = gaussian(60, 6, seed, torch.float64), gaussian(30, 6, seed + 1, torch.float64)
    labels = random_labels(60, 5, seed)
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(np.linalg.qr(rng.standard_normal((6, 6)))[0])
    norms = torch.from_numpy(10.0 ** rng.uniform(-3, 3, (90, 1)))
    expected = knn_scores(train, labels, rows, k, 0.2, 5)
    turned = knn_scores(norms[:60] * train @ rotation, labels, norms[60:] * rows @ rotation, k, 0.2, 5)
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-6)
    assert expected.std() > 0.01


def test_of_equally_near_rows_the_earlier_one_counts():
    train = torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    for labels, expected in (([0, 1, 1, 1], 0), ([1, 0, 0, 0], 1)):
        scores = knn_scores(train, torch.tensor(labels), torch.tensor([[7.0, 0.0]]), 1, 0.1, 2)
        assert scores.argmax() == expected
    assert knn_scores(train, torch.tensor([1, 0, 0, 0]), torch.tensor([[7.0, 0.0]]), 2, 0.1, 2).argmax() == 0


def test_rows_of_one_direction_are_equally_near_whatever_their_norms():
    """Norms by which float64 rounds: without a grid one of the two is nearer by the last bit."""
    rows = gaussian(200, 9, 0, torch.float64)
    train = torch.stack([3.7 * rows, rows / 0.3, 1.1 * rows], 1).flatten(0, 1)
    scores = knn_scores(train, torch.arange(600) % 3, rows, 1, 0.1, 3)
    assert scores[:, 0].sum() == 200


# --- probes -----------------------------------------------------------------------------------------------------------


@BOTH
def test_far_clusters_are_all_found(config):
    result = probe(clusters(60, 0), clusters(30, 1), clusters(45, 2), config)
    assert (result.accuracy, result.correct, result.trials, result.validation_accuracy) == (1.0, 45, 45, 1.0)
    assert result.high == 1.0
    assert result.low == pytest.approx(0.025 ** (1 / 45))


@BOTH
def test_random_labels_are_found_by_chance(config):
    """With 1 neighbour, validation rows among the fitted ones would all find themselves."""
    parts = [LabelledFeatures(gaussian(n, 20, i), random_labels(n, 5, 10 + i)) for i, n in enumerate((300, 200, 600))]
    result = probe(*parts, config)
    assert result.low <= 0.2 <= result.high
    assert result.validation_accuracy < 0.35


@BOTH
def test_the_interval_is_clopper_pearsons(config):
    train, validation, test = (clusters(n, seed, spread=1.2) for seed, n in enumerate((60, 60, 100)))
    result = probe(train, validation, test, config)
    assert 40 < result.correct < 95
    expected = binomtest(result.correct, 100).proportion_ci(0.95, "exact")
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert result.accuracy == result.correct / 100


@BOTH
def test_choices_do_not_see_the_test_labels(config):
    train, validation, test = (clusters(90, seed, spread=1.5) for seed in range(3))
    first = probe(train, validation, test, config)
    for shift in (1, 2):
        other = LabelledFeatures(test.features, (test.labels + shift) % 3)
        second = probe(train, validation, other, config)
        assert (second.chosen, second.validation_accuracy) == (first.chosen, first.validation_accuracy)
        assert second.correct != first.correct


@pytest.mark.parametrize(
    ("angle", "ks", "temperatures", "wanted", "expected"),
    [
        (0.1, (1, 3, 5), (0.1,), 0, (1.0, 0.1)),
        (0.1, (1, 3, 5), (0.1,), 1, (3.0, 0.1)),
        (0.5, (3,), (0.05, 1.0), 0, (3.0, 0.05)),
        (0.5, (3,), (0.05, 1.0), 1, (3.0, 1.0)),
    ],
)
def test_validation_rows_choose(angle, ks, temperatures, wanted, expected):
    """The nearest training row is of class 0, the next two of class 1; the test row says the opposite."""
    angles = torch.tensor([0.0, angle, -angle, 3.0, 3.1])
    train = LabelledFeatures(torch.stack([angles.cos(), angles.sin()], -1), torch.tensor([0, 1, 1, 0, 0]))
    validation, test = (LabelledFeatures(torch.tensor([[1.0, 0.01]]), torch.tensor([c])) for c in (wanted, 1 - wanted))
    result = probe(train, validation, test, ProbeConfig(neighbours=ks, temperatures=temperatures))
    assert result.chosen == dict(zip(("k", "temperature"), expected))
    assert result.validation_accuracy == 1.0


@pytest.mark.parametrize("ks", [(1, 5), (5, 1)])
@pytest.mark.parametrize("ts", [(0.1, 0.5), (0.5, 0.1)])
def test_of_equal_candidates_the_first_is_chosen(ks, ts):
    config = ProbeConfig(neighbours=ks, temperatures=ts)
    assert probe(clusters(60, 0), clusters(30, 1), clusters(45, 2), config).chosen == {"k": ks[0], "temperature": ts[0]}


@BOTH
def test_the_probe_is_fitted_again_with_the_validation_rows(config):
    """Validation rows are of class 1 where training rows are of class 0, and many more; test rows say class 1 too."""
    noise = 0.01 * gaussian(90, 3, 0)
    train = LabelledFeatures(torch.eye(3)[torch.arange(10) % 2] + noise[:10], torch.arange(10) % 2)
    validation = LabelledFeatures(torch.eye(3)[torch.zeros(40, dtype=int)] + noise[10:50], torch.ones(40, dtype=int))
    test = LabelledFeatures(torch.eye(3)[torch.zeros(40, dtype=int)] + noise[50:], torch.ones(40, dtype=int))
    result = probe(train, validation, test, config)
    assert result.validation_accuracy == 0.0
    assert result.accuracy > 0.5


def test_candidates_in_single_precision_lead_to_the_fit_in_double_precision(monkeypatch):
    # 40 rows of a class, 30 features that say little: candidates differ, and so do fits that have not converged.
    train, validation, test = (
        LabelledFeatures(gaussian(120, 30, seed), random_labels(120, 3, seed)) for seed in (0, 1, 2)
    )
    config = ProbeConfig(kind="linear")
    asked = []

    def single_precision_fails(*arguments, dtype=torch.float64, **settings):
        asked.append(dtype)
        if dtype is torch.float32:
            raise ArithmeticError("planted")
        return fit_linear(*arguments, dtype=dtype, **settings)

    usual = probe(train, validation, test, config)
    with monkeypatch.context() as patched:
        patched.setattr(probes, "fit_linear", single_precision_fails)
        double = probe(train, validation, test, config)
    assert asked == 5 * [torch.float32, torch.float64] + [torch.float64]
    assert usual == double
    both = LabelledFeatures(
        torch.cat([train.features, validation.features]), torch.cat([train.labels, validation.labels])
    )
    cold = fit_linear(both, usual.chosen["l2_weight"], 3).logits(test.features).argmax(1)
    assert usual.correct == int((cold == test.labels).sum())


@BOTH
def test_the_order_of_the_test_rows_does_not_matter(config):
    train, validation, test = (clusters(90, seed, spread=1.0) for seed in range(3))
    order = torch.from_numpy(np.random.default_rng(0).permutation(90))
    shuffled = LabelledFeatures(test.features[order], test.labels[order])
    assert probe(train, validation, shuffled, config) == probe(train, validation, test, config)


@BOTH
def test_labels_need_not_be_consecutive(config):
    parts = [clusters(60, seed, spread=1.0) for seed in range(3)]
    renamed = [LabelledFeatures(p.features, torch.tensor([2, 5, 9])[p.labels]) for p in parts]
    assert probe(*renamed, config) == probe(*parts, config)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_users_call")
class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "message"), [(math.nan, "contains NaN"), (math.inf, "contains NaN or inf"), (0.0, "a zero vector")]
    )
    def test_features_without_direction(self, value, message):
        good, labels = torch.ones(4, 3), torch.tensor([0, 1, 0, 1])
        bad = good.index_fill(0, torch.tensor(2), value)
        for train, rows in ((bad, good), (good, bad)):
            with pytest.raises(ValueError, match=f"features: .*{message}"):
                knn_scores(train, labels, rows, 1, 0.1, 2)

    @pytest.mark.parametrize(
        ("features", "labels", "message"),
        [
            (torch.ones(0, 3), torch.ones(0, dtype=int), "features: must have at least 1 rows"),
            (torch.ones(4, 0), torch.ones(4, dtype=int), "features: expected shape"),
            (torch.ones(4), torch.ones(4, dtype=int), "features: expected shape"),
            (torch.ones(4, 3, dtype=int), torch.ones(4, dtype=int), "features: expected a floating dtype"),
            (torch.ones(4, 3), torch.ones(4), "labels: expected integers"),
            (torch.ones(4, 3), torch.ones(4, dtype=torch.complex64), "labels: expected integers"),
            (torch.ones(4, 3), np.ones(4, dtype=int), "labels: expected a tensor"),
            (torch.ones(4, 3), torch.ones(3, dtype=int), r"labels: expected integers of shape \(4,\)"),
        ],
    )
    def test_parts(self, features, labels, message):
        with pytest.raises(ValueError, match=message):
            LabelledFeatures(features, labels)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"k": 5}, r"k: must lie in \[1, 4\], got 5"),
            ({"k": 0}, "k: must be a whole number of at least 1"),
            ({"temperature": 0.0}, r"temperature: must lie in \(0, inf\)"),
            ({"num_classes": 1}, r"train_labels: must lie in \[0, 0\], got 1"),
            ({"features": torch.ones(2, 2)}, "features: must be as wide as train_features, 3, got 2"),
            ({"features": torch.ones(0, 3)}, "features: must have at least 1 rows"),
            ({"tile_rows": 0}, "tile_rows: must be a whole number"),
        ],
    )
    def test_neighbours(self, change, message):
        arguments = {"features": torch.ones(2, 3), "k": 2, "temperature": 0.1, "num_classes": 2} | change
        with pytest.raises(ValueError, match=message):
            knn_scores(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]), **arguments)

    @BOTH
    def test_classes_and_widths(self, config):
        good, one = clusters(30, 0), LabelledFeatures(torch.ones(30, 8), torch.full((30,), 2))
        narrow = LabelledFeatures(torch.ones(3, 7), torch.arange(3))
        unknown = LabelledFeatures(good.features, good.labels + 1)
        for parts, message in (
            ((one, good, good), "train labels: must hold at least 2 classes, all are 2"),
            ((good, unknown, good), "validation labels: must be among the classes of train, 3 is not"),
            ((good, good, unknown), "test labels: must be among the classes of train, 3 is not"),
            ((good, narrow, good), "validation features: must be 8 wide"),
            ((good, good, narrow), "test features: must be 8 wide"),
        ):
            with pytest.raises(ValueError, match=message):
                probe(*parts, config)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "svm"}, "kind: must be one of knn, linear"),
            ({"neighbours": ()}, "neighbours: expected a list of at least one value"),
            ({"neighbours": (0,)}, "neighbours: must be a whole number of at least 1"),
            ({"temperatures": (0.1, 0.0)}, r"temperatures: must lie in \(0, inf\)"),
            ({"l2_weights": (-1.0,)}, r"l2_weights: must lie in \(0, inf\)"),
            ({"max_iterations": 0}, "max_iterations: must be"),
        ],
    )
    def test_candidates(self, change, message):
        with pytest.raises(ValueError, match=message):
            ProbeConfig(**change)

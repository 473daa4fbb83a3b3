import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from models.cifar.features import LabelledFeatures
from models.cifar.logistic_regression import fit_linear
from models.cifar.probes import ProbeConfig, knn_scores, probe

SMALL = ProbeConfig(neighbours=(1, 5), temperatures=(0.1, 0.5))
SMALL_LINEAR = ProbeConfig(kind="linear", l2_weights=(1e-1, 1e-3))
BOTH = pytest.mark.parametrize("config", [SMALL, SMALL_LINEAR], ids=["knn", "linear"])


def gaussian(count, dim, seed, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dim))).to(dtype)


def random_labels(count, classes, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, count))


def clusters(count, seed, classes=3, spread=0.1, dim=8):
    labels = torch.arange(count) % classes
    return LabelledFeatures(torch.eye(dim)[labels] + spread * gaussian(count, dim, seed), labels)


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


# --- logistic regression ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("l2_weight", [1e-1, 1e-3])
def test_logistic_regression_is_scikit_learns(l2_weight, classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 150)
    features = rng.standard_normal((150, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 1, -2, 0] + 0.5 * np.eye(5)[labels]
    fit = fit_linear(LabelledFeatures(torch.from_numpy(features), torch.from_numpy(labels)), l2_weight, classes,
                     tolerance=1e-8)  # fmt: skip
    standard = (features - features.mean(0)) / features.std(0)
    if classes == 2:
        # Two classes are one logit there: |W|^2/2 of W = (-w/2, w/2) is |w|^2/4.
        other = LogisticRegression(C=2.0 / (150 * l2_weight), tol=1e-10, max_iter=10**4).fit(standard, labels)
        weight, bias = fit.weight[1] - fit.weight[0], fit.bias[1] - fit.bias[0]
        np.testing.assert_allclose(weight, other.coef_[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(bias, other.intercept_[0], rtol=0, atol=1e-4)
    else:
        other = LogisticRegression(C=1.0 / (150 * l2_weight), tol=1e-10, max_iter=10**4).fit(standard, labels)
        np.testing.assert_allclose(fit.weight, other.coef_, rtol=0, atol=1e-4)
        np.testing.assert_allclose(fit.bias, other.intercept_ - other.intercept_.mean(), rtol=0, atol=1e-4)
    probabilities = torch.softmax(fit.logits(torch.from_numpy(features)), -1)
    np.testing.assert_allclose(probabilities, other.predict_proba(standard), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-4)])
def test_the_gradient_vanishes_at_the_fit(dtype, tolerance):
    features, labels = gaussian(200, 6, 0), random_labels(200, 3, 1)
    fit = fit_linear(LabelledFeatures(features, labels), 1e-3, 3, dtype=dtype)
    x = features.double().numpy()
    x = (x - x.mean(0)) / x.std(0)
    weight, bias = fit.weight.double().numpy(), fit.bias.double().numpy()
    raw = np.exp(x @ weight.T + bias)
    excess = raw / raw.sum(1, keepdims=True) - np.eye(3)[labels.numpy()]
    gradient = np.abs(excess.T @ x / 200 + 1e-3 * weight).max(), np.abs(excess.mean(0)).max()
    assert max(gradient) <= 1.5 * tolerance
    assert fit.weight.dtype is dtype
    assert fit.weight.abs().max() > 0.01


def test_correlated_features_take_few_steps():
    # Variances along the principal axes fall over ten orders of magnitude; along the features themselves, 600 steps do
    # not converge.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    mixing = np.linalg.qr(rng.standard_normal((12, 12)))[0] * np.logspace(0, -4, 12) @ rng.standard_normal((12, 12))
    features = (rng.standard_normal((300, 12)) + np.eye(12)[labels]) @ mixing
    train = LabelledFeatures(torch.from_numpy(features), torch.from_numpy(labels))
    fit = fit_linear(train, 1e-6, 3, tolerance=1e-9, max_iterations=40)
    standard = (features - features.mean(0)) / features.std(0)
    other = LogisticRegression(C=1.0 / (300 * 1e-6), solver="newton-cholesky", tol=1e-12).fit(standard, labels)
    probabilities = torch.softmax(fit.logits(train.features), -1)
    np.testing.assert_allclose(probabilities, other.predict_proba(standard), rtol=0, atol=1e-4)


def test_a_start_does_not_change_the_fit():
    train = LabelledFeatures(gaussian(200, 6, 0), random_labels(200, 3, 1))
    start = fit_linear(train, 1.0, 3)
    cold, warm = fit_linear(train, 1e-3, 3), fit_linear(train, 1e-3, 3, start=start)
    assert (start.weight - cold.weight).abs().max() > 0.01
    torch.testing.assert_close(warm.weight, cold.weight, rtol=0, atol=1e-3)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_logits_are_those_of_features_in_other_units(seed):
    train = LabelledFeatures(gaussian(80, 4, seed, torch.float64), random_labels(80, 3, seed))
    rows, rng = gaussian(20, 4, seed + 1, torch.float64), np.random.default_rng(seed)
    units = torch.from_numpy(10.0 ** rng.uniform(-3, 3, 4) * rng.choice([-1.0, 1.0], 4))
    shift = torch.from_numpy(rng.uniform(-5, 5, 4)) * units
    other = fit_linear(LabelledFeatures(train.features * units + shift, train.labels), 1e-2, 3)
    torch.testing.assert_close(
        other.logits(rows * units + shift), fit_linear(train, 1e-2, 3).logits(rows), rtol=0, atol=1e-4
    )


def test_a_constant_feature_says_nothing():
    features, labels = gaussian(80, 3, 0, torch.float64), random_labels(80, 2, 1)
    rows = gaussian(10, 3, 2, torch.float64)
    expected = fit_linear(LabelledFeatures(features, labels), 1e-2, 2).logits(rows)
    padded = torch.cat([features, torch.full((80, 1), 0.1, dtype=torch.float64)], 1)
    fit = fit_linear(LabelledFeatures(padded, labels), 1e-2, 2)
    seen = fit.logits(torch.cat([rows, torch.full((10, 1), 0.7, dtype=torch.float64)], 1))
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-4)


def test_without_convergence_there_is_no_fit():
    train = LabelledFeatures(gaussian(200, 6, 0), random_labels(200, 3, 1))
    with pytest.raises(ArithmeticError, match=r"l2_weight 0\.001"):
        fit_linear(train, 1e-3, 3, max_iterations=2)


def test_fitting_works_where_gradients_are_off():
    with torch.no_grad():
        fit = fit_linear(clusters(30, 0), 1e-2, 3)
    assert not fit.weight.requires_grad
    assert fit.weight.abs().max() > 0.1


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
            (torch.ones(4, 3), torch.ones(4, dtype=bool), "labels: expected integers"),
            (torch.ones(4, 3), torch.ones(3, dtype=int), r"labels: expected integers of shape \(4,\)"),
            (torch.ones(4, 3), torch.tensor([0, 1, -1, 0]), r"labels: must lie in \[0, inf\), got -1"),
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

    def test_more_neighbours_than_training_rows(self):
        with pytest.raises(ValueError, match=r"k: must lie in \[1, 30\], got 200"):
            probe(clusters(30, 0), clusters(300, 1), clusters(30, 2))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "svm"}, "kind: must be one of knn, linear"),
            ({"neighbours": ()}, "neighbours: must have at least 1 candidate"),
            ({"neighbours": (0,)}, "neighbours: must be a whole number of at least 1"),
            ({"temperatures": (0.1, 0.0)}, r"temperatures: must lie in \(0, inf\)"),
            ({"l2_weights": (-1.0,)}, r"l2_weights: must lie in \(0, inf\)"),
            ({"max_iterations": 0}, "max_iterations: must be"),
        ],
    )
    def test_candidates(self, change, message):
        with pytest.raises(ValueError, match=message):
            ProbeConfig(**change)

    def test_linear_arguments(self):
        train = clusters(30, 0)
        for change, message in (
            ({"l2_weight": 0.0}, r"l2_weight: must lie in \(0, inf\)"),
            ({"num_classes": 2}, r"labels: must lie in \[0, 1\], got 2"),
            ({"dtype": torch.float16}, "dtype: must be one of"),
            ({"tolerance": 0.0}, "tolerance: must lie in"),
        ):
            with pytest.raises(ValueError, match=message):
                fit_linear(**({"train": train, "l2_weight": 0.1, "num_classes": 3} | change))
        with pytest.raises(ValueError, match="features: must be 8 wide"):
            fit_linear(train, 0.1, 3).logits(torch.ones(2, 5))

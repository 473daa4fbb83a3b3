import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.logistic_regression import fit_linear
from tests.models.cifar.evaluation.labelled_features import clusters, gaussian, random_labels


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("l2_weight", [1e-1, 1e-3])
def test_logistic_regression_is_scikit_learns(l2_weight, classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 150)
    features = rng.standard_normal((150, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 1, -2, 0] + 0.5 * np.eye(5)[labels]
    fit = fit_linear(
        LabelledFeatures(torch.from_numpy(features), torch.from_numpy(labels)), l2_weight, classes, tolerance=1e-8
    )
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


def test_single_precision_is_enough_far_from_the_origin():
    features, labels = gaussian(200, 6, 0, torch.float64), random_labels(200, 3, 1)
    exact = fit_linear(LabelledFeatures(features, labels), 1e-3, 3).logits(features)
    far = LabelledFeatures(features + 1e7, labels)
    seen = fit_linear(far, 1e-3, 3, dtype=torch.float32).logits(far.features)
    torch.testing.assert_close(seen.double(), exact, rtol=0, atol=0.01)


def test_without_convergence_there_is_no_fit():
    train = LabelledFeatures(gaussian(200, 6, 0), random_labels(200, 3, 1))
    with pytest.raises(ArithmeticError, match=r"l2_weight 0\.001"):
        fit_linear(train, 1e-3, 3, max_iterations=2)


def test_fitting_works_where_gradients_are_off():
    with torch.no_grad():
        fit = fit_linear(clusters(30, 0), 1e-2, 3)
    assert not fit.weight.requires_grad
    assert fit.weight.abs().max() > 0.1


def test_bad_arguments_are_named():
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

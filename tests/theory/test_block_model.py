"""The block model and Proposition 5: exactness, signs and corollaries."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic.batches.prescribed_cosines import equiangular_batches
from synthetic.batches.seeding import generator
from synthetic.trials.registry import trial_of
from synthetic.trials.theorems import block_model as trials
from tests import reference_fusion as slow
from tests.strategies import MIXINGS, labels_of
from theory import block_model as bm
from theory.judging.verdicts import Status
from theory.noise_free import equiangular_cosines
from theory.numerics.precision import numerical_threshold

pytestmark = pytest.mark.theorems

TAU_NUM = numerical_threshold("float64")


def compare(trajectory, layers, tolerance=1e-12):
    for layer, (within, between, sharpness) in enumerate(layers):
        assert float(trajectory.within[layer]) == pytest.approx(float(within), abs=tolerance)
        assert float(trajectory.between[layer]) == pytest.approx(float(between), abs=tolerance)
        assert float(trajectory.sharpness[layer]) == pytest.approx(float(sharpness), abs=tolerance)


# --- the model against matrices written out ---------------------------------------------------------------------------


@pytest.mark.parametrize("mixing", [0.5, 1.0, 0.2])
@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
@pytest.mark.parametrize(
    ("within", "between", "clusters", "size", "threshold"),
    [
        (0.6, 0.35, 3, 3, 0.0),
        (0.7, 0.4, 2, 4, 0.3),  # b above tau: leaks at once
        (0.6, 0.35, 3, 4, 0.4),  # b below tau, b/nu^2 above: leaks later
        (0.6, 0.35, 3, 4, 0.55),  # never leaks
        (0.3, -0.2, 2, 2, 0.0),
        (0.3, 0.1, 4, 2, 0.35),  # no edges at all
        (-0.1, 0.2, 2, 3, 0.0),  # edges between clusters only
        (0.99, 0.98, 2, 2, 0.5),
    ],
)
def test_relu_is_exact(within, between, clusters, size, threshold, power, mixing):
    attention = bm.ReluAttention(threshold, power, mixing)
    layers = slow.block_layers(within, between, clusters, size, 4, slow.rectified(threshold, power), mixing)
    compare(bm.trajectory(within, between, clusters, size, 4, attention), layers)


@pytest.mark.parametrize("mixing", [0.5, 1.0, 0.2])
@pytest.mark.parametrize("kappa", [0.3, 3.0, 25.0])
@pytest.mark.parametrize(
    ("within", "between", "clusters", "size"), [(0.8, 0.2, 3, 3), (0.5, -0.3, 2, 4), (0.1, 0.3, 2, 2)]
)
def test_softmax_is_exact(within, between, clusters, size, kappa, mixing):
    attention = bm.SoftmaxAttention(kappa, mixing)
    layers = slow.block_layers(
        within, between, clusters, size, 4, slow.exponential(kappa), mixing, mpmath.exp(mpmath.mpf(kappa))
    )
    compare(bm.trajectory(within, between, clusters, size, 4, attention), layers)


@st.composite
def block_cases(draw):
    """(w, b, K, m, threshold, power, mixing) of ReLU blocks, thresholds on either side of b."""
    clusters, size = draw(st.integers(2, 4)), draw(st.integers(2, 5))
    within, between = draw(st.floats(0.02, 0.98)), draw(st.floats(0.01, 0.95))
    between = between * within
    threshold = draw(st.sampled_from([0.0, 0.5 * between, 0.5 * (between + within)]))
    return within, between, clusters, size, threshold, draw(st.sampled_from([1.0, 2.0])), draw(MIXINGS)


@given(block_cases(), st.integers(1, 5), st.booleans())
@settings(max_examples=60)
def test_stacks_follow_the_model(case, depth, normalized):
    """To 1e-12: plain and normalized tokens of equiangular batches have the model's cosines and sharpness."""
    within, between, clusters, size, threshold, power, mixing = case
    points = equiangular_batches(np.array([within]), np.array([between]), clusters, size)
    stack = AttentionStack(depth, threshold, mixing, power=power, normalize="every" if normalized else "input")
    measured = stack.measure(torch.from_numpy(points), labels_of((size,) * clusters))
    cut = max(threshold, TAU_NUM)
    predicted = bm.trajectory(within, between, clusters, size, depth, bm.ReluAttention(cut, power, mixing))
    # Affinities are as exact as (C - tau)^power: layers in which C comes within 1e-3 of the cut are left out.
    assume(np.all(np.abs(predicted.between - cut) > 1e-3 * predicted.within))
    event("leaks" if np.any(predicted.between > cut) else "sharp")
    np.testing.assert_allclose(measured.alpha[:, 0], predicted.within, rtol=0, atol=1e-12)
    np.testing.assert_allclose(measured.beta[:, 0], predicted.between, rtol=0, atol=1e-12)
    for found in (measured.sharpness_min, measured.sharpness_mean):
        np.testing.assert_allclose(found[:, 0], predicted.sharpness, rtol=0, atol=1e-11)


@given(
    st.floats(0.02, 0.98), st.floats(-0.1, 0.95), st.integers(2, 4), st.integers(2, 5), st.floats(-1.0, 1.5), MIXINGS
)
@settings(max_examples=40)
def test_softmax_stacks_follow_the_model(within, share, clusters, size, exponent, mixing):
    between, kappa = share * within, 10.0**exponent
    points = equiangular_batches(np.array([within]), np.array([between]), clusters, size)
    measured = SoftmaxStack(4, kappa, mixing).measure(torch.from_numpy(points), labels_of((size,) * clusters))
    predicted = bm.trajectory(within, between, clusters, size, 4, bm.SoftmaxAttention(kappa, mixing))
    np.testing.assert_allclose(measured.alpha[:, 0], predicted.within, rtol=0, atol=1e-12)
    np.testing.assert_allclose(measured.beta[:, 0], predicted.between, rtol=0, atol=1e-12)
    np.testing.assert_allclose(measured.mass_mean[:, 0], predicted.sharpness, rtol=0, atol=1e-12)


def test_agrees_with_the_closed_form_of_2a():
    clusters, size, threshold, mixing = 3, 6, 0.55, 0.5
    model = bm.trajectory(0.6, 0.35, clusters, size, 8, bm.ReluAttention(threshold, 1.0, mixing))
    assert model.within[3] == pytest.approx(0.997547, abs=5e-7)
    assert model.between[3] == pytest.approx(0.523927, abs=5e-7)
    for layer in range(9):
        alpha, beta = equiangular_cosines(0.6, 0.35, size, layer, mixing)
        assert model.within[layer] == pytest.approx(alpha, abs=1e-13)
        assert model.between[layer] == pytest.approx(beta, abs=1e-13)
    np.testing.assert_allclose(model.sharpness, 1.0, atol=1e-15)


def test_squared_blocks_sharpen_at_first_only():
    """The numbers of theory.md 5: K = 4, m = 16, lambda = .5, w = .7, b = .01, power 2."""
    model = bm.trajectory(0.7, 0.01, 4, 16, 400, bm.ReluAttention(0.0, 2.0, 0.5))
    assert 1 - model.sharpness[:3] == pytest.approx([6.53e-4, 6.46e-4, 6.61e-4], abs=5e-7)
    assert model.peak == 1
    assert 1 - model.sharpness[-1] == pytest.approx(48 / 63, abs=1e-3), "in the end every point weighs the same"


def test_arrays_broadcast_and_the_peak_is_the_first_largest_layer():
    within, between = np.array([0.7, 0.7, 0.6]), np.array([0.01, 0.3, 0.001])
    model = bm.trajectory(within, between, 4, 16, 12, bm.ReluAttention(0.0, 2.0))
    assert model.sharpness.shape == (13, 3)
    for i in range(3):
        alone = bm.trajectory(within[i], between[i], 4, 16, 12, bm.ReluAttention(0.0, 2.0))
        np.testing.assert_allclose(model.sharpness[:, i], alone.sharpness, rtol=1e-14)
        largest = max(range(13), key=lambda layer: alone.sharpness[layer])
        assert model.peak[i] == alone.peak == largest
    assert model.peak[1] == 0
    assert model.peak[2] > 1


@pytest.mark.parametrize("size", [5, 8, 26, 50, 94])
def test_a_stack_that_never_leaks_peaks_at_its_input(size):
    """Sharpness is 1 at every layer up to rounding, which decides nothing."""
    model = bm.trajectory(np.linspace(0.35, 0.95, 100), 0.0, 3, size, 6, bm.ReluAttention(0.1))
    np.testing.assert_array_equal(model.peak, 0)


def test_softmax_attends_to_itself_and_relu_does_not():
    assert bm.SoftmaxAttention(2.0).attends_to_itself
    assert not bm.ReluAttention().attends_to_itself
    # kappa -> 0: all points weigh the same; m/n with self, (m-1)/(n-1) without.
    assert bm.trajectory(0.5, 0.1, 3, 4, 0, bm.SoftmaxAttention(1e-13)).sharpness[0] == pytest.approx(1 / 3, abs=1e-12)
    assert bm.trajectory(0.5, 0.5, 3, 4, 0, bm.ReluAttention()).sharpness[0] == pytest.approx(3 / 11, abs=1e-15)


# --- Proposition 5 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", trials.POWERS)
def test_sign_of_the_margin_on_25000_batches_a_power(monkeypatch, as_users_call, power):
    """Four powers, 100,000 equiangular batches through real blocks, half of the shapes with thresholds."""
    monkeypatch.setattr(trials, "POWERS", (power,))
    trial = trial_of("proposition_5")
    verdicts = [trial.check(trial.draw(generator(7, i, int(10 * power)))) for i in range(50)]
    assert sum(verdict.applicable for verdict in verdicts) == 25_000
    assert all(verdict.status is not Status.VIOLATED for verdict in verdicts), [str(v) for v in verdicts]
    assert sum(verdict.status is Status.HOLDS for verdict in verdicts) > 40


@st.composite
def sharpening_cases(draw):
    clusters, size = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    threshold = draw(st.sampled_from([0.0, 0.0, 0.1, 0.4, 0.8]))
    within = threshold + (0.999 - threshold) * draw(st.floats(0.01, 1.0))
    between = threshold + (within - threshold) * 10.0 ** draw(st.floats(-5.0, -0.01))
    return within, between, clusters, size, draw(st.floats(0.3, 4.0)), draw(MIXINGS), threshold


@given(sharpening_cases())
@settings(max_examples=60)
def test_the_margin_has_the_sign_of_the_change(case):
    """In 50 digits, by matrices written out: the sharpness rises exactly where the margin is positive."""
    within, between, clusters, size, power, mixing, threshold = case
    layers = slow.block_layers(within, between, clusters, size, 1, slow.rectified(threshold, power), mixing)
    change = layers[1][2] - layers[0][2]
    with mpmath.workdps(50):
        exact = bm.margin_formula(
            mpmath.mpf(within), mpmath.mpf(between), clusters, size, mpmath.mpf(power), mpmath.mpf(mixing),
            mpmath.mpf(threshold),
        )  # fmt: skip
    event("rises" if change > 0 else "falls")
    assert mpmath.sign(exact) == mpmath.sign(change)
    margin = bm.sharpening_margin(within, between, clusters, size, power, mixing, threshold)
    assert margin == pytest.approx(float(exact), rel=1e-6, abs=1e-15)


def corollary_grid():
    """K, m, lambda, tau, w, b on a grid."""
    axes = np.meshgrid(
        [2, 3, 10], [2, 3, 30], [0.05, 0.5, 1.0], [0.0, 0.2, 0.7],
        np.linspace(0.02, 0.98, 13), np.logspace(-4, -0.02, 12), indexing="ij",
    )  # fmt: skip
    clusters, size, mixing, threshold, height, leak = (axis.ravel() for axis in axes)
    within = threshold + (1 - threshold) * height
    return within, threshold + (within - threshold) * leak, clusters, size, mixing, threshold


@pytest.mark.parametrize("power", [1.0, 0.7, 0.2])
def test_powers_up_to_one_never_sharpen(power):
    within, between, clusters, size, mixing, threshold = corollary_grid()
    assert np.all(bm.margin_formula(within, between, clusters, size, power, mixing, threshold) < 0)


@pytest.mark.parametrize("power", [1.2, 2.0, 3.0])
def test_higher_powers_sharpen_every_small_enough_leak(power):
    axes = np.meshgrid([2, 3, 10], [2, 3, 30], [0.05, 0.5, 1.0], np.linspace(0.05, 0.95, 10), indexing="ij")
    clusters, size, mixing, within = (axis.ravel() for axis in axes)
    margins = bm.margin_formula(within, 1e-40, clusters, size, power, mixing, 0.0)
    exception = (mixing == 1.0) & (size == 2)
    assert np.all(margins[~exception] > 0)
    assert np.all(margins[exception] < 0)
    # Divided by b the margin tends to (1 - w) w^p (2 - lambda m/(m-1)).
    limit = (1 - within) * within**power * (2 - mixing * size / (size - 1))
    np.testing.assert_allclose(margins[~exception] / 1e-40, limit[~exception], rtol=1e-4)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 5.0, 20.0])
def test_a_threshold_just_below_a_leak_never_helps(power):
    """Sure as soon as b - tau <= tau (m-1) (w-b), which includes lambda = 1, m = 2."""
    within, _, clusters, size, mixing, threshold = corollary_grid()
    for gap in (0.99, 0.1, 1e-3, 1e-6):
        # b = tau + gap times the largest leak for which the condition holds, solved for b.
        largest = (threshold + threshold * (size - 1) * within) / (1 + threshold * (size - 1))
        between = threshold + gap * (largest - threshold)
        kept = (threshold > 0) & (between > threshold)
        arguments = (v[kept] for v in (within, between, clusters, size, np.full_like(within, power), mixing, threshold))
        margins = bm.margin_formula(*arguments)
        assert np.all(margins <= 0)
        assert np.mean(margins < 0) > 0.99, "0 is underflow"


def test_thresholds_far_below_a_leak_may_help():
    """So the corollary above needs its 'just below'."""
    assert bm.sharpening_margin(0.7, 0.01, 4, 16, 2.0, 0.5, 1e-4) > 0
    assert bm.sharpening_margin(0.7, 0.01, 4, 16, 2.0, 0.5, 9e-3) < 0


# --- checks -----------------------------------------------------------------------------------------------------------


def test_check_sharpening_notices_a_wrong_sign():
    before, rise = (np.array([0.7]), np.array([0.1])), (np.array([0.8]), np.array([0.1]))
    fall = (np.array([0.8]), np.array([0.12]))
    for margin, after, status in (
        (1.0, rise, Status.HOLDS), (-1.0, rise, Status.VIOLATED),
        (1.0, fall, Status.VIOLATED), (-1.0, fall, Status.HOLDS),
        (0.0, rise, Status.UNDECIDED), (1.0, before, Status.UNDECIDED),
    ):  # fmt: skip
        assert bm.check_sharpening(np.array([margin]), before, after).status is status, (margin, after)
    # (w - tau)/(b - tau) counts, not w/b.
    after = (np.array([0.85]), np.array([0.12]))
    assert bm.check_sharpening(np.array([1.0]), before, after, 0.0).status is Status.HOLDS
    assert bm.check_sharpening(np.array([1.0]), before, after, 0.09).status is Status.VIOLATED


def test_a_block_that_loses_the_leak_violates_a_falling_margin():
    """Cross cosines at or below tau behind the block: infinitely sharp, not "no verdict"."""
    before, after = (np.array([0.7]), np.array([0.3])), (np.array([0.8]), np.array([0.15]))
    assert bm.check_sharpening(np.array([-1.0]), before, after, 0.2).status is Status.VIOLATED


def test_check_exactness_notices_a_wrong_cosine():
    model = bm.trajectory(np.array([0.7, 0.6]), 0.1, 3, 4, 3, bm.ReluAttention())
    exact = (model.within, model.between)
    assert bm.check_exactness("Block model", exact, model).status is Status.HOLDS
    for which in (0, 1):
        for sign in (-1, 1):
            off = [array.copy() for array in exact]
            off[which][2, 1] += sign * 2e-12
            verdict = bm.check_exactness("Block model", tuple(off), model)
            assert verdict.status is Status.VIOLATED
            assert verdict.where == 1


def test_nan_never_becomes_a_verdict():
    model = bm.trajectory(np.array([0.7]), 0.1, 3, 4, 1, bm.ReluAttention())
    broken = model.within.copy()
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        bm.check_exactness("Block model", (broken, model.between), model)
    pair = (np.array([0.7]), np.array([0.1]))
    with pytest.raises(ValueError, match="NaN"):
        bm.check_sharpening(np.array([np.nan]), pair, (np.array([0.8]), np.array([0.1])))
    with pytest.raises(ValueError, match="NaN"):
        bm.check_sharpening(np.array([1.0]), pair, (np.array([np.nan]), np.array([0.1])))


def test_every_batch_that_exists_is_accepted():
    """Down to singular Gram matrices: 1 + (m-1) w = -(n-m) b, and = m b."""
    n, size = 6, 3
    bm.trajectory(0.2, -1.4 / (n - size), 2, size, 1, bm.ReluAttention())
    bm.trajectory(0.2, 1.4 / size, 2, size, 1, bm.ReluAttention())
    for between in (-0.47, 0.47):
        with pytest.raises(ValueError, match=r"^between: no batch"):
            bm.trajectory(0.2, between, 2, size, 1, bm.ReluAttention())


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (bm.ReluAttention, (1.0,), "threshold"),
        (bm.ReluAttention, (-0.1,), "threshold"),
        (bm.ReluAttention, (0.0, 0.0), "power"),
        (bm.ReluAttention, (0.0, 1.0, 0.0), "mixing"),
        (bm.SoftmaxAttention, (0.0,), "inverse_temperature"),
        (bm.SoftmaxAttention, (np.nan,), "inverse_temperature"),
        (bm.SoftmaxAttention, (1.0, 1.1), "mixing"),
        (bm.trajectory, (0.5, 0.1, 1, 4, 2, bm.ReluAttention()), "num_clusters"),
        (bm.trajectory, (0.5, 0.1, 2, 1, 2, bm.ReluAttention()), "cluster_size"),
        (bm.trajectory, (0.5, 0.1, 2, 4, -1, bm.ReluAttention()), "depth"),
        (bm.trajectory, (1.1, 0.1, 2, 4, 1, bm.ReluAttention()), "within"),
        (bm.trajectory, (0.5, np.nan, 2, 4, 1, bm.ReluAttention()), "between"),
        (bm.sharpening_margin, (1.0, 0.1, 2, 4, 1.0), "within"),
        (bm.sharpening_margin, (0.5, 0.5, 2, 4, 1.0), "between"),
        (bm.sharpening_margin, (0.5, 0.1, 2, 4, 1.0, 0.5, 0.1), "between"),
        (bm.sharpening_margin, (0.5, np.nan, 2, 4, 1.0), "between"),
        (bm.sharpening_margin, (0.5, 0.1, 2, 4, 0.0), "power"),
        (bm.sharpening_margin, (0.5, 0.1, 2, 4, 1.0, 0.0), "mixing"),
        (bm.sharpening_margin, (0.5, 0.1, 2, 4, 1.0, 0.5, 1.0), "threshold"),
        (bm.sharpening_margin, (0.5, 0.1, 1, 4, 1.0), "num_clusters"),
    ],
)
def test_bad_input_is_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        function(*arguments)

"""Softmax stacks against plain loops in 50 digits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import stack as stacks
from models.softmax_fusion import SoftmaxStack
from tests import reference_fusion as slow
from tests.strategies import MIXINGS, clustered_batch, labels_of
from theory.batches.clusters import cluster_layout
from theory.batches.trajectory import SoftmaxTrajectory, measure_softmax_layer

ARRAYS = ("alpha", "beta", "min_cross", "mass_min", "mass_max", "mass_mean")


def points_of(trials, n, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((trials, n, dim)) + 0.7


def assert_layers(found, trial, layers, labels):
    """A measured trial against the reference's layers."""
    clusters = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    for layer, expected in enumerate(layers):
        for name, value in (("alpha", expected.alpha), ("beta", expected.beta), ("min_cross", expected.gamma)):
            assert getattr(found, name)[layer, trial] == pytest.approx(float(value), abs=1e-13), (name, layer)
        mass = np.array([float(s) for s in expected.mass])
        for k, rows in enumerate(clusters):
            assert found.mass_min[layer, k, trial] == pytest.approx(mass[rows].min(), abs=1e-12)
            assert found.mass_max[layer, k, trial] == pytest.approx(mass[rows].max(), abs=1e-12)
        assert found.mass_mean[layer, trial] == pytest.approx(mass.mean(), abs=1e-12)


@pytest.mark.parametrize("normalize", ["input", "every"])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 40.0])
@pytest.mark.parametrize("mixing", [0.5, 1.0, 0.2])
def test_every_layer_is_that_of_plain_loops(normalize, kappa, mixing):
    """Unequal clusters, labels of any value and order, inputs of any norm."""
    labels = np.array([9, 2, 2, 5, 9, 2, 5])
    points = points_of(2, 7, 3) * np.array([0.1, 1, 5, 2, 1, 30, 1])[:, None]
    stack = SoftmaxStack(3, kappa, mixing, normalize=normalize)
    found = stack.measure(torch.from_numpy(points), labels)
    assert found.mass_min.shape == (4, 3, 2)
    assert found.num_layers == 4
    for trial in range(2):
        layers, tokens = slow.softmax_layers(points[trial], labels, kappa, mixing, 3, normalize == "every")
        assert_layers(found, trial, layers, labels)
        expected = np.array([[float(v) for v in x] for x in tokens])
        np.testing.assert_allclose(stack(torch.from_numpy(points[trial])).numpy(), expected, atol=1e-13)


@given(clustered_batch(), st.floats(-1.0, 2.0), MIXINGS, st.booleans())
@settings(max_examples=20)
def test_any_batch_is_measured_as_by_plain_loops(batch, exponent, mixing, normalized):
    points, labels, _ = batch
    stack = SoftmaxStack(2, 10.0**exponent, mixing, normalize="every" if normalized else "input")
    layers, _ = slow.softmax_layers(points, labels, 10.0**exponent, mixing, 2, normalized)
    assert_layers(stack.measure(torch.from_numpy(points)[None], labels), 0, layers, labels)


def test_the_order_of_points_does_not_matter():
    labels, points = labels_of((4, 2, 3)), points_of(5, 9, 4)
    order = np.random.default_rng(1).permutation(9)
    stack = SoftmaxStack(3, 2.0)
    ordered = stack.measure(torch.from_numpy(points), labels)
    shuffled = stack.measure(torch.from_numpy(points[:, order]), labels[order])
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(shuffled, name), getattr(ordered, name), rtol=0, atol=1e-14)


def test_temperature_and_mixing_of_each_trial(monkeypatch):
    """In chunks of two trials, each with its own parameters."""
    labels, points = labels_of((3, 3)), torch.from_numpy(points_of(5, 6, 4))
    kappa = torch.tensor([0.5, 2.0, 9.0, 30.0, 100.0], dtype=torch.float64)[:, None, None]
    mixing = torch.tensor([1.0, 0.1, 0.5, 0.7, 0.3], dtype=torch.float64)[:, None, None]
    monkeypatch.setattr(stacks, "CPU_CHUNK_BYTES", 2 * 6 * 6 * 8)
    together = SoftmaxStack(3, kappa, mixing, normalize="every").measure(points, labels)
    for trial in range(5):
        stack = SoftmaxStack(3, kappa[trial].item(), mixing[trial].item(), normalize="every")
        alone = stack.measure(points[trial : trial + 1], labels)
        for name in ARRAYS:
            np.testing.assert_allclose(getattr(together, name)[..., trial], getattr(alone, name)[..., 0], atol=1e-14)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("name", ["inverse_temperature", "mixing"])
def test_other_numbers_of_trials_are_refused(name, count, monkeypatch):
    points, values = torch.from_numpy(points_of(4, 6, 4)), torch.linspace(0.1, 0.9, count)[:, None, None]
    stack = SoftmaxStack(2, **{"inverse_temperature": 3.0} | {name: values})
    monkeypatch.setattr(stacks, "CPU_CHUNK_BYTES", 2 * 6 * 6 * 8)
    for call in (lambda: stack.measure(points, labels_of((3, 3))), lambda: stack(points), lambda: stack.block(points)):
        with pytest.raises(ValueError, match=f"^{name}: has {count} values, one a trial, but points has 4 trials"):
            call()


def test_one_temperature_in_a_tensor_serves_all_chunks(monkeypatch):
    labels, points = labels_of((3, 3)), torch.from_numpy(points_of(5, 6, 4))
    expected = SoftmaxStack(2, 3.0, 0.25).measure(points, labels)
    monkeypatch.setattr(stacks, "CPU_CHUNK_BYTES", 2 * 6 * 6 * 8)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    found = SoftmaxStack(2, 3.0 * one, 0.25 * one).measure(points, labels)
    np.testing.assert_allclose(found.mass_mean, expected.mass_mean, atol=1e-14)


def test_the_smallest_and_largest_temperatures():
    labels, points = labels_of((2, 3)), torch.from_numpy(points_of(4, 5, 6))
    flat = SoftmaxStack(1, 1e-14).measure(points, labels)
    np.testing.assert_allclose(flat.mass_min[0], np.array([[0.4], [0.6]]) * np.ones(4), atol=1e-12)
    sharp = SoftmaxStack(3, 1e12).measure(points, labels)
    np.testing.assert_allclose(sharp.mass_min, 1.0, atol=1e-12)
    np.testing.assert_allclose(sharp.alpha, sharp.alpha[:1] * np.ones((4, 1)), atol=1e-13)


def test_gradients_are_right():
    stack = SoftmaxStack(2, 3.0, 0.5, normalize="every")
    points = torch.from_numpy(points_of(2, 5, 3)).requires_grad_()
    assert torch.autograd.gradcheck(stack, (points,))


def test_layers_are_measured_on_tensors_and_arrays_alike():
    labels = np.array([1, 0, 1, 0, 0])
    points = points_of(3, 5, 4)
    unit = points / np.linalg.norm(points, axis=-1, keepdims=True)
    cosines = unit @ np.swapaxes(unit, -1, -2)
    weights = np.exp(2.0 * cosines)
    arrays = measure_softmax_layer(cosines, weights, weights.sum(-1), cluster_layout(labels))
    tensors = [torch.from_numpy(a) for a in (cosines, weights, weights.sum(-1))]
    from_tensors = measure_softmax_layer(*tensors, cluster_layout(torch.from_numpy(labels)))
    for name in ARRAYS:
        assert isinstance(getattr(from_tensors, name), np.ndarray)
        np.testing.assert_allclose(getattr(from_tensors, name), getattr(arrays, name), atol=1e-15)
    # Weights count as they are: rows are divided by the mass that is handed over, not by their own sum.
    doubled = measure_softmax_layer(cosines, weights, 2 * weights.sum(-1), cluster_layout(labels))
    np.testing.assert_allclose(doubled.mass_mean, arrays.mass_mean / 2, rtol=1e-14)


def test_trials_and_layers_are_put_together():
    labels, points = labels_of((3, 2)), torch.from_numpy(points_of(4, 5, 3))
    stack = SoftmaxStack(2, 2.0)
    parts = [stack.measure(points[i : i + 2], labels) for i in (0, 2)]
    joined, whole = SoftmaxTrajectory.join_trials(parts), stack.measure(points, labels)
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((0, 1.0), {}, "depth"),
        ((2, 0.0), {}, "inverse_temperature"),
        ((2, float("nan")), {}, "inverse_temperature"),
        ((2, torch.tensor([1.0, -1.0])[:, None, None]), {}, "inverse_temperature"),
        ((2, torch.ones(6)), {}, "inverse_temperature"),
        ((2, 1.0, torch.ones(2, 1)), {}, "mixing"),
        ((2, 1.0, 0.0), {}, "mixing"),
        ((2, 1.0, 1.5), {}, "mixing"),
        ((2, 1.0), {"normalize": "never"}, "normalize"),
        ((2, 1.0), {"device": "abacus"}, "device"),
    ],
)
def test_bad_arguments_are_named(as_users_call, arguments, options, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        SoftmaxStack(*arguments, **options)


@pytest.mark.parametrize(
    ("points", "labels", "name"),
    [
        (np.full((1, 4, 2), np.nan), [0, 0, 1, 1], "points"),
        (np.zeros((1, 4, 2)), [0, 0, 1, 1], "points"),
        (np.ones((4, 2)), [0, 0, 1, 1], "points"),
        (np.ones((1, 4, 2)), [0, 0, 0, 0], "labels"),
        (np.ones((1, 4, 2)), [0, 0, 0, 1], "labels"),
        (np.ones((1, 4, 2)), [0, 0, 1], "labels"),
    ],
)
def test_bad_batches_are_named(as_users_call, points, labels, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        SoftmaxStack(1, 1.0).measure(points, np.array(labels))


def test_bad_points_are_named_before_anything_is_computed(as_users_call):
    """One zero row would be NaN, and then, as everything attends to it, so would every row of its batch."""
    points = torch.from_numpy(points_of(2, 5, 3))
    for bad, words in ((0.0, "contains a zero vector"), (np.nan, "contains NaN"), (np.inf, "contains NaN or infinity")):
        damaged = points.clone()
        damaged[1, 3] = bad
        with pytest.raises(ValueError, match=rf"^points: {words}.*first at index \(1, 3\)"):
            SoftmaxStack(1, 2.0)(damaged)
    with pytest.raises(ValueError, match="points: expected shape"):
        SoftmaxStack(1, 2.0)(points[0, 0])


@pytest.mark.parametrize("normalize", ["input", "every"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_and_computed_in_float32(half, normalize):
    labels, points = labels_of((3, 3)), torch.from_numpy(points_of(4, 6, 5)).to(half)
    kappa = torch.tensor([0.5, 2.0, 9.0, 1e5])[:, None, None]
    single = SoftmaxStack(2, kappa, 0.3, normalize=normalize, dtype=torch.float32)
    expected, moved = single.measure(points.float(), labels), single(points.float())
    for stack in (SoftmaxStack(2, kappa, 0.3, normalize=normalize, dtype=half), single.to(half)):
        assert stack.dtype == stack(points).dtype == stack.block(points).dtype == torch.float32
        torch.testing.assert_close(stack(points), moved, rtol=0, atol=1e-6)
        assert_same(stack.measure(points, labels), expected, 1e-6)


def test_a_stack_computes_in_the_precision_it_was_moved_to():
    labels, points = labels_of((3, 3)), torch.from_numpy(points_of(4, 6, 5))
    for first, move, dtype in ((torch.float64, "float", torch.float32), (torch.float32, "double", torch.float64)):
        stack, expected = getattr(SoftmaxStack(2, 3.0, dtype=first), move)(), SoftmaxStack(2, 3.0, dtype=dtype)
        assert stack.dtype == stack(points).dtype == dtype
        assert_same(stack.measure(points, labels), expected.measure(points, labels), 1e-6)
    stack = SoftmaxStack(2, 1e39)
    with pytest.raises(ValueError, match="inverse_temperature: must lie in"):
        stack.float()
    assert torch.isfinite(stack(points)).all()
    for dtype in (torch.complex64, torch.int64):
        with pytest.raises(ValueError, match="dtype: expected one of"):
            SoftmaxStack(1, 2.0, dtype=dtype)


@pytest.mark.parametrize("normalize", ["input", "every"])
def test_autocast_narrows_nothing(normalize):
    labels, points = labels_of((3, 3)), torch.from_numpy(points_of(4, 6, 5)).float()
    stack = SoftmaxStack(2, 9.0, 0.3, normalize=normalize, dtype=torch.float32)
    expected = stack(points), stack.block(points)
    measured = stack.measure(points, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close((stack(points), stack.block(points)), expected, rtol=0, atol=0)
        assert_same(stack.measure(points, labels), measured, 0.0)


def assert_same(found, expected, tolerance):
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_any_inverse_temperature_is_finite_or_refused(dtype):
    """A cosine of 1 + 2e-16 with itself, times kappa, overflowed from 1e19 on, and one of 1 - 1e-16 left rows empty."""
    points, labels = points_of(3, 8, 4), np.repeat([0, 1], 4)
    largest = torch.finfo(dtype).max
    for kappa in (1e-320, 1e-50, 1e5, 1e10, 1e17, 1e20, 1e38, largest):
        stack = SoftmaxStack(2, kappa, dtype=dtype)
        found = stack.measure(points, labels)
        assert all(np.isfinite(getattr(found, name)).all() for name in ARRAYS), kappa
        assert torch.isfinite(stack(torch.from_numpy(points))).all()
        if kappa >= 1e20:
            np.testing.assert_allclose(found.mass_mean[0], 1.0, atol=1e-6)
    with pytest.raises(ValueError, match="inverse_temperature: must lie in"):
        SoftmaxStack(2, np.inf, dtype=dtype)
    with pytest.raises(ValueError, match="inverse_temperature: must lie in"):
        SoftmaxStack(2, 1e39, dtype=torch.float32)

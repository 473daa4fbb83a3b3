import math

import numpy as np
import pytest
import torch

from models.losses import affinity_jsd, affinity_jsd_from_points
from models.stack import AttentionStack
from tests import reference
from tests.stand_in import ACCELERATORS, accelerator
from theory.affinity import affinity_matrix, normalize_rows, target_affinity

LN2 = math.log(2.0)


def batch(sizes=(5, 2, 4, 1), dim=6, noise=0.5, seed=0, shuffled=True):
    """Clusters, one of them of a single point, and one point far from everything."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(dim)[labels] + noise * rng.standard_normal((len(labels), dim))
    points[1] = -points.sum(axis=0)
    order = rng.permutation(len(labels)) if shuffled else np.arange(len(labels))
    return torch.from_numpy(points[order]), labels[order]


def target_of(labels):
    positives = labels[:, None] == labels[None, :]
    np.fill_diagonal(positives, False)
    return torch.from_numpy(positives / np.maximum(positives.sum(axis=1, keepdims=True), 1))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("power", [1, 2, 3.5])
@pytest.mark.parametrize("tile_rows", [1, 5, 100, None])
def test_both_losses_are_the_double_loop(threshold, power, tile_rows):
    points, labels = batch()
    rows = reference.affinity(points.numpy(), max(threshold, 1e-10), power)
    assert threshold < 0.6 or (rows.sum(axis=1) == 0).any(), "the case of rows without neighbours should be reached"
    expected = float(reference.mean_affinity_jsd(rows, labels))
    dense = affinity_jsd(affinity_matrix(points, threshold, power), target_of(labels))
    tiled = affinity_jsd_from_points(points, labels, threshold, power, tile_rows=tile_rows)
    assert float(dense) == pytest.approx(expected, abs=1e-13)
    assert float(tiled) == pytest.approx(expected, abs=1e-13)


def test_extremes_of_the_loss():
    labels = np.array([0, 0, 0, 1, 1])
    target = torch.from_numpy(target_affinity(labels))
    assert float(affinity_jsd(target, target)) == 0.0
    strangers = normalize_rows(torch.from_numpy((labels[:, None] != labels[None, :]).astype(float)))
    assert float(affinity_jsd(strangers, target)) == pytest.approx(LN2, abs=1e-15)
    assert float(affinity_jsd(torch.zeros_like(target), target)) == pytest.approx(LN2, abs=1e-15)
    trials = torch.stack([target, strangers, 0.5 * (target + strangers)])
    values = affinity_jsd(trials, target)
    assert values.shape == (3,)
    assert 0.0 == values[0] < values[2] < values[1]
    collapsed = torch.eye(4, dtype=torch.float64)[torch.from_numpy(labels)]
    assert float(affinity_jsd_from_points(collapsed, labels)) == pytest.approx(0.0, abs=1e-15)
    apart = torch.eye(5, dtype=torch.float64)
    assert float(affinity_jsd_from_points(apart, labels)) == pytest.approx(LN2, abs=1e-15)


@pytest.mark.parametrize("power", [1.0, 2.0, 2.5])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
def test_tiled_gradients_are_those_of_the_dense_loss_and_of_finite_differences(power, threshold):
    points, labels = batch(seed=2)

    def dense(x):
        unit = x / x.norm(dim=-1, keepdim=True)
        logits = (unit @ unit.mT - max(threshold, 1e-10)).relu() * (1.0 - torch.eye(len(x), dtype=x.dtype))
        return affinity_jsd(normalize_rows(logits**power), target_of(labels))

    def tiled(x):
        return affinity_jsd_from_points(x, labels, threshold, power, tile_rows=5)

    gradients = []
    for loss in (dense, tiled):
        x = points.clone().requires_grad_()
        loss(x).backward()
        gradients.append(x.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(tiled, (points.clone().requires_grad_(),), atol=1e-6)


def test_gradients_stay_finite_where_entries_vanish():
    labels = np.array([0, 0, 0, 1, 1])
    target = torch.from_numpy(target_affinity(labels))
    affinity = torch.zeros(5, 5, dtype=torch.float64)
    affinity[0, 1] = affinity[1, 3] = affinity[2, 0] = 1.0
    affinity.requires_grad_()
    affinity_jsd(affinity, target).backward()
    assert torch.isfinite(affinity.grad).all()
    assert affinity.grad[1, 3] == pytest.approx(LN2 / 2 / 5)
    assert affinity.grad[0, 1] == pytest.approx(math.log(2 / 1.5) / 2 / 5)


def test_descent_on_a_stack_brings_clusters_together():
    points, labels = batch((6, 6), 5, noise=0.8, seed=3)
    weight = torch.eye(5, dtype=torch.float64).requires_grad_()
    stack, values = AttentionStack(2, 0.1, tile_rows=5), []
    for _ in range(20):
        loss = affinity_jsd_from_points(stack.tokens(points @ weight), labels, 0.1, tile_rows=5)
        values.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - 0.5 * gradient).detach().requires_grad_()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_an_accelerator_agrees_with_the_cpu(kind):
    points, labels = batch()
    results = []
    with accelerator(kind) as accelerated:
        for device in (torch.device("cpu"), accelerated):
            x = points.detach().clone().to(device).requires_grad_()
            loss = affinity_jsd_from_points(x, labels, 0.2, tile_rows=5)
            loss.backward()
            results.append((loss.detach().cpu(), x.grad.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda x, y: affinity_jsd_from_points(x * np.nan, y), "points: contains NaN"),
        (lambda x, y: affinity_jsd_from_points(x, y[:-1]), "labels: expected integers of shape"),
        (lambda x, y: affinity_jsd_from_points(x, y * 1.5), "labels: expected integers"),
        (lambda x, y: affinity_jsd_from_points(x, np.arange(len(y))), "labels: some cluster needs"),
        (lambda x, y: affinity_jsd_from_points(x, y, 1.0), "threshold"),
        (lambda x, y: affinity_jsd_from_points(x, y, power=0.5), "power"),
        (lambda x, y: affinity_jsd_from_points(x, y, tile_rows=0), "tile_rows"),
        (lambda x, y: affinity_jsd(-target_of(y), target_of(y)), "affinity: entries"),
        (lambda x, y: affinity_jsd(target_of(y) * np.nan, target_of(y)), "affinity: entries"),
        (lambda x, y: affinity_jsd(2 * target_of(y), target_of(y)), "affinity: rows must sum"),
        (lambda x, y: affinity_jsd(target_of(y), 2 * target_of(y)), "target: rows must sum"),
        (lambda x, y: affinity_jsd(target_of(y), 0 * target_of(y)), "target: has no row"),
        (lambda x, y: affinity_jsd(target_of(y)[:3], target_of(y)), "affinity: expected shape"),
        (lambda x, y: affinity_jsd(target_of(y), target_of(y)[:3]), "target: expected shape"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(*batch())

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import affinity_divergence, affinity_jsd, target_of_labels
from tests import reference, reference_losses
from theory.affinity import target_affinity

KINDS = ["jsd", "kl_target", "kl_affinity"]
LABELS = np.array([4, 4, 0, 9, 0, 4, -2, 9])  # -2 occurs once


def affinity(n=8, seed=0, density=0.6, empty=(2,)):
    """Rows of random weights with zeros among them, one of them empty."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0.1, 1.0, (n, n)) * (rng.uniform(size=(n, n)) < density)
    np.fill_diagonal(raw, 0.0)
    raw[list(empty)] = 0.0
    mass = raw.sum(1, keepdims=True)
    return torch.from_numpy(raw / np.where(mass > 0, mass, 1.0))


def target(labels=LABELS, dtype=torch.float64):
    return target_of_labels(labels, dtype=dtype)


def test_targets():
    expected = [[0.0] * 4 for _ in range(4)]
    expected[0][1] = expected[0][3] = expected[1][0] = expected[1][3] = expected[3][0] = expected[3][1] = 0.5
    assert target(np.array([7, 7, 3, 7])).tolist() == expected
    labels = np.array([1, 0, 1, 0, 0])
    assert torch.equal(target(labels), torch.from_numpy(target_affinity(labels)))
    assert torch.equal(target(torch.from_numpy(labels)), target(labels))
    assert target_of_labels(labels).dtype == torch.float32
    with pytest.raises(ValueError, match="labels: expected integers"):
        target(labels * 0.5)
    with pytest.raises(ValueError, match="labels: expected integers"):
        target(labels[None])


@pytest.mark.parametrize("smoothing", [1e-4, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_their_double_loops(kind, smoothing):
    y = affinity()
    if kind == "jsd":
        expected = float(reference.mean_affinity_jsd(y.numpy(), LABELS))
        assert float(affinity_jsd(y, target())) == pytest.approx(expected, rel=1e-12)
    else:
        expected = reference_losses.divergence(y.tolist(), LABELS, kind, smoothing)
    assert float(affinity_divergence(y, target(), kind, smoothing)) == pytest.approx(expected, rel=1e-12)
    trials = torch.stack([y, affinity(seed=1)])
    values = affinity_divergence(trials, target(), kind, smoothing)
    assert values.shape == (2,)
    assert float(values[0]) == pytest.approx(expected, rel=1e-12)


def test_closed_forms():
    labels, s = np.array([0, 0, 0, 1, 1, 1]), 1e-3
    t = target(labels)
    strangers = torch.from_numpy((labels[:, None] != labels) / 3.0)
    # On the target: smoothing alone parts the two.
    kept = (1 - s) / 2 + s / 5
    assert float(affinity_divergence(t, t, "kl_target", s)) == pytest.approx(-math.log(2 * kept), rel=1e-9)
    assert float(affinity_divergence(t, t, "kl_affinity", s)) == pytest.approx(-math.log(2 * kept), rel=1e-9)
    # On strangers: what a zero costs depends on the smoothing.
    assert float(affinity_divergence(strangers, t, "kl_target", s)) == pytest.approx(math.log(5 / (2 * s)))
    assert float(affinity_divergence(strangers, t, "kl_affinity", s)) == pytest.approx(math.log(5 / (3 * s)))
    # Rows without mass count as uniform.
    empty, uniform = torch.zeros_like(t), (1 - torch.eye(6, dtype=torch.float64)) / 5
    assert float(affinity_divergence(empty, t, "kl_target", s)) == pytest.approx(math.log(5 / 2))
    for kind in ("kl_target", "kl_affinity"):
        same = float(affinity_divergence(uniform, t, kind, s))
        assert float(affinity_divergence(empty, t, kind, s)) == pytest.approx(same, rel=1e-14)


def through_rows(raw, kind):
    raw = raw * (1.0 - torch.eye(len(raw), dtype=raw.dtype))
    return affinity_divergence(raw / raw.sum(-1, keepdim=True), target(), kind, 0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind):
    raw = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1.0, (8, 8))).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: through_rows(raw, kind), (raw,))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stay_finite_where_entries_vanish(kind):
    y = affinity(empty=(0, 2, 6)).requires_grad_()
    affinity_divergence(y, target(), kind).backward()
    assert torch.isfinite(y.grad).all()
    assert y.grad.abs().max() > 0.01
    assert not y.grad[[0, 2]].any(), "rows without mass push nowhere"
    assert not y.grad[6].any(), "a cluster of one is left out"
    if kind != "kl_target":
        assert not y.grad[y == 0].any()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
def test_permutations_and_signs(seed, kind):
    rng = np.random.default_rng(seed)
    y, labels = affinity(seed=seed, empty=()), rng.integers(0, 3, 8)
    labels[0] = labels[1]
    value = float(affinity_divergence(y, target(labels), kind))
    assert value >= 0.0
    order = rng.permutation(8)
    moved = affinity_divergence(y[order][:, order], target(labels[order]), kind)
    assert float(moved) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda y, t: affinity_divergence(y, t, "kl"), "kind: must be one of jsd, kl_target, kl_affinity"),
        (lambda y, t: affinity_divergence(y, t, "kl_target", 0.0), "smoothing"),
        (lambda y, t: affinity_divergence(y, t, "kl_target", 1.0), "smoothing"),
        (lambda y, t: affinity_divergence(2 * y, t, "kl_target"), "affinity: rows must sum"),
        (lambda y, t: affinity_divergence(y * math.nan, t, "kl_affinity"), "affinity: entries"),
        (lambda y, t: affinity_divergence(y, 0 * t, "kl_affinity"), "target: has no row"),
        (lambda y, t: affinity_divergence(y, t[:3, :3], "kl_affinity"), "target: expected shape"),
        (lambda y, t: affinity_divergence(torch.eye(8).double(), t, "kl_affinity"), "affinity: must have a zero diag"),
        (lambda y, t: affinity_divergence(y, torch.eye(8).double(), "kl_target"), "target: must have a zero diagonal"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(affinity(), target())

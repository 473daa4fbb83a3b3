"""Second derivatives of hand-written backward passes, against differences of first ones.

A backward pass marked once_differentiable returns constants where the incoming gradient is one, as it is for every
loss: gradients of gradients then miss a part, and nobody is told.
"""

import numpy as np
import pytest
import torch

from models import tiled
from models.attention import TransFusionBlock
from models.losses import affinity_divergence, affinity_jsd_from_points, nt_xent, supcon, target_of_labels
from models.losses.jsd import DenseDivergence, entry_slope
from models.stack import AttentionStack

LABELS = np.array([1, 0, 2, 0, 1, 0, 2, 3])


def points(seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(1.5 * np.eye(4, 3)[LABELS] + rng.standard_normal((8, 3)))


def affinity_of(raw):
    raw = raw.square() * (1.0 - torch.eye(len(raw), dtype=raw.dtype))
    return raw / raw.sum(-1, keepdim=True)


def matrix_loss(kind):
    target = target_of_labels(LABELS, dtype=torch.float64)
    return lambda x: affinity_divergence(affinity_of(x @ x.mT), target, kind, 0.01)


def mixed(threshold, **options):
    block = TransFusionBlock(threshold, 0.7, **options)
    weights = torch.from_numpy(np.random.default_rng(5).standard_normal((8, 3)))
    return lambda x: (tiled.mix_in_tiles(block, x, 3) * weights).sum()


LOSSES = {
    "jsd": matrix_loss("jsd"),
    "kl_target": matrix_loss("kl_target"),
    "kl_affinity": matrix_loss("kl_affinity"),
    **{
        f"tiled jsd, power {power}, threshold {threshold}": (
            lambda x, p=power, t=threshold: affinity_jsd_from_points(x, LABELS, t, p, tile_rows=3)
        )
        for power, threshold in ((1.0, 0.3), (1.5, 0.0), (2.0, 0.0), (2.0, 0.6))
    },
    "supcon": lambda x: supcon(x, LABELS, 0.3),
    "tiled supcon": lambda x: supcon(x, LABELS, 0.3, tile_rows=3),
    "tiled nt_xent": lambda x: nt_xent(x[:4], x[4:], 0.3, normalize=False, tile_rows=3),
    "tiled block": mixed(0.1),
    "tiled block with rows without neighbours": mixed(0.8),
    "tiled block with a map": mixed(0.1, query_key_map=torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]).double()),
    "tiled stack and tiled jsd": lambda x: affinity_jsd_from_points(
        AttentionStack(2, 0.1, tile_rows=3).tokens(x), LABELS, 0.1, tile_rows=3
    ),
}


def plain_gradient(loss, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x), x)[0]


def assert_second_derivatives(loss, x):
    """The product of the Hessian with a direction, and the first gradient that it is the derivative of."""
    direction = torch.from_numpy(np.random.default_rng(9).standard_normal(x.shape))
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(y), y, create_graph=True)
    torch.testing.assert_close(gradient.detach(), plain_gradient(loss, x), rtol=1e-11, atol=1e-13)
    (product,) = torch.autograd.grad((gradient * direction).sum(), y)
    step = 1e-5
    differences = (plain_gradient(loss, x + step * direction) - plain_gradient(loss, x - step * direction)) / (2 * step)
    assert differences.abs().max() > 1e-3
    torch.testing.assert_close(product, differences, rtol=0, atol=1e-6 * float(differences.abs().max()))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_second_derivatives_are_differences_of_first_ones(loss):
    assert_second_derivatives(loss, points())


def test_gradients_of_parameters_can_be_differentiated_again():
    """Threshold, mixing and map of a tiled block, and queries that are not keys."""

    def move(threshold, mixing, weight, step):
        block = TransFusionBlock()
        block.threshold, block.mixing, block.query_key_map = threshold, mixing, weight
        return step(block, points()[None])

    start = (torch.tensor([0.2]).double()[:, None, None], torch.tensor([0.4]).double()[:, None, None],
             torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]).double())  # fmt: skip
    found = []
    for step in (lambda block, x: block(x), lambda block, x: tiled.mix_in_tiles(block, x, 3)):
        given = [value.clone().requires_grad_() for value in start]
        first = torch.autograd.grad((move(*given, step) ** 2).sum(), given, create_graph=True)
        found.append(torch.autograd.grad(sum((g**2).sum() for g in first), given))
    assert all(g.abs().max() > 1e-3 for g in found[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-10)
    stack = AttentionStack(2, 0.1, bias_form=True, normalize="every", tile_rows=3)
    biases = [p for p in stack.parameters() if p.requires_grad][:2]
    first = torch.autograd.grad((stack.tokens(points()) ** 3).sum(), biases, create_graph=True)
    second = torch.autograd.grad(sum(first), biases)
    assert all(torch.isfinite(g).all() and bool(g != 0) for g in second)


def test_a_backward_pass_of_constants_is_noticed():
    """Planted: the Jensen-Shannon divergence as it was."""

    class Constant(DenseDivergence):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            affinity, target = ctx.saved_tensors
            counted = target.sum(-1, keepdim=True) > 0
            return counted * gradient / counted.sum() * entry_slope(affinity, target), None

    target = target_of_labels(LABELS, dtype=torch.float64)
    with pytest.raises(AssertionError):
        assert_second_derivatives(lambda x: Constant.apply(affinity_of(x @ x.mT), target), points())


def test_second_derivatives_are_finite_where_entries_vanish():
    """Powers between 1 and 2 have no second derivative at 0, where the ReLU cuts everything off."""
    x = torch.cat([points(), -points()[:1]]).requires_grad_()
    labels = np.append(LABELS, 3)
    for power in (1.0, 1.5, 2.0):
        loss = affinity_jsd_from_points(x, labels, 0.5, power)
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad((gradient**2).sum(), x)
        assert torch.isfinite(second).all()

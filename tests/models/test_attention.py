import numpy as np
import pytest
import torch

from models.attention import TransFusionBlock
from models.stack import AttentionStack
from tests.reference import affinity as reference_affinity
from theory.affinity import affinity_matrix
from theory.numerics.precision import numerical_threshold


def points(seed=0, shape=(2, 9, 5)):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("mixing", [0.5, 1.0])
def test_one_block_is_the_double_loop(threshold, mixing):
    x = points()
    moved = TransFusionBlock(threshold, mixing)(x)
    for batch, result in zip(x.numpy(), moved.numpy()):
        weights = reference_affinity(batch, threshold)
        expected = (1 - mixing) * batch + mixing * weights @ batch
        lonely = weights.sum(axis=1) == 0
        expected[lonely] = batch[lonely]
        np.testing.assert_allclose(result, expected, atol=1e-12)
    assert threshold < 0.7 or lonely.any(), "the case of rows without neighbours should be reached"


def test_bias_is_a_threshold():
    """Lemma 0: appended biases b and -b give the affinity of threshold b^2, exactly."""
    x = points(1)
    for threshold in (1e-3, 0.2, 0.6):
        plain = AttentionStack(4, threshold, normalize="every")
        biased = AttentionStack(4, threshold, normalize="every", bias_form=True)
        torch.testing.assert_close(biased(x), plain(x), rtol=0, atol=1e-12)


def test_appended_biases_shift_and_shrink_cosines():
    """[x; b].[y; -b] over the product of the norms, for unit x and y: (C - b^2)/(1 + b^2)."""
    x = points(1, (6, 4))
    block = TransFusionBlock(0.36, bias_form=True)
    unit = torch.nn.functional.normalize(x, dim=-1)
    appended = [torch.cat([unit, torch.full_like(unit[:, :1], bias)], dim=-1) for bias in (0.6, -0.6)]
    expected = torch.nn.functional.cosine_similarity(appended[0][:, None], appended[1][None], dim=-1)
    torch.testing.assert_close(block.attend(x).cosines, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_weights_are_powers_of_what_exceeds_the_threshold(power):
    x = points(8, (7, 3))
    block = TransFusionBlock(0.2, power=power)
    raw, mass = block.affinity(block.attend(x))
    for i, row in enumerate(x):
        for j, other in enumerate(x):
            excess = max(float(torch.nn.functional.cosine_similarity(row, other, dim=0)) - 0.2, 0.0)
            assert float(raw[i, j]) == pytest.approx(excess**power if j != i else 0.0, abs=1e-12)
    torch.testing.assert_close(mass, raw.sum(-1))
    torch.testing.assert_close(block(x), AttentionStack(1, 0.2, power=power).tokens(x))
    mixed = 0.5 * x + 0.5 * torch.from_numpy(affinity_matrix(x.numpy(), 0.2, power)) @ x
    torch.testing.assert_close(block(x)[mass > 0], mixed[mass > 0])


def test_bias_is_learned():
    x = points(2)
    stack = AttentionStack(2, 0.25, normalize="every", bias_form=True)
    (stack(x) ** 2).sum().backward()
    gradients = [block.bias.grad for block in stack.blocks]
    assert all(g is not None and torch.isfinite(g) for g in gradients)
    assert any(g != 0 for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_bias_starts_where_it_can_be_learned(dtype):
    """b enters as its square, and below the numerical threshold not at all: no gradient would ever move it."""
    x, floor = points(2), numerical_threshold(dtype, 2.0)
    options = {"normalize": "every", "bias_form": True, "condition": 2.0, "dtype": dtype}
    stack = AttentionStack(2, 1.01 * floor, **options)
    (stack(x) ** 2).sum().backward()
    assert all(float(block.bias.grad.abs()) > 1e-6 for block in stack.blocks)
    for threshold in (0.0, 0.5 * floor, floor, torch.tensor([0.3, 0.0]).double()[:, None, None]):
        with pytest.raises(ValueError, match=rf"^threshold: must lie in \({floor:g}, 1\) with bias_form, got"):
            AttentionStack(2, threshold, **options)
    for build in (TransFusionBlock, lambda **how: AttentionStack(1, normalize="every", **how)):
        with pytest.raises(ValueError, match=r"^threshold: must lie in .* with bias_form, got 0;"):
            build(bias_form=True)


def test_gradients_are_right():
    """Against finite differences, although the block reuses the memory of its cosines."""
    x = points(3, (5, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: AttentionStack(2, 0.1)(t), (x,), atol=1e-6)
    assert torch.autograd.gradcheck(lambda t: AttentionStack(2, 0.1, normalize="every", bias_form=True)(t), (x,))


def test_map_and_its_condition():
    x, matrix = points(4), points(5, (3, 5))
    block = TransFusionBlock(0.2, 0.5, query_key_map=matrix, condition=50.0)
    assert TransFusionBlock(0.0, query_key_map=matrix, condition=1e4).attend(x).cut == pytest.approx(1e-6)
    raw, mass = block.affinity(block.attend(x))
    torch.testing.assert_close(
        raw / mass[..., None].clamp_min(1e-300), affinity_matrix(x @ matrix.mT, 0.2, condition=50.0)
    )


def test_equivariance():
    x = points(6, (9, 5))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(points(7, (5, 5)))[0]
    block = TransFusionBlock(0.1, 0.7)
    torch.testing.assert_close(block(x[order]), block(x)[order])
    torch.testing.assert_close(block(x @ rotation), block(x) @ rotation)
    torch.testing.assert_close(block(3.0 * x), 3.0 * block(x))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [((1.0,), "threshold"), ((-0.1,), "threshold"), ((0.0, 0.0), "mixing"), ((0.0, 1.1), "mixing"),
     ((torch.tensor([[[0.2]], [[1.5]]]),), "threshold"), ((0.0, float("nan")), "mixing"),
     ((torch.full((9,), 0.2),), r"threshold: .*\(trials, 1, 1\), got shape \(9,\)"),
     ((torch.full((2, 1, 1, 1), 0.2),), "threshold: .*trials"), ((torch.full((0, 1, 1), 0.2),), "threshold: .*trials"),
     ((0.2, torch.full((2, 9, 1), 0.5)), "mixing: .*trials"),
     ((torch.full((9,), 0.2), 0.5, None, 1.0, True), "threshold: .*trials")],
)  # fmt: skip
def test_bad_input_is_named(arguments, names):
    with pytest.raises(ValueError, match=names):
        TransFusionBlock(*arguments)

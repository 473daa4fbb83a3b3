"""Heads where torch's own tools meet them: in nn.Sequential, through pytrees, torch.func and torch.export."""

import pytest
import torch
from torch import nn
from torch.utils import _pytree

from models.devices.value_checks import values_trusted
from models.encoders import EncoderConfig, build_encoder
from models.head_output import HeadOutput, Reading, unit_or_zero
from models.heads import HeadConfig, TensorHead, build_head
from models.losses import OBJECTIVES, NTXentLoss, Objective, view_pair_labels

KINDS = ("none", "linear", "mlp", "transfusion", "reluformer", "deepfusion", "batchformer")


def head_of(kind, dim=8):
    torch.manual_seed(0)
    return build_head(HeadConfig(kind, width=8, out_dim=4, depth=1), dim).eval()


def normal(n=6, dim=8, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_as_a_tensor_in_a_sequential_network(kind):
    encoder, head = build_encoder(EncoderConfig("small", width=4, norm="group")), head_of(kind, 16)
    network, images = nn.Sequential(encoder, TensorHead(head, views=2)), torch.rand(4, 3, 8, 8)
    output = head(encoder(images), views=2)
    assert torch.equal(network(images), output.embeddings)
    assert torch.equal(head.embed(encoder(images), views=2), output.embeddings)
    NTXentLoss()(network(images), view_pair_labels(2)).backward()
    assert all(each.grad is not None for each in encoder.parameters())


def test_only_heads_are_heads(as_users_call):
    with pytest.raises(ValueError, match=r"^head: expected one of build_head, got a Linear"):
        TensorHead(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"^views:"):
        TensorHead(head_of("mlp"), views=0)
    with pytest.raises(ValueError, match=r"^views: must divide"):
        TensorHead(head_of("mlp"), views=4)(normal())


@pytest.mark.parametrize("kind", ["mlp", "transfusion", "batchformer"])
def test_an_output_is_a_tree_of_its_tensors(kind):
    output = head_of(kind).train()(normal(), trace=True)
    leaves, spec = _pytree.tree_flatten(output)
    assert all(type(each) is torch.Tensor for each in leaves)
    same = _pytree.tree_unflatten(leaves, spec)
    assert type(same) is HeadOutput
    assert [type(each) for each in same.readings] == [Reading] * len(output.readings)
    assert all(a is b for a, b in zip(_pytree.tree_leaves(same), leaves))
    assert all(a is b for a, b in zip(_pytree.tree_leaves(_pytree.tree_map(lambda leaf: leaf, output)), leaves))
    paths = [_pytree.keystr(path) for path, _ in _pytree.tree_flatten_with_path(output)[0]]
    assert paths[:2] == [".embeddings", ".readings[0].queries"]
    assert _pytree.treespec_loads(_pytree.treespec_dumps(spec)) == spec


def test_a_head_through_torch_func(as_users_call):
    """Which builds trees of numbers, too."""
    head, batches = head_of("transfusion"), torch.stack([normal(), normal(seed=1)])
    weights = dict(head.named_parameters())
    mapped = torch.func.vmap(lambda rows: torch.func.functional_call(head, weights, rows))(batches)
    for i, rows in enumerate(batches):
        torch.testing.assert_close(mapped.embeddings[i], head(rows).embeddings)
        torch.testing.assert_close(mapped.readings[-1].keys[i], head(rows).readings[-1].keys)
    slopes = torch.func.grad(lambda w: Objective()(torch.func.functional_call(head, w, batches[0]), [0, 0, 1, 1, 2, 2]))
    Objective()(head(batches[0]), [0, 0, 1, 1, 2, 2]).backward()
    for name, slope in slopes(weights).items():
        expected = weights[name].grad
        torch.testing.assert_close(slope, torch.zeros_like(slope) if expected is None else expected)


def test_heads_are_exported(as_users_call):
    """A whole output, and a tensor of any number of rows. (All seven kinds, both ways, as was seen once.)"""
    head, rows = head_of("transfusion"), normal()
    exported = torch.export.export(head, (rows,)).module()(rows)
    assert type(exported) is HeadOutput
    torch.testing.assert_close(exported.embeddings, head(rows).embeddings)
    torch.testing.assert_close(exported.readings[-1].cosines(), head(rows).readings[-1].cosines())
    head, some = head_of("mlp"), ({0: torch.export.Dim("n", min=2)},)
    exported = torch.export.export(TensorHead(head), (rows,), dynamic_shapes=some).module()
    torch.testing.assert_close(exported(normal(11)), head(normal(11)).embeddings)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_takes_embeddings_for_a_head_without_attention(name):
    head, labels = head_of("mlp"), view_pair_labels(3)
    assert OBJECTIVES[name](head.embed(normal()), labels) == OBJECTIVES[name](head(normal()), labels)


def test_an_objective_refuses_what_is_neither(as_users_call):
    for output, told in (
        ({"embeddings": normal()}, "expected what a head returns, or embeddings"),
        (normal().numpy(), "expected what a head returns, or embeddings"),
        (normal()[0], "expected shape"),
        (normal().long(), "expected a floating dtype"),
    ):
        with pytest.raises(ValueError, match=f"^output: {told}"):
            Objective()(output, view_pair_labels(3))


def test_zero_rows_stay_zero_and_have_no_gradient():
    rows = normal().double()
    rows[1] = 0.0
    rows.requires_grad_()
    unit = unit_or_zero(rows)
    (unit * normal(seed=1)).sum().backward()
    assert not unit[1].any()
    assert not rows.grad[1].any()
    assert bool(torch.isfinite(rows.grad).all())
    torch.testing.assert_close(unit[[0, 2]].norm(dim=1), torch.ones(2).double())
    assert bool(unit_or_zero(torch.tensor([[0.0, float("nan")]])).isnan().all())


@pytest.mark.parametrize("kind", ["mlp", "transfusion", "deepfusion"])
def test_a_head_that_makes_zeros_has_a_loss_and_finite_gradients(kind):
    """In mid-training, with values trusted; the norm's own gradient would be 1e12 times too large."""
    head = head_of(kind)
    with torch.no_grad():
        for each in head.parameters():
            each.zero_()
    with values_trusted():
        for name in ("jsd", "kl_target", "jsd_softmax", "nt_xent", "supcon", "symnsq_legacy"):
            loss = OBJECTIVES[name](head(normal()), view_pair_labels(3))
            loss.backward()
            assert bool(torch.isfinite(loss)), name
    assert all(float(each.grad.abs().max()) < 1e3 for each in head.parameters() if each.grad is not None)

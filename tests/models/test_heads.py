from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads import HeadConfig, HeadKind, TransFusionHead, build_head, count_parameters
from models.learned_attention import EncoderLayer

N, D = 12, 10
KINDS = get_args(HeadKind)
ATTENTION = ("transfusion", "deepfusion", "reluformer")
# Sizes that differ from each other, so that a mixed-up one shows.
SIZES = {"out_dim": 6, "hidden_dim": 7, "width": 8, "depth": 2, "num_heads": 2}


def features(seed=0, rows=N):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, D)))


def head(kind, seed=0, **options):
    torch.manual_seed(seed)
    return build_head(HeadConfig(kind=kind, **{**SIZES, **options}), D).double()


def streams(output):
    return [output, *output.auxiliary]


def loss(output):
    """Random directions of everything that a head hands out, so that no gradient cancels."""
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    for stream in streams(output):
        for part in (stream.embeddings, *(reading.cosines() for reading in stream.readings)):
            total = total + (torch.randn(part.shape, generator=generator) * part).sum()
    return total


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("scope", ["joint", "per_view"])
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind, views, scope, trace):
    network, x = head(kind, attention_scope=scope, feed_forward=9), features().requires_grad_()
    output = network(x, views, trace)
    loss(output).backward()
    assert bool(torch.isfinite(x.grad).all())
    assert bool(x.grad.any())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        if kind in ("deepfusion", "batchformer") and name.endswith("attention.key.bias"):
            assert parameter.grad.abs().max() < 1e-10, "softmax ignores what is added to a whole row of logits"
        else:
            assert parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_of_the_output(kind, training):
    network = head(kind).train(training)
    output = network(features(), views=2, trace=True)
    embedding_dim = {"none": D, "transfusion": 8}.get(kind, 6)
    assert output.embeddings.shape == (N, embedding_dim) == (N, network.embedding_dim)
    readings = {"transfusion": [(2, N, 4)] * 3, "deepfusion": [(1, N, 8), (1, N, 6)]}
    expected = readings.get(kind, [(1, N, embedding_dim)])
    assert [tuple(reading.queries.shape) for reading in output.readings] == expected
    for reading in output.readings:
        for rows in (reading.queries, reading.keys):
            torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:2]).double())
    assert [tuple(weights.shape) for weights in output.attentions] == [(2, N, N)] * (2 if kind in ATTENTION else 0)
    assert network(features(), views=2).attentions == ()
    second = kind == "batchformer" and training
    assert len(output.auxiliary) == second
    if second:
        assert output.auxiliary[0].embeddings.shape == (N, 6)
        assert [tuple(weights.shape) for weights in output.auxiliary[0].attentions] == [(2, N, N)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "transfusion"])
def test_the_last_reading_is_of_the_embeddings(kind):
    for stream in streams(head(kind)(features(), 2)):
        unit = stream.embeddings / stream.embeddings.norm(dim=1, keepdim=True)
        torch.testing.assert_close(stream.readings[-1].cosines()[0], unit @ unit.T)


def test_transfusion_reads_its_embeddings_last():
    """Embeddings are normalized tokens, and the truncated block's queries and keys are projections of them."""
    network = head("transfusion", num_heads=1)
    output = network(features(), 2)
    torch.testing.assert_close(output.embeddings.mean(1), torch.zeros(N).double())
    queries, keys = network.query_key.query(output.embeddings), network.query_key.key(output.embeddings)
    expected = torch.cosine_similarity(queries[:, None], keys[None], dim=-1)
    torch.testing.assert_close(output.readings[-1].cosines()[0], expected)


def test_readings_of_each_mixing_block_come_first_to_last():
    """A mixing block of the head, alone on the tokens before it, reads and mixes as it does inside."""
    network, x = head("transfusion", attention_scope="per_view"), features()
    output, tokens = network(x, 2, trace=True), network.input(x)
    for layer, reading, weights in zip(network.layers, output.readings, output.attentions):
        mixed = layer(tokens, 2, trace=True)
        torch.testing.assert_close(reading.cosines(), mixed.reading.cosines())
        torch.testing.assert_close(weights, mixed.weights)
        tokens = mixed.tokens


@settings(max_examples=20)
@given(
    kind=st.sampled_from(KINDS),
    scope=st.sampled_from(["joint", "per_view"]),
    training=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_permuted_samples_give_permuted_outputs(kind, scope, training, seed):
    network, x = head(kind, seed, attention_scope=scope).train(training), features(seed)
    generator = torch.Generator().manual_seed(seed)
    half = N // 2
    order = torch.cat([torch.randperm(half, generator=generator), half + torch.randperm(half, generator=generator)])
    for before, after in zip(streams(network(x, 2, True)), streams(network(x[order], 2, True))):
        torch.testing.assert_close(after.embeddings, before.embeddings[order], rtol=0, atol=1e-10)
        for old, new in zip(before.readings, after.readings):
            torch.testing.assert_close(new.cosines(), old.cosines()[:, order][:, :, order], rtol=0, atol=1e-10)
        for old, new in zip(before.attentions, after.attentions):
            torch.testing.assert_close(new, old[:, order][:, :, order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["joint", "per_view"])
def test_the_other_view_leaks_in_joint_attention_only(kind, scope):
    """The partner of sample 3 changes: the first view notices if, and only if, both are in one attention."""
    network, x = head(kind, attention_scope=scope), features()
    changed = x.clone()
    changed[N // 2 + 3] += 1.0
    before, after = network(x, 2, trace=True), network(changed, 2, trace=True)
    for old, new in zip(streams(before), streams(after)):
        moved = (new.embeddings - old.embeddings)[: N // 2].abs().max()
        attends = kind in ATTENTION or old is not before
        assert (moved > 1e-4) if attends and scope == "joint" else (moved == 0)
    if scope == "per_view":
        for weights in before.attentions:
            assert not weights[:, : N // 2, N // 2 :].any()
            assert not weights[:, N // 2 :, : N // 2].any()


def test_readings_compare_views_that_do_not_mix():
    for reading in head("transfusion", attention_scope="per_view")(features(), 2).readings:
        assert bool(reading.cosines()[:, : N // 2, N // 2 :].all())


@pytest.mark.parametrize("kind", KINDS)
def test_transductive_says_whether_the_batch_matters_at_evaluation(kind):
    network = head(kind, batch_norm=True).eval()
    alone, together = network(features()[:4]), network(features())
    moved = (alone.embeddings - together.embeddings[:4]).abs().max()
    assert network.transductive == (kind in ATTENTION)
    assert (moved > 1e-4) if network.transductive else (moved < 1e-12)


@pytest.mark.parametrize("kind", ["transfusion", "reluformer"])
def test_attention_rows_and_diagonal(kind):
    for keep in (False, True):
        for weights in head(kind, keep_diagonal=keep)(features(), 2, trace=True).attentions:
            sums = weights.sum(-1)
            assert bool((((sums - 1).abs() < 1e-12) | (sums == 0)).all())
            assert bool(weights.diagonal(dim1=-2, dim2=-1).any()) == keep


def test_batchformer_drops_its_encoder_at_evaluation():
    network, x = head("batchformer"), features()
    training = network(x, 2)
    fused = network.projection(network.encoder(x, 2).tokens)
    torch.testing.assert_close(training.auxiliary[0].embeddings, fused)
    assert (fused - training.embeddings).abs().max() > 1e-3
    network.eval()
    for parameter in network.encoder.parameters():
        parameter.data.fill_(float("nan"))
    evaluated = network(x, 2)
    torch.testing.assert_close(evaluated.embeddings, training.embeddings)
    assert evaluated.auxiliary == ()
    assert isinstance(network.encoder, EncoderLayer)


def linear(inputs, outputs, bias=True):
    return inputs * outputs + bias * outputs


def by_hand(kind, c):
    """Parameters from the sizes: D features, w width, d embedding, h hidden, L blocks."""
    w, d, h = c.width, c.out_dim, c.hidden_dim or D
    mlp = linear(D, h, not c.batch_norm) + 2 * h * c.batch_norm + linear(h, d)
    feed = lambda width, f: linear(width, f) + linear(f, width)  # noqa: E731
    cosine = 2 * w + 4 * linear(w, w, c.attention_bias) + (2 * w + feed(w, c.feed_forward) if c.feed_forward else 0)
    return {
        "none": 0,
        "linear": linear(D, d),
        "mlp": mlp,
        "transfusion": linear(D, w) + c.depth * cosine + 2 * w + 2 * linear(w, w, c.attention_bias),
        "reluformer": linear(D, w) + c.depth * cosine + linear(w, d),
        "deepfusion": linear(D, w)
        + c.depth * (4 * linear(w, w) + feed(w, c.feed_forward or 4 * w) + 4 * w)
        + linear(w, d),
        "batchformer": 4 * linear(D, D) + feed(D, c.feed_forward or D) + 4 * D + mlp,
    }[kind]


@pytest.mark.parametrize(
    "options", [{}, {"feed_forward": 5, "batch_norm": True}, {"attention_bias": False, "hidden_dim": None}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted(kind, options):
    config = HeadConfig(kind=kind, **{**SIZES, **options})
    network = build_head(config, D)
    assert count_parameters(network) == by_hand(kind, config)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert count_parameters(network) == 0


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_is_finite(kind, trace):
    torch.manual_seed(0)
    network = build_head(HeadConfig(kind=kind, **SIZES), D)
    x = features().float()
    x[3] = 0
    x.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss(network(x, 2, trace))
    total.backward()
    assert bool(torch.isfinite(total))
    assert all(bool(torch.isfinite(leaf.grad).all()) for leaf in (x, *network.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_single_rows_are_finite(kind):
    network = head(kind)
    for rows, views in ((1, 1), (2, 2)):
        x = features(rows=rows).requires_grad_()
        loss(network(x, views, trace=True)).backward()
        assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_random_in_training_and_evaluation_is_deterministic(kind):
    network, x = head(kind, dropout=0.5, feed_forward=5), features()
    first, second = (streams(network(x, 2))[-1].embeddings for _ in range(2))
    assert torch.equal(first, second) == (kind in ("none", "linear", "mlp"))
    network.eval()
    assert torch.equal(network(x, 2).embeddings, network(x, 2).embeddings)
    # Seeds decide the weights.
    assert all(torch.equal(a, b) for a, b in zip(head(kind).parameters(), head(kind).parameters()))


def test_default_heads_a_block():
    for kind, heads in (("transfusion", 1), ("reluformer", 1), ("deepfusion", 4), ("batchformer", 4)):
        assert HeadConfig(kind=kind).attention_heads == heads
    assert isinstance(build_head(HeadConfig(), 512), TransFusionHead)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: HeadConfig(kind="conv"), "kind"),
        (lambda: HeadConfig(attention_scope="both"), "attention_scope"),
        (lambda: HeadConfig(out_dim=0), "out_dim"),
        (lambda: HeadConfig(hidden_dim=0), "hidden_dim"),
        (lambda: HeadConfig(width=0), "width"),
        (lambda: HeadConfig(depth=0), "depth"),
        (lambda: HeadConfig(num_heads=0), "num_heads"),
        (lambda: HeadConfig(feed_forward=0), "feed_forward"),
        (lambda: HeadConfig(width=10, num_heads=4), "width"),
        (lambda: HeadConfig(kind="deepfusion", width=10), "width"),
        (lambda: HeadConfig(dropout=1.0), "dropout"),
        (lambda: HeadConfig(dropout=-0.1), "dropout"),
        (lambda: build_head(HeadConfig(kind="batchformer"), 10), "in_dim"),
        (lambda: build_head(HeadConfig(), 0), "in_dim"),
        (lambda: head("mlp")(features(), 5), "views"),
        (lambda: head("none")(features(), 0), "views"),
        (lambda: head("mlp")(features()[:, :4]), "features"),
        (lambda: head("mlp")(features()[0]), "features"),
        (lambda: head("transfusion")(features()[:0]), "features"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()

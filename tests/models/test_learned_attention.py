import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.head_output import Reading
from models.learned_attention import (
    CosineQueryKey,
    CosineReluAttention,
    DotProductAttention,
    EncoderLayer,
    TransFusionLayer,
)
from models.stack import AttentionStack

N, WIDTH = 12, 8


def tokens(seed=0, rows=N, width=WIDTH):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, width)))


def built(block, *arguments, seed=0, **options):
    torch.manual_seed(seed)
    module = block(*arguments, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            # Also those that start at 0 or 1, so that forgetting one shows.
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def looped(attention, x, heads, keep_diagonal=False):
    """Cosine-ReLU attention, one pair at a time: output (n, width) and weights (heads, n, n)."""

    def projected(layer):
        weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
        return np.array([weight @ row + bias for row in x.numpy()])

    query, key = projected(attention.query_key.query), projected(attention.query_key.key)
    value = projected(attention.value)
    n, size = len(x), x.shape[1] // heads
    weights, joined = np.zeros((heads, n, n)), np.zeros((n, x.shape[1]))
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(n):
            for j in range(n):
                a, b = query[i, part], key[j, part]
                cosine = a @ b / math.sqrt((a @ a) * (b @ b))
                if cosine > 0 and (i != j or keep_diagonal):
                    weights[h, i, j] = cosine
            if weights[h, i].sum() > 0:
                weights[h, i] /= weights[h, i].sum()
            for j in range(n):
                joined[i, part] += weights[h, i, j] * value[j, part]
    out = attention.output
    return joined @ out.weight.detach().numpy().T + out.bias.detach().numpy(), weights


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("keep_diagonal", [False, True])
def test_cosine_attention_is_the_double_loop(heads, keep_diagonal):
    attention, x = built(CosineReluAttention, WIDTH, heads, keep_diagonal), tokens()
    expected, weights = looped(attention, x, heads, keep_diagonal)
    np.testing.assert_allclose(attention(x).detach(), expected, atol=1e-12)
    np.testing.assert_allclose(attention.weights(attention.reading(x))[:, 0].detach(), weights, atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_layer_adds_attention_to_its_normalized_tokens(heads):
    layer, x = built(TransFusionLayer, WIDTH, heads, feed_forward=5), tokens(1)
    normal = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + layer.norm.eps).sqrt()
    normal = normal * layer.norm.weight + layer.norm.bias
    attended, weights = looped(layer.attention, normal.detach(), heads)
    moved = normal + torch.from_numpy(attended)
    norm, inner, _ = layer.feed_forward
    expected = moved + inner[3](nn.functional.gelu(inner[0](norm(moved))))
    mixed = layer(x, trace=True)
    torch.testing.assert_close(mixed.tokens, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mixed.weights.detach(), weights, atol=1e-12)


def prescribe(query_key, threshold):
    """Lemma 0 without a column of its own: tokens of mean 0 leave the direction (1, .., 1) free for the bias."""
    width = query_key.query.in_features
    for projection, sign in ((query_key.query, 1.0), (query_key.key, -1.0)):
        projection.weight.data = torch.eye(width, dtype=torch.float64)
        projection.bias.data = torch.full((width,), sign * math.sqrt(threshold), dtype=torch.float64)


@pytest.mark.parametrize(("threshold", "atol"), [(0.0, 1e-8), (0.2, 1e-12), (0.35, 1e-12)])
def test_suitable_weights_give_the_block_of_the_theory(threshold, atol):
    """Biases as thresholds, and h + attention(h) as lambda = 1/2, over three layers, wherever rows have neighbours.

    At threshold 0 the theory's block lowers every cosine by its numerical threshold of 1e-10, which learned blocks do
    not.
    """
    x = tokens(2, rows=40)
    x = x - x.mean(dim=1, keepdim=True)
    stack = AttentionStack(3, threshold, mixing=0.5, normalize="every")
    output, trace = stack(x, return_trace=True)
    assert all(bool((affinity.sum(-1) > 0.5).all()) for affinity in trace.affinities), "the lemma needs neighbours"
    state = x * 3.7
    for block in range(4):
        layer = TransFusionLayer(WIDTH).double()
        layer.norm.eps = 0.0
        prescribe(layer.attention.query_key, threshold)
        for projection in (layer.attention.value, layer.attention.output):
            projection.weight.data = torch.eye(WIDTH, dtype=torch.float64)
            projection.bias.data.zero_()
        mixed = layer(state, trace=True)
        cosines = mixed.reading.cosines()[0] * (1 + threshold) + threshold
        expected = trace.points[block] @ trace.points[block].mT
        torch.testing.assert_close(cosines, expected, rtol=0, atol=atol)
        torch.testing.assert_close(mixed.weights[0], trace.affinities[block], rtol=0, atol=atol)
        state = mixed.tokens
    squared = mixed.reading.cosines()[0].fill_diagonal_(0.0).relu() ** 2
    torch.testing.assert_close(squared / squared.sum(-1, keepdim=True), output, rtol=0, atol=atol)


def test_the_theorys_threshold_matters_here():
    """Negative control of the equivalence: another threshold gives other weights."""
    x = tokens(2, rows=40)
    x = x - x.mean(dim=1, keepdim=True)
    low, high = (AttentionStack(1, tau, normalize="every")(x, return_trace=True)[1] for tau in (0.0, 0.2))
    assert (low.affinities[0] - high.affinities[0]).abs().max() > 0.01


def test_rows_without_neighbours_receive_nothing():
    """Opposite pairs on orthogonal axes: no positive cosine but one's own."""
    attention = CosineReluAttention(4, bias=True).double()
    for projection in (attention.query_key.query, attention.query_key.key, attention.value):
        projection.weight.data = torch.eye(4, dtype=torch.float64)
        projection.bias.data.zero_()
    x = torch.cat([torch.eye(4), -torch.eye(4)]).double().requires_grad_()
    out = attention(x)
    torch.testing.assert_close(out, attention.output.bias.expand_as(out))
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_round_off_is_no_neighbour():
    """Cosines below the dtype's threshold count as 0; one above it becomes the only neighbour."""
    attention = CosineReluAttention(2, bias=False)
    for projection in (attention.query_key.query, attention.query_key.key):
        projection.weight.data = torch.eye(2)
    for cosine, neighbours in ((5e-6, 0.0), (2e-5, 1.0)):
        x = torch.tensor([[1.0, 0.0], [cosine, 1.0]])
        assert attention.weights(attention.reading(x)).sum(-1).flatten().tolist() == [neighbours] * 2


def test_zero_tokens_are_safe():
    attention = CosineReluAttention(WIDTH, 2, bias=False).double()
    x = tokens(3)
    x[4] = 0
    x.requires_grad_()
    weights = attention.weights(attention.reading(x))
    assert weights[:, :, 4].abs().max() == 0
    attention(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_right(heads):
    """Against finite differences, although the block reuses the memory of its cosines."""
    attention = built(CosineReluAttention, 4, heads)
    x = tokens(4, 6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: attention(t, 2), (x,), atol=1e-6)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("trace", [False, True])
def test_encoder_layer_is_torchs(heads, trace):
    ours, x = built(EncoderLayer, WIDTH, heads, 20), tokens(5)
    theirs = nn.TransformerEncoderLayer(WIDTH, heads, 20, 0.0, activation="gelu", batch_first=True).double()
    pairs = [
        (theirs.self_attn.out_proj, ours.attention.output),
        (theirs.linear1, ours.feed_forward[0]),
        (theirs.linear2, ours.feed_forward[3]),
        (theirs.norm1, ours.attention_norm),
        (theirs.norm2, ours.feed_forward_norm),
    ]
    stacked = (ours.attention.query, ours.attention.key, ours.attention.value)
    theirs.self_attn.in_proj_weight.data = torch.cat([p.weight.data for p in stacked])
    theirs.self_attn.in_proj_bias.data = torch.cat([p.bias.data for p in stacked])
    for their, our in pairs:
        their.load_state_dict(our.state_dict())
    direction = tokens(6)
    results = []
    for layer in (lambda t: ours(t, trace=trace).tokens, lambda t: theirs(t[None])[0]):
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        (out * direction).sum().backward()
        results.append((out, leaf.grad))
    for mine, expected in zip(*results):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)
    gradients = [(theirs.self_attn.in_proj_weight.grad, torch.cat([p.weight.grad for p in stacked]))]
    gradients += [(theirs.self_attn.in_proj_bias.grad, torch.cat([p.bias.grad for p in stacked]))]
    gradients += [(their.weight.grad, our.weight.grad) for their, our in pairs]
    gradients += [(their.bias.grad, our.bias.grad) for their, our in pairs]
    for expected, mine in gradients:
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


def test_encoder_layer_starts_as_torchs():
    """The same ranges and zeros: standard deviations of 4,096 and more uniform numbers, within 6 %."""
    torch.manual_seed(0)
    ours, theirs = EncoderLayer(64, 4), nn.TransformerEncoderLayer(64, 4, 256)
    stacked = torch.cat([ours.attention.query.weight, ours.attention.key.weight, ours.attention.value.weight])
    pairs = [
        (stacked, theirs.self_attn.in_proj_weight),
        (ours.attention.output.weight, theirs.self_attn.out_proj.weight),
    ]
    for mine, expected in [*pairs, (ours.feed_forward[0].weight, theirs.linear1.weight)]:
        assert mine.std().item() == pytest.approx(expected.std().item(), rel=0.06)
    for projection in (ours.attention.query, ours.attention.key, ours.attention.value, ours.attention.output):
        assert not projection.bias.any()


@pytest.mark.parametrize("groups", [1, 3])
def test_softmax_weights_are_those_applied(groups):
    """The traced path against torch's fused attention, and its weights against the values that they mix."""
    attention, x = built(DotProductAttention, WIDTH, 2), tokens(7)
    fused, none = attention(x, groups)
    explicit, weights = attention(x, groups, trace=True)
    assert none is None
    torch.testing.assert_close(explicit, fused, rtol=0, atol=1e-12)
    values = attention.value(x).unflatten(1, (2, -1))
    mixed = torch.einsum("hij,jhd->ihd", weights, values).flatten(1)
    torch.testing.assert_close(attention.output(mixed), fused, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, N).double())


@pytest.mark.parametrize("block", [TransFusionLayer, EncoderLayer])
def test_groups_are_batches_of_their_own(block):
    layer, x = built(block, WIDTH, 2), tokens(8)
    grouped = layer(x, 3, trace=True)
    alone = [layer(part, trace=True) for part in x.chunk(3)]
    torch.testing.assert_close(grouped.tokens, torch.cat([part.tokens for part in alone]), rtol=0, atol=1e-12)
    for head in range(2):
        expected = torch.block_diag(*(part.weights[head] for part in alone))
        torch.testing.assert_close(grouped.weights[head], expected, rtol=0, atol=1e-12)
    assert (grouped.tokens - layer(x).tokens).abs().max() > 1e-3, "joint attention should differ"


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), heads=st.sampled_from([1, 2]), groups=st.sampled_from([1, 2, 3]))
def test_cosine_weights_have_unit_rows_and_zero_diagonal(seed, heads, groups):
    attention, x = built(CosineReluAttention, 4, heads, seed=seed), tokens(seed, 6, 4)
    weights = attention.weights(attention.reading(x), groups)
    assert bool((weights >= 0).all())
    assert not weights.diagonal(dim1=-2, dim2=-1).any()
    sums = weights.sum(-1)
    assert bool((((sums - 1).abs() < 1e-12) | (sums == 0)).all())


def test_single_rows_have_no_neighbours():
    """Groups of one row: nothing to attend to, and nothing undefined."""
    layer, x = built(TransFusionLayer, WIDTH, 2), tokens(9, rows=3)
    mixed = layer(x, 3, trace=True)
    assert not mixed.weights.any()
    torch.testing.assert_close(mixed.tokens, layer.norm(x) + layer.attention.output.bias)
    torch.testing.assert_close(built(EncoderLayer, WIDTH)(x, 3, trace=True).weights, torch.eye(3).double()[None])


def test_affinities_do_not_change_under_autocast():
    """Queries, keys, cosines and row sums stay in float32; bfloat16 would be off by about 1e-2."""
    torch.manual_seed(0)
    attention, x = CosineReluAttention(WIDTH, 2), tokens(10).float()
    expected = attention.weights(attention.reading(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reading = attention.reading(x)
        torch.testing.assert_close(attention.weights(reading), expected, rtol=0, atol=1e-6)
        assert attention(x).dtype == torch.bfloat16
    assert reading.queries.dtype == torch.float32


def test_networks_in_bfloat16_normalize_in_float32():
    """A whole network in bfloat16: row sums that bfloat16 would miss by up to 4e-3, and its own, larger cut."""
    torch.manual_seed(0)
    layer = TransFusionLayer(WIDTH, 2).to(torch.bfloat16)
    mixed = layer(tokens(13).bfloat16(), trace=True)
    assert mixed.reading.queries.dtype == torch.float32
    assert mixed.tokens.dtype == torch.bfloat16
    assert bool(torch.isfinite(mixed.tokens).all())
    torch.testing.assert_close(mixed.weights.sum(-1), torch.ones(2, N), rtol=0, atol=1e-6)
    cosines = mixed.reading.cosines()
    small = (cosines > 0) & (cosines <= 5e-2) & ~torch.eye(N, dtype=torch.bool)
    assert bool(small.any())
    assert not mixed.weights[small].any()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    x = tokens(11)
    for layer in (EncoderLayer(WIDTH, 2, dropout=0.5), TransFusionLayer(WIDTH, feed_forward=16, dropout=0.5)):
        layer = layer.double()
        for trace in (False, True):
            assert not torch.equal(layer(x, trace=trace).tokens, layer(x, trace=trace).tokens)
        layer.eval()
        assert torch.equal(layer(x).tokens, layer(x).tokens)


def test_attention_weights_are_dropped_in_training_on_both_paths():
    attention = built(DotProductAttention, WIDTH, 2, 0.5)
    for trace in (False, True):
        out, weights = attention(tokens(12), trace=trace)
        assert (out - attention.eval()(tokens(12))[0]).abs().max() > 1e-3
        attention.train()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, N).double())


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: CosineReluAttention(6, 4), "width"),
        (lambda: CosineQueryKey(0), "width"),
        (lambda: DotProductAttention(6, 0), "num_heads"),
        (lambda: DotProductAttention(6, 1, 1.0), "dropout"),
        (lambda: EncoderLayer(6, feed_forward=0), "feed_forward"),
        (lambda: TransFusionLayer(6, feed_forward=0), "feed_forward"),
        (lambda: TransFusionLayer(6, feed_forward=2, dropout=-0.1), "dropout"),
        (lambda: TransFusionLayer(8)(tokens().float(), 5), "groups"),
        (lambda: EncoderLayer(8)(tokens().float(), 0), "groups"),
        (lambda: CosineReluAttention(8).weights(Reading.of_tokens(tokens()), 7), "groups"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=f"^{names}"):
        call()

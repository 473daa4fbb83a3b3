import copy

import numpy as np
import pytest
import torch
from torch import nn

from models.cifar.benchmark.pipelines import random_images
from models.cifar.methods.gradient_cache import cached_backward
from models.cifar.methods.settings import MoCo, MoCoFeatureTransform, MomentumContrast, SimCLR, TransFusion
from models.cifar.training.state import start
from models.cifar.training.train import make_batch, training_step
from models.encoders import EncoderConfig, build_encoder
from models.losses import nt_xent
from tests.stand_in import ACCELERATORS, accelerator
from tests.stand_in.steps import IMAGES, configuration


def images(n=8, size=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 3, size, size)))


class Network(nn.Module):
    """An encoder with dropout, and a head."""

    def __init__(self, norm="group", dropout=0.0):
        super().__init__()
        self.encoder = build_encoder(EncoderConfig(norm=norm, width=4), torch.Generator().manual_seed(0))
        self.dropout = nn.Dropout(dropout)
        torch.manual_seed(1)
        self.head = nn.Linear(self.encoder.feature_dim, 5)

    def forward(self, x):
        return self.head(self.dropout(self.encoder(x)))


def network(**options):
    return Network(**options).double()


def pairs(features):
    """NT-Xent of the first half against the second."""
    return nt_xent(*features.chunk(2), 0.3)


def gradients(module):
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def uncached(module, chunks, loss_of=pairs):
    """All graphs kept: the slow, obvious way."""
    loss = loss_of(torch.cat([module(chunk) for chunk in chunks]))
    loss.backward()
    return loss.detach(), gradients(module)


def cached(module, chunks, loss_of=pairs):
    loss = cached_backward(module, chunks, loss_of)
    return loss, gradients(module)


EXACT = {"rtol": 0, "atol": 1e-12}


@pytest.mark.parametrize("lengths", [(8,), (4, 4), (3, 5), (1, 1, 1, 1, 1, 1, 1, 1), (5, 2, 1)])
def test_gradients_are_those_of_the_whole_batch(lengths):
    module, x = network(), images()
    whole = uncached(copy.deepcopy(module), [x])
    assert all(gradient.abs().max() > 1e-6 for gradient in whole[1].values())
    parts = cached(module, list(x.split(lengths)))
    torch.testing.assert_close(parts, whole, **EXACT)
    assert not parts[0].requires_grad


def test_gradients_are_added_to_what_is_there():
    module, chunks = network(), list(images().split(4))
    expected = uncached(copy.deepcopy(module), chunks)[1]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    cached(module, chunks)
    torch.testing.assert_close(gradients(module), {name: 1 + each for name, each in expected.items()}, **EXACT)


def test_a_loss_of_chunks_alone_would_not_do():
    """The check can fail: pairs within chunks have another gradient."""
    module, chunks = network(), list(images().split(4))
    expected = uncached(copy.deepcopy(module), chunks)[1]
    for chunk in chunks:
        (pairs(module(chunk)) / 2).backward()
    worst = max((gradients(module)[name] - each).abs().max() for name, each in expected.items())
    assert worst > 1e-3


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_dropout_is_replayed(norm):
    module, chunks = network(norm=norm, dropout=0.5), list(images().split((3, 5)))
    other = copy.deepcopy(module)

    def loss_of(features):
        return pairs(features + 0.1 * torch.randn(features.shape, dtype=features.dtype))

    torch.manual_seed(2)
    expected = uncached(other, chunks, loss_of)
    after = torch.rand(3)
    torch.manual_seed(2)
    found = cached(module, chunks, loss_of)
    torch.testing.assert_close(found, expected, **EXACT)
    assert torch.equal(torch.rand(3), after), "random numbers go on as without a cache"
    torch.manual_seed(3)
    other.zero_grad()
    assert (uncached(other, chunks, loss_of)[0] - found[0]).abs() > 1e-3, "dropout matters here"


@pytest.mark.parametrize("wrap", [lambda module: module, lambda module: lambda x: module(x)])
def test_batch_norm_is_updated_once_an_image(wrap):
    """Also where encode is a function that only calls modules."""
    module, chunks = network(norm="batch"), list(images().split((3, 5)))
    other = copy.deepcopy(module)
    expected = uncached(other, chunks)
    loss = cached_backward(wrap(module), chunks, pairs)
    torch.testing.assert_close((loss, gradients(module)), expected, **EXACT)
    mine, theirs = dict(module.named_buffers()), dict(other.named_buffers())
    assert mine["encoder.norm.num_batches_tracked"] == 2, "once a chunk"
    torch.testing.assert_close(mine, theirs, **EXACT)
    # The second of two passes over a batch moves the statistics on: one pass too many would show.
    with torch.no_grad():
        other(chunks[0])
    assert (mine["encoder.norm.running_var"] - other.encoder.norm.running_var).abs().max() > 1e-3


class Counting(nn.Module):
    """Counts rows in a buffer that each call replaces by a new one."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen = self.seen + len(x)
        return self.linear(x)


def test_buffers_that_are_replaced_are_put_back_too():
    module = Counting()
    cached_backward(module, [torch.ones(2, 4), torch.ones(3, 4)], lambda features: features.square().sum())
    assert module.seen == 5
    assert module.seen is module.get_buffer("seen")


def test_parameters_of_the_loss_learn_too():
    module, chunks = network(), list(images().split(4))
    temperature = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def loss_of(features):
        return (features @ features.T / temperature).logsumexp(1).mean()

    uncached(copy.deepcopy(module), chunks, loss_of)
    expected, temperature.grad = temperature.grad, None
    cached(module, chunks, loss_of)
    torch.testing.assert_close(temperature.grad, expected, **EXACT)


def test_autocast_does_not_cut_the_second_pass_off():
    """Narrowed weights are cached by autocast; cached without a graph they would leave weights without gradient."""
    module, x = network().float(), images().float()
    other = copy.deepcopy(module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = uncached(other, list(x.split(4)), lambda features: pairs(features.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cached(module, list(x.split(4)), lambda features: pairs(features.float()))
    torch.testing.assert_close(found[0], expected[0])
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).abs().max() <= 0.03 * gradient.abs().max(), name


# Each computes something in float32 that autocast would narrow: scores of a queue, inner products, cosines.
@pytest.mark.parametrize(
    "method",
    [MoCo(queue_size=13), MoCoFeatureTransform(queue_size=13), SimCLR(normalize=False), TransFusion()],
    ids=lambda method: method.name,
)
def test_one_chunk_in_half_precision_has_the_gradient_of_the_whole_batch(method):
    """Of a step of the trainer, whose plain backward pass is not under autocast."""
    found = []
    for chunk in (None, 2 * IMAGES):
        config = configuration(method, chunk, "small", precision="bf16")
        state = start(config, torch.device("cpu"))
        state.learner.train()
        if isinstance(method, MomentumContrast):
            rows = np.random.default_rng(0).standard_normal((13, state.learner.queue.dim))
            state.learner.queue.enqueue(torch.from_numpy(rows).float())
        batch = make_batch(config, random_images(IMAGES, 8), torch.arange(IMAGES), 0, 0)
        loss = training_step(state, state.learner, batch).loss
        each = gradients(state.learner.trained).values()
        found.append((loss, torch.cat([gradient.flatten() for gradient in each if gradient is not None])))
    (plain, expected), (chunked, gradient) = found
    assert chunked == plain
    assert (gradient - expected).norm() <= 1e-6 * expected.norm()


class Kept:
    """A tensor that a graph keeps for its backward pass; the class counts how many numbers are kept at a time."""

    alive = most = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Kept.alive += tensor.numel()
        Kept.most = max(Kept.most, Kept.alive)

    def __del__(self):
        Kept.alive -= self.tensor.numel()


def test_one_graph_is_alive_at_a_time():
    module, x, most = network(), images(), {}

    def encode(chunk):
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            return module.encoder(chunk).square()

    for lengths in ((2,), (8,), (2, 2, 2, 2)):
        Kept.most = 0
        cached_backward(encode, list(x[: sum(lengths)].split(lengths)), lambda features: features.square().sum())
        assert Kept.alive == 0
        most[lengths] = Kept.most
    assert most[2, 2, 2, 2] == most[(2,)]
    assert most[(8,)] > 2 * most[(2,)]


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_dropout_on_an_accelerator_is_replayed(kind):
    with accelerator(kind) as device:
        module, chunks = network(dropout=0.5).to(device), list(images().to(device).split((3, 5)))
        torch.manual_seed(2)
        expected = uncached(copy.deepcopy(module), chunks)
        torch.manual_seed(2)
        torch.testing.assert_close(cached(module, chunks), expected, rtol=0, atol=1e-10)


def test_hooks_and_buffers_are_put_back_when_encode_fails():
    module = Counting()

    def encode(chunk):
        module(chunk)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cached_backward(encode, [torch.ones(2, 4)], pairs)
    assert module.seen == 0
    assert not nn.modules.module._global_forward_pre_hooks


def grows():
    """An encoder whose features have one row more each time."""
    calls = []

    def encode(chunk):
        calls.append(chunk)
        return torch.ones(len(calls), 2, requires_grad=True) * 2

    return encode


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: cached_backward(network(), [], pairs), "chunks"),
        (lambda: cached_backward(network(), [images()], lambda features: features.sum(1)), "loss_of"),
        (lambda: cached_backward(network(), [images()], lambda features: torch.ones(())), "loss_of"),
        (lambda: cached_backward(network(), [images()], lambda features: pairs(features.detach())), "loss_of"),
        (lambda: cached_backward(grows(), [images()], lambda features: features.sum()), "encode"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()

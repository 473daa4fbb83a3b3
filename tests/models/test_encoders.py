from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.cifar.methods.learners import build_learner
from models.cifar.methods.settings import METHODS
from models.encoders import EncoderConfig, EncoderKind, NormKind, build_encoder
from models.heads import HeadConfig, HeadKind, count_parameters

KINDS, NORMS = get_args(EncoderKind), get_args(NormKind)
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "small": (1, 1, 1)}


def images(n=4, size=8, channels=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, channels, size, size)))


def encoder(kind="small", seed=0, **options):
    config = EncoderConfig(kind=kind, **{"width": 4, **options})
    return build_encoder(config, torch.Generator().manual_seed(seed)).double()


def by_hand(kind, width, channels=3):
    """Weights of convolutions, and two numbers a channel for the normalization after each."""
    total, inputs = 9 * channels * width + 2 * width, width
    for stage, depth in enumerate(DEPTHS[kind]):
        c = width * 2**stage
        outputs = 4 * c if kind == "resnet50" else c
        for index in range(depth):
            if kind == "resnet50":
                total += (inputs * c + 2 * c) + (9 * c * c + 2 * c) + (c * outputs + 2 * outputs)
            else:
                total += (9 * inputs * c + 2 * c) + (9 * c * c + 2 * c)
            if index == 0 and (stage > 0 or inputs != outputs):
                total += inputs * outputs + 2 * outputs
            inputs = outputs
    return total


def test_parameters_are_counted():
    # Known for the CIFAR stem, each with a classifier of ten classes.
    for kind, known, features in (
        ("resnet18", 11_173_962, 512),
        ("resnet34", 21_282_122, 512),
        ("resnet50", 23_520_842, 2048),
    ):
        assert by_hand(kind, 64) == known - 10 * (features + 1)
    for kind in KINDS:
        for norm in NORMS:
            count = count_parameters(build_encoder(EncoderConfig(kind, norm=norm)))
            assert count == by_hand(kind, 16 if kind == "small" else 64), kind
        assert count_parameters(encoder(kind, width=6, in_channels=2)) == by_hand(kind, 6, 2)


@pytest.mark.parametrize(
    ("kind", "feature_dim"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("small", 64)]
)
def test_default_feature_dimensions(kind, feature_dim):
    assert build_encoder(EncoderConfig(kind)).feature_dim == feature_dim


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [8, 20, 64])
def test_shapes(kind, norm, size):
    network = encoder(kind, norm=norm, in_channels=2)
    widths = {"resnet18": 8, "resnet34": 8, "resnet50": 32, "small": 4}
    stages = []
    for block in network.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: stages.append(output.shape[-1]))
    features = network(images(2, size, 2))
    assert features.shape == (2, network.feature_dim) == (2, 4 * widths[kind])
    expected = [-(-size // 2**stage) for stage, depth in enumerate(DEPTHS[kind]) for _ in range(depth)]
    assert stages == expected


def reference(network, kind, x, stem_stride=1, pool_size=1):
    """Evaluation from the state dict, one operation after the other."""
    state = network.state_dict()

    def convolve(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def normalize(x, name):
        mean, variance, scale, shift = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = normalize(convolve(x, "conv", stem_stride), "norm").clamp_min(0)
    number = 0
    for stage, depth in enumerate(DEPTHS[kind]):
        for index in range(depth):
            name, stride = f"blocks.{number}", 2 if stage > 0 and index == 0 else 1
            number += 1
            strides = (1, stride, 1) if kind == "resnet50" else (stride, 1)
            hidden = x
            for layer, each in enumerate(strides, start=1):
                hidden = normalize(convolve(hidden, f"{name}.conv{layer}", each), f"{name}.norm{layer}")
                hidden = hidden.clamp_min(0) if layer < len(strides) else hidden
            if f"{name}.shortcut.0.weight" in state:
                x = normalize(convolve(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
            x = (hidden + x).clamp_min(0)
    if "widening.0.weight" in state:
        x = normalize(convolve(x, "widening.0"), "widening.1").clamp_min(0)
    # numpy's own parts of rows and columns: as equal as they can be, larger ones first.
    rows = np.array_split(x.detach().numpy(), pool_size, 2)
    parts = [part for row in rows for part in np.array_split(row, pool_size, 3)]
    return torch.from_numpy(np.concatenate([part.mean((2, 3)) for part in parts], 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"stem_stride": 2, "features": 5}, {"pool_size": 2}], ids=["usual", "strided and widened", "pooled"]
)
def test_the_network_is_its_formula(kind, options):
    network = encoder(kind, **options)
    for _ in range(3):
        network(images(8, 9, seed=1))
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.rand(
            parameter.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
    network.eval()
    # Odd sizes tell strides and paddings apart.
    sizes = {name: value for name, value in options.items() if name != "features"}
    expected = reference(network, kind, images(3, 9), **sizes)
    assert expected.std() > 1e-3
    assert expected.shape == (3, network.feature_dim)
    torch.testing.assert_close(network(images(3, 9)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_see_each_other_by_batch_norm_in_training_only(kind):
    for norm in NORMS:
        for training in (True, False):
            network = encoder(kind, norm=norm).train(training)
            alone, together = network(images(8)[:3]), network(images(8))[:3]
            moved = (alone - together).abs().max()
            assert (moved > 1e-3) if norm == "batch" and training else (moved < 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"stem_stride": 2, "features": 8}], ids=["usual", "strided and widened"])
def test_every_parameter_learns(kind, norm, options):
    network, x = encoder(kind, norm=norm, **options), images(size=17).requires_grad_()
    features = network(x)
    (torch.randn(features.shape, generator=torch.Generator().manual_seed(1)) * features).sum().backward()
    for name, values in (("images", x), *network.named_parameters()):
        assert bool(torch.isfinite(values.grad).all()), name
        assert values.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_start_as_their_shortcuts(kind, norm):
    network = encoder(kind, norm=norm, zero_last_norm=True)
    x = torch.rand(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = network.blocks[0]
    torch.testing.assert_close(first(x), first.shortcut(x).clamp_min(0), rtol=0, atol=0)
    network(images()).sum().backward()
    for block in network.blocks:
        assert not block.last_norm.weight.any()
        assert bool(block.last_norm.weight.grad.any()), "it must be able to leave zero"
        assert bool(block.norm1.weight.all())
    assert all(bool(block.last_norm.weight.all()) for block in encoder(kind, norm=norm).blocks)


def test_groups_divide_the_channels_and_hold_at_least_four():
    for width, stages in ((16, (4, 8, 16)), (64, (16, 32, 32)), (6, (1, 3, 6)), (3, (1, 1, 3)), (5, (1, 2, 5))):
        network = encoder(norm="group", width=width)
        assert tuple(block.norm1.num_groups for block in network.blocks) == stages


@pytest.mark.parametrize("kind", KINDS)
def test_weights_have_the_variance_that_keeps_gradients(kind):
    """2 / (outputs x pixels of the kernel), He et al., arXiv 1502.01852."""
    for module in encoder(kind, width=24).modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 2000:
            fan = module.out_channels * module.kernel_size[0] ** 2
            # The variance of m normal draws has a relative spread of sqrt(2/m).
            tolerance = 5 * (2 / module.weight.numel()) ** 0.5
            assert float(module.weight.detach().var() * fan / 2) == pytest.approx(1, abs=tolerance)


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (encoder(seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["conv.weight"], other["conv.weight"])
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(build_encoder(EncoderConfig()).conv.weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_an_encoder_has_memory_on_meta(kind, norm):
    """As of networks that a file only claims to have the weights of."""
    config = EncoderConfig(kind, width=8, norm=norm, features=8, zero_last_norm=True)
    with torch.device("meta"):
        there = build_encoder(config)
    named = [*there.named_parameters(), *there.named_buffers()]
    assert {name for name, value in named if not value.is_meta} == set()
    here, generator = build_encoder(config, torch.Generator().manual_seed(5)), torch.Generator().manual_seed(5)
    for (name, value), (other, claimed) in zip(here.state_dict().items(), there.state_dict().items(), strict=True):
        assert (name, value.shape, value.device.type) == (other, claimed.shape, "cpu")
        if value.ndim == 4:
            scale = (2.0 / (value.numel() / value.shape[1])) ** 0.5
            assert torch.equal(value, torch.empty(value.shape).normal_(0.0, scale, generator=generator)), name


@pytest.mark.parametrize("head", get_args(HeadKind))
@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_a_learner_has_memory_on_meta(method, head):
    """Queues and slow copies included."""
    with torch.device("meta"):
        learner = build_learner(METHODS[method](), EncoderConfig(), HeadConfig(head), torch.Generator("cpu"), 8)
    named = [*learner.named_parameters(), *learner.named_buffers()]
    assert {name for name, value in named if not value.is_meta} == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_channels_last_is_contiguous_to_rounding(kind, norm):
    x, network = images(size=16), encoder(kind, norm=norm)
    expected = network(x)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        again = encoder(kind, norm=norm).to(memory_format=memory_format)
        torch.testing.assert_close(again(x.to(memory_format=torch.channels_last)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_gradients_of_narrow_encoders_in_channels_last_are_those_of_double_precision(width):
    # float32 is what oneDNN computes, in kernels that depend on the number of channels.
    x = images(size=16).double()
    exact = build_encoder(EncoderConfig("small", width=width), torch.Generator().manual_seed(0)).double()
    network = build_encoder(EncoderConfig("small", width=width), torch.Generator().manual_seed(0))
    network = network.to(memory_format=torch.channels_last)
    exact(x).square().sum().backward()
    network(x.float().to(memory_format=torch.channels_last)).square().sum().backward()
    for (name, parameter), (_, other) in zip(exact.named_parameters(), network.named_parameters()):
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(other.grad.double(), parameter.grad, rtol=0, atol=2e-3 * scale, msg=name)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_is_finite(kind, norm):
    network = encoder(kind, norm=norm).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network(images().float())
    features.float().square().sum().backward()
    assert bool(torch.isfinite(features).all())
    for name, parameter in network.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_the_small_encoder_learns_on_a_cpu():
    """Stripes across against stripes along, 30 steps; a network that ignores its images stays at ln 2."""
    generator = torch.Generator().manual_seed(0)
    network = build_encoder(EncoderConfig(width=4), generator)
    readout = torch.nn.utils.skip_init(torch.nn.Linear, network.feature_dim, 1)
    torch.nn.init.zeros_(readout.weight), torch.nn.init.zeros_(readout.bias)
    labels = torch.arange(32) % 2
    waves = torch.sin(torch.arange(8) * 1.5)
    stripes = torch.where(labels[:, None, None] == 1, waves[None, :, None], waves[None, None, :]).expand(32, 8, 8)
    x = stripes[:, None] + 0.3 * torch.randn(32, 3, 8, 8, generator=generator)
    optimizer = torch.optim.SGD([*network.parameters(), *readout.parameters()], lr=0.1, momentum=0.9)
    for _ in range(30):
        loss = functional.binary_cross_entropy_with_logits(readout(network(x))[:, 0], labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * np.log(2)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: EncoderConfig(kind="vgg"), "kind"),
        (lambda: EncoderConfig(norm="layer"), "norm"),
        (lambda: EncoderConfig(width=0), "width"),
        (lambda: EncoderConfig(in_channels=0), "in_channels"),
        (lambda: EncoderConfig(stem_stride=0), "stem_stride"),
        (lambda: EncoderConfig(stem_stride=3), "stem_stride"),
        (lambda: EncoderConfig(features=0), "features"),
        (lambda: EncoderConfig(pool_size=0), "pool_size"),
        (lambda: EncoderConfig(pool_size=17), "pool_size"),
        (lambda: encoder(pool_size=3)(images(size=8)), "pool_size"),
        (lambda: encoder()(images()[0]), "images"),
        (lambda: encoder()(images(channels=1)), "images"),
        (lambda: encoder()(images()[:0]), "images"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()

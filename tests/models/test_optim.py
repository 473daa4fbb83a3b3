import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.encoders import EncoderConfig, build_encoder
from models.optim import (
    Lars,
    OptimizerConfig,
    build_optimizer,
    gradient_norm,
    learning_rate,
    parameter_groups,
    restore_optimizer,
    set_learning_rate,
)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class Parts(nn.Module):
    """Every sort of parameter, one of them shared, one frozen, one that the loss does not use."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.batch_norm, self.group_norm = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.linear, self.tied = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.tied.weight = self.linear.weight
        self.layer_norm = nn.LayerNorm((2, 2))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.unused = nn.Parameter(torch.ones(2, 3))

    def forward(self, x):
        x = self.group_norm(self.batch_norm(self.conv(x))).mean((2, 3))
        x = self.tied(self.linear(x)).reshape(-1, 2, 2)
        return (self.layer_norm(x) ** 3).sum() * self.temperature


def parts(seed=0):
    torch.manual_seed(seed)
    return Parts().double()


DECAYED = ["unused", "conv.weight", "linear.weight"]
PLAIN = [
    "temperature",
    "conv.bias",
    "batch_norm.weight",
    "batch_norm.bias",
    "group_norm.weight",
    "group_norm.bias",
    "linear.bias",
    "layer_norm.weight",
    "layer_norm.bias",
]


def test_biases_and_norms_are_not_decayed():
    module = parts()
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, plain = parameter_groups(module, 0.1)
    assert [names[id(parameter)] for parameter in decayed["params"]] == DECAYED
    assert [names[id(parameter)] for parameter in plain["params"]] == PLAIN
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert (decayed["adapt"], plain["adapt"]) == (True, False)


def test_groups_cover_an_encoder_and_leave_out_empty_ones():
    for norm in ("batch", "group"):
        encoder = build_encoder(EncoderConfig(norm=norm))
        decayed, plain = parameter_groups(encoder, 0.1)
        convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
        assert len(decayed["params"]) == len(convolutions)
        assert len(plain["params"]) == 2 * len(convolutions), "a normalization after each, of two vectors"
    assert [group["weight_decay"] for group in parameter_groups(nn.Linear(2, 2, bias=False), 0.3)] == [0.3]
    assert [group["weight_decay"] for group in parameter_groups(nn.BatchNorm1d(2), 0.3)] == [0.0]


def lars_by_loops(weights, gradients, rates, momentum, decay, eta, nesterov, adapt):
    """One parameter, as a flat list of numbers, through all steps."""
    weights, velocity = [float(w) for w in weights], [0.0] * len(weights)
    for gradient, rate in zip(gradients, rates):
        update = [float(g) + decay * w for g, w in zip(gradient, weights)]
        size, slope = math.sqrt(sum(w * w for w in weights)), math.sqrt(sum(u * u for u in update))
        trust = eta * size / slope if adapt and size > 0 and slope > 0 else 1.0
        for i, u in enumerate(update):
            velocity[i] = momentum * velocity[i] + rate * trust * u
            weights[i] -= momentum * velocity[i] + rate * trust * u if nesterov else velocity[i]
    return weights


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lars_is_its_loop(nesterov, adapt, decay):
    start, gradients, rates = random(3, 2), [random(3, 2, seed=seed) for seed in range(1, 6)], [1, 0.5, 2, 0.1, 1]
    weight = nn.Parameter(start.clone())
    group = {"params": [weight], "weight_decay": decay, "adapt": adapt}
    optimizer = Lars([group], lr=9.0, momentum=0.8, eta=0.05, nesterov=nesterov)
    for step, (gradient, rate) in enumerate(zip(gradients, rates), start=1):
        set_learning_rate(optimizer, rate)
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(weight.grad, gradient)
        numbers = [each.flatten().numpy() for each in gradients[:step]]
        expected = lars_by_loops(start.flatten().numpy(), numbers, rates, 0.8, decay, 0.05, nesterov, adapt)
        np.testing.assert_allclose(weight.detach().flatten().numpy(), expected, rtol=1e-12, atol=1e-13)


def test_lars_treats_a_network_by_its_groups():
    module = parts()
    config = OptimizerConfig(kind="lars", learning_rate=0.4, momentum=0.7, weight_decay=0.2)
    optimizer = build_optimizer(config, module)
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    gradients = {name: [] for name in start}
    for step in range(3):
        optimizer.zero_grad()
        module(random(5, 3, 4, 4, seed=step)).backward()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                gradients[name].append(parameter.grad.flatten().numpy().copy())
        optimizer.step()
    for name, parameter in module.named_parameters():
        expected = start[name].flatten().numpy()
        if name not in ("unused", "frozen.weight", "frozen.bias"):
            decay = 0.2 if name in DECAYED else 0.0
            expected = lars_by_loops(expected, gradients[name], [0.4] * 3, 0.7, decay, 0.001, False, name in DECAYED)
            assert np.abs(expected - start[name].flatten().numpy()).max() > 1e-9
        np.testing.assert_allclose(parameter.detach().flatten().numpy(), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("start", "gradient", "decay"), [(0.0, 2.0, 0.1), (2.0, 0.0, 0.0)])
def test_zero_norms_have_trust_one(start, gradient, decay):
    weight = nn.Parameter(torch.full((3,), start, dtype=torch.float64))
    weight.grad = torch.full_like(weight, gradient)
    Lars([weight], lr=0.5, weight_decay=decay).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), start - 0.5 * gradient, dtype=torch.float64))


def test_the_first_step_has_the_length_of_the_weights():
    """|step| = r eta |w|, whatever the gradient's scale."""
    for scale in (1e-6, 1.0, 1e6):
        weight = nn.Parameter(random(4, 5))
        before = weight.detach().clone()
        weight.grad = scale * random(4, 5, seed=1)
        Lars([weight], lr=2.0).step()
        assert float((weight.detach() - before).norm()) == pytest.approx(2.0 * 0.001 * float(before.norm()), rel=1e-9)


def test_lars_without_adaptation_is_sgd_at_a_constant_rate():
    ours, theirs = nn.Parameter(random(3, 2)), nn.Parameter(random(3, 2))
    optimizers = [
        Lars([{"params": [ours], "adapt": False}], lr=0.1, momentum=0.9, weight_decay=0.2),
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.2),
    ]
    for step in range(4):
        for weight, optimizer in zip((ours, theirs), optimizers):
            weight.grad = random(3, 2, seed=step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lars"])
def test_resuming_goes_on_exactly(kind):
    config = OptimizerConfig(kind=kind, nesterov=kind == "sgd")
    module = parts()
    optimizer = build_optimizer(config, module)

    def train(module, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            module(random(5, 3, 4, 4, seed=step)).backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in module.parameters()]

    train(module, optimizer, range(2))
    resumed = copy.deepcopy(module)
    again = build_optimizer(config, resumed)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    first, second = train(module, optimizer, range(2, 5)), train(resumed, again, range(2, 5))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


KINDS = [OptimizerConfig("sgd"), OptimizerConfig("sgd", momentum=0.0), OptimizerConfig("adamw"),
         OptimizerConfig("lars", nesterov=True)]  # fmt: skip


@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.kind} {config.momentum}")
@pytest.mark.parametrize("skipped", [0, 2])
def test_a_skipped_step_leaves_no_trace(config, skipped):
    """Whatever the gradients are, the first step included, and the others are as without it."""
    modules = [parts() for _ in range(2)]
    optimizers = [build_optimizer(config, module) for module in modules]
    for step in range(4):
        for module, optimizer in zip(modules, optimizers):
            optimizer.zero_grad()
            module(random(5, 3, 4, 4, seed=step)).backward()
        if step == skipped:
            before = [parameter.detach().clone() for parameter in modules[1].parameters()]
            for parameter in modules[1].parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(math.nan)
            optimizers[1].found_inf = torch.ones(())
            optimizers[1].step()
            assert all(torch.equal(a, b) for a, b in zip(before, modules[1].parameters()))
            continue
        # Not skipped, in words and without them.
        optimizers[1].found_inf = torch.zeros(())
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(*(module.parameters() for module in modules)):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lars"])
def test_weights_in_channels_last_take_the_same_steps(kind):
    """torch's fused kernels read memory in order, and take for granted that gradients and state have the same."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2)).double()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    for module, layout in ((plain, torch.contiguous_format), (last, torch.channels_last)):
        optimizer = build_optimizer(OptimizerConfig(kind, learning_rate=0.1), module)
        for step in range(3):
            # As a training is resumed.
            restored = build_optimizer(OptimizerConfig(kind, learning_rate=0.1), module)
            restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer = restored
            optimizer.zero_grad()
            images = random(2, 3, 6, 6, seed=step).contiguous(memory_format=layout)
            module(images).sin().sum().backward()
            optimizer.step()
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(plain.parameters(), last.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_state_of_parameters_one_by_one_is_taken_over(kind):
    """As checkpoints of earlier versions hold it."""
    config, modules = OptimizerConfig(kind, learning_rate=0.1), [parts() for _ in range(2)]
    ours = [build_optimizer(config, module) for module in modules]
    # The same steps in the other way, and back.
    one_by_one = type(ours[1])([{**group, "fused": None} for group in parameter_groups(modules[1], 5e-4)], lr=0.1)
    restore = copy.deepcopy(ours[1].state_dict())
    for group in restore["param_groups"]:
        group |= {"fused": None, "foreach": False}
    one_by_one.load_state_dict(restore)
    for step in range(4):
        if step == 2:
            restore_optimizer(ours[1], copy.deepcopy(one_by_one.state_dict()))
            assert all(group["fused"] for group in ours[1].param_groups)
        for module, optimizer in zip(modules, (ours[0], ours[1] if step >= 2 else one_by_one)):
            optimizer.zero_grad()
            module(random(5, 3, 4, 4, seed=step)).backward()
            if step >= 2:
                optimizer.found_inf = torch.zeros(())
            optimizer.step()
    for a, b in zip(*(module.parameters() for module in modules)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="stored: expected 2 groups of parameters, got 1"):
        restore_optimizer(ours[0], torch.optim.SGD(modules[0].parameters(), lr=0.1).state_dict())


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize("layouts", list(itertools.permutations((torch.contiguous_format, torch.channels_last))))
def test_a_state_of_another_memory_layout_is_taken_over(kind, layouts):
    """Fused kernels take the wrong steps, and say nothing, where weights and their state lie in different orders."""
    modules = [nn.Conv2d(3, 4, 3).double().to(memory_format=layout) for layout in layouts]
    first, second = (build_optimizer(OptimizerConfig(kind, learning_rate=0.1), module) for module in modules)

    def step(module, optimizer, seed):
        optimizer.zero_grad()
        module(random(2, 3, 6, 6, seed=seed)).sin().sum().backward()
        optimizer.step()

    step(modules[0], first, 0)
    modules[1].load_state_dict(modules[0].state_dict())
    stored, kept = first.state_dict(), copy.deepcopy(first.state_dict())
    restore_optimizer(second, stored)
    step(modules[1], second, 1)
    torch.testing.assert_close(stored["state"], kept["state"], rtol=0, atol=0)
    step(modules[0], first, 1)
    assert modules[0].weight.stride() != modules[1].weight.stride()
    for a, b in zip(*(module.parameters() for module in modules)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_a_closure_is_run_with_gradients():
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = Lars([weight], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 9.0
    assert float(weight.detach()) == pytest.approx(3 - 0.5 * 0.001 * 3)


def test_kinds_and_options():
    module = parts()
    sgd = build_optimizer(OptimizerConfig(momentum=0.7, learning_rate=0.3, weight_decay=0.1, nesterov=True), module)
    assert type(sgd) is torch.optim.SGD
    assert [(g["lr"], g["momentum"], g["nesterov"]) for g in sgd.param_groups] == [(0.3, 0.7, True)] * 2
    assert [g["weight_decay"] for g in sgd.param_groups] == [0.1, 0.0]
    adamw = build_optimizer(OptimizerConfig(kind="adamw", momentum=0.8, weight_decay=0.1), module)
    assert type(adamw) is torch.optim.AdamW
    assert [(g["betas"], g["weight_decay"]) for g in adamw.param_groups] == [((0.8, 0.999), 0.1), ((0.8, 0.999), 0.0)]
    lars = build_optimizer(OptimizerConfig(kind="lars", momentum=0.8, nesterov=True), module)
    assert [(g["momentum"], g["nesterov"], g["eta"]) for g in lars.param_groups] == [(0.8, True, 0.001)] * 2
    set_learning_rate(sgd, 0.01)
    assert [g["lr"] for g in sgd.param_groups] == [0.01, 0.01]


@given(
    total=st.integers(1, 100),
    share=st.floats(0, 1),
    peak=st.floats(0, 10),
    schedule=st.sampled_from(["cosine", "constant"]),
)
def test_schedules_rise_to_the_peak_and_fall(total, share, peak, schedule):
    warmup = int(share * total)
    rates = [learning_rate(step, total, warmup, peak, schedule) for step in range(total + 1)]
    for step in range(warmup):
        assert rates[step] == pytest.approx((step + 1) * peak / warmup, rel=1e-12)
    assert rates[warmup] == pytest.approx(peak, rel=1e-12)
    after = rates[warmup:]
    if schedule == "constant" or warmup == total:
        assert after == [peak] * len(after)
    else:
        assert rates[-1] == pytest.approx(0, abs=1e-15)
        assert all(a >= b for a, b in itertools.pairwise(after))
        # cos(pi u) is odd about u = 1/2.
        for early, late in zip(after, reversed(after)):
            assert early + late == pytest.approx(peak, rel=1e-12)


def test_the_cosine_at_known_angles():
    rates = [learning_rate(step, 14, 2, 8.0) for step in (2, 5, 6, 8, 10, 11, 14)]
    expected = [8.0, 4 + 2 * math.sqrt(2), 6.0, 4.0, 2.0, 4 - 2 * math.sqrt(2), 0.0]
    assert rates == pytest.approx(expected, abs=1e-14)


WEIGHT = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: OptimizerConfig(kind="adam"), "kind"),
        (lambda: OptimizerConfig(schedule="step"), "schedule"),
        (lambda: OptimizerConfig(learning_rate=0.0), "learning_rate"),
        (lambda: OptimizerConfig(momentum=1.0), "momentum"),
        (lambda: OptimizerConfig(weight_decay=-1.0), "weight_decay"),
        (lambda: OptimizerConfig(warmup_epochs=-1), "warmup_epochs"),
        (lambda: OptimizerConfig(nesterov=True, momentum=0.0), "nesterov"),
        (lambda: Lars([WEIGHT], lr=-1.0), "lr"),
        (lambda: Lars([WEIGHT], lr=1.0, momentum=1.0), "momentum"),
        (lambda: Lars([WEIGHT], lr=1.0, weight_decay=math.nan), "weight_decay"),
        (lambda: Lars([WEIGHT], lr=1.0, eta=0.0), "eta"),
        (lambda: parameter_groups(nn.Linear(2, 2), -0.1), "weight_decay"),
        (lambda: parameter_groups(nn.ReLU(), 0.1), "module"),
        (lambda: learning_rate(0, 0, 0, 1.0), "total_steps"),
        (lambda: learning_rate(0, 5, 6, 1.0), "warmup_steps"),
        (lambda: learning_rate(0, 5, -1, 1.0), "warmup_steps"),
        (lambda: learning_rate(6, 5, 1, 1.0), "step"),
        (lambda: learning_rate(-1, 5, 1, 1.0), "step"),
        (lambda: learning_rate(0, 5, 1, -1.0), "peak"),
        (lambda: learning_rate(0, 5, 1, 1.0, "linear"), "schedule"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()


def test_the_norm_of_all_gradients():
    module = torch.nn.Linear(2, 1)
    module(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert gradient_norm(module).item() == pytest.approx(math.sqrt(9 + 16 + 1))
    module.bias.grad = None
    assert gradient_norm(module).item() == pytest.approx(5.0)
    module.weight.grad *= 1e30
    assert gradient_norm(module).item() == pytest.approx(5e30)
    module.weight.grad[0, 0] = math.nan
    assert math.isnan(gradient_norm(module).item())
    with pytest.raises(ValueError, match="module: no parameter has a gradient"):
        gradient_norm(torch.nn.Linear(2, 1))

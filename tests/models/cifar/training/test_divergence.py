"""What happens to the weights when a loss or a gradient is no longer finite: nothing, from that step on."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.data.images import Splits
from models.cifar.methods.settings import METHODS
from models.cifar.training import train
from models.cifar.training.checkpoint import load_checkpoint
from models.cifar.training.state import start
from models.cifar.training.train import DivergedError, fit, make_batch, relative_fluctuation, training_step
from models.optim import OptimizerConfig
from tests.stand_in.steps import IMAGES, configuration

CPU = torch.device("cpu")


def batch_of(config, step, spoiled=False):
    images = random_images(IMAGES, 8)
    batch = make_batch(config, images, torch.arange(IMAGES), 0, step)
    return replace(batch, first=batch.first * math.nan) if spoiled else batch


def kept(state):
    """Weights and the optimizer's state."""
    numbers = state.optimizer.state_dict()["state"]
    return copy.deepcopy(([p.detach() for p in state.learner.trained.parameters()], numbers))


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_zeros_in_mid_training_have_a_loss_and_gradients(method):
    """A dead layer: the queue has seen zeros too by the second step. With values checked they are named."""
    for check_values in (False, True):
        config = configuration(method, None, "small", check_values=check_values)
        state = start(config, CPU)
        state.learner.train()
        for module in (state.learner, *getattr(state.learner, "copies", ())):
            with torch.no_grad():
                for weight in module.parameters():
                    weight.zero_()
        if check_values and method != "transfusion":
            with pytest.raises(ValueError, match="zero vector"):
                training_step(state, state.learner, batch_of(config, 0))
        for step in range(2 * (not check_values)):
            found = training_step(state, state.learner, batch_of(config, step))
            assert math.isfinite(found.loss)
            assert found.gradient_norm < 1e3
            assert not state.diverged


# fp16's scaler has a switch of its own, by which it skips steps.
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        configuration("simclr", None, "small"),
        configuration("simclr", 5, "small", optimiser=OptimizerConfig("sgd")),
        configuration("moco_ft", None, "small", optimiser=OptimizerConfig("lars")),
        configuration("transfusion", None, "small"),
        configuration("deepfusion", None, "small", check_values=True),
    ],
    ids=lambda config: f"{config.method.name} {config.optimiser.kind}",
)
def test_no_weight_changes_from_the_first_loss_on_that_is_not_finite(config, scaled):
    first = 1
    state = start(config, CPU)
    state.scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=4.0)
    state.learner.train()
    for step in range(first):
        before = kept(state)
        assert math.isfinite(training_step(state, state.learner, batch_of(config, step)).loss)
        assert not all(torch.equal(a, b) for a, b in zip(before[0], kept(state)[0]))
    before = kept(state)
    assert math.isnan(training_step(state, state.learner, batch_of(config, first, spoiled=True)).loss)
    # Nor do the steps after it that nobody has stopped yet.
    training_step(state, state.learner, batch_of(config, first + 1))
    weights, numbers = kept(state)
    assert all(torch.equal(a, b) for a, b in zip(weights, before[0]))
    for number, slots in before[1].items():
        for name, value in slots.items():
            torch.testing.assert_close(numbers[number][name], value, rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_counts():
    config = configuration("simclr", None, "small")
    state = start(config, CPU)
    state.learner.train()
    weight = next(state.learner.head.parameters())
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = kept(state)[0]
    reading = training_step(state, state.learner, batch_of(config, 0))
    assert math.isfinite(reading.loss)
    assert not math.isfinite(reading.gradient_norm)
    assert all(torch.equal(a, b) for a, b in zip(before, kept(state)[0]))


def test_a_step_of_fp16_that_overflows_is_skipped_and_the_next_one_taken():
    """The scaler's own business, and no divergence."""
    config = configuration("simclr", None, "small", optimiser=OptimizerConfig("sgd"))
    state = start(config, CPU)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    state.learner.train()
    weight = next(state.learner.head.parameters())
    weight.register_hook(lambda gradient: gradient * (math.inf if state.scaler.get_scale() > 8.0 else 1.0))
    before = kept(state)[0]
    for step in range(3):
        assert not math.isfinite(training_step(state, state.learner, batch_of(config, step)).gradient_norm)
        assert state.scaler.get_scale() == 64.0 / 2 ** (step + 1)
        assert all(torch.equal(a, b) for a, b in zip(before, kept(state)[0]))
    training_step(state, state.learner, batch_of(config, 3))
    assert state.diverged == 0.0
    assert not all(torch.equal(a, b) for a, b in zip(before, kept(state)[0]))


@pytest.mark.parametrize("read_every", [1, 2, 32])
def test_the_step_is_named_and_the_weights_before_it_are_kept(read_every, tmp_path, monkeypatch):
    """However many steps later the losses are read."""
    config = configuration("simclr", None, "small", epochs=1)
    monkeypatch.setattr(train, "READ_EVERY", read_every)
    true, weights = train.training_step, []

    def spoiling(state, network, batch):
        weights.append(kept(state)[0])
        spoiled = replace(batch, second=batch.second * math.nan) if len(weights) == 3 else batch
        return true(state, network, spoiled)

    monkeypatch.setattr(train, "training_step", spoiling)
    part = random_images(5 * IMAGES, 8)
    with pytest.raises(DivergedError, match="the loss is not finite at epoch 1, step 3; "):
        fit(config, Splits(part, part, part), CPU, tmp_path)
    assert len(weights) == min(5, math.ceil(3 / read_every) * read_every)
    learner = start(config, CPU).learner
    learner.load_state_dict(load_checkpoint(tmp_path / "diverged.pt")["learner"])
    assert all(torch.equal(a, b) for a, b in zip(weights[2], learner.trained.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(weights[1], learner.trained.parameters()))


def test_fluctuation_is_from_step_to_step():
    rng = np.random.default_rng(0)
    # Independent values have their own relative deviation, also on top of a trend that doubles them slowly.
    values = 3.0 * (1.0 + 0.05 * rng.standard_normal(20_000))
    assert relative_fluctuation(list(values)) == pytest.approx(0.05, rel=0.03)
    slow = np.linspace(2.0, 4.0, 20_000)
    assert relative_fluctuation(list(slow)) < 1e-4
    assert relative_fluctuation(list(values / 3.0 * slow)) == pytest.approx(0.05, rel=0.05)
    assert relative_fluctuation([1.0, 3.0, 1.0]) == pytest.approx(np.sqrt(2.0) / (5.0 / 3.0))
    assert relative_fluctuation([1.0, math.inf, 3.0]) == pytest.approx(np.sqrt(2.0) / 2.0), "fp16 skips a step"
    assert relative_fluctuation([2.0, 2.0, 2.0]) == 0.0
    for empty in ([], [1.0], [math.inf, 1.0], [0.0, 0.0]):
        assert math.isnan(relative_fluctuation(empty))

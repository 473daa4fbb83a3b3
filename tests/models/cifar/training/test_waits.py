"""A training step waits for nothing, and sends its device few tensors: by the pretend accelerator's count."""

import math

import pytest
import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.data.views import ViewConfig
from models.cifar.methods.settings import METHODS, MoCoFeatureTransform, SupCon, TransFusion
from models.cifar.training import train
from models.cifar.training.config import HeadChoice
from models.cifar.training.state import start
from models.devices.value_checks import values_are_checked
from models.optim import OptimizerConfig
from tests.stand_in import DEVICE, PretendDevice
from tests.stand_in.steps import IMAGES, configuration, log_of_step

# Tensors that the host sends in one step. Every method: the table of the views. With feature transformation also
# its weights and its permutations.
UPLOADS = dict.fromkeys(METHODS, 1) | {"moco_ft": 3}
# A step of ResNet-18 before optimizers took all parameters together and views all images.
BEFORE = {"simclr": 1888, "supcon": 1893, "moco": 2312, "moco_ft": 2364, "transfusion": 3204, "deepfusion": 2769}


@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_for_nothing_and_does_half_of_what_it_did(method):
    log = log_of_step(configuration(method))
    assert log.waits == []
    assert len(log.uploads) == UPLOADS[method], log.uploads
    assert log.total_operations <= BEFORE.get(method, math.inf) / 2


@pytest.mark.parametrize(
    "config",
    [
        *(configuration(method, 5, "small") for method in ("supcon", "moco", "transfusion")),
        configuration(SupCon(normalize=False), None, "small"),
        configuration(TransFusion(supervised=True), None, "small"),
        configuration("simclr", None, "small", head=HeadChoice("batchformer", dropout=0.1),
                      view=ViewConfig(blur=0.5), optimiser=OptimizerConfig("sgd")),
        configuration(MoCoFeatureTransform(queue_size=13, symmetric=True, union=True), None, "small",
                      head=HeadChoice("batchformer"), view=ViewConfig(noise_level=0.1),
                      optimiser=OptimizerConfig("lars")),
    ],
    ids=lambda config: f"{config.method.name} {config.own_head.kind} {config.optimiser.kind}",
)  # fmt: skip
def test_no_setting_makes_a_step_wait(config):
    log = log_of_step(config)
    assert log.waits == []
    assert len(log.uploads) <= 4, log.uploads


def test_a_wait_that_comes_back_is_noticed(monkeypatch):
    """A loss that looks at its values, and a view that picks the images that it is for."""
    monkeypatch.setattr(train, "values_trusted", lambda trusted: pytest.MonkeyPatch.context())
    log = log_of_step(configuration("simclr", None, "small"), warm_up=0)
    assert any("models/losses/common.py" in place and "require_rows" in place for place in log.waits)
    monkeypatch.undo()
    true = train.make_views

    def picking(images, config, generators, size):
        views = true(images, config, generators, size)
        return tuple(view[view.amax((1, 2, 3)) > -math.inf] for view in views)

    monkeypatch.setattr(train, "make_views", picking)
    log = log_of_step(configuration("simclr", None, "small"), warm_up=0)
    assert len(log.waits) == 2
    assert all("test_waits.py" in place and "aten.index" in place for place in log.waits)


def test_an_epoch_waits_for_its_losses_alone(monkeypatch, tmp_path):
    """Seven steps that are read three at a time; the order of the images is sent once."""
    monkeypatch.setattr(train, "READ_EVERY", 3)
    config = configuration("simclr", None, "small")
    with PretendDevice() as log:
        images, state = random_images(7 * IMAGES + 2, 8).to(DEVICE), start(config, DEVICE)
        log.events.clear()
        row = train._train_epoch(state, state.learner, images, tmp_path)
    assert [place.split()[1] for place in log.waits] == ["_read"] * 3
    assert len(log.uploads) == 1 + 7
    assert math.isfinite(row["loss"])
    assert row["gradient_norm"] > 0.0


def test_the_switch_has_losses_look_again(monkeypatch):
    """And they name what they find."""
    seen = []
    true = train.gradient_norm
    monkeypatch.setattr(train, "gradient_norm", lambda module: seen.append(values_are_checked()) or true(module))
    for check_values in (False, True):
        config = configuration("simclr", None, "small", check_values=check_values)
        state = start(config, torch.device("cpu"))
        images = random_images(IMAGES, 8)
        train.training_step(state, state.learner, train.make_batch(config, images, torch.arange(IMAGES), 0, 0))
    assert seen == [False, True]
    log = log_of_step(configuration("simclr", None, "small", check_values=True))
    assert any("require_rows" in place for place in log.waits)

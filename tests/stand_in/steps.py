"""What one training step asks of the device, method by method."""

from typing import Any

import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.methods.settings import METHODS, MethodConfig, MomentumContrast, method_of
from models.cifar.training.checks import without_idle
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import start
from models.cifar.training.train import make_batch, training_step
from models.encoders import EncoderConfig
from tests.stand_in.device import DEVICE, PretendDevice
from tests.stand_in.events import Log

IMAGES = 8


def configuration(
    method: str | MethodConfig, chunk: int | None = None, encoder: str = "resnet18", **changes: Any
) -> TrainConfig:
    """A method, by name as it is by default, on a narrow encoder: how many operations there are does not depend on
    widths."""
    if isinstance(method, str):
        method = method_of(method, **({"queue_size": 13} if issubclass(METHODS[method], MomentumContrast) else {}))
    encoder = EncoderConfig(encoder, width=4)
    return without_idle(TrainConfig(method=method, encoder=encoder, batch_size=IMAGES, chunk=chunk, **changes))


def log_of_step(config: TrainConfig, warm_up: int = 1) -> Log:
    """A step with its batch, after steps that have made the optimizer's state and filled the queue."""
    images = random_images(config.batch_size, 8)
    with PretendDevice() as log:
        there = images.to(DEVICE)
        state = start(config, DEVICE)
        state.learner.train()
        index = torch.arange(config.batch_size, device=DEVICE)
        for step in range(warm_up + 1):
            log.events.clear()
            log.operations.clear()
            training_step(state, state.learner, make_batch(config, there, index, 0, step))
    return log

"""What all methods share: batches, views, learning rates and the optimizer's step.

for every epoch:
    put the images in a new random order and cut it into batches; what fills no batch waits for another epoch
    for every batch:
        make two random views of every image
        loss of the method -> gradients -> one step at this step's learning rate
        what the method does after a step
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.cifar.data.views import make_view
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import generator_of
from models.optim import OptimizerConfig

# What is drawn, each from generators of its own; 0 draws the networks.
ORDER, FIRST_VIEW, SECOND_VIEW, METHOD = 1, 2, 3, 4


def train(
    config: TrainConfig,
    images: Tensor,
    labels: Tensor,
    networks: list[nn.Module],
    loss_of: Callable[[Tensor, Tensor, Tensor, int, torch.Generator], Tensor],
    after_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train the networks in place; the loss of every step.

    Args:
        images, labels: of the training part, (N, 3, H, W) bytes and (N,).
        loss_of: (first views, second views, labels, epoch, generator for the method's own draws) to the loss.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    take_step = STEPS[config.optimiser.kind](config.optimiser, parameters)
    steps, losses = len(images) // config.batch_size, []
    for epoch in range(config.epochs):
        order = torch.randperm(len(images), generator=generator_of(config, ORDER, epoch))
        for step in range(steps):
            chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
            first, second = (
                make_view(images[chosen], config.view, generator_of(config, stream, epoch, step)).double()
                for stream in (FIRST_VIEW, SECOND_VIEW)
            )
            loss = loss_of(first, second, labels[chosen], epoch, generator_of(config, METHOD, epoch, step))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            take_step(gradients, learning_rate(config, epoch * steps + step, steps))
            after_step()
            losses.append(float(loss.detach()))
    return losses


def learning_rate(config: TrainConfig, step: int, steps_an_epoch: int) -> float:
    """A line up to the peak, then half a cosine down to zero, or level."""
    peak = config.optimiser.learning_rate
    warm, total = config.optimiser.warmup_epochs * steps_an_epoch, config.epochs * steps_an_epoch
    if step < warm:
        return peak * (step + 1) / warm
    if config.optimiser.schedule == "constant":
        return peak
    return peak * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


Step = Callable[[tuple[Tensor | None, ...], float], None]


def torch_step(config: OptimizerConfig, parameters: list[nn.Parameter]) -> Step:
    """AdamW or SGD. Matrices and kernels decay; vectors, which are biases and scales, do not."""
    decaying = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.kind == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=(config.momentum, 0.999))
    else:
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=config.momentum, nesterov=config.nesterov)

    def step(gradients: tuple[Tensor | None, ...], rate: float) -> None:
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    return step


def lars_step(config: OptimizerConfig, parameters: list[nn.Parameter]) -> Step:
    """SimCLR's LARS: u = g + d w; v <- m v + r .001 |w|/|u| u; w <- w - v. Vectors: v <- m v + r g."""
    velocities = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(gradients: tuple[Tensor | None, ...], rate: float) -> None:
        for weight, velocity, gradient in zip(parameters, velocities, gradients):
            if gradient is None:
                continue
            update = gradient
            if weight.ndim > 1:
                update = gradient + config.weight_decay * weight
                update = 0.001 * weight.norm() / update.norm() * update
            velocity.copy_(config.momentum * velocity + rate * update)
            weight -= rate * update + config.momentum * velocity if config.nesterov else velocity

    return step


STEPS = {"adamw": torch_step, "sgd": torch_step, "lars": lars_step}

"""TransFusion (arXiv 2403.18681): attention over the batch, whose affinities are held against the ideal one.

Every block of the head gives unit queries and keys, one a row. With cosines C_ij its affinity is

    Y_ij = ReLU(C_ij)^2 / sum over l != i of ReLU(C_il)^2    for j != i,    Y_ii = 0,

averaged over attention heads before rows are divided by their sums (theory.md, section 0); the readout relu leaves out
the square. The ideal affinity T spreads
row i evenly over the other rows of its name: the views of one image, or with labels all rows of one class. The loss of
a block is the mean over rows of the Jensen-Shannon divergence

    JSD(Y_i, T_i) = KL(Y_i || M)/2 + KL(T_i || M)/2,    M = (Y_i + T_i)/2,

in nats; a row that attends to nobody counts ln 2, the worst. The last block has weight 1, every other ``intermediate``,
and the loss is the weighted mean.
"""

import math

import torch
from torch import Tensor, nn

from models.cifar.methods.settings import TransFusion
from models.cifar.training.config import TrainConfig
from tests.models.cifar.oracles.plain_training import train
from theory.numerics.precision import numerical_threshold


def jsd_of_row(y: list[Tensor], t: list[float]) -> Tensor | float:
    """The divergence of two rows, entry by entry; 0 ln 0 is 0."""
    if all(each == 0 for each in y):
        return math.log(2)
    total: Tensor | float = 0.0
    for y_j, t_j in zip(y, t):
        middle = (y_j + t_j) / 2
        if y_j > 0:
            total = total + y_j * (y_j / middle).log() / 2
        if t_j > 0:
            total = total + t_j * (t_j / middle).log() / 2
    return total


def affinity_loss(queries: Tensor, keys: Tensor, names: list[int], power: int) -> Tensor:
    """The loss of one block from its queries and keys (heads, n, d)."""
    # A cosine below the smallest that counts is none (theory.md, section 0).
    raw = (queries @ keys.mT - numerical_threshold(torch.float64)).relu().pow(power).mean(0)
    rows, losses = range(len(names)), []
    for i in rows:
        others = [j for j in rows if j != i]
        alike = sum(names[j] == names[i] for j in others)
        if not alike:
            continue
        mass = sum(raw[i, j] for j in others)
        y = [raw[i, j] / mass if mass > 0 else raw[i, j] for j in others]
        losses.append(jsd_of_row(y, [(names[j] == names[i]) / alike for j in others]))
    return sum(losses) / len(losses)


def train_transfusion(
    config: TrainConfig, images: Tensor, labels: Tensor, encoder: nn.Module, head: nn.Module
) -> list[float]:
    """Train encoder and head in place; the loss of every step."""
    method = config.method
    assert isinstance(method, TransFusion)

    def loss_of(first: Tensor, second: Tensor, classes: Tensor, epoch: int, draws: torch.Generator) -> Tensor:
        blocks = head(encoder(torch.cat([first, second])), views=2).readings
        names = classes.tolist() if method.supervised else list(range(len(first)))
        weights = [method.intermediate] * (len(blocks) - 1) + [1.0]
        power = {"squared_relu": 2, "relu": 1}[method.readout]
        losses = [affinity_loss(block.queries, block.keys, names + names, power) for block in blocks]
        return sum(weight * loss for weight, loss in zip(weights, losses)) / sum(weights)

    return train(config, images, labels, [encoder, head], loss_of)

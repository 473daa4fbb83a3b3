"""SimCLR (arXiv 2002.05709), SupCon (arXiv 2004.11362), and SimCLR's loss behind Deep Fusion's head.

A batch of N images gives 2N rows, all first views and then all second ones. Every row i is an anchor: its positives
P(i) are the other rows that show the same image (SimCLR) or the same class (SupCon), and with scores s_ij

    loss_i = mean over p in P(i) of  -ln( exp(s_ip/t) / sum over a != i of exp(s_ia/t) ).

Scores are cosines, or inner products if nothing is normalized. The loss is the mean over anchors that have a positive.
"""

import torch
from torch import Tensor, nn

from models.cifar.methods.settings import DeepFusion, SimCLR, SupCon
from models.cifar.training.config import TrainConfig
from tests.models.cifar.oracles.plain_training import train


def contrast(rows: Tensor, names: Tensor, temperature: float, normalize: bool) -> Tensor:
    """The loss of rows (n, d); rows of one name are each other's positives."""
    if normalize:
        rows = rows / rows.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(rows)):
        others = [a for a in range(len(rows)) if a != i]
        positives = [p for p in others if names[p] == names[i]]
        scores = {a: rows[i] @ rows[a] / temperature for a in others}
        log_sum = torch.stack(list(scores.values())).logsumexp(0)
        if positives:
            losses.append(sum(log_sum - scores[p] for p in positives) / len(positives))
    return sum(losses) / len(losses)


def train_simclr(
    config: TrainConfig, images: Tensor, labels: Tensor, encoder: nn.Module, head: nn.Module
) -> list[float]:
    """Train encoder and head in place; the loss of every step."""
    method = config.method
    assert isinstance(method, SimCLR | SupCon | DeepFusion)

    def loss_of(first: Tensor, second: Tensor, classes: Tensor, epoch: int, draws: torch.Generator) -> Tensor:
        z = head(encoder(torch.cat([first, second])), views=2).embeddings
        names = classes if isinstance(method, SupCon) else torch.arange(len(first))
        return contrast(z, torch.cat([names, names]), method.temperature, method.normalize)

    return train(config, images, labels, [encoder, head], loss_of)

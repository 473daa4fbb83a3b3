"""MoCo v2 (arXiv 1911.05722, 2003.04297), and MoCo with feature transformation (arXiv 2108.02982).

The first view of an image is the query, encoded by the networks that are trained; the second is its key, encoded by a
slow copy of them, without gradients. Negatives are the keys of earlier steps, in a queue of K: first in, first out.
With unit features q, k and negatives n_1, n_2, ...

    loss = mean over queries of  -ln( exp(q.k/t) / (exp(q.k/t) + sum over j of exp(q.n_j/t)) ).

After the optimizer's step the copy moves, copy <- m copy + (1 - m) network, and the keys enter the queue. If the method
is symmetric each view is query once and key once: the loss is the mean of both, and the keys of both enter.

Feature transformation pulls a pair apart before it is scored, q' = w q + (1 - w) k and k' = w k + (1 - w) q with
w = 1 + Beta(a, a) in [1, 2] (extrapolation; w = Beta(a, a) would push it together), and mixes the negatives in pairs,
n'_j = w n_j + (1 - w) n_p(j) with w = Beta(b, b). Weights are one a coordinate, one a row, or one for all rows. Queries
meet the negatives untransformed, or as q'. What is transformed may be made unit again.
"""

import copy

import torch
from torch import Tensor, nn

from models.cifar.methods.settings import MoCo, MoCoFeatureTransform
from models.cifar.training.config import TrainConfig
from tests.models.cifar.oracles.plain_training import train


def unit(rows: Tensor) -> Tensor:
    """Rows of norm 1."""
    return rows / rows.norm(dim=1, keepdim=True)


def beta_draws(a: float, like: Tensor, one_for: str, draws: torch.Generator) -> Tensor:
    """Beta(a, a) as X/(X + Y) of two Gamma(a); Gamma(a) is Gamma(a + 1) U^(1/a)."""
    shape = {"coordinate": tuple(like.shape), "row": (len(like), 1), "step": (1, 1)}[one_for]

    def gamma() -> Tensor:
        u = 1 - torch.rand(shape, generator=draws, dtype=torch.float64)
        return torch._standard_gamma(torch.full(shape, a + 1.0, dtype=torch.float64), generator=draws) * u ** (1 / a)

    x, y = gamma(), gamma()
    return x / (x + y)


def transformed_pair(q: Tensor, k: Tensor, method: MoCoFeatureTransform, draws: torch.Generator) -> tuple:
    """q' and k'."""
    if method.positives == "none":
        return q, k
    w = beta_draws(method.positive_beta, q, method.weights, draws)
    if method.positives == "extrapolate":
        w = 1 + w
    pair = w * q + (1 - w) * k, w * k + (1 - w) * q
    return (unit(pair[0]), unit(pair[1])) if method.renormalize else pair


def transformed_queue(queue: Tensor, method: MoCoFeatureTransform, draws: torch.Generator) -> Tensor:
    """Every negative mixed with the one before it in a random circle; with union, the unmixed ones too."""
    if method.negatives == "none" or len(queue) < 2:
        return queue
    w = beta_draws(method.negative_beta, queue, method.weights, draws).expand_as(queue)
    circle = torch.randperm(len(queue), generator=draws).tolist()
    before = {circle[i]: circle[i - 1] for i in range(len(circle))}
    mixed = torch.stack([w[j] * queue[j] + (1 - w[j]) * queue[before[j]] for j in range(len(queue))])
    mixed = unit(mixed) if method.renormalize else mixed
    return torch.cat([queue, mixed]) if method.union else mixed


def train_moco(config: TrainConfig, images: Tensor, labels: Tensor, encoder: nn.Module, head: nn.Module) -> list[float]:
    """Train encoder and head in place; the loss of every step."""
    method = config.method
    assert isinstance(method, MoCo | MoCoFeatureTransform)
    slow_encoder, slow_head = copy.deepcopy(encoder), copy.deepcopy(head)
    queue: list[Tensor] = []
    new_keys: list[Tensor] = []

    def loss_of(first: Tensor, second: Tensor, classes: Tensor, epoch: int, draws: torch.Generator) -> Tensor:
        views = [(first, second), (second, first)] if method.symmetric else [(first, second)]
        with torch.no_grad():
            keys = [unit(slow_head(slow_encoder(key)).embeddings) for _, key in views]
        z = head(encoder(torch.cat([query for query, _ in views])), views=len(views)).embeddings
        losses = []
        for q, k in zip(unit(z).chunk(len(views)), keys):
            negatives = torch.stack(queue) if queue else k[:0]
            q_scored, k_scored, asked = q, k, q
            if isinstance(method, MoCoFeatureTransform) and epoch >= method.transform_from_epoch:
                q_scored, k_scored = transformed_pair(q, k, method, draws)
                negatives = transformed_queue(negatives, method, draws)
                asked = q_scored if method.negatives_query == "transformed" else q
            for i in range(len(q)):
                own = q_scored[i] @ k_scored[i] / method.temperature
                others = [asked[i] @ n / method.temperature for n in negatives]
                losses.append(torch.stack([own, *others]).logsumexp(0) - own)
        new_keys[:] = [row for k in keys for row in k]
        return sum(losses) / len(losses)

    @torch.no_grad()
    def after_step() -> None:
        for slow, network in ((slow_encoder, encoder), (slow_head, head)):
            for old, new in zip(slow.parameters(), network.parameters()):
                old.copy_(method.momentum * old + (1 - method.momentum) * new)
        queue[:] = (queue + new_keys)[-method.queue_size :]

    return train(config, images, labels, [encoder, head], loss_of, after_step)

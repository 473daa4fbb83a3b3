"""What a user would take instead of this toolkit's losses: pytorch-metric-learning's, and those that one writes.

The written ones are the obvious n x n matrices: cosines over a temperature, the diagonal masked out, and then
``cross_entropy``, a log-softmax under a mask of positives, or the divergence of normalized rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from models.losses import AffinityJSDLoss, NTXentLoss, SupConLoss
from theory.console.extras import why_missing
from theory.numerics.precision import numerical_threshold

LossName = Literal["nt_xent", "supcon", "affinity"]
Loss = Callable[[Tensor, Tensor], Tensor]
LIBRARY, WRITTEN = "pytorch-metric-learning", "plain torch"
CLASSES = 10
TEMPERATURES = {"nt_xent": 0.5, "supcon": 0.1}
# What must differ no more than this, by the largest entry, in float32 and after sums over all pairs.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Peer:
    """Somebody else's loss, called as ours.

    Attributes:
        bytes_of: n -> what forward and backward will need at most, as far as one knows before they have been run.
    """

    loss: Loss
    bytes_of: Callable[[int], int]


@dataclass(frozen=True)
class Contest:
    """One loss, and who computes it.

    Attributes:
        ours: the toolkit's module.
        peers: by name. All are called with two views (nt_xent), or with rows and their classes.
    """

    name: LossName
    ours: Loss
    peers: dict[str, Peer]

    def inputs(self, n: int, dim: int, device: torch.device) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Random rows, closer to those that they belong to than to others: the leaves that gradients are asked for, and
        what stands beside them."""
        generator = torch.Generator().manual_seed(n)
        noise = torch.randn(n, dim, generator=generator)
        if self.name == "nt_xent":
            views = noise + 2.0 * torch.randn(n // 2, dim, generator=generator).repeat(2, 1)
            return tuple(view.clone().to(device).requires_grad_() for view in views.chunk(2)), ()
        classes = torch.randint(CLASSES, (n,), generator=generator)
        rows = noise + torch.randn(CLASSES, dim, generator=generator)[classes]
        return (rows.to(device).requires_grad_(),), (classes.to(device),)


def library_left_out() -> str | None:
    """Why pytorch-metric-learning is no peer here, with the way out; None where it is one."""
    return why_missing(f"{LIBRARY}: left out", "peers")


def contests() -> tuple[Contest, ...]:
    """All losses with the peers that are there."""
    theirs: dict[LossName, dict[str, Peer]] = {"nt_xent": {}, "supcon": {}, "affinity": {}}
    if library_left_out() is None:
        # Optional, and slow to import.
        from pytorch_metric_learning import losses

        # It compares every positive pair with all negative ones: a matrix of n rows and n^2 columns, and its like.
        pairs = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=TEMPERATURES["nt_xent"]))
        theirs["nt_xent"][LIBRARY] = Peer(pairs, lambda n: 20 * n**3)
        theirs["supcon"][LIBRARY] = Peer(losses.SupConLoss(temperature=TEMPERATURES["supcon"]), lambda n: 48 * n**2)
    written: dict[LossName, Peer] = {
        "nt_xent": Peer(plain_nt_xent, lambda n: 16 * n**2),
        "supcon": Peer(plain_supcon, lambda n: 24 * n**2),
        "affinity": Peer(plain_affinity, lambda n: 56 * n**2),
    }
    ours: dict[LossName, Loss] = {
        "nt_xent": NTXentLoss(TEMPERATURES["nt_xent"]), "supcon": SupConLoss(TEMPERATURES["supcon"]),
        "affinity": AffinityJSDLoss(),
    }  # fmt: skip
    return tuple(Contest(name, ours[name], {WRITTEN: written[name], **theirs[name]}) for name in written)


def plain_nt_xent(view_a: Float[Tensor, "N D"], view_b: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Cosines, the diagonal masked out, and the cross-entropy with the partner."""
    rows = F.normalize(torch.cat([view_a, view_b]), dim=1)
    n = len(rows)
    logits = rows @ rows.T / TEMPERATURES["nt_xent"]
    logits = logits.masked_fill(torch.eye(n, dtype=torch.bool, device=rows.device), -math.inf)
    return F.cross_entropy(logits, torch.arange(n, device=rows.device).roll(n // 2))


def plain_supcon(embeddings: Float[Tensor, "n D"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Log-probabilities of all pairs, and their mean over the positives under a mask."""
    rows = F.normalize(embeddings, dim=1)
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positives = (labels[:, None] == labels) & ~own
    logits = (rows @ rows.T / TEMPERATURES["supcon"]).masked_fill(own, -math.inf)
    log_probabilities = logits - logits.logsumexp(1, keepdim=True)
    counts = positives.sum(1)
    means = log_probabilities.masked_fill(~positives, 0.0).sum(1) / counts.clamp_min(1)
    return -means[counts > 0].mean()


def plain_affinity(embeddings: Float[Tensor, "n D"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Squared ReLU of cosines with normalized rows, the target, their mean, and both divergences from it."""
    rows = F.normalize(embeddings, dim=1)
    own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positives = (labels[:, None] == labels) & ~own
    target = positives / positives.sum(1, keepdim=True).clamp_min(1)
    raw = F.relu(rows @ rows.T - numerical_threshold(rows.dtype)).square().masked_fill(own, 0.0)
    affinity = raw / raw.sum(1, keepdim=True)
    middle = 0.5 * (affinity + target)
    # The least number keeps logarithms of zeros finite; it is multiplied by zero.
    least = torch.finfo(rows.dtype).tiny

    def divergence(part: Tensor) -> Tensor:
        return part * (part.clamp_min(least).log() - middle.clamp_min(least).log())

    return 0.5 * (divergence(affinity) + divergence(target)).sum(1)[positives.any(1)].mean()


def value_and_gradients(loss: Loss, leaves: tuple[Tensor, ...], beside: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The loss and its gradient in every leaf."""
    value = loss(*leaves, *beside)
    return value.detach(), *torch.autograd.grad(value, leaves)


def disagreement(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    """The largest difference of value and gradients, in units of their largest entries; NaN differs without bound."""
    found = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        scale = float(mine.abs().max())
        off = float((mine - other).abs().max()) / max(scale, torch.finfo(mine.dtype).tiny)
        found = max(found, off if math.isfinite(off) else math.inf)
    return found

"""Batches and their layers as an adversary moves them: torch, float64, differentiable, one restart a batch."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.attention import TransFusionBlock
from synthetic.trials.ascent import Parameters, Sizes
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels

DEPTH = 5


def start_clusters(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Clusters of many tightnesses around random centers, and unconstrained threshold and mixing."""
    dim = max(4, len(sizes) + 1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    labels = torch.from_numpy(contiguous_labels(sizes))
    scale = torch.logspace(-1.5, 0.3, restarts, dtype=torch.float64)[:, None, None]
    centers = normal(restarts, len(sizes), dim)
    return {
        "points": centers[:, labels] + scale * normal(restarts, len(labels), dim),
        "threshold": normal(restarts),
        "mixing": normal(restarts),
    }


def start_equiangular(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Within-cosine, cross cosine, threshold and mixing, unconstrained."""
    return {
        name: torch.randn(restarts, generator=generator, dtype=torch.float64)
        for name in ("within", "between", "threshold", "mixing")
    }


@dataclass(frozen=True)
class Batch:
    """What parameters stand for: points (R, n, D), threshold and mixing (R,), and the hypothesis' slack (R,)."""

    points: Tensor
    threshold: Tensor
    mixing: Tensor
    slack: Tensor

    def cosines_of_layers(self) -> Tensor:
        """Cosines (DEPTH + 1, R, n, n) of all layers of a stack with unit inputs."""
        block = TransFusionBlock(self.threshold[:, None, None].clamp(0.0, 1.0 - 1e-9), self.mixing[:, None, None])
        tokens = torch.nn.functional.normalize(self.points, dim=-1)
        layers = [cosines_of(tokens)]
        for _ in range(DEPTH):
            tokens = block(tokens)
            layers.append(cosines_of(tokens))
        return torch.stack(layers)

    def values(self, sizes: Sizes) -> dict[str, Any]:
        """The first restart, as the trials of stacks hold a batch."""
        return {
            "points": unit_points(self.points[0].numpy()), "labels": contiguous_labels(sizes),
            "threshold": float(self.threshold[0]), "mixing": float(self.mixing[0]), "depth": DEPTH,
        }  # fmt: skip


def cosines_of(points: Tensor) -> Tensor:
    """Cosines of all pairs, (..., n, n)."""
    unit = torch.nn.functional.normalize(points, dim=-1)
    return unit @ unit.mT


def extremes(cosines: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """alpha and beta over the last two axes."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    row, column = torch.triu_indices(len(labels), len(labels), 1)
    pairs = cosines[..., row, column]
    same = labels[row] == labels[column]
    return pairs[..., same].amin(-1), pairs[..., ~same].amax(-1)


def smallest_cross(cosines: Tensor, sizes: Sizes) -> Tensor:
    """gamma over the last two axes."""
    return -extremes(-cosines, sizes)[1]

"""The methods: what each makes of two views of a batch, as a loss that encoder and head are trained by.

simclr, supcon, transfusion and deepfusion compare the rows of the batch (SimCLR, arXiv 2002.05709; SupCon, arXiv
2004.11362; TransFusion and Deep Fusion, arXiv 2403.18681). moco compares queries with the keys of a momentum copy and a
queue of earlier keys (MoCo v2, arXiv 2003.04297), moco_ft after transforming these features (arXiv 2108.02982). Each
goes with any projection head.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.cifar.gather import gather_labels, gather_rows
from models.encoders import EncoderConfig, build_encoder
from models.feature_transform import (
    draw_beta,
    draw_partners,
    extrapolate_positives,
    interpolate_negatives,
    interpolate_positives,
)
from models.heads import HeadConfig, HeadKind, build_head
from models.losses import Objective, objective_from_name, view_pair_labels
from models.momentum import FeatureQueue, MomentumCopy, moco_logits
from theory.affinity import unit_points
from theory.inputs import require_choice, require_count, require_range

MethodName = Literal["simclr", "supcon", "moco", "moco_ft", "transfusion", "deepfusion"]
# Keys of a queue that is not given a size.
LARGEST_QUEUE = 4096
# The head that a method is published with, where that is not an MLP.
HEAD_OF: dict[str, HeadKind] = {"transfusion": "transfusion", "deepfusion": "deepfusion"}


@dataclass(frozen=True)
class MethodConfig:
    """Which method, and its own settings.

    Raises:
        ValueError: an unknown choice, or a value out of range.
    """

    name: MethodName = "simclr"
    """simclr, supcon (labels), moco, moco_ft, transfusion, deepfusion."""
    supervised: bool = False
    """Of transfusion: the target affinity comes from the labels instead of the view pairs."""
    temperature: float | None = None
    """None: 0.5 for simclr and deepfusion, 0.1 for supcon, 0.2 for moco and moco_ft; transfusion has none."""
    normalize: bool = True
    """Of simclr, supcon and deepfusion: compare cosines; False compares inner products of embeddings as they are."""
    intermediate: float = 1.0
    """Of transfusion: weight of the loss on every block before the last."""
    momentum: float = 0.99
    """Of moco and moco_ft: the momentum copy keeps this share at each step."""
    queue_size: int | None = None
    """Of moco and moco_ft: keys that serve as negatives. None: 4096, or half the training images if they are fewer, so
    that an image does not meet its own keys of earlier epochs."""
    symmetric: bool = False
    """Of moco and moco_ft: each view is query once, and key once."""
    positives: Literal["extrapolate", "interpolate", "none"] = "extrapolate"
    """Of moco_ft: what is done to query and key before their score."""
    positive_beta: float = 2.0
    """Of moco_ft: a of Beta(a, a); the weight is 1 + Beta to extrapolate, Beta to interpolate."""
    negatives: Literal["interpolate", "none"] = "interpolate"
    """Of moco_ft: what is done to the queue."""
    negative_beta: float = 1.6
    """Of moco_ft: b of Beta(b, b)."""
    dimension_wise: bool = True
    """Of moco_ft: a weight for every coordinate instead of one a row."""
    union: bool = False
    """Of moco_ft: the untransformed queue serves as negatives too."""
    transform_from_epoch: int = 0
    """Of moco_ft: features are transformed from this epoch on."""

    def __post_init__(self) -> None:
        require_choice(self.name, "name", get_args(MethodName))
        require_choice(self.positives, "positives", ("extrapolate", "interpolate", "none"))
        require_choice(self.negatives, "negatives", ("interpolate", "none"))
        if self.temperature is not None:
            require_range(self.temperature, "temperature", 0.0, math.inf, closed="neither")
        require_range(self.intermediate, "intermediate", 0.0, math.inf, closed="left")
        require_range(self.momentum, "momentum", 0.0, 1.0)
        if self.queue_size is not None:
            require_count(self.queue_size, "queue_size", 1)
        if self.supervised and self.name != "transfusion":
            raise ValueError(f"supervised: goes with transfusion only, not with {self.name}")
        if not self.normalize and self.name not in ("simclr", "supcon", "deepfusion"):
            raise ValueError(f"normalize: can be off for simclr, supcon and deepfusion only, not for {self.name}")
        for name in ("positive_beta", "negative_beta"):
            require_range(getattr(self, name), name, 0.0, math.inf, closed="neither")
        require_count(self.transform_from_epoch, "transform_from_epoch", 0)


@dataclass(frozen=True)
class Batch:
    """Two views of n images.

    Attributes:
        first, second: (n, C, H, W), row i of both from image i.
        labels: classes (n,); read by supervised methods only.
        epoch: of the training, from 0.
        generator: for what a method draws itself.
    """

    first: Float[Tensor, "n C H W"]
    second: Float[Tensor, "n C H W"]
    labels: Int[Tensor, " n"]
    epoch: int
    generator: torch.Generator


# From encoder features (rows, D) of the online images to the loss.
LossOfFeatures = Callable[[Tensor], Tensor]


class Learner(nn.Module, ABC):
    """Encoder, head, and what a method needs beside them. ``forward`` is the loss of a batch."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @abstractmethod
    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        """The images that the encoder is trained on, and the loss of their features: apart, so that features may be
        computed in chunks (gradient_cache.py)."""

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss; under DistributedDataParallel that of the global batch, once gradients are averaged."""
        images, loss_of = self.prepare(batch)
        return loss_of(self.encoder(images))

    def after_step(self) -> None:
        """What follows the optimiser's step."""


@final
class BatchLearner(Learner):
    """simclr, supcon, transfusion, deepfusion: both views of the batch against each other.

    Features are gathered over processes before the head, so that heads that attend over the batch see all of it.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, objective: Objective, supervised: bool) -> None:
        super().__init__(encoder, head)
        self.objective, self.supervised = objective, supervised

    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        def loss_of(features: Tensor) -> Tensor:
            rows = torch.cat([gather_rows(view) for view in features.chunk(2)])
            if self.supervised:
                labels = gather_labels(batch.labels).repeat(2)
            else:
                labels = view_pair_labels(len(rows) // 2, 2, rows.device)
            return self.objective(self.head(rows, views=2), labels)

        return torch.cat([batch.first, batch.second]), loss_of


@final
class MomentumLearner(Learner):
    """moco and moco_ft: queries of the online networks, keys of their momentum copy, negatives from the queue.

    The queue takes the keys of a step after its loss; with several processes the keys of all. Heads that attend over
    the batch attend over the process's share of it.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, config: MethodConfig, transform: bool) -> None:
        super().__init__(encoder, head)
        self.config, self.transform = config, transform
        self.temperature = 0.2 if config.temperature is None else config.temperature
        self.copies = nn.ModuleList(MomentumCopy(module, config.momentum) for module in (encoder, head))
        self.queue = FeatureQueue(config.queue_size or LARGEST_QUEUE, head.embedding_dim)
        self._keys: list[Tensor] = []

    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        pairs = [(batch.first, batch.second), (batch.second, batch.first)][: 1 + self.config.symmetric]
        with torch.no_grad():
            keys = [unit_points(self.copies[1](self.copies[0](key)).embeddings.float()) for _, key in pairs]
        self._keys = keys

        def loss_of(features: Tensor) -> Tensor:
            output = self.head(features, views=len(pairs))
            streams = [each.embeddings.float().chunk(len(pairs)) for each in (output, *output.auxiliary)]
            losses = [self._contrast(unit_points(q), k, batch) for queries in streams for q, k in zip(queries, keys)]
            return sum(losses[1:], start=losses[0]) / len(losses)

        return torch.cat([query for query, _ in pairs]), loss_of

    def _contrast(self, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """InfoNCE; a pair is scored by the transformed features, negatives by the query itself."""
        negatives, pair = self.queue.features(), (queries, keys)
        if self.transform and batch.epoch >= self.config.transform_from_epoch:
            pair = self._transform_pair(queries, keys, batch.generator)
            negatives = self._transform_queue(negatives, batch.generator)
        options = {"temperature": self.temperature, "normalize": False}
        positive = moco_logits(*pair, negatives[:0], **options)
        others = moco_logits(queries, keys, negatives, **options)[:, 1:]
        logits = torch.cat([positive, others], dim=1)
        return (logits.logsumexp(1) - positive[:, 0]).mean()

    def _transform_pair(self, queries: Tensor, keys: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.config.positives == "none":
            return queries, keys
        weights = self._weights(self.config.positive_beta, queries, generator)
        if self.config.positives == "extrapolate":
            return extrapolate_positives(queries, keys, 1.0 + weights)
        return interpolate_positives(queries, keys, weights)

    def _transform_queue(self, negatives: Tensor, generator: torch.Generator) -> Tensor:
        if self.config.negatives == "none" or len(negatives) < 2:
            return negatives
        weights = self._weights(self.config.negative_beta, negatives, generator)
        mixed = interpolate_negatives(negatives, weights, draw_partners(len(negatives), generator))
        return torch.cat([negatives, mixed]) if self.config.union else mixed

    def _weights(self, beta: float, rows: Tensor, generator: torch.Generator) -> Tensor:
        shape = tuple(rows.shape) if self.config.dimension_wise else (len(rows),)
        return draw_beta(beta, beta, shape, generator).to(rows.device)

    @torch.no_grad()
    def after_step(self) -> None:
        for copy, module in zip(self.copies, (self.encoder, self.head)):
            copy.update(module)
        for keys in self._keys:
            self.queue.enqueue(gather_rows(keys))
        self._keys = []


def build_learner(
    method: MethodConfig, encoder: EncoderConfig, head: HeadConfig, generator: torch.Generator
) -> Learner:
    """A method's networks, initialised from ``generator`` and nothing else.

    Raises:
        ValueError: settings that do not fit each other.
    """
    network = build_encoder(encoder, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        projection = build_head(head, network.feature_dim)
    if method.name in ("moco", "moco_ft"):
        return MomentumLearner(network, projection, method, method.name == "moco_ft")
    supervised = method.name == "supcon" or (method.name == "transfusion" and method.supervised)
    return BatchLearner(network, projection, _objective(method), supervised)


def _objective(method: MethodConfig) -> Objective:
    if method.name == "transfusion":
        return objective_from_name("jsd", intermediate=method.intermediate)
    objective = objective_from_name("supcon" if method.name == "supcon" else "nt_xent", normalize=method.normalize)
    return objective if method.temperature is None else replace(objective, temperature=method.temperature)

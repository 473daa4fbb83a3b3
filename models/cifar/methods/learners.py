"""The methods: what each makes of two views of a batch, as a loss that encoder and head are trained by.

simclr, supcon, transfusion and deepfusion compare the rows of the batch (SimCLR, arXiv 2002.05709; SupCon, arXiv
2004.11362; TransFusion and Deep Fusion, arXiv 2403.18681). moco compares queries with the keys of a momentum copy and a
queue of earlier keys (MoCo v2, arXiv 2003.04297), moco_ft after transforming these features (arXiv 2108.02982). Each
goes with any projection head.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.cifar.methods.gather import gather_labels, gather_rows
from models.cifar.methods.settings import (
    LARGEST_QUEUE,
    MethodConfig,
    MoCoFeatureTransform,
    MomentumContrast,
    PairContrast,
    SupCon,
    TransFusion,
)
from models.encoders import EncoderConfig, build_encoder
from models.feature_transform import (
    draw_beta,
    draw_partners,
    extrapolate_positives,
    interpolate_negatives,
    interpolate_positives,
)
from models.heads import HeadConfig, build_head
from models.losses import Objective, info_nce, objective_from_name, view_pair_labels
from models.losses.common import widen
from models.momentum import FeatureQueue, MomentumCopy
from theory.affinity import unit_points


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

    @property
    def trained(self) -> nn.ModuleList:
        """What the optimizer changes."""
        return nn.ModuleList([self.encoder, self.head])

    @abstractmethod
    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        """The images that the encoder is trained on, and the loss of their features: apart, so that features may be
        computed in chunks (gradient_cache.py)."""

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss; under DistributedDataParallel that of the global batch, once gradients are averaged."""
        images, loss_of = self.prepare(batch)
        return loss_of(self.encoder(images))

    def after_step(self) -> None:
        """What follows the optimizer's step."""


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

    def __init__(self, encoder: nn.Module, head: nn.Module, config: MomentumContrast) -> None:
        super().__init__(encoder, head)
        self.config = config
        self.copies = nn.ModuleList(MomentumCopy(module, config.momentum) for module in (encoder, head))
        self.queue = FeatureQueue(config.queue_size or LARGEST_QUEUE, head.embedding_dim)
        self._keys: list[Tensor] = []

    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        pairs = [(batch.first, batch.second), (batch.second, batch.first)][: 1 + self.config.symmetric]
        with torch.no_grad():
            keys = [unit_points(widen(self.copies[1](self.copies[0](key)).embeddings)) for _, key in pairs]
        self._keys = keys

        def loss_of(features: Tensor) -> Tensor:
            output = self.head(features, views=len(pairs))
            streams = [widen(each.embeddings).chunk(len(pairs)) for each in (output, *output.auxiliary)]
            losses = [self._contrast(unit_points(q), k, batch) for queries in streams for q, k in zip(queries, keys)]
            return sum(losses[1:], start=losses[0]) / len(losses)

        return torch.cat([query for query, _ in pairs]), loss_of

    def _contrast(self, queries: Tensor, keys: Tensor, batch: Batch) -> Tensor:
        """InfoNCE; a pair is scored by the transformed features, negatives by the query itself."""
        negatives, pair, config = self.queue.features(), (queries, keys), self.config
        if isinstance(config, MoCoFeatureTransform) and batch.epoch >= config.transform_from_epoch:
            pair = _transformed_pair(config, queries, keys, batch.generator)
            negatives = _transformed_queue(config, negatives, batch.generator)
        # Autocast would narrow the product of queries and negatives.
        with torch.autocast(queries.device.type, enabled=False):
            scores = (pair[0] * pair[1]).sum(-1), queries @ negatives.mT
        return info_nce(*scores, config.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        for copy, module in zip(self.copies, (self.encoder, self.head)):
            copy.update(module)
        for keys in self._keys:
            self.queue.enqueue(gather_rows(keys))
        self._keys = []


def _transformed_pair(
    config: MoCoFeatureTransform, queries: Tensor, keys: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    if config.positives == "none":
        return queries, keys
    weights = _weights(config, config.positive_beta, queries, generator)
    if config.positives == "extrapolate":
        return extrapolate_positives(queries, keys, 1.0 + weights)
    return interpolate_positives(queries, keys, weights)


def _transformed_queue(config: MoCoFeatureTransform, negatives: Tensor, generator: torch.Generator) -> Tensor:
    if config.negatives == "none" or len(negatives) < 2:
        return negatives
    weights = _weights(config, config.negative_beta, negatives, generator)
    mixed = interpolate_negatives(negatives, weights, draw_partners(len(negatives), generator))
    return torch.cat([negatives, mixed]) if config.union else mixed


def _weights(config: MoCoFeatureTransform, beta: float, rows: Tensor, generator: torch.Generator) -> Tensor:
    shape = tuple(rows.shape) if config.dimension_wise else (len(rows),)
    return draw_beta(beta, beta, shape, generator, rows.dtype).to(rows.device)


def build_learner(
    method: MethodConfig, encoder: EncoderConfig, head: HeadConfig, generator: torch.Generator
) -> Learner:
    """A method's networks, initialized from ``generator`` and nothing else.

    Raises:
        ValueError: settings that do not fit each other.
    """
    network = build_encoder(encoder, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device="cpu")))
        projection = build_head(head, network.feature_dim)
    if isinstance(method, MomentumContrast):
        return MomentumLearner(network, projection, method)
    supervised = isinstance(method, SupCon) or (isinstance(method, TransFusion) and method.supervised)
    return BatchLearner(network, projection, _objective(method), supervised)


def _objective(method: MethodConfig) -> Objective:
    if isinstance(method, TransFusion):
        return objective_from_name("jsd", intermediate=method.intermediate)
    assert isinstance(method, PairContrast)
    name = "supcon" if isinstance(method, SupCon) else "nt_xent"
    return objective_from_name(name, normalize=method.normalize, temperature=method.temperature)

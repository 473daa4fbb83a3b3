"""The methods: what each makes of two views of a batch, as a loss that encoder and head are trained by.

simclr, supcon, transfusion and deepfusion compare the rows of the batch (SimCLR, arXiv 2002.05709; SupCon, arXiv
2004.11362; TransFusion and Deep Fusion, arXiv 2403.18681). moco compares queries with the keys of a momentum copy and a
queue of earlier keys (MoCo v2, arXiv 2003.04297), moco_ft after transforming these features (arXiv 2108.02982). Each
goes with any projection head.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.cifar.methods.settings import (
    LARGEST_QUEUE,
    MethodConfig,
    MoCoFeatureTransform,
    MomentumContrast,
    PairContrast,
    SupCon,
    TransFusion,
)
from models.devices.gather import gather_labels, gather_rows, rank, world_size
from models.devices.transfer import upload_together
from models.encoders import EncoderConfig, build_encoder, feature_dim_of
from models.feature_transform import (
    draw_beta,
    draw_partners,
    extrapolate_positives,
    interpolate_negatives,
    interpolate_positives,
)
from models.head_output import unit_or_zero
from models.heads import Head, HeadConfig, build_head
from models.losses import Objective, info_nce, objective_from_name
from models.losses.common import BatchLabels, widen
from models.momentum import FeatureQueue, MomentumCopy


@dataclass(frozen=True)
class Batch:
    """Two views of n images.

    Attributes:
        first, second: (n, C, H, W), row i of both from image i.
        labels: classes (n,) of the first views; read by supervised methods only.
        epoch: of the training, from 0.
        generator: for what a method draws itself; in all processes the same.
        exchanged: the second views are those of the next process's images, in all processes.
    """

    first: Float[Tensor, "n C H W"]
    second: Float[Tensor, "n C H W"]
    labels: Int[Tensor, " n"]
    epoch: int
    generator: torch.Generator
    exchanged: bool = False


# From encoder features (rows, D) of the online images to the loss.
LossOfFeatures = Callable[[Tensor], Tensor]


class Learner(nn.Module, ABC):
    """Encoder, head, and what a method needs beside them. ``forward`` is the loss of a batch."""

    def __init__(self, encoder: nn.Module, head: Head) -> None:
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

    def __init__(self, encoder: nn.Module, head: Head, objective: Objective, supervised: bool) -> None:
        super().__init__(encoder, head)
        self.objective, self.supervised = objective, supervised

    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        def loss_of(features: Tensor) -> Tensor:
            first, second = (gather_rows(view) for view in features.chunk(2))
            if batch.exchanged:
                # The last process has encoded the second views of the first one's images.
                second = second.roll(len(batch.first), 0)
            rows = torch.cat([first, second])
            if self.supervised:
                labels = BatchLabels.of_classes(gather_labels(batch.labels), 2)
            else:
                labels = BatchLabels.of_views(len(rows) // 2, 2, rows.device)
            return self.objective(self.head(rows, views=2), labels)

        return torch.cat([batch.first, batch.second]), loss_of


@final
class MomentumLearner(Learner):
    """moco and moco_ft: queries of the online networks, keys of their momentum copy, negatives from the queue.

    The queue takes the keys of a step after its loss; with several processes the keys of all. Heads that attend over
    the batch attend over the process's share of it.
    """

    def __init__(self, encoder: nn.Module, head: Head, config: MomentumContrast) -> None:
        super().__init__(encoder, head)
        self.config = config
        self.copies = nn.ModuleList(MomentumCopy(module, config.momentum) for module in (encoder, head))
        self.queue = FeatureQueue(config.queue_size or LARGEST_QUEUE, head.embedding_dim)
        self._keys: list[Tensor] = []

    def prepare(self, batch: Batch) -> tuple[Tensor, LossOfFeatures]:
        pairs = [(batch.first, batch.second), (batch.second, batch.first)][: 1 + self.config.symmetric]
        with torch.no_grad():
            keys = [unit_or_zero(widen(self.copies[1](self.copies[0](key)).embeddings)) for _, key in pairs]
        self._keys = keys

        def loss_of(features: Tensor) -> Tensor:
            output = self.head(features, views=len(pairs))
            streams = [widen(each.embeddings).chunk(len(pairs)) for each in (output, *output.auxiliary)]
            contrasts = [(unit_or_zero(q), k) for queries in streams for q, k in zip(queries, keys)]
            negatives, draws = self.queue.features(), self._draws(contrasts, batch)
            losses = [self._contrast(*pair, negatives, draw) for pair, draw in zip(contrasts, draws)]
            return sum(losses[1:], start=losses[0]) / len(losses)

        return torch.cat([query for query, _ in pairs]), loss_of

    def _draws(self, contrasts: list[tuple[Tensor, Tensor]], batch: Batch) -> list["Draws | None"]:
        """What the transformations of every contrast draw, one after the other, on the features' device."""
        config = self.config
        if not isinstance(config, MoCoFeatureTransform) or batch.epoch < config.transform_from_epoch:
            return [None] * len(contrasts)
        drawn = [_draw(config, queries, len(self.queue), batch.generator) for queries, _ in contrasts]
        # One transfer for all.
        there = iter(upload_together([each for draw in drawn for each in draw if each is not None], batch.first.device))
        return [Draws(*(None if each is None else next(there) for each in draw)) for draw in drawn]

    def _contrast(self, queries: Tensor, keys: Tensor, negatives: Tensor, draws: "Draws | None") -> Tensor:
        """InfoNCE; a pair is scored by the transformed features, negatives by the query itself or the transformed."""
        pair, against, config = (queries, keys), queries, self.config
        if draws is not None:
            assert isinstance(config, MoCoFeatureTransform)
            pair = _transformed_pair(config, queries, keys, draws)
            against = pair[0] if config.negatives_query == "transformed" else queries
            negatives = _transformed_queue(config, negatives, draws)
        # Autocast would narrow the product of queries and negatives.
        with torch.autocast(queries.device.type, enabled=False):
            scores = (pair[0] * pair[1]).sum(-1), against @ negatives.mT
        return info_nce(*scores, config.temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        for copy, module in zip(self.copies, (self.encoder, self.head)):
            assert isinstance(copy, MomentumCopy)
            copy.update(module)
        for keys in self._keys:
            self.queue.enqueue(gather_rows(keys))
        self._keys = []


class Draws(NamedTuple):
    """What one contrast's feature transformation draws; None where nothing is transformed.

    Attributes:
        positive, negative: weights of pairs and of the queue.
        partners: which rows of the queue are mixed.
    """

    positive: Tensor | None
    negative: Tensor | None
    partners: Tensor | None


def _draw(config: MoCoFeatureTransform, queries: Tensor, queued: int, generator: torch.Generator) -> Draws:
    """In this order, for queries (n, D), as many in every process, and a queue of so many rows.

    Every process draws for the pairs of all and keeps its own: their weights are independent, and what is drawn after
    them, for the queue, is the same everywhere."""
    positive = negative = partners = None
    if config.positives != "none":
        drawn = _weights(config, config.positive_beta, len(queries) * world_size(), queries, generator)
        positive = drawn.chunk(world_size())[rank()]
    if config.negatives != "none" and queued > 1:
        negative = _weights(config, config.negative_beta, queued, queries, generator)
        partners = draw_partners(queued, generator)
    return Draws(positive, negative, partners)


def _weights(config: MoCoFeatureTransform, beta: float, rows: int, like: Tensor, generator: torch.Generator) -> Tensor:
    shape = {"coordinate": (rows, like.shape[1]), "row": (rows,), "step": (1,)}[config.weights]
    drawn = draw_beta(beta, beta, shape, generator, like.dtype)
    return drawn.repeat(rows) if config.weights == "step" else drawn


def _transformed_pair(
    config: MoCoFeatureTransform, queries: Tensor, keys: Tensor, draws: Draws
) -> tuple[Tensor, Tensor]:
    weights = draws.positive
    if weights is None:
        return queries, keys
    if config.positives == "extrapolate":
        return extrapolate_positives(queries, keys, 1.0 + weights, normalize=config.renormalize)
    return interpolate_positives(queries, keys, weights, normalize=config.renormalize)


def _transformed_queue(config: MoCoFeatureTransform, negatives: Tensor, draws: Draws) -> Tensor:
    if draws.negative is None or draws.partners is None:
        return negatives
    mixed = interpolate_negatives(negatives, draws.negative, draws.partners, normalize=config.renormalize)
    return torch.cat([negatives, mixed]) if config.union else mixed


def build_learner(
    method: MethodConfig,
    encoder: EncoderConfig,
    head: HeadConfig,
    generator: torch.Generator,
    image_size: int | None = None,
) -> Learner:
    """A method's networks, initialized from ``generator`` and nothing else.

    Args:
        image_size: as in build_encoder.

    Raises:
        ValueError: settings that do not fit each other, or a factory that cannot be used.
    """
    network = build_encoder(encoder, generator, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device="cpu")))
        projection = build_head(head, feature_dim_of(network))
    if isinstance(method, MomentumContrast):
        return MomentumLearner(network, projection, method)
    supervised = isinstance(method, SupCon) or (isinstance(method, TransFusion) and method.supervised)
    return BatchLearner(network, projection, _objective(method), supervised)


def _objective(method: MethodConfig) -> Objective:
    if isinstance(method, TransFusion):
        return objective_from_name("jsd", intermediate=method.intermediate, readout=method.readout)
    assert isinstance(method, PairContrast)
    name = "supcon" if isinstance(method, SupCon) else "nt_xent"
    return objective_from_name(name, normalize=method.normalize, temperature=method.temperature)

"""What is measured after an epoch: features of validation images, and what the head makes of two views of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.views import ViewConfig, evaluation_view, make_view
from models.cifar.evaluation.features import encode_features, evaluating
from models.cifar.evaluation.measure import affinity_report, ceiling_report, score_report
from models.cifar.evaluation.probes import knn_scores
from models.cifar.methods.learners import Learner

# The kNN monitor's neighbours and temperature; the final probes choose theirs (probes.py).
NEIGHBOURS, TEMPERATURE = 20, 0.1
# Views for measurements are the same in all epochs.
VIEW_SEED = 20_220_601


@dataclass(frozen=True)
class EpochMeasures:
    """Rows of one epoch.

    Attributes:
        columns: for epochs.csv.
        layers: for layers.csv, one a reading or mixing block.
        scores: for scores.csv, one a bin of the histograms.
    """

    columns: dict
    layers: list[dict]
    scores: list[dict]


def measure_epoch(
    learner: Learner, splits: Splits, view: ViewConfig, device: torch.device, epoch: int, batch_size: int, count: int
) -> EpochMeasures:
    """Measure the networks as they stand, in evaluation mode.

    kNN classifies the validation images (the training images where there are none) by the training images' features h.
    Affinities, scores and angles are those of two fixed views of up to ``count`` of them, some of every class.
    """
    shown = splits.validation if len(splits.validation) else splits.train
    part = first_of_every_class(shown, count).to(device)
    with torch.no_grad(), evaluating(learner):
        plain = partial(evaluation_view, config=view)
        columns = {"knn": _monitor(learner, splits.train, shown, plain, batch_size, device)}
        draws = [torch.Generator().manual_seed(VIEW_SEED + i) for i in range(2)]
        features = [learner.encoder(make_view(part.images, view, draw)) for draw in draws]
        anchors = learner.encoder(plain(part.images))
        output = learner.head(torch.cat(features), views=2, trace=True)
    labels = part.labels.repeat(2)
    layers = [{"epoch": epoch, **row} for row in affinity_report(output, labels)]
    report = score_report(*output.embeddings.float().chunk(2))
    for name, pairs in (("positive", report.positive), ("negative", report.negative)):
        columns |= {f"{name}_mean": pairs.mean, f"{name}_variance": pairs.variance}
    columns |= {"alignment": report.alignment, "uniformity": report.uniformity}
    columns |= ceiling_report(anchors.float(), features[0].float(), part.labels)
    counts = list(zip(report.positive.counts.tolist(), report.negative.counts.tolist()))
    edges = [-1.0 + 2.0 * i / len(counts) for i in range(len(counts) + 1)]
    scores = [
        {"epoch": epoch, "from": low, "to": high, "positive": positive, "negative": negative}
        for low, high, (positive, negative) in zip(edges, edges[1:], counts)
    ]
    return EpochMeasures(columns, layers, scores)


def _monitor(
    learner: Learner,
    train: ImageSet,
    shown: ImageSet,
    view: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
) -> float:
    """Share of the validation images whose class their nearest training images tell; leave-one-out is not needed, as
    the two are disjoint, or (without validation images) the figure flatters."""
    found = [encode_features(learner.encoder, part.images, view, batch_size, device) for part in (train, shown)]
    count = len(train.class_names)
    scores = knn_scores(found[0], train.labels.to(device), found[1], min(NEIGHBOURS, len(train)), TEMPERATURE, count)
    return (scores.argmax(1).cpu() == shown.labels.cpu()).double().mean().item()


def first_of_every_class(images: ImageSet, count: int) -> ImageSet:
    """Up to ``count`` images, as many of each class as can be, in the order of the set."""
    each = max(2, count // len(images.class_names))
    kept = torch.zeros(len(images), dtype=torch.bool)
    for label in range(len(images.class_names)):
        kept[torch.nonzero(images.labels.cpu() == label)[:each, 0]] = True
    return images.subset(kept)

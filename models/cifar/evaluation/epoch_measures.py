"""What is measured after an epoch: features of validation images, and what the head makes of two views of them.

Every quantity is measured by itself, on what it can use: an image whose features are zero, a class of one image, images
of one class void nothing but what they are needed for, and ``EpochMeasures.left_out`` says so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from models.cifar.data.fingerprint import listed
from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.views import ViewConfig, evaluation_view, make_view, make_views
from models.cifar.evaluation.features import encode_features
from models.cifar.evaluation.measure import affinity_report, angle_report, ceiling_report, score_report
from models.cifar.evaluation.probes import knn_scores
from models.cifar.methods.learners import Learner
from models.devices.modes import evaluating
from models.head_output import HeadOutput

# The kNN monitor's neighbours and temperature; the final probes choose theirs (probes.py).
NEIGHBOURS, TEMPERATURE = 20, 0.1
# Views for measurements are the same in all epochs.
VIEW_SEED = 20_220_601
MORE_VALIDATION = "a larger data.validation_share or more images would do"


@dataclass(frozen=True)
class EpochMeasures:
    """Rows of one epoch.

    Attributes:
        columns: for epochs.csv; what could not be measured is not among them.
        layers: for layers.csv, one a reading or mixing block.
        scores: for scores.csv, one a bin of the histograms.
        left_out: for left_out.csv: quantity, and why something or all of it was left out.
    """

    columns: dict
    layers: list[dict]
    scores: list[dict]
    left_out: list[dict] = field(default_factory=list)


def measure_epoch(
    learner: Learner,
    splits: Splits,
    view: ViewConfig,
    device: torch.device,
    epoch: int,
    batch_size: int,
    count: int,
    monitor: bool = True,
    size: tuple[int, int] | None = None,
) -> EpochMeasures:
    """Measure the networks as they stand, in evaluation mode.

    kNN, unless there is no ``monitor``, classifies the validation images (the training images where there are none) by
    the training images' features h.
    Affinities, scores and angles are those of two fixed views of up to ``count`` of them, some of every class.

    Args:
        size: height and width of the epoch's views, which those for measurements have too: of others a network has
            other features, and a head that was trained on small views other affinities. None: the images' own.
    """
    shown = splits.validation if len(splits.validation) else splits.train
    part = first_of_every_class(shown, count).to(device)
    height = part.images.shape[2] if size is None else size[0]
    found = EpochMeasures({"view_height": height}, [], [])
    parts: dict[str, Callable[[], Iterator[str]]] = {}
    with torch.no_grad(), evaluating(learner):
        plain = partial(evaluation_view, config=view)
        if monitor:
            known, monitored = (
                encode_features(learner.encoder, images.images, plain, batch_size, device)
                for images in (splits.train, shown)
            )
            parts["kNN"] = partial(_monitor, known, monitored, splits.train, shown, found)
        draws = [torch.Generator().manual_seed(VIEW_SEED + i) for i in range(2)]
        features = [learner.encoder(each) for each in make_views(part.images, view, draws, size)]
        # Of strength 0 views are the images themselves, whatever is drawn.
        anchors = learner.encoder(make_view(part.images, replace(view, strength=0.0), draws[0], size))
        output = _head_output(learner, features)
    parts |= {
        "affinities": partial(_affinities, output, part, epoch, found),
        "scores": partial(_scores, output, epoch, found),
        "angles": partial(_angles, anchors.float(), features[0].float(), part, found),
    }
    for quantity, work in parts.items():
        try:
            for why in work():
                found.left_out.append({"epoch": epoch, "quantity": quantity, "why": why})
        except ValueError as error:
            found.left_out.append({"epoch": epoch, "quantity": quantity, "why": f"not measured: {error}"})
    return found


def _monitor(
    train_features: Tensor, features: Tensor, train: ImageSet, shown: ImageSet, found: EpochMeasures
) -> Iterator[str]:
    """Share of the validation images whose class their nearest training images tell; leave-one-out is not needed, as
    the two are disjoint, or (without validation images) the figure flatters."""
    if len(present_classes(train)) < 2:
        yield _one_class(train)
        return
    known, read = (_usable(rows) for rows in (train_features, features))
    if not bool(known.all()):
        yield f"{int((~known).sum())} of {len(known)} training features are zero or not finite, and no neighbours"
    if not bool(read.all()):
        yield f"{int((~read).sum())} of {len(read)} validation features are zero or not finite, and count as not found"
    if not bool(known.any()):
        yield "not measured: no training feature has a direction"
        return
    neighbours = min(NEIGHBOURS, int(known.sum()))
    if neighbours < NEIGHBOURS:
        yield f"{neighbours} neighbours instead of {NEIGHBOURS}, there are no more training images"
    right = torch.zeros(len(read), dtype=torch.bool)
    if bool(read.any()):
        labels = train.labels.to(known.device)[known]
        queries, classes = features[read], len(train.class_names)
        scores = knn_scores(train_features[known], labels, queries, neighbours, TEMPERATURE, classes)
        right[read.cpu()] = scores.argmax(1).cpu() == shown.labels.cpu()[read.cpu()]
    found.columns["knn"] = right.double().mean().item()


def _head_output(learner: Learner, features: list[Tensor]) -> HeadOutput | str:
    """The head's, or why it has none: heads refuse features that are not finite."""
    try:
        return learner.head(torch.cat(features), views=2, trace=True)
    except ValueError as error:
        return f"not measured: {error}"


def _affinities(output: HeadOutput | str, part: ImageSet, epoch: int, found: EpochMeasures) -> Iterator[str]:
    if isinstance(output, str) or len(present_classes(part)) < 2:
        yield output if isinstance(output, str) else _one_class(part)
        return
    # Both views of an image are of its class: a class of one image still has two rows.
    height = found.columns["view_height"]
    found.layers.extend(
        {"epoch": epoch, "view_height": height, **row}
        for row in affinity_report(output, part.labels.repeat(2), views=2)
    )


def _scores(output: HeadOutput | str, epoch: int, found: EpochMeasures) -> Iterator[str]:
    if isinstance(output, str):
        yield output
        return
    first, second = output.embeddings.float().chunk(2)
    kept = _usable(first) & _usable(second)
    if not bool(kept.all()):
        yield f"{int((~kept).sum())} of {len(kept)} images are left out, of which an embedding is zero or not finite"
    if int(kept.sum()) < 2:
        yield f"not measured: {int(kept.sum())} images have embeddings with a direction, it takes 2"
        return
    report = score_report(first[kept], second[kept])
    for name, pairs in (("positive", report.positive), ("negative", report.negative)):
        found.columns.update({f"{name}_mean": pairs.mean, f"{name}_variance": pairs.variance})
    found.columns.update({"alignment": report.alignment, "uniformity": report.uniformity})
    counts = list(zip(report.positive.counts.tolist(), report.negative.counts.tolist()))
    edges = [-1.0 + 2.0 * i / len(counts) for i in range(len(counts) + 1)]
    found.scores.extend(
        {"epoch": epoch, "from": low, "to": high, "positive": positive, "negative": negative}
        for low, high, (positive, negative) in zip(edges, edges[1:], counts)
    )


def _angles(anchors: Tensor, views: Tensor, part: ImageSet, found: EpochMeasures) -> Iterator[str]:
    kept = _usable(anchors) & _usable(views)
    if not bool(kept.all()):
        yield f"{int((~kept).sum())} of {len(kept)} images are left out, of which a feature is zero or not finite"
    if not bool(kept.any()):
        yield "not measured: no feature has a direction"
        return
    anchors, views, part = anchors[kept], views[kept], part.subset(kept)
    found.columns.update(angle_report(anchors, views))
    paired = in_larger_classes(part)
    larger = present_classes(part.subset(paired))
    alone = present_classes(part) - larger
    if len(present_classes(part)) < 2:
        yield f"theta_within, theta_between and the ceiling are {_one_class(part)}"
        return
    if len(larger) < 2:
        told = f"they need 2 classes of 2 validation images, {named(part, alone)} have one"
        yield f"theta_within, theta_between and the ceiling are not measured: {told}; {MORE_VALIDATION}"
        return
    if alone:
        yield f"theta_within and the ceiling leave out {named(part, alone)} of one validation image; {MORE_VALIDATION}"
    # Angles are those of all images, and only what needs pairs of a class is of the larger ones.
    found.columns.update(ceiling_report(anchors[paired], views[paired], part.labels[paired]) | found.columns)


def _usable(rows: Tensor) -> Tensor:
    """Mask of the rows that have a direction."""
    return torch.isfinite(rows).all(-1) & (rows != 0).any(-1)


def present_classes(images: ImageSet) -> set[int]:
    """Labels that occur."""
    return set(images.labels.unique().tolist())


def in_larger_classes(images: ImageSet, least: int = 2) -> Tensor:
    """Mask of the images whose class has at least ``least``."""
    counts = torch.bincount(images.labels, minlength=len(images.class_names))
    return counts[images.labels] >= least


def named(images: ImageSet, which: set[int] | None = None) -> str:
    """Some classes, or all that occur, as words."""
    names = [images.class_names[label] for label in sorted(present_classes(images) if which is None else which)]
    return f"class{'' if len(names) == 1 else 'es'} {listed(names)}"


def _one_class(images: ImageSet) -> str:
    """Why what needs labels is not measured, where there are none to speak of."""
    names = named(images)
    return f"not measured: all images are of {names}; it needs labels (train/CLASS/FILE, 2 classes or more)"


def first_of_every_class(images: ImageSet, count: int) -> ImageSet:
    """Up to ``count`` images, as many of each class as can be, in the order of the set."""
    each = max(2, count // len(images.class_names))
    kept = torch.zeros(len(images), dtype=torch.bool)
    for label in range(len(images.class_names)):
        kept[torch.nonzero(images.labels.cpu() == label)[:each, 0]] = True
    return images.subset(kept)

"""Images under views of several strengths, embedded for the advisor, and the critical strength that it says of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from models.advisor.critical_strength import critical_strength
from models.advisor.inputs.checks import check_strengths
from models.advisor.inputs.features import FeatureSet, feature_set
from models.cifar.data.images import ImageSet
from models.cifar.data.views import ViewConfig, make_view
from models.cifar.evaluation.epoch_measures import (
    MORE_VALIDATION,
    first_of_every_class,
    in_larger_classes,
    named,
    present_classes,
)
from models.cifar.evaluation.features import encode_features
from theory.numerics.inputs import require_values

# Every strength sees the same draws, and so does every epoch.
STRENGTH_SEED = 20_261_128


def check_view_strengths(strengths: Sequence[float], view: ViewConfig, name: str = "strengths") -> tuple[float, ...]:
    """Strengths that views can be embedded at, as floats.

    Raises:
        ValueError: fewer than two, not increasing from 0, or beyond what the views' settings leave room for.
    """
    require_values(strengths, name)
    try:
        levels = check_strengths(strengths, len(strengths))
        if len(levels) < 2:
            raise ValueError("needs 0 and at least one more")
        for level in levels:
            replace(view, strength=level)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('strengths: ')}") from error
    return levels


def embed_strengths(
    encoder: nn.Module,
    images: ImageSet,
    view: ViewConfig,
    strengths: Sequence[float],
    batch_size: int,
    device: torch.device,
    count: int | None = None,
    size: tuple[int, int] | None = None,
) -> FeatureSet:
    """Features h of images as they are and under one view of every strength, in evaluation mode; the same draws at all.

    Args:
        view: what strength 1 means; its own strength plays no part.
        batch_size: images encoded at a time, on which draws depend.
        count: only so many images, as many of each class as can be and at least two; None takes all.
        size: height and width of the views, and of the images as they are; None for the images' own.

    Raises:
        ValueError: as ``check_view_strengths``; features that the advisor cannot use (zero, not finite, all alike), or
            of as many classes as images; named.
    """
    levels = check_view_strengths(strengths, view)
    part = images if count is None else first_of_every_class(images, count)
    rows = _encoded_at(encoder, part, view, levels, batch_size, device, size)
    return _feature_set(rows, part, levels)


def _feature_set(rows: list[np.ndarray], part: ImageSet, levels: tuple[float, ...]) -> FeatureSet:
    names = np.array(part.class_names)
    return feature_set(rows[0], names[part.labels.cpu().numpy()], rows, levels, name=f"features of {part.name}")


def _encoded_at(
    encoder: nn.Module,
    part: ImageSet,
    view: ViewConfig,
    levels: tuple[float, ...],
    batch_size: int,
    device: torch.device,
    size: tuple[int, int] | None,
) -> list[np.ndarray]:
    found = []
    for level in levels:
        # Of strength 0 views are the images themselves, at that size.
        draw, seen_as = torch.Generator().manual_seed(STRENGTH_SEED), replace(view, strength=level)
        seen = partial(make_view, config=seen_as, generator=draw, size=size)
        rows = encode_features(encoder, part.images, seen, min(batch_size, len(part)), device)
        found.append(rows.float().cpu().numpy())
    return found


def critical_columns(
    encoder: nn.Module,
    images: ImageSet,
    view: ViewConfig,
    strengths: Sequence[float],
    batch_size: int,
    device: torch.device,
    count: int,
    size: tuple[int, int] | None = None,
) -> tuple[dict[str, float], list[str]]:
    """Columns of epochs.csv: critical_strength of ReLU attention with critical_low and critical_high; and in words,
    what was left out: classes of one image, and images whose features are zero at some strength. Views have the
    ``size`` (height and width) of a training's, which are what its strength is about; None for the images' own.

    A value that lies beyond the strengths is NaN with critical_low alone; all are NaN where attention does not see the
    classes.

    Raises:
        ValueError: as ``embed_strengths``, of what is left.
    """
    levels = check_view_strengths(strengths, view)
    said, part = [], first_of_every_class(images, count)
    kept = in_larger_classes(part)
    alone = present_classes(part) - present_classes(part.subset(kept))
    if len(present_classes(part)) - len(alone) < 2:
        raise ValueError(f"needs labels: 2 classes of 2 validation images, there are {len(part)} of {named(part)}")
    if alone:
        said.append(f"leaves out {named(part, alone)} of one validation image; {MORE_VALIDATION}")
    part = part.subset(kept)
    rows = _encoded_at(encoder, part, view, levels, batch_size, device, size)
    usable = np.all([np.isfinite(each).all(1) & each.any(1) for each in rows], axis=0)
    paired = torch.from_numpy(usable)
    paired[usable] = in_larger_classes(part.subset(paired))
    if not bool(paired.all()) and len(present_classes(part.subset(paired))) >= 2:
        said.append(f"leaves out {int((~paired).sum())} of {len(part)} images, with those whose features are zero")
        rows, part = [each[paired.numpy()] for each in rows], part.subset(paired)
    answer = critical_strength(_feature_set(rows, part, levels))
    found: dict = dict.fromkeys(("value", "low", "high")) if answer is None else vars(answer)
    value, low, high = (math.nan if found[name] is None else float(found[name]) for name in ("value", "low", "high"))
    return {"critical_strength": value, "critical_low": low, "critical_high": high}, said

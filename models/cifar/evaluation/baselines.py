"""What no training has to be thanked for: the pixels themselves, and the encoder at the weights that the seed gives it.

Learned features that tell less of the classes than either have lost it in training.

Pixels are those of the evaluation view, flattened; gray images have one channel. Images of more than 16 pixels a side
are averaged down to that first, and to 8 where there are many training images (VALUES): what natural images tell by
their pixels is in their coarse colors, and probes of 3,072 values would take longer than those of a network's features.

An untrained encoder in evaluation mode would normalize by mean 0 and variance 1, which no trained one does. Its batch
normalization therefore takes the statistics of the training images, by going over up to ``CALIBRATED`` of them once;
nothing else of it changes. A training that starts from a checkpoint is held against the seed's random weights too.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from scipy.stats import binomtest
from torch import Tensor, nn

from models.devices.modes import evaluating

PIXELS, UNTRAINED = "pixels", "untrained"
BASELINES = (PIXELS, UNTRAINED)
# Their names in sentences and figures.
BASELINE_NAMES = {PIXELS: "raw pixels", UNTRAINED: "untrained encoder"}
# The largest side that pixels are read at; the next where training images would have more than VALUES values.
SIDES = (16, 8)
VALUES = 2**24
CALIBRATED = 4096
# Images that are looked at together for their colors.
READ_AT_ONCE = 256

# Of the exact test by which images decide that one kind of features tells more than another.
LEVEL = 0.05
# Columns of a baseline's row: images whose class h alone finds, and the baseline alone.
H_ALONE, THIS_ALONE = "h_alone", "this_alone"

View = Callable[[Tensor], Tensor]


class Pixels(nn.Module):
    """Views to rows: averaged down to at most ``side`` pixels a side, flattened.

    Attributes:
        gray: read one channel, because all are alike.
    """

    def __init__(self, gray: bool, side: int = SIDES[0]) -> None:
        super().__init__()
        self.gray, self.side = gray, side

    def forward(self, views: Float[Tensor, "n C H W"]) -> Float[Tensor, "n d"]:
        """One row an image."""
        channels = views[:, :1] if self.gray else views
        height, width = (min(side, self.side) for side in channels.shape[2:])
        return F.adaptive_avg_pool2d(channels, (height, width)).flatten(1)


def pixels_of(*parts: UInt8[Tensor, "_ C H W"]) -> tuple[Pixels, str]:
    """How the pixels of some sets of images, of which the first is trained on, are read; and in words what that leaves
    out (nothing: empty)."""
    height, width = parts[0].shape[2:]
    some = (images for part in parts for images in part.split(READ_AT_ONCE))
    gray = all(bool((images == images[:, :1]).all()) for images in some)
    count = len(parts[0]) * (1 if gray else parts[0].shape[1])
    side = next((side for side in SIDES if count * min(side, height) * min(side, width) <= VALUES), SIDES[-1])
    if max(height, width) <= side:
        return Pixels(gray, side), ""
    return Pixels(gray, side), f"{height} x {width} pixels are averaged to {min(side, height)} x {min(side, width)}"


@torch.no_grad()
def calibrate(
    encoder: nn.Module,
    images: UInt8[Tensor, "N C H W"],
    view: View,
    batch_size: int,
    device: torch.device | str,
) -> nn.Module:
    """Give batch normalization the statistics of some images, averaged over their batches; returns the encoder.

    Args:
        encoder: on ``device``; its weights stay.
        images: the first CALIBRATED are read, in whole batches.
        view: as for ``encode_set``.

    Raises:
        ValueError: images that are not uint8 of that shape, none, batch_size below 1.
    """
    norms = [part for part in encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return encoder
    size = min(batch_size, len(images))
    count = max(size, min(CALIBRATED, len(images)) // size * size)
    momenta = [norm.momentum for norm in norms]
    with evaluating(encoder):
        for norm in norms:
            norm.reset_running_stats()
            # The mean over all batches.
            norm.momentum = None
            norm.train()
        _pass_through(encoder, images[:count], view, size, device)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    return encoder


def _pass_through(encoder: nn.Module, images: Tensor, view: View, size: int, device: torch.device | str) -> None:
    for batch in images.split(size):
        encoder(view(batch.to(device)))


def found_alone(h: Bool[Tensor, " n"] | None, this: Bool[Tensor, " n"] | None) -> dict[str, float]:
    """Of images whose class a probe finds on h, or on other features: how many on one of both alone; NaN where there is
    nothing to compare."""
    if h is None or this is None:
        return {H_ALONE: math.nan, THIS_ALONE: math.nan}
    return {H_ALONE: int((h & ~this).sum()), THIS_ALONE: int((this & ~h).sum())}


def sign_test(one: float, other: float) -> float:
    """Two-sided p-value of so many images against so many others, if each could as well be of the other kind; 1 where
    there are none, and where the numbers are not known."""
    if not one + other > 0:
        return 1.0
    return float(binomtest(round(one), round(one + other)).pvalue)


def below_baselines(rows: list[dict]) -> list[str]:
    """Lines for each probe by which learned features h tell less of the classes than a baseline: of test images, or of
    validation images where there are none to test on. Rows without numbers are below nothing. Whether these images
    decide it is asked of those that the probe finds on one of both features alone, by an exact sign test."""
    said = []
    column = "accuracy" if any(row["accuracy"] == row["accuracy"] for row in rows) else "validation_accuracy"
    found = {(row["features"], row["probe"]): row for row in rows}
    for kind, name in (("knn", "kNN"), ("linear", "linear probe")):
        learned = found[("h", kind)][column] if ("h", kind) in found else math.nan
        begin, decided = f"{name} on h {learned:.1%} is below", []
        for each in BASELINES:
            row = found.get((each, kind))
            if row is None or not learned < row[column]:
                continue
            words, alone = f"{BASELINE_NAMES[each]} {row[column]:.1%}", (row[H_ALONE], row[THIS_ALONE])
            chance = sign_test(*alone)
            if chance <= LEVEL:
                decided.append(words)
            else:
                said.append(
                    f"{begin} {words}, which these images do not decide: {alone[0]:.0f} are found on h alone, "
                    f"{alone[1]:.0f} there alone (exact sign test, p = {chance:.2g})"
                )
        if decided:
            said.append(
                f"{begin} {' and '.join(decided)}: what was learned tells less of the classes than what was not; "
                "other views (--view), another length or more images may help"
            )
    return said

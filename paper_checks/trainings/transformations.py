"""Which transformation has an image gone through? What h and z still know about it (SimCLR, section 4.2).

Every image is transformed in one of several ways, drawn at random; a linear probe has to name the way from the image's
features. Choices are made on validation images and the test images are read once, as for classes.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import UInt8
from torch import Tensor

from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.view_operations import turn_hue
from models.cifar.data.views import evaluation_view
from models.cifar.evaluation.features import LabelledFeatures, encode_set
from models.cifar.evaluation.probes import ProbeConfig, probe
from models.cifar.methods.learners import Learner
from models.cifar.training.config import TrainConfig

Images = UInt8[Tensor, "n C H W"]
# A fit to more images takes longer and says the same.
LARGEST_PART = 2000
BRIGHTNESS = (0.6, 1.0, 1.4)
NOISE = 0.1
DRAWS = 41


def _rotated(images: Images, way: int, generator: torch.Generator) -> Images:
    return torch.rot90(images, way, dims=(-2, -1))


def _brightened(images: Images, way: int, generator: torch.Generator) -> Images:
    return (images.float() * BRIGHTNESS[way]).clamp(0, 255).round().byte()


def _noisy(images: Images, way: int, generator: torch.Generator) -> Images:
    noise = 255.0 * NOISE * way * torch.randn(images.shape, generator=generator)
    return (images.float() + noise).clamp(0, 255).round().byte()


def _gray(images: Images, way: int, generator: torch.Generator) -> Images:
    return images.float().mean(1, keepdim=True).expand(images.shape).round().byte() if way else images


def _hue_turned(images: Images, way: int, generator: torch.Generator) -> Images:
    turned = turn_hue(images.float() / 255.0, torch.full((len(images),), 2.0 * math.pi * way / 3.0))
    return (255.0 * turned).clamp(0, 255).round().byte()


# name -> (number of ways, what the i-th of them does)
Transformation = Callable[[Images, int, torch.Generator], Images]
TRANSFORMATIONS: dict[str, tuple[int, Transformation]] = {
    "rotation": (4, _rotated),
    "brightness": (len(BRIGHTNESS), _brightened),
    "noise": (2, _noisy),
    "hue": (3, _hue_turned),
    "grayscale": (2, _gray),
}
OF_COLOR = ("hue", "grayscale")


def transformation_names(gray: bool) -> list[str]:
    """Those that change gray images, or all."""
    return [name for name in TRANSFORMATIONS if not (gray and name in OF_COLOR)]


def transformation_rows(config: TrainConfig, learner: Learner, splits: Splits, device: torch.device) -> list[dict]:
    """One row a transformation and kind of features: the linear probe's test accuracy, and chance.

    Images without color (all channels equal) are not asked about hue and grayscale.

    Raises:
        ValueError: features that are not finite.
    """
    pixels = splits.train.images
    rows = []
    for name in transformation_names(gray=bool((pixels == pixels[:, :1]).all())):
        ways, transform = TRANSFORMATIONS[name]
        parts = [
            _features(part, transform, ways, number, config, learner, device)
            for number, part in enumerate((splits.train, splits.validation, splits.test))
        ]
        for kind in ("h", "z"):
            train, validation, test = (LabelledFeatures(each[kind].float(), labels) for each, labels in parts)
            found = probe(train, validation, test, ProbeConfig("linear"))
            rows.append({"transformation": name, "features": kind, "ways": ways, "accuracy": found.accuracy,
                         "low": found.low, "high": found.high})  # fmt: skip
    return rows


def _features(
    part: ImageSet, transform: Transformation, ways: int, number: int, config: TrainConfig, learner: Learner,
    device: torch.device,
) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
    """Features of transformed images, and in which way each was transformed; the same for all runs."""
    generator = torch.Generator().manual_seed(DRAWS + number)
    chosen = part.images[torch.randperm(len(part), generator=generator)[:LARGEST_PART]]
    labels = torch.randint(ways, (len(chosen),), generator=generator)
    images = chosen.clone()
    for way in range(ways):
        images[labels == way] = transform(chosen[labels == way], way, generator)
    view = partial(evaluation_view, config=config.view)
    found = encode_set(learner.encoder, learner.head, images, view, min(config.batch_size, len(images)), device)
    return found, labels.to(device)

"""The settings of every method, each method's its own: what a method does not read cannot be said to it.

    MoCo(queue_size=1024)                     in Python
    --method.name moco --method.queue-size 1024     on a command line
    method_of("moco", queue_size=1024)        by name
    in_place_of(recipe.method, "deepfusion")  by name, with what a recipe says of the loss that both have

A setting that another one switches off (a Beta distribution of features that are not transformed) must be left as it
is.
"""

import math
from abc import ABC
from dataclasses import dataclass, fields
from typing import Any, Literal, final

from models.heads import HeadKind
from theory.numerics.inputs import require_choice, require_count, require_flags, require_number
from theory.numerics.limits import LARGEST_BATCH, LARGEST_EPOCHS

# Keys of a queue that is not given a size.
LARGEST_QUEUE = 4096

MethodName = Literal["simclr", "supcon", "moco", "moco_ft", "transfusion", "deepfusion"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig(ABC):
    """Which method, and its own settings.

    Raises:
        ValueError: another method's name.
    """

    name: MethodName
    """Each has settings of its own: --method.name NAME --help lists them."""

    def __post_init__(self) -> None:
        require_flags(self)
        own = next(each.default for each in fields(self) if each.name == "name")
        require_choice(self.name, "name", (str(own),))


@dataclass(frozen=True, kw_only=True)
class PairContrast(MethodConfig, ABC):
    """What NT-Xent and SupCon, one formula with different positives, can be told.

    Raises:
        ValueError: temperature not positive.
    """

    temperature: float = 0.5
    """Above 0; scores are divided by it."""
    normalize: bool = True
    """Compare cosines; False compares inner products of embeddings as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.temperature, "temperature", 0.0, math.inf, closed="neither")


@final
@dataclass(frozen=True, kw_only=True)
class SimCLR(PairContrast):
    """SimCLR (arXiv 2002.05709): NT-Xent between two views."""

    name: MethodName = "simclr"


@final
@dataclass(frozen=True, kw_only=True)
class SupCon(PairContrast):
    """SupCon (arXiv 2004.11362): all rows of a class are positives."""

    name: MethodName = "supcon"
    temperature: float = 0.1
    """Above 0; scores are divided by it."""


@final
@dataclass(frozen=True, kw_only=True)
class DeepFusion(PairContrast):
    """Deep Fusion (the revision of arXiv 2403.18681): NT-Xent behind a softmax transformer over the batch."""

    name: MethodName = "deepfusion"


@final
@dataclass(frozen=True, kw_only=True)
class TransFusion(MethodConfig):
    """TransFusion (arXiv 2403.18681): the affinity of every block against the ideal one.

    Raises:
        ValueError: intermediate negative or infinite, an unknown readout.
    """

    name: MethodName = "transfusion"
    supervised: bool = False
    """The target affinity comes from the labels instead of the view pairs."""
    intermediate: float = 1.0
    """Weight of the loss on every block before the last, whose weight is 1; needs a head of several blocks."""
    readout: Literal["squared_relu", "relu"] = "squared_relu"
    """The affinity that the loss reads off cosines: their positive parts, squared or as they are, over row sums."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.intermediate, "intermediate", 0.0, math.inf, closed="left")
        require_choice(self.readout, "readout", ("squared_relu", "relu"))


@dataclass(frozen=True, kw_only=True)
class MomentumContrast(MethodConfig, ABC):
    """What methods with a momentum copy and a queue can be told.

    Raises:
        ValueError: temperature not positive, momentum outside [0, 1], a queue below 1.
    """

    temperature: float = 0.2
    """Above 0; scores are divided by it."""
    momentum: float = 0.99
    """In [0, 1]; the momentum copy keeps this share at each step."""
    queue_size: int | None = None
    """Keys that serve as negatives. None: 4096, or half the training images if they are fewer: images come in another
    order every epoch, and seldom meet their own key of the epoch before. At half the images one query of eight does,
    more where an epoch has few steps; at 4096 of 50,000 images, in batches of 256, one of some 280."""
    symmetric: bool = False
    """Each view is query once, and key once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.temperature, "temperature", 0.0, math.inf, closed="neither")
        require_number(self.momentum, "momentum", 0.0, 1.0)
        if self.queue_size is not None:
            require_count(self.queue_size, "queue_size", 1, LARGEST_BATCH)


@final
@dataclass(frozen=True, kw_only=True)
class MoCo(MomentumContrast):
    """MoCo v2 (arXiv 2003.04297): queries against keys of a momentum copy and a queue of earlier keys."""

    name: MethodName = "moco"


@final
@dataclass(frozen=True, kw_only=True)
class MoCoFeatureTransform(MomentumContrast):
    """MoCo with feature transformation (arXiv 2108.02982).

    The authors' code (github.com/DTennant/CL-Visualizing-Feature-Transformation, with the command that its README
    gives) has momentum .999, weights step and negatives_query transformed, and does not normalize again.

    Raises:
        ValueError: an unknown choice, a Beta parameter not positive, or a setting of what is not done: positive_beta
            and negatives_query where positives are left as they are, negative_beta and union where negatives are; both
            as they are, which is moco.
    """

    name: MethodName = "moco_ft"
    positives: Literal["extrapolate", "interpolate", "none"] = "extrapolate"
    """What is done to query and key before their score."""
    positive_beta: float = 2.0
    """a of Beta(a, a); the weight is 1 + Beta to extrapolate, Beta to interpolate."""
    negatives: Literal["interpolate", "none"] = "interpolate"
    """What is done to the queue."""
    negative_beta: float = 1.6
    """b of Beta(b, b)."""
    weights: Literal["coordinate", "row", "step"] = "coordinate"
    """Of the transformations: drawn for every coordinate, once a row, or once for all rows of a step (of each view, if
    symmetric), for pairs and for the queue apart."""
    negatives_query: Literal["plain", "transformed"] = "plain"
    """Negatives are scored by the query as it is, or by the transformed one that its key is scored by."""
    renormalize: bool = False
    """Transformed queries, keys and negatives are normalized again, so that all scores are cosines."""
    union: bool = False
    """The untransformed queue serves as negatives too."""
    transform_from_epoch: int = 0
    """Features are transformed from this epoch on, the first being 0; below epochs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self.positives, "positives", ("extrapolate", "interpolate", "none"))
        require_choice(self.negatives, "negatives", ("interpolate", "none"))
        require_choice(self.weights, "weights", ("coordinate", "row", "step"))
        require_choice(self.negatives_query, "negatives_query", ("plain", "transformed"))
        for name in ("positive_beta", "negative_beta"):
            require_number(getattr(self, name), name, 0.0, math.inf, closed="neither")
        require_count(self.transform_from_epoch, "transform_from_epoch", 0, LARGEST_EPOCHS)
        if self.positives == self.negatives == "none":
            raise ValueError("positives, negatives: one must be transformed; without either the method is moco")
        for side, setting in (("positives", "positive_beta"), ("positives", "negatives_query"),
                              ("negatives", "negative_beta"), ("negatives", "union")):  # fmt: skip
            if getattr(self, side) == "none" and getattr(self, setting) != getattr(type(self), setting):
                raise ValueError(f"{setting}: nothing reads it where {side} is none")


METHODS: dict[str, type[MethodConfig]] = {
    each.name: each for each in (SimCLR, SupCon, MoCo, MoCoFeatureTransform, TransFusion, DeepFusion)
}
# The head that a method is published with, where that is not an MLP.
HEAD_OF: dict[str, HeadKind] = {"transfusion": "transfusion", "deepfusion": "deepfusion"}


def setting_names(name: str) -> tuple[str, ...]:
    """What a method can be told beside its name.

    Raises:
        ValueError: an unknown name.
    """
    require_choice(name, "name", tuple(METHODS))
    return tuple(each.name for each in fields(METHODS[name]) if each.name != "name")


def method_of(name: str, **settings: Any) -> MethodConfig:
    """The configuration of a method by its name.

    Raises:
        ValueError: an unknown name, a setting that the method does not have, or a value out of range; named.
    """
    known = setting_names(name)
    for each in settings:
        if each not in known:
            raise ValueError(f"{each}: is no setting of {name}, which has {', '.join(known)}")
    return METHODS[name](**settings)


def in_place_of(method: MethodConfig, name: str, **settings: Any) -> MethodConfig:
    """Another method where a recipe names this one: it keeps what was said of settings that both have and that both
    were published with at one value, as the temperature of NT-Xent in SimCLR and in Deep Fusion; the rest is its own
    default.

    Raises:
        ValueError: as ``method_of``.
    """
    new, old = METHODS.get(name), type(method)
    shared = [each for each in (setting_names(name) if new is not None else ())
              if each in setting_names(method.name) and getattr(new, each) == getattr(old, each)]  # fmt: skip
    return method_of(name, **{each: getattr(method, each) for each in shared} | settings)

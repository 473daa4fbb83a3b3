"""Encoders of small images: residual networks (He et al., arXiv 1512.03385) with the stem that suits CIFAR.

The stem is one 3 x 3 convolution of stride 1 without max-pooling, as SimCLR uses on CIFAR (arXiv 2002.05709, appendix
B.9), so that an image keeps its size in the first stage; every later stage halves it and doubles the channels. Features
are the means over what is left of the image: 1 x 1 for 8 x 8 images and a ResNet, 8 x 8 for 64 x 64 images.

Batch normalization couples the rows of a batch in training, and in contrastive learning that can leak which rows
belong together (MoCo, arXiv 1911.05722, section 3.3). Group normalization (arXiv 1803.08494) does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.foreign.encoder_factory import FEATURE_DIM, made_by_factory, require_name
from theory.numerics.inputs import require_array, require_choice, require_count, require_flags, require_range
from theory.numerics.limits import LARGEST_CHANNELS

EncoderKind = Literal["resnet18", "resnet34", "resnet50", "small"]
NormKind = Literal["batch", "group"]

# Blocks of each stage.
STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "small": (1, 1, 1)}
# Channels of the first stage that EncoderConfig.width = None stands for.
RESNET_WIDTH = 64
SMALL_WIDTH = 16
# Group normalization: 32 groups (its paper's choice), or fewer, so that a group has at least 4 channels. In the last
# stage an 8 x 8 image is down to one pixel, and a group of one channel would be normalized to zero.
MAX_GROUPS = 32
MIN_GROUP_CHANNELS = 4
# Parts of the last map, each way.
LARGEST_POOL = 16


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and its sizes.

    Raises:
        ValueError: an unknown choice, or a count below 1.
    """

    kind: EncoderKind = "small"
    """resnet18 and resnet34 have basic blocks, resnet50 bottlenecks; small has one basic block in each of three stages
    and trains on two CPU cores."""
    width: int | None = None
    """Channels of the first stage; None takes 64 for ResNets and 16 for small."""
    norm: NormKind = "batch"
    """batch: BatchNorm, which couples the rows of a batch in training. group: GroupNorm, which does not."""
    in_channels: int = 3
    """Channels of an image."""
    zero_last_norm: bool = False
    """Start every block as its shortcut, by scaling its last normalization by zero (arXiv 1706.02677, section 5.1)."""
    stem_stride: int = 1
    """1 or 2. 2: the stem takes every second pixel each way, which makes all that follows four times cheaper."""
    features: int | None = None
    """A last 1 x 1 convolution with normalization widens the last stage to so many features before the mean over
    pixels; it costs little, and probes read more from it. None: none."""
    pool_size: int | None = None
    """Means over pool_size x pool_size parts of the last map, all of them features, instead of over all of it: features
    keep where something is, and are pool_size^2 times as many. None: over all of it, as in ResNets."""
    factory: str | None = None
    """Anybody's encoder instead, as MODULE:FUNCTION: a function of no arguments that returns a torch.nn.Module from
    images (n, 3, H, W) to features (n, D). Its code is imported and run. A checkpoint keeps the name alone, and whoever
    reads it has to name the factory again."""

    def __post_init__(self) -> None:
        require_flags(self)
        require_choice(self.kind, "kind", get_args(EncoderKind))
        require_choice(self.norm, "norm", get_args(NormKind))
        require_count(self.in_channels, "in_channels", 1, LARGEST_CHANNELS)
        if self.width is not None:
            require_count(self.width, "width", 1, LARGEST_CHANNELS)
        require_range(require_count(self.stem_stride, "stem_stride", 1), "stem_stride", 1, 2)
        if self.features is not None:
            require_count(self.features, "features", 1, LARGEST_CHANNELS)
        if self.pool_size is not None:
            require_count(self.pool_size, "pool_size", 1, LARGEST_POOL)
        if self.factory is not None:
            require_name(self.factory)

    @property
    def first_width(self) -> int:
        """width, or what None stands for."""
        default = SMALL_WIDTH if self.kind == "small" else RESNET_WIDTH
        return default if self.width is None else self.width


@final
class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; the first has the stride."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(inputs, width, 3, stride), norm(width)
        self.conv2, self.norm2 = _convolution(width, width, 3), norm(width)
        self.shortcut = _shortcut(inputs, width * self.expansion, stride, norm)

    @property
    def last_norm(self) -> nn.Module:
        """The normalization before the sum."""
        return self.norm2

    def forward(self, images: Float[Tensor, "n C H W"]) -> Float[Tensor, "n K h w"]:
        hidden = self.norm1(self.conv1(images)).relu()
        return (self.norm2(self.conv2(hidden)) + self.shortcut(images)).relu()


@final
class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 around a shortcut, four times as wide at the end; the 3 x 3 one has the
    stride, as is usual since the paper (where the first had it): a strided 1 x 1 convolution skips pixels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.norm1 = _convolution(inputs, width, 1), norm(width)
        self.conv2, self.norm2 = _convolution(width, width, 3, stride), norm(width)
        self.conv3, self.norm3 = _convolution(width, outputs, 1), norm(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, norm)

    @property
    def last_norm(self) -> nn.Module:
        """The normalization before the sum."""
        return self.norm3

    def forward(self, images: Float[Tensor, "n C H W"]) -> Float[Tensor, "n K h w"]:
        hidden = self.norm1(self.conv1(images)).relu()
        hidden = self.norm2(self.conv2(hidden)).relu()
        return (self.norm3(self.conv3(hidden)) + self.shortcut(images)).relu()


@final
class Encoder(nn.Module):
    """Stem, stages of residual blocks, and the mean over pixels, or means over parts of the image.

    Attributes:
        in_channels: C, channels of an image.
        feature_dim: D, coordinates of a feature: 512 for ResNet-18 and -34, 2048 for ResNet-50, 64 for small, at their
            default widths.
    """

    def __init__(self, config: EncoderConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        block = Bottleneck if config.kind == "resnet50" else BasicBlock
        norm = nn.BatchNorm2d if config.norm == "batch" else _group_norm
        width = config.first_width
        self.in_channels = config.in_channels
        self.conv, self.norm = _convolution(config.in_channels, width, 3, config.stem_stride), norm(width)
        blocks, inputs = [], width
        for stage, depth in enumerate(STAGES[config.kind]):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, width << stage, stride, norm))
                inputs = (width << stage) * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.widening: nn.Module = nn.Identity()
        if config.features is not None:
            self.widening = nn.Sequential(_convolution(inputs, config.features, 1), norm(config.features), nn.ReLU())
            inputs = config.features
        self.pool_size = config.pool_size or 1
        self.feature_dim = inputs * self.pool_size**2
        self._initialize(config.zero_last_norm, generator)

    def _initialize(self, zero_last_norm: bool, generator: torch.Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al., arXiv 1502.01852: the variance of gradients is kept on the way back.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        if zero_last_norm:
            for block in self.blocks:
                assert isinstance(block, BasicBlock | Bottleneck)
                nn.init.zeros_(block.last_norm.get_parameter("weight"))

    def forward(self, images: Float[Tensor, "n C H W"]) -> Float[Tensor, "n D"]:
        """Features of all images.

        Args:
            images: (n, C, H, W), contiguous or channels_last; meant for 8 x 8 to 64 x 64 pixels. Not checked for NaN.

        Raises:
            ValueError: images of another shape, none, or so small that parts of the last map are without pixels
                (pool_size); with batch normalization in training, a batch that leaves one value a channel (one 8 x 8
                image in a ResNet).
        """
        require_array(images, "images")
        if not images.dtype.is_floating_point:
            raise ValueError(f"images: expected a floating dtype, got {images.dtype}")
        if images.ndim != 4 or images.shape[1] != self.in_channels or 0 in images.shape:
            expected = f"(n, {self.in_channels}, H, W) with n, H, W >= 1"
            raise ValueError(f"images: expected shape {expected}, got {tuple(images.shape)}")
        maps = self.widening(self.blocks(self.norm(self.conv(images)).relu()))
        if self.pool_size == 1:
            return maps.mean((2, 3))
        if min(maps.shape[2:]) < self.pool_size:
            size = " x ".join(map(str, maps.shape[2:]))
            raise ValueError(f"pool_size: must lie in [1, {min(maps.shape[2:])}], images leave a map of {size} pixels, "
                             f"got {self.pool_size}")  # fmt: skip
        # In steps of whole pixels: torch's adaptive pooling adds up gradients in no fixed order on a GPU.
        rows = maps.tensor_split(self.pool_size, 2)
        return torch.cat([part.mean((2, 3)) for row in rows for part in row.tensor_split(self.pool_size, 3)], 1)


def build_encoder(
    config: EncoderConfig, generator: torch.Generator | None = None, image_size: int | None = None
) -> nn.Module:
    """The encoder that a configuration describes, with an attribute ``feature_dim``; float32, on torch's default
    device: the CPU, or ``meta`` inside ``torch.device("meta")``, where no memory is spent.

    Args:
        config: kind and sizes; or a factory, whose code is imported and run.
        generator: draws the weights, and nothing else is drawn; None takes torch's default generator: seed it before.
        image_size: that of the images that a factory's encoder is tried on where it does not tell D; None takes 32.

    Raises:
        ValueError: a factory that cannot be used (models/foreign/encoder_factory.py).
    """
    if config.factory is not None:
        return made_by_factory(config.factory, generator, image_size)
    return Encoder(config, generator)


def feature_dim_of(encoder: nn.Module) -> int:
    """D of what ``build_encoder`` has made.

    Raises:
        ValueError: the module has no whole number for it.
    """
    found = getattr(encoder, FEATURE_DIM, None)
    if not isinstance(found, int):
        raise ValueError(f"encoder: expected a whole number as its feature_dim, got {found!r:.60}")
    return found


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    # No bias: a normalization follows, which has its own. skip_init: torch would draw weights that are drawn again. It
    # goes to the CPU unless told, also where the device is to be meta and sizes are looked at before memory is spent.
    where = torch.get_default_device()
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, stride, size // 2, bias=False, device=where)


def _shortcut(inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    """The identity, or a 1 x 1 convolution where the shape changes."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return _Projection(stride, _convolution(inputs, outputs, 1), norm(outputs))


class _Projection(nn.Sequential):
    """A 1 x 1 convolution of every stride-th pixel, and a normalization.

    The pixels are picked before the convolution: oneDNN writes outside its memory in the weights' gradient of a strided
    1 x 1 convolution of few channels in channels_last order (github.com/uxlfoundation/oneDNN/issues/6035). They are
    picked as means of one pixel each: the gradient of indexing is not in channels_last order, and all that follows on
    the way back would be an eighth slower.
    """

    def __init__(self, stride: int, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.stride = stride

    def forward(self, images: Float[Tensor, "n C H W"]) -> Float[Tensor, "n K h w"]:
        return super().forward(functional.avg_pool2d(images, 1, self.stride))


def _group_norm(channels: int) -> nn.GroupNorm:
    """At most MAX_GROUPS groups of equal size, of MIN_GROUP_CHANNELS channels or more where there are so many."""
    most = max(1, min(MAX_GROUPS, channels // MIN_GROUP_CHANNELS))
    return nn.GroupNorm(max(groups for groups in range(1, most + 1) if channels % groups == 0), channels)

"""Random views of images, on the device that holds them: SimCLR's augmentations, each of which can be switched off.
By default crops keep a fifth of the area or more; the paper's keep .08 or more (min_area).

Every image has parameters of its own. They are drawn first, all of them from the given generator and in one go, so
that they depend on nothing else: not on what the images show, nor on which augmentations are switched on. Two
configurations with one seed therefore see the same crops, and differ only in what they are told to do. Rotations came
later: they are drawn in a second go, where they are switched on, so that all other seeds mean what they always did.

A view's strength S scales all of them together, from 0 (the image itself) over 1 (what the settings say) to the largest
that they leave room for. With one seed a stronger view is the same view carried further.

Order: rotation about the crop's center, crop, flip, color jitter (its four operations in an order drawn for each
image), grayscale, blur, noise, normalization.

Nothing here asks the device for a number: every image goes through every operation, those that are not meant for it
with a factor that changes nothing, so that shapes depend on the configuration alone. What a batch is told to do is
worked out where it was drawn, and sent to the device as one table.

Source: Chen et al. 2020, arXiv 2002.05709, appendices A and B.9 (CIFAR-10: strength 0.5 and no blur).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from models.cifar.data.view_operations import (
    HUE,
    blur,
    crop_and_mirror,
    crop_maps,
    gray,
    jitter,
    jitter_steps,
    turned_maps,
)
from models.devices.transfer import upload
from theory.numerics.inputs import require_count, require_flags, require_number, require_values

# Width over height of a crop lies between these, uniformly on a logarithmic scale.
ASPECT_RATIOS = (3 / 4, 4 / 3)
# A crop that sticks out is drawn again, so many times; then it is as much of the image as its aspect ratio allows.
CROP_ATTEMPTS = 10
FLIP_PROBABILITY = 0.5
JITTER_PROBABILITY = 0.8
# Ranges at strength 1: factors 1 +- 0.8, and +- 0.2 of a full turn of hue.
JITTER_RANGE, HUE_RANGE = 0.8, 0.2
LARGEST_STRENGTH = 2.5
# In degrees.
LARGEST_ROTATION = 180.0
BLUR_SIGMAS = (0.1, 2.0)
# Bytes of float32 images that are worked on at a time on a CPU.
CPU_PART_BYTES = 512 * 2**10


@dataclass(frozen=True)
class ViewConfig:
    """What views are made of.

    Raises:
        ValueError: a value out of range, or a strength that carries one out of it; named.
    """

    strength: float = 1.0
    """Scales all augmentations: the share of the area that a crop may leave out, color jitter, the probabilities of
    grayscale and blur, noise, and up to 1 that of a flip. At 0 views are the images; at most what keeps all of them in
    their ranges (below 1.25 by default, where crops would have no area)."""
    crop: bool = True
    """Resize a random part of the image to the size of the whole (bilinear)."""
    min_area: float = 0.2
    """In (0, 1]: the smallest share of the image's area that a crop keeps; the largest is all of it. SimCLR's is
    0.08."""
    flip: bool = True
    """Mirror left and right, with probability 0.5."""
    rotation: float = 0.0
    """In [0, 180]: the largest turn in degrees, uniform to either side; beyond its edges an image goes on as they are.
    Part of the same resampling as the crop."""
    color_jitter: float = 0.5
    """Strength s in [0, 2.5], applied with probability 0.8; 0 switches it off. Factors of brightness, contrast and
    saturation are uniform in 1 +- 0.8 s (never negative), the turn of hue in +- 0.2 s of the full circle."""
    grayscale: float = 0.2
    """Probability."""
    blur: float = 0.0
    """Probability; Gaussian, with a standard deviation of 0.1 to 2 pixels."""
    noise_level: float = 0.0
    """Standard deviation of Gaussian noise on every value, where black is 0 and white 1; not clipped, so that it is
    exactly this. (theory/ has the norm of a point's whole noise instead: sqrt(3 H W) times as much.)"""
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    """Subtracted from red, green and blue in [0, 1]. Default: CIFAR-10's."""
    std: tuple[float, float, float] = (0.2470, 0.2435, 0.2616)
    """Then divided by. Mean 0 and std 1 leave values in [0, 1]."""

    def __post_init__(self) -> None:
        require_flags(self)
        require_number(self.min_area, "min_area", 0.0, 1.0, closed="right")
        require_number(self.rotation, "rotation", 0.0, LARGEST_ROTATION)
        require_number(self.color_jitter, "color_jitter", 0.0, LARGEST_STRENGTH)
        for name in ("grayscale", "blur"):
            require_number(getattr(self, name), name, 0.0, 1.0)
        require_number(self.noise_level, "noise_level", 0.0, 1e6)
        for name in ("mean", "std"):
            if len(require_values(getattr(self, name), name)) != 3:
                raise ValueError(f"{name}: must have 3 numbers, one a channel, got {getattr(self, name)}")
        for value in self.mean:
            require_number(value, "mean", -math.inf, math.inf, closed="neither")
        for value in self.std:
            require_number(value, "std", 0.0, math.inf, closed="neither")
        self._check_strength()

    def _check_strength(self) -> None:
        require_number(self.strength, "strength", 0.0, math.inf, closed="left")
        largest = {"rotation": LARGEST_ROTATION, "color_jitter": LARGEST_STRENGTH, "grayscale": 1.0, "blur": 1.0}
        for name, most in largest.items():
            if self.scaled(name) > most:
                limit = f"at most {most / getattr(self, name):.4g}"
                raise ValueError(f"strength: must be {limit}, which carries {name} to {most:g}, got {self.strength:g}")
        if self.crop and self.scaled("min_area") <= 0.0:
            limit = f"below {1.0 / (1.0 - self.min_area):.4g}"
            raise ValueError(f"strength: must be {limit}, where crops have no area left, got {self.strength:g}")

    def scaled(self, name: str) -> float:
        """rotation, color_jitter, grayscale, blur, noise_level or min_area at this strength."""
        if name == "min_area":
            # In this form exact at strengths 0 and 1.
            return self.min_area + (1.0 - self.strength) * (1.0 - self.min_area)
        return self.strength * getattr(self, name)


@dataclass(frozen=True, eq=False)
class ViewParameters:
    """What is done to each of n images.

    Attributes:
        crop: left, top, width and height in shares of the image's width and height.
        flipped: mirrored or not.
        turn: of the image, in radians, clockwise; all 0 where rotations are switched off.
        jittered: color jitter or not.
        jitter: factors of brightness, contrast and saturation, and the turn of hue in radians.
        order: of these four, by their column in ``jitter``.
        gray: without color or not.
        blurred: blurred or not.
        blur_sigma: in pixels.
    """

    crop: Float32[Tensor, "n 4"]
    flipped: Bool[Tensor, " n"]
    turn: Float32[Tensor, " n"]
    jittered: Bool[Tensor, " n"]
    jitter: Float32[Tensor, "n 4"]
    order: Int64[Tensor, "n 4"]
    gray: Bool[Tensor, " n"]
    blurred: Bool[Tensor, " n"]
    blur_sigma: Float32[Tensor, " n"]


def make_view(
    images: UInt8[Tensor, "n 3 H W"],
    config: ViewConfig,
    generator: torch.Generator,
    size: tuple[int, int] | None = None,
) -> Float32[Tensor, "n 3 h w"]:
    """A random view of each image.

    Args:
        images: RGB, 0 to 255, contiguous or channels_last, which the views are then too.
        generator: on the images' device or on the CPU; what is drawn is then sent to the device.
        size: as :func:`make_views`.

    Returns:
        Normalized views on the images' device.

    Raises:
        ValueError: as :func:`make_views`.
    """
    return make_views(images, config, [generator], size)[0]


def make_views(
    images: UInt8[Tensor, "n 3 H W"],
    config: ViewConfig,
    generators: Sequence[torch.Generator],
    size: tuple[int, int] | None = None,
) -> tuple[Float32[Tensor, "n 3 h w"], ...]:
    """As many random views of each image as there are generators, each as ``make_view`` makes it, but in one go: with
    one transfer to the device, or two where there is noise.

    Args:
        size: height and width of the views; the crop's resampling makes them. None: the images' own.

    Raises:
        ValueError: images of another shape or dtype, a size below 1.
    """
    _require_images(images)
    n, channels, height, width = images.shape
    high, wide = (height, width) if size is None else size
    require_count(high, "size", 1)
    require_count(wide, "size", 1)
    if n == 0:
        return tuple(torch.zeros(0, channels, high, wide, device=images.device) for _ in generators)
    tables, noises = [], []
    for generator in generators:
        tables.append(_table(draw_parameters(n, width / height, config, generator), config, width / height))
        if config.scaled("noise_level") > 0.0:
            drawn = torch.randn(n, channels, high, wide, generator=generator, device=generator.device)
            noises.append(drawn.mul_(config.scaled("noise_level")))
    noise = upload(torch.cat(noises), images.device) if noises else None
    images = torch.cat([images] * len(generators)) if len(generators) > 1 else images
    views = _apply(images, upload(torch.cat(tables), images.device), config, noise, (high, wide))
    return views.chunk(len(generators))


def evaluation_view(images: UInt8[Tensor, "n 3 H W"], config: ViewConfig) -> Float32[Tensor, "n 3 H W"]:
    """The images themselves, scaled to [0, 1] and normalized as their views are.

    Raises:
        ValueError: images of another shape or dtype.
    """
    _require_images(images)
    return _normalized(_scaled(images), config)


def draw_parameters(n: int, aspect: float, config: ViewConfig, generator: torch.Generator) -> ViewParameters:
    """Parameters of views of n images, on the generator's device.

    Args:
        aspect: width over height of the images.
    """
    uniform = torch.rand(n, 2 * CROP_ATTEMPTS + 15, generator=generator, device=generator.device)
    areas, ratios, place, factors, order, rest = uniform.split([CROP_ATTEMPTS, CROP_ATTEMPTS, 2, 4, 4, 5], dim=1)
    color_jitter = config.scaled("color_jitter")
    reach = JITTER_RANGE * color_jitter
    low, high = max(0.0, 1.0 - reach), 1.0 + reach
    hue = 2.0 * math.pi * min(0.5, HUE_RANGE * color_jitter)
    jitter = torch.cat([low + (high - low) * factors[:, :3], hue * (2.0 * factors[:, 3:] - 1.0)], dim=1)
    turn = torch.zeros(n, device=generator.device)
    if config.scaled("rotation") > 0.0:
        drawn = torch.rand(n, generator=generator, device=generator.device)
        turn = math.radians(config.scaled("rotation")) * (2.0 * drawn - 1.0)
    return ViewParameters(
        crop=_crops(areas, ratios, place, aspect, config.scaled("min_area")),
        flipped=rest[:, 0] < FLIP_PROBABILITY * min(1.0, config.strength),
        turn=turn,
        jittered=rest[:, 1] < JITTER_PROBABILITY,
        jitter=jitter,
        order=order.argsort(dim=1),
        gray=rest[:, 2] < config.scaled("grayscale"),
        blurred=rest[:, 3] < config.scaled("blur"),
        blur_sigma=BLUR_SIGMAS[0] + (BLUR_SIGMAS[1] - BLUR_SIGMAS[0]) * rest[:, 4],
    )


def _crops(
    areas: Float[Tensor, "n tries"],
    ratios: Float[Tensor, "n tries"],
    place: Float[Tensor, "n 2"],
    aspect: float,
    min_area: float,
) -> Float[Tensor, "n 4"]:
    """From uniform numbers: of several crops the first that fits, at a place where it does."""
    low, high = (math.log(ratio) for ratio in ASPECT_RATIOS)
    # In shares of the image, where the image is a square.
    ratios = torch.exp(low + (high - low) * ratios) / aspect
    areas = min_area + (1.0 - min_area) * areas
    sizes = torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], dim=-1)
    fits = (sizes <= 1.0).all(dim=-1)
    first = fits.to(torch.uint8).argmax(dim=1)
    rows = torch.arange(len(sizes), device=sizes.device)
    # None fits: as large as the aspect ratio allows.
    nearest = min(max(aspect, ASPECT_RATIOS[0]), ASPECT_RATIOS[1]) / aspect
    some, (width, height) = fits.any(dim=1), sizes[rows, first].unbind(dim=1)
    largest = min(1.0, nearest), min(1.0, 1.0 / nearest)
    size = torch.stack([torch.where(some, width, largest[0]), torch.where(some, height, largest[1])], dim=1)
    return torch.cat([place * (1.0 - size), size], dim=1)


def apply_parameters(
    images: UInt8[Tensor, "n 3 H W"],
    parameters: ViewParameters,
    config: ViewConfig,
    noise: Float32[Tensor, "n 3 H W"] | None = None,
) -> Float32[Tensor, "n 3 H W"]:
    """The views that parameters describe; what the configuration switches off is left out.

    Args:
        noise: added before normalization.
    """
    height, width = images.shape[2:]
    table = _table(parameters, config, width / height)
    return _apply(images, upload(table, images.device), config, noise, (height, width))


# The columns of a table, in this order, and how many each has.
COLUMNS = {"map": 6, "flip": 1, "factor": 6, "toward_gray": 6, "toward_mean": 6, "turn": 1, "gray": 1, "blur": 1,
           "sigma": 1}  # fmt: skip


def _table(parameters: ViewParameters, config: ViewConfig, aspect: float) -> Float32[Tensor, "n columns"]:
    """What is done to each image as numbers that the operations take, so that one transfer carries all of it."""
    flip = parameters.flipped & config.flip
    factor, toward_gray, toward_mean = jitter_steps(parameters.order, parameters.jitter, parameters.jittered)
    crop = parameters.crop if config.crop else _uncropped(parameters.crop)
    maps = crop_maps(crop, flip)
    columns = {
        "map": turned_maps(maps, parameters.turn, aspect) if config.rotation > 0.0 else maps,
        "flip": flip[:, None],
        "factor": factor,
        "toward_gray": toward_gray,
        "toward_mean": toward_mean,
        "turn": torch.where(parameters.jittered, parameters.jitter[:, HUE], 0.0)[:, None],
        "gray": parameters.gray[:, None],
        "blur": parameters.blurred[:, None],
        "sigma": parameters.blur_sigma[:, None],
    }
    return torch.cat([columns[name].to(torch.float32) for name in COLUMNS], dim=1)


def _uncropped(crop: Float32[Tensor, "n 4"]) -> Float32[Tensor, "n 4"]:
    """Boxes that are the images."""
    return torch.cat([torch.zeros_like(crop[:, :2]), torch.ones_like(crop[:, 2:])], dim=1)


def _apply(
    images: UInt8[Tensor, "n 3 H W"],
    table: Float32[Tensor, "n columns"],
    config: ViewConfig,
    noise: Float32[Tensor, "n 3 h w"] | None,
    size: tuple[int, int],
) -> Float32[Tensor, "n 3 h w"]:
    layout = _memory_format(images)
    if config.strength == 0.0 and size == images.shape[2:]:
        # Resampling and unit factors would still round.
        return evaluation_view(images, config).contiguous(memory_format=layout)
    # On a CPU a few images at a time, which its caches hold; a GPU takes them all.
    each = 4 * images[0].numel()
    count = max(1, CPU_PART_BYTES // each) if images.device.type == "cpu" else len(images)
    noises = [None] * math.ceil(len(images) / count) if noise is None else noise.split(count)
    parts = [_apply_to_part(*part, config, size) for part in zip(images.split(count), table.split(count), noises)]
    return (torch.cat(parts) if len(parts) > 1 else parts[0]).contiguous(memory_format=layout)


def _apply_to_part(
    images: Tensor, table: Tensor, noise: Tensor | None, config: ViewConfig, size: tuple[int, int]
) -> Tensor:
    todo = dict(zip(COLUMNS, table.split(list(COLUMNS.values()), dim=1)))
    views = _scaled(images)
    if config.crop or config.rotation > 0.0 or size != images.shape[2:]:
        views = crop_and_mirror(views, todo["map"], size)
    elif config.flip:
        views = torch.where(todo["flip"][:, :, None, None] > 0.0, views.flip(-1), views)
    if config.color_jitter > 0.0:
        steps = todo["factor"], todo["toward_gray"], todo["toward_mean"]
        views = jitter(views.contiguous(), *steps, todo["turn"][:, 0])
    if config.grayscale > 0.0:
        views = torch.where(todo["gray"][:, :, None, None] > 0.0, gray(views)[:, None], views)
    if config.blur > 0.0:
        views = blur(views, todo["blur"], todo["sigma"])
    if noise is not None:
        views = views + noise
    return _normalized(views, config)


def _require_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"images: expected uint8 of shape (n, 3, H, W), got {images.dtype} of shape {tuple(images.shape)}"
        )


def _memory_format(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _scaled(images: UInt8[Tensor, "n 3 H W"]) -> Float32[Tensor, "n 3 H W"]:
    return images.to(torch.float32).div_(255.0)


def _normalized(images: Float32[Tensor, "n 3 H W"], config: ViewConfig) -> Float32[Tensor, "n 3 H W"]:
    """In place. Channel by channel, because a tensor of means would have to be sent to the device."""
    for channel, mean, std in zip(images.unbind(dim=1), config.mean, config.std):
        channel.sub_(mean).div_(std)
    return images

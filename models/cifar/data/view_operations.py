"""The operations that views are made of, each on all images of a batch.

An image that an operation is not meant for gets a factor with which it changes nothing: nobody has to ask which are.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# What red, green and blue add to an image's gray (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Columns of ViewParameters.jitter.
CONTRAST, SATURATION, HUE = 1, 2, 3
# The kernel's side is this share of the image's height, rounded to an odd number.
BLUR_KERNEL = 0.1


def crop_maps(crop: Float[Tensor, "n 4"], flipped: Bool[Tensor, " n"]) -> Float[Tensor, "n 6"]:
    """Crop, resize and mirror as one affine map from places in the view to places in the image, both in [-1, 1]; its
    matrix row by row."""
    left, top, width, height = crop.unbind(dim=1)
    zero = torch.zeros_like(width)
    across = torch.where(flipped, -width, width)
    rows = [across, zero, 2.0 * left + width - 1.0, zero, height, 2.0 * top + height - 1.0]
    return torch.stack(rows, dim=1)


def turned_maps(maps: Float[Tensor, "n 6"], turn: Float[Tensor, " n"], aspect: float) -> Float[Tensor, "n 6"]:
    """The maps of views (crop_maps) of images that are turned clockwise about the crop's center first.

    Args:
        turn: in radians.
        aspect: width over height of the images: angles are kept in pixels, not in shares of the sides.
    """
    across, _, x, _, down, y = maps.unbind(dim=1)
    cosine, sine = turn.cos(), turn.sin()
    rows = [across * cosine, down * sine / aspect, x, -across * sine * aspect, down * cosine, y]
    return torch.stack(rows, dim=1)


def crop_and_mirror(
    images: Float[Tensor, "n 3 H W"], maps: Float[Tensor, "n 6"], size: tuple[int, int]
) -> Float[Tensor, "n 3 h w"]:
    """The images under their maps (crop_maps), resized to height and width; bilinear."""
    grid = F.affine_grid(maps.unflatten(1, (2, 3)), [*images.shape[:2], *size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def turn_hue(images: Float[Tensor, "n 3 H W"], turn: Float[Tensor, " n"]) -> Float[Tensor, "n 3 H W"]:
    """Turn the hue of each image by an angle in radians, in HSV.

    kornia.enhance.adjust_hue computes the same by way of HSV images, in more than twice the time.
    """
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    red, green, blue = images.unbind(dim=1)
    # Gray has no hue; any will do, because chroma multiplies it by 0.
    divisor = torch.where(chroma == 0.0, 1.0, chroma)[:, 0]
    peak = value[:, 0]
    hue = torch.where(
        peak == red,
        (green - blue) / divisor,
        torch.where(peak == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    # In sixths of a turn: how far a channel lies below the value depends on the hue's distance from its own.
    hue = hue + (turn * (3.0 / math.pi))[:, None, None]
    own = torch.arange(5.0, 0.0, -2.0, device=images.device, dtype=images.dtype)
    sixths = torch.remainder(hue[:, None] + own[:, None, None], 6.0)
    return value - chroma * torch.minimum(sixths, 4.0 - sixths).clamp_(0.0, 1.0)


def jitter_steps(
    order: Int64[Tensor, "n 4"], factors: Float[Tensor, "n 4"], jittered: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, "n 6"], Float[Tensor, "n 6"], Float[Tensor, "n 6"]]:
    """Brightness, contrast and saturation as three steps before the turn of hue and three after it.

    All of them blend an image with something gray: f x + (1 - f) g, where g is black, its mean gray or its gray. A step
    holds the operation of its turn, if that is on its side of hue, or f = 1.

    Args:
        order, factors, jittered: ViewParameters.order, jitter and jittered.

    Returns:
        f, and 1 - f where g is the gray, and where g is the mean gray; 0 elsewhere.
    """
    turns = torch.arange(4, device=order.device)
    hue = (order == HUE).to(torch.uint8).argmax(dim=1, keepdim=True)
    columns = torch.cat([order[:, :3], order[:, 1:]], dim=1)
    active = torch.cat([turns[:3] < hue, turns[1:] > hue], dim=1) & jittered[:, None]
    factor = torch.where(active, factors.gather(1, columns), 1.0)
    rest = 1.0 - factor
    return factor, torch.where(columns == SATURATION, rest, 0.0), torch.where(columns == CONTRAST, rest, 0.0)


def gray(images: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n H W"]:
    """Each pixel's luma."""
    red, green, blue = images.unbind(dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def jitter(
    images: Float[Tensor, "n 3 H W"],
    factor: Float[Tensor, "n 6"],
    toward_gray: Float[Tensor, "n 6"],
    toward_mean: Float[Tensor, "n 6"],
    turn: Float[Tensor, " n"],
) -> Float[Tensor, "n 3 H W"]:
    """Three of the steps (jitter_steps), the turn of hue, and three more. In place."""
    steps = zip(factor.unbind(dim=1), toward_gray.unbind(dim=1), toward_mean.unbind(dim=1))
    for step, (scale, to_gray, to_mean) in enumerate(steps):
        if step == 3:
            images = turn_hue(images, turn)
        shift = gray(images)
        mean = shift.mean(dim=(1, 2)).mul_(to_mean)
        shift.mul_(to_gray[:, None, None]).add_(mean[:, None, None])
        images = images.mul_(scale[:, None, None, None]).add_(shift[:, None]).clamp_(0.0, 1.0)
    return images


def blur(
    images: Float[Tensor, "n 3 H W"], blurred: Float[Tensor, "n 1"], sigma: Float[Tensor, "n 1"]
) -> Float[Tensor, "n 3 H W"]:
    """Gaussian blur, mirrored at the edges; the others by a kernel that is 1 at its center. The kernel is a tenth as
    wide as the image is high, and no wider than can be mirrored."""
    n, _, height, width = images.shape
    radius = min(max(3, 2 * (int(BLUR_KERNEL * height) // 2) + 1) // 2, height - 1, width - 1)
    places = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = (places / sigma).square_().mul_(-0.5).exp_()
    kernel = torch.where(blurred > 0.0, kernel / kernel.sum(dim=1, keepdim=True), (places == 0.0).to(images.dtype))
    kernel = kernel.repeat_interleave(3, dim=0)
    planes = F.pad(images, (radius,) * 4, mode="reflect").reshape(1, 3 * n, height + 2 * radius, width + 2 * radius)
    for shape in ((-1, 1), (1, -1)):
        planes = F.conv2d(planes, kernel.unflatten(1, shape)[:, None], groups=3 * n)
    return planes.reshape(n, 3, height, width)

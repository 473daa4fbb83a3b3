"""Anybody's images as uint8 (n, 3, H, W): which axis has the channels, and which range of numbers black and white.

Nothing is guessed that could be wrong: 8-bit integers are what they are, floats must lie in [0, 1], and whatever else
there is (normalized floats, 16-bit integers) has lost what it meant and is refused.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from models.cifar.data.images import SMALLEST_SIZE
from theory.numerics.inputs import as_numpy

# What Pillow turns into RGB of 8 bits without loss of range.
MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB")
# Rows that are worked on at once, so that floats take no second copy of all.
AT_ONCE = 1024


def batch_pixels(images: Any, where: str) -> UInt8[np.ndarray, "n 3 H W"]:
    """A copy of images in an array, contiguous.

    Args:
        images: NumPy array or tensor on any device: (n, H, W, 3), (n, 3, H, W), or gray as (n, H, W), (n, H, W, 1) or
            (n, 1, H, W), H and W at least 4; uint8, or floats in [0, 1], which are rounded to 255ths.

    Raises:
        ValueError: another shape or dtype, or values outside the range; names ``where``.
    """
    array = _as_array(images, where)
    if array.ndim == 3:
        array = array[:, None]
    last = array.ndim == 4 and array.shape[3] in (1, 3)
    first = array.ndim == 4 and array.shape[1] in (1, 3)
    if last == first or min(array.shape[1:3] if last else array.shape[2:]) < SMALLEST_SIZE:
        raise ValueError(
            f"{where}: expected shape (n, H, W, 3), (n, 3, H, W) or gray (n, H, W), H and W at least {SMALLEST_SIZE}, "
            f"got {np.shape(images)}"
        )
    if last:
        array = array.transpose(0, 3, 1, 2)
    pixels = np.empty((len(array), 3, *array.shape[2:]), dtype=np.uint8)
    for start in range(0, len(array), AT_ONCE):
        pixels[start : start + AT_ONCE] = _as_bytes(array[start : start + AT_ONCE], where, start)
    return pixels


def image_pixels(image: Any, where: str) -> UInt8[np.ndarray, "3 H W"]:
    """One image: of Pillow, or an array as in ``batch_pixels`` without its first axis.

    Raises:
        ValueError: as there, or a mode of Pillow that has no 8 bits a channel.
    """
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            raise ValueError(f"{where}: has mode {image.mode}; convert it to 8 bits a channel")
        image = np.asarray(image.convert("RGB"))
    return batch_pixels(_as_array(image, where)[None], where)[0]


def _as_array(images: Any, where: str) -> np.ndarray:
    if not isinstance(images, np.ndarray) and not hasattr(images, "detach"):
        raise ValueError(f"{where}: expected an array or a tensor, got a {type(images).__name__}")
    array = as_numpy(images)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"{where}: expected uint8, or floats in [0, 1], got {array.dtype}")
    return array


def _as_bytes(array: np.ndarray, where: str, start: int) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    # NaN fails the comparisons.
    inside = ((array >= 0) & (array <= 1)).reshape(len(array), -1).all(axis=1)
    if not inside.all():
        row = int(np.argmin(inside))
        low, high = float(array[row].min()), float(array[row].max())
        raise ValueError(
            f"{where}: floats must lie in [0, 1], image {start + row} has [{low:g}, {high:g}]; leave normalization "
            "out, views have their own"
        )
    return np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)

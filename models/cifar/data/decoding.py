"""One image file: from its bytes to upright RGB pixels of 8 bits a channel."""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from models.cifar.data.limits import pixel_problem

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# EXIF's tag, and what turns an image upright; 1 is upright.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
BITS_PER_SAMPLE = 258
# What is opened, by content: not PostScript, say, whose decoder runs programs, under another name.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
# Formats that Pillow may read 16 bits of into 32; PPM files say what white is, and have been scaled by it.
SIXTEEN_IN_32 = ("PNG", "PPM")
# Values of deeper images that end below this were not brought to 16 bits, and would come out black.
FILLS_16_BITS = 4096
# Of PNG files: kind of color -> channels, and how many of them are not alpha.
CHANNELS = {2: (3, 3), 4: (2, 1), 6: (4, 3)}
# Adam7: first column and row of every pass, and the steps between its columns and rows.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

TURNED = "turned upright, as their EXIF orientation says"
SCALED = "with 16 bits a channel, scaled to 8"
OPAQUE = "with transparency, which is dropped"
FRAMES = "with several frames, of which the first is read"


class Decoded(NamedTuple):
    """Pixels (H, W, 3), uint8, and what was done to get them."""

    pixels: np.ndarray
    remarks: tuple[str, ...]


@contextmanager
def own_limits() -> Iterator[None]:
    """Where Pillow does not warn about sizes that ``pixel_problem`` lets pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def decode(data: bytes) -> Decoded:
    """An encoded image, upright, RGB.

    Gray, palette, CMYK and 1-bit images become RGB, 16 bits become 8 (white to white), transparency is dropped; of
    several frames the first is taken.

    What a copy that was broken off leaves as zeros is noticed where the format tells: PNG by its checksums, JPEG where
    its end is among it. BMP, PPM, TIFF and WebP have nothing to hold their pixels against.

    Raises:
        ValueError: too many pixels (known before they are decoded), values of no known range, or of 10 to 15 bits that
            were put into 16 without being scaled; a JPEG file without its end.
        Exception: whatever the decoder raises on damaged data.
    """
    remarks = []
    with _opened(data) as image:
        problem = pixel_problem(*image.size)
        if problem:
            raise ValueError(problem)
        _require_whole(image, data)
        # Some cameras' JPEG files have a second, smaller picture: nobody would call these animated.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            remarks.append(FRAMES)
        deep = _is_deep(image, data)
        image.load()
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
        if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
            remarks.append(OPAQUE)
        gray_16 = image.mode[0] in "IF"
        if gray_16:
            pixels = _gray_of_16_bits(image)
        else:
            if image.mode == "P" and "transparency" in image.info:
                # Directly to RGB, transparent entries of the palette would be warned about.
                image = image.convert("RGBA")
            pixels = np.asarray(image.convert("RGB"))
            # Pillow has kept the upper 8 of 16 bits.
            if deep and not (image.format == "PNG" and not pixels.any() and is_black(data)):
                _require_filled(256 * int(pixels.max()))
        if deep or gray_16:
            remarks.append(SCALED)
        if turn is not None:
            pixels = np.asarray(Image.fromarray(pixels).transpose(turn))
            remarks.append(TURNED)
    return Decoded(pixels, tuple(remarks))


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        # Pillow's own words name an object in memory.
        raise ValueError("no image in a format that is read" if data else "it is empty") from error


def _require_whole(image: Image.Image, data: bytes) -> None:
    """Refuse what Pillow's decoder fills with black or gray and says nothing.

    Raises:
        ValueError: a JPEG file without its end.
        Exception: whatever Pillow raises on a PNG file whose checksums are not those of its content.
    """
    if image.format == "PNG":
        # Nothing can be read of an image that was verified: this is another one.
        with _opened(data) as another:
            another.verify()
    if image.format in ("JPEG", "MPO") and not _has_end(data):
        raise ValueError("it is truncated: its end was cut off, or overwritten with zeros")


def _has_end(jpeg: bytes) -> bool:
    """Whether the end of the first picture follows its segments; what stands behind it is anybody's."""
    place = 0
    while place + 1 < len(jpeg):
        marker = jpeg[place + 1]
        if jpeg[place] != 0xFF:
            # Compressed pixels, in which 0xFF is followed by zero or a restart.
            place = jpeg.find(b"\xff", place)
            if place < 0:
                return False
        elif marker == 0xD9:
            return True
        elif marker == 0xFF:
            place += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 2
        else:
            place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return False


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a color image has 16 bits a channel, of which Pillow drops 8 without a word."""
    if image.format == "PNG":
        return data[12:16] == b"IHDR" and data[24] == 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (8,))) > 8
    # PPM files say what white is, and Pillow heeds it.
    return False


def _gray_of_16_bits(image: Image.Image) -> np.ndarray:
    known = image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_IN_32)
    values = np.asarray(image).astype(np.int64) if known else None
    if values is None or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"mode {image.mode} has values of no known range; convert it to 8 or 16 bits")
    if image.format != "PPM" and values.any():
        _require_filled(int(values.max()))
    # Rounded: 65535 = 255 * 257.
    return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=-1)


def is_black(png: bytes) -> bool:
    """Whether a whole PNG file of 16 bits a channel has no color but black; alpha may be anything.

    A filter makes a byte out of those at the same place of neighbouring pixels, and none of zeros alone: what is stored
    of a place is zero everywhere if and only if the pixels are.

    Args:
        png: whose checksums have been found right, with color of kind 2, 4 or 6.
    """
    # Behind the signature.
    place, head, parts = 8, b"", []
    while place + 8 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4], "big")
        name, content = png[place + 4 : place + 8], png[place + 8 : end]
        if name == b"IHDR":
            head = content
        elif name == b"IDAT":
            parts.append(content)
        place = end + 4
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    channels, colors = CHANNELS[head[9]]
    passes = PASSES if head[12] else ((0, 0, 1, 1),)
    sizes = [(-(-(height - row) // down), -(-(width - column) // right)) for column, row, right, down in passes]
    sizes = [(rows, across) for rows, across in sizes if rows > 0 and across > 0]
    length = sum(rows * (1 + 2 * channels * across) for rows, across in sizes)
    # What is stored beyond the pixels is of none, and can be a thousand times as long as the file.
    stored = np.frombuffer(zlib.decompressobj().decompress(b"".join(parts), length), dtype=np.uint8)
    begin = 0
    for rows, across in sizes:
        # Of every row the first byte says which filter it has.
        lines = stored[begin : begin + rows * (1 + 2 * channels * across)].reshape(rows, -1)
        begin += lines.size
        if lines[:, 1:].reshape(rows, across, channels, 2)[:, :, :colors].any():
            return False
    return True


def _require_filled(largest: int) -> None:
    if largest < FILLS_16_BITS:
        raise ValueError(
            f"16 bits a channel, but no value reaches {FILLS_16_BITS}: 12-bit data, it seems, that would come out "
            "black; scale it to the full range"
        )


def fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle, resized (bicubic, with antialiasing); (H, W, 3) to (size, size, 3)."""
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box))

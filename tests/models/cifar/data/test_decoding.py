"""One image file: upright, 8 bits a channel, or refused by name; expected values are worked out by hand."""

import io
import struct
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from models.cifar.data import limits
from models.cifar.data.decoding import (
    FRAMES,
    OPAQUE,
    ORIENTATION,
    PASSES,
    SCALED,
    TURNED,
    decode,
    fit,
    is_black,
    own_limits,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def saved(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(values, kind, header=None):
    """A PNG file of 16 bits a channel, which Pillow does not write in color: kind 2 RGB, 4 gray and alpha, 6 RGBA."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = header or values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# What a viewer shows of stored pixels, by EXIF's own words: where the stored first row and first column go.
UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a[:, ::-1].swapaxes(0, 1),
    9: lambda a: a, 0: lambda a: a,
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_images_are_turned_upright(orientation, form, options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    found = decode(saved(Image.fromarray(PIXELS), form, exif=exif, **options))
    np.testing.assert_array_equal(found.pixels, UPRIGHT[orientation](PIXELS))
    if form != "TIFF":  # which the decoder itself turns
        assert found.remarks == ((TURNED,) if 2 <= orientation <= 8 else ())


def test_a_turned_photograph():
    """Left half red, right half blue, orientation 6: red is above."""
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    image.paste((0, 0, 255), (8, 0, 16, 16))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    pixels = decode(saved(image, "JPEG", quality=100, exif=exif)).pixels.astype(int)
    assert np.abs(pixels[2] - [255, 0, 0]).max() < 10
    assert np.abs(pixels[13] - [0, 0, 255]).max() < 10


DEEP = RNG.integers(0, 65536, (4, 6), dtype=np.uint16)
DEEP[0, :4] = 0, 128, 129, 65535


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_gray_of_16_bits_is_rounded_to_8(form):
    found = decode(saved(Image.fromarray(DEEP), form))
    np.testing.assert_array_equal(found.pixels, np.rint(DEEP / 257.0)[..., None].repeat(3, -1))
    assert found.pixels[0, :4, 0].tolist() == [0, 0, 1, 255]
    assert found.remarks == (SCALED,)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_color_of_16_bits_becomes_8(kind, channels):
    values = RNG.integers(0, 65536, (4, 6, channels))
    found = decode(png(values, kind))
    wanted = values[..., :3] if channels > 2 else values[..., :1].repeat(3, -1)
    assert np.abs(found.pixels - wanted / 257.0).max() <= 1.0
    assert SCALED in found.remarks
    assert (OPAQUE in found.remarks) == (channels != 3)


@pytest.mark.parametrize("largest", [255, 1023, 4095])
@pytest.mark.parametrize("gray", [True, False])
def test_fewer_bits_in_16_are_refused_instead_of_black(largest, gray):
    values = RNG.integers(0, largest + 1, (8, 8, 3))
    values[0, 0] = largest
    data = saved(Image.fromarray(values[..., 0].astype(np.uint16))) if gray else png(values, 2)
    with pytest.raises(ValueError, match="no value reaches 4096: 12-bit data"):
        decode(data)
    values[0, 0] = 4096
    decode(saved(Image.fromarray(values[..., 0].astype(np.uint16))) if gray else png(values, 2))


def test_twelve_bits_that_say_so_are_scaled():
    """A PGM file names its white."""
    values = np.array([[0, 1024, 4095]], dtype=">u2")
    assert decode(b"P5 3 1 4095\n" + values.tobytes()).pixels[0, :, 0].tolist() == [0, 64, 255]


def test_black_is_black():
    assert decode(saved(Image.fromarray(np.zeros((4, 4), np.uint16)))).pixels.max() == 0


@pytest.mark.parametrize("values", [np.ones((4, 4), np.float32), np.full((4, 4), 70000, np.int32)])
def test_values_of_no_known_range_are_refused(values):
    with pytest.raises(ValueError, match="no known range"):
        decode(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize(("form", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})])
def test_of_several_frames_the_first_is_read(form, options):
    frames = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (40, 200, 90)]
    several = decode(saved(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert np.abs(several.pixels.astype(int) - 40).max() == 0
    assert several.remarks == (FRAMES,)
    assert decode(saved(frames[0], form, **options)).remarks == ()


def test_transparency_is_dropped_and_said():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0] = 200
    found = decode(saved(Image.fromarray(pixels)))
    assert found.pixels[0, 0].tolist() == [200, 0, 0]
    assert found.remarks == (OPAQUE,)
    palette = Image.fromarray(PIXELS).quantize(4)
    assert decode(saved(palette, transparency=0)).remarks == (OPAQUE,)
    assert decode(saved(palette)).remarks == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "no image in a format that is read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "no image in a format that is read"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "no image in a format that is read"),
        (saved(Image.fromarray(PIXELS))[:60], "."),
        (saved(Image.fromarray(PIXELS), "JPEG")[:-20], "truncated"),
    ],
    ids=["empty", "html", "PostScript", "HEIC", "cut PNG", "cut JPEG"],
)
def test_what_is_no_whole_image_is_refused(data, message):
    with pytest.raises(Exception, match=message) as caught:
        decode(data)
    assert "object at" not in str(caught.value)


@pytest.mark.parametrize("shape", [(12_300, 12_300), (50_000, 50_000), (2**31 - 1, 3)])
def test_too_many_pixels_are_refused_by_the_header(shape):
    """Without memory for them, and at once."""
    start = time.perf_counter()
    with own_limits(), pytest.raises(Exception, match="pixels"):
        decode(png(np.zeros((1, 1, 3)), 2, header=shape))
    assert time.perf_counter() - start < 1


def test_sizes_that_pass_are_not_warned_about(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with own_limits():
            assert decode(saved(Image.fromarray(PIXELS))).pixels.shape == (4, 6, 3)
    monkeypatch.setattr(limits, "LARGEST_PIXELS", 23)
    with own_limits(), pytest.raises(ValueError, match="has 6 x 4 pixels, more than the 23"):
        decode(saved(Image.fromarray(PIXELS)))


def test_fitting_takes_the_middle():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    assert fit(wide, 4).min() == 255
    np.testing.assert_array_equal(fit(PIXELS[:4, :4], 4), PIXELS[:4, :4])


@pytest.mark.parametrize(("kind", "channels", "colors"), [(2, 3, 3), (4, 2, 1), (6, 4, 3)])
def test_black_of_16_bits_is_black(kind, channels, colors):
    values = np.zeros((9, 11, channels), dtype=np.int64)
    for alpha in (0, 1, 65535):
        values[..., colors:] = alpha
        found = decode(png(values, kind))
        assert not found.pixels.any()
        assert SCALED in found.remarks
    for place in ((0, 0), (8, 10), (3, 5)):
        for low in (1, 255):
            few = values.copy()
            few[place][colors - 1] = low
            with pytest.raises(ValueError, match="no value reaches 4096"):
                decode(png(few, kind))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (3, 2), (8, 8), (11, 13)])
@pytest.mark.parametrize(("kind", "channels", "colors"), [(2, 3, 3), (4, 2, 1), (6, 4, 3)])
def test_black_in_seven_passes(width, height, kind, channels, colors):
    """Interlaced, with a filter of every kind; of every pixel in turn the lowest bit is set."""

    def stored(lit):
        rows = b""
        for column, row, right, down in PASSES:
            ys, xs = range(row, height, down), range(column, width, right)
            for number, y in enumerate(ys if len(xs) else ()):
                line = np.zeros((len(xs), channels, 2), dtype=np.uint8)
                line[..., colors:, :] = 7
                for i, x in enumerate(xs):
                    line[i, colors - 1, 1] = (x, y) == lit
                # With residuals that are those of some picture: which, does not matter.
                rows += bytes([number % 5]) + line.tobytes()
        head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 1)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)[:9]), (b"IDAT", zlib.compress(rows)[9:]))
        return bytes(8) + b"".join(struct.pack(">I", len(data)) + name + data + bytes(4) for name, data in chunks)

    assert is_black(stored(None))
    assert not any(is_black(stored((x, y))) for x in range(width) for y in range(height))


@pytest.mark.parametrize("lit", [0, 2**15])
def test_what_is_stored_beyond_the_pixels_is_not_expanded(lit):
    """64 MiB of zeros, in 64 KiB, behind pixels of 400 bytes."""
    values = np.full((8, 8, 3), lit)
    data = png(np.concatenate([values, np.zeros((2**17, 8, 3), int)]), 2, header=(8, 8))
    tracemalloc.start()
    try:
        assert decode(data).pixels.max() == lit // 256
        assert is_black(data) == (lit == 0)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


# --- copies that were broken off --------------------------------------------------------------------------------------


def patches(seed):
    """Patches of one color: noise is not compressed, and zeros in it end the decoder by themselves."""
    return np.random.default_rng(seed).integers(30, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def zeroed(data, begin, end=1.0):
    begin, end = int(begin * len(data)), int(end * len(data))
    return data[:begin] + bytes(end - begin) + data[end:]


@pytest.mark.parametrize("end", ["tail", "middle"])
def test_zeros_in_a_png_file_are_no_black_pixels(end):
    """Of these files one in ten was read, its pixels black from the zeros on."""
    for seed in range(1, 9):
        for level in (0, 1, 6, 9):
            data = saved(Image.fromarray(patches(seed)), compress_level=level)
            np.testing.assert_array_equal(decode(data).pixels, patches(seed))
            for tenth in range(3, 10):
                spoiled = zeroed(data, tenth / 10, tenth / 10 + 0.08 if end == "middle" else 1.0)
                # Lines that repeat the one above are stored as zeros, uncompressed.
                if spoiled != data:
                    with pytest.raises(Exception, match=r"PNG|data stream|truncated|Truncated"):
                        decode(spoiled)


@pytest.mark.parametrize("bit", [0, 7])
def test_a_bit_of_a_png_file_is_missed(bit):
    data = bytearray(saved(Image.fromarray(patches(0)), compress_level=0))
    data[len(data) // 2] ^= 1 << bit
    with pytest.raises(SyntaxError, match="broken PNG file"):
        decode(bytes(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 100}])
@pytest.mark.parametrize("kind", [patches(0), np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)])
def test_a_tail_of_zeros_in_a_jpeg_file_is_no_picture(kind, options):
    data = saved(Image.fromarray(kind), "JPEG", **options)
    whole = decode(data).pixels
    for tenth in (5, 7, 9):
        with pytest.raises((ValueError, OSError), match="truncated"):
            decode(zeroed(data, tenth / 10))
    # What follows the end is not of the picture, whatever it looks like; nor is a smaller one in its segments.
    for more in (b"\0" * 512, b"\xff\xda\0\0", data[: len(data) // 2]):
        np.testing.assert_array_equal(decode(data + more).pixels, whole)
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9".encode("latin-1") * 8
    with_end_inside = saved(Image.fromarray(kind), "JPEG", exif=exif, **options)
    np.testing.assert_array_equal(decode(with_end_inside).pixels, whole)
    with pytest.raises((ValueError, OSError), match="truncated"):
        decode(zeroed(with_end_inside, 0.8))

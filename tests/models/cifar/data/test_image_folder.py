"""Folders and archives of images: what is read, what is kept, and what is refused."""

import io
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps

import models.cifar.data.sources
from tests.models.cifar.data.image_files import (
    SIZE,
    assert_same,
    encoded,
    expected,
    load,
    pixels_of_files,
    random_pixels,
    small_files,
    write,
)

FORMATS = ("", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


@pytest.fixture
def files():
    return small_files()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("prefix", ["", "./", "some/where/"])
def test_what_was_written_is_read(tmp_path, files, suffix, prefix):
    path = write(tmp_path, files, suffix, prefix, folders=["train/cat", "test/cat"])
    before = sorted(tmp_path.rglob("*"))
    arrays, classes = load(path, None, tmp_path / "cache")
    assert classes == ("cat", "dog", "eel")
    assert_same(arrays, expected(pixels_of_files()))
    assert [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts] == before, "nothing is unpacked"


def test_val_stands_in_for_test_and_test_comes_first(tmp_path, files):
    renamed = {name.replace("test/", "val/"): data for name, data in files.items()}
    arrays, _ = load(write(tmp_path, renamed), None, tmp_path / "cache")
    assert_same(arrays, expected(pixels_of_files()))
    other = {name: encoded(255 - pixels) for name, pixels in pixels_of_files().items()}
    both = {**other, **{n.replace("test/", "val/"): d for n, d in files.items() if n.startswith("test/")}}
    arrays, _ = load(write(tmp_path, both, ".zip"), None, tmp_path / "cache")
    np.testing.assert_array_equal(255 - arrays["test_images"], expected(pixels_of_files())["test_images"])


@pytest.mark.parametrize("suffix", ["", ".tar", ".zip"])
def test_other_and_hidden_files_are_passed_over(tmp_path, files, suffix):
    more = {"train/cat/._0.png": b"x", "train/cat/notes.txt": b"x", "README": b"x", "train/about.txt": b"x"}
    if suffix:
        more |= {"__MACOSX/train/cat/0.png": b"x", ".hidden/train/cat/0.png": b"x"}
    arrays, _ = load(write(tmp_path, {**more, **files}, suffix), None, tmp_path / "cache")
    assert_same(arrays, expected(pixels_of_files()))


def saved(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def palette_image():
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("data", "color"),
    [
        (saved(Image.new("L", (SIZE, SIZE), 77)), (77, 77, 77)),
        (saved(Image.new("1", (SIZE, SIZE), 1)), (255, 255, 255)),
        (saved(Image.new("LA", (SIZE, SIZE), (77, 9))), (77, 77, 77)),
        (saved(palette_image()), (10, 20, 30)),
        (saved(palette_image(), transparency=b"\xff\x80"), (10, 20, 30)),
        (saved(Image.new("RGBA", (SIZE, SIZE), (1, 2, 3, 100))), (1, 2, 3)),
        # Cyan ink takes red away.
        (saved(Image.new("CMYK", (SIZE, SIZE), (255, 0, 0, 0)), "TIFF"), (0, 255, 255)),
        (saved(Image.new("CMYK", (SIZE, SIZE), (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
    ],
    ids=["L", "1", "LA", "P", "P with transparency", "RGBA", "CMYK cyan", "CMYK black"],
)
def test_every_mode_becomes_rgb(tmp_path, files, data, color):
    files["train/cat/0.png"] = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays, _ = load(write(tmp_path, files), None, tmp_path / "cache")
    np.testing.assert_array_equal(arrays["train_images"][0], np.broadcast_to(np.array(color)[:, None, None], (3, 8, 8)))


def test_cmyk_jpeg(tmp_path, files):
    files["train/cat/0.png"] = saved(Image.new("CMYK", (SIZE, SIZE), (0, 255, 0, 0)), "JPEG", quality=100)
    arrays, _ = load(write(tmp_path, files), None, tmp_path / "cache")
    np.testing.assert_allclose(arrays["train_images"][0].mean((1, 2)), [255, 0, 255], atol=3)


@pytest.mark.parametrize("shape", [(20, 20), (20, 31), (32, 16), (5, 7)])
def test_resizing_takes_the_middle_square(tmp_path, files, shape):
    pixels = random_pixels(np.random.default_rng(1), *shape)
    files["train/cat/0.png"] = encoded(pixels)
    arrays, _ = load(write(tmp_path, files), 16, tmp_path / "cache")
    assert arrays["train_images"].shape == (9, 3, 16, 16)
    wanted = ImageOps.fit(Image.fromarray(pixels), (16, 16), Image.Resampling.BICUBIC)
    difference = np.abs(arrays["train_images"][0].transpose(1, 2, 0).astype(int) - np.asarray(wanted))
    assert difference.max() <= 1


def test_no_size_keeps_a_common_one_and_unifies_others(tmp_path, files):
    common = {name: encoded(random_pixels(np.random.default_rng(2), 6, 9)) for name in files}
    arrays, _ = load(write(tmp_path, common, ".zip"), None, tmp_path / "cache")
    assert arrays["train_images"].shape == (9, 3, 6, 9)
    common["test/eel/1.png"] = encoded(random_pixels(np.random.default_rng(3), 9, 6))
    arrays, _ = load(write(tmp_path, common, ".tar"), None, tmp_path / "cache")
    assert arrays["train_images"].shape == (9, 3, 32, 32)
    assert arrays["test_images"].shape == (9, 3, 32, 32)


def without(files, start):
    return {name: data for name, data in files.items() if not name.startswith(start)}


@pytest.mark.parametrize("suffix", ["", ".tar.gz", ".zip"])
@pytest.mark.parametrize(
    ("change", "folders", "message"),
    [
        (lambda f: without(f, "train"), (), r"no folder train/<class>/ with images"),
        (lambda f: {"readme.txt": b""}, (), r"no folder train/<class>/"),
        (lambda f: {n.replace("cat/", ""): d for n, d in without(without(f, "train/d"), "train/e").items()}, (),
         r"train/ holds images in no class folder.* only one of train and test has: dog, eel"),
        (lambda f: without(f, "train/cat"), ("train/cat",), r"train/cat holds no image"),
        (lambda f: {**without(f, "test/eel"), "test/eel/a.txt": b""}, (), r"test/eel holds no image"),
        (lambda f: without(without(f, "train/d"), "train/e"), (), r"only one of train and test has: dog, eel"),
        (lambda f: without(f, "test/dog"), (), r"only one of train and test has: dog"),
        (lambda f: without(f, "train/dog"), (), r"only one of train and test has: dog"),
    ],
    ids=["no train", "nothing", "no classes", "empty folder", "no images", "one class", "test", "train"],
)  # fmt: skip
def test_other_layouts_are_refused(tmp_path, files, suffix, change, folders, message):
    path = write(tmp_path, change(files), suffix, folders=folders)
    with pytest.raises(ValueError, match=rf"images{suffix}: .*{message}"):
        load(path, None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("suffix", ["", ".tar.xz", ".zip"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_corrupt_image_is_named(tmp_path, files, suffix, damage):
    jpeg = encoded(random_pixels(np.random.default_rng(0), 64, 64), form="JPEG")
    files["train/dog/0.jpg"] = {"cut": jpeg[: len(jpeg) // 2], "noise": bytes(range(256)), "empty": b""}[damage]
    with pytest.raises(
        ValueError, match=rf"images{suffix}: 1 image cannot be read: train/dog/0\.jpg cannot be decoded \("
    ):
        load(write(tmp_path, files, suffix), SIZE, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s])
def test_a_truncated_archive_is_refused(tmp_path, files, suffix):
    """A bare tar file too that ends between two members, with every class still there."""
    files = dict(sorted(files.items(), key=lambda item: item[0].split("/")[2]))
    path = write(tmp_path, files, suffix)
    whole = path.read_bytes()
    content = len(whole)
    if suffix == ".tar":
        content = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for place in {*range(0, content, max(1, content // 40) if suffix != ".tar" else 512), content - 1, content}:
        if place < len(whole):
            path.write_bytes(whole[:place])
            with pytest.raises(ValueError, match=rf"images\{suffix}: "):
                load(path, None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_flipped_bit_is_refused_or_without_effect(tmp_path, suffix):
    """Pixels are not compressed here, so that only the archive can tell that one has changed."""
    pixels = pixels_of_files()
    path = write(tmp_path, {n.replace("png", "bmp"): encoded(p, form="BMP") for n, p in pixels.items()}, suffix)
    whole, refused, rng = path.read_bytes(), 0, np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            arrays, _ = load(path, None, tmp_path / "cache")
        except ValueError:
            refused += 1
        else:
            assert_same(arrays, expected(pixels))
    # Some bytes (times, say) mean nothing.
    assert refused > 30


def test_a_damaged_member_of_a_zip_is_named(tmp_path, files):
    path = write(tmp_path, files, ".zip")
    whole = path.read_bytes()
    place = whole.index(files["train/cat/1.png"]) + 60
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"images\.zip: .*train/cat/1\.png"):
        load(path, None, tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@pytest.mark.parametrize("name", ["../train/cat/9.png", "train/../../9.png", "/train/cat/9.png"])
def test_members_that_point_outside_are_refused(tmp_path, files, suffix, name):
    with pytest.raises(ValueError, match=r"points outside"):
        load(write(tmp_path, {**files, name: b""}, suffix), None, tmp_path / "cache")


def test_a_link_out_of_a_tar_is_refused(tmp_path, files):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(np.full((SIZE, SIZE, 3), 255, np.uint8)))
    path = write(tmp_path, files, ".tar")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/cat/7.png")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(info)
    with pytest.raises(ValueError, match=r"train/cat/7\.png is a link out of the archive"):
        load(path, None, tmp_path / "cache")
    arrays, _ = load(path, None, tmp_path / "cache", skip_unreadable=True)
    assert_same(arrays, expected(pixels_of_files()))


def test_a_member_twice_and_two_roots_are_refused(tmp_path, files):
    path = write(tmp_path, files, ".tar")
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("train/cat/0.png"))
    with pytest.raises(ValueError, match=r"several members of the name train/cat/0\.png"):
        load(path, None, tmp_path / "cache")
    both = {f"{place}/{name}": data for name, data in files.items() for place in ("one", "other")}
    with pytest.raises(ValueError, match="several places"):
        load(write(tmp_path, both, ".zip"), None, tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_what_is_no_archive_is_refused(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(b"not an archive" * 100)
    with pytest.raises(ValueError, match=rf"images{suffix}: cannot be read"):
        load(path, None, tmp_path / "cache")


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_unreadable_paths(tmp_path, files, suffix, monkeypatch):
    path = write(tmp_path, files, suffix)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    # Permissions do not stop the superuser, whom tests may run as.
    monkeypatch.setattr(models.cifar.data.sources, "open", refuse, raising=False)
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(ValueError, match=rf"images{suffix}: .*Permission denied"):
        load(path, None, tmp_path / "cache")

"""Decoded images are kept: once decoded, read back; damaged, made again."""

import hashlib
import os
import warnings

import numpy as np
import pytest

import models.cifar.data.image_folder
from models.cifar.data.image_folder import load_image_folder
from tests.models.cifar.data.image_files import (
    SIZE,
    assert_same,
    encoded,
    expected,
    load,
    pixels_of_files,
    small_files,
    write,
)


@pytest.fixture
def files():
    return small_files()


@pytest.fixture
def decoded(monkeypatch):
    """Counts what is decoded."""
    counts = []
    real = models.cifar.data.image_folder.decode
    monkeypatch.setattr(models.cifar.data.image_folder, "decode", lambda *args: counts.append(1) or real(*args))
    return counts


@pytest.mark.parametrize("suffix", ["", ".tar.xz", ".zip"])
def test_images_are_decoded_once(tmp_path, files, decoded, suffix):
    path = write(tmp_path, files, suffix)
    first, classes = load(path, None, tmp_path / "cache")
    assert len(decoded) == len(files)
    again, same_classes = load(path, None, tmp_path / "cache")
    assert len(decoded) == len(files)
    assert classes == same_classes
    assert_same(again, first)
    other_size, _ = load(path, 5, tmp_path / "cache")
    assert other_size["train_images"].shape[-1] == 5


@pytest.mark.parametrize("suffix", ["", ".tar.gz"])
def test_a_changed_source_is_decoded_again(tmp_path, files, suffix):
    load(write(tmp_path, files, suffix), None, tmp_path / "cache")
    pixels = {**pixels_of_files(), "train/eel/1.png": np.zeros((SIZE, SIZE, 3), np.uint8)}
    files["train/eel/1.png"] = encoded(pixels["train/eel/1.png"])
    arrays, _ = load(write(tmp_path, files, suffix), None, tmp_path / "cache")
    assert_same(arrays, expected(pixels))


def test_a_changed_file_of_the_same_size_is_noticed(tmp_path):
    pixels = pixels_of_files()
    path = write(tmp_path, {name: encoded(each, form="BMP") for name, each in pixels.items()})
    load(path, None, tmp_path / "cache")
    changed = path / "train/eel/1.png"
    size, time = changed.stat().st_size, changed.stat().st_mtime
    pixels["train/eel/1.png"] = 255 - pixels["train/eel/1.png"]
    changed.write_bytes(encoded(pixels["train/eel/1.png"], form="BMP"))
    os.utime(changed, (time + 1, time + 1))
    assert changed.stat().st_size == size
    assert_same(load(path, None, tmp_path / "cache")[0], expected(pixels))


def test_what_was_kept_of_another_source_is_not_taken(tmp_path, files):
    other = {name: encoded(255 - pixels) for name, pixels in pixels_of_files().items()}
    for folder, content in (("a", files), ("b", other)):
        (tmp_path / folder).mkdir()
        load(write(tmp_path / folder, content, ".zip"), None, tmp_path / folder / "cache")
    (kept,) = (tmp_path / "a" / "cache").iterdir()
    (of_other,) = (tmp_path / "b" / "cache").iterdir()
    of_other.replace(kept)
    with pytest.warns(UserWarning, match="made for another question"):
        arrays, _ = load(tmp_path / "a" / "images.zip", None, tmp_path / "a" / "cache")
    assert_same(arrays, expected(pixels_of_files()))


def test_damage_is_noticed_wherever_it_is(tmp_path, files, decoded):
    path = write(tmp_path, files, ".zip")
    load(path, None, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    rng = np.random.default_rng(0)
    # A block of pixels, and bytes anywhere.
    middle = whole.index(expected(pixels_of_files())["train_images"].tobytes()) + 100
    for place in [middle, *rng.integers(0, len(whole), 20)]:
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        decoded.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            arrays, classes = load(path, None, tmp_path / "cache")
        assert_same(arrays, expected(pixels_of_files()))
        assert classes == ("cat", "dog", "eel")
        assert any("damaged" in str(w.message) for w in caught)
        assert len(decoded) == len(files)
        assert kept.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"PK", "cut", "other"])
def test_what_is_no_whole_file_is_replaced(tmp_path, files, decoded, content):
    path = write(tmp_path, files, ".zip")
    load(path, None, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    if content == "other":
        kept.write_bytes(b"sha256 " + hashlib.sha256(b"").hexdigest().encode() + b"\n")
    else:
        kept.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.warns(UserWarning, match="damaged"):
        arrays, _ = load(path, None, tmp_path / "cache")
    assert_same(arrays, expected(pixels_of_files()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path, None, tmp_path / "cache")


@pytest.mark.parametrize("what", ["images", "labels", "classes", "names", "sizes"])
def test_no_edit_is_believed(tmp_path, files, decoded, what):
    """Edits that leave a file well formed: what is read back would only be wrong."""
    path = write(tmp_path, files)
    first = load_image_folder(path, None, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    old, new = {
        "images": (first.parts["train"].images[0].tobytes(), bytes(3 * SIZE * SIZE)),
        "labels": (first.parts["test"].labels.tobytes(), first.parts["test"].labels[::-1].tobytes()),
        "classes": (b'"cat", "dog"', b'"dog", "cat"'),
        "names": (b"train/cat/0.png", b"train/cat/9.png"),
        "sizes": (b"[8, 8]", b"[9, 8]"),
    }[what]
    whole = kept.read_bytes()
    assert whole.count(old) >= 1
    kept.write_bytes(whole.replace(old, new, 1))
    decoded.clear()
    with pytest.warns(UserWarning, match="damaged, decoded images are made again"):
        again = load_image_folder(path, None, tmp_path / "cache")
    assert len(decoded) == len(files)
    assert (again.classes, again.facts) == (first.classes, first.facts)
    np.testing.assert_array_equal(again.parts["train"].images, first.parts["train"].images)
    assert kept.read_bytes() == whole


def test_without_a_place_to_keep_them_images_are_still_read(tmp_path, files):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not kept"):
        arrays, _ = load(write(tmp_path, files), None, tmp_path / "file" / "cache")
    assert_same(arrays, expected(pixels_of_files()))


def test_an_interrupted_decoding_leaves_nothing(tmp_path, files, monkeypatch):
    path = write(tmp_path, files)
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return np.zeros((SIZE, SIZE, 3), np.uint8), ()

    monkeypatch.setattr(models.cifar.data.image_folder, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(path, None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not os.listdir(tmp_path / "cache")

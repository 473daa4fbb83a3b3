"""Decoded images are kept: once decoded, read back; damaged, made again."""

import hashlib
import os
import shutil
import warnings
from pathlib import Path

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
from theory.numerics.manifest import begin_manifest


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


BESIDE_RUNS = {
    "unlabeled": {f"train/{i}.png": each for i, each in enumerate(small_files().values())},
    "labeled, with a stray image": {**small_files(), "train/0.png": next(iter(small_files().values()))},
    "classes only": {f"{cls}/{i}.png": each for cls in "ab" for i, each in enumerate(small_files().values())},
    "files only": {f"{i}.png": each for i, each in enumerate(small_files().values())},
    "wrapped": {f"set/train/{i}.png": each for i, each in enumerate(small_files().values())},
    "wrapped beside others": {"notes/x.txt": b"", **{f"set/{name}": each for name, each in small_files().items()}},
}


@pytest.mark.parametrize("name", BESIDE_RUNS)
@pytest.mark.parametrize("where", ["runs/simclr-1", "simclr-1"])
def test_runs_that_draw_their_pictures_beside_the_images_change_nothing(tmp_path, files, decoded, name, where):
    path = write(tmp_path, BESIDE_RUNS[name])
    first = load_image_folder(path, None, tmp_path / "cache")

    def again(number):
        data = load_image_folder(path, None, tmp_path / "cache")
        assert data.classes == first.classes
        assert sorted(data.parts) == sorted(first.parts)
        for part in data.parts:
            np.testing.assert_array_equal(data.parts[part].images, first.parts[part].images)
        assert len(decoded) <= number * len(BESIDE_RUNS[name])
        return len(decoded)

    run = path / where
    run.mkdir(parents=True)
    begin_manifest(run)
    (run / "training.png").write_bytes(next(iter(files.values())))
    count = again(2)
    # The run goes on, and others come.
    (run / "maps").mkdir()
    for more in ("training.png", "other.png", "maps/1.png"):
        (run / more).write_bytes(next(iter(files.values())))
    assert again(2) == count
    archive = shutil.make_archive(str(tmp_path / "packed"), "tar", path)
    packed = load_image_folder(Path(archive), None, tmp_path / "cache")
    assert packed.classes == first.classes
    assert {part: len(each.labels) for part, each in packed.parts.items()} == {
        part: len(each.labels) for part, each in first.parts.items()
    }


@pytest.mark.parametrize("run", [None, "docs", "docs/1"])
def test_folders_beside_unlabeled_images_are_rivals_or_not_as_they_are_now(tmp_path, files, decoded, run):
    """Whatever was kept before; a folder with a run in it is none."""
    path = write(tmp_path, BESIDE_RUNS["unlabeled"], folders=("docs/1",))
    load(path, None, tmp_path / "cache")
    if run is not None:
        begin_manifest(path / run)
    (path / "docs/figure.png").write_bytes(next(iter(files.values())))
    if run is None:
        with pytest.raises(ValueError, match="without classes, or be a class as docs/:"):
            load(path, None, tmp_path / "cache")
        (path / "docs/figure.png").unlink()
    load(path, None, tmp_path / "cache")
    assert len(decoded) == len(files)


def test_what_is_written_into_files_beside_the_parts_is_nothing_new(tmp_path, files, decoded):
    """A log of the training itself, say, which grows while the images are decoded."""
    path = write(tmp_path, {**files, "log.txt": b"1"})
    load(path, None, tmp_path / "cache")
    (path / "log.txt").write_bytes(b"12")
    load(path, None, tmp_path / "cache")
    assert len(decoded) == len(files)
    (path / "other.txt").write_bytes(b"")
    load(path, None, tmp_path / "cache")
    assert len(decoded) == 2 * len(files)


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

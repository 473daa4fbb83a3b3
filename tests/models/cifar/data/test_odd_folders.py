"""Folders and archives as people have them: what is taken, what is passed over and why, and what is refused.

Every case begins with two images of each of two classes, a and b, in train/ and test/, and adds or changes something.
"""

import os
import time

import numpy as np
import pytest

import models.cifar.data.limits
import models.cifar.data.sources
from models.cifar.data import DataConfig, load_images
from models.cifar.data.image_folder import load_image_folder
from models.cifar.data.layout import UNLABELED
from models.cifar.data.names import columns, printable, shortened
from tests.models.cifar.data.image_files import encoded, random_pixels, write

RNG = np.random.default_rng(0)


def image(form="PNG", **options):
    return encoded(random_pixels(RNG, 4, 4), form=form, **options)


def parts(*names, classes=("a", "b"), count=2):
    return {f"{part}/{cls}/{i}.png": image() for part in names for cls in classes for i in range(count)}


BASE = parts("train", "test")


def read(tmp_path, files, suffix="", **options):
    return load_image_folder(write(tmp_path, files, suffix), None, tmp_path / "cache", **options)


def counts(data):
    return {name: np.bincount(part.labels, minlength=len(data.classes)).tolist() for name, part in data.parts.items()}


def reasons(data):
    return {reason: count for reason, count, _ in data.facts.passed_over}


def moved(files, old, new):
    return {name.replace(old, new, 1): data for name, data in files.items()}


TWO = {"train": [2, 2], "test": [2, 2]}
# name -> (files, wanted counts, wanted number of files passed over by a part of the reason)
TAKEN = {
    "jfif": ({**BASE, "train/a/x.jfif": image("JPEG")}, {**TWO, "train": [3, 2]}, {}),
    "jpe, in capitals": ({**BASE, "train/b/x.JPE": image("JPEG")}, {**TWO, "train": [2, 3]}, {}),
    "pbm": ({**BASE, "train/b/x.pbm": b"P1 4 4 " + b"1 0 " * 8}, {**TWO, "train": [2, 3]}, {}),
    "png called jpg": ({**BASE, "test/a/x.jpg": image()}, {**TWO, "test": [3, 2]}, {}),
    "mpo": ({**BASE, "test/a/x.jpg": image("MPO")}, {**TWO, "test": [3, 2]}, {}),
    "subfolders, three deep": (
        {**BASE, "train/a/2021/may/x.png": image(), "train/a/2021/y.png": image()}, {**TWO, "train": [4, 2]}, {},
    ),
    "heic": ({**BASE, "train/a/x.HEIC": b"?"}, TWO, {"(.heic)": 1}),
    "avif and jxl": ({**BASE, "train/a/x.avif": b"?", "train/a/x.jxl": b"?"}, TWO, {"(.avif)": 1, "(.jxl)": 1}),
    "arrays": ({**BASE, "train/a/x.npy": b"?"}, TWO, {"(.npy)": 1}),
    "a download that was cut": ({**BASE, "train/a/x.png.part": b"?"}, TWO, {"not named as an image": 1}),
    "no suffix": ({**BASE, "train/a/IMG_1": image(), "train/a/.png": image()}, TWO, {"not named": 1, "hidden": 1}),
    "Windows and macOS": (
        {**BASE, "train/Thumbs.db": b"", "train/a/desktop.ini": b"", "train/b/._0.png": b"", ".DS_Store": b""},
        TWO, {"hidden": 4},
    ),
    "hidden folder": ({**BASE, "train/.cache/0.png": image()}, TWO, {"hidden": 1}),
    "image beside the classes": ({**BASE, "train/x.png": image()}, TWO, {"in no class folder": 1}),
    "folders beside the parts": (
        {**BASE, "runs/epochs.png": image(), "README.md": b""}, TWO, {"beside the folders of the parts": 2},
    ),
    "capital parts": (moved(moved(BASE, "train/", "TRAIN/"), "test/", "Testing/"), TWO, {}),
    "valid for test": (moved(BASE, "test/", "valid/"), TWO, {}),
    "training, validation, test": (
        {**parts("training", "validation", count=3), **parts("test")},
        {"train": [3, 3], "validation": [3, 3], "test": [2, 2]}, {},
    ),
    "test without classes": (
        {**parts("train"), "test/1.png": image(), "test/2.png": image()}, {"train": [2, 2]}, {"unlabeled part": 2},
    ),
    "test without classes, beside val": (
        {**parts("train"), **parts("val", count=3), "test/1.png": image()},
        {"train": [2, 2], "test": [3, 3]}, {"unlabeled part": 1},
    ),
    "composed and decomposed": (
        {**moved(parts("train"), "/a/", "/caf\u00e9/"), **moved(parts("test"), "/a/", "/cafe\u0301/")},
        {"train": [2, 2], "test": [2, 2]}, {},
    ),
    "both of them in one part": (
        {**moved(BASE, "/a/", "/caf\u00e9/"), "train/cafe\u0301/x.png": image()}, {**TWO, "train": [2, 3]}, {},
    ),
    "a class called train": (moved(BASE, "/a/", "/train/"), TWO, {}),
    "train only": (parts("train"), {"train": [2, 2]}, {}),
    "one class": (parts("train", "test", classes=("all",)), {"train": [2], "test": [2]}, {}),
    "no class folders": (
        {"train/1.png": image(), "train/2.png": image(), "test/1.png": image()}, {"train": [2], "test": [1]}, {},
    ),
    "classes only": ({"a/1.png": image(), "b/2.png": image(), "notes/x.txt": b""}, {"train": [1, 1]}, {"not named": 1}),
    "files only": ({"1.png": image(), "2.png": image(), "x.txt": b""}, {"train": [2]}, {"not named": 1}),
    "an album with folders": ({"1.png": image(), "2020/2.png": image()}, {"train": [2]}, {}),
    "one folder of images": ({"photos/1.png": image(), "photos/2.png": image()}, {"train": [2]}, {}),
    "unlabeled, beside folders without images": (
        {"train/1.png": image(), "notes/x.txt": b""}, {"train": [1]}, {"beside": 1},
    ),
    "unlabeled, beside images in folders of folders": (
        {"train/1.png": image(), "old/bus/1.png": image()}, {"train": [1]}, {"beside": 1},
    ),
    "classes and a stray image, beside images": (
        {**parts("train"), "train/x.png": image(), "docs/1.png": image()},
        {"train": [2, 2]}, {"in no class folder": 1, "beside": 1},
    ),
    "unlabeled parts beside others": (
        {"train/1.png": image(), "test/1.png": image(), "old/1.png": image()},
        {"train": [1], "test": [1]}, {"beside": 1},
    ),
    "classes one folder further down": (
        {"train/bus/1.png": image(), "train/train/1.png": image()}, {"train": [1, 1]}, {},
    ),
    "wrapped": ({f"data/set/{name}": data for name, data in BASE.items()}, TWO, {}),
    "wrapped classes": ({"data/a/1.png": image(), "data/b/2.png": image()}, {"train": [1, 1]}, {}),
    "another train further down": ({**BASE, "old/x/train/a/0.png": image()}, TWO, {"beside": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_what_is_taken_and_what_is_passed_over(tmp_path, name, suffix):
    files, wanted, passed_over = TAKEN[name]
    data = read(tmp_path, files, suffix)
    assert counts(data) == wanted
    found = reasons(data)
    for words, count in passed_over.items():
        assert sum(number for reason, number in found.items() if words in reason) == count, found
    # An archive lists what is inside a folder that is passed over.
    assert sum(found.values()) == sum(passed_over.values())


@pytest.mark.parametrize("name", ["subfolders, three deep", "training, validation, test", "wrapped", "one class"])
def test_archives_and_folders_are_alike(tmp_path, name):
    files, _, _ = TAKEN[name]
    folder, archive = read(tmp_path, files), read(tmp_path, files, ".tar")
    assert folder.classes == archive.classes
    for part in folder.parts:
        np.testing.assert_array_equal(folder.parts[part].images, archive.parts[part].images)
        np.testing.assert_array_equal(folder.parts[part].labels, archive.parts[part].labels)
        assert list(folder.parts[part].names()) == list(archive.parts[part].names())


@pytest.mark.parametrize(
    ("name", "classes", "note"),
    [
        ("one class", ("all",), None),
        ("no class folders", (UNLABELED,), "the images are unlabeled"),
        ("files only", (UNLABELED,), "all are training images"),
        ("one folder of images", ("photos",), "all are training images"),
        ("train only", ("a", "b"), "there are no test images"),
        ("valid for test", ("a", "b"), "valid/ holds the test images"),
        ("training, validation, test", ("a", "b"), "validation/ holds the validation images; validation_share is not"),
        ("test without classes", ("a", "b"), "test/ has no class folders, and is passed over"),
        ("composed and decomposed", ("b", "caf\u00e9"), None),
    ],
)
def test_how_folders_were_understood_is_said(tmp_path, name, classes, note):
    data = read(tmp_path, TAKEN[name][0])
    assert data.classes == classes
    assert note is None or any(note in each for each in data.facts.notes), data.facts.notes


REFUSED = {
    "no images": ({"train/a/x.txt": b""}, r"train/a holds no image"),
    "only formats that are not read": ({"train/a/x.heic": b"", "test/a/x.heic": b""}, r"train/a holds no image"),
    "val and valid": ({**BASE, **parts("val", "valid")}, r"several folders of validation images, val/ and valid/"),
    "train twice": ({**BASE, **parts("Train")}, r"several folders of train images, Train/ and train/"),
    "parts at two places": (
        {f"{place}/{name}": data for name, data in BASE.items() for place in "xy"}, r"several places, x/, y/",
    ),
    "a class that test lacks": ({**BASE, "train/c/0.png": image()}, r"only one of train and test has: c"),
    "a class that val lacks": (
        {**BASE, "val/a/0.png": image()}, r"only one of train and validation has: b",
    ),
    "test only": (parts("test"), r"no folder train/<class>/ with images; it has test/"),
    "a class called train": (
        {"bus/0.png": image(), "car/0.png": image(), "train/0.png": image()},
        r"train/ may hold all training images, without classes, or be a class as bus/, car/: for the first move",
    ),
    "a class called Train, wrapped": (
        {"x/bus/0.png": image(), "x/bus/a/0.png": image(), "x/Train/0.png": image(), "x/Train/old/x.txt": b""},
        r"Train/ may hold all .* or be a class as bus/: .* into one more folder, Train/Train/ and so on",
    ),
    "a class called test": ({"bus/0.png": image(), "test/0.png": image()}, r"no folder train/<class>/ .* has test/"),
    "an empty class of val": ({**BASE, **parts("val"), "val/c/x.txt": b""}, r"val/c holds no image"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_what_is_refused(tmp_path, name, suffix):
    files, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, files, suffix)


def test_folders_that_were_not_looked_into_are_counted_as_folders(tmp_path):
    """Of which nobody knows how many files are in them."""
    files = {**BASE, **{f"old/{i}.png": image() for i in range(3)}, "runs/x.png": image(), "x.txt": b"",
             ".git/y": b"", ".git/z": b""}  # fmt: skip
    path = write(tmp_path, files)
    config = DataConfig(str(path), root=tmp_path / "cache", validation_share=0.5)
    told = "\n".join(load_images(config).report.lines())
    assert "passed over: 2 folders beside the folders of the parts, not looked into: old/, runs/" in told
    assert "passed over: 1 file beside the folders of the parts: x.txt" in told
    assert "passed over: 1 folder hidden, or left behind by a program, not looked into: .git/" in told


class TestUnreadable:
    """Files that lie in a folder and are no images, or none that can be read."""

    def refused(self, tmp_path, message):
        path = tmp_path / "images"
        with pytest.raises(ValueError, match=message):
            load_image_folder(path, None, tmp_path / "cache")
        data = load_image_folder(path, None, tmp_path / "cache", skip_unreadable=True)
        assert counts(data) == TWO
        return data

    def test_all_are_in_one_list(self, tmp_path):
        path = write(tmp_path, BASE)
        (path / "train/a/cut.png").write_bytes(image()[:50])
        (path / "test/b/page.jpg").write_bytes(b"<html>")
        (path / "test/b/none.png").write_bytes(b"")
        data = self.refused(tmp_path, r"3 images cannot be read: .*page\.jpg cannot be decoded \(no image in a format")
        assert sorted(name for name, _ in data.facts.unreadable) == ["test/b/none.png", "test/b/page.jpg",
                                                                     "train/a/cut.png"]  # fmt: skip
        # From what is kept, too.
        with pytest.raises(ValueError, match="3 images cannot be read"):
            load_image_folder(path, None, tmp_path / "cache")
        assert load_image_folder(path, None, tmp_path / "cache", skip_unreadable=True).facts == data.facts

    def test_twenty_are_named_and_the_rest_counted(self, tmp_path):
        path = write(tmp_path, BASE)
        for i in range(23):
            (path / f"train/a/x{i:02}.png").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"23 images cannot be read: .*x19\.png .*; and 3 more\. ") as caught:
            load_image_folder(path, None, tmp_path / "cache")
        assert "x20.png" not in str(caught.value)

    def test_a_class_of_which_nothing_is_left_is_refused(self, tmp_path):
        path = write(tmp_path, BASE)
        for i in range(2):
            (path / f"test/b/{i}.png").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"no image of class b in test can be read"):
            load_image_folder(path, None, tmp_path / "cache", skip_unreadable=True)

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(write(tmp_path, BASE) / "train/a/x.png")
        self.refused(tmp_path, r"train/a/x\.png is no regular file")

    def test_links(self, tmp_path):
        path = write(tmp_path, BASE)
        (path / "train/a/nowhere.png").symlink_to(tmp_path / "nowhere.png")
        (path / "train/a/self.png").symlink_to(path / "train/a/self.png")
        self.refused(tmp_path, r"2 images cannot be read: train/a/nowhere\.png is a link to nothing; .*self\.png")

    def test_links_that_lead_somewhere_are_followed(self, tmp_path):
        path = write(tmp_path, BASE)
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere/x.png").write_bytes(image())
        (path / "train/a/x.png").symlink_to(tmp_path / "elsewhere/x.png")
        (path / "train/b/more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "linked").mkdir()
        for part in ("train", "test"):
            (tmp_path / "linked" / part).symlink_to(path / part)
        assert counts(load_image_folder(tmp_path / "linked", None, tmp_path / "c")) == {**TWO, "train": [3, 3]}

    def test_a_link_to_a_folder_above_is_not_followed_for_ever(self, tmp_path):
        path = write(tmp_path, BASE)
        (path / "train/a/again").symlink_to(path)
        self.refused(tmp_path, r"train/a/again is a link to a folder that it lies in")

    def test_a_folder_that_is_called_as_an_image(self, tmp_path):
        path = write(tmp_path, BASE)
        (path / "train/a/x.png").mkdir()
        (path / "train/a/x.png/0.png").write_bytes(image())
        assert counts(load_image_folder(path, None, tmp_path / "cache"))["train"] == [3, 2]

    def test_a_huge_file_is_not_read(self, tmp_path):
        path = write(tmp_path, BASE)
        with open(path / "train/a/x.bmp", "wb") as file:
            file.truncate(2**40)
        start = time.perf_counter()
        self.refused(tmp_path, r"x\.bmp has 1,099,511,627,776 bytes, more than the 268,435,456")
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize("name", ["new\nline", "b\x1b[31m", 'comma, "quote"', "caf\u00e9", "\u65e5\u672c", "a" * 200])
def test_names_of_classes(tmp_path, name):
    files = {f"{part}/{cls}/0.png": image() for part in ("train", "test") for cls in (name, "other")}
    data = read(tmp_path, files)
    assert printable(name) in data.classes
    assert all(each.isprintable() for each in data.classes)


def test_names_that_are_no_text(tmp_path):
    """Bytes of another encoding, as old archives leave them."""
    path = write(tmp_path, parts("train", "test", classes=("a",)))
    for part in ("train", "test"):
        folder = os.path.join(os.fsencode(path / part), b"cl\xe9")
        os.mkdir(folder)
        with open(os.path.join(folder, b"\xff.png"), "wb") as file:
            file.write(image())
    for _ in range(2):
        data = load_image_folder(path, None, tmp_path / "cache")
        assert data.classes == ("a", "cl\\xe9")
        assert [printable(name) for name in data.parts["test"].names()][-1] == "test/cl\\xe9/\\xff.png"


def test_names_are_shortened_by_what_they_take():
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abc..."
    assert columns("\u65e5\u672c") == 4
    assert columns("e\u0301") == 1
    assert shortened("\u65e5\u672c\u65e5\u672c", 7) == "\u65e5\u672c..."


class TestLimits:
    @pytest.mark.parametrize("suffix", ["", ".zip", ".tar"])
    def test_too_many_files(self, tmp_path, suffix, monkeypatch):
        monkeypatch.setattr(models.cifar.data.limits, "LARGEST_COUNT", 7)
        with pytest.raises(ValueError, match="more than 7 files and folders"):
            read(tmp_path, BASE, suffix)

    def test_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(models.cifar.data.image_folder, "available_memory", lambda: 8 * 3 * 4 * 4)
        with pytest.raises(ValueError, match=r"images: 8 images of 4 x 4 pixels take .* set image_size smaller"):
            read(tmp_path, BASE)
        with pytest.raises(ValueError, match=r"images of 512 x 512 pixels take 0\.0 GiB"):
            load_image_folder(tmp_path / "images", 512, tmp_path / "cache")
        monkeypatch.setattr(models.cifar.data.image_folder, "available_memory", lambda: 2 * 8 * 3 * 4 * 4)
        assert counts(read(tmp_path, BASE)) == TWO
        assert not (tmp_path / "nothing").exists()

    def test_memory_that_is_there(self, tmp_path, monkeypatch):
        here = models.cifar.data.limits
        monkeypatch.setattr(here, "CGROUP", tmp_path)
        monkeypatch.setattr(here, "MEMINFO", tmp_path / "meminfo")
        assert here.available_memory() is None
        (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:      50 kB\n")
        assert here.available_memory() == 50 * 1024
        (tmp_path / "memory.current").write_text("1000\n")
        (tmp_path / "memory.max").write_text("max\n")
        assert here.available_memory() == 50 * 1024
        (tmp_path / "memory.max").write_text("3000\n")
        assert here.available_memory() == 2000

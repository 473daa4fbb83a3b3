"""The report says what is there: counted by hand on small data sets, and it fits a terminal and JSON."""

import json
import os

import numpy as np
import pytest
import torch

from models.cifar.data import DataConfig, DataReport, load_images
from models.cifar.data.decoded import Facts
from models.cifar.data.names import columns
from models.cifar.data.report import COLUMNS, Duplicates, ReportedPart, data_report
from tests.models.cifar.data.image_files import encoded, random_pixels, write
from theory.numerics.whole_files import to_plain, write_json

RNG = np.random.default_rng(0)


def image(height=8, width=8):
    return encoded(random_pixels(RNG, height, width))


def report(tmp_path, files, suffix="", **options):
    options = {"validation_share": 0.0, **options}
    return load_images(DataConfig(str(write(tmp_path, files, suffix)), root=tmp_path / "cache", **options)).report


def test_images_sizes_and_what_was_not_taken(tmp_path):
    files = {f"{part}/{cls}/{i}.png": image() for part, count in (("train", 4), ("test", 2)) for cls in "ab"
             for i in range(count)}  # fmt: skip
    files |= {"train/a/wide.png": image(10, 30), "train/b/x.heic": b"", "train/b/y.heic": b"", "train/a/z.txt": b""}
    files |= {"train/b/small.png": image(5, 4), "train/b/cut.png": image()[:50]}
    found = report(tmp_path, files, validation_share=0.2, skip_unreadable=True)
    assert found.name == "images"
    assert found.source == str(tmp_path / "images")
    assert found.class_names == ("a", "b")
    assert found.images == {"train": (4, 4), "validation": (1, 1), "test": (2, 2)}
    assert found.size == (32, 32)
    # Twelve of 8 x 8, one of 30 x 10, one of 4 x 5: none of 32 x 32.
    assert found.sizes == ((4, 5), (8, 8), (30, 10))
    assert found.resized == 1.0
    assert found.passed_over == (
        ("in a format that is not read (.heic)", 2, ["train/b/x.heic", "train/b/y.heic"]),
        ("not named as an image", 1, ["train/a/z.txt"]),
    )
    assert [name for name, _ in found.unreadable] == ["train/b/cut.png"]
    assert found.duplicates == ()
    text = "\n".join(found.lines())
    for words in (
        "8 train, 2 validation, 4 test",
        "a  4 train, 1 validation, 2 test",
        "median 8 x 8; 100.0% resized",
        "2 files in a format that is not read (.heic): train/b/x.heic",
        "train/b/cut.png cannot be decoded",
    ):
        assert words in text, text  # fmt: skip
    at_8 = report(tmp_path, files, image_size=8, skip_unreadable=True)
    assert at_8.resized == pytest.approx(2 / 14)
    # Read back, it is the same.
    assert report(tmp_path, files, image_size=8, skip_unreadable=True) == at_8


def test_duplicates_are_found_wherever_they_are(tmp_path):
    same, other, third = image(), image(), image()
    files = {f"{part}/{cls}/{i}.png": image() for part in ("train", "val", "test") for cls in "ab" for i in range(3)}
    files |= {"train/a/x.png": same, "train/a/y.png": same, "test/a/x.png": same, "test/b/y.png": same}
    files |= {"train/b/x.png": other, "val/b/x.png": other, "train/a/z.png": third, "train/b/z.png": third}
    found = {each.parts: each for each in report(tmp_path, files).duplicates}
    assert found == {
        ("train", "train"): Duplicates(
            ("train", "train"), 2, 1,
            (("train/a/z.png", "train/b/z.png"), ("train/a/x.png", "train/a/y.png")),
        ),
        ("test", "test"): Duplicates(("test", "test"), 1, 1, (("test/a/x.png", "test/b/y.png"),)),
        ("train", "validation"): Duplicates(("train", "validation"), 1, 0, (("train/b/x.png", "val/b/x.png"),)),
        ("train", "test"): Duplicates(
            ("train", "test"), 2, 2, (("train/a/x.png", "test/a/x.png"), ("train/a/x.png", "test/b/y.png")),
        ),
    }  # fmt: skip


def test_a_test_image_is_found_in_train_whatever_its_file_is(tmp_path):
    """Another format and another size after resizing, but the same pixels; and not one that differs in one pixel."""
    pixels = random_pixels(RNG)
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    files = {f"{part}/a/{i}.png": image() for part in ("train", "test") for i in range(3)}
    files |= {"train/a/x.png": encoded(pixels), "test/a/x.bmp": encoded(pixels, form="BMP")}
    files |= {"test/a/y.png": encoded(changed)}
    for size in (None, 5):
        (found,) = report(tmp_path, files, image_size=size).duplicates
        assert found == Duplicates(("train", "test"), 1, 0, (("train/a/x.png", "test/a/x.bmp"),))
    lines = "\n".join(report(tmp_path, files).lines())
    assert "duplicates: 1 image of test in train too: train/a/x.png = test/a/x.bmp" in lines


def test_groups_by_a_dictionary():
    """Random labels and few contents, against the plain way; also hashes that agree in one half."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        contents = rng.integers(0, 3, (12, 2)).astype(np.uint64)
        parts, plain = {}, {}
        for name, count in (("train", 9), ("validation", 4), ("test", 6)):
            rows, labels = contents[rng.integers(0, 12, count)], rng.integers(0, 2, count)
            parts[name] = ReportedPart(
                labels, rows, lambda name=name, count=count: [f"{name}{i}" for i in range(count)]
            )
            plain[name] = [(tuple(row.tolist()), int(label)) for row, label in zip(rows, labels)]
        found = data_report("x", "", ("a", "b"), parts, (8, 8), Facts()).duplicates
        wanted = {}
        for one in plain:
            for other in plain:
                if list(plain).index(other) < list(plain).index(one):
                    continue
                pool = plain[one] if one == other else plain[one] + plain[other]
                twice = [
                    (content, label)
                    for i, (content, label) in enumerate(plain[other])
                    if any(content == each for each, _ in (plain[one][:i] if one == other else plain[one]))
                ]
                differ = [each for each in twice if len({label for content, label in pool if content == each[0]}) > 1]
                if twice:
                    wanted[one, other] = (len(twice), len(differ))
        assert {each.parts: (each.images, each.other_label) for each in found} == wanted


def test_it_is_plain_and_can_be_kept(tmp_path):
    files = {f"{part}/{cls}/{i}.png": image() for part in ("train", "test") for cls in "ab" for i in range(2)}
    found = report(tmp_path, {**files, "train/a/x.heic": b""})
    write_json(tmp_path / "data.json", found)
    stored = json.loads((tmp_path / "data.json").read_text())
    assert stored == to_plain(found)
    assert stored["images"] == {"train": [2, 2], "validation": [0, 0], "test": [2, 2]}
    assert isinstance(found, DataReport)


@pytest.mark.parametrize("classes", [2, 12, 13, 300])
def test_it_fits_a_terminal(classes):
    """Long names, wide ones, many classes, many files."""
    names = tuple(f"{i} \u65e5\u672c\u8a9e {'long ' * (i % 30)}" for i in range(classes))
    many = [("a reason", 12345, [f"train/{'deep/' * 40}{i}.png" for i in range(5)])]
    facts = Facts(
        ((1, 2), (30, 40), (50, 60)), 0.123, [("\u65e5" * 200, "cannot be read")] * 9, many, many, ["n " * 99]
    )
    rows = np.repeat(np.arange(classes, dtype=np.uint64)[:, None], 2, axis=1)
    part = ReportedPart(np.arange(classes), rows, lambda: names)
    found = data_report("set", "/a/path" * 30, names, {"train": part, "test": part}, (8, 8), facts)
    lines = found.lines()
    assert max(map(columns, lines)) <= COLUMNS
    assert len(lines) < 70
    text = "\n".join(lines)
    assert f"{classes:,} images of test in train too" in text
    assert ("classes" in text) == (classes > 12)
    json.dumps(to_plain(found))


def test_of_a_data_set_by_name():
    found = load_images(DataConfig(limit=4, validation_share=0.25)).report
    assert (found.name, found.source, found.size) == ("digits", "", (32, 32))
    assert found.images == {"train": (3,) * 10, "validation": (1,) * 10, "test": (4,) * 10}
    assert (found.sizes, found.resized) == (((8, 8),) * 3, 1.0)
    assert load_images(DataConfig(limit=4, image_size=8)).report.resized == 0.0


class TestParts:
    """What ``load_images`` makes of parts that a folder has, or has not."""

    def load(self, tmp_path, names, **options):
        files = {f"{name}/{i}.png": image() for name in names for i in range(4)}
        return load_images(DataConfig(str(write(tmp_path, files)), root=tmp_path / "cache", **options))

    @pytest.mark.parametrize(
        ("names", "classes", "counts"),
        [
            (("train/a", "train/b"), ("a", "b"), (6, 2, 0)), (("a", "b"), ("a", "b"), (6, 2, 0)),
            (("train",), ("unlabeled",), (3, 1, 0)), (("train", "test"), ("unlabeled",), (3, 1, 4)),
            (("photos",), ("photos",), (3, 1, 0)), (("train/x", "test/x"), ("x",), (3, 1, 4)),
            (("train/x", "val/x", "test/x"), ("x",), (4, 4, 4)), (("train/x", "val/x"), ("x",), (3, 1, 4)),
        ],
    )  # fmt: skip
    def test_parts_and_classes(self, tmp_path, names, classes, counts):
        splits = self.load(tmp_path, names, validation_share=0.25)
        parts = (splits.train, splits.validation, splits.test)
        assert tuple(map(len, parts)) == counts
        for part in parts:
            assert part.class_names == classes
            assert part.images.shape == (len(part), 3, 8, 8)
            assert part.images.dtype == torch.uint8
            assert part.labels.dtype == torch.int64
        assert sum(map(sum, splits.report.images.values())) == sum(counts)

    def test_validation_images_of_its_own_are_taken_whatever_the_share(self, tmp_path):
        for share in (0.0, 0.5):
            splits = self.load(tmp_path, ("train/x", "val/x", "test/x"), validation_share=share, limit=2)
            assert [len(each) for each in (splits.train, splits.validation, splits.test)] == [2, 2, 2]
            assert "val/ holds the validation images; validation_share is not read" in "\n".join(splits.report.lines())


class TestTheRightFolder:
    """What was kept belongs to files, not to names, sizes and times that can be set."""

    def gray(self, folder, values):
        for part in ("train", "test"):
            for cls, value in values.items():
                (folder / part / cls).mkdir(parents=True, exist_ok=True)
                path = folder / part / cls / "0.bmp"
                path.write_bytes(encoded(np.full((8, 8, 3), value, np.uint8), form="BMP"))
                os.utime(path, (1e9, 1e9))

    def first(self, folder, tmp_path):
        config = DataConfig(str(folder), root=tmp_path / "cache", validation_share=0.0)
        return load_images(config).train.images[:, 0, 0, 0].tolist()

    def test_images_that_change_places(self, tmp_path):
        self.gray(tmp_path / "set", {"a": 0, "b": 255})
        assert self.first(tmp_path / "set", tmp_path) == [0, 255]
        one, other = (tmp_path / "set/train" / name / "0.bmp" for name in "ab")
        one.rename(tmp_path / "x")
        other.rename(one)
        (tmp_path / "x").rename(other)
        assert self.first(tmp_path / "set", tmp_path) == [255, 0]

    def test_another_folder_in_its_place_or_of_its_name(self, tmp_path):
        self.gray(tmp_path / "set", {"a": 0, "b": 255})
        self.first(tmp_path / "set", tmp_path)
        self.gray(tmp_path / "other/set", {"a": 10, "b": 200})
        assert self.first(tmp_path / "other/set", tmp_path) == [10, 200]
        (tmp_path / "set").rename(tmp_path / "old")
        (tmp_path / "other/set").rename(tmp_path / "set")
        assert self.first(tmp_path / "set", tmp_path) == [10, 200]

    def test_images_that_are_written_over_at_once(self, tmp_path):
        """Of the same size and set to the same time, again and again, faster than a clock's tick."""
        self.gray(tmp_path / "set", {"a": 0, "b": 255})
        for value in range(1, 6):
            self.gray(tmp_path / "set", {"a": value})
            assert self.first(tmp_path / "set", tmp_path) == [value, 255]

    def test_an_archive_in_its_place(self, tmp_path):
        for value in (7, 9):
            data = encoded(np.full((8, 8, 3), value, np.uint8), form="BMP")
            path = write(tmp_path, {f"{part}/a/0.bmp": data for part in ("train", "test")}, ".tar")
            os.utime(path, (1e9, 1e9))
            assert self.first(path, tmp_path) == [value]

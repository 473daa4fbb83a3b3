"""Data sets by name or path, and how they are split."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from sklearn.datasets import load_digits

from models.cifar.data.images import DataConfig, ImageSet, load_images
from tests.models.cifar.data.image_files import encoded, expected, pixels_of_files, random_pixels, small_files, write
from tests.models.cifar.data.test_archives import CLASSES, PER_BATCH, Official

CLASSES_OF_FILES = ("cat", "dog", "eel")


def counts(images):
    return torch.bincount(images.labels, minlength=len(images.class_names)).tolist()


def rows(*sets):
    """Images as a multiset."""
    return Counter(image.numpy().tobytes() for images in sets for image in images.images)


def assert_same(a, b):
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    assert (a.class_names, a.name) == (b.class_names, b.name)


class TestDigits:
    def test_every_digit_is_in_one_part(self):
        splits = load_images(DataConfig(image_size=8))
        source = load_digits()
        wanted = Counter()
        for image in np.rint(source.images * 255 / 16).astype(np.uint8):
            wanted[np.stack([image] * 3).tobytes()] += 1
        assert rows(splits.train, splits.validation, splits.test) == wanted
        assert splits.train.images.dtype == torch.uint8
        assert splits.train.images.max() == 255

    def test_labels_go_with_their_images(self):
        source = load_digits()
        # A few digits may look the same; they are then the same digit.
        of = {np.rint(i * 255 / 16).astype(np.uint8).tobytes(): int(t) for i, t in zip(source.images, source.target)}
        splits = load_images(DataConfig(image_size=8))
        for images in (splits.train, splits.validation, splits.test):
            assert [of[image[0].numpy().tobytes()] for image in images.images] == images.labels.tolist()

    def test_the_test_part_is_a_fifth_of_each_digit_and_always_the_same(self):
        of_source = np.bincount(load_digits().target)
        first, second = load_images(DataConfig()), load_images(DataConfig(split_seed=5, validation_share=0.5))
        assert_same(first.test, second.test)
        np.testing.assert_allclose(counts(first.test), 0.2 * of_source, atol=0.51)

    def test_they_are_brought_to_32_pixels_or_what_is_asked_for(self):
        assert load_images(DataConfig(limit=2)).test.images.shape == (20, 3, 32, 32)
        small, large = (load_images(DataConfig(image_size=size, limit=3)).train.images.float() for size in (8, 32))
        assert large.shape[1:] == (3, 32, 32)
        # Upscaled, not moved: blocks of 4 x 4 average to about the pixel.
        blocks = torch.nn.functional.avg_pool2d(large, 4)
        assert torch.corrcoef(torch.stack([blocks.flatten(), small.flatten()]))[0, 1] > 0.99


class TestSplits:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
    def test_shares_hold_in_each_class(self, share):
        everything = load_images(DataConfig(image_size=8, validation_share=0.0))
        splits = load_images(DataConfig(image_size=8, validation_share=share))
        np.testing.assert_allclose(counts(splits.validation), share * np.array(counts(everything.train)), atol=0.51)
        assert rows(splits.train, splits.validation) == rows(everything.train)
        assert len(everything.validation) == 0
        assert everything.validation.images.shape[1:] == (3, 8, 8)

    def test_the_seed_picks_what_is_held_out(self):
        first, again, other = (load_images(DataConfig(image_size=8, split_seed=seed)) for seed in (0, 0, 1))
        assert_same(first.validation, again.validation)
        assert_same(first.train, again.train)
        assert rows(first.validation) != rows(other.validation)
        assert counts(first.validation) == counts(other.validation)

    def test_a_limit_takes_the_first_of_each_class(self, tmp_path):
        path = write(tmp_path, small_files(), ".zip")
        splits = load_images(DataConfig(str(path), root=tmp_path / "cache", limit=2, validation_share=0.0))
        wanted = expected(pixels_of_files())
        chosen = [0, 1, 3, 4, 6, 7]
        for part in ("train", "test"):
            np.testing.assert_array_equal(getattr(splits, part).images.numpy(), wanted[f"{part}_images"][chosen])
            assert getattr(splits, part).labels.tolist() == [0, 0, 1, 1, 2, 2]
        more = load_images(DataConfig(str(path), root=tmp_path / "cache", limit=50, validation_share=0.0))
        assert len(more.train) == 9

    def test_a_limit_with_a_seed_draws_training_images_and_leaves_the_test_images(self):
        first, again, other = (load_images(DataConfig(image_size=8, limit=20, limit_seed=seed)) for seed in (4, 4, 5))
        plain = load_images(DataConfig(image_size=8, limit=20))
        for splits in (again, other, plain):
            assert_same(first.test, splits.test)
            assert counts(first.train) == counts(splits.train)
        assert_same(first.train, again.train)
        used = [rows(splits.train, splits.validation) for splits in (first, other, plain)]
        assert used[0] != used[1] != used[2] != used[0]
        whole = load_images(DataConfig(image_size=8, validation_share=0.0)).train
        assert all(each <= rows(whole) for each in used)
        assert_same(load_images(DataConfig(image_size=8, limit=999, limit_seed=4, validation_share=0.0)).train, whole)

    def test_a_draw_is_spread_over_the_class(self):
        """The first 40 of 140 would never reach the last 20."""
        whole = load_images(DataConfig(image_size=8, validation_share=0.0)).train
        last = torch.cat([torch.where(whole.labels == label)[0][-20:] for label in range(10)])
        drawn = load_images(DataConfig(image_size=8, limit=40, limit_seed=0, validation_share=0.0)).train
        # 200 of about 1,440 images, of which 400 are drawn: 56 are expected, with a standard deviation of 6.
        assert 26 < (rows(drawn) & rows(whole.subset(last))).total() < 86

    def test_a_split_is_of_the_images_that_the_limit_leaves(self):
        """The first of each class, and of these a quarter held out."""
        whole = load_images(DataConfig(image_size=8, validation_share=0.0)).train
        splits = load_images(DataConfig(image_size=8, validation_share=0.25, limit=20, split_seed=3))
        first = torch.cat([torch.where(whole.labels == label)[0][:20] for label in range(10)])
        assert rows(splits.train, splits.validation) == rows(whole.subset(first))
        assert counts(splits.validation) == [5] * 10

    def test_a_share_that_leaves_nothing_is_refused(self, tmp_path):
        path = write(tmp_path, small_files())
        for share, limit in ((0.9, None), (0.1, 1)):
            config = DataConfig(str(path), root=tmp_path / "cache", validation_share=share, limit=limit)
            with pytest.raises(ValueError, match=r"validation_share: .* training images of class cat"):
                load_images(config)
        config = DataConfig(str(path), root=tmp_path / "cache", validation_share=0.01)
        assert counts(load_images(config).validation) == [1, 1, 1]


class TestSources:
    @pytest.mark.parametrize("suffix", ["", ".tar.xz"])
    def test_a_path(self, tmp_path, suffix):
        path = write(tmp_path, small_files(), suffix)
        config = DataConfig(str(path), root=tmp_path / "cache", validation_share=0.0)
        splits = load_images(config)
        for images, part in ((splits.train, "train"), (splits.test, "test")):
            np.testing.assert_array_equal(images.images.numpy(), expected(pixels_of_files())[f"{part}_images"])
            assert images.class_names == CLASSES_OF_FILES
            assert images.name == f"images{suffix}"
        assert_same(load_images(config).train, splits.train)

    def test_the_cache_folder_is_the_one_that_the_environment_names(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CONTRASTIVE_THEORY_CACHE", str(tmp_path / "named"))
        load_images(DataConfig(str(write(tmp_path, small_files()))))
        assert len(list((tmp_path / "named").rglob("*.images"))) == 1

    @pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
    def test_an_official_archive(self, tmp_path, kind):
        official = Official(kind, np.random.default_rng(0))
        archive = official.placed(tmp_path)
        config = DataConfig(kind, root=tmp_path, validation_share=0.0)
        splits = load_images(config, {kind: archive})
        assert splits.train.class_names == tuple(CLASSES)
        assert splits.train.name == kind
        assert len(splits.train) == PER_BATCH * len(archive.train)
        np.testing.assert_array_equal(splits.test.images.numpy(), official.images[archive.test[0]])
        smaller = load_images(DataConfig(kind, root=tmp_path, validation_share=0.0, image_size=16), {kind: archive})
        assert smaller.train.images.shape[1:] == (3, 16, 16)

    def test_resized_archives_look_like_resized_files(self, tmp_path):
        """Two ways to resize, by PyTorch and by Pillow, agree up to the rounding of Pillow's two passes."""
        official = Official("cifar10", np.random.default_rng(0))
        pixels = random_pixels(np.random.default_rng(1), 32, 32)
        official.members[official.archive.test[0]]["data"][:] = pixels.transpose(2, 0, 1).ravel()
        archive = official.placed(tmp_path)
        config = DataConfig("cifar10", root=tmp_path, validation_share=0.0, image_size=12)
        resized = load_images(config, {"cifar10": archive}).test.images[0]
        path = write(tmp_path, {name: encoded(pixels) for name in small_files()})
        config = DataConfig(str(path), root=tmp_path, image_size=12, validation_share=0.0)
        by_pillow = load_images(config).test.images[0]
        difference = (resized.int() - by_pillow.int()).double()
        assert difference.abs().max() <= 1
        assert abs(difference.mean()) < 0.1

    def test_mixed_sizes(self, tmp_path):
        files = {**small_files(), "train/cat/0.png": encoded(random_pixels(np.random.default_rng(0), 9, 20))}
        path = write(tmp_path, files)
        assert load_images(DataConfig(str(path), root=tmp_path / "c")).train.images.shape[2:] == (32, 32)
        assert load_images(DataConfig(str(path), root=tmp_path / "c", image_size=24)).test.images.shape[2:] == (24, 24)

    @pytest.mark.parametrize("name", ["cifar11", "/no/such/folder", "images.tar"])
    def test_unknown_names(self, name):
        with pytest.raises(ValueError, match=r"dataset: .* neither one of digits, cifar10, cifar100 nor a folder"):
            load_images(DataConfig(name))

    def test_no_name(self):
        with pytest.raises(ValueError, match="dataset: must name one, or be a path, got ''"):
            DataConfig("")

    def test_a_file_that_is_no_archive(self, tmp_path):
        (tmp_path / "images.txt").write_text("cat")
        with pytest.raises(
            ValueError, match=r"dataset: .*images\.txt is no folder, and its name ends in none of \.tar"
        ):
            load_images(DataConfig(str(tmp_path / "images.txt")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_share", 1.0), ("validation_share", -0.1), ("validation_share", float("nan")), ("limit", 0),
        ("limit", -3), ("image_size", 0), ("image_size", 3), ("image_size", 1025), ("split_seed", -1),
        ("limit_seed", -1),
    ],
)  # fmt: skip
def test_configurations_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: must"):
        DataConfig(**{name: value})


def test_a_draw_without_a_limit_is_refused():
    with pytest.raises(ValueError, match=r"^limit_seed: goes with limit"):
        DataConfig(limit_seed=0)


def test_a_command_line():
    line = ["--dataset", "cifar10", "--root", "somewhere", "--limit", "5", "--image-size", "None"]
    assert tyro.cli(DataConfig, args=line) == DataConfig("cifar10", root=Path("somewhere"), limit=5)


class TestImageSet:
    def make(self, labels=(0, 1, 1), n=3):
        images = torch.arange(n * 12, dtype=torch.uint8).reshape(n, 3, 2, 2)
        return ImageSet(images, torch.tensor(labels), ("a", "b"), "tiny")

    def test_subsets_and_devices(self):
        images = self.make()
        assert len(images) == 3
        for index in (torch.tensor([2, 0]), torch.tensor([True, False, True])):
            part = images.subset(index)
            assert torch.equal(part.images, images.images[index])
            assert torch.equal(part.labels, images.labels[index])
            assert (part.class_names, part.name) == (("a", "b"), "tiny")
        part = images.subset(torch.tensor([0]))
        part.images[:] = 99
        assert images.images[0].max() < 99
        assert images.to("meta").images.device.type == images.to("meta").labels.device.type == "meta"
        assert_same(images.to("cpu"), images)

    def test_wrong_ones_are_refused(self, as_users_call):
        with pytest.raises(ValueError, match="labels: must lie in"):
            self.make(labels=(0, 1, 2))
        with pytest.raises(ValueError, match="images, labels: expected shapes"):
            self.make(labels=(0, 1))

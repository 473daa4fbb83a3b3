"""Images that a program has in hand: the same splits as from a folder, and nothing guessed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from models.cifar.data import DataConfig, load_images, splits_from_arrays, splits_from_datasets
from models.cifar.data.fingerprint import fingerprint
from models.cifar.data.given import splits as given_splits
from models.cifar.data.given.pixels import batch_pixels, image_pixels
from models.cifar.training.state import load_trained
from models.cifar.training.train import fit
from tests.models.cifar.tiny import CPU, tiny, write_folder

SPLIT = DataConfig(validation_share=0.3)


def images(n=30, size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def labels(n=30):
    return np.arange(n) % 3


class Pairs(Dataset):
    """A dataset of the usual kind."""

    def __init__(self, samples, classes=None):
        self.samples = samples
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def sha(splits):
    return fingerprint(splits)["sha256"]


def test_a_folder_and_its_images_in_hand_are_the_same_splits(tmp_path):
    """The folder's reader is the reference: pixels, labels, names, and who is held out."""
    folder = write_folder(tmp_path / "images", "abc")
    config = DataConfig(str(folder), tmp_path, validation_share=0.3)
    parts = {}
    for part in ("train", "test"):
        files = sorted((folder / part).glob("*/*.png"))
        parts[part] = [(Image.open(file), "abc".index(file.parent.name)) for file in files]
    expected = load_images(config)
    found = splits_from_datasets(Pairs(parts["train"], ["a", "b", "c"]), Pairs(parts["test"]), config=SPLIT)
    assert sha(found) == sha(expected)
    arrays = {part: (np.stack([np.asarray(x) for x, _ in each]), [y for _, y in each]) for part, each in parts.items()}
    found = splits_from_arrays(arrays["train"], arrays["test"], class_names=("a", "b", "c"), config=SPLIT)
    assert sha(found) == sha(expected)
    assert found.report.images == expected.report.images


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.transpose(0, 3, 1, 2),
        torch.from_numpy,
        lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
        lambda x: x / np.float64(255),
        lambda x: (torch.from_numpy(x).double() / 255 + 1e-4).clamp(0, 1).float(),
    ],
)
def test_arrays_of_any_layout_are_the_same_pixels(change):
    x = images(5)
    np.testing.assert_array_equal(batch_pixels(change(x), "train"), x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(image_pixels(change(x)[1], "image"), x[1].transpose(2, 0, 1))


def test_gray_images_have_three_equal_channels():
    gray = images(4)[..., 0]
    expected = np.repeat(gray[:, None], 3, axis=1)
    for given in (gray, gray[:, None], gray[..., None]):
        np.testing.assert_array_equal(batch_pixels(given, "train"), expected)
    np.testing.assert_array_equal(image_pixels(Image.fromarray(gray[0]), "x"), expected[0])


def test_what_is_given_is_not_changed():
    """Held-out images are moved behind the others in place: in a copy."""
    for x in (images(), images().transpose(0, 3, 1, 2).copy(), torch.from_numpy(images()).permute(0, 3, 1, 2)):
        before = np.asarray(x).copy()
        splits_from_arrays((x, labels()), config=SPLIT)
        np.testing.assert_array_equal(np.asarray(x), before)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (images().astype(np.int64), "train: expected uint8, or floats in \\[0, 1\\], got int64"),
        (images() / 255 - 0.5, "train: floats must lie in \\[0, 1\\], image 0 has \\[-0.5"),
        (np.where(images() > 250, np.nan, 0.5), "train: floats must lie in \\[0, 1\\]"),
        (images()[..., :2], "train: expected shape"),
        (images()[0], None),
        (images()[:, :3, :, :], "train: expected shape"),
        (images(size=3), "train: expected shape"),
        (images().tolist(), "train: expected an array or a tensor, got a list"),
        (images()[:0], "train: has no images"),
        (None, "train: expected an array"),
    ],
)
def test_what_are_no_images_is_refused(given, told):
    if told is None:
        with pytest.raises(ValueError, match="train"):
            splits_from_arrays((given, labels()))
        return
    n = 30 if given is None or isinstance(given, list) else len(given)
    with pytest.raises(ValueError, match=f"^{told}"):
        splits_from_arrays((given, labels(n)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": (images(), labels(29))}, r"train labels: expected integers of shape \(30,\)"),
        ({"train": (images(), labels() / 2)}, "train labels: expected integers"),
        ({"train": images()}, r"train: expected \(images, labels\), got a ndarray"),
        ({"class_names": ("a", "b")}, r"train labels: must lie in \[0, 1\], the class_names, got 2"),
        ({"class_names": "abc"}, "class_names: expected a list of names"),
        ({"test": (images(6), None)}, "test: has no labels, but another part has"),
        ({"test": (images(6, 12), labels(6))}, "image_size: must be given where parts have images of different sizes"),
        ({"config": DataConfig(validation_share=0.95)}, "validation_share: 0.95 leaves nothing of the 10 training"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, told, as_users_call):
    with pytest.raises(ValueError, match=f"^{told}"):
        splits_from_arrays(**{"train": (images(), labels()), **changes})


def test_labels_are_of_any_value_or_none():
    names = np.array([2**40, -7, 3])
    found = given_splits.splits_from_arrays(
        (images(), names[labels()]), (images(3, seed=1), names[:1].repeat(3)), config=SPLIT
    )
    assert found.train.class_names == ("-7", "3", str(2**40))
    assert found.test.labels.tolist() == [2, 2, 2]
    plain = splits_from_arrays((images(), None), config=SPLIT)
    assert plain.train.class_names == ("unlabeled",)
    assert (len(plain.train), len(plain.validation), len(plain.test)) == (21, 9, 0)


def test_sizes_limits_and_validation_images_of_ones_own():
    small, large = [(x, int(y)) for x, y in zip(images(12), labels(12))], [(x, 0) for x in images(3, 12, seed=1)]
    with pytest.raises(ValueError, match=r"^train: image 12: image_size must be given .* here 8 x 8 and 12 x 12"):
        splits_from_datasets(small + large)
    found = splits_from_datasets(small + large, validation=small, config=DataConfig(image_size=6, limit=2))
    assert found.train.images.shape == (6, 3, 6, 6)
    assert len(found.validation) == 6
    assert found.report.sizes == ((8, 8), (8, 8), (12, 12))
    assert found.report.resized == 1.0
    assert splits_from_arrays((images(), labels()), config=DataConfig(image_size=6)).train.images.shape[2:] == (6, 6)


def test_two_classes_of_one_name_are_refused():
    """They would be one to whoever labels by name, as the advisor does, and two to the probes."""
    names, told = ("cat", "dog", "cat"), "^class_names: must differ, 'cat' is there 2 times"
    with pytest.raises(ValueError, match=told):
        splits_from_arrays((images(), labels()), class_names=names)
    with pytest.raises(ValueError, match=told):
        splits_from_datasets(Pairs(list(zip(images(), labels())), classes=names))


@pytest.mark.parametrize(("height", "width"), [(8, 16), (17, 9), (9, 12), (8, 12)])
def test_arrays_datasets_and_files_are_cut_to_the_same_square(height, width, tmp_path):
    """A disc stays a disc: of images that are no squares the middle is taken, from whatever they come."""
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2 < (min(height, width) / 3) ** 2
    disc = np.where(inside, 255, 0).astype(np.uint8)[..., None].repeat(3, -1)
    given = np.stack([disc, disc // 2, disc // 3])
    config = DataConfig(image_size=6, validation_share=0.0)
    arrays = splits_from_arrays((given, np.zeros(3, dtype=int)), config=config).train.images
    datasets = splits_from_datasets([(image, 0) for image in given], config=config).train.images
    (tmp_path / "images" / "train" / "a").mkdir(parents=True)
    for i, image in enumerate(given):
        Image.fromarray(image).save(tmp_path / "images" / "train" / "a" / f"{i}.png")
    files = load_images(replace(config, dataset=str(tmp_path / "images"), root=tmp_path / "cache")).train.images
    assert torch.equal(arrays, datasets)
    assert torch.equal(arrays, files)
    extent = [(arrays[0].amax(0) > 127).any(axis).sum().item() for axis in (0, 1)]
    assert extent[0] == extent[1] == 4, "as high as wide"
    wide = splits_from_datasets([(x[:4], 0) for x in images(4)], config=SPLIT)
    assert wide.train.images.shape[2:] == (4, 8)


def test_datasets_of_torch():
    x, y = torch.from_numpy(images().transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels())
    expected = sha(splits_from_arrays((x, y), config=SPLIT))
    assert sha(splits_from_datasets(TensorDataset(x, y), config=SPLIT)) == expected
    assert sha(splits_from_datasets(TensorDataset(x / 255, y), config=SPLIT)) == expected
    assert len(splits_from_datasets(Subset(TensorDataset(x, y), range(12)), config=SPLIT).train) < 12


class Endless(IterableDataset):
    def __iter__(self):
        return iter([(images(1)[0], 0)])


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (Endless(), "train: expected a dataset with a length, got a Endless; list"),
        ([images(1)[0]], r"train: image 0: expected a pair \(image, label\), got a ndarray"),
        ([(images(1)[0], 0), (images(1)[0], "cat")], "train: image 1: its label must be one integer, got cat"),
        ([(images(1)[0], 0.5)], "train: image 0: its label must be one integer"),
        ([(images(1)[0], torch.tensor([1, 2]))], "train: image 0: its label must be one integer"),
        ([(images(1)[0] / 10, 0)], r"train: image 0: floats must lie in \[0, 1\]"),
        ([(Image.new("F", (8, 8)), 0)], "train: image 0: has mode F; convert"),
        ([("file.png", 0)], "train: image 0: expected an array or a tensor, got a str"),
        ([], "train: has no images"),
    ],
)
def test_what_is_no_dataset_of_images_is_refused(dataset, told, as_users_call):
    with pytest.raises(ValueError, match=f"^{told}"):
        splits_from_datasets(dataset)


def test_a_training_from_python(tmp_path):
    """And its checkpoint tells these images from others."""
    splits = splits_from_arrays((images(), labels()), (images(9, seed=1), labels(9)), config=SPLIT)
    fit(tiny(), splits, CPU, tmp_path)
    assert load_trained(tmp_path / "checkpoint.pt", CPU).data == fingerprint(splits)
    with pytest.raises(ValueError, match="images are not those of the run"):
        fit(tiny(), splits_from_arrays((images(seed=2), labels()), config=SPLIT), CPU, tmp_path, resume=True)

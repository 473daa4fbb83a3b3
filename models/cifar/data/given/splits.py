"""Splits from what a program has in hand, to train on from Python: ``fit(config, splits, device, folder)``.

Validation images are held out, images limited and resized, and duplicates reported as for those of a folder
(models/cifar/data/images.py). A checkpoint keeps their fingerprint, not where they were: measure its networks from
Python too (models.cifar.evaluate.evaluate), or name image files with ``--dataset``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from models.cifar.data.decoded import Facts, ImageData, PartImages, size_range
from models.cifar.data.decoding import fit as fit_square
from models.cifar.data.given.pixels import batch_pixels, image_pixels
from models.cifar.data.images import DataConfig, Splits, split_images
from models.cifar.data.layout import UNLABELED
from models.cifar.data.limits import MEMORY_SHARE, available_memory
from models.cifar.data.splitting import as_pairs, content_hash, content_hashes
from theory.batches.clusters import index_labels
from theory.numerics.inputs import Array

Part = tuple[Array, Array | None]


def splits_from_arrays(
    train: Part,
    test: Part | None = None,
    validation: Part | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    config: DataConfig | None = None,
) -> Splits:
    """Splits of arrays of images of one size; they are copied. With config.image_size the largest square in the middle
    of each is resized.

    Args:
        train, test, validation: (images, labels). Images as batch_pixels takes them: uint8 (n, H, W, 3) or
            (n, 3, H, W), or floats in [0, 1]; NumPy or torch. Labels: integers (n,) of any values, or None in all
            parts: unlabeled, of one class. Without validation images some of the training images are held out; without
            test images there are none.
        class_names: of labels 0..K-1, all different. None: labels of any values, which are the names.
        name: of the data set, in reports.
        config: how they are split, sized and limited (image_size, validation_share, split_seed, limit, limit_seed); the
            rest of it is not read. None: as by default.

    Raises:
        ValueError: names the part: no images, other shapes or values, labels that are none or without a name; names
            that are there twice; otherwise as load_images.
    """
    given = {"train": train, "validation": validation, "test": test}
    parts, sizes, labels = {}, [], {}
    for part, pair in given.items():
        if pair is None:
            continue
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{part}: expected (images, labels), got a {type(pair).__name__}")
        images = batch_pixels(pair[0], part)
        parts[part] = (images, content_hashes(images))
        labels[part] = pair[1]
        sizes += [images.shape[:1:-1]] * bool(len(images))
    size = (config or DataConfig()).image_size
    return _splits(parts, labels, np.array(sizes), class_names, name, config, size)


def splits_from_datasets(
    train: Dataset | Sequence,
    test: Dataset | Sequence | None = None,
    validation: Dataset | Sequence | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "dataset",
    config: DataConfig | None = None,
) -> Splits:
    """Splits of anybody's datasets, or lists, of pairs (image, label). Every image is read once: leave random
    transformations out, views are made here.

    Args:
        train, test, validation: with a length. An image is one of Pillow, or an array or tensor as in
            ``splits_from_arrays`` without the first axis. With config.image_size the largest square in its middle is
            resized; without it all must have one size. A label is an integer of any value.
        class_names: of labels 0..K-1. None: the training set's ``classes``, where it has such names, else the labels
            are the names.
        name, config: as in ``splits_from_arrays``.

    Raises:
        ValueError: as ``splits_from_arrays``; names the part and the image. What a dataset itself raises passes.
    """
    size = (config or DataConfig()).image_size
    parts, sizes, labels = {}, [], {}
    for part, dataset in (("train", train), ("validation", validation), ("test", test)):
        if dataset is None:
            continue
        pixels, hashes, labels[part], found = _read(dataset, part, size)
        parts[part] = (pixels, hashes)
        sizes += found
    if class_names is None:
        own = getattr(train, "classes", None)
        class_names = own if isinstance(own, list | tuple) and all(isinstance(each, str) for each in own) else None
    # Resized as they were read.
    return _splits(parts, labels, np.array(sizes), class_names, name, config, None, size)


def _read(dataset: Any, part: str, size: int | None) -> tuple[np.ndarray, np.ndarray, list[int], list]:
    """Pixels, content hashes, labels, and (width, height) of every image."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ValueError(f"{part}: expected a dataset with a length, got a {type(dataset).__name__}; list() makes one")
    pixels, hashes, labels, sizes = None, [], [], []
    for i in tqdm(range(len(dataset)), desc=f"reading {part}", unit="image", disable=None, leave=False):
        where = f"{part}: image {i}"
        pair = dataset[i]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{where}: expected a pair (image, label), got a {type(pair).__name__}")
        image = image_pixels(pair[0], where).transpose(1, 2, 0)
        hashes.append(content_hash(image))
        sizes.append(image.shape[1::-1])
        labels.append(_label(pair[1], where))
        image = image if size is None else fit_square(np.ascontiguousarray(image), size)
        if pixels is None:
            pixels = _room(len(dataset), image.shape[:2], part)
        if image.shape[:2] != pixels.shape[2:]:
            found = " and ".join("{1} x {0}".format(*each) for each in (pixels.shape[2:], image.shape[:2]))
            raise ValueError(f"{where}: image_size must be given where images have different sizes, here {found}")
        pixels[i] = image.transpose(2, 0, 1)
    if pixels is None:
        raise ValueError(f"{part}: has no images")
    return pixels, as_pairs(b"".join(hashes)), labels, sizes


def _label(label: Any, where: str) -> int:
    try:
        return int(index_labels([label.item() if hasattr(label, "item") else label])[0][0])
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{where}: its label must be one integer, got {str(label)[:60]}") from None


def _room(count: int, shape: tuple[int, int], part: str) -> np.ndarray:
    needed, available = 3 * count * shape[0] * shape[1], available_memory()
    if available is not None and needed > MEMORY_SHARE * available:
        raise ValueError(
            f"{part}: {count:,} images of {shape[0]} x {shape[1]} pixels take {needed / 2**30:,.1f} GiB, more than "
            f"{MEMORY_SHARE:.0%} of the memory that is there; set image_size smaller"
        )
    return np.empty((count, 3, *shape), dtype=np.uint8)


def _splits(
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    labels: dict[str, Any],
    sizes: np.ndarray,
    class_names: Sequence[str] | None,
    name: str,
    config: DataConfig | None,
    size: int | None,
    resized_to: int | None = None,
) -> Splits:
    classes, indices = _classes({part: (labels[part], len(parts[part][0])) for part in parts}, class_names)
    shapes = {images.shape[2:] for images, _ in parts.values()}
    if not len(parts["train"][0]):
        raise ValueError("train: has no images")
    if len(shapes) > 1 and size is None:
        raise ValueError(f"image_size: must be given where parts have images of different sizes, here {sorted(shapes)}")

    def numbered(part: str) -> Callable[[], list[str]]:
        return lambda: [f"{part} image {i}" for i in range(len(parts[part][0]))]

    found = {part: PartImages(each[0], indices[part], each[1], numbered(part)) for part, each in parts.items()}
    side = resized_to if size is None else size
    resized = 0.0 if side is None else float((sizes != side).any(axis=1).mean())
    data = ImageData(found, classes, Facts(sizes=size_range(sizes), resized=resized))
    return split_images(data, config or DataConfig(), name, "", size)


def _classes(
    labels: dict[str, tuple[Any, int]], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names, and for each part the labels as indices into them."""
    missing = [part for part, (values, _) in labels.items() if values is None]
    if missing and len(missing) < len(labels):
        raise ValueError(f"{missing[0]}: has no labels, but another part has; give them in all parts or in none")
    if missing:
        return (UNLABELED,), {part: np.zeros(count, dtype=np.int64) for part, (_, count) in labels.items()}
    read = {part: index_labels(values, count, f"{part} labels") for part, (values, count) in labels.items()}
    every = sorted({int(value) for values, _ in read.values() for value in values})
    if class_names is None:
        names = tuple(map(str, every))
    elif isinstance(class_names, str) or not isinstance(class_names, Sequence) or not len(class_names):
        raise ValueError(f"class_names: expected a list of names, or None, got {str(class_names)[:60]!r}")
    else:
        names, every = tuple(map(str, class_names)), list(range(len(class_names)))
    place = {value: i for i, value in enumerate(every)}
    indices = {}
    for part, (values, index) in read.items():
        strange = [int(value) for value in values if int(value) not in place]
        if strange:
            raise ValueError(f"{part} labels: must lie in [0, {len(names) - 1}], the class_names, got {strange[0]}")
        indices[part] = np.array([place[int(value)] for value in values], dtype=np.int64)[index]
    return names, indices

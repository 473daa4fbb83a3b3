"""Real images with labels: by name, or from a folder or archive; split into training, validation and test images.

Images are uint8 tensors that fit in memory, so that a trainer can keep them on its device. The validation images are
held out of the training images (models/cifar/data/splitting.py), to choose hyper-parameters on; the test images are for
the result.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Int64, UInt8
from torch import Tensor

from models.cifar.data.archives import ARCHIVES, Archive, load_archive
from models.cifar.data.decoded import PARTS, Facts, ImageData, PartImages
from models.cifar.data.decoding import fit
from models.cifar.data.image_folder import load_image_folder
from models.cifar.data.names import printable
from models.cifar.data.report import DataReport, ReportedPart, data_report
from models.cifar.data.sources import ARCHIVE_SUFFIXES, is_archive
from models.cifar.data.splitting import LIMIT, VALIDATION, content_hashes, draw_order, held_out, set_aside, some_of_each
from theory.console.extras import require_extra
from theory.numerics.cache import cache_folder
from theory.numerics.inputs import require_count, require_flag, require_number, require_range
from theory.numerics.limits import LARGEST_BATCH, LARGEST_SEED

DIGITS = "digits"
# What image_size = None stands for where images are smaller by far.
DIGITS_SIZE = 32
# Of scikit-learn's digits, which come without a split; drawn once and for all.
DIGITS_TEST_SHARE = 0.2
DIGITS_SEED = 0
SMALLEST_SIZE, LARGEST_SIZE = 4, 1024
RESIZED_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels.

    Attributes:
        images: (N, C, H, W), 0 to 255.
        labels: (N,), indices into ``class_names``.
        class_names: one a class, all different.
        name: of the data set.

    Raises:
        ValueError: images and labels of different number or shape, a label without a name, or two classes of one name.
    """

    images: UInt8[Tensor, "N C H W"]
    labels: Int64[Tensor, " N"]
    class_names: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                "images, labels: expected shapes (N, C, H, W) and (N,), "
                f"got {tuple(self.images.shape)} and {tuple(self.labels.shape)}"
            )
        (name, times), *_ = Counter(self.class_names).most_common(1) or [("", 0)]
        if times > 1:
            # Whoever labels by name would take two classes for one.
            raise ValueError(f"class_names: must differ, {printable(name)!r} is there {times} times")
        # On an accelerator the question would have to wait for an answer; labels come from here anyway.
        if self.labels.device.type == "cpu" and len(self.labels):
            require_range(self.labels, "labels", 0, len(self.class_names) - 1)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, index: Int[Tensor, " m"] | Bool[Tensor, " N"]) -> "ImageSet":
        """The images at some indices, or where a mask is true; a copy."""
        index = index.to(self.labels.device)
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class Splits:
    """A data set's parts, with the same classes.

    ``validation`` is empty where its share is 0, ``test`` where a folder has no test images, and unlabeled images are
    of one class. ``report`` says what is known of the images, where they were loaded.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    report: DataReport | None = None


def require_test_and_classes(splits: Splits) -> Splits:
    """The same, which can be judged by labels: as studies need them that compare trainings on test images.

    Raises:
        ValueError: no test images, or one class only.
    """
    if not len(splits.test):
        raise ValueError(f"dataset: {splits.train.name} has no test images (test/<class>/), which are needed here")
    if len(splits.train.class_names) < 2:
        raise ValueError(
            f"dataset: all images of {splits.train.name} are of one class, {splits.train.class_names[0]}; at least 2 "
            "are needed here"
        )
    return splits


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split.

    Raises:
        ValueError: a value out of range.
    """

    dataset: str = DIGITS
    """digits (scikit-learn's, needs no download), cifar10, cifar100 (downloaded once), or the path of a folder or
    archive (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip) with train/CLASS/FILE and test/CLASS/FILE; val/CLASS/FILE beside
    them are the validation images, and the test images where there is no test/. For methods without labels also
    train/FILE, CLASS/FILE or files alone."""
    root: Path | None = None
    """Folder for downloads and decoded images. None: the one that the environment variable CONTRASTIVE_THEORY_CACHE
    names, else contrastive-theory-toolkit in the user's cache folder."""
    image_size: int | None = None
    """Height and width in pixels, 4 to 1024, that the largest square in the middle of an image is brought to. None
    keeps the images' own size; images of different sizes, and digits, are brought to 32."""
    validation_share: float = 0.1
    """In [0, 1): of the training images of each class, held out for validation; at least one of each unless 0. Not
    read where a folder has validation images of its own."""
    split_seed: int = 0
    """Which training images are held out: drawn by their content, so that adding one hardly changes the others' side,
    and identical images of a class are on one side."""
    limit: int | None = None
    """Only so many images of each class, in training (before validation images are held out) and test: the first."""
    limit_seed: int | None = None
    """With limit, training images of each class are drawn with this seed (by their content) instead of being the
    first; validation images of their own and test images are always the first."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read; the report lists them. Otherwise they are refused, all in one list."""

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str) or not self.dataset.strip():
            raise ValueError(f"dataset: must name one, or be a path, got {self.dataset!r}")
        require_number(self.validation_share, "validation_share", 0.0, 1.0, closed="left")
        require_flag(self.skip_unreadable, "skip_unreadable")
        require_count(self.split_seed, "split_seed", 0, LARGEST_SEED)
        if self.image_size is not None:
            require_count(self.image_size, "image_size", 1)
            require_range(self.image_size, "image_size", SMALLEST_SIZE, LARGEST_SIZE)
        if self.limit is not None:
            require_count(self.limit, "limit", 1, LARGEST_BATCH)
        if self.limit_seed is not None:
            require_count(self.limit_seed, "limit_seed", 0, LARGEST_SEED)
            if self.limit is None:
                raise ValueError("limit_seed: goes with limit, without which no image is left out; must be None")


def load_images(config: DataConfig, archives: Mapping[str, Archive] = ARCHIVES) -> Splits:
    """The images that a configuration describes, on the CPU; RGB, in an order that does not change; with their report.

    Args:
        archives: the downloadable data sets, by name.

    Raises:
        ValueError: names the argument, file or member: an unknown data set, no connection, a wrong checksum, an archive
            that is not whole or not of its format, images that cannot be read (all of them), classes without images or
            that differ between the parts, too few images of a class to hold some out, more than fits in memory.
    """
    root = config.root or cache_folder()
    name, source, size = config.dataset, "", config.image_size
    if name == DIGITS:
        size = size or DIGITS_SIZE
        data = _load_digits(size)
    elif name in archives:
        data = _official(*load_archive(archives[name], root), size)
    else:
        path = _existing_path(name, archives)
        data = load_image_folder(path, size, root / "images", config.skip_unreadable)
        # Resized as they were decoded.
        size, name, source = None, printable(path.resolve().name), printable(str(path.resolve()))
    return split_images(data, config, name, source, size)


def split_images(data: ImageData, config: DataConfig, name: str, source: str, size: int | None) -> Splits:
    """Images limited, resized to ``size`` (None: as they are), and with validation images held out, unless the source
    has some of its own; with their report. Arrays of the source may be overwritten.

    Raises:
        ValueError: too few images of a class to hold some out.
    """
    parts = {part: _limited(each, part, config) for part, each in data.parts.items()}
    if "validation" not in parts:
        parts |= _held_out(parts["train"], config, data.classes)
    parts |= {part: _none_like(parts["train"]) for part in PARTS if part not in parts}
    sets, reported = {}, {}
    for part in PARTS:
        each = parts[part]
        images, labels = torch.from_numpy(each.images), torch.from_numpy(each.labels)
        sets[part] = ImageSet(_resized(images, size), labels, data.classes, name)
        reported[part] = ReportedPart(each.labels, each.hashes, each.names)
    height, width = sets["train"].images.shape[2:]
    report = data_report(name, source, data.classes, reported, (height, width), data.facts)
    return Splits(sets["train"], sets["validation"], sets["test"], report)


def _limited(part: PartImages, name: str, config: DataConfig) -> PartImages:
    seed = config.limit_seed if name == "train" else None
    order = None if seed is None else draw_order(part.hashes, seed, LIMIT)
    kept = some_of_each(part.labels, config.limit, order)
    if len(kept) == len(part.labels):
        return part
    return PartImages(part.images[kept], part.labels[kept], part.hashes[kept], _at(part.names, kept))


def _held_out(train: PartImages, config: DataConfig, classes: tuple[str, ...]) -> dict[str, PartImages]:
    """Training images without those that are held out, and these."""
    order = draw_order(train.hashes, config.split_seed, VALIDATION)
    chosen = held_out(train.labels, order, config.validation_share, classes)
    if not chosen.any():
        return {}
    sides = {"train": ~chosen, "validation": chosen}
    images = dict(zip(sides, set_aside(train.images, chosen)))
    return {
        part: PartImages(images[part], train.labels[mask], train.hashes[mask], _at(train.names, np.flatnonzero(mask)))
        for part, mask in sides.items()
    }


def _none_like(part: PartImages) -> PartImages:
    return PartImages(part.images[:0], part.labels[:0], part.hashes[:0], tuple)


def _at(names: Callable[[], Sequence[str]], index: np.ndarray) -> Callable[[], list[str]]:
    """What gives the names at some places, which are not looked for before they are asked for."""

    def chosen() -> list[str]:
        every = names()
        return [every[i] for i in index]

    return chosen


def _existing_path(name: str, archives: Mapping[str, Archive]) -> Path:
    path = Path(name).expanduser()
    known = ", ".join((DIGITS, *archives))
    if not name or not path.exists():
        raise ValueError(f"dataset: {name!r} is neither one of {known} nor a folder or archive that exists")
    if not path.is_dir() and not is_archive(path):
        raise ValueError(f"dataset: {path} is no folder, and its name ends in none of {', '.join(ARCHIVE_SUFFIXES)}")
    return path


def _load_digits(size: int) -> ImageData:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, as uint8 (N, 3, 8, 8)."""
    # Here because it takes a second, which other data sets need not wait for.
    require_extra("images", "dataset digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 0 to 16 in the source.
    images = np.repeat(np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None], 3, axis=1)
    labels = digits.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        # By place, not by content: the test images of digits are to stay what they have always been.
        members = np.random.default_rng([DIGITS_SEED, label]).permutation(np.flatnonzero(labels == label))
        test[members[: round(DIGITS_TEST_SHARE * len(members))]] = True
    arrays: dict[str, np.ndarray] = {}
    for part, mask in (("train", ~test), ("test", test)):
        arrays |= {f"{part}_images": images[mask], f"{part}_labels": labels[mask]}
    return _official(arrays, tuple(str(name) for name in digits.target_names), size)


def _official(arrays: dict[str, np.ndarray], classes: tuple[str, ...], size: int | None) -> ImageData:
    """Arrays of one size, whose images have no names but numbers; they will be resized to ``size``."""

    def numbered(part: str, count: int) -> Callable[[], list[str]]:
        return lambda: [f"{part} image {i}" for i in range(count)]

    parts = {}
    for part in ("train", "test"):
        images, labels = arrays.pop(f"{part}_images"), arrays.pop(f"{part}_labels")
        parts[part] = PartImages(images, labels, content_hashes(images), numbered(part, len(labels)))
    own = images.shape[:1:-1]
    resized = size is not None and own != (size, size)
    return ImageData(parts, classes, Facts(sizes=(own,) * 3, resized=float(resized)))


def _resized(images: UInt8[Tensor, "N C H W"], size: int | None) -> UInt8[Tensor, "N C h w"]:
    """The largest square in the middle, bicubic, with antialiasing: where that is not the whole image as files are
    resized, whose squares may begin between two pixels."""
    if size is None or images.shape[2:] == (size, size):
        return images
    resized = torch.empty((*images.shape[:2], size, size), dtype=torch.uint8)
    if images.shape[2] != images.shape[3]:
        for image, out in zip(images.numpy().transpose(0, 2, 3, 1), resized):
            out.numpy()[:] = fit(np.ascontiguousarray(image), size).transpose(2, 0, 1)
        return resized
    for start in range(0, len(images), RESIZED_AT_ONCE):
        chunk = images[start : start + RESIZED_AT_ONCE].float()
        chunk = F.interpolate(chunk, (size, size), mode="bicubic", antialias=True, align_corners=False)
        resized[start : start + RESIZED_AT_ONCE] = chunk.round_().clamp_(0, 255)
    return resized

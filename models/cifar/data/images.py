"""Real images with labels: by name, or from a folder or archive; split into training, validation and test images.

Images are uint8 tensors that fit in memory, so that a trainer can keep them on its device. The validation images are
held out of the training images, to choose hyper-parameters on; the test images are for the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Int64, UInt8
from torch import Tensor

from models.cifar.data.archives import ARCHIVES, Archive, load_archive
from models.cifar.data.image_folder import ARCHIVE_SUFFIXES, Arrays, is_archive, load_image_folder
from theory.numerics.cache import cache_folder
from theory.numerics.inputs import require_count, require_number, require_range
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
        class_names: one a class.
        name: of the data set.

    Raises:
        ValueError: images and labels of different number or shape, or a label without a name.
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
    """A data set's parts, with the same classes; ``validation`` is empty where its share is 0."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split.

    Raises:
        ValueError: a value out of range.
    """

    dataset: str = DIGITS
    """digits (scikit-learn's, needs no download), cifar10, cifar100 (downloaded once), or the path of a folder or
    archive (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip) with train/CLASS/FILE and test/CLASS/FILE (or val/CLASS/FILE)."""
    root: Path | None = None
    """Folder for downloads and decoded images. None: the one that the environment variable CONTRASTIVE_THEORY_CACHE
    names, else contrastive-theory-toolkit in the user's cache folder."""
    image_size: int | None = None
    """Height and width in pixels, 4 to 1024. None keeps the images' own size; images of different sizes, and digits,
    are brought to 32."""
    validation_share: float = 0.1
    """In [0, 1): of the training images of each class, held out for validation; at least one of each unless 0."""
    split_seed: int = 0
    """Which training images are held out."""
    limit: int | None = None
    """Only so many images of each class, in training (before validation images are held out) and test: the first."""
    limit_seed: int | None = None
    """With limit, training images of each class are drawn with this seed instead of being the first; test images are
    always the first."""

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str) or not self.dataset.strip():
            raise ValueError(f"dataset: must name one, or be a path, got {self.dataset!r}")
        require_number(self.validation_share, "validation_share", 0.0, 1.0, closed="left")
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
    """The images that a configuration describes, on the CPU; RGB, in an order that does not change.

    Args:
        archives: the downloadable data sets, by name.

    Raises:
        ValueError: names the argument, file or member: an unknown data set, no connection, a wrong checksum, an archive
            that is not whole or not of its format, images that cannot be decoded, classes without images or that differ
            between the parts, and too few images of a class to hold some out.
    """
    root = config.root or cache_folder()
    name = config.dataset
    if name == DIGITS:
        arrays, classes = _load_digits()
        size = config.image_size or DIGITS_SIZE
    elif name in archives:
        arrays, classes = load_archive(archives[name], root)
        size = config.image_size
    else:
        path = _existing_path(name, archives)
        arrays, classes = load_image_folder(path, config.image_size, root / "images")
        # Resized as they were decoded.
        size, name = None, path.resolve().name
    parts = {}
    for part in ("train", "test"):
        labels = arrays[f"{part}_labels"]
        kept = _some_of_each(labels, config.limit, config.limit_seed if part == "train" else None)
        images = torch.from_numpy(arrays.pop(f"{part}_images"))
        images = images if len(kept) == len(labels) else images[torch.from_numpy(kept)]
        parts[part] = ImageSet(_resized(images, size), torch.from_numpy(labels[kept]), classes, name)
    held_out = _held_out(parts["train"].labels.numpy(), config.validation_share, config.split_seed, classes)
    chosen = torch.from_numpy(held_out)
    return Splits(
        train=parts["train"].subset(~chosen) if held_out.any() else parts["train"],
        validation=parts["train"].subset(chosen),
        test=parts["test"],
    )


def _existing_path(name: str, archives: Mapping[str, Archive]) -> Path:
    path = Path(name).expanduser()
    known = ", ".join((DIGITS, *archives))
    if not name or not path.exists():
        raise ValueError(f"dataset: {name!r} is neither one of {known} nor a folder or archive that exists")
    if not path.is_dir() and not is_archive(path):
        raise ValueError(f"dataset: {path} is no folder, and its name ends in none of {', '.join(ARCHIVE_SUFFIXES)}")
    return path


def _load_digits() -> tuple[Arrays, tuple[str, ...]]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, as uint8 (N, 3, 8, 8)."""
    # Here because it takes a second, which other data sets need not wait for.
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 0 to 16 in the source.
    images = np.repeat(np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None], 3, axis=1)
    labels = digits.target.astype(np.int64)
    classes = tuple(str(name) for name in digits.target_names)
    test = _held_out(labels, DIGITS_TEST_SHARE, DIGITS_SEED, classes)
    parts, arrays = {"train": ~test, "test": test}, {"images": images, "labels": labels}
    return {f"{part}_{what}": all_[mask] for part, mask in parts.items() for what, all_ in arrays.items()}, classes


def _some_of_each(labels: np.ndarray, limit: int | None, seed: int | None) -> np.ndarray:
    """Ascending indices of ``limit`` of each label, or all: the first, or drawn with a seed, by that label alone."""
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    if seed is not None:
        # The third number keeps these draws apart from those of validation images.
        members = {label: np.random.default_rng([seed, label, 1]).permutation(each) for label, each in members.items()}
    return np.sort(np.concatenate([each[:limit] for each in members.values()]))


def _held_out(labels: np.ndarray, share: float, seed: int, classes: tuple[str, ...]) -> np.ndarray:
    """Mask of ``share`` of each class, at least one and never all; which of a class depends on that class alone.

    Raises:
        ValueError: a class of which nothing would be left.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if share == 0.0:
        return mask
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise ValueError(
                f"validation_share: {share:g} leaves nothing of the {len(members)} training images of class {name}; "
                "it must be smaller, or 0, or limit larger"
            )
        mask[np.random.default_rng([seed, label]).permutation(members)[:count]] = True
    return mask


def _resized(images: UInt8[Tensor, "N C H W"], size: int | None) -> UInt8[Tensor, "N C h w"]:
    """Bicubic, with antialiasing."""
    if size is None or images.shape[2:] == (size, size):
        return images
    resized = torch.empty((*images.shape[:2], size, size), dtype=torch.uint8)
    for start in range(0, len(images), RESIZED_AT_ONCE):
        chunk = images[start : start + RESIZED_AT_ONCE].float()
        chunk = F.interpolate(chunk, (size, size), mode="bicubic", antialias=True, align_corners=False)
        resized[start : start + RESIZED_AT_ONCE] = chunk.round_().clamp_(0, 255)
    return resized

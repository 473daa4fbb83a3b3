"""The images of a data set before they are split, and what is known of the files that they came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

PARTS = ("train", "validation", "test")
# (what is said of files, how many, names of the first)
Count = tuple[str, int, list[str]]


@dataclass(frozen=True)
class PartImages:
    """Images (N, 3, H, W), uint8; labels (N,), int64; content hashes (N, 2) of the images before they were resized; and
    what gives their names, one each."""

    images: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray
    names: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Facts:
    """What a report says of files.

    Attributes:
        sizes: the smallest, median and largest (width, height) of the images as they came, each for itself.
        resized: the share of images that had another size.
        unreadable: files that were left out, as (name, why).
        passed_over, remarks: files that were not taken, and those that were changed, by reason.
        notes: how the files were understood.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    resized: float = 0.0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passed_over: list[Count] = field(default_factory=list)
    remarks: list[Count] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImageData:
    """Parts by name: train, test (which may be empty), and validation where the source has its own."""

    parts: dict[str, PartImages]
    classes: tuple[str, ...]
    facts: Facts


def size_range(sizes: np.ndarray) -> tuple[tuple[int, int], ...]:
    """``Facts.sizes`` of (N, 2) widths and heights; nothing for none."""
    if not len(sizes):
        return ()
    middle = np.sort(sizes, axis=0)[len(sizes) // 2]
    return tuple((int(w), int(h)) for w, h in (sizes.min(axis=0), middle, sizes.max(axis=0)))

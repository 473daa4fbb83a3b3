"""Which training images are used, and which of them are held out: drawn by what they show, not by where they stand.

An image's place in the draw is a number that its pixels and the seed give. Adding or removing an image therefore leaves
the order of all others as it is: at most one of them (or one set of identical images) changes sides, where the rounded
share of a class has changed or the other image has taken its place. Identical images of a class are on one side.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt64

# What is drawn, part of every number: the draws of one seed have nothing to do with each other.
LIMIT, VALIDATION = "limit", "validation"
HASH_BYTES = 16


def content_hash(pixels: Shaped[np.ndarray, "H W C"]) -> bytes:
    """16 bytes of the SHA-256 of the pixels and their shape."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()[:HASH_BYTES]


def content_hashes(images: Shaped[np.ndarray, "N C H W"]) -> UInt64[np.ndarray, "N 2"]:
    """``content_hash`` of every image of an array, as pairs of integers."""
    rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    return as_pairs(b"".join(content_hash(each) for each in rows))


def as_pairs(hashes: bytes | memoryview) -> UInt64[np.ndarray, "N 2"]:
    """Hashes one after the other, as pairs of integers."""
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64, copy=False).reshape(-1, 2)


def draw_order(hashes: UInt64[np.ndarray, "N 2"], seed: int, what: str) -> UInt64[np.ndarray, " N"]:
    """A number for every image, the same for identical ones, that has nothing to do with its number of another seed.

    The hash is spread evenly already; what ties it to the seed is the last step of SplitMix64 (Steele, Lea and Flood
    2014), which mixes every bit into every other.
    """
    offsets = np.frombuffer(hashlib.sha256(f"{what} {seed}".encode()).digest()[:16], dtype="<u8").astype(np.uint64)
    mixed = np.zeros(len(hashes), dtype=np.uint64)
    for half, offset in zip(hashes.T, offsets):
        mixed = (mixed ^ half) + offset
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def some_of_each(
    labels: Int64[np.ndarray, " N"], limit: int | None, order: UInt64[np.ndarray, " N"] | None = None
) -> Int64[np.ndarray, " m"]:
    """Ascending indices of ``limit`` images of each label, or all: the first, or the first in ``order``."""
    if limit is None:
        return np.arange(len(labels))
    chosen = [members[:limit] for _, members in _by_label(labels, order)]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def held_out(
    labels: Int64[np.ndarray, " N"], order: UInt64[np.ndarray, " N"], share: float, classes: tuple[str, ...]
) -> Bool[np.ndarray, " N"]:
    """Mask of ``share`` of each class, the first in ``order``, at least one and never all.

    Identical images are together: the last of those that are held out may make the share a little larger, or, where
    none would be left, smaller.

    Raises:
        ValueError: a class of which nothing would be left, or whose images are all identical.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if share == 0.0:
        return mask
    for label, members in _by_label(labels, order):
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise ValueError(
                f"validation_share: {share:g} leaves nothing of the {len(members)} training images of class "
                f"{classes[label]}; it must be smaller, or 0, or limit larger"
            )
        places = order[members]
        # Where one set of identical images ends and the next begins.
        ends = np.flatnonzero(places[1:] != places[:-1]) + 1
        if not len(ends):
            raise ValueError(
                f"validation_share: the {len(members)} training images of class {classes[label]} are all identical, "
                "and cannot be on both sides; it must be 0"
            )
        mask[members[: ends[min(int(np.searchsorted(ends, count)), len(ends) - 1)]]] = True
    return mask


def set_aside(
    images: Shaped[np.ndarray, "N ..."], mask: Bool[np.ndarray, " N"]
) -> tuple[Shaped[np.ndarray, "k ..."], Shaped[np.ndarray, "m ..."]]:
    """(the others, those where a mask is true); the others are moved to the beginning of ``images`` itself, so that a
    data set that fills half of the memory can be split."""
    taken, others, end = images[mask], np.flatnonzero(~mask), 0
    for run in np.split(others, np.flatnonzero(np.diff(others) != 1) + 1) if len(others) else ():
        if run[0] != end:
            images[end : end + len(run)] = images[run[0] : run[0] + len(run)]
        end += len(run)
    return images[:end], taken


def _by_label(
    labels: Int64[np.ndarray, " N"], order: UInt64[np.ndarray, " N"] | None
) -> Iterator[tuple[int, Int64[np.ndarray, " m"]]]:
    """(label, indices of its images, in order) for every label that there is."""
    by_label = np.argsort(labels, kind="stable") if order is None else np.lexsort((order, labels))
    found, starts = np.unique(labels[by_label], return_index=True)
    for label, members in zip(found, np.split(by_label, starts[1:])):
        yield int(label), members

"""Which images a training has seen: a fingerprint that its checkpoint, tables and run folder keep.

A fingerprint is what JSON can hold:

    {"name": "photos", "class_names": ["cat", "dog"], "shape": [3, 32, 32],
     "train": {"images": 180, "per_class": [90, 90], "sha256": "..."}, "validation": {...}, "test": {...},
     "sha256": "..."}

The hash of a part is over its labels and decoded pixels in their order, on which a training depends; the one at the end
is over the class names and the parts' hashes. The data set's name is kept for the reader and is no part of it: a folder
that was moved holds the same images.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.names import printable
from theory.numerics.whole_files import DamagedFileError, read_json

FINGERPRINT_FILE = "fingerprint.json"
PARTS = {"train": "training", "validation": "validation", "test": "test"}
FIELDS = ("name", "class_names", "shape", *PARTS, "sha256")
# Of names and classes that a message lists.
LISTED = 6
LARGEST_COUNT, MOST_CLASSES = 2**40, 2**20
DIGITS_OF_HASH = 64


def fingerprint(splits: Splits) -> dict:
    """The fingerprint of a data set's parts, on any device."""
    names = list(splits.train.class_names)
    parts = {part: _of_part(getattr(splits, part), len(names)) for part in PARTS}
    return {
        "name": splits.train.name,
        "class_names": names,
        "shape": [int(length) for length in splits.train.images.shape[1:]],
        **parts,
        "sha256": _whole(names, parts),
    }


def _of_part(images: ImageSet, classes: int) -> dict:
    labels = np.ascontiguousarray(images.labels.cpu().numpy(), dtype="<i8")
    pixels = images.images.cpu().contiguous().numpy()
    found = hashlib.sha256(json.dumps([str(pixels.dtype), list(pixels.shape)]).encode())
    found.update(labels.data)
    # NumPy gives no buffer of arrays without elements in all shapes.
    found.update(pixels.reshape(-1).data if pixels.size else b"")
    counts = np.bincount(labels, minlength=classes)
    return {"images": len(labels), "per_class": counts.tolist(), "sha256": found.hexdigest()}


def _whole(names: list[str], parts: dict[str, dict]) -> str:
    text = json.dumps([names, [parts[part]["sha256"] for part in PARTS]])
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_differences(kept: dict, found: dict) -> list[str]:
    """In words, what one fingerprint (named first) has against another; nothing where both are of the same images."""
    if kept["sha256"] == found["sha256"]:
        return []
    words = []
    same_classes = kept["class_names"] == found["class_names"]
    if not same_classes:
        words.append(f"classes {listed(kept['class_names'])} against {listed(found['class_names'])}")
    if kept["shape"] != found["shape"]:
        words.append(" against ".join("images of " + " x ".join(map(str, each["shape"])) for each in (kept, found)))
    for part, spoken in PARTS.items():
        one, other = kept[part], found[part]
        if same_classes and one["per_class"] != other["per_class"]:
            words += _counts(kept["class_names"], one["per_class"], other["per_class"], spoken)
        elif one["images"] != other["images"]:
            words.append(f"{one['images']} {spoken} images against {other['images']}")
    if not words:
        changed = [spoken for part, spoken in PARTS.items() if kept[part]["sha256"] != found[part]["sha256"]]
        words.append(f"the same counts, but other pixels, or another order, of the {' and '.join(changed)} images")
    return words


def _counts(names: list[str], ones: list[int], others: list[int], spoken: str) -> Iterator[str]:
    differing = [each for each in zip(names, ones, others) if each[1] != each[2]]
    for name, one, other in differing[:LISTED]:
        yield f"{one} {spoken} images of class {printable(name)} against {other}"
    if len(differing) > LISTED:
        yield f"and so in {len(differing) - LISTED} further classes"


def listed(names: list[str]) -> str:
    """Names as a message or a table can show them: on one line, the first few."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(printable, names[:LISTED])) + more


def check_fingerprint(value: object, where: str) -> dict:
    """A fingerprint as it was read from a file, every field of its type and in its range, the hash over all included.

    Raises:
        ValueError: names ``where`` and the field.
    """
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        raise ValueError(f"{where}: must have exactly {', '.join(FIELDS)}")
    names = value["class_names"]
    if not isinstance(value["name"], str):
        raise ValueError(f"{where}.name: must be text")
    if not _is_list(names, str) or not 1 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{where}.class_names: must be a list of 1 to {MOST_CLASSES} names")
    if not _is_list(value["shape"], int) or len(value["shape"]) != 3 or not all(n >= 1 for n in value["shape"]):
        raise ValueError(f"{where}.shape: must be channels, height and width")
    for part in PARTS:
        _check_part(value[part], len(names), f"{where}.{part}")
    _check_hash(value["sha256"], f"{where}.sha256")
    if value["sha256"] != _whole(names, {part: value[part] for part in PARTS}):
        raise ValueError(f"{where}.sha256: is not that of the classes and parts beside it; they were changed")
    return value


def _check_part(part: object, classes: int, where: str) -> None:
    if not isinstance(part, dict) or set(part) != {"images", "per_class", "sha256"}:
        raise ValueError(f"{where}: must have exactly images, per_class, sha256")
    counts = part["per_class"]
    if not _is_list(counts, int) or len(counts) != classes or not all(0 <= n <= LARGEST_COUNT for n in counts):
        raise ValueError(f"{where}.per_class: must be {classes} counts")
    if type(part["images"]) is not int or part["images"] != sum(counts):
        raise ValueError(f"{where}.images: must be the sum of per_class, {sum(counts)}, got {part['images']!r}")
    _check_hash(part["sha256"], f"{where}.sha256")


def _check_hash(value: object, where: str) -> None:
    if not isinstance(value, str) or len(value) != DIGITS_OF_HASH or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{where}: must be a SHA-256 of {DIGITS_OF_HASH} hexadecimal digits")


def _is_list(value: object, kind: type) -> bool:
    # By type, not isinstance: True is no count.
    return isinstance(value, list) and all(type(each) is kind for each in value)


def read_fingerprint(folder: Path) -> dict | None:
    """The fingerprint that a run folder keeps; None of one that has none, as earlier versions left them.

    Raises:
        ValueError: a damaged one; named.
    """
    path = folder / FINGERPRINT_FILE
    if not path.exists():
        return None
    try:
        return check_fingerprint(read_json(path), str(path))
    except DamagedFileError as error:
        raise ValueError(str(error)) from error

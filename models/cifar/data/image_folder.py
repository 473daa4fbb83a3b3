"""Folders and archives of image files, decoded once: the result is kept in one file, and believed where it belongs.

What is kept belongs to a path, and to the inode, size and times of change of every file that lies there: another folder
of the same name, or images that changed places, are decoded anew. That nobody has edited it, its SHA-256 tells.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from models.cifar.data.decoded import Facts, ImageData, PartImages, size_range
from models.cifar.data.decoding import decode, fit, own_limits
from models.cifar.data.layout import Layout, Tally, arrange
from models.cifar.data.limits import MEMORY_SHARE, available_memory, require_memory
from models.cifar.data.names import printable, shortened
from models.cifar.data.sources import ARCHIVE_SUFFIXES, READ_ERRORS, Source, open_source, stamp, walk
from models.cifar.data.splitting import HASH_BYTES, as_pairs, content_hash
from theory.numerics.cache import kept

# Images of different sizes, if no size is asked for, are brought to this one, CIFAR's.
MIXED_SIZE = 32
# Part of the key of kept files: to be raised when decoding or the layout changes, so that old files are not read.
VERSION = 4
# Times of change are no finer than this: what was written less than so long ago is waited for, so that what is written
# from now on has another one.
TICK_SECONDS = 0.02
LISTED = 20
LONGEST_REASON = 160


def load_image_folder(path: Path, image_size: int | None, cache: Path, skip_unreadable: bool = False) -> ImageData:
    """Decoded images, from ``cache`` if they are there.

    Gray, palette, CMYK and 16-bit images become RGB of 8 bits, upright; transparency is dropped. Where a size is asked
    for, the largest square in the middle of an image is resized to it (bicubic, with antialiasing). The order is that
    of the sorted names.

    Args:
        path: a folder, or an archive (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip), as models/cifar/data/layout.py has it.
        image_size: height and width; None keeps the size that all images have, and takes 32 if they differ.
        cache: folder for what was decoded.
        skip_unreadable: leave out images that cannot be read.

    Raises:
        ValueError: names the path and, where they are to blame, the files: images that cannot be read, all of them in
            one list (unless they are skipped); unreadable as a whole, no images, a class without images, classes that
            differ between the parts, over a limit, more than fits in memory, changed while it was read.
    """
    path = Path(path)

    def make() -> ImageData:
        with open_source(path) as source, own_limits():
            data = _decode(path, source, image_size, skip_unreadable)
        if _key(path, image_size)[0] != key:
            raise ValueError(f"{path}: has changed while its images were read; start again")
        return data

    try:
        key, newest = _key(path, image_size)
        if abs(time.time_ns() - newest) < TICK_SECONDS * 1e9:
            time.sleep(TICK_SECONDS)
        name = f"{_stem(path)}-{hashlib.sha256(key).hexdigest()[:24]}.images"
        data = kept(Path(cache) / name, key, _unpacked, make, _packed, "decoded images")
    except READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read to its end ({error or type(error).__name__})") from error
    _require_readable(path, data.facts.unreadable, skip_unreadable)
    return data


def _stem(path: Path) -> str:
    name = path.resolve().name
    ends = [suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)]
    # No name of a file may have more than 255 bytes.
    return printable(name[: -len(max(ends, key=len))] if ends and path.is_file() else name)[:40]


def _key(path: Path, image_size: int | None) -> tuple[bytes, int]:
    """All that the result depends on, and when (ns since 1970) the last of it was changed."""
    start = f"images {VERSION} {PIL.__version__} {image_size}\n{path.resolve()}\n"
    if path.is_dir():
        walked = walk(path)
        lines, newest = walked.stamps(), walked.newest()
    else:
        status = os.stat(path)
        lines, newest = iter([stamp(status)]), status.st_ctime_ns
    return (start + "".join(lines)).encode(errors="surrogateescape"), newest


def _require_readable(path: Path, unreadable: Sequence[tuple[str, str]], skip: bool) -> None:
    if unreadable and not skip:
        listed = "; ".join(f"{printable(name)} {why}" for name, why in unreadable[:LISTED])
        more = f"; and {len(unreadable) - LISTED:,} more" if len(unreadable) > LISTED else ""
        count = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
        raise ValueError(
            f"{path}: {count} cannot be read: {listed}{more}. Repair or remove what is listed, or set skip_unreadable "
            "to go on without"
        )


# --- decoding ---------------------------------------------------------------------------------------------------------


def _decode(path: Path, source: Source, image_size: int | None, skip: bool) -> ImageData:
    layout = arrange(path, source)
    place = {name: (part, i) for part, files in layout.parts.items() for i, (name, _) in enumerate(files)}
    room = _Room(path, {part: len(files) for part, files in layout.parts.items()}, image_size)
    hashes = {part: np.zeros((len(files), HASH_BYTES), dtype=np.uint8) for part, files in layout.parts.items()}
    sizes = {part: np.zeros((len(files), 2), dtype=np.int64) for part, files in layout.parts.items()}
    unreadable, remarks = list(layout.unreadable), Tally()
    names = [entry.name for entry in source.files if entry.name in place]
    # In the order in which a compressed archive can be read at one go.
    for name in tqdm(names, desc=f"decoding {path.name}", unit="image", disable=None):
        part, i = place[name]
        what = "read"
        try:
            encoded = source.read(name)
            what = "decoded"
            pixels, found = decode(encoded)
        except MemoryError:
            raise
        except Exception as error:  # decoders end in any exception on damaged input
            unreadable.append((name, f"cannot be {what} ({_words(error)})"))
            continue
        for remark in found:
            remarks.add(remark, name)
        room.put(part, i, pixels)
        hashes[part][i] = np.frombuffer(content_hash(pixels), dtype=np.uint8)
        sizes[part][i] = pixels.shape[1::-1]
    _require_readable(path, unreadable, skip)
    arrays = room.arrays()
    parts = {}
    for part, files in layout.parts.items():
        read = sizes[part][:, 0] > 0
        labels = np.array([label for _, label in files], dtype=np.int64)[read]
        _require_every_class(path, part, labels, layout, unreadable)
        named = [name for (name, _), there in zip(files, read) if there]
        pairs = as_pairs(hashes[part][read].tobytes())
        images = arrays[part] if read.all() else arrays[part][read]
        parts[part] = PartImages(images, labels, pairs, partial(list, named))
    return ImageData(parts, layout.classes, _facts(layout, parts, sizes, unreadable, remarks))


def _words(error: Exception) -> str:
    words = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return shortened(printable(words), LONGEST_REASON)


def _require_every_class(
    path: Path, part: str, labels: np.ndarray, layout: Layout, unreadable: list[tuple[str, str]]
) -> None:
    there = set(labels.tolist())
    lost = [name for label, name in enumerate(layout.classes) if label not in there]
    if lost:
        name, why = unreadable[0]
        raise ValueError(
            f"{path}: no image of class {', '.join(lost[:LISTED])} in {part} can be read, so none is left "
            f"(the first of {len(unreadable):,}: {printable(name)} {why})"
        )


def _facts(
    layout: Layout,
    parts: dict[str, PartImages],
    sizes: dict[str, np.ndarray],
    unreadable: list[tuple[str, str]],
    remarks: Tally,
) -> Facts:
    every = np.concatenate([each[each[:, 0] > 0] for each in sizes.values()])
    resized = (every != parts["train"].images.shape[:1:-1]).any(axis=1).mean()
    shown = [(printable(name), why) for name, why in unreadable]
    passed_over = layout.passed_over.rows()
    return Facts(size_range(every), float(resized), shown, passed_over, remarks.rows(), list(layout.notes))


class _Room:
    """Where pixels are put, at their own size as long as all have the same, else at one for all."""

    def __init__(self, path: Path, counts: dict[str, int], size: int | None) -> None:
        self.path, self.counts = path, counts
        self.found: dict[str, np.ndarray] = {}
        self.waiting: list[tuple[str, int, np.ndarray]] = []
        self.bytes, self.available = 0, available_memory()
        self.size = size
        if size is not None:
            self._make(size, size)

    def put(self, part: str, i: int, pixels: np.ndarray) -> None:
        """One image (H, W, 3)."""
        if self.size is None and self.waiting and pixels.shape != self.waiting[0][2].shape:
            self.size = MIXED_SIZE
            self._make(MIXED_SIZE, MIXED_SIZE)
            for waiting in self.waiting:
                self._set(*waiting)
            self.waiting.clear()
        if self.size is not None:
            self._set(part, i, pixels)
            return
        self.waiting.append((part, i, pixels))
        self.bytes += pixels.nbytes
        # Not all of them at once: behind the first ten thousand photographs of one size may come one of another.
        if self.available is not None and self.bytes > MEMORY_SHARE * self.available:
            height, width = pixels.shape[:2]
            require_memory(sum(self.counts.values()), height, width, self.path, self.available)

    def arrays(self) -> dict[str, np.ndarray]:
        """All images, (N, 3, H, W) by part."""
        if self.size is None:
            height, width = self.waiting[0][2].shape[:2] if self.waiting else (MIXED_SIZE, MIXED_SIZE)
            require_memory(len(self.waiting), height, width, self.path, self.available)
            self._make(height, width)
            while self.waiting:
                part, i, pixels = self.waiting.pop()
                self.found[part][i] = pixels.transpose(2, 0, 1)
        return self.found

    def _make(self, height: int, width: int) -> None:
        require_memory(sum(self.counts.values()), height, width, self.path, self.available)
        self.found = {part: np.empty((count, 3, height, width), np.uint8) for part, count in self.counts.items()}

    def _set(self, part: str, i: int, pixels: np.ndarray) -> None:
        assert self.size is not None
        self.found[part][i] = fit(pixels, self.size).transpose(2, 0, 1)


# --- what is kept -----------------------------------------------------------------------------------------------------


def _packed(data: ImageData) -> list[bytes | memoryview]:
    """Numbers and texts as JSON behind its length, then for each part images, labels, hashes and names."""
    shapes: dict[str, list[int]] = {}
    pieces: list[bytes | memoryview] = []
    for name, part in data.parts.items():
        names = "\0".join(part.names()).encode(errors="surrogateescape")
        shapes[name] = [*part.images.shape, len(names)]
        pieces += [each.reshape(-1).view(np.uint8).data for each in (part.images, part.labels, part.hashes)]
        pieces.append(names)
    text = json.dumps({"classes": data.classes, "facts": asdict(data.facts), "parts": shapes}).encode()
    return [len(text).to_bytes(8, "big"), text, *pieces]


def _unpacked(content: memoryview) -> ImageData:
    length = int.from_bytes(content[:8], "big")
    head, place = json.loads(bytes(content[8 : 8 + length])), 8 + length
    parts = {}
    for name, (count, *shape, name_bytes) in head["parts"].items():
        pieces = []
        for size in (count * int(np.prod(shape)), 8 * count, 2 * 8 * count, name_bytes):
            pieces.append(content[place : place + size])
            place += size
        images = np.frombuffer(pieces[0], dtype=np.uint8).reshape(count, *shape)
        # Copies, since they may begin anywhere.
        labels = np.frombuffer(bytes(pieces[1]), dtype=np.int64).copy()
        parts[name] = PartImages(images, labels, as_pairs(bytes(pieces[2])), _Names(pieces[3]))
    facts = head["facts"]
    for each in ("unreadable", "passed_over", "remarks"):
        facts[each] = [tuple(row) for row in facts[each]]
    facts["sizes"] = tuple((width, height) for width, height in facts["sizes"])
    return ImageData(parts, tuple(head["classes"]), Facts(**facts))


class _Names:
    """Names that were joined; taken apart when they are asked for, which is hardly ever."""

    def __init__(self, joined: memoryview) -> None:
        self.joined = bytes(joined)

    def __call__(self) -> list[str]:
        return self.joined.decode(errors="surrogateescape").split("\0") if self.joined else []

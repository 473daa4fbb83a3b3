"""What a training should know of its images: how many, of what sizes, what was not taken, and which are there twice.

The same pixels in two parts make a test image one that was trained on; the same pixels with two labels make one of the
labels wrong. Images are compared as they were before they were resized.
"""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from models.cifar.data.decoded import Count, Facts
from models.cifar.data.names import columns, printable, shortened

COLUMNS = 100
# A terminal is told every class up to this number, else the smallest and the largest.
CLASSES_SHOWN = 12
FIRST = 5
LONGEST_CLASS, LONGEST_NAME = 40, 90


@dataclass(frozen=True)
class Duplicates:
    """Images that are there more than once.

    Attributes:
        parts: two, or the same one twice.
        images: of the second part whose pixels are in the first too; within one part, that another image before it has.
        other_label: of these, those with another label than one of their copies.
        first: (name of the one, name of the other) of the first few, those with another label first.
    """

    parts: tuple[str, str]
    images: int
    other_label: int
    first: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DataReport:
    """Of the images of one run; everything in it is plain, for JSON.

    Attributes:
        name: of the data set.
        source: its path, or empty.
        class_names: as labels count them.
        images: part (train, validation, test) -> images of each class.
        size: height and width of the images as they are used.
        sizes: of the files: smallest, median and largest (width, height), each number for itself.
        resized: share of the files that had another size.
        passed_over: files that were not taken: (why, how many, the first names).
        remarks: files that were changed in some other way, likewise.
        unreadable: files that were left out although they should have been taken: (name, why).
        duplicates: between and within parts.
        notes: how the files were understood.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    images: dict[str, tuple[int, ...]]
    size: tuple[int, int]
    sizes: tuple[tuple[int, int], ...]
    resized: float
    passed_over: tuple[Count, ...]
    remarks: tuple[Count, ...]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[Duplicates, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For a terminal, of at most 100 columns."""
        return [line for text, indent in self._texts() for line in _wrapped(text, indent)]

    def _texts(self) -> Iterator[tuple[str, int]]:
        """Paragraphs, and by how much their further lines are indented."""
        counts = ", ".join(f"{sum(counts):,} {part}" for part, counts in self.images.items())
        yield f"images of {shortened(printable(self.name), LONGEST_NAME)}: {counts}", 2
        if self.source:
            yield f"  from {printable(self.source)}", 4
        yield from self._class_texts()
        height, width = self.size
        words = f"  sizes: {width} x {height}"
        if self.sizes:
            low, middle, high = (f"{width} x {height}" for width, height in self.sizes)
            of = f"files of {low}" if low == high else f"files of {low} to {high}, median {middle}"
            words += f"; {of}; {self.resized:.1%} resized"
        yield words, 4
        yield from ((f"  {note}", 4) for note in self.notes)
        for title, rows in (("passed over", self.passed_over), ("read, but", self.remarks)):
            for reason, count, first in rows:
                # Of a folder that was not looked into nobody knows how many files are in it.
                what = _counted(count, "folder") if all(name.endswith("/") for name in first) else _files(count)
                yield f"  {title}: {what} {reason}: {_some(first, count)}", 4
        if self.unreadable:
            first = [f"{name} {why}" for name, why in self.unreadable[:FIRST]]
            yield f"  left out, unreadable: {_files(len(self.unreadable))}: {_some(first, len(self.unreadable))}", 4
        for each in self.duplicates:
            yield f"  {_of_duplicates(each)}", 4

    def _class_texts(self) -> Iterator[tuple[str, int]]:
        names = [shortened(printable(name), LONGEST_CLASS) for name in self.class_names]
        if len(names) <= CLASSES_SHOWN:
            width = max(map(columns, names))
            for i, name in enumerate(names):
                told = ", ".join(f"{counts[i]:,} {part}" for part, counts in self.images.items())
                yield f"  {name}{' ' * (width - columns(name))}  {told}", 4
            return
        yield f"  {len(names):,} classes", 4
        for part, counts in self.images.items():
            if sum(counts):
                low, high = int(np.argmin(counts)), int(np.argmax(counts))
                yield (
                    f"  {part}: {counts[low]:,} ({names[low]}) to {counts[high]:,} ({names[high]}) a class, "
                    f"median {int(np.median(counts)):,}", 4,
                )  # fmt: skip


def _files(count: int) -> str:
    return _counted(count, "file")


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _some(first: Sequence[str], count: int) -> str:
    return ", ".join(shortened(each, LONGEST_NAME) for each in first) + (", ..." if count > len(first) else "")


def _of_duplicates(found: Duplicates) -> str:
    one, other = found.parts
    images = "1 image" if found.images == 1 else f"{found.images:,} images"
    if one == other:
        words = f"duplicates: {images} of {one} more than once there"
    else:
        words = f"duplicates: {images} of {other} in {one} too"
    labels = f", {found.other_label:,} with another label" if found.other_label else ""
    pairs = [" = ".join(shortened(each, LONGEST_CLASS) for each in pair) for pair in found.first]
    return f"{words}{labels}: {_some(pairs, found.images)}"


def _wrapped(text: str, indent: int) -> list[str]:
    """Lines of at most ``COLUMNS`` columns; only a text without wide characters can be wrapped by their number."""
    lines = textwrap.wrap(text, COLUMNS, subsequent_indent=" " * indent, break_on_hyphens=False)
    if all(columns(line) <= COLUMNS for line in lines):
        return lines
    lines = textwrap.wrap(text, COLUMNS // 2, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [shortened(line, COLUMNS) for line in lines]


@dataclass(frozen=True)
class ReportedPart:
    """Labels and content hashes of a part's images, and what gives their names."""

    labels: np.ndarray
    hashes: np.ndarray
    names: Callable[[], Sequence[str]]


def data_report(
    name: str,
    source: str,
    classes: tuple[str, ...],
    parts: dict[str, ReportedPart],
    size: tuple[int, int],
    facts: Facts,
    notes: Sequence[str] = (),
) -> DataReport:
    """The report of parts in the order train, validation, test."""
    images = {
        part: tuple(np.bincount(each.labels, minlength=len(classes)).tolist()) for part, each in parts.items()
    }  # fmt: skip
    return DataReport(
        name, source, classes, images, size, facts.sizes, facts.resized, tuple(facts.passed_over),
        tuple(facts.remarks), tuple(facts.unreadable), tuple(_duplicates(parts)), (*facts.notes, *notes),
    )  # fmt: skip


def _duplicates(parts: dict[str, ReportedPart]) -> Iterator[Duplicates]:
    groups = dict(zip(parts, _groups([each.hashes for each in parts.values()])))
    for part in parts:
        yield from _within(part, parts[part], groups[part])
    for one, other in combinations(parts, 2):
        yield from _between((one, other), (parts[one], parts[other]), (groups[one], groups[other]))


def _groups(hashes: list[np.ndarray]) -> list[np.ndarray]:
    """Numbers, the same for the same hash; minus one for a hash that is there once."""
    every = np.concatenate(hashes)
    # By one half of the hash, which is much faster than by both, unless two that differ agree in it.
    order = np.argsort(every[:, 0])
    first, second = every[order].T
    if ((first[1:] == first[:-1]) & (second[1:] != second[:-1])).any():
        order = np.lexsort(every.T)
        first, second = every[order].T
    same = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    numbers = np.cumsum(np.append(True, ~same))
    alone = ~(np.append(False, same) | np.append(same, False))
    groups = np.empty(len(every), dtype=np.int64)
    groups[order] = np.where(alone, -1, numbers)
    return np.split(groups, np.cumsum([len(each) for each in hashes])[:-1])


def _within(name: str, part: ReportedPart, groups: np.ndarray) -> Iterator[Duplicates]:
    several = np.flatnonzero(groups >= 0)
    found, first = np.unique(groups[several], return_index=True)
    before = several[first][np.searchsorted(found, groups[several])]
    twice = before != several
    if twice.any():
        ambiguous = _ambiguous(groups[several], part.labels[several])[twice]
        yield _listed((name, name), (part, part), before[twice], several[twice], ambiguous)


def _between(
    names: tuple[str, str], parts: tuple[ReportedPart, ReportedPart], groups: tuple[np.ndarray, np.ndarray]
) -> Iterator[Duplicates]:
    one, other = (np.flatnonzero(each >= 0) for each in groups)
    found, first = np.unique(groups[0][one], return_index=True)
    other = other[np.isin(groups[1][other], found)]
    if len(other):
        both = np.concatenate([groups[0][one], groups[1][other]])
        labels = np.concatenate([parts[0].labels[one], parts[1].labels[other]])
        partner = one[first[np.searchsorted(found, groups[1][other])]]
        yield _listed(names, parts, partner, other, _ambiguous(both, labels)[len(one) :])


def _ambiguous(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mask of those whose group has several labels."""
    order = np.lexsort((labels, groups))
    same = groups[order[1:]] == groups[order[:-1]]
    differ = same & (labels[order[1:]] != labels[order[:-1]])
    return np.isin(groups, groups[order[1:]][differ])


def _listed(
    names: tuple[str, str],
    parts: tuple[ReportedPart, ReportedPart],
    one: np.ndarray,
    other: np.ndarray,
    ambiguous: np.ndarray,
) -> Duplicates:
    shown = np.argsort(~ambiguous, kind="stable")[:FIRST]
    all_names = [part.names() for part in parts]
    first = tuple((printable(all_names[0][one[i]]), printable(all_names[1][other[i]])) for i in shown)
    return Duplicates(names, len(other), int(ambiguous.sum()), first)

"""Which files are images of which part and class, told by the folders that they lie in.

    train/CLASS/...   test/CLASS/...          val/CLASS/... beside them: the validation images; without test/: the test
    train/CLASS/...                           no test images
    train/FILE   CLASS/...   FILE             training images only; without class folders they are of one class
    train/CLASS/images/FILE   val/images/FILE with val/val_annotations.txt                    Tiny-ImageNet's own

All of it may lie in one more folder, at any depth. Images in subfolders of a class are of that class. Whatever is not
taken is counted, and why; folders that runs of this toolkit have written (manifest.json) are as if they were not there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.cifar.data.decoding import IMAGE_SUFFIXES
from models.cifar.data.names import Place, class_name, is_hidden, part_of, printable
from models.cifar.data.sources import Entry, Source
from theory.numerics.manifest import MANIFEST, is_manifest

# Where Tiny-ImageNet keeps images, and where it tells the classes of those of val/.
INNER, TABLE = "images", "val_annotations.txt"
# The class of images that lie in no class folder.
UNLABELED = "unlabeled"
# Images by their names, in formats that are not read.
OTHER_FORMATS = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".tga", ".ico", ".exr", ".hdr", ".dng", ".raw",
    ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".dcm", ".npy",
)  # fmt: skip
FIRST = 5

HIDDEN = "hidden, or left behind by a program"
BESIDE = "beside the folders of the parts"
WHOLE = ", not looked into"
NO_IMAGE = "not named as an image"
NO_CLASS = "in no class folder"
UNTOLD = f"not in {TABLE}"
NOT_LABELED = "in an unlabeled part beside labeled ones"


class Tally:
    """Files of which something is said: how many, and the names of the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """One more."""
        self.counts[reason] += 1
        if len(self.first[reason]) < FIRST:
            self.first[reason].append(printable(name))

    def rows(self) -> list[tuple[str, int, list[str]]]:
        """(reason, count, first names), the most frequent first."""
        return [(reason, count, self.first[reason]) for reason, count in self.counts.most_common()]


@dataclass
class _Part:
    """What lies in the folder of a part."""

    folder: str
    classes: dict[str, list[Entry]] = field(default_factory=dict)
    flat: list[Entry] = field(default_factory=list)
    told: dict[str, str] | None = None

    @property
    def labeled(self) -> bool:
        """Whether class folders tell the classes."""
        return bool(self.classes) and (set(self.classes) != {INNER} or self.told is not None)

    def entries(self) -> Iterator[Entry]:
        """All images."""
        yield from self.flat
        for entries in self.classes.values():
            yield from entries


@dataclass(frozen=True)
class Layout:
    """Images of each part (name and label, by class and name), and what was not taken.

    Attributes:
        classes: names, sorted.
        parts: train, and validation and test where they have folders of their own.
        unreadable: images that cannot be read, known before any is: (name, why).
        passed_over: files that are not taken.
        notes: how the folders were understood, where it is not plain.
    """

    classes: tuple[str, ...]
    parts: dict[str, list[tuple[str, int]]]
    unreadable: list[tuple[str, str]]
    passed_over: Tally
    notes: list[str]


def arrange(path: Path, source: Source) -> Layout:
    """The images of a source, by part and class.

    Raises:
        ValueError: names the path and the folder: no images, parts at several places, several folders of one part, a
            class without images, classes that only one part has.
    """
    return _Arrangement(path, source).layout()


class _Arrangement:
    def __init__(self, path: Path, source: Source) -> None:
        self.path, self.source = path, source
        self.passed_over = Tally()
        self.notes: list[str] = []
        self.files = []
        # Those of archives: a folder's are not in its source.
        self.runs = {entry.place[:-1] for entry in source.files if self._is_manifest(entry)} - {()}
        for entry in source.files:
            if self._of_run(entry.place):
                continue
            if any(map(is_hidden, entry.place)):
                self.passed_over.add(HIDDEN, entry.name)
            else:
                self.files.append(entry)
        self.folders = [place for place in source.folders if not self._of_run(place) and not any(map(is_hidden, place))]
        for name in source.left_out:
            reason = HIDDEN if is_hidden(name.rsplit("/", 1)[-1]) else BESIDE
            self.passed_over.add(reason + WHOLE, f"{name}/")

    def _is_manifest(self, entry: Entry) -> bool:
        return entry.place[-1] == MANIFEST and not entry.problem and is_manifest(self.source.read(entry.name))

    def _of_run(self, place: Place) -> bool:
        return bool(self.runs) and any(place[:depth] in self.runs for depth in range(1, len(place) + 1))

    def layout(self) -> Layout:
        parts = self._parts()
        classes, kept = self._agreed(parts)
        unreadable = [(entry.name, entry.problem) for part in kept.values() for _, entry in part if entry.problem]
        arranged = {
            name: [(entry.name, label) for label, entry in part if not entry.problem] for name, part in kept.items()
        }
        return Layout(classes, arranged, unreadable, self.passed_over, self.notes)

    # --- where the parts are ------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, _Part]:
        """Parts by name, filled with the files that lie in them."""
        root = self._root()
        if root is None:
            return {"train": self._whole()}
        depth = len(root)
        parts: dict[str, _Part] = {}
        for name in sorted({place[depth] for place in self._places() if place[:depth] == root and place[depth + 1 :]}):
            part = part_of(name)
            if part in parts:
                raise ValueError(
                    f"{self.path}: has several folders of {part} images, {parts[part].folder}/ and {name}/"
                )
            if part is not None:
                parts[part] = _Part(name)
        self._fill(root, {part.folder: part for part in parts.values()})
        if set(parts) == {"train"} and parts["train"].flat and not any(parts["train"].classes.values()):
            self._refuse_two_readings(root, parts["train"].folder)
        return parts

    def _refuse_two_readings(self, root: Place, folder: str) -> None:
        """Images directly in train/ alone, which has no test/ beside it, but such folders: it may be one of these."""
        others = [printable(f"{name}/") for name in sorted(self._rivals(root) - {folder})]
        if others:
            told = ", ".join(others[:FIRST]) + f" and {len(others) - FIRST} more" * (len(others) > FIRST)
            raise ValueError(
                f"{self.path}: {folder}/ may hold all training images, without classes, or be a class as {told}: for "
                f"the first move the others away, for the second all of them into one more folder, {folder}/{folder}/ "
                "and so on"
            )

    def _rivals(self, root: Place) -> set[str]:
        """Folders with images directly in them, and without a run's."""
        depth = len(root)
        inner = [entry for entry in self.files if entry.place[:depth] == root and len(entry.place) == depth + 2]
        found = {entry.place[depth] for entry in inner if _suffix(entry) in IMAGE_SUFFIXES}
        found -= {place[depth] for place in self.runs if place[:depth] == root and place[depth:]}
        return found | {place[-1] for place in self.source.rivals}

    def _places(self) -> Iterator[Place]:
        yield from (entry.place for entry in self.files)
        yield from self.folders

    def _root(self) -> Place | None:
        """The folder that train/ lies in, at the least depth; or else test/; None if there is neither."""
        found: dict[str, set[Place]] = defaultdict(set)
        for place in self._places():
            for depth, name in enumerate(place[:-1]):
                part = part_of(name)
                if part is not None:
                    found["train" if part == "train" else "other"].add(place[:depth])
        every = found["train"] or found["other"]
        if not every:
            return None
        least = min(map(len, every))
        roots = sorted(root for root in every if len(root) == least)
        if len(roots) > 1:
            places = ", ".join(printable(f"{'/'.join(root)}/") for root in roots[:FIRST])
            raise ValueError(f"{self.path}: has train or test folders at several places, {places}")
        return roots[0]

    def _whole(self) -> _Part:
        """Without parts: everything is for training, below folders that hold one folder only."""
        root: Place = ()
        images = [entry.place for entry in self.files if _suffix(entry) in IMAGE_SUFFIXES]
        while images:
            inner = {place[len(root)] if len(place) > len(root) + 1 else None for place in images}
            below = len(root) + 2
            if len(inner) > 1 or None in inner or all(len(place) == below for place in images):
                break
            root = (*root, *(name for name in inner if name is not None))
        part = _Part("")
        self._fill(root, {"": part}, whole=True)
        part.classes = {name: entries for name, entries in part.classes.items() if entries}
        if part.flat:
            # An album with folders in it: their names are no more classes than that of the album is.
            part.flat, part.classes = list(part.entries()), {}
        self.notes.append("no train/ or test/ folders: all are training images, and there are no test images")
        return part

    # --- what lies in them --------------------------------------------------------------------------------------------

    def _fill(self, root: Place, parts: dict[str, _Part], whole: bool = False) -> None:
        """Give every file to its part; ``whole``: there is one, and ``root`` is its folder."""
        start = len(root) + (0 if whole else 1)
        for entry in self.files:
            if entry.place[-1] == TABLE and not entry.problem and len(entry.place) == start + 1:
                part = self._part_at(entry.place, root, parts, whole)
                if part is not None:
                    lines = self.source.read(entry.name).decode(errors="replace").splitlines()
                    part.told = dict(line.split("\t")[:2] for line in lines if line.count("\t"))
        for place in self.folders:
            part = self._part_at(place, root, parts, whole)
            if part is not None and len(place) == start + 1 and not (part.told is not None and place[start] == INNER):
                part.classes.setdefault(class_name(place[start]), [])
        for entry in self.files:
            part = self._part_at(entry.place, root, parts, whole)
            if part is None:
                self.passed_over.add(BESIDE, entry.name)
            else:
                self._give(entry, entry.place[start:], part)

    @staticmethod
    def _part_at(place: Place, root: Place, parts: dict[str, _Part], whole: bool) -> _Part | None:
        depth = len(root)
        if place[:depth] != root or len(place) == depth:
            return None
        if whole:
            return parts[""]
        return parts.get(place[depth]) if place[depth + 1 :] else None

    def _give(self, entry: Entry, place: Place, part: _Part) -> None:
        suffix = _suffix(entry)
        # A link without a suffix stands where a class's folder would.
        if suffix not in IMAGE_SUFFIXES and not (entry.problem and not suffix):
            if place and place[-1] != TABLE:
                other = suffix in OTHER_FORMATS
                self.passed_over.add(f"in a format that is not read ({suffix})" if other else NO_IMAGE, entry.name)
                if len(place) > 1 and not (part.told is not None and place[0] == INNER):
                    # A class, then, without images, as an empty folder is.
                    part.classes.setdefault(class_name(place[0]), [])
        elif len(place) < 2:
            part.flat.append(entry)
        elif part.told is not None and place[0] == INNER:
            known = part.told.get(place[-1])
            if known is None:
                self.passed_over.add(UNTOLD, entry.name)
            else:
                part.classes.setdefault(class_name(known), []).append(entry)
        else:
            part.classes.setdefault(class_name(place[0]), []).append(entry)

    # --- which parts there are, and their classes ---------------------------------------------------------------------

    def _agreed(self, parts: dict[str, _Part]) -> tuple[tuple[str, ...], dict[str, list[tuple[int, Entry]]]]:
        if "train" not in parts or not any(parts["train"].entries()):
            self._refuse_nothing(parts)
        train = parts["train"]
        labeled = any(train.classes.values())
        for name in ("validation", "test"):
            part = parts.get(name)
            # A class may be called images.
            told = part is not None and (part.labeled or (labeled and set(part.classes) == set(train.classes)))
            if part is not None and labeled and not told:
                self._leave(name, parts)
        if "test" not in parts and "validation" in parts:
            parts["test"] = parts.pop("validation")
            self.notes.append(f"{parts['test'].folder}/ holds the test images")
        elif "validation" in parts:
            folder = parts["validation"].folder
            self.notes.append(f"{folder}/ holds the validation images; validation_share is not read")
        if "test" not in parts and train.folder:
            self.notes.append("there are no test images")
        if labeled:
            return self._by_class(parts)
        for name, part in parts.items():
            if any(part.classes.values()):
                raise ValueError(
                    f"{self.path}: {train.folder}/ holds images in no class folder, and {part.folder}/ class folders: "
                    f"classes that only one of train and {name} has: {', '.join(sorted(part.classes))}"
                )
        self.notes.append("no class folders: the images are unlabeled, of one class")
        ordered = {name: sorted(part.flat) for name, part in parts.items()}
        return (UNLABELED,), {name: [(0, entry) for entry in part] for name, part in ordered.items()}

    def _refuse_nothing(self, parts: dict[str, _Part]) -> None:
        empty = {name for name, entries in parts["train"].classes.items() if not entries} if "train" in parts else set()
        if empty:
            self._refuse_empty(parts["train"], min(empty))
        known = [f"{part.folder}/" for part in parts.values() if part.folder]
        also = [f"it has {', '.join(known)}"] if known else []
        problem = next((f"{entry.name} {entry.problem}" for entry in self.files if entry.problem), None)
        also += [printable(problem)] if problem else []
        counts = [f"{count} {reason}" for reason, count, _ in self.passed_over.rows()]
        also += [f"passed over: {', '.join(counts)}"] if counts else []
        raise ValueError(
            f"{self.path}: has no folder train/<class>/ with images{''.join(f'; {each}' for each in also)}"
        )

    def _refuse_empty(self, part: _Part, name: str) -> None:
        where = "/".join(filter(None, (part.folder, name)))
        raise ValueError(f"{self.path}: {where} holds no image ({', '.join(IMAGE_SUFFIXES)})")

    def _leave(self, name: str, parts: dict[str, _Part]) -> None:
        part = parts.pop(name)
        for entry in part.entries():
            self.passed_over.add(NOT_LABELED, entry.name)
        if part.classes or part.flat:
            self.notes.append(f"{part.folder}/ has no class folders, and is passed over")

    def _by_class(self, parts: dict[str, _Part]) -> tuple[tuple[str, ...], dict[str, list[tuple[int, Entry]]]]:
        for part in parts.values():
            for entry in part.flat:
                if entry.problem and not _suffix(entry):
                    # It would be the folder of a class.
                    part.classes.setdefault(class_name(entry.place[-1]), []).append(entry)
                else:
                    self.passed_over.add(NO_CLASS, entry.name)
            for name, entries in sorted(part.classes.items()):
                if not entries:
                    self._refuse_empty(part, name)
        classes = tuple(sorted(parts["train"].classes))
        for name in ("test", "validation"):
            if name in parts and set(parts[name].classes) != set(classes):
                differing = sorted(set(classes) ^ set(parts[name].classes))
                more = f", and {len(differing) - 20} more" if len(differing) > 20 else ""
                raise ValueError(
                    f"{self.path}: classes that only one of train and {name} has: {', '.join(differing[:20])}{more}"
                )
        return classes, {
            name: [(label, entry) for label, each in enumerate(classes) for entry in sorted(part.classes[each])]
            for name, part in parts.items()
        }


def _suffix(entry: Entry) -> str:
    last = entry.place[-1].lower()
    return last[last.rindex(".") :] if "." in last[1:] else ""

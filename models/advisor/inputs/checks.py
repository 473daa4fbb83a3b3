"""What rows, labels, strengths and views must be; every error names the row that it is about."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.advisor.inputs.arrays import chunks_of
from theory.batches.clusters import index_labels
from theory.numerics.inputs import require_count

# Squares of larger entries, summed over a row, leave float64.
LARGEST = 1e150
# A centered row shorter than this share of the longest one is the round-off of the subtraction.
NO_DIRECTION = 1e-6


def check_rows(rows: np.ndarray, name: str) -> None:
    """Refuse anything but (N >= 2, D >= 1) finite numbers without zero rows, raw or centered.

    Raises:
        ValueError: names the row.
    """
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name}: expected shape (N, D) with at least one row and one column, got {rows.shape}")
    if rows.dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects; give plain numbers: np.asarray(rows, dtype=np.float32)")
    if rows.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers, got dtype {rows.dtype}")
    if len(rows) < 2:
        raise ValueError(f"{name}: needs at least 2 rows, got {len(rows)}")
    total = np.zeros(rows.shape[1])
    for start, part in chunks_of(rows):
        for problem, flags in (
            ("holds NaN", np.isnan(part).any(1)),
            ("holds infinity", np.isinf(part).any(1)),
            (
                f"has an entry beyond {LARGEST:g}, whose square is no number; divide all rows",
                (abs(part) > LARGEST).any(1),
            ),
            ("is zero, so it has no direction", ~part.any(1)),
        ):
            if flags.any():
                raise ValueError(f"{name}: row {start + int(np.argmax(flags))} {problem}")
        total += part.sum(0)
    _check_centered(rows, total / len(rows), name)


def _check_centered(rows: np.ndarray, center: np.ndarray, name: str) -> None:
    lengths = np.concatenate([np.linalg.norm(part - center, axis=1) for _, part in chunks_of(rows)])
    size = max(np.linalg.norm(center), lengths.max())
    flat = lengths <= NO_DIRECTION * size
    if flat.any():
        raise ValueError(
            f"{name}: row {int(np.argmax(flat))} is the mean of all rows, so centering leaves it no direction"
            + ("; all rows are alike" if flat.all() else "")
        )


def check_labels(
    labels: np.ndarray | Sequence, num_rows: int, class_names: tuple[str, ...] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Places of the labels among the class names, (N,) int64, and the names: sorted, numbers as numbers.

    Args:
        class_names: of a set seen before, which may hold more classes; without them at least two classes, of which one
            has two rows.

    Raises:
        ValueError: another number of labels than rows, labels that are neither whole numbers nor text, one class,
            only classes of one row, a class that is not among ``class_names``.
    """
    text = _as_text(labels)
    if text is None:
        try:
            found, index = index_labels(labels, num_rows)
        except ValueError as error:
            raise ValueError(f"{error}; whole numbers or text, one a row") from error
    else:
        if len(text) != num_rows:
            raise ValueError(f"labels: expected {num_rows} of them, one a row, got {len(text)}")
        empty = next((row for row, each in enumerate(text) if not each.strip()), None)
        if empty is not None:
            raise ValueError(f"labels: row {empty} has an empty one")
        # One by one: an array of text would pad every label to the longest.
        place = {name: i for i, name in enumerate(sorted(set(text)))}
        found, index = np.array(list(place), dtype=object), np.array([place[each] for each in text], dtype=np.int64)
    names = tuple(str(each) for each in found)
    if class_names is not None:
        seen = set(class_names)
        unknown = [i for i, name in enumerate(names) if name not in seen]
        if unknown:
            row = int(np.flatnonzero(index == unknown[0])[0])
            raise ValueError(
                f"labels: row {row} has class {names[unknown[0]]!r}, which the set that the predictions are made from "
                "does not have"
            )
        known = {name: i for i, name in enumerate(class_names)}
        return np.array([known[name] for name in names], dtype=np.int64)[index], class_names
    if len(names) < 2:
        raise ValueError(f"labels: needs at least 2 classes, all rows have {names[0]!r}")
    if len(names) == len(index):
        raise ValueError("labels: at least one class needs 2 rows, every row has a class of its own")
    return index, names


def _as_text(labels: np.ndarray | Sequence) -> list[str] | None:
    """Labels (N,) that are text; None for others."""
    if not hasattr(labels, "dtype"):
        text = hasattr(labels, "__len__") and len(labels) and all(isinstance(each, str) for each in labels)
        return [str(each) for each in labels] if text else None
    values = np.asarray(labels)
    if values.ndim != 1 or not len(values):
        return None
    if values.dtype.kind == "S":
        return [each.decode("ascii") for each in values.tolist()]
    if values.dtype.kind == "U" or (values.dtype == object and all(isinstance(each, str) for each in values)):
        return [str(each) for each in values.tolist()]
    return None


def check_strengths(strengths: Sequence[float] | np.ndarray | None, count: int) -> tuple[float, ...]:
    """Strengths as floats, increasing from 0.

    Raises:
        ValueError: another number than views, not finite, not increasing, without 0.
    """
    if strengths is None and not count:
        return ()
    if strengths is None or not count:
        raise ValueError("strengths: give views and strengths together, one strength a view")
    values = np.asarray(strengths)
    if values.ndim != 1 or values.dtype.kind not in "fiu" or len(values) != count:
        raise ValueError(f"strengths: expected {count} numbers, one a view, got shape {values.shape}")
    levels = tuple(float(each) for each in values)
    for i, level in enumerate(levels):
        if not math.isfinite(level) or level < 0:
            raise ValueError(f"strengths: number {i} must lie in [0, inf), got {level:g}")
    if levels[0] != 0 and 0 not in levels:
        raise ValueError(
            f"strengths: must begin with 0, the rows without augmentation, got {levels[0]:g}; add --view 0=FEATURES"
        )
    for i, (low, high) in enumerate(pairwise(levels)):
        if not low < high:
            raise ValueError(f"strengths: must increase, number {i + 1} is {high:g} after {low:g}")
    return levels


def check_views(views: Sequence[np.ndarray], strengths: Sequence[float], embeddings: np.ndarray) -> None:
    """Refuse views that are not those of the embeddings' rows.

    Raises:
        ValueError: names the strength, and the row where there is one.
    """
    for strength, view in zip(strengths, views):
        name = f"view of strength {strength:g}"
        if view.shape != embeddings.shape:
            raise ValueError(f"{name}: expected shape {embeddings.shape} as the embeddings have, got {view.shape}")
        check_rows(view, name)


def check_batch_size(batch_size: int | None, num_rows: int, name: str = "batch_size", why: str = "") -> None:
    """Refuse batches that the rows do not fill.

    Args:
        why: what errors add.

    Raises:
        ValueError: names the range.
    """
    if batch_size is not None:
        try:
            require_count(batch_size, name, 2, num_rows)
        except ValueError as error:
            raise ValueError(f"{error}{why}") from error

"""A set of embeddings with classes and views, from files or from memory, checked before anything is computed."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.advisor.inputs.arrays import MemoryLimit, read_npy, read_npz, read_torch, text_array
from models.advisor.inputs.checks import check_labels, check_rows, check_strengths, check_views
from models.advisor.inputs.tables import read_csv, read_parquet

# Names of the arrays in .npz files and in .pt dictionaries.
NAMES = ("embeddings", "labels", "views", "strengths")
KINDS = (".npy", ".npz", ".csv", ".parquet", ".pt")


@dataclass(frozen=True)
class FeatureSet:
    """Rows that the advisor speaks about.

    Attributes:
        embeddings: (N, D), as they were given; perhaps mapped from a file.
        classes: (N,) int64 in 0..K-1, or None: view pairs are then the classes.
        class_names: (K,), in order.
        views: one (N, D) a strength, row i a view of row i.
        strengths: increasing from 0, one a view; empty without views.
    """

    embeddings: np.ndarray
    classes: np.ndarray | None
    class_names: tuple[str, ...]
    views: tuple[np.ndarray, ...]
    strengths: tuple[float, ...]

    @property
    def num_rows(self) -> int:
        return len(self.embeddings)

    def take(self, rows: np.ndarray) -> "FeatureSet":
        """Some of the rows. Classes keep their numbers."""
        classes = None if self.classes is None else self.classes[rows]
        return FeatureSet(self.embeddings[rows], classes, self.class_names, tuple(v[rows] for v in self.views),
                          self.strengths)  # fmt: skip


def feature_set(
    embeddings: np.ndarray,
    labels: np.ndarray | Sequence | None = None,
    views: Sequence[np.ndarray] | np.ndarray | None = None,
    strengths: Sequence[float] | np.ndarray | None = None,
    *,
    name: str = "embeddings",
    class_names: tuple[str, ...] | None = None,
) -> FeatureSet:
    """Everything checked.

    Args:
        embeddings: (N, D), numbers.
        labels: (N,), integers, booleans or text; None makes the views the classes, and then there must be some.
        views: (S, N, D), or S arrays (N, D); row i of each is a view of row i of the embeddings.
        strengths: (S,), increasing, the first one 0.
        name: what errors call the embeddings.
        class_names: of a set seen before, among which the labels must be.

    Raises:
        ValueError: names the argument and the row.
    """
    embeddings = _as_array(embeddings)
    check_rows(embeddings, name)
    found, names = (None, ()) if labels is None else check_labels(labels, len(embeddings), class_names)
    if views is not None and not hasattr(views, "__iter__"):
        raise ValueError(f"views: expected arrays (S, N, D), got {type(views).__name__}")
    views = () if views is None else tuple(_as_array(view) for view in views)
    levels = check_strengths(strengths, len(views))
    check_views(views, levels, embeddings)
    if labels is None and not any(level > 0 for level in levels):
        raise ValueError(
            "labels: there are none, and no views of strength above 0 that could take their place; give --labels, a "
            "label column, or --view STRENGTH=FILE"
        )
    return FeatureSet(embeddings, found, names, views, levels)


def _as_array(rows: object) -> np.ndarray:
    """A mapped file stays one, so that its pages can be given back."""
    return rows if isinstance(rows, np.memmap) else np.asarray(rows)


@dataclass(frozen=True)
class Sources:
    """Where a set comes from.

    Attributes:
        features: a file of one of KINDS.
        labels: a file of labels, instead of those that come with the features.
        views: strength and file of every view.
        label_column: of CSV and parquet tables.
    """

    features: Path
    labels: Path | None = None
    views: tuple[tuple[float, Path], ...] = ()
    label_column: str = "label"


def load_features(sources: Sources, limit: MemoryLimit, class_names: tuple[str, ...] | None = None) -> FeatureSet:
    """The set that the files hold.

    Raises:
        ValueError: a file that is missing, not of a known kind, not safe to read, or whose rows are not usable.
    """
    arrays = _read_embeddings(sources.features, sources.label_column, limit)
    labels = arrays.get("labels") if sources.labels is None else _read_labels(sources.labels, sources, limit)
    views: Sequence[np.ndarray] | np.ndarray | None = arrays.get("views")
    strengths: Sequence[float] | np.ndarray | None = arrays.get("strengths")
    if isinstance(views, np.ndarray) and views.ndim != 3:
        raise ValueError(f"views: expected shape (strengths, N, D), got {views.shape}")
    if sources.views:
        if views is not None:
            raise ValueError(f"--view: {sources.features} holds views already; give one or the other")
        strengths = [strength for strength, _ in sources.views]
        views = [_read_embeddings(path, sources.label_column, limit)["embeddings"] for _, path in sources.views]
        limit.require(sum(each.nbytes for each in (*views, arrays["embeddings"])), "all views together")
    return feature_set(arrays["embeddings"], labels, views, strengths, name=str(sources.features),
                       class_names=class_names)  # fmt: skip


def _read_embeddings(path: Path, label_column: str, limit: MemoryLimit) -> dict[str, np.ndarray]:
    arrays = _read(path, label_column, limit)
    if "embeddings" not in arrays:
        held = ", ".join(arrays) or "nothing"
        raise ValueError(f"{path}: holds no array named embeddings, only {held}; names are {NAMES}")
    return arrays


def _read(path: Path, label_column: str, limit: MemoryLimit) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    kind = path.suffix.lower()
    if kind == ".npy":
        return {"embeddings": read_npy(path, limit)}
    if kind == ".npz":
        return read_npz(path, limit)
    if kind in (".pt", ".pth"):
        found = read_torch(path, limit)
        return found if isinstance(found, dict) else {"embeddings": found}
    if kind in (".csv", ".parquet"):
        values, labels = (read_csv if kind == ".csv" else read_parquet)(path, label_column, limit)
        return {"embeddings": values} | ({} if labels is None else {"labels": labels})
    if kind in (".pkl", ".pickle", ".joblib"):
        raise ValueError(f"{path}: pickles can run any code and are not read; store the array with np.save")
    raise ValueError(f"{path}: unknown kind of file {kind!r}; known are {', '.join(KINDS)}")


def _read_labels(path: Path, sources: Sources, limit: MemoryLimit) -> np.ndarray:
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file")
        limit.require(path.stat().st_size, str(path))
        return text_array(_text_of(path).splitlines(), limit, str(path))
    if path.suffix.lower() == ".csv" and path.is_file():
        limit.require(path.stat().st_size, str(path))
        return _label_table(path, sources.label_column, limit)
    found = _read(path, sources.label_column, limit)
    for name in ("labels", "embeddings") if path.suffix.lower() in (".npy", ".pt", ".pth") else ("labels",):
        if name in found:
            return found[name]
    raise ValueError(f"{path}: holds no labels (an array named labels, or a column {sources.label_column!r})")


def _text_of(path: Path) -> str:
    """As it is: ends of lines inside quotes are left to the reader of tables."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text in UTF-8 ({error.reason} at byte {error.start:,})") from error


def _label_table(path: Path, label_column: str, limit: MemoryLimit) -> np.ndarray:
    """The column of labels."""
    import csv

    try:
        rows = [row for row in csv.reader(io.StringIO(_text_of(path), newline="")) if row]
    except csv.Error as error:
        raise ValueError(f"{path}: not a whole CSV table ({error})") from error
    header = rows[0] if rows else []
    if label_column in header:
        place = header.index(label_column)
    elif len(header) == 1:
        raise ValueError(f"{path}: its column is named {header[0]!r}; name it {label_column!r} or give --label-column")
    else:
        raise ValueError(f"{path}: has no column {label_column!r}; there are {', '.join(header) or 'none'}")
    short = next((i for i, row in enumerate(rows[1:]) if len(row) <= place), None)
    if short is not None:
        raise ValueError(f"{path}: row {short} (line {short + 2}) has no label")
    return text_array([row[place] for row in rows[1:]], limit, str(path))

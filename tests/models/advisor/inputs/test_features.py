"""Sets of embeddings: every bad input is named with its row, and files of every kind give the same set."""

import tracemalloc

import numpy as np
import pytest
import torch

from models.advisor.inputs.arrays import MemoryLimit
from models.advisor.inputs.checks import check_batch_size
from models.advisor.inputs.features import Sources, feature_set, load_features

LIMIT = MemoryLimit(0.01)
RNG = np.random.default_rng(0)
ROWS, LABELS = RNG.normal(size=(8, 3)), np.array([1, 0] * 4)
VIEWS = np.stack([ROWS, ROWS + 0.1, ROWS + RNG.normal(size=(8, 3))])
STRENGTHS = [0.0, 0.5, 1.0]


def changed(row, value, rows=ROWS):
    rows = rows.copy()
    rows[row] = value
    return rows


CENTERED_TO_ZERO = changed(5, changed(5, 0).sum(0) / 7)

BAD = {
    "NaN": (dict(embeddings=changed(3, [0, np.nan, 1])), "^embeddings: row 3 holds NaN"),
    "infinity": (dict(embeddings=changed(6, np.inf)), "^embeddings: row 6 holds infinity"),
    "zero": (dict(embeddings=changed(2, 0)), "^embeddings: row 2 is zero"),
    "zero after centering": (dict(embeddings=CENTERED_TO_ZERO), "^embeddings: row 5 is the mean of all rows"),
    "all alike": (dict(embeddings=np.ones((8, 3))), "row 0 is the mean of all rows.*all rows are alike"),
    "huge": (dict(embeddings=changed(1, 1e300)), "^embeddings: row 1 has an entry beyond"),
    "one row": (dict(embeddings=ROWS[:1], labels=[0]), "needs at least 2 rows, got 1"),
    "no table": (dict(embeddings=ROWS[0]), r"expected shape \(N, D\)"),
    "text": (dict(embeddings=ROWS.astype(str)), "expected numbers"),
    "objects": (dict(embeddings=ROWS.astype(object)), "holds Python objects"),
    "complex": (dict(embeddings=ROWS + 1j), "expected numbers"),
    "labels too short": (dict(labels=LABELS[:7]), r"^labels: expected integers of shape \(8,\).*\(7,\)"),
    "text too short": (dict(labels=["a", "b", "a"]), "^labels: expected 8 of them, one a row, got 3"),
    "fractions as labels": (
        dict(labels=LABELS / 2), r"^labels: expected integers of shape \(8,\), got float64.*whole numbers or text"),
    "a table of labels": (
        dict(labels=np.zeros((8, 2), int)), r"^labels: expected integers of shape \(8,\), got int64 of shape \(8, 2\)"),
    "an empty label": (dict(labels=["a", "b", "", "a"] * 2), "^labels: row 2 has an empty one"),
    "one class": (dict(labels=[7] * 8), "needs at least 2 classes, all rows have '7'"),
    "classes of one row": (dict(labels=list("abcdefgh")), "at least one class needs 2 rows, every row has a class"),
    "numbers of one row each": (dict(labels=range(8)), "at least one class needs 2 rows"),
    "strengths that fall": (dict(strengths=[0, 1, 0.5]), "must increase, number 2 is 0.5 after 1"),
    "0 in the middle": (dict(strengths=[0.5, 0, 1]), "must increase, number 1 is 0 after 0.5"),
    "strengths twice": (dict(strengths=[0, 1, 1]), "must increase"),
    "strengths without 0": (dict(strengths=[0.1, 0.5, 1]), r"must begin with 0.*add --view 0=FEATURES"),
    "a negative strength": (dict(strengths=[-1, 0, 1]), r"number 0 must lie in \[0, inf\), got -1"),
    "a strength that is NaN": (dict(strengths=[0, np.nan, 1]), "number 1 must lie in"),
    "strengths too few": (dict(strengths=[0, 1]), "expected 3 numbers, one a view"),
    "views alone": (dict(strengths=None), "give views and strengths together"),
    "strengths alone": (dict(views=None), "give views and strengths together"),
    "views of another shape": (dict(views=VIEWS[:, :7]), r"^view of strength 0: expected shape \(8, 3\).*\(7, 3\)"),
    "a view that is NaN": (
        dict(views=[*VIEWS[:2], changed(4, np.nan)]), "^view of strength 1: row 4 holds NaN"),
    "nothing to tell classes by": (dict(labels=None, views=None, strengths=None), "give --labels"),
    "no view but the rows themselves": (dict(labels=None, views=VIEWS[:1], strengths=[0]), "above 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_with_its_row(name):
    arguments, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        feature_set(**{"embeddings": ROWS, "labels": LABELS, "views": VIEWS, "strengths": STRENGTHS} | arguments)


def test_labels_are_names():
    for labels in (LABELS, LABELS.astype(bool), LABELS.astype(np.uint8) + 7, ["b", "a"] * 4, np.array(["b", "a"] * 4)):
        found = feature_set(ROWS, labels)
        assert found.classes.tolist() == LABELS.tolist()
        assert len(found.class_names) == 2
    assert feature_set(ROWS, [2**63, -5] * 4).class_names == ("-5", str(2**63))


def test_labels_of_any_length_take_no_more_than_they_are():
    """As an array of text these would take half a gigabyte."""
    long = "x" * 2**24
    for labels in (["a", "b"] * 3 + [long, long], np.array(["a", "b"] * 3 + [long, long], dtype=object)):
        tracemalloc.start()
        found = feature_set(ROWS, labels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.classes.tolist() == [0, 1, 0, 1, 0, 1, 2, 2]
        assert peak < 2**26
    for labels in (np.array(["b", "a"] * 4, dtype=object), np.array([b"b", b"a"] * 4)):
        found = feature_set(ROWS, labels)
        assert (found.classes.tolist(), found.class_names) == ([1, 0] * 4, ("a", "b"))


def test_labels_in_files_are_weighed_as_text_is_kept(tmp_path):
    """A file of some kilobytes whose labels, each padded to the longest, take 4 x 1,008 x 4,000 bytes."""
    np.save(tmp_path / "a.npy", RNG.normal(size=(1008, 3)))
    labels = [*(["a", "b"] * 503), "c" * 4000, "c" * 4000]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    (tmp_path / "labels.csv").write_text("label\n" + "\n".join(labels))
    (tmp_path / "table.csv").write_text("label,x\n" + "".join(f"{each},{i + 1}\n" for i, each in enumerate(labels)))
    needed = 4 * 1008 * 4000
    for name in ("labels.txt", "labels.csv", "table.csv"):
        sources = Sources(tmp_path / "a.npy", tmp_path / name)
        sources = Sources(tmp_path / name) if name == "table.csv" else sources
        assert (tmp_path / name).stat().st_size < 20_000
        with pytest.raises(ValueError, match=rf"{name}: labels, each padded to the longest of 4,000 characters: takes"):
            load_features(sources, MemoryLimit((needed - 1) / 2**30))
        assert load_features(sources, MemoryLimit((needed + 100) / 2**30)).class_names[2] == "c" * 4000


def test_label_tables_that_cannot_be_read_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "long.csv").write_text("label\n" + "a" * 131_073 + "\nb\n")
    (tmp_path / "latin.csv").write_bytes("label\né\n".encode("latin-1"))
    (tmp_path / "latin.txt").write_bytes("é\n".encode("latin-1"))
    for name, message in (("long.csv", r"not a whole CSV table \(field larger than field limit"),
                          ("latin.csv", "is no text in UTF-8"), ("latin.txt", "is no text in UTF-8")):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            load_features(Sources(tmp_path / "a.npy", tmp_path / name), LIMIT)


def test_labels_of_a_second_set_keep_their_numbers():
    names = ("a", "b", "c")
    assert feature_set(ROWS, ["c", "a"] * 4, class_names=names).classes.tolist() == [2, 0] * 4
    with pytest.raises(ValueError, match=r"row 1 has class 'd', which the set that the predictions are made from"):
        feature_set(ROWS, ["c", "d"] * 4, class_names=names)


def test_batches_fit_the_rows():
    check_batch_size(None, 10)
    check_batch_size(10, 10)
    with pytest.raises(ValueError, match=r"batch_size: must be a whole number in \[2, 10\], got 11"):
        check_batch_size(11, 10)


def files(folder):
    """The same set in every kind of file."""
    np.save(folder / "a.npy", ROWS)
    np.save(folder / "labels.npy", LABELS)
    (folder / "labels.txt").write_text("".join(f"{each}\n" for each in LABELS))
    (folder / "labels.csv").write_text("row,label\n" + "".join(f"{i},{each}\n" for i, each in enumerate(LABELS)))
    lines = [",".join([*(repr(float(x)) for x in row), str(label)]) for row, label in zip(ROWS, LABELS)]
    (folder / "a.csv").write_text("x,y,z,label\n" + "\n".join(lines) + "\n")
    np.savez(folder / "a.npz", embeddings=ROWS, labels=LABELS, views=VIEWS, strengths=STRENGTHS)
    torch.save({"embeddings": torch.from_numpy(ROWS), "labels": torch.from_numpy(LABELS)}, folder / "a.pt")
    torch.save(torch.from_numpy(ROWS), folder / "b.pt")
    for strength, view in zip(STRENGTHS, VIEWS):
        np.save(folder / f"view{strength:g}.npy", view)


def test_files_of_every_kind_hold_the_same_set(tmp_path):
    files(tmp_path)
    for features, labels in (("a.npy", "labels.npy"), ("a.npy", "labels.txt"), ("a.npy", "labels.csv"),
                             ("a.csv", None), ("a.npz", None), ("a.pt", None), ("b.pt", "labels.npy")):  # fmt: skip
        found = load_features(Sources(tmp_path / features, None if labels is None else tmp_path / labels), LIMIT)
        np.testing.assert_array_equal(found.embeddings, ROWS)
        np.testing.assert_array_equal(found.classes, LABELS)
    assert load_features(Sources(tmp_path / "a.npz"), LIMIT).strengths == (0, 0.5, 1)
    views = tuple((strength, tmp_path / f"view{strength:g}.npy") for strength in STRENGTHS)
    found = load_features(Sources(tmp_path / "a.npy", None, views), LIMIT)
    assert found.classes is None
    np.testing.assert_array_equal(np.stack(found.views), VIEWS)
    assert all(isinstance(rows, np.memmap) for rows in (found.embeddings, *found.views)), "mapped, not read"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (("none.npy",), "none.npy: there is no such file"),
        (("a.pkl",), "pickles can run any code and are not read"),
        (("a.txt",), "unknown kind of file '.txt'"),
        (("other.npz",), "holds no array named embeddings, only x"),
        (("a.npy", "other.npz"), "holds no labels"),
        (("a.npy", "none.txt"), "there is no such file"),
        (("a.npy", "other.csv"), "its column is named 'y'; name it 'label'"),
        (("a.npz", None, ((0.0, "a.npy"),)), "holds views already"),
        (("a.npy", "labels.npy", ((0.0, "a.npy"), (1.0, "other.npz"))), r"other\.npz: holds no array named embeddings"),
    ],
)
def test_files_that_hold_no_set(tmp_path, sources, message):
    files(tmp_path)
    np.savez(tmp_path / "other.npz", x=ROWS)
    for name in ("a.pkl", "a.txt"):
        (tmp_path / name).write_text("1")
    (tmp_path / "other.csv").write_text("y\n1\n")
    features, labels, views = (*sources, None, None)[:3]
    given = Sources(tmp_path / features, None if labels is None else tmp_path / labels,
                    tuple((s, tmp_path / path) for s, path in views or ()))  # fmt: skip
    with pytest.raises(ValueError, match=message):
        load_features(given, LIMIT)

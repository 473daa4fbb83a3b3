"""CSV and parquet tables: features, labels, and what is refused by column and row."""

import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models.advisor.inputs.arrays import MemoryLimit
from models.advisor.inputs.tables import read_csv, read_parquet

LIMIT = MemoryLimit(0.001)


def write(path, text):
    path.write_text(text)
    return path


def test_features_and_labels(tmp_path):
    path = write(tmp_path / "a.csv", "x,label,y\n1,cat,2.5\n3,dog,-4\n")
    values, labels = read_csv(path, "label", LIMIT)
    assert values.tolist() == [[1.0, 2.5], [3.0, -4.0]]
    assert labels.tolist() == ["cat", "dog"]
    assert read_csv(write(tmp_path / "b.csv", "x,y\n1,2\n"), "label", LIMIT)[1] is None
    assert read_csv(write(tmp_path / "c.csv", "x,class\n1,7\n"), "class", LIMIT)[1].dtype == np.int64
    assert read_csv(write(tmp_path / "e.csv", "0,1\n7,2\n"), "label", LIMIT)[0].tolist() == [[7.0, 2.0]]
    missing = read_csv(write(tmp_path / "d.csv", "x,y\n1,2\n3,\n"), "label", LIMIT)[0]
    assert np.isnan(missing[1, 1]), "left to the check of rows, which names the row"


def test_labels_are_what_the_cells_say(tmp_path):
    """Neither numbers in other words nor words for what is missing; features are read as before."""
    for cells, expected in (
        (["01", "1", "01", "1"], ["01", "1", "01", "1"]),
        (["NA", "None", "nan", "null"], ["NA", "None", "nan", "null"]),
        (["True", "False", "True", "x"], ["True", "False", "True", "x"]),
        (["=a", "==a", " a", '"b,c"'], ["=a", "==a", " a", "b,c"]),
        (["10", "9", "-3", "0"], [10, 9, -3, 0]),
        (["1.5", "2", "1.5", "2"], [1.5, 2.0, 1.5, 2.0]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
    ):
        text = "x,label,y\n" + "".join(f"{i},{cell},NA\n" for i, cell in enumerate(cells))
        values, labels = read_csv(write(tmp_path / "a.csv", text), "label", LIMIT)
        assert labels.tolist() == expected
        assert np.isnan(values[:, 1]).all()
    for text in ("x,label\n1,a\n2,\n", 'x,label\n1,a\n2,""\n', "x,label\n1,a\n2\n"):
        with pytest.raises(ValueError, match="row 1 has no label in column 'label'"):
            read_csv(write(tmp_path / "b.csv", text), "label", LIMIT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n3,four\n", r"column 'y', row 1 \(line 3\): expected a number, got 'four'"),
        ("x,kind\n1,cat\n3,dog\n", r"column 'kind', row 0 .*name the column of labels with --label-column"),
        (",x\n0,1\n1,2\n", r"column 1 has no name.*to_csv\(index=False\)"),
        ("x,label\n1,a\n2,\n", "row 1 has no label in column 'label'"),
        (
            "5.1,3.5,-1e3\n4.9,3.0,1.4\n",
            "its first line holds numbers, 5.1, 3.5, -1e3, ...: put names of columns there",
        ),
        ("label\na\nb\n", "has no column of numbers"),
        ("", "not a whole CSV table"),
        ("x,y\n1,2\n1,2,3\n", "not a whole CSV table"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path / "a.csv", text), "label", LIMIT)


def test_a_large_file_is_refused_unread(tmp_path):
    path = write(tmp_path / "a.csv", "x\n" + "1\n" * 1000)
    with pytest.raises(ValueError, match="more than the limit"):
        read_csv(path, "label", MemoryLimit(1e-6))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"a parquet file: needs pyarrow; pip install .*\[parquet\]"):
        read_parquet(write(tmp_path / "a.parquet", ""), "label", LIMIT)


def test_parquet_is_weighed_before_it_is_read(tmp_path, monkeypatch):
    """A stand-in for pyarrow: dictionary codes of a few bytes that expand to a table beyond the limit."""

    class File:
        metadata = SimpleNamespace(
            num_rows=10, num_columns=2, num_row_groups=1, row_group=lambda i: SimpleNamespace(total_byte_size=40)
        )

        def __init__(self, path):
            pass

        def read(self):
            return SimpleNamespace(to_pandas=lambda: pd.DataFrame({"x": range(10), "label": list("ab") * 5}))

    stand_in = SimpleNamespace(parquet=SimpleNamespace(ParquetFile=File), lib=SimpleNamespace(ArrowException=OSError))
    stand_in.__spec__ = ModuleSpec("pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow", stand_in)
    values, labels = read_parquet(tmp_path / "a.parquet", "label", LIMIT)
    assert (values.shape, labels.tolist()) == ((10, 1), list("ab") * 5)
    monkeypatch.setattr(File, "read", lambda self: pytest.fail("it was read"))
    File.metadata.num_rows = 10**6
    with pytest.raises(ValueError, match="more than the limit"):
        read_parquet(tmp_path / "a.parquet", "label", LIMIT)


def test_parquet_says_what_csv_says(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"x": [1.0, 2.0], "label": ["a", "b"]}).to_parquet(tmp_path / "a.parquet")
    values, labels = read_parquet(tmp_path / "a.parquet", "label", LIMIT)
    assert values.tolist() == [[1.0], [2.0]]
    assert labels.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="not a whole parquet table"):
        read_parquet(write(tmp_path / "b.parquet", "no"), "label", LIMIT)

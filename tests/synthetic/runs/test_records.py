import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

from figures.run_folder import DamagedFileError, read_table
from synthetic.runs.records import CELLS_ALONE, RunRecorder, Tables
from theory.numerics.manifest import adopt
from theory.numerics.whole_files import GrowingTable, exact_floats, to_plain, write_json, write_table, write_whole

CPU = torch.device("cpu")
ROW = {"cell": 0, "x": 0.1 + 0.2, "name": "a, b", "missing": float("nan"), "flag": True}
LAYERS = [{"cell": 0, "layer": 0, "alpha": 1 / 3}]


def test_floats_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"a": v, "b": 10.0**e} for v, e in zip(rng.standard_normal(200), rng.uniform(-300, 300, 200))]
    write_table(tmp_path / "t.csv", rows)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), pd.DataFrame(rows), check_exact=True)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*rows\.csv"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["rows.csv"]


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "v.json", {"a": float("nan"), "b": np.float64(1.5), "c": (np.int64(1), tmp_path)})
    assert json.loads((tmp_path / "v.json").read_text()) == {"a": None, "b": 1.5, "c": [1, str(tmp_path)]}
    assert to_plain(np.bool_(True)) is True


def test_resume_finds_finished_cells(tmp_path):
    recorder = RunRecorder(tmp_path / "run", {"seed": 1}, False, CPU)
    recorder.add(ROW, LAYERS)
    again = RunRecorder(tmp_path / "run", {"seed": 1}, True, CPU)
    assert again.finished == {0}
    before = (tmp_path / "run" / "rows.csv").read_bytes()
    again.add({**ROW, "cell": 1}, [{**LAYERS[0], "cell": 1}])
    assert (tmp_path / "run" / "rows.csv").read_bytes().startswith(before)
    assert len(json.loads((tmp_path / "run" / "environment.json").read_text())["runs"]) == 2


def test_layers_of_an_unfinished_cell_are_dropped(tmp_path, monkeypatch):
    """A kill between the two files leaves layers without a row; the cell is then computed again."""
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU)
    recorder.add(ROW, LAYERS)
    true_replace = os.replace

    def killed(source, target):
        if target.name == "rows.csv":
            raise KeyboardInterrupt
        true_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            recorder.add({**ROW, "cell": 1}, [{**LAYERS[0], "cell": 1}])
    assert {row["cell"] for row in pd.read_csv(tmp_path / "run" / "layers.csv").to_dict("records")} == {0, 1}
    again = RunRecorder(tmp_path / "run", {}, True, CPU)
    assert again.finished == {0}
    assert {row["cell"] for row in again.details} == {0}


def test_cells_of_other_depths_are_whole_too(tmp_path):
    """A control cell may have fewer layers than the others: its row and all of its details are kept."""
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU)
    for cell, depth in enumerate((3, 1, 3)):
        recorder.add({**ROW, "cell": cell}, [{**LAYERS[0], "cell": cell, "layer": layer} for layer in range(depth + 1)])
    del recorder
    again = RunRecorder(tmp_path / "run", {}, True, CPU)
    assert again.finished == {0, 1, 2}
    assert [(row["cell"], row["layer"]) for row in again.details][4:6] == [(1, 0), (1, 1)]


def damage_half(path):
    path.write_bytes(path.read_bytes()[:-5])


def damage_field(path):
    path.write_text(path.read_text().replace(",True\n", "\n"))


def damage_bytes(path):
    path.write_bytes(b"\xff\xfe\x00" * 10)


@pytest.mark.parametrize("damage", [damage_half, damage_field, damage_bytes, lambda p: p.write_text("")])
def test_a_damaged_table_is_refused_by_name(tmp_path, damage):
    RunRecorder(tmp_path / "run", {}, False, CPU).add(ROW, LAYERS)
    damage(tmp_path / "run" / "rows.csv")
    with pytest.raises(ValueError, match=r"rows\.csv"):
        RunRecorder(tmp_path / "run", {}, True, CPU)
    with pytest.raises(DamagedFileError, match=r"rows\.csv"):
        read_table(tmp_path / "run" / "rows.csv")


def test_folders_that_cannot_be_used(tmp_path):
    RunRecorder(tmp_path / "run", {"seed": 1}, False, CPU).add(ROW, LAYERS)
    with pytest.raises(ValueError, match="not an empty folder"):
        RunRecorder(tmp_path / "run", {"seed": 1}, False, CPU)
    with pytest.raises(ValueError, match=r"seed 1 \(now 2\)"):
        RunRecorder(tmp_path / "run", {"seed": 2}, True, CPU)
    with pytest.raises(ValueError, match=r"manifest\.json: missing; there is no run"):
        RunRecorder(tmp_path / "nowhere", {}, True, CPU)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="not an empty folder"):
        RunRecorder(tmp_path / "file", {}, False, CPU)
    table = (tmp_path / "run" / "rows.csv").read_text()
    (tmp_path / "run" / "rows.csv").write_text(table + table.splitlines()[1] + "\n")
    adopt(tmp_path / "run")
    with pytest.raises(ValueError, match="has a row twice"):
        RunRecorder(tmp_path / "run", {"seed": 1}, True, CPU)


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
@pytest.mark.parametrize("content", ["[1]", "{", "{}"])
def test_damaged_settings_are_refused(tmp_path, name, content):
    RunRecorder(tmp_path / "run", {"seed": 1}, False, CPU)
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ValueError):
        RunRecorder(tmp_path / "run", {"seed": 1}, True, CPU)


def test_cells_that_lost_layers_are_computed_again(tmp_path):
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU)
    for cell in range(3):
        recorder.add({**ROW, "cell": cell}, [{"cell": cell, "layer": layer, "alpha": 0.5} for layer in range(2)])
    whole = {name: (tmp_path / "run" / name).read_text() for name in ("rows.csv", "layers.csv")}
    lines = whole["layers.csv"].splitlines(keepends=True)
    (tmp_path / "run" / "layers.csv").write_text("".join(lines[:3] + lines[4:]))
    (tmp_path / "run" / ".rows.csv.x.part").write_text("left by a killed run")
    adopt(tmp_path / "run")
    again = RunRecorder(tmp_path / "run", {}, True, CPU)
    assert again.finished == {0, 2}
    assert not list((tmp_path / "run").glob(".*.part"))
    again.add({**ROW, "cell": 1}, [{"cell": 1, "layer": layer, "alpha": 0.5} for layer in range(2)])
    assert {name: (tmp_path / "run" / name).read_text() for name in whole} == whole


def test_cells_with_different_numbers_of_details(tmp_path):
    """A cell whose details are not all there is computed again, however many others have."""
    tables = Tables("runs", "steps", ("cell", "step"), count="steps_taken")
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU, tables)
    for cell, count in ((0, 3), (1, 1), (2, 2)):
        recorder.add({"cell": cell, "steps_taken": count}, [{"cell": cell, "step": step} for step in range(count)])
    assert RunRecorder(tmp_path / "run", {}, True, CPU, tables).finished == {0, 1, 2}
    details = pd.read_csv(tmp_path / "run" / "steps.csv")
    details[~((details["cell"] == 2) & (details["step"] == 1))].to_csv(tmp_path / "run" / "steps.csv", index=False)
    adopt(tmp_path / "run")
    again = RunRecorder(tmp_path / "run", {}, True, CPU, tables)
    assert again.finished == {0, 1}
    assert {row["cell"] for row in again.details} == {0, 1}


def test_a_resumed_run_writes_earlier_rows_as_they_were(tmp_path):
    """Whole numbers beside empty fields are read back as floats; their text stays, also when columns are added."""
    rows = [{"cell": 0, "layers": 3, "x": None}, {"cell": 1, "layers": None, "x": 'a, "b"'}]
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU, CELLS_ALONE)
    for row in rows:
        recorder.add(row)
    before = (tmp_path / "run" / "rows.csv").read_text()
    again = RunRecorder(tmp_path / "run", {}, True, CPU, CELLS_ALONE)
    assert again.rows[0]["layers"] == 3.0
    again.add({"cell": 2, "layers": 4, "x": None})
    assert (tmp_path / "run" / "rows.csv").read_text() == before + "2,4,\n"
    again.add({"cell": 3, "layers": 4, "x": None, "new": 1})
    assert (tmp_path / "run" / "rows.csv").read_text().splitlines() == [
        "cell,layers,x,new", "0,3,,", '1,,"a, ""b""",', "2,4,,", "3,4,,1"
    ]  # fmt: skip


def test_a_growing_table_is_what_is_written_at_once(tmp_path):
    """Rows in front of others, new columns, NaN and NumPy numbers; and a row is turned into text once."""
    rows = [{"cell": 2, "a": 0.1, "b": float("nan")}, {"cell": 5, "a": np.float64(1 / 3), "b": None}]
    table = GrowingTable(tmp_path / "grown.csv")
    table.write(rows)
    for more in ({"cell": 1, "a": 7.0, "b": 1e-300}, {"cell": 3, "a": "x, y", "c": np.int64(4)}):
        rows = sorted([*rows, more], key=lambda row: row["cell"])
        table.write(rows)
        write_table(tmp_path / "whole.csv", rows)
        assert (tmp_path / "grown.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert read_table(tmp_path / "grown.csv")["a"].tolist() == ["7.0", "0.1", "x, y", repr(1 / 3)]


@pytest.mark.parametrize(("version", "asked"), [("2.3.3", True), ("3.0.5", True), ("3.1.0rc0", False), ("4.0", False)])
def test_older_pandas_is_asked_for_exact_floats(version, asked):
    assert exact_floats(version) == ({"float_precision": "round_trip"} if asked else {})

"""The command that certifies a grid of ceilings, floors and thresholds."""

import json
import sys

import pandas as pd
import pytest

from synthetic import certify
from synthetic.integrity.folders import look_at
from tests.command_lines import status_of
from theory.numerics.manifest import settle

KINDS = ["alpha", "beta", "depth_threshold", "fusion_threshold", "bounded_persistence", "bounded_connection"]


def test_one_of_each_quick_kind(tmp_path, capsys):
    assert status_of(certify.main, ["--quick", "--kinds", *KINDS, "--out", str(tmp_path / "run")]) == 0
    table = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert sorted(table["kind"]) == sorted(KINDS)
    assert (table["moves"] == 0).all()
    assert (table["certified"] == table["default"]).all()
    assert (table["failure_low"] <= table["failure_high"]).all()
    assert (table["failure_high"] <= table["allowed"]).all()
    assert "6 of 6 default numbers are certified" in capsys.readouterr().out
    words = "whole, finished: certified numbers, 6 rows; its verdicts follow from the rows: 1 HOLDS"
    assert look_at(tmp_path / "run").words == words
    (tmp_path / "run" / "verdicts.json").unlink()
    settle(tmp_path / "run")
    assert look_at(tmp_path / "run").words == "whole, not finished: certified numbers, 6 rows"


def test_a_number_that_has_to_move_fails_the_run(tmp_path, monkeypatch, capsys):
    true = certify.fusion_threshold
    monkeypatch.setattr(certify, "fusion_threshold", lambda **batch: 0.99 * true(**batch))
    arguments = ["--quick", "--kinds", "fusion_threshold", "--out", str(tmp_path / "run")]
    assert status_of(certify.main, arguments) == 1
    row = pd.read_csv(tmp_path / "run" / "rows.csv").iloc[0]
    assert row["moves"] > 0
    assert json.loads((tmp_path / "run" / "verdicts.json").read_text())[0]["status"] == "VIOLATED"
    assert row["default"] < row["certified"] < 1.05 * row["default"]
    assert "0 of 1 default numbers" in capsys.readouterr().out


def test_bad_arguments(tmp_path, monkeypatch, capsys):
    assert status_of(certify.main, ["--kinds", "magic", "--out", str(tmp_path / "a")]) == 2
    assert "kinds: must be one of separation" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "flint", None)
    assert status_of(certify.main, ["--quick", "--out", str(tmp_path / "b")]) == 2
    assert "[rigorous]" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_the_grid_has_every_kind_of_number():
    cases = certify.grid()
    assert len(cases) >= 60
    assert {"separation", "persistence", "depth_threshold", "connectivity_floor", "gaussian_floor"} <= {
        case.kind for case in cases
    }


@pytest.mark.slow
def test_the_whole_grid(tmp_path):
    assert status_of(certify.main, ["--out", str(tmp_path / "run")]) == 0
    table = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert len(table) == len(certify.grid())
    assert (table["moves"] == 0).all()

"""Figures are drawn from what is on disk, and only from that."""

import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from figures.__main__ import main
from figures.catalogue import draw_all
from figures.run_folder import parse_table, read_run_folder
from figures.sweeps import noise_bounds
from synthetic.sweep_noise import main as sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "run"
    sweep(["--ambient-dims", "16", "--batch-sizes", "12", "18", "--geometry.num-clusters", "3",
           "--geometry.subspace-dim", "2", "--trials", "20", "--depth", "3", "--control-trials", "30",
           "--no-figures", "--out", str(out)])  # fmt: skip
    return out


@pytest.fixture
def copy(finished, tmp_path):
    """Without its manifest, so that files can be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("manifest.json")))


def test_what_was_edited_or_added_is_not_drawn(finished, tmp_path, capsys):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    rows = (run / "rows.csv").read_text()
    (run / "rows.csv").write_text(rows.replace(",20,", ",21,", 1))
    assert main([str(run)]) == 2
    assert "rows.csv: is not what the run wrote; it was edited or damaged since" in capsys.readouterr().err
    (run / "rows.csv").write_text(rows)
    shutil.copy(run / "rows.csv", run / "curves.csv")
    assert main([str(run)]) == 2
    assert "curves.csv: is not of the run in" in capsys.readouterr().err
    assert not list(run.glob("*.png"))


def test_names_are_text_and_an_empty_field_alone_is_missing():
    """Numbers stay numbers, with what tables write of them: nothing for NaN, and inf."""
    table = parse_table(
        "name,run,value,cell,noise,ended\nNone,01,NA,1,,True\nNA,1e3,null,2,inf,False\n,x,2,3,-0.1,True\n"
    )
    assert table["name"].tolist()[:2] == ["None", "NA"]
    assert table["run"].tolist() == ["01", "1e3", "x"]
    assert table["value"].tolist() == ["NA", "null", "2"]
    assert table["cell"].tolist() == [1, 2, 3]
    assert table["ended"].dtype == bool
    np.testing.assert_array_equal(table["noise"], [np.nan, np.inf, -0.1])
    assert table.isna().sum().sum() == 2


def test_redrawing_needs_no_torch_and_no_results_change(copy):
    before = {f.name: f.read_bytes() for f in copy.glob("*.csv")}
    assert not list(copy.glob("*.png"))
    program = (
        f"import sys; from figures.__main__ import main; status = main(['{copy}']); assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", program + "; sys.exit(status)"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert {f.stem for f in copy.glob("*.png")} == {"success_against_noise", "layers", "tightness"}
    assert {f.name: f.read_bytes() for f in copy.glob("*.csv")} == before


def test_what_is_drawn_is_what_is_stored(copy):
    run = read_run_folder(copy)
    figure = noise_bounds.draw(run)
    grid = run.tables["rows"].query("control == 'no'")
    rows = grid.query("not mapped and batch_size == 18").sort_values("noise_level")
    ax = figure.axes[0]
    curve = next(line for line in ax.lines if line.get_label() == "n = 18")
    np.testing.assert_array_equal(curve.get_xdata(), rows["noise_level"])
    np.testing.assert_array_equal(curve.get_ydata(), rows["separated_rate"])
    verticals = {line.get_xdata()[0] for line in ax.lines if list(line.get_ydata()) == [0, 1]}
    assert set(grid["separation_ceiling"].unique()) <= verticals
    plt.close(figure)


def test_a_folder_without_positive_ceilings_is_still_drawn(copy):
    table = pd.read_csv(copy / "boundaries.csv")
    table["measured"] = np.nan
    table.to_csv(copy / "boundaries.csv", index=False)
    assert len(draw_all(copy)) == 3


def test_bad_folders(copy, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "config.json: missing" in capsys.readouterr().err
    (copy / "layers.csv").write_bytes((copy / "layers.csv").read_bytes()[:-20])
    assert main([str(copy)]) == 2
    assert "layers.csv: truncated" in capsys.readouterr().err
    (copy / "config.json").write_text("{")
    assert main([str(copy)]) == 2
    assert "config.json: not a whole JSON file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", "{}"), ("config.json", "[1]"), ("rows.csv", "a,b\n1,2\n"), ("rows.csv", "cell\n"),
     ("boundaries.csv", "a,b\n1,2\n")],
)  # fmt: skip
def test_files_with_other_contents(copy, capsys, name, content):
    (copy / name).write_text(content)
    assert main([str(copy)]) == 2
    assert name in capsys.readouterr().err


def test_text_in_the_place_of_numbers(copy, capsys):
    table = pd.read_csv(copy / "rows.csv")
    table.assign(batch_size="many").to_csv(copy / "rows.csv", index=False)
    assert main([str(copy)]) == 2
    assert "success_against_noise cannot be drawn" in capsys.readouterr().err

"""A run folder that was written before models/cifar had rooms: it is evaluated, compared and continued as ever.

old_run/ holds a moco_ft training that was stopped after the first of two epochs (checkpoint.pt), and the tables that
the same version of the trainer wrote when it was not stopped.
"""

import csv
import pickletools
import shutil
import zipfile
from pathlib import Path

import pytest

from models.cifar.__main__ import main
from models.cifar.compare import compare
from models.cifar.data.fingerprint import read_fingerprint
from models.cifar.evaluate import main as evaluate_main
from models.cifar.training.checkpoint import load_checkpoint

OLD = Path(__file__).with_name("old_run")
SETTINGS = ["--method.name", "moco_ft", "--method.queue-size", "16", "--head.kind", "linear", "--head.out-dim", "4",
            "--encoder.width", "1", "--epochs", "2", "--batch-size", "16", "--data.limit", "24",
            "--data.image-size", "8", "--measure-images", "20", "--no-channels-last", "--seed", "3"]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Columns of results.csv that later versions added.
LATER = ["dataset", "data_sha256", "left_out"]


def test_it_goes_on_to_the_epochs_that_it_would_have_had(run, capsys):
    assert load_checkpoint(run / "checkpoint.pt")["epoch"] == 1
    assert main([*SETTINGS, "--no-figures", "--out", str(run), "--resume", "--accept-other-version"]) == 0
    assert "does not say which images it was trained on" in capsys.readouterr().err
    found, expected = table(run / "epochs.csv"), table(OLD / "epochs.csv")
    # What later versions measure besides stands behind, and is empty in the epochs before.
    assert list(found[0]) == [*expected[0], "closer"]
    assert [row["closer"] == "" for row in found] == [True, *[False] * (len(found) - 1)]
    for name in ("loss", "learning_rate", "gradient_norm", "positive_mean", "alignment", "phi_q50"):
        # Rounding of one processor, through twenty steps.
        assert [float(r[name]) for r in found] == pytest.approx([float(r[name]) for r in expected], rel=1e-3), name
    expected = [[*row, *LATER] for row in table(OLD / "results.csv")]
    assert [list(row) for row in table(run / "results.csv")] == expected
    # From here on the images are known.
    assert load_checkpoint(run / "checkpoint.pt")["data"] == read_fingerprint(run)
    assert main([*SETTINGS, "--data.limit", "25", "--no-figures", "--out", str(run), "--resume"]) == 2


def test_another_training_does_not_go_on_in_it(run, capsys):
    assert (
        main([*SETTINGS, "--view.blur", "0.5", "--no-figures", "--out", str(run), "--resume", "--accept-other-version"])
        == 2
    )
    assert f"--resume {run}: the run there has another view.blur" in capsys.readouterr().err


def test_it_is_evaluated_and_compared(run, capsys):
    """Nothing says that the images are those that results.csv is of: results have a file of their own."""
    before = (run / "results.csv").read_bytes()
    assert evaluate_main([str(run / "checkpoint.pt")]) == 0
    assert "does not say which images it was trained on" in capsys.readouterr().err
    assert (run / "results.csv").read_bytes() == before
    (path,) = run.glob("results-digits-*.csv")
    found = table(path)
    assert [(row["features"], row["probe"]) for row in found] == [(f, p) for f in "hz" for p in ("knn", "linear")]
    assert {row["encoder_parameters"] for row in found} == {"367"}
    assert len(compare((OLD, run))) == 2, "nor that two runs have seen the same"
    (row,) = compare((OLD,))
    assert (row["name"], row["seeds"], row["h_linear"]) == ("moco_ft, head linear", 1, 0.2125)


def names_in(path):
    """What its pickle asks for by module and name."""
    with zipfile.ZipFile(path) as archive:
        (pickle,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        return {str(value) for code, value, _ in pickletools.genops(archive.read(pickle)) if code.name == "GLOBAL"}


def test_a_checkpoint_names_no_module_of_ours(run):
    assert main([*SETTINGS, "--no-figures", "--out", str(run), "--resume", "--accept-other-version"]) == 0
    for path in (OLD / "checkpoint.pt", run / "checkpoint.pt"):
        assert {name.split(" ")[0].split(".")[0] for name in names_in(path)} == {"collections", "torch"}, path

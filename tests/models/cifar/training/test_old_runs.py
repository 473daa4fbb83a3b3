"""A run folder that was written before models/cifar had rooms: it is evaluated and compared as ever, and refused
where going on would mix its training images with others.

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
from models.cifar.methods.settings import method_of
from models.cifar.training.checkpoint import load_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import config_from
from theory.numerics.whole_files import to_plain

OLD = Path(__file__).with_name("old_run")
SETTINGS = ["--method.name", "moco_ft", "--method.queue-size", "16", "--head.kind", "linear", "--head.out-dim", "4",
            "--encoder.width", "1", "--epochs", "2", "--batch-size", "16", "--data.limit", "24",
            "--data.image-size", "8", "--measure-images", "20", "--no-channels-last", "--seed", "3",
            # What digits were trained with when they had no settings of their own (recipes.py).
            "--view.min-area", "0.2", "--view.flip", "--view.rotation", "0", "--view.color-jitter", "0.5",
            "--view.grayscale", "0.2", "--view.mean", "0.4914", "0.4822", "0.4465", "--view.std", "0.247", "0.2435",
            "0.2616", "--optimiser.learning-rate", "0.001", "--measure-every", "1",
            "--encoder.pool-size", "None"]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Columns of results.csv that later versions added.
LATER = ["dataset", "data_sha256", "left_out", "monitor_accuracy", "h_alone", "this_alone", "epoch"]


def test_it_does_not_go_on_with_other_images_held_out(run, tmp_path, capsys):
    """It was split by place, and images are split by content now; a new run may start from its weights."""
    before = (run / "checkpoint.pt").read_bytes()
    assert load_checkpoint(run / "checkpoint.pt")["epoch"] == 1
    assert main([*SETTINGS, "--no-figures", "--out", str(run), "--resume", "--accept-other-version"]) == 2
    assert "held out other images for validation; --init" in capsys.readouterr().err
    assert (run / "checkpoint.pt").read_bytes() == before
    out = tmp_path / "new"
    assert main([*SETTINGS, "--no-figures", "--out", str(out), "--init", str(run / "checkpoint.pt")]) == 0
    # Tables have the old columns in their order, and those of later versions.
    old, new = (list(table(folder / "epochs.csv")[0]) for folder in (OLD, out))
    assert [name for name in new if name in old] == old
    assert {*new} - {*old} == {"gradient_fluctuation", "view_height", "closer"}
    found = table(out / "results.csv")
    assert {tuple(row) for row in found} == {(*row, *LATER) for row in table(OLD / "results.csv")}
    assert [row["features"] for row in found[:4]] == [row["features"] for row in table(OLD / "results.csv")]
    assert load_checkpoint(out / "checkpoint.pt")["data"] == read_fingerprint(out)


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
    assert [(row["features"], row["probe"]) for row in found] == [
        (features, probe) for features in ("h", "z", "pixels", "untrained") for probe in ("knn", "linear")
    ]
    assert {row["encoder_parameters"] for row in found} == {"367"}
    assert len(compare((OLD, run))) == 2, "nor that two runs have seen the same"
    (row,) = compare((OLD,))
    assert (row["name"], row["seeds"], row["h_linear"]) == ("moco_ft, head linear", 1, 0.2125)


def names_in(path):
    """What its pickle asks for by module and name."""
    with zipfile.ZipFile(path) as archive:
        (pickle,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        return {str(value) for code, value, _ in pickletools.genops(archive.read(pickle)) if code.name == "GLOBAL"}


def test_a_checkpoint_names_no_module_of_ours(run, tmp_path):
    out = tmp_path / "new"
    assert main([*SETTINGS, "--no-figures", "--out", str(out), "--init", str(run / "checkpoint.pt")]) == 0
    for path in (OLD / "checkpoint.pt", out / "checkpoint.pt"):
        assert {name.split(" ")[0].split(".")[0] for name in names_in(path)} == {"collections", "torch"}, path


def test_a_setting_that_has_another_name_now_is_read():
    """moco_ft had dimension_wise, yes or no, before it had one weight a step too."""
    stored = to_plain(TrainConfig(method=method_of("moco_ft", weights="row")))

    def read(**settings):
        method = {name: value for name, value in stored["method"].items() if name != "weights"}
        return config_from(TrainConfig, {**stored, "method": {**method, **settings}}, "here").method

    for before, now in ((True, "coordinate"), (False, "row")):
        assert read(dimension_wise=before) == method_of("moco_ft", weights=now)
    assert read() == method_of("moco_ft")
    with pytest.raises(ValueError, match=r"^here: method\.dimension_wise: is method\.weights, which is given too"):
        read(dimension_wise=True, weights="row")
    for wrong in (1, "true", None, ["row"]):
        with pytest.raises(ValueError, match=r"^here: method\.dimension_wise: cannot be"):
            read(dimension_wise=wrong)
    with pytest.raises(ValueError, match="moco has unknown dimension_wise"):
        config_from(TrainConfig, {**stored, "method": {"name": "moco", "dimension_wise": True}})

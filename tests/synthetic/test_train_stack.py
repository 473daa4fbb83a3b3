"""The training command: runs, figures, resumption, refusals, and a verdict that notices."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from synthetic import train_stack
from synthetic.runs.backends import BackendOptions
from synthetic.train_stack import main
from synthetic.training.report import breakdown, breakdown_rows, mean_and_spread, print_breakdown, usable_rates
from synthetic.training.training import Optimisation, train
from tests.command_lines import status_of
from theory.judging.verdicts import Status, Verdict
from theory.numerics.manifest import adopt

SMALL = ["--geometry.num-clusters", "3", "--geometry.subspace-dim", "2", "--ambient-dim", "12", "--optimisation.steps",
         "6", "--optimisation.evaluations", "1", "--optimisation.evaluation-batches", "4", "--head.width", "8",
         "--head.out-dim", "8", "--head.depth", "2", "--seeds", "1", "--backend", "serial"]  # fmt: skip
DEFAULT = [*SMALL, "--noise-levels", "0.3", "0.6", "--batch-sizes", "12", "18"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "run"
    assert main([*DEFAULT, "--out", str(out)]) == 0
    return out


def test_a_run_writes_everything(finished):
    rows, ideal = pd.read_csv(finished / "trainings.csv"), pd.read_csv(finished / "ideal.csv")
    assert len(rows) == 2 * 2 + 2, "TransFusion at both batch sizes, Deep Fusion at the largest"
    assert len(ideal) == 4
    assert set(rows["arm"]) == {"TransFusion", "Deep Fusion"}
    history = pd.read_csv(finished / "history.csv")
    assert (history.groupby("cell").size() == rows.set_index("cell")["history_rows"]).all()
    assert (rows["theorem_4_status"] == "HOLDS").all()
    pictures = {path.stem for path in finished.glob("*.png")}
    assert pictures == {
        "training_breakdown",
        "training_blocks",
        "affinity_maps_transfusion",
        "affinity_maps_deepfusion",
    }


def test_an_interrupted_run_is_continued(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "run")
    before = pd.read_csv(copy / "trainings.csv")
    lines = (copy / "trainings.csv").read_text().splitlines(keepends=True)
    (copy / "trainings.csv").write_text("".join(lines[:4]))
    # A training whose history is cut short is run again as well.
    history = pd.read_csv(copy / "history.csv")
    history.drop(history.index[history["cell"] == 1][-1]).to_csv(copy / "history.csv", index=False)
    adopt(copy)
    assert main([*DEFAULT, "--out", str(copy), "--resume", "--no-figures"]) == 0
    assert "6 trainings, 2 already there" in capsys.readouterr().out
    after = pd.read_csv(copy / "trainings.csv")
    clocks = ["seconds", "step_ms"]
    pd.testing.assert_frame_equal(after.drop(columns=clocks), before.drop(columns=clocks))
    assert status_of(main, [*DEFAULT, "--delta", ".1", "--out", str(copy), "--resume"]) == 2
    assert "delta" in capsys.readouterr().err


def test_a_false_certificate_is_noticed(tmp_path):
    def liar(task, device):
        result = train(task, device)
        return replace(result, verdict=Verdict("Theorem 4", Status.VIOLATED, 0.5, 0.4, -0.1, -0.2, 1, 1, 0))

    options = train_stack.TrainStack(
        out=tmp_path / "run", figures=False, backend="serial", noise_levels=(0.5,), batch_sizes=(24,), ambient_dim=18,
        seeds=1, optimisation=Optimisation(steps=2, evaluations=1, evaluation_batches=2),
    )  # fmt: skip
    assert train_stack.run(options, liar) == 1


@pytest.mark.parametrize(("device", "kind"), [("cpu", "loky"), ("meta", "serial")])
def test_the_backend_follows_from_the_device(device, kind):
    assert train_stack.TrainStack().backend_on(torch.device(device)) == BackendOptions(kind, threads=1)
    assert train_stack.TrainStack(backend="serial").backend_on(torch.device(device)).backend == "serial"


def test_jobs_go_with_the_backend_that_is_taken_by_default():
    assert train_stack.TrainStack(jobs=2).backend_on(torch.device("cpu")).processes == 2


def test_settings_that_lack_a_default_make_no_tasks():
    with pytest.raises(ValueError, match="must be given"):
        train_stack.build_tasks(train_stack.TrainSettings(seeds=1, batch_sizes=(24,)))


def test_quick_is_what_the_command_line_says():
    quick = train_stack.complete(train_stack.TrainSettings(**train_stack.QUICK), True)
    assert (quick.optimisation.steps, len(quick.batch_sizes), len(quick.noise_levels), quick.seeds) == (100, 1, 2, 1)
    defaults = {name: train_stack.complete(train_stack.TrainSettings(ablation=name), False).seeds
                for name in ("none", "loss")}  # fmt: skip
    assert defaults == {"none": 2, "loss": 3}
    given = train_stack.complete(train_stack.TrainSettings(ablation="loss", seeds=1, batch_sizes=(24, 48)), True)
    assert (given.seeds, given.batch_sizes) == (1, (24, 48)), "what is given stays"


SLOW_ABLATIONS = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("loss", "learning_rate", "attention", "supervision")
]


@pytest.mark.parametrize("ablation", ["depth", *SLOW_ABLATIONS])
def test_ablations_run_and_are_drawn(ablation, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("synthetic.training.ablations.LEARNING_RATES", (1e-3, 1e-2))
    monkeypatch.setattr("synthetic.training.ablations.DEPTHS", (1, 2))
    out = tmp_path / "run"
    arguments = [*SMALL, "--seeds", "3", "--optimisation.steps", "2", "--noise-levels", "0.5", "--batch-sizes", "12"]
    assert main([*arguments, "--ablation", ablation, "--out", str(out)]) == 0
    rows = pd.read_csv(out / "trainings.csv")
    assert (rows.groupby(["arm", "learning_rate", "depth"]).size() == 3).all(), "three seeds of everything"
    assert (out / "ablation.png").exists()
    text = capsys.readouterr().out
    assert all(arm in text for arm in rows["arm"])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--seeds", "0"], "seeds"),
        (["--noise-levels", "-1"], "noise_levels"),
        (["--noise-levels", "0.1", "0.1"], "noise_levels"),
        (["--batch-sizes", "1"], "batch_sizes"),
        (["--delta", "1"], "delta"),
        (["--ambient-dim", "4"], "ambient_dim"),
        (["--head.depth", "0"], "depth"),
        (["--head.num-heads", "3"], "num_heads"),
        (["--objective.intermediate", "-1"], "intermediate"),
        (["--optimisation.steps", "0"], "steps"),
        (["--optimisation.learning-rate", "0"], "learning_rate"),
        (["--optimisation.evaluation-batches", "0"], "evaluation_batches"),
        (["--geometry.clusters", "uniform"], "noise_levels"),
        (["--device", "cuda:77"], "device"),
        (["--supervision", "views", "--batch-sizes", "31"], "batch_sizes"),
        (["--resume"], "--out"),
    ],
)
def test_bad_arguments_are_named(arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status_of(main, arguments) == 2
    assert name in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_breakdown_and_usable_rates_by_hand():
    assert breakdown(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.96, 0.9])) == pytest.approx(2.0 + 0.01 / 0.06)
    mean, spread = mean_and_spread([1.0, 3.0, float("nan")])
    assert (mean, spread) == (2.0, pytest.approx(2.0**0.5))
    rows = [{"learning_rate": rate, "x": x} for rate, x in ((1e-3, 0.8), (1e-2, 0.9), (1e-1, float("nan")))]
    assert usable_rates(rows, "x") == "best 0.900 at 0.01; 1 of 3: 0.01 to 0.01"
    assert usable_rates(rows, "x", 0.2).endswith("2 of 3: 0.001 to 0.01")


@pytest.mark.parametrize("where", [0, 5, None])
def test_an_arm_of_which_a_seed_diverged_has_no_breakdown(capsys, where):
    """Its survivors may last longer than the arm, and a 0 at the first level moves the crossing below all levels."""
    levels, curve = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0), (1.0, 1.0, 1.0, 1.0, 0.9, 0.4)
    ideal = [{"batch_size": 24, "noise_level": level, "input_sharpness": 0.9, "identity_sharpness": 1.0,
              "mapped_sharpness": math.nan, "identity_ceiling": 0.7, "mapped_ceiling": math.nan}
             for level in levels]  # fmt: skip
    rest = dict.fromkeys(("certified", "separated_rate", "neighbour_accuracy", "attention_first", "attention_last",
                          "blocks", "blocks_sharpened", "blocks_dulled"), 1.0)  # fmt: skip
    rows = [{**rest, "arm": arm, "batch_size": 24, "noise_level": level, "diverged": diverged,
             "sharpness": math.nan if diverged else sharpness}
            for arm in "ab" for i, (level, sharpness) in enumerate(zip(levels, curve)) for seed in range(3)
            for diverged in [(arm, i, seed) == ("a", where, 0)]]  # fmt: skip
    found = {row["name"]: row["noise_level"] for row in breakdown_rows(rows, ideal)}
    known = pytest.approx(2.0 + 0.5 * (1.0 - 0.95) / (1.0 - 0.9))
    assert found == {"input": -math.inf, "identity": math.inf, "b": known, "identity, proved": 0.7,
                     "a": known if where is None else pytest.approx(math.nan, nan_ok=True),
                     "mapped, proved": pytest.approx(math.nan, nan_ok=True)}  # fmt: skip
    print_breakdown(rows, ideal)
    out = capsys.readouterr().out
    assert out.count("1 of 3 diverged") == (where is not None)
    told = "2.250" if where is None else "unknown (1 diverged)"
    assert f"n = 24: input below; identity beyond; a {told}; b 2.250; identity, proved 0.700; mapped, proved -" in out

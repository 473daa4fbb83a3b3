"""The smaller commands: adversary, tightness, benchmark."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from synthetic import adversary, benchmark, sweep_noise, tightness, train_stack
from synthetic.integrity.folders import look_at
from synthetic.measure.boundaries import crossing_with_interval, falling_crossing
from synthetic.slack import depth, fusion, separation, soft
from synthetic.trials.registry import trial_of
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.measurements import pair_extremes


def test_adversary_command(tmp_path, capsys, monkeypatch):
    """The command line; tests/test_negative_controls.py attacks every claim."""
    few = (trial_of("theorem_4"), trial_of("theorem_2b_extremes"))
    monkeypatch.setattr(adversary, "trials", lambda: few)
    arguments = ["--random-batches", "1000", "--restarts", "8", "--steps", "60", "--out", str(tmp_path / "run")]
    assert adversary.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("stood") == printed.count("fell") == 1
    assert "Negative controls: 3 of 3 damaged parts found out" in printed
    assert len(json.loads((tmp_path / "run" / "verdicts.json").read_text())) == 1 + 1 + 2
    table = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert set(table["trial"]) == {"theorem_4", "theorem_2b_extremes"}
    assert table.groupby("trial")["applicable"].sum().tolist() >= [100, 1000]
    attacks = pd.read_csv(tmp_path / "run" / "attacks.csv")
    assert attacks["true"].tolist() == [True, False]
    assert (tmp_path / "run" / "trials.png").exists()
    assert adversary.main(["--restarts", "0"]) == 2
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    assert adversary.main(["--out", str(tmp_path / "package.json")]) == 2
    assert "package.json: exists and holds no verdicts" in capsys.readouterr().err
    assert adversary.main(["--random-batches", "-1"]) == 2
    monkeypatch.setattr(adversary, "trials", lambda: (trial_of("theorem_2a"),))
    assert adversary.main(["--random-batches", "0", "--restarts", "1", "--steps", "1"]) == 1, "too weak: says so"


def test_the_adversary_fails_if_a_damage_goes_unnoticed(monkeypatch, capsys):
    trial = trial_of("theorem_4")
    monkeypatch.setattr(adversary, "trials", lambda: (replace(trial, damaged={"Nothing": trial.subject}),))
    assert adversary.main(["--random-batches", "500", "--restarts", "8", "--steps", "60"]) == 1
    assert "0 of 1 damaged parts found out; not theorem_4: Nothing" in capsys.readouterr().out


def test_tightness_command(tmp_path, capsys):
    arguments = ["--ambient-dims", "16", "--num-clusters", "2", "--cluster-sizes", "3", "--within-cos", "1", "0.8",
                 "--trials", "400", "--out", str(tmp_path / "t")]  # fmt: skip
    assert tightness.main(arguments) == 0
    table = pd.read_csv(tmp_path / "t" / "tightness.csv")
    assert ((table["tightness"] > 1.0) & (table["tightness"] < 1.5)).all()
    assert (tmp_path / "t" / "tightness_grid.png").exists()
    assert look_at(tmp_path / "t").words.endswith("its verdicts follow from the rows: 1 HOLDS")
    assert "tightness" in capsys.readouterr().out
    assert tightness.main(["--trials", "3"]) == 2
    assert tightness.main(["--within-cos", "0"]) == 2
    assert tightness.main(["--ambient-dims", "4", "--num-clusters", "8"]) == 2


@pytest.mark.parametrize(
    ("arguments", "statement"),
    [(["depth", "--cluster-sizes", "3", "--depths", "2", "--angles-deg", "90"], "Theorem 2e"),
     pytest.param(["fusion", "--cluster-sizes", "12", "--depths", "2", "--within-cos", "1", "--mixings", "1"],
                  "Theorem 2f", marks=pytest.mark.slow),
     (["soft", "--subspace-dims", "2", "--noise-levels", "0.2", "--affinities", "signed"], "Theorem 2g")],
)  # fmt: skip
def test_tightness_of_the_other_numbers(tmp_path, capsys, monkeypatch, arguments, statement):
    kind, *rest = arguments
    shared = ["--bound", kind, "--ambient-dims", "24", "--num-clusters", "2", "--trials", "200", *rest]
    assert tightness.main([*shared, "--out", str(tmp_path / "t")]) == 0
    assert statement in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "t" / "slack.csv")
    assert (rows["number"] > 0.0).all()
    assert ((rows["ratio"] < 1.0) == (kind == "depth")).all()
    if kind == "fusion":
        np.testing.assert_allclose(rows["gain"], rows["number"] / rows["separation"], rtol=1e-9)
        assert (rows["lost_later"] <= rows["failure_rate"]).all()
        assert (rows["certified_at_1.3"] > 0.5).all()
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    assert (config["bound"], config["num_clusters"], config["trials"]) == (kind, [2], 200)
    assert (tmp_path / "t" / "slack.png").exists()
    assert json.loads((tmp_path / "t" / "verdicts.json").read_text())[0]["statement"] == statement
    # A number that says too much: a lower threshold, more noise, fewer points.
    name, module, factor = {"depth": ("depth_threshold", depth, 0.7), "fusion": ("gaussian_fusion", fusion, 1.9),
                            "soft": ("soft_floor", soft, 0.4)}[kind]  # fmt: skip
    wrong = factor * float(rows["number"][0])
    monkeypatch.setattr(module, name, lambda *law, **rest: int(wrong) if kind == "soft" else wrong)
    assert tightness.main(shared) == 1
    assert "VIOLATED" in capsys.readouterr().out


def test_tightness_refuses_before_it_measures(capsys):
    for arguments, message in (
        (["depth", "--angles-deg", "0"], "angles_deg"), (["depth", "--noise-levels", "-1"], "noise_levels"),
        (["depth", "--depths", "-1"], "depth"), (["depth", "--subspace-dims", "40"], "ambient_dim"),
        (["fusion", "--mixings", "0"], "mixing"), (["fusion", "--depths", "0"], "depths"),
        (["soft", "--noise-levels", "0"], "noise_levels"), (["soft", "--subspace-dims", "1"], "subspace_dim"),
        (["soft", "--mixings", "1"], "mixings"),
    ):  # fmt: skip
        assert tightness.main(["--bound", *arguments]) == 2
        assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("factor", [1.3, 2.0])
def test_tightness_notices_a_bound_that_is_too_strong(tmp_path, monkeypatch, capsys, factor):
    true_bound = separation.gaussian_separation
    monkeypatch.setattr(separation, "gaussian_separation", lambda *law: factor * true_bound(*law))
    arguments = ["--ambient-dims", "16", "--num-clusters", "2", "--cluster-sizes", "3", "--within-cos", "1"]
    assert tightness.main([*arguments, "--trials", "400", "--out", str(tmp_path / "t")]) == 1
    assert look_at(tmp_path / "t").words.endswith("its verdicts follow from the rows: 1 VIOLATED")
    assert "nan" not in capsys.readouterr().out


def test_counts_along_the_noise_are_those_of_the_batches():
    rng = np.random.default_rng(0)
    labels = contiguous_labels((4, 3))
    clean = np.eye(6)[labels] + np.zeros((30, 7, 6))
    noise = rng.standard_normal((30, 7, 6)) / np.sqrt(6)
    levels = np.array([0.2, 0.6, 1.2])
    counts = separation.separated_counts(clean, noise, levels, cluster_layout(labels))
    for level, count in zip(levels, counts):
        alpha, beta = pair_extremes(clean + level * noise, labels)
        assert count == (alpha > beta).sum()


def test_crossings():
    levels = np.array([1.0, 2.0, 3.0, 4.0])
    assert falling_crossing(levels, np.array([1.0, 0.9, 0.1, 0.0]), 0.5) == pytest.approx(2.5)
    assert falling_crossing(levels, np.array([1.0, 1.0, 1.0, 1.0]), 0.5) == np.inf
    assert falling_crossing(levels, np.array([0.1, 0.0, 0.0, 0.0]), 0.5) == -np.inf
    middle, low, high = crossing_with_interval(levels, [200, 190, 20, 0], 200, 0.5)
    assert low < middle < high


def test_benchmark_command(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "SHAPES", ((4, 16, 32),))
    assert benchmark.main(["--rounds", "1", "--depth", "2"]) == 0
    assert "MiB" in capsys.readouterr().out
    assert benchmark.main(["--rounds", "0"]) == 2


@pytest.mark.parametrize(
    ("room", "words"), [(sweep_noise, []), (sweep_noise, ["--replay", "counterexample.npz"]), (train_stack, [])]
)
def test_a_device_without_float64_is_refused_by_name(room, words, tmp_path, monkeypatch, capsys):
    """Before anything is drawn or written, and not offered; a device that this machine need not have."""
    monkeypatch.setattr(room, "resolve_device", torch.device)
    monkeypatch.chdir(tmp_path)
    assert room.main([*words, "--device", "mps"]) == 2
    assert "device: must be cpu or cuda, measurements need float64, got mps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert room.main(["--help"]) == 0
    assert "mps" not in capsys.readouterr().out

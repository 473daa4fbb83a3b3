"""The command, end to end: rows, verdicts, exit statuses, interrupts, resumption, counterexamples."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.stack import AttentionStack
from synthetic.sweep_noise import SweepNoise, main, run
from synthetic.sweeps.noise_grid import Ceilings, SweepSettings, build_cells
from synthetic.trials.damaged import OneFalseEdge
from synthetic.trials.files import Counterexample
from synthetic.trials.registry import trial_of
from tests.command_lines import disk_that_fills, status_of
from theory import noise_ceiling, persistence
from theory.judging.verdicts import Status
from theory.numerics import whole_files

ROOT = Path(__file__).parents[2]
SMALL = ["--ambient-dims", "16", "--batch-sizes", "12", "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2",
         "--trials", "20", "--depth", "3", "--no-controls"]  # fmt: skip


def sweep(*arguments):
    return subprocess.run([sys.executable, "-m", "synthetic.sweep_noise", *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=900)  # fmt: skip


@pytest.mark.parametrize("noise", ["gaussian", "bounded", "sphere", "worst"])
def test_a_small_sweep_of_every_noise(tmp_path, capsys, noise):
    drawn = noise == "gaussian"
    arguments = ["--trials", "60", "--noise", noise, *([] if drawn else ["--no-figures"])]
    assert main([*SMALL, *arguments, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    for name in ("Theorem 1: HOLDS", "Theorem 2a: HOLDS", "Theorem 2b: HOLDS"):
        assert name in printed
    rows = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert rows["cell"].tolist() == list(range(len(rows)))
    assert (rows[["separated", "admits_threshold", "recovered"]] <= 60).all(axis=None)
    noisy = rows[~rows["mapped"]]
    # Whoever satisfies 2a's hypotheses is separated, and whatever is guaranteed by 2b happened.
    assert (noisy["admits_threshold"] <= noisy["separated"]).all()
    if noise != "gaussian":
        assert (noisy[noisy["noise_level"] < noisy["separation_ceiling"]]["separated"] == 60).all()
    if noise == "worst":
        assert (noisy[noisy["noise_level"] > 1.001 * noisy["separation_ceiling"]]["separated"] == 0).all()
    layers = pd.read_csv(tmp_path / "run" / "layers.csv")
    assert len(layers) == 4 * len(rows)
    covered = layers.dropna(subset="beta_cap")
    assert (covered["beta_max"] <= covered["beta_cap"] + 1e-12).all()
    rated = layers.dropna(subset="alpha_rate_bound")
    assert len(rated)
    assert (rated["alpha_min"] >= rated["alpha_rate_bound"] - 1e-12).all()
    verdicts = json.loads((tmp_path / "run" / "verdicts.json").read_text())
    assert [v["status"] for v in verdicts] == ["HOLDS"] * 4
    for name in ("success_against_noise", "layers", "tightness") if drawn else ():
        assert (tmp_path / "run" / f"{name}.png").stat().st_size > 5_000
        assert (tmp_path / "run" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert not list((tmp_path / "run").glob("counterexample*"))


@pytest.mark.slow
def test_same_seed_same_rows(tmp_path):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        main([*SMALL, "--seed", seed, "--no-figures", "--out", str(tmp_path / name)])
    a, b, c = ((tmp_path / name / "rows.csv").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.slow
def test_geometries(tmp_path):
    """Unequal sizes, oblique subspaces, equiangular and uniform clusters: no guarantee is broken, none is invented."""
    for i, extra in enumerate((
        ["--geometry.imbalance", "3"],
        ["--geometry.arrangement", "angle", "--geometry.principal-angle", "1.2"],
        ["--geometry.arrangement", "random"],
        ["--geometry.clusters", "equiangular", "--geometry.between-cos", "0.1"],
        ["--geometry.clusters", "uniform"],
        ["--threshold", "0.3", "--mixing", "0.9"],
    )):  # fmt: skip
        out = tmp_path / str(i)
        assert main([*SMALL, *extra, "--no-figures", "--out", str(out)]) == 0, extra
        rows = pd.read_csv(out / "rows.csv")
        if "uniform" in extra:
            assert not rows["separation_guaranteed"].any()
        if "3" in extra:
            assert rows["max_cluster_size"].iloc[0] > rows["min_cluster_size"].iloc[0]


@pytest.mark.slow
def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path):
    arguments = [*SMALL, "--trials", "60", "--no-figures"]
    main([*arguments, "--out", str(tmp_path / "whole")])
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "synthetic.sweep_noise", *arguments, "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (out / "rows.csv").exists() or len((out / "rows.csv").read_text().splitlines()) < 4:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len((out / "rows.csv").read_text().splitlines()) - 1
    total = len(pd.read_csv(tmp_path / "whole" / "rows.csv"))
    assert 3 <= finished < total
    stamp = (out / "rows.csv").read_text()
    assert main([*arguments, "--out", str(out), "--resume"]) == 0
    assert (out / "rows.csv").read_text().startswith(stamp)
    for name in ("rows.csv", "layers.csv", "boundaries.csv", "verdicts.json", "config.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert main([*arguments, "--out", str(out), "--resume"]) == 0, "resuming a finished run only reports"


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("synthetic.sweeps.noise_cells.measure_cell", interrupted)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 130
    assert "--resume" in capsys.readouterr().err


def options(out, **changes):
    from synthetic.batches.geometry import Geometry

    settings = {"ambient_dims": (16,), "batch_sizes": (12,), "geometry": Geometry(num_clusters=3, subspace_dim=2),
                "trials": 20, "depth": 3, "figures": False, "controls": False, **changes}  # fmt: skip
    return SweepNoise(out=out, **settings)


def test_a_violation_fails_the_run_and_can_be_replayed(tmp_path, monkeypatch, capsys):
    damaged = type("Damaged", (AttentionStack,), {"block_type": OneFalseEdge})
    # The audit, which sends a batch of every cell through layers of its own, notices too.
    assert run(options(tmp_path / "run"), damaged) == 6
    assert {v["status"] for v in json.loads((tmp_path / "run" / "verdicts.json").read_text())[:2]} == {"VIOLATED"}
    files = sorted((tmp_path / "run").glob("counterexample-*.npz"))
    assert any("theorem_2a" in f.name for f in files)
    assert any("theorem_1" in f.name for f in files)
    assert "--replay" in capsys.readouterr().out
    for file in files:
        assert main(["--replay", str(file)]) == 0, "the sound stack does not reproduce it"
        example = Counterexample.load(file)
        assert replace(example, trial=replace(example.trial, subject=damaged)).replay().status is Status.VIOLATED


def test_a_bound_that_does_not_hold_is_a_violation(tmp_path, monkeypatch):
    """The run is sound, so that the audit of its rows passes; the theorem is what is wrong."""
    monkeypatch.setattr("synthetic.sweep_noise.audit_plan", lambda *plan: [])
    monkeypatch.setattr(persistence, "cross_cap", lambda alpha, beta, sizes: 0.9 * np.maximum(beta, 0.0))
    assert run(options(tmp_path / "run", noise_levels=(0.2,), threshold=0.5)) == 1
    assert json.loads((tmp_path / "run" / "audit.json").read_text())["complaints"] == []
    assert list((tmp_path / "run").glob("counterexample-theorem_2a*.npz"))


def test_a_gaussian_ceiling_that_is_too_strong_is_caught(tmp_path, monkeypatch):
    """Tight clusters in a high dimension leave the union bound little slack: 20 % more noise breaks it."""
    true_ceiling = noise_ceiling.gaussian_separation
    monkeypatch.setattr("synthetic.sweeps.noise_grid.gaussian_separation", lambda *law: 1.2 * true_ceiling(*law))
    from synthetic.batches.geometry import Geometry

    level = 1.19 * true_ceiling(64, 8, 8, 1.0, 0.0, 0.05)
    geometry = Geometry(num_clusters=8, subspace_dim=1, within_cos=1.0)
    tight = options(tmp_path / "run", ambient_dims=(64,), batch_sizes=(64,), trials=200, depth=1, geometry=geometry,
                    noise_levels=(level,))  # fmt: skip
    assert run(replace(tight, out=tmp_path / "not-run")) == 6, "the audit knows that theory promises less"
    # The batches know it as well.
    monkeypatch.setattr("synthetic.sweep_noise.audit_plan", lambda *plan: [])
    assert run(tight) == 1
    assert json.loads((tmp_path / "run" / "verdicts.json").read_text())[-1]["status"] == "VIOLATED"
    (file,) = (tmp_path / "run").glob("counterexample-theorem_2b_separation*.npz")
    assert main(["--replay", str(file)]) == 1


@pytest.mark.slow
def test_a_gaussian_ceiling_five_percent_too_strong_is_caught(tmp_path, monkeypatch):
    """At D = 1024, K = 8, m = 32 the bound is 4.6 % from the truth; 5,000 batches tell the difference."""
    true_ceiling = noise_ceiling.gaussian_separation(1024, 8, 32, 1.0, 0.0, 0.05)
    monkeypatch.setattr("synthetic.sweeps.noise_grid.gaussian_separation", lambda *law: 1.05 * true_ceiling)
    monkeypatch.setattr("synthetic.sweep_noise.audit_plan", lambda *plan: [])
    from synthetic.batches.geometry import Geometry

    tight = options(tmp_path / "run", ambient_dims=(1024,), batch_sizes=(256,), trials=5000, depth=1,
                    geometry=Geometry(num_clusters=8, subspace_dim=1, within_cos=1.0),
                    noise_levels=(1.05 * true_ceiling,))  # fmt: skip
    run(tight)
    row = pd.read_csv(tmp_path / "run" / "rows.csv").iloc[-1]
    assert row["separated_low"] < 0.95, "the measured failure rate must not fit below delta"


def test_the_full_disk_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    true_write = whole_files.write_part
    monkeypatch.setattr(whole_files, "write_part", disk_that_fills(true_write))
    assert main([*SMALL, "--no-figures", "--out", str(tmp_path / "run")]) == 3
    assert "No space left" in capsys.readouterr().err
    monkeypatch.setattr(whole_files, "write_part", true_write)
    assert 1 <= len(pd.read_csv(tmp_path / "run" / "rows.csv")) < 5
    assert main([*SMALL, "--no-figures", "--out", str(tmp_path / "run"), "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--geometry.num-clusters", "1"], "num_clusters"),
        (["--batch-sizes", "9"], "batch_sizes: 9 points leave a cluster of 1"),
        (["--geometry.num-clusters", "20", "--batch-sizes", "60"], "ambient_dim: 20 independent subspaces"),
        (["--geometry.arrangement", "random", "--geometry.subspace-dim", "9"], "independent subspaces"),
        (["--threshold", "1"], r"threshold: must lie in [0, 1)"),
        (["--threshold", "nan"], "threshold"),
        (["--mixing", "0"], r"mixing: must lie in (0, 1]"),
        (["--mixing", "1.5"], "mixing"),
        (["--noise", "worst", "--noise-levels", "0.5", "1.0"], "noise_levels"),
        (["--noise-levels", "-0.5"], "noise_levels"),
        (["--noise-levels", "inf"], "noise_levels"),
        (["--noise-levels", "1e-9"], "noise_levels: must lie in [1e-06, 1e+06]"),
        (["--geometry.between-cos", "0.5"], "between_cos: goes with"),
        (["--trials", "-3"], "trials"),
        (["--trials", "0"], "trials"),
        (["--depth", "0"], "depth"),
        (["--delta", "1"], "delta"),
        (["--seed", "-1"], "seed"),
        (["--ambient-dims", "16", "16"], "ambient_dims"),
        (["--geometry.within-cos", "1.5"], "within_cos"),
        (["--geometry.arrangement", "angle"], "principal_angle"),
        (["--geometry.clusters", "equiangular", "--geometry.between-cos", "0.95"], "between"),
        (["--device", "cuda:99"], "device: must be one of cpu"),
        (["--resume"], "--out"),
        (["--out", "/proc/nowhere/run"], "--out /proc/nowhere/run: cannot be used"),
        (["--out", ""], "--out: is given an empty value"),
        (["--replay", "/no/such.npz"], "no such file"),
    ],
)
def test_bad_arguments_exit_with_2_before_any_work(tmp_path, monkeypatch, capsys, arguments, names):
    monkeypatch.chdir(tmp_path)
    status = status_of(main, ["--quick", *arguments])
    captured = capsys.readouterr()
    assert status == 2, captured
    assert names in captured.err
    assert not os.listdir(tmp_path), "nothing may be left behind"


def test_help_names_every_option():
    result = sweep("--help")
    assert result.returncode == 0
    for option in ("--noise", "--device", "--seed", "--out", "--resume", "--quick", "--adversary", "--replay",
                   "--geometry.within-cos", "--batch-sizes", "Exit status"):  # fmt: skip
        assert option in result.stdout


def test_unknown_options_exit_with_2(capsys):
    assert status_of(main, ["--volume", "11"]) == 2
    assert "--volume" in capsys.readouterr().err


def test_a_truncated_rows_file_is_refused(tmp_path, capsys):
    out = tmp_path / "run"
    main([*SMALL, "--no-figures", "--out", str(out)])
    content = (out / "rows.csv").read_text()
    (out / "rows.csv").write_text(content[:-7])
    assert main([*SMALL, "--no-figures", "--out", str(out), "--resume"]) == 2
    assert "rows.csv: edited or damaged since the run wrote it; put back a copy" in capsys.readouterr().err
    # The remedies that the message names work.
    (out / "rows.csv").write_text(content)
    for name in ("layers.csv", "boundaries.csv"):
        kept = (out / name).read_text()
        (out / name).unlink()
        assert main([*SMALL, "--no-figures", "--out", str(out), "--resume"]) == 0
        assert (out / name).read_text() == kept
    assert (out / "rows.csv").read_text() == content


def array_file():
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY", array_file(), b"a,b\n1,2\n"])
def test_damaged_counterexamples_are_refused(tmp_path, capsys, content):
    (tmp_path / "c.npz").write_bytes(content)
    assert main(["--replay", str(tmp_path / "c.npz")]) == 2
    error = capsys.readouterr().err
    assert "not a counterexample file" in error
    assert "pickle" not in error


def test_counterexamples_are_never_unpickled(tmp_path, capsys):
    np.savez(tmp_path / "c.npz", points=np.array([{"a": 1}], dtype=object))
    assert main(["--replay", str(tmp_path / "c.npz")]) == 2
    assert "not a counterexample file" in capsys.readouterr().err


def test_counterexamples_read_back(tmp_path):
    values = {"points": np.eye(4), "labels": np.array([0, 0, 1, 1]), "threshold": 0.3, "mixing": 0.5, "depth": 2,
              "unit_inputs": True}  # fmt: skip
    Counterexample(trial_of("theorem_2a"), values, {"seed": 1, "cell": 2, "trial": 3}).save(tmp_path / "c.npz")
    again = Counterexample.load(tmp_path / "c.npz")
    np.testing.assert_array_equal(again.values["points"], np.eye(4))
    assert (again.values["threshold"], again.origin["trial"], again.trial.key) == (0.3, 3, "theorem_2a")


def test_default_grid_is_what_the_documentation_promises():
    cells, ceilings = build_cells(SweepSettings())
    assert {c.ambient_dim for c in cells} == {64, 256}
    assert len({c.batch_size for c in cells}) >= 3
    assert all(c.trials >= 200 and c.depth == 6 for c in cells)
    for (dim, n), ceiling in ceilings.items():
        levels = sorted(c.noise_level for c in cells if (c.ambient_dim, c.batch_size) == (dim, n) and not c.mapped)
        assert len(levels) >= 15
        assert ceiling.separation in levels
        assert ceiling.persistence in levels
        assert levels[-1] > 1.4 * ceiling.separation


def test_guarantees_need_a_clean_batch_that_passes():
    assert Ceilings(0.0, 0.0).guarantees("gaussian", 0.0) == (False, False)
    assert Ceilings(0.5, 0.3).guarantees("gaussian", 0.5) == (True, False)
    assert Ceilings(0.5, 0.3).guarantees("gaussian", 0.3) == (True, True)
    assert Ceilings(0.5, 0.3).guarantees("worst", 0.5) == (False, False)
    assert Ceilings(0.5, 0.3).guarantees("worst", 0.3) == (True, False)


def test_a_threshold_of_ones_own_guarantees_no_recovery(tmp_path):
    main([*SMALL, "--threshold", "0.3", "--no-figures", "--out", str(tmp_path / "run")])
    rows = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert rows["persistence_guaranteed"].any()
    assert not rows["recovery_guaranteed"].any()


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(["--geometry.clusters", "uniform", "--noise-levels", "0.0", "0.5"], marks=pytest.mark.slow),
        ["--geometry.clusters", "equiangular", "--geometry.within-cos", "0.99999", "--geometry.between-cos", "0.9992"],
        pytest.param(
            ["--geometry.clusters", "equiangular", "--geometry.within-cos", "0.5", "--geometry.between-cos", "0.24"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_geometries_at_the_edge_are_not_called_violated(tmp_path, extra):
    assert main([*SMALL, *extra, "--no-figures", "--out", str(tmp_path / "run")]) == 0

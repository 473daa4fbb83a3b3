"""The batch sweep from command line to figures, and its denoising part."""

import json
from dataclasses import replace
from math import comb

import numpy as np
import pandas as pd
import pytest
import torch

from synthetic.batches import seeding
from synthetic.batches.union_of_subspaces import cone_clusters, subspace_bases
from synthetic.measure.boundaries import rising_crossing
from synthetic.measure.one_block import one_block
from synthetic.runs import dask_cluster
from synthetic.runs.records import BOUND
from synthetic.sweep_batch import BatchSettings, SweepBatch, build_models, main, run, with_floor_trials
from synthetic.sweeps.denoising import DenoisingSettings, fuse_with_clean, judge_denoising, measure_denoising
from synthetic.sweeps.subspace_model import OneBlockResult, OneBlockTask, run_one_block
from synthetic.trials.files import Counterexample
from tests.command_lines import status_of
from theory.judging.rates import trials_to_notice
from theory.judging.verdicts import Status
from theory.numerics import whole_files

SMALL = ["--subspace-dims", "2", "3", "--principal-angles-deg", "80", "--noise-shares", "0", "0.2",
         "--trials", "60", "--floor-trials", "60", "--denoising.ambient-dims", "64",
         "--denoising.cluster-sizes", "4", "16", "--denoising.trials", "4"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("batch") / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    return out


def test_a_run_leaves_tables_figures_and_verdicts(finished):
    rows, floors, denoising = (pd.read_csv(finished / f"{name}.csv") for name in ("rows", "floors", "denoising"))
    assert len(floors) == 8
    assert set(rows["group"]) == set(floors["group"])
    assert (floors["proved"] <= floors["one_step"]).all()
    assert (rows.loc[rows["cluster_size"] >= rows["floor"], "guaranteed"]).all()
    assert (denoising["measured"] < denoising["bound"]).all()
    for name in ("recovery_against_batch_size", "floors", "denoising"):
        assert (finished / f"{name}.png").stat().st_size > 10_000
    verdicts = json.loads((finished / "verdicts.json").read_text())
    assert [verdict["statement"] for verdict in verdicts] == ["Theorem 2c", "Theorem 2c (denoising)"]


def test_the_exact_rate_is_stevens_for_all_clusters(finished):
    """On circles without noise three clusters are recovered together, each with the probability that no two of its gaps
    exceed the radius; elsewhere nobody knows it."""
    rows = pd.read_csv(finished / "rows.csv")
    known = rows[(rows["subspace_dim"] == 2) & (rows["noise_level"] == 0.0)]
    assert rows["exact_rate"].notna().sum() == len(known) > 0
    for row in known.itertuples():
        turn = 2.0 * np.pi if row.affinity == "signed" else np.pi
        m, x = row.cluster_size, np.radians(row.radius_deg)
        terms = [(-1) ** j * (j - 1) * comb(m, j) * max(1.0 - j * x / turn, 0.0) ** (m - 1) for j in range(2, m + 1)]
        assert row.exact_rate == pytest.approx((1.0 - sum(terms)) ** 3, abs=1e-9)


def test_an_interrupted_run_goes_on_where_it_was(finished, tmp_path, monkeypatch):
    calls = []

    def interrupted(task):
        calls.append(task)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return run_one_block(task)

    options = SweepBatch(subspace_dims=(2, 3), principal_angles_deg=(80.0,), noise_shares=(0.0, 0.2), trials=60,
                         floor_trials=60, denoise=False, out=tmp_path / "run")  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run(options, measure=interrupted)
    assert len(pd.read_csv(tmp_path / "run" / "rows.csv")) == 7
    arguments = ["--subspace-dims", "2", "3", "--principal-angles-deg", "80", "--noise-shares", "0", "0.2", "--trials",
                 "60", "--floor-trials", "60", "--no-denoise", "--out", str(tmp_path / "run"), "--resume"]  # fmt: skip
    assert main(arguments) == 0
    # The finished run measures denoising too, which is another setting and changes no row.
    found, whole = (pd.read_csv(folder / "rows.csv", dtype=str) for folder in (tmp_path / "run", finished))
    pd.testing.assert_frame_equal(found.drop(columns=BOUND), whole.drop(columns=BOUND))
    assert set(found[BOUND]).isdisjoint(whole[BOUND])


def test_a_block_that_loses_clusters_is_a_violation_with_a_counterexample(tmp_path, capsys):
    def careless(task):
        honest = run_one_block(task)
        lost = task.cell.trials // 3
        return OneBlockResult(honest.recovered - min(lost, honest.recovered), 0, lost, 0)

    options = SweepBatch(subspace_dims=(3,), principal_angles_deg=(80.0,), noise_shares=(0.0,), trials=90,
                         floor_trials=90, denoise=False, affinities=("signed",), out=tmp_path / "run",
                         figures=False)  # fmt: skip
    assert run(options, measure=careless) == 1
    assert "VIOLATED" in capsys.readouterr().out
    kept = sorted((tmp_path / "run").glob("counterexample-theorem_2c_signed-*.npz"))
    assert kept
    example = Counterexample.load(kept[0])
    assert (example.origin["trial"], example.values["points"].shape[1]) == (0, 32)
    false, pieces = one_block(
        torch.from_numpy(example.values["points"])[None], example.values["labels"], example.values["threshold"], False
    )
    assert (example.replay().status is Status.VIOLATED) == bool(false[0] | pieces[0])


@pytest.mark.slow
def test_gaussian_noise_has_guaranteed_cells_too(tmp_path):
    arguments = ["--subspace-dims", "3", "--principal-angles-deg", "90", "--noise-shares", "0.3", "--noise", "gaussian",
                 "--trials", "60", "--floor-trials", "60", "--no-denoise", "--no-figures", "--out",
                 str(tmp_path / "run")]  # fmt: skip
    assert main(arguments) == 0
    rows = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert rows["guaranteed"].any()
    assert not rows["guaranteed"].all()


def test_a_full_disk_is_reported(tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(whole_files, "write_part", full)
    assert main(["--quick", "--out", str(tmp_path / "run")]) == 3
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["--subspace-dims", "1"], "subspace_dim"), (["--subspace-dims", "20"], "ambient_dim"),
     (["--principal-angles-deg", "91"], "principal_angles_deg"), (["--noise-shares", "1"], "noise_shares"),
     (["--noise-shares", "nan"], "noise_shares"), (["--num-clusters", "1"], "num_clusters"),
     (["--delta", "1e-6"], "delta"),
     (["--trials", "0"], "trials"), (["--floor-trials", "0"], "floor_trials"), (["--seed", "-1"], "seed"),
     (["--affinities", "cubed"], "affinities"),
     (["--denoising.cluster-sizes", "1"], "cluster_sizes"), (["--denoising.noise-level", "nan"], "noise_level"),
     (["--resume"], "--out"), (["--backend", "dask"], "--scheduler"),
     (["--quick", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:9"], "--scheduler")],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)
    out = tmp_path / "run"
    assert status_of(main, [*arguments, *([] if "--resume" in arguments else ["--out", str(out)])]) == 2
    captured = capsys.readouterr()
    assert name in captured.err + captured.out
    assert not out.exists()


def test_crossings_rise():
    sizes, rates = np.array([2.0, 4.0, 8.0, 16.0]), np.array([0.0, 0.5, 1.0, 1.0])
    assert rising_crossing(sizes, rates, 0.75) == pytest.approx(np.sqrt(32.0))
    assert rising_crossing(sizes, rates * 0.5, 0.75) == np.inf
    assert rising_crossing(sizes, rates + 0.8, 0.75) == 0.0


# --- denoising --------------------------------------------------------------------------------------------------------


def test_clean_and_observed_points_travel_together():
    """Without noise both are the same; with noise the weights are those of the observed points, written out here."""
    rng = np.random.default_rng(0)
    clean = np.eye(4)[[0, 0, 0, 1, 1, 1]] + 0.1 * rng.standard_normal((6, 4))
    observed = clean + 0.05 * rng.standard_normal((6, 4))
    fused, fused_clean = fuse_with_clean(torch.from_numpy(observed), torch.from_numpy(clean), 0.3, 0.4, 3)
    x, u = observed.copy(), clean.copy()
    for _ in range(3):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        weights = np.clip(unit @ unit.T - 0.3, 0, None)
        np.fill_diagonal(weights, 0)
        weights /= weights.sum(axis=1, keepdims=True)
        x, u = (0.6 * part + 0.4 * weights @ part for part in (x, u))
    assert np.allclose(fused, x, atol=1e-14)
    assert np.allclose(fused_clean, u, atol=1e-14)


def test_no_verdict_about_nothing(tmp_path):
    """At this noise no batch satisfies the hypotheses, and none of the sizes is guaranteed either."""
    rows = measure_denoising(DenoisingSettings(ambient_dims=(64,), cluster_sizes=(4, 16), noise_level=2.0), 0)
    assert sum(row["applicable"] for row in rows) == 0
    assert judge_denoising(rows, 0.05).status is Status.NOT_APPLICABLE


def test_floors_are_tried_often_enough(tmp_path):
    """By default a failure rate of 1.6 delta at any one floor is noticed with probability 95 %."""
    settings = BatchSettings(subspace_dims=(2,), principal_angles_deg=(80.0,), noise_shares=(0.0,), trials=10)
    cell = build_models(settings)[0].cell(0, 20, 0.0, 0.5, 10, 0)
    rows = [{"guaranteed": size >= 20, "cluster_size": size, "floor": 20} for size in (10, 20, 30)]
    work = with_floor_trials([(OneBlockTask(cell, False), row) for row in rows], settings)
    trials = [task.cell.trials for task, _ in work]
    assert trials == [10, trials_to_notice(0.08, 0.05, 2), 10]
    fixed = with_floor_trials(work, replace(settings, floor_trials=30))
    assert fixed[1][0].cell.trials == 30


def drawn_for_denoising(trial):
    """Clean and observed points (12, 64) of a trial of SMALL_DENOISING at seed 5, drawn here once more."""
    bases = subspace_bases(2, 64, 4, seeding.generator(5, seeding.ARRANGEMENT, 64))
    points, noise = (seeding.trial_generators(5, 0, [trial], stream) for stream in (seeding.POINTS, seeding.NOISE))
    clean = cone_clusters(bases, (6, 6), 0.9, points)[0]
    return clean, clean + 0.3 / 8.0 * noise[0].standard_normal((12, 64))


SMALL_DENOISING = DenoisingSettings(ambient_dims=(64,), cluster_sizes=(6,), trials=3)


def test_the_ratio_of_affinities_is_that_of_the_observed_batch():
    """kappa = (alpha - tau)/(1 - tau) of every batch."""
    (row,) = measure_denoising(SMALL_DENOISING, 5)
    kappas = []
    for trial in range(3):
        x = drawn_for_denoising(trial)[1]
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        alpha = min((x[:6] @ x[:6].T).min(), (x[6:] @ x[6:].T).min())
        kappas.append((alpha - row["threshold"]) / (1.0 - row["threshold"]))
    assert (row["applicable"], row["kappa"]) == (3, pytest.approx(np.mean(kappas), rel=1e-12))


def test_batches_whose_noise_exceeds_the_bound_are_counted(monkeypatch):
    """The bound is put between the largest noise of one batch and of the next: as many fail as lie above it."""
    (row,) = measure_denoising(SMALL_DENOISING, 5)
    noises = []
    for trial in range(3):
        clean, observed = (torch.from_numpy(points) for points in drawn_for_denoising(trial))
        fused, fused_clean = fuse_with_clean(observed, clean, row["threshold"], 0.5, 8)
        noises.append(float((fused - fused_clean).norm(dim=1).max()))
    noises.sort()
    for failures, bound in (
        (0, 1.01 * noises[2]),
        (1, np.mean(noises[1:])),
        (2, np.mean(noises[:2])),
        (3, 0.9 * noises[0]),
    ):
        monkeypatch.setattr("synthetic.sweeps.denoising.residual_noise", lambda *arguments, bound=bound: bound)
        assert measure_denoising(SMALL_DENOISING, 5)[0]["failures"] == failures


def test_the_denoising_verdict_counts_broken_bounds(monkeypatch):
    settings = DenoisingSettings(ambient_dims=(32,), cluster_sizes=(4, 8, 32), trials=20)
    assert judge_denoising(measure_denoising(settings, 0), 0.05).status is Status.HOLDS
    monkeypatch.setattr("synthetic.sweeps.denoising.residual_noise", lambda *arguments: 0.02)
    assert judge_denoising(measure_denoising(settings, 0), 0.05).status is Status.VIOLATED

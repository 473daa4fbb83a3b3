"""Coverage of the advisor's guarantees: truths by counting, counts by one rule, and a run that goes on."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from models.advisor import findings
from models.advisor.config import AdvisorConfig
from models.advisor.coverage.__main__ import Coverage, main, study
from models.advisor.coverage.fixed import BATCH_SIZE, DEPTH, WEIGHT, Truth, fixed_outcomes
from models.advisor.coverage.sources import Digits, Gaussian, SmallClasses, without_labels
from models.advisor.coverage.table import coverage_rows, failed, text_of
from models.advisor.coverage.trial import controls, drawn, mean_as_bound, outcomes
from models.advisor.coverage.truth import isolated_in_bank, sharpness_in_bank
from models.advisor.pool import pool_of
from tests.models.advisor.rows import gaussian_set
from theory.batch_law import Weight

RELU = Weight("relu", threshold=0.1)
CONFIG = AdvisorConfig(batch_size=16, share=0.2, depth=1)


def test_truths_are_means_over_all_batches_of_a_small_bank():
    """Against plain loops over every batch; drawing is off by its standard error."""
    pool = pool_of(gaussian_set(0, 24, noise=2.0), True)
    new = pool_of(gaussian_set(1, 400, noise=2.0), True, center=pool.center)
    bank, rng = np.arange(0, 24, 4) + np.array([0, 1, 2, 3, 0, 1]), np.random.default_rng(0)
    shares, alone = [], []
    for point, label in zip(new.points.double().numpy(), new.classes):
        h = np.maximum(pool.points[bank].double().numpy() @ point - 0.1, 0.0)
        own = pool.classes[bank] == label
        for batch in map(list, combinations(range(len(bank)), 3)):
            mass = h[batch].sum()
            shares.append((h * own)[batch].sum() / mass if mass else 0.0)
            alone.append(not (h * own)[batch].any())
    found = sharpness_in_bank(pool, bank, new, RELU, 4, rng), isolated_in_bank(pool, bank, new, RELU, 4, rng)
    assert found == pytest.approx((np.mean(shares), np.mean(alone)), abs=0.03)
    assert 0.1 < np.mean(shares) < 0.9
    assert isolated_in_bank(pool, bank, new, RELU, len(bank) + 1, rng) < found[1]


def test_the_truth_of_view_pairs_counts_the_partner():
    pool = pool_of(gaussian_set(0, 20, labeled=False), True)
    new = pool_of(gaussian_set(1, 60, labeled=False), True, center=pool.center)
    bank = np.flatnonzero(pool.bank)
    assert sharpness_in_bank(pool, bank, new, RELU, 2, np.random.default_rng(0)) == pytest.approx(1.0, abs=0.02)
    shares, points, others = [], new.points.double().numpy(), pool.points.double().numpy()
    for i in range(60):
        own = max(points[i] @ points[i + 60] - 0.1, 0.0)
        for j in range(20):
            if j in bank:
                rest = sum(max(points[i] @ others[k] - 0.1, 0.0) for k in (j, j + 20))
                shares.append(own / (own + rest) if own + rest else 0.0)
    assert sharpness_in_bank(pool, bank, new, RELU, 4, np.random.default_rng(0)) == pytest.approx(
        np.mean(shares), abs=0.03
    )


def test_sources_draw_rows_anew_and_apart():
    for source in (Gaussian(), Digits(), SmallClasses()):
        first, new = source.draw(np.random.default_rng(0), 150, 300)
        again, _ = source.draw(np.random.default_rng(1), 150, 300)
        assert (first.num_rows, new.num_rows) == (150, 300)
        assert not (first.embeddings[:, None] == new.embeddings[None]).all(-1).any() or isinstance(source, Digits)
        assert not np.array_equal(first.embeddings, again.embeddings)
        assert source.middle() == pytest.approx(new.embeddings.mean(axis=0), abs=2.0)
        assert without_labels(first).classes is None


def test_one_draw_holds_everything_against_the_source():
    rng = np.random.default_rng(3)
    draw = drawn(Gaussian(), 120, CONFIG, rng, paired=False)
    found = list(outcomes(draw, rng))
    assert {each.status for each in found} == {"EXACT", "CERTIFIED", "PREDICTED"}
    assert sum(each.held for each in found) >= 0.85 * len(found)
    assert {"smallest batch", "largest strength"} <= {each.guarantee for each in found if each.status == "CERTIFIED"}
    told = {each.guarantee: each.held for each in controls(draw, rng)}
    assert sum(told.values()) >= 3, told
    assert mean_as_bound(draw, rng).status == "planted"
    # Far from the truth nothing holds.
    for truth, held in ((Truth(0.9, 0.0), [False, False]), (Truth(0.0, 1.0), [True, False])):
        assert [each.held for each in fixed_outcomes(Gaussian(), truth, draw.features, 0.05, rng)] == held
    assert (BATCH_SIZE, DEPTH, WEIGHT.threshold) == (16, 2, 0.2)


def test_thinning_that_leaves_out_rows_is_noticed(monkeypatch):
    """Rows alone in their class count for new ones; without them every certified share is above the truth."""
    config = AdvisorConfig(batch_size=16, share=0.2, depth=1)

    def certified(trial):
        rng = np.random.default_rng([5, trial])
        draw = drawn(SmallClasses(), 120, replace(config, seed=trial), rng, paired=False)
        assert {each.tested + each.bank for each in draw.findings.certified} <= {60} or broken
        return [each.held for each in outcomes(draw, rng) if each.status == "CERTIFIED"]

    broken = False
    assert all(held for trial in range(4) for held in certified(trial))
    thin, broken = findings.thinned, True

    def dropping(pool, most, seed):
        found = thin(pool, most, seed)
        return found.take(np.flatnonzero(np.bincount(found.classes)[found.classes] > 1))

    monkeypatch.setattr(findings, "thinned", dropping)
    held = [each for trial in range(4) for each in certified(trial)]
    assert len(held) >= 8
    assert not any(held)


def _outcomes(status: str, guarantee: str, held: int, draws: int = 500) -> pd.DataFrame:
    return pd.DataFrame({"source": "s", "status": status, "guarantee": guarantee, "held": [True] * held +
                         [False] * (draws - held)})  # fmt: skip


def test_the_rule():
    found = pd.concat([
        _outcomes("CERTIFIED", "sure", 499), _outcomes("CERTIFIED", "as promised", 475),
        _outcomes("CERTIFIED", "broken", 440), _outcomes("PREDICTED", "affinity sharpness, relu, n = 8", 490),
        _outcomes("PREDICTED", "affinity sharpness, softmax, n = 16", 480), _outcomes("control", "named", 489),
        _outcomes("planted", "half", 250), _outcomes("planted", "kept", 499),
    ])  # fmt: skip
    rows = list(coverage_rows(found, 0.05))
    verdicts = {row["guarantee"]: row["verdict"] for row in rows}
    assert [verdicts[k] for k in ("sure", "as promised", "broken")] == ["HOLDS", "UNDECIDED", "VIOLATED"]
    assert [row["guarantee"] for row in failed(rows)] == ["broken", "kept"]
    assert verdicts["named"] == "HOLDS"
    text = text_of(rows)
    assert "affinity sharpness, softmax, n = 16; least of 2" in text
    assert "n = 8" not in text
    # Of ten draws nothing planted can be told.
    assert failed(list(coverage_rows(_outcomes("planted", "half", 5, 10), 0.05))) == []


@pytest.mark.slow
def test_a_run_goes_on_where_it_stopped(tmp_path, capsys):
    options = Coverage(("gaussian-pairs",), trials=2, control_trials=0, rows=100, out=tmp_path / "a")
    assert study(options) == 0
    first = (tmp_path / "a" / "outcomes.csv").read_bytes()
    piece = next((tmp_path / "a").glob("gaussian-pairs_*.csv"))
    (tmp_path / "a" / "outcomes.csv").unlink()
    stamp = piece.stat().st_mtime_ns
    arguments = ["--sources", "gaussian-pairs", "--trials", "2", "--control-trials", "0", "--rows", "100"]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--resume"]) == 0
    assert (tmp_path / "a" / "outcomes.csv").read_bytes() == first
    assert piece.stat().st_mtime_ns == stamp
    assert "CERTIFIED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sources", "iris"], "sources: must be among gaussian"),
        (["--trials", "0"], "trials"),
        (["--control-trials", "501"], "control_trials"),
        (["--rows", "9"], "rows"),
        (["--delta", "1"], "delta"),
    ],
)
def test_bad_arguments_are_named(arguments, told, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "x")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()

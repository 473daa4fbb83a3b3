"""The tables of proved numbers: grids, ratios, crossings, verdicts, by hand."""

import numpy as np
import pytest

from synthetic.slack.options import BLOCKS, LISTS, TightnessOptions, grid_points
from synthetic.slack.rows import (
    contradicted,
    crossing_in_two_passes,
    judge_rows,
    print_rows,
    slack_row,
    unproved_row,
)
from theory.judging.rates import clopper_pearson
from theory.judging.verdicts import Status


def test_default_grids():
    """Enough combinations for a verdict over two dozen, those that theory.md speaks of among them."""
    grids = {kind: grid_points(TightnessOptions(bound=kind)) for kind in BLOCKS}
    assert {kind: len(points) for kind, points in grids.items()} == {
        "separation": 24, "depth": 24, "fusion": 54, "soft": 28
    }  # fmt: skip
    sizes = {(p["ambient_dims"], p["num_clusters"], p["cluster_sizes"]) for p in grids["fusion"]}
    assert sizes >= {(64, 8, 32), (256, 8, 32), (256, 8, 128)}
    assert {(p["noise_levels"], p["angles_deg"]) for p in grids["depth"]} == {
        (level, angle) for level in (0.5, 2.0, 30.0) for angle in (90.0, 60.0)
    }
    assert set(LISTS) == {name for points in grids.values() for name in points[0]}


def test_what_is_given_takes_the_place_of_the_default_in_every_block():
    points = grid_points(TightnessOptions(bound="fusion", cluster_sizes=(16,), mixings=(0.7,), within_cos=(1.0,)))
    assert len(points) == 4, "(64 or 256, 4 or 8); the block of large clusters has become one of them"
    assert {p["mixings"] for p in points} == {0.7}
    separation = grid_points(TightnessOptions(ambient_dims=(16, 32), num_clusters=(2,)))
    assert [tuple(p.values()) for p in separation[:3]] == [(16, 2, 4, 1.0), (16, 2, 4, 0.8), (16, 2, 32, 1.0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"mixings": (0.5,)}, "mixings: is no setting of --bound separation, only of fusion"),
     ({"bound": "soft", "cluster_sizes": (4,)}, "cluster_sizes: is no setting of --bound soft"),
     ({"ambient_dims": ()}, "ambient_dims: give at least one"), ({"trials": 39}, "trials: .*at least 40"),
     ({"delta": 0.0}, r"delta: .*\(0, 1\)"), ({"num_clusters": (1,)}, "num_clusters: "), ({"seed": -1}, "seed: "),
     ({"ambient_dims": (8,), "num_clusters": (5,)}, "ambient_dims: 5 clusters need at least 10"),
     ({"cluster_sizes": (1,)}, "cluster_sizes: "), ({"within_cos": (0.0,)}, "within_cos: ")],
)  # fmt: skip
def test_bad_grids(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        grid_points(TightnessOptions(**changes))


def test_a_row_s_ratios_and_rates():
    row = slack_row("here", 2.0, 3, 60, (2.5, 2.4, 3.0))
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (1.25, 1.2, 1.5)
    assert row["failure_rate"] == 0.05
    assert (row["failure_low"], row["failure_high"]) == clopper_pearson(3, 60)
    floor = slack_row("here", 30.0, 3, 60, (20.0, 15.0, 24.0), inverse=True)
    assert (floor["ratio"], floor["ratio_low"], floor["ratio_high"]) == (1.5, 1.25, 2.0)
    beyond = slack_row("here", 30.0, 3, 60, (20.0, 0.0, np.inf), inverse=True)
    assert (beyond["ratio_low"], beyond["ratio_high"]) == (0.0, np.inf)
    assert set(unproved_row("there")) == set(row)


def test_the_crossing_is_looked_for_twice():
    """Each of 400 batches succeeds up to a noise of its own; 90 % up to the 40th smallest."""
    limits, asked = 1.0 + np.random.default_rng(0).random(400), []

    def count(levels, trials):
        asked.append((len(levels), trials, np.ptp(levels)))
        return np.array([(limits[:trials] >= level).sum() for level in levels])

    found = crossing_in_two_passes(count, np.linspace(0.8, 2.2, 8), 0.02, 21, (100, 400), 0.9)
    assert [(levels, trials) for levels, trials, _ in asked] == [(8, 100), (21, 400)]
    assert asked[1][2] < 0.5 * asked[0][2]
    assert found[0] == pytest.approx(np.sort(limits)[40], abs=0.01)
    assert found[1] < found[0] < found[2]


@pytest.mark.parametrize(("early", "late"), [(0.0, 0.2), (0.0, -0.2), (5.0, 5.0), (-5.0, -5.0)])
def test_a_pilot_that_misleads_is_mended(early, late):
    """Its few batches succeed longer, or less long, than the others; outside the coarse levels the search ends."""
    limits, calls = 1.5 + 0.1 * np.random.default_rng(1).random(400), []

    def count(levels, trials):
        calls.append(levels)
        shift = early if trials == 400 else late
        return np.array([(limits[:trials] + shift >= level).sum() for level in levels])

    found = crossing_in_two_passes(count, np.linspace(0.8, 2.2, 15), 0.02, 9, (100, 400), 0.9)
    if abs(early) < 1.0:
        assert found[0] == pytest.approx(np.sort(limits)[40], abs=0.02)
        assert np.isfinite(found).all()
        assert 2 < len(calls) < 6
    else:
        assert found == (np.sign(early) * np.inf,) * 3
        assert len(calls) == 2


def rows_of(failures, ratio, number=6):
    return [slack_row(f"place {i}", 1.0, failures, 500, (ratio, ratio - 0.01, ratio + 0.01)) for i in range(number)]


@pytest.mark.parametrize(
    ("failures", "ratio", "below", "wrong"),
    [(5, 1.2, False, False), (5, 0.9, False, True), (5, 0.9, True, False), (5, 1.2, True, True),
     (60, 1.2, False, True), (60, 0.9, True, True), (5, 1.005, True, False), (5, 0.995, False, False)],
)  # fmt: skip
def test_what_contradicts_a_number(failures, ratio, below, wrong):
    """Too many failures at it, or a ratio on the wrong side with its whole interval."""
    rows = [*rows_of(failures, ratio), unproved_row("nowhere")]
    verdict = judge_rows("Theorem 2f", "recovery", rows, 0.05)
    assert verdict.status is (Status.VIOLATED if failures == 60 else Status.HOLDS)
    assert verdict.applicable == 3000
    assert contradicted(rows, verdict, below) == wrong


def test_nothing_proved_is_no_verdict(capsys):
    rows = [unproved_row("nowhere")]
    verdict = judge_rows("Theorem 2f", "recovery", rows, 0.05)
    assert verdict.status is Status.NOT_APPLICABLE
    assert not contradicted(rows, verdict, below=False)
    print_rows([*rows, {**rows_of(5, 1.25)[0], "gain": 1.117}], "measured/proved", (("gain", "over separation"),))
    printed = capsys.readouterr().out.splitlines()
    assert "nothing is proved" in printed[1]
    assert "1.250 [1.240, 1.260]            1.117" in printed[2]

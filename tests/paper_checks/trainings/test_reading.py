"""What claims read off finished trainings, from planted tables."""

import math
from dataclasses import replace

import pytest

from paper_checks.tiers import CPU, QUICK
from paper_checks.trainings import reading
from paper_checks.trainings.arms import MOCO, SIMCLR


class Planted:
    """Results in which everything tells its seed."""

    def table(self, task, name):
        seed = task.config.seed
        if name == "layers":
            return [{"epoch": e, "part": part, "index": i, "sharpness": 100 * seed + 10 * e + i + (part == "attention")}
                    for e in (1, 2) for part in ("attention", "reading") for i in (1, 0)]  # fmt: skip
        if name == "epochs":
            return [{"seconds": 1.5}, {"seconds": 2.0}]
        return [{"features": f, "probe": p, "accuracy": seed + (f == "z") + 0.5 * (p == "knn") + ("moco" in task.label),
                 "encoder_parameters": 9, "head_parameters": 4} for f in "hz" for p in ("knn", "linear")]  # fmt: skip


def test_means_and_the_last_measured_epoch():
    assert reading.mean({3: 1.0, 5: 2.0}) == 1.5
    assert math.isnan(reading.mean({}))
    assert reading.last_epoch([{"epoch": 1}, {"epoch": 3, "a": 0}, {"epoch": 2}]) == [{"epoch": 3, "a": 0}]
    assert reading.last_epoch([]) == []


def test_blocks_are_in_order_and_of_the_last_epoch():
    values = reading.block_values(Planted(), QUICK, SIMCLR, "reading", "sharpness")
    assert values == {seed: [100 * seed + 20, 100 * seed + 21] for seed in QUICK.all_seeds}
    (step,) = reading.step_contrasts(values, "ReLU", "sharpness")
    assert step.name == "ReLU: block 2 over block 1"
    assert set(step.differences) == {1.0}
    rows = reading.block_rows({4: [0.1, 0.2]}, "ReLU", "sharpness")
    assert [(row["seed"], row["block"], row["value"]) for row in rows] == [(4, 0, 0.1), (4, 1, 0.2)]


def test_what_was_measured_of_views_of_another_size_is_refused(tmp_path):
    """A network that has seen 16 pixels only has other affinities at 32."""
    own = replace(CPU, seeds=2, cap=2)

    class Tables(Planted):
        height: float | None = 16.0

        def table(self, task, name):
            told = {} if self.height is None else {"view_height": self.height}
            return [{**row, **told} for row in super().table(task, name)]

        def folder(self, task):
            return tmp_path / task.name

    tables = Tables()
    assert len(reading.block_values(tables, own, SIMCLR, "reading", "sharpness")) == 2
    for tables.height in (None, 32.0, math.nan):
        with pytest.raises(ValueError, match=r"base-seed0: measured by an earlier version, of views of another size"):
            reading.block_values(tables, own, SIMCLR, "reading", "sharpness")
        # Where views are as large as images they always were.
        assert len(reading.block_values(tables, QUICK, SIMCLR, "reading", "sharpness")) == 5


def test_losses_are_told_of_the_first_and_the_last_epoch():
    class Losses(Planted):
        def table(self, task, name):
            return [{"loss": 1.0 + task.config.seed}, {"loss": 9.0}, {"loss": 0.5}]

    words = reading.loss_words(Losses(), QUICK.at(3), {"A": MOCO, "B": SIMCLR})
    assert words == "Mean loss of the first and the last epoch: A 2.00 and 0.50, B 2.00 and 0.50."


def test_accuracies_are_those_of_the_linear_probe_on_h():
    contrast = reading.accuracy_contrast(Planted(), QUICK, "moco over simclr", MOCO, SIMCLR)
    assert contrast.first == {seed: seed + 1.0 for seed in QUICK.all_seeds}
    assert contrast.differences.tolist() == pytest.approx([1.0] * len(QUICK.all_seeds))
    assert reading.accuracies(Planted(), QUICK.at(1), {"A": MOCO}) == "A 100.0%"


def test_points_of_a_curve():
    rows = reading.points(Planted(), QUICK, {0.9: MOCO}, "momentum", "moco")
    assert [row["seed"] for row in rows] == list(QUICK.all_seeds)
    assert rows[1] == {
        "factor": "momentum", "value": 0.9, "curve": "moco", "arm": "moco", "seed": 1, "accuracy": 2.0, "h_knn": 2.5,
        "h_linear": 2.0, "z_knn": 3.5, "z_linear": 3.0, "encoder_parameters": 9, "head_parameters": 4, "seconds": 3.5,
    }  # fmt: skip
    assert len(reading.tasks_of(QUICK, MOCO, SIMCLR)) == 2 * len(rows)

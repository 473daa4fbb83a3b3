"""The audit of the sweep's plan, and every mistake in a plan that it must notice before a batch is drawn."""

import re
from dataclasses import replace

import numpy as np
import pytest

from synthetic.audit.plan import audit_plan
from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry
from synthetic.sweep_noise import SweepNoise, run
from synthetic.sweeps.noise_controls import PROVED_EVENT, control_cells
from synthetic.sweeps.noise_grid import Ceilings, SweepSettings, build_cells

SETTINGS = SweepSettings(ambient_dims=(16,), batch_sizes=(12, 18), geometry=Geometry(num_clusters=3, subspace_dim=2),
                         trials=4, depth=2, control_trials=20)  # fmt: skip


def plan_of(settings):
    grid, ceilings = build_cells(settings, num_levels=4)
    controls = control_cells(settings, len(grid)) if settings.controls else []
    known = {cell.index: ceilings[cell.ambient_dim, cell.batch_size] for cell in grid}
    return [*grid, *(cell for cell, _ in controls)], known | {cell.index: ceiling for cell, ceiling in controls}


@pytest.fixture(autouse=True)
def _no_questions(monkeypatch):
    """What the plan asks about theorems and rules does not depend on it, and has tests of its own."""
    monkeypatch.setattr("synthetic.audit.plan.theorem_complaints", lambda: [])
    monkeypatch.setattr("synthetic.audit.plan.rule_complaints", lambda delta: [])


@pytest.fixture(scope="module")
def plan():
    return plan_of(SETTINGS)


def changed(plan, which, **changes):
    """The plan with other values in the cells for which ``which`` is true."""
    return [replace(cell, **changes) if which(cell) else cell for cell in plan[0]], plan[1]


def complaints(plan, settings=SETTINGS):
    return "; ".join(audit_plan(*plan, settings))


PLANS = ({"noise": "worst"}, {"noise_levels": (0.0, 0.3)}, {"noise": "bounded", "threshold": 0.3}, {"delta": 0.5})


@pytest.mark.parametrize(
    "changes", [{}, {"controls": False}, *(pytest.param(each, marks=pytest.mark.slow) for each in PLANS)]
)
def test_a_sound_plan_passes(changes):
    settings = replace(SETTINGS, batch_sizes=(12,), **changes)
    assert complaints(plan_of(settings), settings) == ""


def test_cells_must_be_numbered_one_by_one(plan):
    cells, known = plan
    for wrong in (cells[:-1], cells[1:], [*cells, cells[-1]], [*cells[:-1], replace(cells[-1], index=0)]):
        assert "not numbered" in complaints((wrong, known))


def is_event(cell):
    return cell.control == PROVED_EVENT


def is_mapped(cell):
    return cell.mapped and not cell.control


def is_noisy(cell):
    return not cell.control and not cell.mapped and cell.batch_size == 18


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        (is_event, {"trials": 10}, r"the control of the proved event has \[10\] trials, expected \[20\]"),
        (is_event, {"control": "other"}, r"the control of the proved event has \[\] trials"),
        (is_event, {"extremes": None}, "not known"),
        (is_event, {"extremes": (0.7, 0.7)}, "of delta, not"),
        (is_event, {"threshold": 0.3}, "threshold is 0.3"),
        (is_mapped, {"geometry": SETTINGS.geometry}, "orthogonal"),
        (is_mapped, {"mapped": False}, "not one cell of Theorem 1"),
        (is_noisy, {"trials": 3}, "trials is 3, asked for 4"),
        (is_noisy, {"depth": 3}, "depth is 3, asked for 2"),
        (is_noisy, {"mixing": 0.4}, "mixing is 0.4, asked for 0.5"),
        (is_noisy, {"seed": 1}, "seed is 1, asked for 0"),
        (is_noisy, {"threshold": 0.9}, "threshold is 0.9"),
        (is_noisy, {"sizes": (4, 4, 8)}, "not asked for"),
        (is_noisy, {"sizes": (14, 2, 2)}, "of delta, not"),
    ],
)
def test_cells_that_are_not_as_asked_for_are_noticed(plan, which, changes, said):
    damaged = changed(plan, which, **changes)
    assert damaged[0] != plan[0]
    assert re.search(said, complaints(damaged))


def test_bounds_of_bounded_noise_are_worked_out_again():
    settings = replace(SETTINGS, batch_sizes=(12,), noise="worst")
    cells, known = plan_of(settings)
    wrong = [
        replace(cell, extremes=(cell.extremes[0] - 1e-6, cell.extremes[1])) if cell.extremes else cell for cell in cells
    ]
    assert "worked out again" in complaints((wrong, known), settings)


def test_controls_left_out_or_not_asked_for_are_noticed(plan):
    count = sum(not cell.control for cell in plan[0])
    grid = plan[0][:count], {index: plan[1][index] for index in range(count)}
    assert "control cells are not as asked for" in complaints(grid)
    assert "control cells are not as asked for" in complaints(plan, replace(SETTINGS, controls=False))


def test_noise_levels_that_are_not_those_asked_for_are_noticed(plan):
    assert "asked for [0.1]" in complaints(plan, replace(SETTINGS, noise_levels=(0.1,)))
    cells, known = plan
    own = known[1]
    for name, ceiling in (("separation", own.separation), ("persistence", own.persistence)):
        moved = [replace(cell, noise_level=1.01 * ceiling) if cell.noise_level == ceiling else cell for cell in cells]
        assert f"no cell has the noise of the {name} ceiling" in complaints((moved, known))


def test_a_guarantee_above_its_ceiling_is_noticed(plan):
    found = complaints((plan[0], dict.fromkeys(plan[1], Ceilings(9.0, 9.0))))
    assert "separation is guaranteed" in found
    assert "persistence is guaranteed" in found


def test_a_ceiling_too_low_is_noticed(plan):
    cells, known = plan
    own = known[1]
    # The ceiling of persistence lies below that of separation, and has room where it is taken for it.
    found = complaints((cells, known | dict.fromkeys(known, Ceilings(own.persistence, own.persistence))))
    assert "noise is at the separation ceiling, but" in found
    assert "noise is at the persistence ceiling, but" not in found
    quiet = min(cell.noise_level for cell in cells if cell.noise_level > 0.0)
    assert "at the persistence ceiling, but" in complaints(
        (cells, dict.fromkeys(known, Ceilings(own.separation, quiet)))
    )


def test_random_numbers_that_are_shared_are_noticed(plan, monkeypatch):
    true = Cell.generators
    # The last trial of a cell takes the numbers of the first of the next: no other trials are the same.
    monkeypatch.setattr(Cell, "generators", lambda self, trials: true(
        replace(self, index=self.index + (len(trials) > 1)), [0 if len(trials) > 1 and t == self.trials - 1 else t
                                                               for t in trials]))  # fmt: skip
    assert "of random numbers are shared" in complaints(plan)


def test_a_map_that_leaves_subspaces_together_is_noticed(plan, monkeypatch):
    true = Cell.query_key_map
    monkeypatch.setattr(Cell, "query_key_map", lambda self: (
        np.concatenate(list(self.bases), axis=1).T, true(self)[1]) if self.mapped else true(self))  # fmt: skip
    assert "does not take its subspaces apart" in complaints(plan)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda points: np.roll(points, 1, axis=1), "clean clusters have cosines from"),
        (lambda points: points + 1e-6, "clean cross cosines reach"),
        (lambda points: points * np.where(np.arange(points.shape[1]) == 1, 1.0 + 1e-6, 1.0)[:, None], "are not"),
    ],
    ids=["other clusters", "not orthogonal", "not equiangular"],
)
def test_clean_batches_that_are_not_as_said_are_noticed(plan, monkeypatch, damage, said):
    true = Geometry.draw
    monkeypatch.setattr(Geometry, "draw", lambda self, *batch: damage(true(self, *batch)))
    assert said in complaints(plan)


def test_a_plan_asks_about_theorems_and_rules(plan, monkeypatch):
    monkeypatch.setattr("synthetic.audit.plan.theorem_complaints", lambda: ["a theorem"])
    monkeypatch.setattr("synthetic.audit.plan.rule_complaints", lambda delta: [f"a rule for {delta}"])
    assert complaints(plan) == "a theorem; a rule for 0.05"


def test_a_plan_with_complaints_is_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("synthetic.sweep_noise.control_cells", lambda settings, first: control_cells(settings, 0))
    options = SweepNoise(out=tmp_path / "run", figures=False, ambient_dims=(16,), batch_sizes=(12,), trials=2, depth=1,
                         geometry=SETTINGS.geometry)  # fmt: skip
    assert run(options) == 6
    assert "believe none of it" in capsys.readouterr().out
    assert (tmp_path / "run" / "audit.json").exists()
    assert not (tmp_path / "run" / "rows.csv").exists()

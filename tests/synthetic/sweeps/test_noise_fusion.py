"""The cells at and past the fusion ceiling: which there are, what is promised in them, and that a promise can break."""

from dataclasses import replace

import numpy as np
import pytest

from synthetic.batches.geometry import Geometry
from synthetic.sweeps.noise_cells import run_cell
from synthetic.sweeps.noise_fusion import FUSION, STEPS, fusion_cells, fusion_past_separation
from synthetic.sweeps.noise_grid import ConeLaw, SweepSettings, build_cells
from synthetic.sweeps.noise_report import summarize_boundaries, summarize_cell, summarize_verdicts
from theory.fusion_ceiling import fusion_threshold, gaussian_fusion
from theory.judging.statements import THEOREM_2F

TIGHT = SweepSettings(
    ambient_dims=(64,), batch_sizes=(64,), geometry=Geometry(num_clusters=4, subspace_dim=2, within_cos=1.0),
    mixing=0.8, trials=100, depth=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return fusion_cells(TIGHT, build_cells(TIGHT)[1], 7)


def test_a_cell_at_the_ceiling_and_some_beyond(found):
    level = gaussian_fusion(64, 4, 16, 1.0, 0.05, 0.8, subspace_dim=2, depth=3)
    assert [cell.index for cell, _ in found] == list(range(7, 7 + len(STEPS)))
    np.testing.assert_allclose([cell.noise_level for cell, _ in found], level * np.array(STEPS), rtol=1e-12)
    assert {ceilings.fusion for _, ceilings in found} == {level}
    for cell, _ in found:
        assert cell.threshold == fusion_threshold(64, 4, 16, 0.05, cell.noise_level)
        assert (cell.control, cell.unit_inputs) == (FUSION, False)
    lengths = np.linalg.norm(found[0][0].points([0]), axis=-1)
    assert np.ptp(lengths) > 0.1, "noisy points stay as long as they are"


@pytest.mark.parametrize(
    "changes",
    [{"noise": "sphere"}, {"mixing": 0.2}, {"geometry": Geometry(num_clusters=4, subspace_dim=2, within_cos=0.0)},
     {"geometry": Geometry(num_clusters=4, subspace_dim=2, within_cos=1.0, arrangement="random")}],
)  # fmt: skip
def test_where_nothing_is_proved_past_separation_there_is_no_cell(changes):
    settings = replace(TIGHT, **changes)
    assert fusion_cells(settings, build_cells(settings)[1], 0) == []


def test_a_ceiling_below_separation_is_none():
    law = ConeLaw.of(TIGHT.geometry, 64, (16,) * 4, TIGHT)
    assert fusion_past_separation(law, TIGHT, 0.5) > 0.5
    assert fusion_past_separation(law, TIGHT, 3.0) == 0.0


def test_promises_and_their_verdict(found):
    """At the ceiling alone recovery is promised; planted failures there contradict Theorem 2f, elsewhere nothing."""
    rows = [summarize_cell(cell, run_cell(cell), ceilings, True)[0] for cell, ceilings in (found[0], found[-1])]
    at, beyond = rows
    assert at["fusion_guaranteed"]
    assert not beyond["fusion_guaranteed"]
    assert at["repaired"] >= 95 > beyond["repaired"]
    assert at["certified"] >= at["repaired"] - 2
    assert not any(at[f"{name}_guaranteed"] for name in ("separation", "persistence", "recovery"))

    def verdict(planted):
        (found,) = [v for v in summarize_verdicts(planted, 0.05) if v.statement == THEOREM_2F.name]
        return found.status.value

    assert verdict(rows) != "VIOLATED"
    assert verdict([{**at, "repaired": 60}, beyond]) == "VIOLATED"
    assert verdict([at, {**beyond, "repaired": 0}]) != "VIOLATED"
    more = {**at, "trials": 1000, "repaired": 990}
    assert verdict([more, beyond]) == "HOLDS"


def test_the_boundary_is_that_of_repaired_batches(found):
    rows = []
    for (cell, ceilings), rate in zip(found[:3], (1.0, 0.96, 0.9)):
        row = {"ambient_dim": 64, "batch_size": 64, "mapped": False, "noise_level": cell.noise_level, "control": FUSION,
               "fusion_ceiling": ceilings.fusion}  # fmt: skip
        rows.append(row | {f"repaired_{column}": rate for column in ("rate", "low", "high")})
    grid = {**rows[0], "control": "no", "separation_ceiling": 0.0, "persistence_ceiling": 0.0}
    grid |= {f"{name}_{c}": 1.0 for name in ("separated", "admits_threshold") for c in ("rate", "low", "high")}
    (boundary,) = [b for b in summarize_boundaries([grid, *rows], 0.05) if b["ceiling"] == "fusion"]
    assert boundary["tightness"] == pytest.approx(STEPS[1] + (STEPS[2] - STEPS[1]) / 6.0)

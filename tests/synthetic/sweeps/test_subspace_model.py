"""One block on the subspace model: what is counted, and the verdicts."""

import numpy as np
import pytest
import torch

from models.stack import AttentionStack
from synthetic.sweeps.subspace_model import OneBlockTask, SubspaceModel, floor_cells, judge_floors, run_one_block
from theory.batches.clusters import contiguous_labels
from theory.judging.verdicts import Status


def test_a_task_counts_what_its_batches_show():
    model = SubspaceModel(12, 3, 3, np.pi / 3, "bounded")
    link = model.connection(20, 0.05, 0.05, False)
    cell = model.cell(5, 20, 0.05, link.threshold, 50, 1)
    result = run_one_block(OneBlockTask(cell, False))
    stack = AttentionStack(1, link.threshold, normalize="input")
    trajectory = stack.measure(torch.from_numpy(np.concatenate(list(cell.batches()))), cell.labels)
    assert result.recovered == int(trajectory.recovered[0].sum())
    assert result.false_edges == int((trajectory.false_edges[0] > 0).sum()) == 0
    assert result.fragmented == 50 - result.recovered
    assert result.first_failure == int(np.argmin(trajectory.recovered[0]))


def row(size, recovered, trials=200, guaranteed=True, floor=20):
    return {"guaranteed": guaranteed, "recovered": recovered, "trials": trials, "cluster_size": size, "floor": floor,
            "place": f"m={size}", "noise": "bounded", "noise_level": 0.0}  # fmt: skip


def test_verdicts_notice_too_many_failures():
    assert judge_floors([row(20, 196), row(40, 200)], 0.05)[0].status is Status.HOLDS
    assert judge_floors([row(20, 160), row(40, 200)], 0.05)[0].status is Status.VIOLATED
    assert judge_floors([row(20, 200), row(40, 160)], 0.05)[0].status is Status.VIOLATED
    assert judge_floors([row(20, 181), row(25, 200), row(24, 200)], 0.05)[0].status is Status.UNDECIDED, "9.5 % of 200"
    assert judge_floors([row(20, 10, guaranteed=False)], 0.05)[0].status is Status.NOT_APPLICABLE


def test_cells_above_the_floor_do_not_dilute_those_at_it():
    at_floor, above = row(20, 190), [row(size, 200) for size in range(21, 27)]
    assert judge_floors([at_floor, *above], 0.05)[0].status is Status.UNDECIDED
    assert [cell.pool for cell in floor_cells([at_floor, *above[:1]])] == ["at the floors", None]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((12, 3, 1, 1.0, "bounded"), "subspace_dim"), ((12, 1, 3, 1.0, "bounded"), "num_clusters"),
     ((11, 3, 3, 1.0, "bounded"), "ambient_dim"), ((12, 3, 3, 2.0, "bounded"), "principal_angle"),
     ((8, 3, 3, np.pi / 2, "bounded"), "ambient_dim")],
)  # fmt: skip
def test_models_that_cannot_be_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        SubspaceModel(*arguments)


def test_labels_are_contiguous():
    cell = SubspaceModel(12, 3, 3, np.pi / 2, "gaussian").cell(0, 4, 0.1, 0.5, 1, 0)
    assert list(cell.labels) == list(contiguous_labels((4, 4, 4)))

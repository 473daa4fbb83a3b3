"""Claim S6, two processes: gradients through the gather, and a leak that is told from statistics of fewer rows."""

import re
from dataclasses import replace

import numpy as np
import pytest

from paper_checks.papers import simclr
from paper_checks.tasks import Results, carry_out
from paper_checks.tiers import CPU, QUICK
from paper_checks.trainings.two_processes import GatherGradients, TwoProcessTraining
from tests.paper_checks.planted import Planted
from tests.paper_checks.test_image_claims import TINY

S6 = next(claim for claim in simclr.CLAIMS if claim.id == "S6")


def halves(tier):
    return [simclr._two_process_trainings(tier, exchanged) for exchanged in (False, True)]


def test_what_is_not_measured_on_a_gpu_is_not_reproduced_there():
    """Of S6 the gradients alone; shuffled classes cannot be what they tell."""
    planted = Planted(lambda label, seed, features: 0.8)
    finding = S6.look(planted, replace(QUICK, device="cuda"))
    assert (finding.rows[0]["side"], finding.answer) == ("above", "undecided")
    assert [row["seeds"] for row in finding.rows] == [5, 0, 0]
    assert "compared on the CPU only" in finding.sentence


def test_two_processes_gather_and_train(tmp_path):
    task = GatherGradients(2)
    carry_out(task, tmp_path)
    rows = Results(tmp_path).table(task, "gradients")
    assert all(r["log10_error"] < -12 for r in rows if r["gather"] == "differentiable")
    detached = [r for r in rows if r["gather"] == "detached"]
    assert all(-1.0 < r["log10_error"] < -0.5 for r in detached), "a factor of 1/2 alone would be -.301"
    assert all(r["cosine"] < 0.99 for r in detached), "no factor at all"
    paired, exchanged = (trainings[0] for trainings in halves(TINY))
    for training in (paired, exchanged):
        carry_out(training, tmp_path)
        rows = Results(tmp_path).table(training, "results")
        assert [(row["features"], row["probe"]) for row in rows] == [("h", "linear")]
    losses = [[row["loss"] for row in Results(tmp_path).table(each, "epochs")] for each in (paired, exchanged)]
    assert len(losses[0]) == len(losses[1]) == TINY.config.epochs
    # Networks and images are the same, so that the first epoch differs by its statistics.
    assert losses[0][0] != losses[1][0]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.2)


def test_exchanged_and_paired_trainings_differ_in_nothing_else():
    for tier in (QUICK, CPU):
        for paired, exchanged in zip(*(each.values() for each in halves(tier))):
            assert replace(exchanged.config, exchange_views=False) == paired.config
            assert exchanged.config.exchange_views
            assert "exchange_views=True,two processes-seed" in exchanged.name
            assert "exchange_views" not in paired.name, "the folder of a run of before"
        tasks = S6.tasks(tier)
        assert len(tasks) == len(set(tasks)) == 1 + 3 * tier.seeds
        assert {each.name for side in halves(tier) for each in side.values()} < {task.name for task in tasks}


@pytest.mark.parametrize("fewer_rows", [0.0, 0.2])
@pytest.mark.parametrize(("leak", "answer"), [(0.1, "reproduced"), (-0.1, "contradicted"), (0.0, "undecided")])
def test_a_leak_is_told_from_fewer_rows(fewer_rows, leak, answer):
    """Statistics of fewer rows raise the loss in both arms; sharing them with its partner lowers an image's."""

    class Leaking(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs" or not isinstance(task, TwoProcessTraining):
                return rows
            loss = 3.0 + fewer_rows - (0.0 if task.config.exchange_views else leak)
            return [{**row, "loss": loss + 0.01 * self.draw()} for row in rows]

    def accuracy(label, seed, features):
        return (0.8 if "two processes" in label else 0.9) + 0.001 * noise.normal()

    noise = np.random.default_rng(1)
    finding = S6.look(Leaking(accuracy), QUICK)
    assert finding.answer == answer
    row = finding.rows[-1]
    assert row["contrast"] == "loss: exchanged over paired views, statistics of each process"
    assert (row["measure"], row["seeds"]) == ("nats", 5)
    assert row["difference"] == pytest.approx(leak, abs=0.02)
    assert re.search(r"loss \S+ with those of each process, \S+ where none of them sees both views", finding.sentence)

"""Claim S6, two processes: gradients through the gather, and a leak that no loss tells from fewer rows."""

from dataclasses import replace

import numpy as np
import pytest

from paper_checks.papers import simclr
from paper_checks.tasks import Results, carry_out
from paper_checks.tiers import QUICK
from paper_checks.trainings.two_processes import GatherGradients, TwoProcessTraining
from tests.paper_checks.planted import Planted
from tests.paper_checks.test_image_claims import TINY

S6 = next(claim for claim in simclr.CLAIMS if claim.id == "S6")


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
    training = simclr._two_process_trainings(TINY)[0]
    carry_out(training, tmp_path)
    rows = Results(tmp_path).table(training, "results")
    assert [(row["features"], row["probe"]) for row in rows] == [("h", "linear")]
    assert len(Results(tmp_path).table(training, "epochs")) == TINY.config.epochs


@pytest.mark.parametrize("loss", [2.0, 3.0, 4.0])
@pytest.mark.parametrize(("local", "answer"), [(0.8, "undecided"), (0.95, "contradicted")])
def test_a_loss_that_does_not_isolate_a_leak_decides_nothing(loss, local, answer):
    """Statistics of fewer rows raise the loss, a leak lowers it; which of the two is larger had contradicted the claim.
    What contradicts it is a better accuracy with statistics of each process."""

    class Losses(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs" or not isinstance(task, TwoProcessTraining):
                return rows
            return [{**row, "loss": loss + 0.01 * self.draw()} for row in rows]

    def accuracy(label, seed, features):
        return (local if "two processes" in label else 0.9) + 0.001 * noise.normal()

    noise = np.random.default_rng(1)
    finding = S6.look(Losses(accuracy), QUICK)
    assert finding.answer == answer
    assert [row["side"] for row in finding.rows[:2]] == ["above", "above" if local < 0.9 else "below"]
    leak = finding.rows[-1]
    assert (leak["contrast"], leak["measure"], leak["seeds"]) == (simclr.LEAK, "nats", 0)
    assert "so that the leak is not tested" in finding.sentence
    assert len(S6.tasks(QUICK)) == 1 + 2 * QUICK.seeds

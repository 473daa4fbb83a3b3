"""TransFusions whose affinities, and gradients, are all 0: they say nothing, and the claims say so."""

import numpy as np
import pytest

from paper_checks.papers import transfusion_training
from paper_checks.papers.transfusion_training import LABELLED, TRANSFUSION
from paper_checks.tiers import QUICK
from paper_checks.trainings.collapsed import collapsed, dead_readings, stopped
from tests.paper_checks.planted import Planted

CLAIMS = {claim.id: claim for claim in transfusion_training.CLAIMS}


class Collapsing(Planted):
    """TransFusion without labels is 20 points behind, and some of its trainings have collapsed."""

    def __init__(self, still=(), dead=()):
        super().__init__(lambda label, seed, features: (0.6 if label == "transfusion" else 0.8) + 0.004 * self.draw())
        self.still, self.dead = still, dead

    def table(self, task, name):
        rows, place = super().table(task, name), (task.label, task.config.seed)
        if name == "epochs" and place in self.still:
            return [{**row, "gradient_norm": 0.0} if row["epoch"] > 1 else row for row in rows]
        if name == "layers" and place in self.dead:
            return [{**row, "sharpness": 0.0} if row["index"] == 1 else row for row in rows]
        return rows


@pytest.mark.parametrize("damage", [{"still": {("transfusion", 3)}}, {"dead": {("transfusion", 3)}}])
def test_a_training_that_has_collapsed_says_nothing(damage):
    alive, broken = Collapsing(), Collapsing(**damage)
    assert [CLAIMS[name].look(alive, QUICK).answer for name in ("T8", "T10")] == ["contradicted"] * 2
    for name in ("T8", "T9", "T10"):
        finding = CLAIMS[name].look(broken, QUICK)
        assert finding.answer != "contradicted", name
        assert " Collapsed: " in finding.sentence
        assert " in 1 of 5 seeds; differences with such a training say nothing." in finding.sentence
        assert "Collapsed" not in CLAIMS[name].look(alive, QUICK).sentence
    row = CLAIMS["T8"].look(broken, QUICK).rows
    assert row[0]["side"] == "undecided"
    assert np.isnan([row[0]["first"], row[0]["low"]]).all()
    assert np.isfinite([row[1]["first"], row[1]["low"]]).all(), "labels have not collapsed"


def test_a_block_without_affinities_has_no_sharpness():
    finding = CLAIMS["T4e"].look(Collapsing(dead={("transfusion", 3)}), QUICK)
    known = {row["contrast"]: np.isfinite(row["low"]) for row in finding.rows}
    assert known == {f"{name}: block {i + 1} over block {i}": name == "labels"
                     for name in ("labels", "view pairs") for i in (1, 2)}  # fmt: skip
    with_labels = CLAIMS["T4e"].look(Collapsing(dead={("transfusion,supervised=True", 0)}), QUICK)
    assert "labels: affinities of a block all 0 after training in 1 of 5 seeds" in with_labels.sentence


def test_heads_that_are_not_trained_on_affinities_have_none_to_lose():
    planted = Collapsing(dead={("head.kind=reluformer", 1), ("base", 1)})
    assert CLAIMS["T10"].look(planted, QUICK).answer == CLAIMS["T8"].look(planted, QUICK).answer == "contradicted"


def test_what_has_collapsed_is_found_by_seed():
    planted = Collapsing({("transfusion", 3)}, {("transfusion", 0), ("transfusion", 3)})
    assert stopped(planted, QUICK, TRANSFUSION) == {3: 2}, "the second epoch is the first without a gradient"
    assert dead_readings(planted, QUICK, TRANSFUSION) == {0: [1], 3: [1]}
    assert collapsed(planted, QUICK, TRANSFUSION) == {0, 3}
    assert collapsed(planted, QUICK, LABELLED) == set()

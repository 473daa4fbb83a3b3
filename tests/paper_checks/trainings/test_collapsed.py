"""TransFusions that have no affinity left, and no gradient: they say nothing, and the claims say so."""

from functools import partial

import numpy as np
import pytest

from paper_checks.papers import transfusion_training
from paper_checks.papers.transfusion_training import LABELLED, TRANSFUSION
from paper_checks.tiers import QUICK
from paper_checks.trainings.collapsed import collapsed, stopped, trained_readings
from tests.paper_checks.planted import Planted

CLAIMS = {claim.id: claim for claim in transfusion_training.CLAIMS}
LAST_ONLY = TRANSFUSION.with_(method__intermediate=0.0)
ALL = (0, 1, 2)


class Collapsing(Planted):
    """TransFusion without labels is 20 points behind; some trainings have stopped, some affinities are all 0."""

    def __init__(self, still=(), dead=()):
        super().__init__(lambda label, seed, features: (0.6 if label == "transfusion" else 0.8) + 0.004 * self.draw())
        self.still, self.dead = still, dict(dead)

    def table(self, task, name):
        rows, place = super().table(task, name), (task.label, task.config.seed)
        if name == "epochs" and place in self.still:
            return [{**row, "gradient_norm": 0.0} if row["epoch"] > 1 else row for row in rows]
        if name == "layers":
            dead = self.dead.get(place, ())
            return [{**row, "sharpness": 0.0} if row["index"] in dead else row for row in rows]
        return rows


def answers(planted):
    return {name: CLAIMS[name].look(planted, QUICK) for name in ("T8", "T9", "T10")}


@pytest.mark.parametrize("damage", [{"still": {("transfusion", 3)}}, {"dead": {("transfusion", 3): ALL}}])
def test_a_training_that_has_collapsed_says_nothing(damage):
    alive, broken = answers(Collapsing()), answers(Collapsing(**damage))
    assert alive["T8"].answer == alive["T10"].answer == "contradicted"
    for name, finding in broken.items():
        assert finding.answer != "contradicted", name
        assert " Collapsed: " in finding.sentence
        assert " in 1 of 5 seeds; a difference with such a training says nothing." in finding.sentence
        assert "Collapsed" not in alive[name].sentence
    row = broken["T8"].rows
    assert row[0]["side"] == "undecided"
    assert np.isnan([row[0]["first"], row[0]["low"]]).all()
    assert np.isfinite([row[1]["first"], row[1]["low"]]).all(), "labels have not collapsed"


def test_a_block_without_affinities_among_others_that_have_some_is_no_collapse():
    """It was one from 2026-11-30 to 2026-12-01, and took answers of sound trainings away."""
    planted = Collapsing(dead={("transfusion", 1): (0,), ("transfusion", 3): (0, 2)})
    found = answers(planted)
    assert found["T8"].answer == found["T10"].answer == "contradicted"
    for finding in found.values():
        assert "Collapsed" not in finding.sentence
        assert " Trained to the end with some block without affinities: " in finding.sentence
        assert " in 2 of 5 seeds." in finding.sentence


@pytest.mark.parametrize(("dead", "fallen"), [((0, 1), False), ((2,), True), (ALL, True)])
def test_where_the_loss_is_on_the_last_block_alone_that_block_decides(dead, fallen):
    planted = Collapsing(dead={(LAST_ONLY.label(QUICK), 2): dead})
    assert collapsed(planted, QUICK, LAST_ONLY) == ({2} if fallen else set())
    assert trained_readings(planted, QUICK, LAST_ONLY)[2] == {2: fallen}


def test_a_block_without_affinities_has_no_sharpness():
    finding = CLAIMS["T4e"].look(Collapsing(dead={("transfusion", 3): (1,)}), QUICK)
    known = {row["contrast"]: np.isfinite(row["low"]) for row in finding.rows}
    assert known == {f"{name}: block {i + 1} over block {i}": name == "labels"
                     for name in ("labels", "view pairs") for i in (1, 2)}  # fmt: skip
    assert "nan" not in finding.sentence, "the mean is over seeds that have both"
    every = {("transfusion", seed): (1,) for seed in range(5)}
    assert "view pairs: block 2 over block 1 unknown" in CLAIMS["T4e"].look(Collapsing(dead=every), QUICK).sentence
    with_labels = CLAIMS["T4e"].look(Collapsing(dead={("transfusion,supervised=True", 0): (1,)}), QUICK)
    assert "some block without affinities: labels in 1 of 5 seeds" in with_labels.sentence


def test_heads_that_are_not_trained_on_affinities_have_none_to_lose():
    planted = Collapsing(dead={("head.kind=reluformer", 1): ALL, ("base", 1): ALL})
    assert CLAIMS["T10"].look(planted, QUICK).answer == CLAIMS["T8"].look(planted, QUICK).answer == "contradicted"


def test_what_has_collapsed_is_found_by_seed():
    planted = Collapsing({("transfusion", 3)}, {("transfusion", 0): ALL, ("transfusion", 4): (1,)})
    assert stopped(planted, QUICK, TRANSFUSION) == {3: 2}, "the second epoch is the first without a gradient"
    dead = partial(dict.fromkeys, ALL)
    readings = trained_readings(planted, QUICK, TRANSFUSION)
    assert readings == {0: dead(True), 1: dead(False), 2: dead(False), 3: dead(False), 4: {0: False, 1: True, 2: False}}
    assert collapsed(planted, QUICK, TRANSFUSION) == {0, 3}
    assert collapsed(planted, QUICK, LABELLED) == set()

"""F1 and F7: steady scores and fluctuating gradients, by momentum, in planted curves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from paper_checks.papers import momenta
from paper_checks.statistics.power import hopeless
from paper_checks.tiers import CPU, QUICK
from paper_checks.trainings.moco_ways import MAIN
from tests.paper_checks.planted import Planted

CLAIMS = {claim.id: claim for claim in momenta.CLAIMS}


def test_fluctuation_is_that_of_steps_and_no_trend_of_epochs():
    """However steep the trend of momentum 0 is, and however restless its first epochs."""

    class Trend(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs":
                return rows
            if "momentum=0" in task.label.split(","):
                return [
                    {
                        **r,
                        "gradient_norm": 0.1 * 1.3 ** r["epoch"],
                        "gradient_fluctuation": (0.2 if r["epoch"] > 2 else 9.0) + 1e-3 * self.draw(),
                    }
                    for r in rows
                ]
            return [{**r, "gradient_fluctuation": 0.4 + 1e-3 * self.draw()} for r in rows]

    finding = CLAIMS["F7"].look(Trend(lambda label, seed, features: 0.8), QUICK)
    assert finding.answer == "contradicted"
    assert finding.rows[0]["first"] == pytest.approx(0.2, abs=0.002)
    assert finding.rows[0]["second"] == pytest.approx(0.4, abs=0.002)


def test_trainings_of_before_have_not_measured_it():
    class Older(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            return [{k: v for k, v in row.items() if k != "gradient_fluctuation"} for row in rows]

    with pytest.raises(ValueError, match="without gradient_fluctuation; delete the trainings at all momenta"):
        CLAIMS["F7"].look(Older(lambda label, seed, features: 0.8), QUICK)


@pytest.mark.parametrize(("level", "most"), [(0.05, 0.053), (0.05 / 7, 0.0085)])
def test_correlations_of_four_momenta_err_no_more_than_they_say(level, most):
    """The judge's transform of unrelated values, five seeds; of correlations themselves .066 and .0155."""
    rng = np.random.default_rng(7)
    draws = rng.standard_normal((2, 40_000, 5, 4))
    draws -= draws.mean(-1, keepdims=True)
    draws /= np.linalg.norm(draws, axis=-1, keepdims=True)
    correlations = draws.prod(0).sum(-1)
    ends = momenta.MOST

    def decided(values):
        ratio = values.mean(1) / values.std(1, ddof=1) * np.sqrt(5.0)
        return (2.0 * special.stdtr(4, -np.abs(ratio)) <= level).mean()

    assert decided(np.arctanh(np.clip(correlations, -ends, ends))) <= most
    assert decided(correlations) > 1.2 * level, "what is transformed needs it"


def test_steadiness_that_goes_with_accuracy_is_found():
    values = {arm.label(QUICK): value for value, arm in MAIN.momenta(QUICK).items()}

    class Steady(Planted):
        sign = 1.0

        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs":
                return rows
            shake = 0.01 + (1.0 - values[task.label] if self.sign > 0 else values[task.label])
            return [{**r, **{m: shake * self.draw() for m in momenta.MOMENTS}} for r in rows]

    def accuracy(label, seed, features):
        return 0.5 + 0.4 * values[label]

    finding = CLAIMS["F1"].judge(Steady(accuracy), QUICK)
    assert finding.answer == "reproduced"
    assert finding.rows[0]["first"] > 1.0, "what is tested is no correlation but its atanh"
    told = float(finding.sentence.split("steadiness and accuracy ")[1].split(".")[0] + "." +
                 finding.sentence.split("steadiness and accuracy ")[1].split(".")[1][:2])  # fmt: skip
    assert 0.5 < told <= 1.0, "and what is told is the correlation"
    found = Steady(accuracy)
    found.sign = -1.0
    assert CLAIMS["F1"].judge(found, QUICK).answer == "contradicted"


def test_scores_of_views_of_another_size_say_nothing_and_gradients_do():
    """Networks that were trained on 16 pixels, measured at 32 by an earlier version."""
    tier = replace(CPU, seeds=5, cap=20)

    class Older(Planted):
        def table(self, task, name):
            return [{k: v for k, v in row.items() if k != "view_height"} for row in super().table(task, name)]

    def accuracy(label, seed, features):
        return 0.5 + 0.01 * (len(label) + seed)

    assert "correlation" in CLAIMS["F1"].look(Planted(accuracy), tier).sentence
    found = CLAIMS["F1"].look(Older(accuracy), tier)
    assert found.answer == "undecided"
    assert found.sentence == momenta.OTHER_VIEWS
    assert hopeless(found.rows, [(10, 2 / 7), (20, 4 / 7)])
    assert CLAIMS["F7"].look(Older(accuracy), tier).rows[0]["difference"] == pytest.approx(0.0, abs=0.2)

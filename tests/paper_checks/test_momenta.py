"""F1 and F7: steady scores and fluctuating gradients, by momentum, in planted curves."""

import numpy as np
import pytest
from scipy import special

from paper_checks.papers import feature_transform
from paper_checks.tiers import QUICK
from tests.paper_checks.planted import Planted

CLAIMS = {claim.id: claim for claim in feature_transform.CLAIMS}
MAIN = feature_transform.MAIN


def test_a_gradient_that_rises_smoothly_does_not_fluctuate():
    """However steep its trend is: momentum 0's grows by a factor of eight, and the other's moves up and down."""

    class Trend(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs":
                return rows
            if "momentum=0" in task.label.split(","):
                return [{**r, "gradient_norm": 0.1 * 1.3 ** r["epoch"] * (1.0 + 1e-3 * self.draw())} for r in rows]
            return [{**r, "gradient_norm": 1.0 + 0.2 * (-1) ** int(r["epoch"]) + 1e-3 * self.draw()} for r in rows]

    finding = CLAIMS["F7"].look(Trend(lambda label, seed, features: 0.8), QUICK)
    assert finding.answer == "contradicted"
    assert finding.rows[0]["first"] < 0.01
    # Alternating norms of log 1.2 and log .8: all second differences are twice their distance.
    assert finding.rows[0]["second"] == pytest.approx(2.0 * np.log(1.2 / 0.8) / np.sqrt(6.0), rel=0.02)


def test_independent_fluctuations_have_their_own_size():
    rng = np.random.default_rng(2)
    epochs = [{"gradient_norm": float(np.exp(0.3 * e + 0.05 * rng.standard_normal()))} for e in range(2000)]
    # The relative standard error of a root mean square of so many, correlated, is below 3 %.
    assert feature_transform._fluctuation(epochs) == pytest.approx(0.05, rel=0.08)


@pytest.mark.parametrize(("level", "most"), [(0.05, 0.053), (0.05 / 7, 0.0085)])
def test_correlations_of_four_momenta_err_no_more_than_they_say(level, most):
    """The judge's transform of unrelated values, five seeds; of correlations themselves .066 and .0155."""
    rng = np.random.default_rng(7)
    draws = rng.standard_normal((2, 40_000, 5, 4))
    draws -= draws.mean(-1, keepdims=True)
    draws /= np.linalg.norm(draws, axis=-1, keepdims=True)
    correlations = draws.prod(0).sum(-1)
    ends = feature_transform.MOST

    def decided(values):
        ratio = values.mean(1) / values.std(1, ddof=1) * np.sqrt(5.0)
        return (2.0 * special.stdtr(4, -np.abs(ratio)) <= level).mean()

    assert decided(np.arctanh(np.clip(correlations, -ends, ends))) <= most
    assert decided(correlations) > 1.2 * level, "what is transformed needs it"


def test_steadiness_that_goes_with_accuracy_is_found():
    momenta = {arm.label(QUICK): value for value, arm in MAIN.momenta(QUICK).items()}

    class Steady(Planted):
        sign = 1.0

        def table(self, task, name):
            rows = super().table(task, name)
            if name != "epochs":
                return rows
            shake = 0.01 + (1.0 - momenta[task.label] if self.sign > 0 else momenta[task.label])
            return [{**r, **{m: shake * self.draw() for m in feature_transform.MOMENTS}} for r in rows]

    def accuracy(label, seed, features):
        return 0.5 + 0.4 * momenta[label]

    finding = CLAIMS["F1"].judge(Steady(accuracy), QUICK)
    assert finding.answer == "reproduced"
    assert finding.rows[0]["first"] > 1.0, "what is tested is no correlation but its atanh"
    told = float(finding.sentence.split("steadiness and accuracy ")[1].split(".")[0] + "." +
                 finding.sentence.split("steadiness and accuracy ")[1].split(".")[1][:2])  # fmt: skip
    assert 0.5 < told <= 1.0, "and what is told is the correlation"
    found = Steady(accuracy)
    found.sign = -1.0
    assert CLAIMS["F1"].judge(found, QUICK).answer == "contradicted"

"""Random searches notice bounds that are planted a little too strong."""

import numpy as np
import pytest

from synthetic.batches.seeding import generator
from synthetic.trials.registry import trial_of
from synthetic.trials.theorems import block_model
from theory import loss_certificate as lc
from theory import softmax_fusion as sf
from theory.judging.verdicts import Status

pytestmark = pytest.mark.theorems


def violated(key, count=6):
    trial = trial_of(key)
    return any(trial.check(trial.draw(generator(0, i))).status is Status.VIOLATED for i in range(count))


def test_a_mass_bound_five_percent_too_cold_is_noticed(monkeypatch, as_users_call):
    mass = sf._mass
    monkeypatch.setattr(sf, "_mass", lambda gap, kappa, *sizes: mass(gap, 1.05 * kappa, *sizes))
    assert violated("theorem_3")


def test_spread_caps_that_forget_the_norms_are_noticed(monkeypatch, as_users_call):
    caps = sf.spread_caps
    monkeypatch.setattr(sf, "spread_caps", lambda gamma, *rest: np.minimum(caps(gamma, *rest), 0.5 * (1.0 - gamma)))
    assert violated("theorem_3")


def test_a_certificate_a_percent_too_high_is_noticed(monkeypatch, as_users_call):
    inverse = lc.certified_sharpness
    monkeypatch.setattr(lc, "certified_sharpness", lambda jsd: 1.0 - 0.99 * (1.0 - inverse(jsd)))
    assert violated("theorem_4")


@pytest.mark.parametrize("key", ["block_model", "proposition_5"])
def test_a_stack_of_another_mixing_is_noticed(monkeypatch, as_users_call, key):
    column = block_model.column
    monkeypatch.setattr(block_model, "column", lambda values: column(np.where(values > 0.1, 0.9 * values, values)))
    assert violated(key)


def test_a_margin_without_its_threshold_term_is_noticed(monkeypatch, as_users_call):
    margin = block_model.sharpening_margin

    def forgetful(within, between, clusters, size, power, mixing, threshold):
        a_w, a_b = (within - threshold) ** power, (between - threshold) ** power
        row = (size - 1) * a_w + (clusters - 1) * size * a_b
        mu_inner = 1 - mixing * size * (a_w + (clusters - 1) * a_b) / row
        mu_contrast = 1 - clusters * size * mixing * a_b / row
        x = a_b * (1 + mu_contrast) * (1 + (size - 1) * within - size * between)
        y = (a_w + (clusters - 1) * a_b) * (1 + mu_inner) * (1 - within)
        spent = threshold * (within - between) * ((clusters - 1) * x + (size - 1) * y)
        return margin(within, between, clusters, size, power, mixing, threshold) + spent

    monkeypatch.setattr(block_model, "sharpening_margin", forgetful)
    assert violated("proposition_5", 12)


def test_bounds_of_theorem_2b_a_little_too_strong_are_noticed(monkeypatch, as_users_call):
    from theory import noise_ceiling

    true = noise_ceiling.bounded_extremes
    monkeypatch.setattr(noise_ceiling, "bounded_extremes", lambda w, b, eps: true(w, b, 0.98 * eps))
    assert violated("theorem_2b_bounded", 12)

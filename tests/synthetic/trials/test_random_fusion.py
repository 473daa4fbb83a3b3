"""Random batches for Theorems 3 and 4, the block model and Proposition 5: what is drawn, and that it would tell."""

import numpy as np
import pytest
import torch

from synthetic.batches.seeding import generator
from synthetic.trials import random_fusion as rf
from tests.strategies import labels_of
from theory import loss_certificate as lc
from theory import softmax_fusion as sf
from theory.verdicts import Status

pytestmark = pytest.mark.theorems

SHAPES = [rf.softmax_shape, rf.certificate_shape, rf.block_model_shape, rf.sharpening_shape]


def verdicts(draw, count=6, seed=0):
    return [draw(generator(seed, i)) for i in range(count)]


def violated(draw, count=6):
    return any(v.status is Status.VIOLATED for v in verdicts(draw, count))


@pytest.mark.parametrize(("clusters", "size"), [(2, 2), (3, 4), (5, 2)])
def test_equiangular_batches_have_their_cosines(clusters, size):
    rng = np.random.default_rng(0)
    within = rng.uniform(0.0, 1.0, 20)
    # Every cosine that a batch can have, both ends included.
    low, high = -(1 + (size - 1) * within) / ((clusters - 1) * size), (1 + (size - 1) * within) / size
    between = low + (high - low) * np.concatenate([[0.0, 1.0], rng.random(18)]) * (1 - 1e-12)
    between = np.maximum(between, low * (1 - 1e-12))
    points = rf.equiangular_batches(within, between, clusters, size)
    labels = labels_of((size,) * clusters)
    for trial in range(20):
        for i, x in enumerate(points[trial]):
            for j, y in enumerate(points[trial]):
                same = within[trial] if labels[i] == labels[j] else between[trial]
                assert x @ y == pytest.approx(1.0 if i == j else same, abs=1e-13)


def test_cosines_that_no_batch_has_are_refused():
    for between in (0.8, -0.8):
        with pytest.raises(ValueError, match=r"^between:"):
            rf.equiangular_batches(np.array([0.1]), np.array([between]), 2, 3)


@pytest.mark.parametrize("draw", SHAPES)
def test_what_is_true_holds_on_random_batches(as_users_call, draw):
    found = verdicts(draw, 12)
    assert all(v.status is not Status.VIOLATED for v in found), [str(v) for v in found]
    # A loss of nearly ln 2 certifies nothing, and such a batch does not count.
    least = 1 if draw is rf.certificate_shape else rf.BATCHES_A_SHAPE
    assert all(least <= v.applicable <= rf.BATCHES_A_SHAPE for v in found)
    assert sum(v.status is Status.HOLDS for v in found) >= 9


def test_a_search_counts_names_and_repeats_itself(as_users_call):
    found = rf.search_random_fusion(700, 3)
    assert [v.statement for v in found] == [
        f"{name} on random batches" for name in ("Theorem 3", "Theorem 4", "Block model", "Proposition 5")
    ]
    assert all(v.applicable >= 700 for v in found)
    assert {v.status for v in found} <= {Status.HOLDS, Status.UNDECIDED}
    assert found == rf.search_random_fusion(700, 3)
    assert found != rf.search_random_fusion(700, 4)


def test_batches_for_theorem_3_are_of_every_kind():
    """Overlapping and separate clusters, positive and negative cosines."""
    alphas, lowest = [], []
    for i in range(12):
        points, sizes = rf._clusters(generator(0, i))
        assert points.shape[:2] == (rf.BATCHES_A_SHAPE, sum(sizes))
        np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1.0, atol=1e-14)
        cosines = points @ np.swapaxes(points, -1, -2)
        same = np.equal.outer(labels_of(sizes), labels_of(sizes))
        alphas.append(np.where(same, cosines, 1).min((1, 2)) - np.where(same, -1, cosines).max((1, 2)))
        lowest.append(cosines.min((1, 2)))
    assert 0.1 < np.mean(np.concatenate(alphas) > 0) < 0.9
    assert 0.1 < np.mean(np.concatenate(lowest) > 0) < 0.9


# --- each search notices what it is there to notice -------------------------------------------------------------------


def test_a_mass_bound_five_percent_too_cold_is_noticed(monkeypatch, as_users_call):
    mass = sf._mass
    monkeypatch.setattr(sf, "_mass", lambda gap, kappa, *sizes: mass(gap, 1.05 * kappa, *sizes))
    assert violated(rf.softmax_shape)


def test_spread_caps_that_forget_the_norms_are_noticed(monkeypatch, as_users_call):
    caps = sf.spread_caps
    monkeypatch.setattr(sf, "spread_caps", lambda gamma, *rest: np.minimum(caps(gamma, *rest), 0.5 * (1.0 - gamma)))
    assert violated(rf.softmax_shape)


def test_a_certificate_of_half_a_loss_is_noticed(monkeypatch, as_users_call):
    jsd = rf.affinity_jsd
    monkeypatch.setattr(rf, "affinity_jsd", lambda *a: 0.5 * jsd(*a))
    assert violated(rf.certificate_shape)


def test_a_certificate_a_percent_too_high_is_noticed(monkeypatch, as_users_call):
    inverse = lc.certified_sharpness
    monkeypatch.setattr(lc, "certified_sharpness", lambda jsd: 1.0 - 0.99 * (1.0 - inverse(jsd)))
    assert violated(rf.certificate_shape)


@pytest.mark.parametrize("draw", [rf.block_model_shape, rf.sharpening_shape])
def test_a_stack_of_another_mixing_is_noticed(monkeypatch, as_users_call, draw):
    column = rf.column
    monkeypatch.setattr(rf, "column", lambda values: column(np.where(values > 0.1, 0.9 * values, values)))
    assert violated(draw)


def test_a_margin_without_its_threshold_term_is_noticed(monkeypatch, as_users_call):
    margin = rf.sharpening_margin

    def forgetful(within, between, clusters, size, power, mixing, threshold):
        a_w, a_b = (within - threshold) ** power, (between - threshold) ** power
        row = (size - 1) * a_w + (clusters - 1) * size * a_b
        mu_inner = 1 - mixing * size * (a_w + (clusters - 1) * a_b) / row
        mu_contrast = 1 - clusters * size * mixing * a_b / row
        x = a_b * (1 + mu_contrast) * (1 + (size - 1) * within - size * between)
        y = (a_w + (clusters - 1) * a_b) * (1 + mu_inner) * (1 - within)
        spent = threshold * (within - between) * ((clusters - 1) * x + (size - 1) * y)
        return margin(within, between, clusters, size, power, mixing, threshold) + spent

    monkeypatch.setattr(rf, "sharpening_margin", forgetful)
    assert violated(rf.sharpening_shape, 12)


def test_columns_broadcast_against_batches():
    assert rf.column_array(np.arange(3.0)).shape == rf.column(np.arange(3.0)).shape == (3, 1, 1)
    assert isinstance(rf.column(np.arange(3.0)), torch.Tensor)

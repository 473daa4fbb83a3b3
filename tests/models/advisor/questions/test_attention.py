"""The choice of threshold and temperature."""

import numpy as np
import pytest
import torch

from models.advisor.batches import draw_batches, measure_batches
from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool, pool_of
from models.advisor.questions.attention import INVERSE_TEMPERATURES, THRESHOLDS, choose_attention, weight_of
from tests.models.advisor.rows import gaussian_set

CONFIG = AdvisorConfig()


def test_the_sharpest_candidate_with_enough_neighbors():
    pool = pool_of(gaussian_set(0), True)
    for choice, values in zip(choose_attention(pool, 24, CONFIG), (THRESHOLDS, INVERSE_TEMPERATURES)):
        assert [row["at"] for row in choice.rows] == list(values)
        allowed = [row for row in choice.rows if row["neighbors"] >= 4]
        best = max(allowed, key=lambda row: row["value"])
        assert (choice.value, choice.sharpness) == (best["at"], best["value"])
        assert max(row["value"] for row in choice.rows) > choice.sharpness, "sharpness alone would look at fewer rows"
        assert choice.low <= choice.value <= choice.high
        assert choice.above_chance
        fresh = draw_batches(pool, 24, 400, np.random.default_rng(9))
        measured = measure_batches(pool, [choice.weight()], fresh)[0]
        assert choice.sharpness == pytest.approx(measured.mean[0], abs=4 * choice.error)


def test_effective_neighbors_of_equal_weights_are_their_number():
    """A clique: every row attends to the eleven others alike."""
    points = torch.eye(3)[:1].repeat(24, 1)
    pool = Pool(points, np.arange(24) % 2, None, np.ones(24, dtype=bool), False)
    relu, softmax = choose_attention(pool, 12, CONFIG)
    np.testing.assert_allclose([row["neighbors"] for row in (*relu.rows, *softmax.rows)], 11.0)
    assert not relu.above_chance


def test_too_few_neighbors_leave_it_undecided():
    relu, softmax = choose_attention(pool_of(gaussian_set(0), True), 4, CONFIG)
    assert relu.value is softmax.value is None
    assert not relu.above_chance
    with pytest.raises(ValueError, match="no candidate leaves enough effective neighbors"):
        relu.weight()


def test_weights_by_name():
    assert weight_of("relu", 0.25).threshold == 0.25
    assert weight_of("softmax", 4.0).inverse_temperature == 4.0

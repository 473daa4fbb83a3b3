"""Where curves over strengths and layers turn."""

import math

import numpy as np
import pytest

from models.advisor.batches import BatchMeans
from models.advisor.config import AdvisorConfig
from models.advisor.pool import pool_of
from models.advisor.questions.curves import SizePoint
from models.advisor.questions.depth import depth_curve, read_curve
from models.advisor.questions.strength import crossing, reach, strength_limit
from tests.models.advisor.rows import gaussian_set
from theory.batch_law import Weight


def test_the_first_crossing_counts():
    assert crossing([0, 1, 3], [1.0, 0.8, 0.2], 0.5) == pytest.approx(2.0)
    assert crossing([0, 1, 2, 3], [1.0, 0.4, 0.9, 0.1], 0.5) == pytest.approx(5 / 6)
    assert crossing([0, 1], [1.0, 0.5], 0.5) == math.inf
    assert crossing([0, 1], [0.4, 0.9], 0.5) == 0.0


def point(middle, half=0.0):
    return SizePoint("relu", 16, middle - half, middle + half, 0.0, 1.0, 0.0, 100)


def test_a_limit_between_two_strengths():
    """Excess .8, .6, .2 over chance .1, half of .8 is lost half way from 1 to 3."""
    points = [point(0.9), point(0.7), point(0.3)]
    noise = np.array([-0.01, 0.01, -0.01, 0.01])
    means = [0.9 + 0 * noise, 0.7 + noise, 0.3 + noise]
    found = strength_limit([0, 1, 3], points, means, 0.1, 0.5, 64)
    assert found.value == found.low == found.high == pytest.approx(2.0)
    # One batch of 16 of 64 rows moves the excess there by noise; a strength by that over the slope.
    expected = noise.std(ddof=1) * math.sqrt(16 / (1 - 16 / 64)) / 0.2
    assert found.deviation == pytest.approx(expected, rel=1e-3)
    assert found.rows == 64


def test_of_two_slopes_the_flatter_one_counts():
    """At a knot, 4 before and .5 after it: an error of .1 moves the crossing by up to .2."""
    assert reach([0, 1, 3], [5.0, 1.0, 0.0], 1.0, 0.1) == pytest.approx(0.2)
    assert reach([0, 1, 3], [5.0, 1.0, 0.0], 3.0, 0.1) == pytest.approx(0.1 / 4)
    assert reach([0, 1, 3], [5.0, 1.0, 0.9], 1.0, 1.0) == 1.0, "up to the last strength"


def test_brackets_widen_a_limit_and_may_leave_it_open():
    means = [np.array([0.9, 0.9])] * 3
    found = strength_limit([0, 1, 3], [point(0.9, 0.01), point(0.7, 0.01), point(0.3, 0.01)], means, 0.1, 0.5, 64)
    assert found.low == pytest.approx(crossing([0, 1, 3], [0.79, 0.59, 0.19], 0.405))
    assert found.high == pytest.approx(crossing([0, 1, 3], [0.81, 0.61, 0.21], 0.395))
    open_ended = strength_limit([0, 1, 3], [point(0.9), point(0.8), point(0.7)], means, 0.1, 0.5, 64)
    assert open_ended.value == open_ended.high == math.inf
    assert math.isnan(open_ended.deviation)


def test_peak_and_over_fusion_of_layers():
    values = np.array([[0.5, 0.52], [0.7, 0.72], [0.69, 0.73], [0.4, 0.36], [0.2, 0.22]])
    found = read_curve("softmax", BatchMeans(values, 8, 100), 0.1)
    assert (found.peak, found.peak_low, found.peak_high) == (1, 1, 2)
    assert found.fused == 3, "below .1 + half of .61"
    rising = read_curve("relu", BatchMeans(values[:2], 8, 100), 0.1)
    assert (rising.peak, rising.fused) == (1, None)


def test_a_stack_on_batches_of_the_rows():
    pool = pool_of(gaussian_set(0), True)
    config = AdvisorConfig(depth=12, batches=6)
    fused = depth_curve(pool, "softmax", Weight("exponential", inverse_temperature=2.0), 24, config)
    assert len(fused.means) == 13
    assert fused.means[-1] < fused.means[fused.peak]
    assert fused.fused is not None
    assert fused.chance == pool.chance
    again = depth_curve(pool, "softmax", Weight("exponential", inverse_temperature=2.0), 24, config)
    assert again == fused

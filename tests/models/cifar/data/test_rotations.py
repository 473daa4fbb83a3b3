"""Turns of images: which way, how far, and what they leave alone. The reference of test_views.py has them too."""

import math
from dataclasses import replace

import torch
from scipy import stats

from models.cifar.data.views import ViewConfig, apply_parameters, draw_parameters
from tests.models.cifar.data.test_views import LEVEL, OFF, ROUNDING, N, random_images, seeded


def test_a_quarter_turn_is_clockwise():
    images, config = random_images(3), ViewConfig(**{**OFF, "rotation": 90.0})
    parameters = replace(draw_parameters(3, 1.0, config, seeded()), turn=torch.full((3,), math.pi / 2))
    wanted = images.rot90(-1, (2, 3)) / 255
    torch.testing.assert_close(apply_parameters(images, parameters, config), wanted, rtol=0, atol=ROUNDING)


def test_turns_are_uniform_to_both_sides_and_leave_all_else_as_it_was():
    bare, drawn = (draw_parameters(N, 1.0, ViewConfig(rotation=turn), seeded()) for turn in (0.0, 30.0))
    assert not bare.turn.any()
    assert stats.kstest(drawn.turn.double().numpy() / (math.pi / 6), "uniform", (-1, 2)).pvalue > LEVEL
    for name in ("crop", "flipped", "jittered", "jitter", "order", "gray", "blurred", "blur_sigma"):
        assert torch.equal(getattr(bare, name), getattr(drawn, name)), name
    half = draw_parameters(N, 1.0, ViewConfig(rotation=30.0, strength=0.5), seeded())
    torch.testing.assert_close(half.turn, drawn.turn / 2)

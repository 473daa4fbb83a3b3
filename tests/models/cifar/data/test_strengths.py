"""One strength scales all augmentations: against settings scaled by hand, and from the image to the whole view."""

from dataclasses import replace

import pytest
import torch

from models.cifar.data.views import ViewConfig, draw_parameters, evaluation_view, make_view

BASE = ViewConfig(min_area=0.2, flip=False, color_jitter=0.8, grayscale=0.4, blur=0.6, noise_level=0.1)
IMAGES = torch.randint(256, (64, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def seeded():
    return torch.Generator().manual_seed(5)


def test_half_a_strength_is_half_of_every_augmentation():
    by_hand = ViewConfig(min_area=0.6, flip=False, color_jitter=0.4, grayscale=0.2, blur=0.3, noise_level=0.05)
    found = make_view(IMAGES, replace(BASE, strength=0.5), seeded())
    assert torch.equal(found, make_view(IMAGES, by_hand, seeded()))
    assert not torch.equal(found, make_view(IMAGES, BASE, seeded()))
    # A fifth more: 1.2 x .8 of the area may be left out.
    more = ViewConfig(min_area=0.04, flip=False, color_jitter=0.96, grayscale=0.48, blur=0.72, noise_level=0.12)
    torch.testing.assert_close(make_view(IMAGES, replace(BASE, strength=1.2), seeded()),
                               make_view(IMAGES, more, seeded()), atol=1e-4, rtol=0.0)  # fmt: skip


def test_flips_have_half_the_probability_and_never_more_than_all_of_it():
    shares = {}
    for strength in (0.0, 0.5, 1.0, 1.2):
        drawn = draw_parameters(20_000, 1.0, replace(BASE, flip=True, strength=strength), seeded())
        shares[strength] = drawn.flipped.double().mean().item()
    assert shares[0.0] == 0.0
    # Five standard deviations of 20,000 draws.
    assert shares[0.5] == pytest.approx(0.25, abs=0.016)
    assert shares[1.0] == shares[1.2] == pytest.approx(0.5, abs=0.018)


def test_at_strength_0_views_are_the_images():
    for memory in (torch.contiguous_format, torch.channels_last):
        images = IMAGES.contiguous(memory_format=memory)
        config = replace(BASE, flip=True, strength=0.0)
        assert torch.equal(make_view(images, config, seeded()), evaluation_view(images, config))


def test_a_weaker_view_is_the_same_view_less_far():
    """Crops keep more, and who is gray or blurred at a small strength is so at a larger one."""
    weak, strong = (draw_parameters(500, 1.0, replace(BASE, strength=s), seeded()) for s in (0.3, 0.9))
    assert weak.crop[:, 2:].prod(1).mean() > strong.crop[:, 2:].prod(1).mean() + 0.1
    assert weak.crop[:, 2:].prod(1).min() > 1.0 - 0.3 * 0.8 - 1e-6
    for name in ("gray", "blurred"):
        assert (getattr(weak, name) <= getattr(strong, name)).all()
        assert getattr(weak, name).any()
    assert torch.allclose((weak.jitter - 1.0)[:, :3] * 3.0, (strong.jitter - 1.0)[:, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "strength", "named"),
    [
        ({}, 1.25, "strength: must be below 1.25, where crops have no area left"),
        ({"min_area": 0.5}, 2.0, "strength: must be below 2, "),
        ({"crop": False}, 5.1, "strength: must be at most 5, which carries (color_jitter to 2.5|grayscale to 1)"),
        ({"crop": False, "color_jitter": 0.0}, 5.1, "strength: must be at most 5, which carries grayscale to 1"),
        ({"crop": False, "blur": 0.8}, 1.3, "strength: must be at most 1.25, which carries blur to 1"),
        ({"crop": False, "rotation": 100.0}, 1.9, "strength: must be at most 1.8, which carries rotation to 180"),
        ({}, -0.1, "strength: must lie in"),
        ({}, float("nan"), "strength: "),
    ],
)
def test_strengths_that_leave_a_range_are_refused(settings, strength, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        ViewConfig(strength=strength, **settings)
    assert ViewConfig(**settings).strength == 1.0


def test_what_a_strength_does_not_reach_does_not_bound_it():
    alone = ViewConfig(crop=False, color_jitter=0.0, grayscale=0.0, noise_level=0.1)
    assert replace(alone, strength=40.0).scaled("noise_level") == pytest.approx(4.0)

"""Views of another size than the images', against the ramps that bilinear resampling keeps."""

import numpy as np
import pytest
import torch

from models.cifar.data.views import ViewConfig, draw_parameters, evaluation_view, make_views

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
OFF = {"color_jitter": 0.0, "grayscale": 0.0, **PLAIN}
ROUNDING = 2e-5
N, HEIGHT, WIDTH = 9, 12, 15


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramps():
    """Images that rise by one unit a pixel from left to right, and by ten from top to bottom."""
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return torch.from_numpy(np.broadcast_to(across + 10 * down, (N, 3, HEIGHT, WIDTH)).astype(np.uint8).copy())


def places(start, extent, count, pixels):
    """Where a view's pixels lie in the image, in its pixels: middles of equal parts of the crop, inside the image."""
    middles = (np.arange(count) + 0.5) / count
    return np.clip((start + extent * middles) * pixels - 0.5, 0, pixels - 1)


@pytest.mark.parametrize("size", [(6, 5), (7, 15), (24, 40), (1, 1)])
@pytest.mark.parametrize("crop", [True, False])
def test_views_of_a_size_sample_the_crop_evenly(size, crop):
    config = ViewConfig(crop=crop, **OFF)
    (views,) = make_views(ramps(), config, [seeded()], size)
    assert views.shape == (N, 3, *size)
    drawn = draw_parameters(N, WIDTH / HEIGHT, config, seeded())
    assert drawn.flipped.any()
    assert not drawn.flipped.all()
    for view, flipped, numbers in zip(views, drawn.flipped, drawn.crop.numpy()):
        left, top, wide, high = numbers if crop else (0.0, 0.0, 1.0, 1.0)
        across, down = places(left, wide, size[1], WIDTH), places(top, high, size[0], HEIGHT)
        wanted = (across + 10 * down[:, None]) / 255
        wanted = wanted[:, ::-1] if flipped else wanted
        np.testing.assert_allclose(view.numpy(), np.broadcast_to(wanted, view.shape), rtol=0, atol=ROUNDING)


def test_a_size_changes_neither_what_is_drawn_nor_views_of_the_images_own():
    images, config = ramps(), ViewConfig()
    own = make_views(images, config, [seeded(1), seeded(2)])
    for found, wanted in zip(make_views(images, config, [seeded(1), seeded(2)], (HEIGHT, WIDTH)), own):
        assert torch.equal(found, wanted)
    generator, other = seeded(), seeded()
    make_views(images, config, [generator])
    make_views(images, config, [other], (5, 5))
    assert torch.equal(generator.get_state(), other.get_state())


def test_at_strength_zero_the_image_is_resized_and_noise_has_the_views_size():
    images = ramps()
    (still,) = make_views(images, ViewConfig(strength=0.0, **PLAIN), [seeded()], (HEIGHT // 3, WIDTH // 3))
    # Three pixels by three, of which the middle one is where the view looks.
    torch.testing.assert_close(still, images[:, :, 1::3, 1::3] / 255, rtol=0, atol=ROUNDING)
    noisy = ViewConfig(crop=False, flip=False, noise_level=0.1, **OFF)
    (first,) = make_views(images, noisy, [seeded()], (40, 50))
    (without,) = make_views(images, ViewConfig(crop=False, flip=False, **OFF), [seeded()], (40, 50))
    # 54,000 normal draws: five standard errors of their deviation.
    assert (first - without).std().item() == pytest.approx(0.1, abs=5 * 0.1 / np.sqrt(2 * first.numel()))


def test_channels_last_and_no_images():
    images = ramps().contiguous(memory_format=torch.channels_last)
    (views,) = make_views(images, ViewConfig(), [seeded()], (5, 5))
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert make_views(images[:0], ViewConfig(), [seeded()], (5, 6))[0].shape == (0, 3, 5, 6)
    assert evaluation_view(images, ViewConfig()).shape == images.shape


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_bad_sizes_are_named(size):
    with pytest.raises(ValueError, match=r"^size:"):
        make_views(ramps(), ViewConfig(), [seeded()], size)

"""Rings around a point: what is closer to the root than a limit, or farther, adds up to what the sphere has there."""

import numpy as np
import pytest

from theory.lemmas.soft_reach import Reach
from theory.sphere import cap_measure

ANGLES = np.linspace(0.0, np.pi, 401)


def reach(dim, squared, *kernels):
    return Reach(dim, squared, np.linspace(0.0, np.pi, 5), ANGLES, np.stack(kernels, axis=-1), 24)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dim", [2, 3, 5])
def test_all_samples_of_a_cap_are_counted_once(dim, squared):
    """With an edge to every sample the answer is the cap's measure, wherever the point stands."""
    rings = reach(dim, squared, np.ones_like(ANGLES))
    top = np.pi / 2 if squared else np.pi
    distance, limit = np.array([0.2, 0.7, 1.4])[:, None], np.linspace(0.1, 0.95, 5) * top
    cap = (2.0 if squared else 1.0) * cap_measure(dim, limit)
    within, beyond = rings.within(distance, limit)[..., 0], rings.beyond(distance, limit)[..., 0]
    np.testing.assert_allclose(within, np.broadcast_to(cap, within.shape), atol=2e-5)
    np.testing.assert_allclose(within + beyond, 1.0, atol=2e-5)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_the_mean_cosine_over_a_cap_falls_with_the_distance_from_its_centre(dim):
    """Over the cap of radius t around R the mean of cos(angle to x) is cos d times that of cos(angle to R)."""
    rings = reach(dim, False, np.cos(ANGLES))
    limit = np.array([0.9])
    center = rings.within(np.array([1e-9]), limit)[0, 0]
    for distance in (0.3, 1.0, 2.2):
        found = rings.within(np.array([distance]), limit)[0, 0]
        assert found == pytest.approx(np.cos(distance) * center, abs=2e-5)

"""Lens and reach of theory.md 2c where an elementary integral gives them: r = 3 and 4."""

import numpy as np
import pytest

from tests import reference_sphere
from theory.sphere import lens, reach


@pytest.mark.parametrize("degrees", [20, 44, 60, 85])
@pytest.mark.parametrize("distance", [30, 75, 89, 120, 165])
def test_the_lens_on_the_ordinary_sphere_is_its_closed_form(degrees, distance):
    """r = 3: two caps meet in an area of elementary functions; squared, the same with the antipode of the root."""
    radius, d = np.radians([degrees, distance])
    exact = reference_sphere.cap_overlap(radius, d, d)
    assert lens(3, np.array([d]), radius)[0] == pytest.approx(exact, rel=2e-3)
    if distance < 90:
        exact = 2 * (exact + reference_sphere.cap_overlap(radius, np.pi - d, d))
        assert lens(3, np.array([d]), radius, True)[0] == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(
    ("dim", "degrees", "distance", "p", "psi", "squared"),
    [(3, 30, 60, 25, 100, False), (3, 60, 75, 55, 85, False), (3, 80, 130, 70, 110, False), (3, 40, 60, 35, 82, True),
     (3, 65, 85, 60, 88, True), (4, 45, 60, 40, 85, False), (4, 80, 110, 75, 107, False), (4, 44, 70, 40, 84, True),
     (4, 65, 85, 60, 88, True)],
)  # fmt: skip
def test_the_reach_is_a_single_integral(dim, degrees, distance, p, psi, squared):
    """r = 3 and 4: at every distance from the root, arcs of a circle and closed areas of caps on a sphere."""
    radius, d, p, psi = np.radians([degrees, distance, p, psi])
    far = np.arccos(np.cos(d) * np.cos(p) + np.sin(d) * np.sin(p) * np.cos(psi))
    turn = np.arccos((np.cos(p) - np.cos(d) * np.cos(far)) / (np.sin(d) * np.sin(far)))
    exact = reference_sphere.reach(dim, radius, d, far, turn, squared)
    total, side = (part[0] for part in reach(dim, radius, *np.array([[d], [far], [turn]]), squared))
    assert total == pytest.approx(exact[0], rel=5e-3)
    if dim == 3:
        assert side == pytest.approx(exact[1], rel=5e-3)

"""Theorem 2g's quadrature: bounds against another computation of them; what is called proved when rules disagree."""

import numpy as np
import pytest

from tests.theory.lemmas.soft_quadrature import root_alone, two_sided
from theory import soft_floor as floors
from theory.batch_floor import gaussian_connection, gaussian_guarantee
from theory.lemmas.soft_graph import RULES, Rules, SoftGraph, soft_descent
from theory.soft_floor import cross_threshold, is_soft_guaranteed, soft_floor
from theory.sphere import cap_measure

pytestmark = pytest.mark.theorems
RIGHT = np.pi / 2

# dim, ambient, clusters, noise, angle, delta, size, and the bound there by rules far finer than these, written for the
# purpose by someone else; sharp in the second point's distance (first rows, and the last), of a small difference of
# large powers, or in the tail of the alignment. Every one but the last exceeds its budget.
PLACES = [
    (10, 64, 2, 0.1, 1.2, 0.05, 314, 1.252e-2),
    (8, 64, 3, 0.3, RIGHT, 1e-5, 220, 1.786e-6),
    (3, 64, 3, 0.5, RIGHT, 1e-6, 129, 1.87e-7),
    (3, 64, 3, 0.5, RIGHT, 1e-9, 228, 6.3e-10),
    (3, 64, 1000, 0.3, RIGHT, 1e-6, 101, 1.95e-9),
    (4, 64, 2, 0.05, 0.6, 1e-4, 933, 1.90e-5),
]


def threshold_at(ambient, clusters, noise, angle, delta, size, squared=False):
    return cross_threshold(ambient, clusters * (clusters - 1) // 2 * size**2, angle, noise, delta, squared)


@pytest.mark.parametrize("place", PLACES)
def test_bounds_at_hard_places(place):
    dim, ambient, clusters, noise, angle, delta, size, expected = place
    threshold = threshold_at(ambient, clusters, noise, angle, delta, size)
    rough = soft_descent(dim, ambient, noise, threshold).bound(size)
    fine = soft_descent(dim, ambient, noise, threshold, rules=RULES.finer()).bound(size)
    assert fine == pytest.approx(expected, rel=0.02, abs=0.0)
    assert rough == pytest.approx(expected, rel=0.03, abs=0.0)
    proved = is_soft_guaranteed(dim, ambient, clusters, size, noise, angle, delta)
    assert proved is (expected < delta / (2 * clusters))


@pytest.mark.parametrize(
    ("dim", "ambient", "noise", "threshold", "size", "squared"),
    [(3, 64, 0.5, 0.3224, 35, False), (3, 64, 0.5, 0.4852, 129, False), (3, 64, 0.5, 0.5557, 228, False),
     (5, 64, 0.5, 0.35, 34, True)],
)  # fmt: skip
def test_bounds_are_those_of_other_integrals(dim, ambient, noise, threshold, size, squared):
    bounds = soft_descent(dim, ambient, noise, threshold, squared, RULES.finer())
    assert bounds.two_sided(size) == pytest.approx(
        two_sided(dim, ambient, noise, threshold, size, squared), rel=0.02, abs=0.0
    )


def test_a_target_deep_in_the_alignments_tail_is_not_called_reached():
    """Isolated points alone are expected 4.55e-12 times here, 27 times the budget, within which 10 nodes of the
    alignment would find them: 1.5e-13."""
    threshold = threshold_at(64, 3, 0.5, RIGHT, 1e-12, 410)
    bounds = soft_descent(3, 64, 0.5, threshold, rules=RULES.finer())
    expected = root_alone(3, 64, 0.5, threshold, 410, 40)
    assert 410 * expected == pytest.approx(4.55e-12, rel=0.02, abs=0.0)
    assert (1.0 - bounds.degree) ** 409 @ bounds.shares == pytest.approx(expected, rel=0.03, abs=0.0)
    assert not is_soft_guaranteed(3, 64, 3, 410, 0.5, RIGHT, 1e-12)


@pytest.mark.parametrize(
    ("dim", "ambient", "noise", "threshold", "squared"),
    [(3, 64, 0.5, 0.5, False), (3, 12, 0.5, 0.6, True), (2, 8, 0.5, 0.5, False), (2, 8, 0.5, 0.7, True),
     (9, 64, 0.2, 0.3, False), (9, 64, 0.2, 0.3, True)],
)  # fmt: skip
def test_what_is_beyond_has_an_edge_or_none(dim, ambient, noise, threshold, squared):
    """Samples on this side of a limit with and without an edge, and beyond with and without: all there are."""
    reach = SoftGraph(dim, ambient, noise, threshold, squared).reach
    half = reach.kernels.shape[1] // 2
    distance, limit = np.array([0.3, 0.3, 1.1, 1.5]), np.array([0.2, 0.9, 1.1, 0.4])
    within, beyond = reach.within(distance, limit), reach.beyond(distance, limit)
    whole = (within + beyond)[:, :half] + (within + beyond)[:, half:]
    assert whole == pytest.approx(np.full_like(whole, 1.0), rel=1e-3)
    share = within[:, :half] + within[:, half:]
    expected = (2.0 if squared else 1.0) * cap_measure(dim, limit)
    assert share == pytest.approx(np.broadcast_to(expected[:, None], share.shape), rel=1e-3)


def test_a_sample_near_the_antipode_hardly_ever_lacks_its_edge():
    """Where an edge is nearly certain, 1 - h and its integral have all their digits: not a difference of two shares."""
    graph = SoftGraph(3, 64, 0.4, 0.2, False, RULES.finer())
    near = np.array([0.02, 0.2, 0.4])
    found, none = graph.edges(near)
    assert found + none == pytest.approx(np.ones_like(found), abs=1e-12)
    assert (none @ graph.law[1] < 1e-6).all()
    missed = graph.reach.beyond(np.pi - near, np.pi - near)[:, none.shape[1] :]
    # At most the cap times the largest 1 - h in it; at least a tenth of the cap times 1 - h from 1.5 radii on.
    low, high = (graph.edges(factor * near)[1] for factor in (1.5, 2.0))
    cap = np.sin(near / 2.0)[:, None] ** 2
    assert (missed @ graph.law[1] > 0.0).all()
    assert (missed <= cap * high).all()
    assert (missed >= 0.1 * cap * low).all()


# --- what is called proved --------------------------------------------------------------------------------------------

CRUDE = Rules(alignments=2, angle=4, distance=4, second=2, table=10)


def test_floors_stand_where_both_rules_prove_them():
    """The bound at 314 points is 1.252e-2, above delta/4; 315 are enough."""
    assert soft_floor(10, 64, 2, 0.1, 1.2, 0.05) in (315, 316)


def test_rules_that_disagree_prove_less(monkeypatch):
    """With rules so crude that their bound is 30 % too small, what is returned is proved by the finer ones all the
    same, with room for what they change."""
    place = 4, 64, 2, 0.05, 0.6, 0.01
    monkeypatch.setattr(floors, "RULES", CRUDE)
    size = soft_floor(*place)
    threshold = threshold_at(64, 2, 0.05, 0.6, 0.01, size)
    rough, fine = (soft_descent(4, 64, 0.05, threshold, rules=rules).bound(size) for rules in (CRUDE, CRUDE.finer()))
    assert fine > 1.3 * rough
    assert 0.95 * 0.01 / 4 < 1.01 * fine + (fine - rough) <= 0.01 / 4
    assert is_soft_guaranteed(4, 64, 2, size, *place[3:])
    assert not is_soft_guaranteed(4, 64, 2, size - 1, *place[3:])
    monkeypatch.undo()
    assert is_soft_guaranteed(4, 64, 2, size - 1, *place[3:])


def test_a_threshold_that_floats_cannot_tell_from_one_proves_nothing():
    """Planes 1e-8 apart: some cross pair of a trillion passes every cosine that differs from 1 in its digits."""
    assert cross_threshold(4, 10**12, 1e-8, 1e-6, 0.05, False) == 1.0
    assert not is_soft_guaranteed(2, 4, 2, 10**6, 1e-6, 1e-8, 0.05)
    assert soft_floor(2, 4, 2, 1e-6, 1e-9, 0.05, largest=3) is None
    link = gaussian_connection(4, 2, 10**6, 1e-8, 1e-6, 0.05)
    assert (link.radius, link.threshold) == (0.0, 1.0 - 1e-15)
    assert not gaussian_guarantee(2, 4, 2, 10**6, 1e-8, 1e-6, 0.05)

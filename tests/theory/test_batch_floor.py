"""Theorem 2c: floors, connection radii and denoising."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from theory.batch_floor import (
    bounded_connection,
    bounded_radius,
    connectivity_floor,
    gaussian_connection,
    gaussian_floor,
    gaussian_guarantee,
    is_guaranteed,
    proved_floor,
)
from theory.denoising import denoising_floor, residual_limit, residual_noise
from theory.judging.rates import clopper_pearson
from theory.lemmas.connectivity import circle_disconnection_probability, descent, isolated_point_rate, two_gap_rate
from theory.lemmas.pair_law import PairLaw
from theory.lemmas.simulated_floor import allowed_failures, simulated_floor
from theory.measurements import is_connected
from theory.soft_floor import soft_floor

pytestmark = pytest.mark.theorems
RADII = st.floats(0.35, 1.57)


@settings(max_examples=20)
@given(st.sampled_from([2, 3, 4, 8]), RADII, st.sampled_from([0.3, 0.05, 1e-3, 1e-12]), st.booleans())
def test_the_bound_holds_from_its_floor_on_and_not_before(dim, radius, delta, squared):
    pairs_of_gaps = partial(two_gap_rate, radius=radius, squared=squared)
    for method, bound in (("bound", pairs_of_gaps if dim == 2 else descent(dim, radius, squared).two_step),
                          ("one_step", descent(dim, radius, squared).one_step),
                          ("isolated", lambda m: isolated_point_rate(m, dim, radius, squared))):  # fmt: skip
        floor = connectivity_floor(dim, radius, delta, squared, method)
        assert all(bound(m) <= delta for m in (*range(floor, floor + 50, 7), 2 * floor, 10 * floor, 1000 * floor))
        # The walk looks at short ranges together, and may stop a little early.
        earlier = int(floor / 1.05) - 1
        sizes = np.unique(np.linspace(earlier, floor - 1, 8).astype(int))
        assert earlier < 2 or max(bound(int(m)) for m in sizes) > delta * 0.99


@settings(max_examples=25)
@given(st.sampled_from([2, 3, 5]), RADII, st.sampled_from([0.05, 1e-6]))
def test_floors_order_as_theory_says(dim, radius, delta):
    isolated, two, one = (connectivity_floor(dim, radius, delta, method=m) for m in ("isolated", "bound", "one_step"))
    assert isolated <= two + 1
    assert two <= one
    assert proved_floor(dim, radius, delta) <= two
    # Ignoring signs at least halves the one-step floor, but for rounding up.
    assert connectivity_floor(dim, radius, delta, True, "one_step") <= np.ceil(one / 2) + 1


def test_the_circle_floor_is_the_smallest():
    for degrees, delta, squared in ((30, 0.05, False), (60, 0.01, True), (10, 1e-9, False)):
        radius = float(np.radians(degrees))
        floor = connectivity_floor(2, radius, delta, squared, "exact")
        rates = [circle_disconnection_probability(m, radius, squared) for m in range(max(2, floor - 3), floor + 60)]
        assert rates[min(3, floor - 2)] <= delta
        assert max(rates[min(3, floor - 2) :]) <= delta
        assert floor == 2 or rates[min(3, floor - 2) - 1] > delta
        assert connectivity_floor(2, radius, delta, squared) / floor <= 1.15


def test_extreme_arguments_stay_finite():
    assert connectivity_floor(64, float(np.radians(5)), 1e-12) > 10**60
    assert connectivity_floor(64, np.pi / 2, 1e-12) < 10_000
    for dim in (3, 6, 8, 16):
        for radius in (np.pi / 2, np.pi / 2 - 1e-9):
            assert connectivity_floor(dim, radius, 1e-7, squared=True) == 2, "at 90 degrees any two lines meet"


def test_bounded_noise_eats_four_turns():
    assert bounded_radius(np.pi / 3, 0.1) == pytest.approx(np.pi / 3 - 4 * np.arcsin(0.1), abs=1e-15)
    link = bounded_connection(np.pi / 3, 0.1, 4, 0.05)
    assert link.delta == 0.0125
    assert link.radius == pytest.approx(bounded_radius(np.pi / 3, 0.1), abs=1e-8)
    assert bounded_connection(np.pi / 3, float(np.sin(np.pi / 12)), 4, 0.05).radius == 0.0
    assert bounded_connection(np.pi / 3, 0.9, 4, 0.05).floor(3) is None


@given(st.floats(0.3, np.pi / 2), st.floats(0.0, 0.999), st.integers(0, 1000))
def test_worst_case_noise_keeps_the_edges_and_makes_no_false_one(angle, share, seed):
    """All points in a plane of two lines at theta_b: pairs inside the radius pass, cross pairs do not."""
    level = share * np.sin(angle / 4)
    link = bounded_connection(angle, level, 2, 0.05)
    turn, rng = np.arcsin(level), np.random.default_rng(seed)
    inside = rng.random(100) * link.radius
    assert (np.cos(inside + 2 * turn) > link.threshold).all()
    assert np.cos(angle - 2 * turn) <= link.threshold


def test_gaussian_radius_meets_its_two_budgets():
    for squared in (False, True):
        link = gaussian_connection(64, 3, (20, 20, 30), np.pi / 3, 0.15, 0.05, squared)
        within, cross = 2 * 190 + 435, 20 * 20 + 2 * 20 * 30
        passed = PairLaw(64, 0.15, 0.5).tail(link.threshold, upper=True)
        assert passed == pytest.approx(0.05 / ((4 if squared else 2) * cross), rel=1e-6)
        missed = PairLaw(64, 0.15, float(np.cos(link.radius))).tail(link.threshold, upper=False)
        assert missed == pytest.approx(0.05 / (4 * within), rel=1e-3)
        assert missed <= 0.05 / (4 * within)
        assert link.delta == 0.05 / 12


@pytest.mark.parametrize(
    ("dim", "noise"),
    [
        (3, 0.1),
        pytest.param(3, 0.4, marks=pytest.mark.slow),
        pytest.param(2, 0.3, marks=pytest.mark.slow),
        pytest.param(8, 1e-5, marks=pytest.mark.slow),
    ],
)
def test_gaussian_floors_are_the_smaller_of_two(dim, noise):
    for squared in (False, True):
        floor = gaussian_floor(dim, 32, 3, np.pi / 2, noise, 0.05, squared)
        proved = [gaussian_guarantee(dim, 32, 3, size, np.pi / 2, noise, 0.05, squared) for size in (floor, floor - 1)]
        assert proved == [True, False] or (proved == [True, True] and floor == 3)
        soft = soft_floor(dim, 32, 3, noise, np.pi / 2, 0.05, squared)
        at = gaussian_connection(32, 3, floor, np.pi / 2, noise, 0.05, squared)
        assert floor == soft or (is_guaranteed(at, dim, floor, squared) and floor < soft)


def test_gaussian_floors_where_only_one_theorem_speaks():
    for ambient, noise in ((32, 0.0), (5, 0.02)):
        floor = gaussian_floor(3, ambient, 2, np.pi / 2, noise, 0.05)
        at, below = (gaussian_connection(ambient, 2, m, np.pi / 2, noise, 0.05) for m in (floor, floor - 1))
        assert is_guaranteed(at, 3, floor), "no noise, or no room: no soft graph"
        assert not is_guaranteed(below, 3, floor - 1)
    assert not is_guaranteed(gaussian_connection(64, 3, 45, np.pi / 2, 0.6, 0.05), 3, 45)
    assert gaussian_floor(3, 64, 3, np.pi / 2, 0.6, 0.05) == soft_floor(3, 64, 3, 0.6, np.pi / 2, 0.05)


def test_gaussian_floors_without_noise_or_none():
    assert gaussian_floor(3, 32, 3, np.pi / 2, 5.0, 0.05) is None
    clean, bounded = gaussian_connection(32, 3, 9, 1.0, 0.0, 0.05), bounded_connection(1.0, 0.0, 3, 0.05)
    assert (clean.radius, clean.threshold) == (bounded.radius, bounded.threshold)


# --- simulated floor --------------------------------------------------------------------------------------------------


def test_the_simulated_floor_is_kept_and_close_to_the_exact_one(tmp_path, monkeypatch):
    exact = connectivity_floor(2, 0.8, 0.02, method="exact")
    found = simulated_floor(2, 0.8, 0.02, cache=tmp_path)
    assert exact <= found.num_points <= 1.15 * exact
    assert found.failures <= allowed_failures(found.trials, 0.02)
    monkeypatch.setattr("theory.lemmas.simulated_floor._search", None)
    assert simulated_floor(2, 0.8, 0.02, cache=tmp_path) == found, "read back, not simulated again"


def other(name, value):
    """An edit of one number that leaves its file well formed."""
    return lambda text: re.sub(rf'"{name}": \d+', f'"{name}": {value}', text)


@pytest.mark.parametrize(
    "edit",
    [
        other("num_points", 777), other("num_points", 2), other("num_points", 0), other("failures", 0),
        other("trials", 1), lambda text: text.replace("}", "}\n"), lambda text: text.replace(": ", ":"),
        lambda text: text[text.index("{") :], lambda text: text.lstrip("sha256 "), lambda text: "",
        lambda text: "{", lambda text: '{"key": {}, "floor": {"num_points": "a"}}',
    ],
)  # fmt: skip
def test_an_edited_or_damaged_floor_is_not_believed(tmp_path, edit):
    found = simulated_floor(3, 1.4, 0.3, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    text = kept.read_text()
    kept.write_text(edit(text))
    assert kept.read_text() != text
    with pytest.warns(UserWarning, match="damaged"):
        assert simulated_floor(3, 1.4, 0.3, cache=tmp_path) == found
    assert kept.read_text() == text


def test_the_floor_of_another_question_is_not_believed(tmp_path):
    simulated_floor(3, 1.4, 0.3, cache=tmp_path / "a")
    found = simulated_floor(3, 1.4, 0.5, cache=tmp_path / "b")
    (one,), (other,) = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    one.replace(other)
    with pytest.warns(UserWarning, match="another question"):
        assert simulated_floor(3, 1.4, 0.5, cache=tmp_path / "b") == found


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not kept"):
        assert simulated_floor(3, 1.4, 0.3, cache=tmp_path / "file").num_points > 2


@pytest.mark.parametrize(("trials", "delta"), [(100, 0.05), (2400, 1 / 60), (400, 0.3), (40, 0.05)])
def test_allowed_failures_are_those_that_clopper_and_pearson_allow(trials, delta):
    """A two-sided 98 % interval has the one-sided 99 % limit as its upper end."""
    allowed = allowed_failures(trials, delta)
    assert allowed < 0 or clopper_pearson(allowed, trials, 0.98)[1] <= delta
    assert clopper_pearson(allowed + 1, trials, 0.98)[1] > delta


@given(st.integers(1, 9), st.integers(0, 2**16), st.floats(0.0, 1.0))
def test_connected_graphs_are_those_with_one_component(size, seed, density):
    edges = np.random.default_rng(seed).random((3, size, size)) < density * 0.7
    edges |= np.swapaxes(edges, -1, -2)
    assert list(is_connected(edges)) == [reference.components(graph) == 1 for graph in edges]


# --- denoising --------------------------------------------------------------------------------------------------------


def test_residual_noise_by_hand():
    """D = 100, m = M = 6, K = 1, kappa = 1, one full block: g = 1/5, q = 0, so that both bounds agree."""
    by_hand = 0.4 * np.sqrt(0.2) * (1 + np.sqrt(0.06) + np.sqrt(2 * np.log(40) / 100))
    assert residual_noise(0.4, 100, 6, 6, 1, 1.0, 1, 0.05, mixing=1.0) == pytest.approx(by_hand, rel=1e-14)


def test_own_noise_does_not_grow_with_the_operator_norm():
    """Of theory.md's two bounds the first, alone, doubles from m = 1,024 to 16,384; the smaller of the two falls."""
    small, large = (residual_noise(0.5, 256, m, m, 4, 0.5, 4, 0.05) for m in (1024, 16_384))
    q, average = 0.5**4, (1 - 0.5**4) / np.sqrt(1 + 16_382 * 0.5)
    first = 0.5 * (q + average) * (1 + np.sqrt(16_384 / 256) + np.sqrt(2 * np.log(160) / 256))
    assert first == pytest.approx(0.335, abs=1e-3)
    assert large < small < first


@given(st.integers(2, 500), st.floats(0.05, 1.0), st.integers(1, 12), st.floats(0.05, 1.0))
def test_noise_left_never_falls_below_its_limit(size, kappa, depth, mixing):
    left = residual_noise(1.0, 64, size, size, 2, kappa, depth, 0.05, mixing)
    share = 1 - (1 - mixing) ** depth
    assert left >= share * np.sqrt(size / 64) / np.sqrt(1 + (size - 2) * kappa)


def test_the_denoising_floor_is_the_last_crossing():
    arguments = (0.9, 0.3, 256, 2, 0.5, 8, 0.05)
    floor = denoising_floor(np.radians(8), *arguments, largest=3000)
    small_enough = {m: residual_noise(0.3, 256, m, m, 2, 0.5, 8, 0.05) < residual_limit(np.radians(8), 0.9, m)
                    for m in (floor - 1, *range(floor, floor + 100), *range(floor + 100, 3001, 17))}  # fmt: skip
    assert [m for m, small in small_enough.items() if not small] == [floor - 1]
    assert denoising_floor(np.radians(1), *arguments, largest=3000) is None


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: connectivity_floor(1, 0.5, 0.1), "subspace_dim"), (lambda: connectivity_floor(3, 1.7, 0.1), "radius"),
     (lambda: connectivity_floor(3, 0.5, 0.0), "delta"),
     (lambda: connectivity_floor(3, 0.5, 0.1, False, "exact"), "method"),
     (lambda: connectivity_floor(3, 0.5, 1e-5, False, "simulated"), "delta"),
     (lambda: bounded_radius(np.pi / 3, 0.3), "noise_level"), (lambda: bounded_radius(2.0, 0.1), "min_principal_angle"),
     (lambda: bounded_connection(1.0, 1.0, 3, 0.05), "noise_level"),
     (lambda: bounded_connection(1.0, 0.1, 1, 0.05), "num_clusters"),
     (lambda: gaussian_connection(32, 3, 1, 1.0, 0.1, 0.05), "cluster_size"),
     (lambda: gaussian_connection(32, 3, 9, 1.0, -0.1, 0.05), "noise_level"),
     (lambda: gaussian_connection(32, 3, 9, 1.0, float("nan"), 0.05), "noise_level"),
     (lambda: residual_noise(0.1, 64, 5, 4, 2, 0.5, 3, 0.05), "max_cluster_size"),
     (lambda: residual_noise(0.1, 64, 5, 5, 2, 1.5, 3, 0.05), "kappa"),
     (lambda: residual_noise(0.1, 64, 5, 5, 2, 0.5, 0, 0.05), "depth"),
     (lambda: denoising_floor(0.0, 0.9, 0.3, 64, 2, 0.5, 4, 0.05), "target_angle")],
)  # fmt: skip
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_an_unknown_method_is_named(as_users_call):
    with pytest.raises(ValueError, match="method"):
        connectivity_floor(3, 0.5, 0.1, False, "magic")

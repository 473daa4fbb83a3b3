"""Theorem 3: bounds, certified depth, over-fusion and their check."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from models.softmax_fusion import SoftmaxStack
from synthetic.batches.seeding import trial_generators
from synthetic.batches.union_of_subspaces import equiangular_clusters
from tests import reference_fusion as slow
from tests.strategies import MIXINGS, any_batch, clustered_batch, labels_of
from theory import softmax_fusion as sf
from theory.judging.verdicts import Status, judge

pytestmark = pytest.mark.theorems

KAPPAS = st.floats(-1.5, 2.0).map(lambda e: 10.0**e)
ROUNDING = 1e-12


def measure(points, labels, kappa, mixing, depth, normalized):
    stack = SoftmaxStack(depth, kappa, mixing, normalize="every" if normalized else "input")
    return stack.measure(torch.from_numpy(np.array(points))[None], labels)


def equiangular(within, between, sizes, kappa, depth, normalized, mixing=0.5):
    points = equiangular_clusters(within, between, sizes, 24, trial_generators(0, 0, range(1), 0))[0]
    return measure(points, labels_of(sizes), kappa, mixing, depth, normalized)


def sizes_by_label(labels):
    return tuple(int(count) for count in np.unique(labels, return_counts=True)[1])


@st.composite
def batches(draw):
    """Any batch, clusters that share a direction, or a narrow cone in which all cosines are positive."""
    kind = draw(st.sampled_from(["any", "clustered", "cone"]))
    points, labels = draw(any_batch()) if kind == "any" else draw(clustered_batch())[:2]
    if kind == "cone":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
        points[:, 0] += draw(st.floats(1.0, 6.0))
        points[~points.any(axis=1), 0] = 1.0
    return points, labels


# --- the statement, against measured layers ---------------------------------------------------------------------------


@given(batches(), KAPPAS, MIXINGS, st.integers(1, 5), st.booleans())
@settings(max_examples=200)
def test_theorem_3(batch, kappa, mixing, depth, normalized):
    points, labels = batch
    sizes, n = sizes_by_label(labels), len(labels)
    layers = measure(points, labels, kappa, mixing, depth, normalized)
    alpha, beta, gamma = layers.alpha[:, 0], layers.beta[:, 0], layers.min_cross[:, 0]
    for layer in range(depth + 1):
        for k, size in enumerate(sizes):
            floor = slow.mass_floor(alpha[layer] - beta[layer], kappa, size, n)
            assert layers.mass_min[layer, k, 0] >= floor - ROUNDING
    if normalized and alpha[0] >= gamma[0]:
        certified = slow.certified_layers(alpha[0], beta[0], gamma[0], kappa, min(sizes), n, depth, mixing)
        event("certified to the end" if certified[-1] is not None else "certified for a while")
        for layer, bounds in enumerate(certified):
            if bounds is not None:
                assert alpha[layer] >= bounds[0] - ROUNDING
                assert beta[layer] <= bounds[1] + ROUNDING
                assert gamma[layer] >= bounds[2] - ROUNDING
    lowest = np.minimum(alpha, gamma)
    if lowest[0] > 0:
        event("all cosines positive")
        for layer, cap in enumerate(slow.spread_caps(lowest[0], kappa, depth, mixing, n if normalized else None)):
            assert 1 - lowest[layer] <= cap + ROUNDING
            for k, size in enumerate(sizes):
                assert layers.mass_max[layer, k, 0] <= slow.mass_floor(cap, kappa, size, n) + ROUNDING
    verdict = sf.check_softmax_fusion(layers, sizes, kappa, mixing, normalized=normalized)
    assert verdict.status is Status.HOLDS, str(verdict)


@pytest.mark.parametrize("normalized", [False, True])
def test_softmax_ends_at_chance(normalized):
    sizes, kappa = (4, 3), 2.0
    layers = equiangular(0.9, 0.4, sizes, kappa, 60, normalized)
    caps = sf.spread_caps(0.4, kappa, 60, 0.5, 7 if normalized else None)
    assert caps[-1] < 1e-6
    spread = 1 - np.minimum(layers.alpha, layers.min_cross)[:, 0]
    assert np.all(spread <= caps + ROUNDING)
    np.testing.assert_allclose(layers.mass_max[-1, :, 0], [4 / 7, 3 / 7], atol=2e-6)
    assert np.all(layers.mass_min[0, :, 0] > np.array([4 / 7, 3 / 7]) + 0.1)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_mass_bound_by_hand():
    # 3 of 9 points, kappa 2, gap .5: 3 e/(3 e + 6)
    assert sf.mass_bound(0.7, 0.2, 2.0, 3, 9) == pytest.approx(np.e / (np.e + 2), rel=1e-15)
    assert sf.mass_bound(0.3, 0.3, 7.0, 3, 9) == pytest.approx(1 / 3, rel=1e-15)
    assert sf.mass_bound(-1.0, 1.0, 0.5, 2, 5) == pytest.approx(2 / (2 + 3 * np.e), rel=1e-15)
    assert sf.mass_bound(1.0, -1.0, 1e6, 2, 5) == 1.0


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5, 4)])
@pytest.mark.parametrize("kappa", [0.1, 2.0, 30.0])
def test_mass_bound_is_attained(sizes, kappa):
    """Clusters of equal points with one cross cosine: every row keeps exactly the bound."""
    layers = equiangular(1.0, 0.4, sizes, kappa, 1, False)
    for k, size in enumerate(sizes):
        expected = slow.mass_floor(0.6, kappa, size, sum(sizes))
        assert layers.mass_min[0, k, 0] == pytest.approx(float(expected), abs=1e-13)
        assert layers.mass_max[0, k, 0] == pytest.approx(float(expected), abs=1e-13)
        assert sf.mass_bound(1.0, 0.4, kappa, size, sum(sizes)) == pytest.approx(float(expected), rel=1e-13)
        # 1 - min C = .6 as well: the cap on the mass is attained by the same batch.
        assert sf.mass_cap(0.6, kappa, size, sum(sizes)) == pytest.approx(float(expected), rel=1e-13)


CASES = [
    (0.9, 0.1, 0.0, 8.0, 4, 12, 0.5),
    (0.8, 0.3, -0.2, 5.0, 2, 20, 1.0),
    (0.95, -0.3, -0.9, 9.0, 3, 9, 0.3),
    (0.6, -0.5, -1.0, 1.0, 2, 16, 1.0),
    (0.7, 0.69, 0.6, 0.1, 5, 10, 0.05),
    (0.2, 0.9, -0.4, 3.0, 2, 6, 0.5),
    (-0.1, -0.5, -0.9, 2.0, 2, 6, 0.5),
    (0.5, 0.5, 0.5, 300.0, 2, 4, 0.5),
]


@pytest.mark.parametrize("case", CASES)
def test_certified_layers_follow_the_recursion(case):
    alpha, beta, gamma, kappa, size, n, mixing = case
    layers = sf.certified_layers(alpha, beta, gamma, kappa, size, n, 12, mixing)
    for layer, bounds in enumerate(slow.certified_layers(alpha, beta, gamma, kappa, size, n, 12, mixing)):
        found = [values[layer] for values in (layers.alpha, layers.beta, layers.min_cross)]
        if bounds is None:
            assert np.isnan(found).all()
        else:
            assert found == pytest.approx([float(b) for b in bounds], rel=1e-10, abs=1e-12)


def test_certified_layers_of_many_batches_at_once():
    columns = [np.array(column, dtype=float) for column in zip(*CASES)]
    alpha, beta, gamma, kappa, _, _, mixing = columns
    together = sf.certified_layers(alpha, beta, gamma, kappa, (3, 4, 5), 12, 6, mixing)
    assert together.alpha.shape == (7, len(CASES))
    for i in range(len(CASES)):
        alone = sf.certified_layers(alpha[i], beta[i], gamma[i], kappa[i], 3, 12, 6, mixing[i])
        np.testing.assert_array_equal(together.beta[:, i], alone.beta)
        np.testing.assert_array_equal(together.min_cross[:, i], alone.min_cross)


def test_one_certified_step_by_hand():
    """kappa gap = ln 3 and equal halves: s_low = 3/4, lambda = 1: p = 9/16."""
    layers = sf.certified_layers(0.9, 0.4, 0.1, 2 * np.log(3.0), 4, 8, 1, 1.0)
    floor = 9 / 16 * 0.9 + 7 / 16 * 0.1
    assert layers.alpha[1] == pytest.approx(floor, rel=1e-14)
    assert layers.beta[1] == 1.0, "(9/16 .4 + 7/16)/floor exceeds 1"
    assert layers.min_cross[1] == 0.1
    layers = sf.certified_layers(0.9, 0.4, -0.1, 2 * np.log(3.0), 4, 8, 1, 1.0)
    assert layers.min_cross[1] == pytest.approx(-0.1 / (9 / 16 * 0.9 - 7 / 16 * 0.1), rel=1e-14)
    layers = sf.certified_layers(0.9, -0.4, -0.9, 2 * np.log(19.0) / 2.6, 4, 8, 1, 1.0)
    # s_low = 19/20, p = .9025: t = .9025 (-.4) + .0975 < 0 stays as it is.
    assert layers.beta[1] == pytest.approx(-0.4 * 0.9025 + 0.0975, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_certified_depth_counts_certified_layers(case):
    alpha, beta, gamma, kappa, size, n, mixing = case
    layers = slow.certified_layers(alpha, beta, gamma, kappa, size, n, 400, mixing)
    expected = next((i for i, b in enumerate(layers) if b is None or not b[0] > b[1]), 400)
    assert sf.certified_depth(alpha, beta, gamma, kappa, size, n, mixing, max_depth=400) == expected


def test_certified_depth_starts_at_zero_and_grows_with_kappa():
    assert sf.certified_depth(0.4, 0.4, 0.0, 50.0, 4, 12) == 0
    assert sf.certified_depth(0.3, 0.4, 0.0, 50.0, 4, 12) == 0
    depths = [sf.certified_depth(0.99, 0.1, 0.0, kappa, 4, 12, max_depth=5000) for kappa in np.linspace(0.5, 20, 40)]
    assert depths[0] == 1, "the input itself is separated"
    assert np.all(np.diff(depths) >= 0)
    assert depths[-1] > 100
    assert sf.certified_depth(0.9, 0.1, 0.0, 12.0, (2, 10), 12) < sf.certified_depth(0.9, 0.1, 0.0, 12.0, (6, 6), 12)
    assert sf.certified_depth(0.9, 0.1, 0.0, 12.0, 4, 12, 1.0) < sf.certified_depth(0.9, 0.1, 0.0, 12.0, 4, 12, 0.25)
    assert sf.certified_depth(1.0, -0.2, -0.2, 2000.0, 4, 12, max_depth=77) == 77


@pytest.mark.parametrize("kappa", [4.0, 7.0, 10.0])
@pytest.mark.parametrize(
    ("within", "between", "sizes"), [(0.95, 0.1, (4, 4, 4)), (0.9, 0.3, (2, 6)), (0.8, 0.0, (3, 5))]
)
def test_certified_depth_never_exceeds_the_measured_one(kappa, within, between, sizes):
    depth = sf.certified_depth(within, between, between, kappa, sizes, sum(sizes), max_depth=51)
    layers = equiangular(within, between, sizes, kappa, 50, True)
    # Once everything is fused alpha and beta differ by round-off only.
    separated = (layers.alpha - layers.beta)[:, 0] > 1e-13
    measured = int(np.argmin(separated)) if not separated.all() else len(separated)
    assert 1 <= depth <= measured


@pytest.mark.parametrize("batch", [None, 6, 40])
@pytest.mark.parametrize(
    ("gamma", "kappa", "mixing"), [(0.3, 2.0, 0.5), (0.05, 0.2, 1.0), (0.9, 40.0, 0.1), (1.0, 1.0, 0.5)]
)
def test_spread_caps_follow_their_formula(batch, gamma, kappa, mixing):
    caps = sf.spread_caps(gamma, kappa, 9, mixing, batch)
    expected = [float(c) for c in slow.spread_caps(gamma, kappa, 9, mixing, batch)]
    # Below 1e-20 the rounding of 1 - lambda e shows; spreads are compared down to 1e-11.
    np.testing.assert_allclose(caps, expected, rtol=1e-11, atol=1e-20)
    assert np.all(np.diff(caps) <= 0)


def test_spread_caps_by_hand():
    # gamma_0 = .5, kappa = 2 ln 2: e = 1/2, rho = 3/4 at lambda = 1/2; rho^2/gamma_0 = 9/8 says nothing, rho^4 = .316.
    caps = sf.spread_caps(0.5, 2 * np.log(2.0), 2, 0.5)
    np.testing.assert_allclose(caps, [0.5, 0.5, (3 / 4) ** 4], rtol=1e-14)
    # Normalized, n = 4: o = (1/4 + 1/16)/4 = 5/64, rho^2/(1/2 + 1/8) = 9/10.
    caps = sf.spread_caps(0.5, 2 * np.log(2.0), 1, 0.5, 4)
    np.testing.assert_allclose(caps, [0.5, 0.45], rtol=1e-14)
    # gamma_0 = .1, kappa = ln 2/.9: e = 1/2, rho^2/(.1 + .9/4) > 1, so that the overlap 5/64 is what counts.
    caps = sf.spread_caps(0.1, np.log(2.0) / 0.9, 1, 0.5, 4)
    np.testing.assert_allclose(caps, [0.9, 0.9 * 59 / 64], rtol=1e-14)


def test_mass_cap_falls_to_chance_and_is_the_sharper_one():
    spread = np.linspace(0, 2, 41)
    caps = sf.mass_cap(spread, 3.0, 4, 10)
    assert caps[0] == pytest.approx(0.4, rel=1e-15)
    assert np.all(np.diff(caps) > 0)
    assert np.all(caps <= 0.4 * np.exp(3.0 * spread) * (1 + 1e-15))
    assert caps[-1] < 1.0


# --- the check --------------------------------------------------------------------------------------------------------


def parts_of(monkeypatch, layers, sizes, kappa, normalized, mixing=0.5):
    """Status of every part of the check."""
    seen = {}

    def note(name, *arguments, **options):
        verdict = judge(name, *arguments, **options)
        seen[name.removeprefix("Theorem 3")] = verdict.status
        return verdict

    monkeypatch.setattr(sf, "judge", note)
    verdict = sf.check_softmax_fusion(layers, sizes, kappa, mixing, normalized=normalized)
    return verdict, seen


def planted(layers, name, index, value):
    array = getattr(layers, name).copy()
    array[index] = value
    return replace(layers, **{name: array})


@pytest.mark.parametrize(
    ("name", "index", "value", "normalized", "part"),
    [
        ("mass_min", (2, 1, 0), 0.5, True, "a: mass"),
        ("mass_min", (0, 0, 0), 0.5, False, "a: mass"),
        ("alpha", (1, 0), 0.80, True, "b: alpha"),
        ("beta", (1, 0), 0.70, True, "b: beta"),
        ("min_cross", (2, 0), 0.29, True, "b: smallest cross cosine"),
        ("min_cross", (2, 0), 0.29, False, "c: spread"),
        ("min_cross", (1, 0), 0.30001, True, "c: spread"),
        ("alpha", (3, 0), 0.29, False, "c: spread"),
        ("mass_max", (3, 0, 0), 0.9999, False, "c: mass"),
        ("mass_max", (0, 0, 0), 0.9999, False, "c: mass"),
        ("mass_max", (1, 1, 0), 0.9999, True, "c: mass"),
    ],
)
def test_check_notices_a_planted_violation(monkeypatch, name, index, value, normalized, part):
    layers = equiangular(0.9, 0.3, (4, 4), 6.0, 3, normalized)
    assert set(parts_of(monkeypatch, layers, (4, 4), 6.0, normalized)[1].values()) == {Status.HOLDS}
    verdict, seen = parts_of(monkeypatch, planted(layers, name, index, value), (4, 4), 6.0, normalized)
    assert verdict.status is Status.VIOLATED
    assert seen[part] is Status.VIOLATED, seen


def test_parts_without_their_hypotheses_stay_silent(monkeypatch):
    points = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.2], [-1.0, 0.3]])
    layers = measure(points, np.array([0, 1, 0, 1]), 2.0, 0.5, 3, True)
    assert layers.alpha[0, 0] < layers.min_cross[0, 0] < 0
    seen = parts_of(monkeypatch, layers, (2, 2), 2.0, True)[1]
    assert seen.pop("a: mass") is Status.HOLDS
    assert set(seen.values()) == {Status.NOT_APPLICABLE}
    layers = equiangular(0.9, 0.3, (4, 4), 6.0, 3, False)
    assert {name[0] for name in parts_of(monkeypatch, layers, (4, 4), 6.0, False)[1]} == {"a", "c"}


def test_nothing_is_claimed_where_the_floor_reaches_zero(monkeypatch):
    """K = 2, cross cosines down to -.9, small kappa: a~ <= 0, and any later value is allowed."""
    layers = equiangular(0.9, -0.85, (2, 2), 0.1, 2, True, mixing=1.0)
    assert np.isnan(sf.certified_layers(0.9, -0.85, -0.85, 0.1, 2, 4, 1, 1.0).alpha[1])
    anything = replace(layers, alpha=np.array([[0.9], [-1.0], [-1.0]]), mass_min=np.ones_like(layers.mass_min))
    seen = parts_of(monkeypatch, anything, (2, 2), 0.1, True, mixing=1.0)[1]
    assert seen["b: alpha"] is Status.NOT_APPLICABLE


def test_every_cluster_is_held_against_its_own_size():
    """Labels in any order: sizes are those of the labels' values, and another order is noticed."""
    points = equiangular_clusters(1.0, 0.4, (2, 5), 8, trial_generators(0, 0, range(1), 0))[0]
    layers = measure(points, np.array([7, 7, 3, 3, 3, 3, 3]), 2.0, 0.5, 2, False)
    assert sf.check_softmax_fusion(layers, (5, 2), 2.0, 0.5, normalized=False).status is Status.HOLDS
    assert sf.check_softmax_fusion(layers, (2, 5), 2.0, 0.5, normalized=False).status is Status.VIOLATED


def test_one_size_stands_for_clusters_that_all_have_it():
    for normalized in (False, True):
        layers = equiangular(0.9, 0.3, (4, 4, 4), 6.0, 2, normalized)
        verdict = sf.check_softmax_fusion(layers, (4, 4, 4), 6.0, 0.5, normalized=normalized)
        assert verdict.status is Status.HOLDS
        # Not ==: some of its numbers are NaN.
        assert repr(sf.check_softmax_fusion(layers, 4, 6.0, 0.5, normalized=normalized)) == repr(verdict)
        with pytest.raises(ValueError, match=r"^cluster_sizes:"):
            sf.check_softmax_fusion(layers, (4, 4), 6.0, 0.5, normalized=normalized)


@pytest.mark.parametrize("normalize", ["input", "every"])
def test_rounding_of_tokens_that_stay_is_no_violation(normalize):
    """kappa so large that clusters of equal points ignore each other: the spread and its cap are both the input's."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 200, 5))
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    second -= (first * second).sum(-1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=-1, keepdims=True)
    second = (1 - 1e-4) * first + np.sqrt(1 - (1 - 1e-4) ** 2) * second
    points = torch.from_numpy(np.stack([first, first, second, second], axis=1))
    layers = SoftmaxStack(3, 1e6, normalize=normalize).measure(points, labels_of((2, 2)))
    verdict = sf.check_softmax_fusion(layers, (2, 2), 1e6, 0.5, normalized=normalize == "every")
    assert verdict.status is Status.HOLDS, str(verdict)


def test_kappa_and_mixing_may_differ_from_trial_to_trial():
    points = equiangular_clusters(1.0, 0.4, (3, 4), 8, trial_generators(0, 0, range(3), 0))
    kappa, mixing = np.array([0.5, 4.0, 20.0]), np.array([1.0, 0.5, 0.1])
    column = lambda v: torch.from_numpy(v)[:, None, None]  # noqa: E731
    layers = SoftmaxStack(3, column(kappa), column(mixing), normalize="every").measure(points, labels_of((3, 4)))
    assert sf.check_softmax_fusion(layers, (3, 4), kappa, mixing, normalized=True).status is Status.HOLDS
    verdict = sf.check_softmax_fusion(layers, (3, 4), kappa[::-1], mixing, normalized=True)
    assert verdict.status is Status.VIOLATED


def test_nan_never_becomes_a_verdict():
    layers = equiangular(0.9, 0.3, (4, 4), 6.0, 3, True)
    for name, index in (("alpha", (1, 0)), ("mass_min", (1, 0, 0)), ("mass_max", (2, 1, 0)), ("min_cross", (2, 0))):
        with pytest.raises(ValueError, match="NaN"):
            sf.check_softmax_fusion(planted(layers, name, index, np.nan), (4, 4), 6.0, 0.5, normalized=True)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (sf.mass_bound, (1.1, 0.0, 1.0, 2, 5), "alpha"),
        (sf.mass_bound, (0.5, np.nan, 1.0, 2, 5), "beta"),
        (sf.mass_bound, (0.5, 0.0, 0.0, 2, 5), "inverse_temperature"),
        (sf.mass_bound, (0.5, 0.0, np.inf, 2, 5), "inverse_temperature"),
        (sf.mass_bound, (0.5, 0.0, 1.0, 1, 5), "cluster_size"),
        (sf.mass_bound, (0.5, 0.0, 1.0, 5, 5), "cluster_size"),
        (sf.certified_layers, (0.5, 0.0, -1.1, 1.0, 2, 5, 3), "min_cross_cos"),
        (sf.certified_layers, (0.5, 0.6, 0.55, 1.0, 2, 5, 3), "min_cross_cos"),
        (sf.certified_layers, (0.9, 0.1, 0.5, 1.0, 2, 5, 3), "min_cross_cos"),
        (sf.certified_layers, (0.5, 0.0, 0.0, 1.0, 3, 5, 3), "batch_size"),
        (sf.certified_layers, (0.5, 0.0, 0.0, 1.0, (2, 2), 5, 3), "batch_size"),
        (sf.certified_layers, (0.5, 0.0, 0.0, 1.0, 2, 5, 3, 0.0), "mixing"),
        (sf.certified_layers, (0.5, 0.0, 0.0, 1.0, 2, 5, -1), "depth"),
        (sf.certified_depth, (0.5, 0.0, 0.0, -1.0, 2, 5), "inverse_temperature"),
        (sf.certified_depth, (0.5, 0.0, 0.0, 1.0, (), 5), "cluster_size"),
        (sf.certified_depth, (0.5, 0.0, 0.0, 1.0, 2, 5, 0.5, 0), "max_depth"),
        (sf.spread_caps, (0.0, 1.0, 3), "min_cos"),
        (sf.spread_caps, (np.nan, 1.0, 3), "min_cos"),
        (sf.spread_caps, (0.5, -1.0, 3), "inverse_temperature"),
        (sf.spread_caps, (0.5, 1.0, -1), "depth"),
        (sf.spread_caps, (0.5, 1.0, 3, 1.5), "mixing"),
        (sf.spread_caps, (0.5, 1.0, 3, 0.5, 1), "batch_size"),
        (sf.mass_cap, (-0.1, 1.0, 2, 5), "spread"),
        (sf.mass_cap, (0.1, 1.0, 6, 5), "cluster_size"),
    ],
)
def test_bad_input_is_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        function(*arguments)

"""Theorem 4: the binary divergence, its inverse and what a loss certifies."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.heads import HeadConfig, build_head
from models.losses import Objective, affinity_jsd, view_pair_labels
from tests import reference_fusion as slow
from tests.reference import mean_affinity_jsd
from tests.strategies import cluster_sizes, labels_of
from theory import loss_certificate as lc
from theory.affinity import target_affinity
from theory.judging.verdicts import Status

pytestmark = pytest.mark.theorems

LN2 = np.log(2.0)
ROUNDING = 1e-12


@st.composite
def affinities(draw):
    """(Y, labels): rows that sum to 1, some of them empty, some all inside or outside their cluster; any diagonal."""
    sizes = draw(cluster_sizes(max_clusters=3, max_size=4))
    labels = np.array(draw(st.permutations(list(labels_of(sizes)))))
    n = len(labels)
    entries = st.one_of(st.just(0.0), st.floats(-6.0, 0.0).map(lambda e: 10.0**e), st.just(1.0))
    raw = draw(hnp.arrays(np.float64, (n, n), elements=entries))
    same = labels[:, None] == labels[None, :]
    leak = draw(hnp.arrays(np.float64, (n, 1), elements=st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e3])))
    raw = np.where(same, raw, leak * raw)
    mass = raw.sum(axis=1, keepdims=True)
    return raw / np.where(mass > 0, mass, 1.0), labels


def sharpness_of(affinity, labels):
    """s_i, by a double loop."""
    n = len(labels)
    return np.array([sum(affinity[i, j] for j in range(n) if j != i and labels[j] == labels[i]) for i in range(n)])


# --- the statement ----------------------------------------------------------------------------------------------------


@given(affinities())
@settings(max_examples=200)
def test_theorem_4(batch):
    affinity, labels = batch
    sharpness = sharpness_of(affinity, labels)
    loss = float(affinity_jsd(torch.from_numpy(affinity), torch.from_numpy(target_affinity(labels))))
    assert sharpness.mean() >= lc.certified_sharpness(loss) - ROUNDING
    assert np.all(sharpness >= lc.certified_row_sharpness(loss, len(labels)) - ROUNDING)
    verdict = lc.check_certificate(np.array([loss]), sharpness[:, None])
    # What the loss certifies of the mean it certifies of no row more: without it nothing is said.
    says_something = 1.0 - lc.certified_sharpness(loss) < 1.0
    assert verdict.status is (Status.HOLDS if says_something else Status.NOT_APPLICABLE), str(verdict)


@given(affinities())
@settings(max_examples=25)
def test_every_row_is_certified_by_its_own_divergence(batch):
    """JSD_i >= binary(s_i), in 50 digits, row by row: the loss of a batch in which no other row counts."""
    affinity, labels = batch
    for i, s in enumerate(sharpness_of(affinity, labels)):
        others = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        with mpmath.workdps(50):
            row = [mpmath.mpf(v) for v in affinity[i]]
            ideal = [mpmath.mpf(1) / len(others) if j in others else mpmath.mpf(0) for j in range(len(row))]
            pairs = [(p, (y + t) / 2) for y, t in zip(row, ideal) for p in (y, t) if p > 0]
            divergence = mpmath.fsum(p * mpmath.log(p / middle) / 2 for p, middle in pairs)
            divergence = divergence if any(row) else mpmath.log(2)
        assert divergence >= slow.binary_divergence(min(s, 1.0)) - mpmath.mpf("1e-15")


@pytest.mark.parametrize("leak", [0.0, 1e-9, 0.05, 0.5, 0.999, 1.0])
def test_rows_that_are_even_over_their_cluster_attain_the_certificate(leak):
    labels = labels_of((3, 5))
    ideal, outside = target_affinity(labels), (labels[:, None] != labels[None, :]).astype(float)
    outside[:, 0] *= 7.0  # how the rest is spread does not matter
    affinity = (1 - leak) * ideal + leak * outside / outside.sum(1, keepdims=True)
    loss = float(mean_affinity_jsd(affinity, labels))
    assert lc.certified_sharpness(loss) == pytest.approx(1 - leak, abs=1e-13)
    assert float(slow.binary_divergence(1 - leak)) == pytest.approx(loss, abs=1e-15)


def test_a_row_that_is_uneven_is_certified_for_less():
    labels = labels_of((3, 3))
    affinity = np.zeros((6, 6))
    for i, j in enumerate((1, 2, 0, 4, 5, 3)):
        affinity[i, j] = 1.0
    # All mass is inside, on one of two: the JSD of (1, 0) and (1/2, 1/2), 3/4 ln(4/3), is that of half the mass.
    loss = float(mean_affinity_jsd(affinity, labels))
    assert loss == pytest.approx(0.75 * np.log(4 / 3), rel=1e-14)
    assert sharpness_of(affinity, labels) == pytest.approx(1.0)
    assert lc.certified_sharpness(loss) == pytest.approx(0.5, abs=1e-14)


def test_an_empty_row_at_half_price_would_certify_294():
    assert lc.certified_sharpness(LN2 / 2) == pytest.approx(0.294, abs=5e-4)
    assert lc.certified_sharpness(LN2) == pytest.approx(0.0, abs=1e-18)


# --- the binary divergence and its inverse ----------------------------------------------------------------------------

EXTREMES = [0.0, 5e-324, 1e-300, 1e-17, 1e-9, 0.25, 0.4999999, 0.5, 0.5000001, 0.75, 1 - 1e-9, 1 - 2.0**-53, 1.0]


def test_binary_divergence_against_high_precision():
    for s in [*EXTREMES, *np.random.default_rng(0).random(100)]:
        expected = slow.binary_divergence(s)
        assert float(lc.binary_divergence(s)) == pytest.approx(float(expected), rel=1e-14, abs=0)
    assert lc.binary_divergence(0.0) == pytest.approx(LN2, rel=1e-15)
    assert lc.binary_divergence(1.0) == 0.0
    # s = 1/2: (3/4) ln(4/3); s = 1/3: (1/6) ln(1/2) + (1/3) ln 2 + (1/2) ln(3/2)
    assert lc.binary_divergence(0.5) == pytest.approx(0.75 * np.log(4 / 3), rel=1e-14)
    assert lc.binary_divergence(1 / 3) == pytest.approx(LN2 / 6 + np.log(1.5) / 2, rel=1e-14)


def test_binary_divergence_is_decreasing_and_convex():
    s = np.linspace(0.0, 1.0, 2001)
    values = lc.binary_divergence(s)
    assert np.all(np.diff(values) < 0)
    assert np.all(np.diff(values, 2) > 0)
    # Down to s = 1e-9 every secant lies between the slopes ln(s/(1+s))/2 at its ends.
    small = np.logspace(-9, -1, 33)
    secants, slopes = np.diff(lc.binary_divergence(small)) / np.diff(small), 0.5 * np.log(small / (1 + small))
    assert np.all(slopes[:-1] < secants)
    assert np.all(secants < slopes[1:])


@given(st.one_of(st.floats(0.0, 1.0), st.floats(-17.0, 0.0).map(lambda e: 10.0**e), st.sampled_from(EXTREMES)))
def test_inverse_round_trip(s):
    value = float(slow.binary_divergence(s))
    back = lc.certified_sharpness(value)
    assert back == pytest.approx(s, abs=5e-15)
    assert lc.binary_divergence(back) >= value


@given(st.one_of(st.floats(0.0, float(LN2)), st.floats(-18.0, -0.2).map(lambda e: min(10.0**e, float(LN2)))))
def test_the_inverse_is_rounded_to_the_safe_side(value):
    """binary of the answer is not below the value, beyond the last digit; and the answer is no worse than that."""
    s = lc.certified_sharpness(value)
    assert lc.binary_divergence(s) >= value
    assert slow.binary_divergence(s) >= mpmath.mpf(value) - mpmath.mpf("3e-16")
    assert s == 1.0 or slow.binary_divergence(min(s + 2e-15, 1.0)) < value


def test_inverse_at_the_ends_and_in_bulk():
    assert lc.certified_sharpness(0.0) == pytest.approx(1.0, abs=1e-15)
    assert lc.certified_sharpness(-1e-13) <= 1.0, "rounding below 0 is forgiven"
    assert lc.certified_sharpness(LN2 + 1e-13) <= 1e-18
    assert isinstance(lc.certified_sharpness(0.3), float)
    values = np.linspace(0.0, LN2, 301).reshape(7, 43)
    bulk = lc.certified_sharpness(values)
    assert bulk.shape == (7, 43)
    assert np.all(np.diff(bulk.ravel()) < 0)
    assert bulk[3, 5] == lc.certified_sharpness(float(values[3, 5]))


def test_one_row_of_many():
    # binary(1/2) over 10 rows: one row alone may hold all of it.
    loss = 0.75 * np.log(4 / 3) / 10
    assert lc.certified_row_sharpness(loss, 10) == pytest.approx(0.5, abs=1e-14)
    assert lc.certified_row_sharpness(loss, 10) < lc.certified_sharpness(loss)
    assert lc.certified_row_sharpness(loss, 1) == lc.certified_sharpness(loss)
    assert lc.certified_row_sharpness(0.3, 100) <= 1e-18
    np.testing.assert_allclose(lc.certified_row_sharpness(np.array([0.0, loss, 0.6]), 10), [1.0, 0.5, 0.0], atol=1e-14)


# --- the check --------------------------------------------------------------------------------------------------------


def test_check_notices_false_certificates():
    rows = np.full((4, 1), 0.5)
    honest = np.array([0.75 * np.log(4 / 3)])
    assert lc.check_certificate(honest, rows).status is Status.HOLDS
    verdict = lc.check_certificate(honest * 0.999, rows)
    assert verdict.status is Status.VIOLATED
    assert "mean" in verdict.detail
    # One row without any mass among sharp ones costs at least ln 2/4.
    rows = np.array([[1.0], [1.0], [1.0], [0.0]])
    assert lc.check_certificate(np.array([LN2 / 4]), rows).status is Status.HOLDS
    verdict = lc.check_certificate(np.array([LN2 / 4 * 0.99]), rows)
    assert verdict.status is Status.VIOLATED


@pytest.mark.parametrize(
    ("loss", "mean", "rows"),
    [
        # One row without mass among sharp ones: ln 2/4 in truth, while its mean asks for binary(3/4) = .0956 only.
        (LN2 / 4 * 0.99, Status.HOLDS, Status.VIOLATED),
        # Below binary(3/4) the mean speaks too.
        (0.09, Status.VIOLATED, Status.VIOLATED),
        (LN2 / 4, Status.HOLDS, Status.NOT_APPLICABLE),
    ],
)
def test_each_part_sees_its_own_violation(monkeypatch, loss, mean, rows):
    from theory.judging.verdicts import judge

    seen = {}
    monkeypatch.setattr(lc, "judge", lambda name, *a, **k: seen.setdefault(name, judge(name, *a, **k)))
    lc.check_certificate(np.array([loss]), np.array([[1.0], [1.0], [1.0], [0.0]]))
    assert seen["Theorem 4: mean"].status is mean
    assert seen["Theorem 4: every row"].status is rows
    assert float(slow.binary_divergence(0.75)) == pytest.approx(0.0956, abs=5e-5)


def test_a_violation_in_one_trial_of_many_is_noticed():
    loss, rows = np.full(50, 0.3), np.full((6, 50), 0.9)
    assert lc.check_certificate(loss, rows).status is Status.HOLDS
    rows[:, 31] = lc.certified_sharpness(0.3) - 1e-6
    verdict = lc.check_certificate(loss, rows)
    assert verdict.status is Status.VIOLATED
    assert verdict.where == 31


def test_nan_never_becomes_a_verdict():
    with pytest.raises(ValueError, match=r"(?i)nan"):
        lc.check_certificate(np.array([np.nan]), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"(?i)nan"):
        lc.check_certificate(np.array([0.1]), np.array([[1.0], [np.nan], [1.0]]))


def test_rounding_below_a_loss_of_zero_is_forgiven():
    assert lc.check_certificate(np.array([-1e-17]), np.ones((4, 1))).status is Status.HOLDS


def test_sharpness_out_of_range_is_refused():
    with pytest.raises(ValueError, match="sharpness"):
        lc.check_certificate(np.array([0.3]), np.full((4, 1), 1.5))


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (lc.binary_divergence, (-0.1,), "sharpness"),
        (lc.binary_divergence, (1.1,), "sharpness"),
        (lc.binary_divergence, (np.nan,), "sharpness"),
        (lc.certified_sharpness, (0.7,), "jsd"),
        (lc.certified_sharpness, (-0.1,), "jsd"),
        (lc.certified_sharpness, (np.array([0.1, np.nan]),), "jsd"),
        (lc.certified_row_sharpness, (0.7, 5), "loss"),
        (lc.certified_row_sharpness, (-0.1, 5), "loss"),
        (lc.certified_row_sharpness, (0.1, 0), "num_rows"),
    ],
)
def test_bad_input_is_named(function, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}:"):
        function(*arguments)


# --- what the library computes in other precisions --------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 30, 300])
@pytest.mark.parametrize("k", [2, 5])
def test_float32_losses_of_the_worst_and_the_best_affinity_are_accepted(n, k):
    """Their rounding lies on either side of ln 2 and of 0."""
    labels = torch.arange(n) % k
    if n // k < 2:
        return
    alike = (labels[:, None] == labels).float().fill_diagonal_(0.0)
    target = alike / alike.sum(1, keepdim=True)
    outside = (labels[:, None] != labels).float()
    outside /= outside.sum(1, keepdim=True)
    for affinity, sharpness in ((outside, 0.0), (target, 1.0)):
        loss = affinity_jsd(affinity, target)
        for given_as in (loss, loss.item(), loss.numpy(), [loss.item()], np.array([loss.item()])):
            assert lc.certified_sharpness(given_as) == pytest.approx(sharpness, abs=1e-5)
        rows = (affinity * (target > 0)).sum(1)[:, None]
        assert lc.check_certificate(loss[None], rows).status is not Status.VIOLATED


@pytest.mark.parametrize(
    ("dtype", "accuracy"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
def test_a_loss_is_read_in_its_own_precision_and_without_its_gradient(dtype, accuracy):
    expected = lc.certified_sharpness(0.3)
    loss = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    assert isinstance(lc.certified_sharpness(loss), float)
    assert lc.certified_sharpness(loss) == pytest.approx(expected, abs=accuracy)
    assert lc.certified_row_sharpness(loss / 10, 10) == pytest.approx(expected, abs=10 * accuracy)
    assert lc.certified_sharpness(loss.expand(3)).shape == (3,)
    assert lc.check_certificate(loss.expand(3), torch.ones(4, 3, dtype=dtype)).status is Status.HOLDS


def test_the_loss_that_the_readme_trains_with_is_certified():
    head = build_head(HeadConfig("transfusion", depth=2, width=16), in_dim=8)
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((12, 8))).float()
    loss = Objective("affinity", intermediate=1.0)(head(points, views=2), view_pair_labels(6))
    assert loss.requires_grad
    assert 0.0 <= lc.certified_sharpness(loss) <= 1.0


@pytest.mark.parametrize("outside", [-2e-3, LN2 + 2e-3])
@pytest.mark.parametrize("given_as", [float, np.float64, np.float32, torch.tensor, lambda x: torch.tensor([x])])
def test_what_no_rounding_explains_is_refused(given_as, outside):
    for function, name in ((lc.certified_sharpness, "jsd"), (lambda v: lc.certified_row_sharpness(v, 2), "loss")):
        with pytest.raises(ValueError, match=rf"^{name}: must lie in \[.*, 0\.693"):
            function(given_as(outside))


def test_a_verdict_takes_float64_at_its_word():
    """A float32 loss that is .00005 too small may be rounding; a float64 one is not."""
    rows = np.full((4, 1), 0.5)
    loss = np.array([0.75 * np.log(4 / 3) - 5e-5])
    assert lc.check_certificate(loss, rows).status is Status.VIOLATED
    assert lc.check_certificate(loss.astype(np.float32), rows).status is Status.HOLDS
    assert lc.check_certificate((loss - 1e-3).astype(np.float32), rows).status is Status.VIOLATED
    with pytest.raises(ValueError, match=r"^loss: must lie"):
        lc.check_certificate(np.array([LN2 + 1e-9]), rows)


@pytest.mark.parametrize("rows", [np.ones(3), np.ones((4, 2)), np.ones((0, 1))])
def test_sharpness_of_other_trials_is_refused(rows):
    with pytest.raises(ValueError, match=r"^sharpness: expected shape"):
        lc.check_certificate(np.array([0.1]), rows)

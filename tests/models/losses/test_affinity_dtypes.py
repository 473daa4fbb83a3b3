"""What affinity_jsd takes and returns: dtypes, and values that rounding may not carry out of [0, ln 2]."""

import math

import numpy as np
import pytest
import torch

from models.losses import affinity_divergence, affinity_jsd, affinity_jsd_from_points, target_of_labels
from models.losses.jsd import CAPS, DenseDivergence
from models.stack import AttentionStack
from tests import reference
from theory.affinity import affinity_matrix, target_affinity

LN2 = math.log(2.0)
LABELS = np.array([0, 0, 1, 1, 1, 2, 2])


def affinity(dtype=torch.float64):
    points = np.eye(3, 5)[LABELS] + 0.5 * np.random.default_rng(0).standard_normal((7, 5))
    return torch.from_numpy(affinity_matrix(points)).to(dtype)


TARGETS = {
    "float32": lambda t: t.float(),
    "bfloat16": lambda t: t.bfloat16(),
    "float16": lambda t: t.half(),
    "numpy": lambda t: t.numpy(),
    "numpy float32": lambda t: t.numpy().astype(np.float32),
    "numpy float16": lambda t: t.numpy().astype(np.float16),
    "numpy, other byte order": lambda t: t.numpy().astype(">f8"),
    "numpy, extended precision": lambda t: t.numpy().astype(np.longdouble),
    "numpy, backwards": lambda t: t.numpy()[::-1][::-1],
    "with a gradient": lambda t: t.clone().requires_grad_(),
}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("kind", ["jsd", "kl_target"])
def test_targets_of_any_real_dtype(kind, make):
    """Clusters of 2 and 3: the target's shares are 1 and 1/2, which every dtype holds."""
    y, target = affinity(), target_of_labels(LABELS, dtype=torch.float64)
    value = affinity_divergence(y, make(target), kind)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, affinity_divergence(y, target, kind), rtol=1e-14, atol=0)


def test_the_wider_dtype_decides():
    """Clusters of 4: 1/3 in float64 and an affinity in float32, or the other way round, lose no digits of the wider."""
    labels = np.repeat([0, 1], 4)
    target = torch.from_numpy(target_affinity(labels))
    y = torch.from_numpy(affinity_matrix(np.eye(2, 3)[labels] + 0.4 * np.random.default_rng(1).standard_normal((8, 3))))
    for first, second in ((torch.float32, torch.float64), (torch.float64, torch.float32), (torch.half, torch.float64)):
        value = affinity_jsd(y.to(first), target.to(second))
        assert value.dtype == torch.float64
        expected = DenseDivergence.apply(y.to(first).double(), target.to(second).double())
        assert float(value) == pytest.approx(float(expected), rel=1e-15)
    assert affinity_jsd(y.half(), target.bfloat16()).dtype == torch.float32
    assert float(affinity_jsd(y.float(), target)) == pytest.approx(
        float(reference.mean_affinity_jsd(y.float().numpy(), labels)), rel=1e-13
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, np.bool_, np.int32])
def test_targets_of_pairs_may_be_whole_numbers(dtype):
    """Clusters of 2: the target is 0 and 1."""
    labels = np.repeat(np.arange(4), 2)
    y = torch.from_numpy(affinity_matrix(np.random.default_rng(2).standard_normal((8, 3)) + np.eye(4, 3)[labels]))
    target = target_of_labels(labels, dtype=torch.float64)
    whole = target.to(dtype) if isinstance(dtype, torch.dtype) else target.numpy().astype(dtype)
    assert float(affinity_jsd(y, whole)) == float(affinity_jsd(y, target))


def test_numpy_affinities_and_their_targets():
    points = np.random.default_rng(3).standard_normal((7, 4))
    y, target = affinity_matrix(points), target_affinity(LABELS)
    value = affinity_jsd(y, target)
    assert isinstance(value, torch.Tensor)
    assert float(value) == pytest.approx(float(reference.mean_affinity_jsd(y, LABELS)), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda y, t: affinity_jsd(y, t.to(torch.complex64)), "target: expected real numbers, got torch.complex64"),
        (lambda y, t: affinity_jsd(y, t.numpy().astype(complex)), "target: expected real numbers"),
        (lambda y, t: affinity_jsd(y, np.array(t.numpy().astype(str))), "target: expected real numbers"),
        (lambda y, t: affinity_jsd(y, t.to(torch.float8_e4m3fn)), "target: expected one of float64"),
        (lambda y, t: affinity_jsd(y.to(torch.float8_e4m3fn), t), "affinity: expected one of float64"),
        (lambda y, t: affinity_jsd(y.half() * 1.03, t), "affinity: rows must sum to 1"),
        (lambda y, t: target_of_labels(LABELS, dtype=torch.int64), "dtype: expected a floating"),
        (lambda y, t: affinity_jsd_from_points(torch.ones(7, 2).to(torch.float8_e4m3fn), LABELS), "points: expected"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(affinity(), target_of_labels(LABELS, dtype=torch.float64))


def test_targets_in_half_precision_are_rounded_once():
    """1/300 by way of 300 in bfloat16 would be another number; so would anything after 65,504 others in float16."""
    labels = np.zeros(302, dtype=int)
    for dtype in (torch.bfloat16, torch.float16):
        assert target_of_labels(labels, dtype=dtype)[0, 1] == torch.tensor(1 / 301, dtype=torch.float64).to(dtype)


def test_points_in_half_precision_at_the_sizes_where_they_were_wrong():
    """.256 for .343 and .125 for .531, gradients off by 40 to 100 %: values of 256 and 2,048 rows of noise."""
    for rows, dims in ((256, 32), (2048, 256)):
        x = torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, dims)))
        labels = np.arange(rows) % 8
        x = x + 2.0 * torch.eye(8, dims).double()[labels]
        for dtype, rounding in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
            narrow, wide = x.to(dtype).requires_grad_(), x.to(dtype).double().requires_grad_()
            found, expected = affinity_jsd_from_points(narrow, labels), affinity_jsd_from_points(wide, labels)
            assert 0.2 < expected.item() < 0.69
            assert found.item() == pytest.approx(expected.item(), rel=1e-3)
            (rows * found).backward()
            (rows * expected).backward()
            scale = float(wide.grad.abs().max())
            torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=2 * rounding, atol=1e-3 * scale)


def worst_and_best(n, k):
    """Rows that attend to other clusters only, and rows that are ideal."""
    labels = np.arange(n) % k
    other = torch.from_numpy((labels[:, None] != labels).astype(np.float64))
    return other / other.sum(1, keepdim=True), target_of_labels(labels, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_values_stay_in_their_interval(dtype):
    at_cap = 0
    for n in (6, 10, 16, 30, 64, 128, 300):
        for k in (2, 3, 5):
            if n // k < 2:
                continue
            worst, best = worst_and_best(n, k)
            for y in (worst, best, 0 * best):
                value = float(affinity_jsd(y.to(dtype), best.to(torch.promote_types(dtype, torch.float32))))
                assert 0.0 <= value <= LN2, (n, k)
                assert value == pytest.approx(LN2 if y is not best else 0.0, abs=1e-3 if dtype == torch.half else 1e-6)
                at_cap += value == CAPS[torch.promote_types(dtype, torch.float32)]
    assert at_cap > 10, "rounding should have reached the end"
    strangers = torch.eye(6, dtype=dtype)
    assert 0.69 < float(affinity_jsd_from_points(strangers, np.repeat([0, 1], 3))) <= LN2
    together = torch.eye(2, dtype=dtype)[np.arange(1000) % 2]
    assert 0.0 <= float(affinity_jsd_from_points(together, np.arange(1000) % 2)) < 1e-6


def test_caps_are_the_last_numbers_below_ln_2():
    import mpmath

    for dtype, kind in ((torch.float64, np.float64), (torch.float32, np.float32)):
        cap = kind(CAPS[dtype])
        assert float(cap) == CAPS[dtype]
        assert mpmath.mpf(float(cap)) <= mpmath.log(2) < mpmath.mpf(float(np.nextafter(cap, kind(1))))


def test_clipping_stops_no_gradient():
    """At both ends of the interval the slope is the formula's: ln 2 / 2 outside the cluster, ln(2Y/(Y+T))/2 inside."""
    worst, best = worst_and_best(30, 3)
    for y in (worst, best):
        y = y.float().requires_grad_()
        affinity_jsd(y, best).backward()
        outside = (best == 0) & (y > 0)
        assert torch.allclose(y.grad[outside], torch.tensor(LN2 / 2 / 30), rtol=1e-5)
    y = best.float().requires_grad_()
    for kind in ("kl_target", "kl_affinity"):
        (gradient,) = torch.autograd.grad(affinity_divergence(y, best, kind, 1e-30), y)
        assert gradient.abs().max() > 1e-3
        assert affinity_divergence(y, best, kind, 1e-30).item() >= 0.0


def test_stacks_and_losses_agree_in_bfloat16():
    """A stack asked for bfloat16 computes in float32, and hands its affinity over so."""
    points = np.eye(3, 5)[LABELS] + 0.3 * np.random.default_rng(4).standard_normal((7, 5))
    output = AttentionStack(1, 0.1, dtype=torch.bfloat16)(torch.from_numpy(points))
    assert output.dtype == torch.float32
    expected = affinity_jsd(AttentionStack(1, 0.1)(torch.from_numpy(points)), target_affinity(LABELS))
    assert float(affinity_jsd(output, target_affinity(LABELS))) == pytest.approx(float(expected), abs=1e-5)

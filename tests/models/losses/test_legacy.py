"""What follows from the definition of the early loss: each consequence that its docstring states."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import symnsq_legacy
from models.losses.legacy import _row_losses
from tests import reference_losses

LN2 = math.log(2.0)
C = 1e-10
FLOOR = (1 + C) * LN2 + C * math.log(C) - (1 + C) * math.log1p(C)


def views(n=5, dim=4, seed=0):
    return (torch.from_numpy(v) for v in np.random.default_rng(seed).standard_normal((2, n, dim)))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_it_is_the_double_loop(n, temperature):
    a, b = views(n)
    expected = reference_losses.symnsq_legacy(a.numpy(), b.numpy(), temperature)
    assert float(symnsq_legacy(a, b, temperature)) == pytest.approx(expected, rel=1e-12)


def test_gradients_are_finite_differences():
    a, b = views(4, 3)
    assert torch.autograd.gradcheck(symnsq_legacy, (a.requires_grad_(), b.requires_grad_()))


def test_the_temperature_cancels():
    a, b = views()
    values = [float(symnsq_legacy(a, b, t)) for t in (0.01, 0.1, 0.5, 1.0, 5.0)]
    assert values == pytest.approx([values[0]] * 5, abs=1e-8)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), dim=st.integers(1, 8), pull=st.floats(0.0, 1.0))
def test_it_never_falls_below_ln_2(seed, n, dim, pull):
    a, b = views(n, dim, seed)
    rows = _row_losses(a, (1 - pull) * b + pull * a, 0.5)
    assert float(rows.min()) >= FLOOR - 1e-12
    assert float(rows.mean()) >= LN2 - 1e-6


def test_the_floor_is_reached_without_any_agreement_of_the_views():
    eye = torch.eye(8, dtype=torch.float64)
    samples, others = eye[:4], eye[4:]
    for cosine in (1.0, 0.5, 0.05, -0.05, -1.0):
        partner = cosine * samples + math.sqrt(1 - cosine**2) * others
        assert float(symnsq_legacy(samples, partner)) == pytest.approx(FLOOR, abs=1e-12)
    assert pytest.approx(2.33e-9, rel=2e-3) == LN2 - FLOOR


def test_optimizing_stops_at_ln_2():
    a, b = (v.clone().requires_grad_() for v in views(4, 8))
    optimizer, values = torch.optim.Adam([a, b], lr=0.1), []
    for _ in range(300):
        optimizer.zero_grad()
        loss = symnsq_legacy(a, b)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[0] > LN2 + 0.1
    assert min(values) >= FLOOR - 1e-12
    assert values[-1] == pytest.approx(LN2, abs=1e-3)


def test_it_is_not_symmetric_in_the_views():
    a, b = views()
    assert abs(float(symnsq_legacy(a, b) - symnsq_legacy(b, a))) > 1e-3


def test_rows_of_the_first_view_do_not_see_their_partner():
    a, b = views()
    b.requires_grad_()
    rows = _row_losses(a, b, 0.5)
    for i in range(5):
        (first,) = torch.autograd.grad(rows[i], b, retain_graph=True)
        assert not first[i].any()
        assert first.any()
        (second,) = torch.autograd.grad(rows[5 + i], b, retain_graph=True)
        assert second[i].abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_finite_in_half_precision_and_where_rows_are_equal(dtype):
    for a, b in (views(), torch.ones(2, 5, 4)):
        a, b = a.to(dtype).requires_grad_(), b.to(dtype)
        value = symnsq_legacy(a, b, 0.05)
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda a, b: symnsq_legacy(a * math.nan, b), "view_a: contains NaN"),
        (lambda a, b: symnsq_legacy(a, 0 * b), "view_b: contains a zero"),
        (lambda a, b: symnsq_legacy(a, b[:2]), "view_b: must have"),
        (lambda a, b: symnsq_legacy(a, b, 0.0), "temperature"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(*views())

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import Readout, read_affinity
from tests import reference_losses
from theory.affinity import affinity_matrix

READOUTS = get_args(Readout)
# Half precision is computed in float32, and cut there.
CUTS = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-5}


def cosines(heads=2, n=6, dim=3, seed=0):
    queries, keys = np.random.default_rng(seed).standard_normal((2, heads, n, dim))
    queries, keys = (torch.from_numpy(v / np.linalg.norm(v, axis=-1, keepdims=True)) for v in (queries, keys))
    return queries @ keys.mT


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("readout", READOUTS)
def test_readouts_are_their_double_loops(readout, heads):
    c = cosines(heads)
    c[:, 2] = -c[:, 2].abs()
    c[:, 4] = 1e-11
    c[:, 4, 1] = -1e-11
    affinity = read_affinity(c, readout, temperature=0.3)
    expected = reference_losses.read_affinity(c.tolist(), readout, 1e-10, 0.3)
    torch.testing.assert_close(affinity, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15)
    empty = {"squared_relu": {2, 4}, "relu": {2, 4}, "squared": {4}, "softmax": set()}[readout]
    assert {i for i in range(6) if affinity[i].sum() == 0} == empty


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_head_of_tokens_is_the_stacks_affinity(dtype):
    points = torch.from_numpy(np.random.default_rng(1).standard_normal((9, 4))).to(dtype)
    unit = points / points.norm(dim=1, keepdim=True)
    c = (unit @ unit.mT)[None]
    for readout, power, signed in (("squared_relu", 2, True), ("relu", 1, True), ("squared", 2, False)):
        expected = affinity_matrix(points, 0.0, power, signed=signed)
        torch.testing.assert_close(read_affinity(c, readout), expected)


@pytest.mark.parametrize("dtype", list(CUTS))
def test_the_cut_is_that_of_the_dtype_computed_in(dtype):
    cut = CUTS[dtype]
    c = torch.zeros(1, 3, 3, dtype=dtype)
    c[0, 0, 1], c[0, 1, 0], c[0, 2, 0] = 0.9 * cut, 1.5 * cut, -1.5 * cut
    for readout in ("squared_relu", "relu", "squared"):
        affinity = read_affinity(c, readout)
        assert affinity.dtype == torch.promote_types(dtype, torch.float32)
        sums = [0.0, 1.0, 1.0 if readout == "squared" else 0.0]
        assert affinity.sum(-1).tolist() == pytest.approx(sums, abs=1e-6)
    c = torch.tensor([[[0, 0.5, 0.25], [0, 0, 0], [0, 0, 0]]], dtype=dtype)
    expected = (0.5 - cut) ** 2 / ((0.5 - cut) ** 2 + (0.25 - cut) ** 2)
    assert float(read_affinity(c)[0, 1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_are_finite_differences(readout, heads):
    c = cosines(heads, 5)
    c[:, 2] = -c[:, 2].abs()
    assert torch.autograd.gradcheck(lambda c: read_affinity(c, readout, temperature=0.2), (c.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("level", [-1.0, 0.0, "cut", 1.0])
def test_gradients_stay_finite_at_the_edges(readout, level, dtype):
    level = np.nextafter(CUTS[dtype], 1) if level == "cut" else level
    c = torch.full((2, 5, 5), level, dtype=dtype)
    # Just over 1, as rounding leaves it.
    c[:, 0, 1] = 1.0 + torch.finfo(dtype).eps
    c.requires_grad_()
    affinity = read_affinity(c, readout, temperature=0.05)
    (affinity * torch.arange(5)).sum().backward()
    assert torch.isfinite(affinity).all()
    assert torch.isfinite(c.grad).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8), readout=st.sampled_from(READOUTS))
def test_rows_are_distributions_and_follow_permutations(seed, n, readout):
    c = cosines(2, n, seed=seed)
    affinity = read_affinity(c, readout)
    assert bool((affinity >= 0).all())
    assert not affinity.diagonal().any()
    sums = affinity.sum(-1)
    assert bool(((sums - 1).abs() < 1e-12).logical_or(sums == 0).all())
    order = np.random.default_rng(seed).permutation(n)
    torch.testing.assert_close(read_affinity(c[:, order][:, :, order], readout), affinity[order][:, order])
    torch.testing.assert_close(read_affinity(c.flip(0), readout), affinity)
    if readout == "squared":
        torch.testing.assert_close(read_affinity(-c, readout), affinity)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda c: read_affinity(c, "cosine"), "readout: must be one of squared_relu"),
        (lambda c: read_affinity(c * math.nan), "cosines: must lie"),
        (lambda c: read_affinity(c * 2), "cosines: must lie"),
        (lambda c: read_affinity(c[0]), "cosines: expected shape"),
        (lambda c: read_affinity(c[:, :-1]), "cosines: expected shape"),
        (lambda c: read_affinity(c[:, :1, :1]), "cosines: expected shape"),
        (lambda c: read_affinity(c, "softmax", temperature=0.0), "temperature"),
        (lambda c: read_affinity(c.float(), "softmax", temperature=1e-40), "temperature"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(cosines())

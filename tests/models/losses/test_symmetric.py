"""Sums over all pairs by half of the matrix, against the whole one."""

import pytest
import torch

from models.losses.symmetric import Exponential, PowerOfRelu, add_pull, row_sums, upper_tiles
from models.stack import CPU_DENSE_BYTES

KERNELS = {
    "exponential": Exponential(3.0),
    "relu": PowerOfRelu(0.1, 1.0),
    "squared": PowerOfRelu(0.1, 2.0),
    "power 1.5": PowerOfRelu(0.1, 1.5),
}


def keys(n=23, dim=4):
    made = torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(made, dim=1)


def whole(x, kernel):
    """f of every pair, as a function that autograd knows; 0 on the diagonal."""
    cosines = x @ x.mT
    values = (
        (kernel.scale * cosines).exp()
        if isinstance(kernel, Exponential)
        else (cosines - kernel.cut).relu() ** kernel.power
    )
    return values.masked_fill(torch.eye(len(x), dtype=torch.bool), 0.0)


@pytest.mark.parametrize("tile_rows", [None, 1, 5, 22, 23, 100])
@pytest.mark.parametrize("name", KERNELS)
def test_sums_and_their_gradient_are_the_whole_matrix(name, tile_rows):
    kernel, weights = KERNELS[name], torch.linspace(-1.0, 2.0, 23, dtype=torch.float64)
    x = keys().requires_grad_()
    values = whole(x, kernel)
    expected = torch.autograd.grad((weights * values.sum(1)).sum(), x)[0]
    sums, kept = row_sums(x.detach(), kernel, tile_rows)
    torch.testing.assert_close(sums, values.detach().sum(1))
    assert bool(kept) == (tile_rows is None)
    factor = kernel.scale if isinstance(kernel, Exponential) else kernel.power
    for tiles in {(), kept}:
        total = torch.ones_like(x)
        found = add_pull(total, x.detach(), kernel, weights, tile_rows, tiles)
        assert found is total
        torch.testing.assert_close(factor * (found - 1.0), expected)


@pytest.mark.parametrize("tile_rows", [None, 3, 700])
def test_tiles_see_every_pair_once(tile_rows):
    n = 1500
    seen = torch.zeros(n, n)
    for tile in upper_tiles(torch.empty(n, 2), tile_rows):
        seen[tile.rows, tile.columns] += 1
        seen.T[tile.rows, tile.columns][:, tile.below :] += 1
    assert bool((seen == 1).all())


def test_tiles_are_kept_where_the_matrix_would_fit():
    largest = int((CPU_DENSE_BYTES // 4) ** 0.5)
    for n, fits in ((largest, True), (largest + 1, False)):
        assert bool(row_sums(torch.zeros(n, 1), Exponential(1.0), None)[1]) == fits


def test_nan_shows_in_every_sum():
    x = keys()
    x[3, 1] = float("nan")
    for kernel in KERNELS.values():
        assert bool(row_sums(x, kernel, 5)[0].isnan().all())

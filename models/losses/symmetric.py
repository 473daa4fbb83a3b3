"""Sums over all pairs of a batch, of terms that are a function of the pair's cosine: NT-Xent, SupCon and the affinity
loss are made of them, and so are their gradients.

Such a matrix is its own transpose. It is formed in tiles right of the diagonal alone, each of which serves its rows and
its columns: half the products and half the exponentials, in memory O(n (D + tile)). Where the whole matrix would fit
(models/stack.py has the limits), a forward pass keeps its tiles for the backward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.stack import fits_dense
from models.tiled import GPU_TILE_BYTES

# Bytes and rows of a tile: on a CPU what one core's own cache holds beside the keys, on a GPU enough to fill it.
CPU_TILE_BYTES, CPU_TILE_ROWS, GPU_TILE_ROWS = 512 * 2**10, 256, 8192


@dataclass(frozen=True)
class Exponential:
    """exp(scale C).

    Attributes:
        scale: the product of two keys is handed over multiplied by it, which costs nothing.
    """

    scale: float

    def base_(self, scaled: Tensor) -> Tensor:
        """What value and slope are made of; overwrites the product."""
        return scaled.exp_()

    def value(self, base: Tensor) -> Tensor:
        """The function."""
        return base

    def slope(self, base: Tensor) -> Tensor:
        """Its derivative, up to a constant factor."""
        return base


@dataclass(frozen=True)
class PowerOfRelu:
    """ReLU(C - cut)^power, power >= 1; methods as those of Exponential."""

    cut: float
    power: float
    scale: float = 1.0

    def base_(self, scaled: Tensor) -> Tensor:
        return scaled.sub_(self.cut).relu_()

    def value(self, base: Tensor) -> Tensor:
        return base if self.power == 1.0 else base.pow(self.power)

    def slope(self, base: Tensor) -> Tensor:
        if self.power == 2.0:
            return base
        return base.sign() if self.power == 1.0 else base.pow(self.power - 1.0)


Kernel = Exponential | PowerOfRelu


@dataclass(frozen=True)
class Tile:
    """Rows of the matrix and, from the first of them on, columns."""

    rows: slice
    columns: slice

    def base(self, keys: Float[Tensor, "n D"], kernel: Kernel) -> Tensor:
        """The kernel's base of every pair; 0 on the diagonal."""
        product = torch.addmm(keys.new_zeros(()), keys[self.rows], keys[self.columns].mT, beta=0, alpha=kernel.scale)
        base = kernel.base_(product)
        if self.rows.start == self.columns.start:
            base.diagonal().fill_(0.0)
        return base

    @property
    def below(self) -> int:
        """How many columns are rows of the tile as well, whose sums are complete without the transpose."""
        return self.rows.stop - self.rows.start if self.rows.start == self.columns.start else 0


def upper_tiles(keys: Float[Tensor, "n D"], tile_rows: int | None) -> list[Tile]:
    """The matrix right of its diagonal, in tiles of ``tile_rows`` rows; None chooses."""
    n, on_cpu = len(keys), keys.device.type == "cpu"
    budget = (CPU_TILE_BYTES if on_cpu else GPU_TILE_BYTES) // keys.element_size()
    height = (CPU_TILE_ROWS if on_cpu else GPU_TILE_ROWS) if tile_rows is None else tile_rows
    width = max(height, budget // height)
    return [
        Tile(slice(first, min(first + height, n)), slice(start, min(start + width, n)))
        for first in range(0, n, height)
        for start in range(first, n, width)
    ]


def row_sums(
    keys: Float[Tensor, "n D"], kernel: Kernel, tile_rows: int | None
) -> tuple[Float[Tensor, " n"], tuple[Tensor, ...]]:
    """sum_{j != i} f(z_i.z_j) of every row, and what ``add_pull`` may have again instead of forming it anew.

    Args:
        tile_rows: None chooses, and keeps the tiles where the whole matrix would fit.
    """
    sums = torch.zeros_like(keys[:, 0])
    keep, kept = tile_rows is None and fits_dense(len(keys), keys), []
    for tile in upper_tiles(keys, tile_rows):
        base = tile.base(keys, kernel)
        value = kernel.value(base)
        sums[tile.rows].add_(value.sum(1))
        if tile.below < value.shape[1]:
            sums[tile.columns][tile.below :].add_(value[:, tile.below :].sum(0))
        if keep:
            kept.append(base)
    return sums, tuple(kept)


def add_pull(
    total: Float[Tensor, "n D"],
    keys: Float[Tensor, "n D"],
    kernel: Kernel,
    weights: Float[Tensor, " n"],
    tile_rows: int | None,
    kept: Sequence[Tensor] = (),
) -> Float[Tensor, "n D"]:
    """Adds sum_{j != i} (w_i + w_j) f'(z_i.z_j) z_j to ``total``, up to the kernel's constant factor: the gradient of
    sum_i w_i sum_{j != i} f(z_i.z_j).

    Args:
        kept: of ``row_sums``, of the same keys, kernel and rows.
    """
    for number, tile in enumerate(upper_tiles(keys, tile_rows)):
        base = kept[number] if kept else tile.base(keys, kernel)
        pairs = (weights[tile.rows, None] + weights[tile.columns]).mul_(kernel.slope(base))
        total[tile.rows].addmm_(pairs, keys[tile.columns])
        if tile.below < pairs.shape[1]:
            total[tile.columns][tile.below :].addmm_(pairs[:, tile.below :].mT, keys[tile.rows])
    return total

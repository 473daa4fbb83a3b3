"""The affinity loss in tiles, forward and backward: memory O(n (D + tile)), never an n x n matrix.

Definitions: models/losses/affinity.py. Outside the own cluster T is 0: the divergence is ln 2/2 for each unit of mass
and its slope ln 2/2 everywhere. What all pairs need is therefore a row's mass (symmetric.py); logarithms are taken
inside clusters, in blocks of clusters of one size.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.devices.functions import signed
from models.devices.transfer import upload
from models.losses.common import target_of_index
from models.losses.jsd import LN2, clip_divergence, entry_divergence, entry_slope
from models.losses.symmetric import PowerOfRelu, pull, row_sums
from models.tiled import CPU_TILE_BYTES, row_tiles
from theory.batches.clusters import ClusterLayout

# Entries of the blocks that are looked at together.
BLOCK_ENTRIES = CPU_TILE_BYTES // 8


@signed
class TiledDivergence(torch.autograd.Function):
    """The loss from unit keys, in any order; ``apply`` returns it first, and then what the backward pass needs.

    A backward pass that is itself to be differentiated (create_graph) takes its slope from whole matrices, O(n^2).
    """

    @staticmethod
    def setup_context(ctx, inputs, output):
        keys, ctx.layout, ctx.order, ctx.cut, ctx.power, ctx.tile_rows = inputs
        _, mass, *kept = output
        ctx.mark_non_differentiable(mass, *kept)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(keys, mass, *kept)

    @staticmethod
    def forward(keys, layout, order, cut, power, tile_rows):
        kernel = PowerOfRelu(cut, power)
        mass, kept = row_sums(keys, kernel, tile_rows)
        # NaN shows, whatever rows are counted.
        total = 0.0 * mass.sum()
        for block in cluster_blocks(keys, layout, order):
            own = kernel.value(block.base(keys, kernel))
            total += _block_divergence(own, block.whole_mass(mass, own))
        return clip_divergence(total / _counted(layout)), mass, *kept

    @staticmethod
    def backward(ctx, gradient, *_):
        if gradient is None:
            return None, None, None, None, None, None
        keys, mass, *kept = ctx.saved_tensors
        with torch.autocast(keys.device.type, enabled=False):
            if torch.is_grad_enabled():
                d_keys = _slope_of_matrices(keys, ctx.layout, ctx.order, ctx.cut, ctx.power) * gradient
            else:
                d_keys = TiledDivergence._slope(ctx, keys, mass, kept).mul_(gradient)
        return d_keys, None, None, None, None, None

    @staticmethod
    def _slope(ctx, keys: Tensor, mass: Tensor, kept: list[Tensor]) -> Tensor:
        """The loss's gradient. With g_ij the slope of row i's divergence in Y_ij, s_i its mass, h_i = sum_j g_ij Y_ij and
        L = ReLU(C - cut), that in C_ij is power L^(power - 1) (g_ij - h_i)/s_i; outside the own cluster g_ij = ln 2/2,
        and what it is more inside is added block by block."""
        kernel = PowerOfRelu(ctx.cut, ctx.power)
        weights, inside = torch.zeros_like(mass), torch.zeros_like(keys)
        for block in cluster_blocks(keys, ctx.layout, ctx.order):
            base = block.base(keys, kernel)
            own = kernel.value(base)
            whole = block.whole_mass(mass, own)
            empty = whole == 0
            affinity = own / whole.masked_fill(empty, 1.0).unsqueeze(-1)
            slope = entry_slope(affinity, 1.0 / (own.shape[-1] - 1))
            outside = (1.0 - affinity.sum(-1)).clamp_min_(0.0)
            level = (slope * affinity).sum(-1).add_(outside, alpha=0.5 * LN2)
            scale = (ctx.power / _counted(ctx.layout)) / whole.masked_fill(empty, torch.inf)
            weights[block.rows] = scale * (0.5 * LN2 - level)
            more = slope.sub_(0.5 * LN2).mul_(kernel.slope(base)).mul_(scale.unsqueeze(-1))
            inside[block.rows] += more @ keys[block.members]
            inside[block.members] += more.mT @ keys[block.rows]
        return pull(keys, kernel, weights, ctx.tile_rows, kept).add_(inside)


class ClusterBlock:
    """Some rows of each of some clusters of one size, against all of their clusters' members.

    Attributes:
        rows, members: places in the batch, (clusters, r) and (clusters, m).
        first: of the rows, counted in the cluster.
    """

    def __init__(self, rows: Int64[Tensor, "clusters r"], members: Int64[Tensor, "clusters m"], first: int) -> None:
        self.rows, self.members, self.first = rows, members, first

    def base(self, keys: Tensor, kernel: PowerOfRelu) -> Float[Tensor, "clusters r m"]:
        """The kernel's base of every pair; 0 on the diagonal."""
        base = kernel.base_(keys[self.rows] @ keys[self.members].mT)
        base.diagonal(self.first, -2, -1).fill_(0.0)
        return base

    def whole_mass(self, mass: Float[Tensor, " n"], own: Float[Tensor, "clusters r m"]) -> Tensor:
        """The rows' mass; rounding, to which a mass may owe its being, makes it no smaller than what is inside."""
        return torch.maximum(mass[self.rows], own.sum(-1))


def cluster_blocks(keys: Tensor, layout: ClusterLayout, order: Int64[Tensor, " n"] | None) -> Iterator[ClusterBlock]:
    """All pairs of rows that share a cluster, clusters of one row left out.

    Args:
        order: ``layout.order`` on the keys' device.
    """
    sizes = np.asarray(layout.sizes)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 1]).tolist():
        places = upload(torch.from_numpy(starts[sizes == size, None] + np.arange(size)), keys.device)
        members = places if order is None else order[places]
        if size * size <= BLOCK_ENTRIES:
            for part in members.split(BLOCK_ENTRIES // size**2):
                yield ClusterBlock(part, part, 0)
        else:
            for cluster in members.split(1):
                for rows in row_tiles(size, max(1, BLOCK_ENTRIES // size)):
                    yield ClusterBlock(cluster[:, rows], cluster, rows.start)


def _slope_of_matrices(
    keys: Float[Tensor, "n d"], layout: ClusterLayout, order: Tensor | None, cut: float, power: float
) -> Tensor:
    """The loss's gradient by operations that can be differentiated again, from whole matrices."""
    sizes = torch.tensor(layout.sizes, device=keys.device)
    index = torch.arange(len(sizes), device=keys.device).repeat_interleave(sizes, output_size=len(keys))
    if order is not None:
        index = torch.empty_like(index).index_copy_(0, order, index)
    target = target_of_index(index, keys.dtype)
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    logits = (keys @ keys.mT - cut).masked_fill(own, 0.0)
    # Powers of zeros have infinite slopes, which must not even be looked at.
    steep = torch.where(logits > 0, torch.where(logits > 0, logits, 1.0) ** (power - 1.0), 0.0)
    raw = steep * logits
    mass = raw.sum(-1, keepdim=True)
    counted = (mass > 0) & (target.sum(-1, keepdim=True) > 0)
    affinity = raw / torch.where(mass > 0, mass, 1.0)
    slope = entry_slope(affinity, target)
    level = (slope * affinity).sum(-1, keepdim=True)
    weights = torch.where(counted, power / _counted(layout) / torch.where(counted, mass, 1.0), 0.0)
    pairs = steep * (slope - level) * weights
    return (pairs + pairs.mT) @ keys


def _counted(layout: ClusterLayout) -> int:
    """Rows that the mean is over; without any it is to be 0."""
    return max(1, sum(size for size in layout.sizes if size > 1))


def _block_divergence(own: Float[Tensor, "clusters r m"], mass: Float[Tensor, "clusters r"]) -> Tensor:
    """Sum of JSD(Y_i || T_i) over rows, from the raw affinity inside their clusters and the rows' whole mass."""
    # NaN is to stay NaN.
    empty = mass == 0
    share = 1.0 / (own.shape[-1] - 1)
    affinity = own / mass.masked_fill(empty, 1.0).unsqueeze(-1)
    outside = (1.0 - affinity.sum(-1)).clamp_min(0.0)
    # The diagonal has neither Y nor T, but was given T's term, T ln 2.
    inside = entry_divergence(affinity, share).sum(-1) - share * LN2
    return torch.where(empty, LN2, 0.5 * (inside + LN2 * outside)).sum()

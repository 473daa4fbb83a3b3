"""The affinity loss in tiles, forward and backward: memory O(n (D + tile)), never an n x n matrix.

Definitions: models/losses/affinity.py. Outside the own cluster T is 0: the divergence is ln 2/2 for each unit of mass
and its slope ln 2/2 everywhere. What all pairs need is therefore a row's mass (symmetric.py); logarithms are taken
inside clusters (cluster_blocks.py).
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from models.devices.functions import signed
from models.losses.cluster_blocks import ClusterBlock
from models.losses.common import BatchLabels, target_of_index
from models.losses.jsd import LN2, clip_divergence, entry_divergence, entry_slope
from models.losses.symmetric import PowerOfRelu, add_pull, row_sums


@signed
class TiledDivergence(torch.autograd.Function):
    """The loss from unit keys; ``apply`` returns it first, and then what the backward pass needs.

    A backward pass that is itself to be differentiated (create_graph) takes its slope from whole matrices, O(n^2).
    """

    @staticmethod
    def setup_context(ctx, inputs, output):
        keys, ctx.labels, ctx.cut, ctx.power, ctx.tile_rows = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(keys, *output[1:])

    @staticmethod
    def forward(keys, labels, cut, power, tile_rows):
        kernel = PowerOfRelu(cut, power)
        mass, kept = row_sums(keys, kernel, tile_rows)
        # NaN shows, whatever rows are counted.
        total = 0.0 * mass.sum()
        for inside in _insides(keys, mass, labels, kernel):
            total += inside.divergence()
        return clip_divergence(total / _counted(labels)), mass, *kept

    @staticmethod
    def backward(ctx, gradient, *_):
        if gradient is None:
            return None, None, None, None, None
        keys, mass, *kept = ctx.saved_tensors
        with torch.autocast(keys.device.type, enabled=False):
            if torch.is_grad_enabled():
                d_keys = _slope_of_matrices(keys, ctx.labels, ctx.cut, ctx.power) * gradient
            else:
                d_keys = TiledDivergence._slope(ctx, keys, mass, kept).mul_(gradient)
        return d_keys, None, None, None, None

    @staticmethod
    def _slope(ctx, keys: Tensor, mass: Tensor, kept: list[Tensor]) -> Tensor:
        """The loss's gradient. With g_ij the slope of row i's divergence in Y_ij, s_i its mass, h_i = sum_j g_ij Y_ij
        and L = ReLU(C - cut), that in C_ij is power L^(power - 1) (g_ij - h_i)/s_i; outside the own cluster g_ij =
        ln 2/2, and what it is more inside is added block by block."""
        kernel = PowerOfRelu(ctx.cut, ctx.power)
        weights, more = _with_nobody(torch.zeros_like(mass)), _with_nobody(torch.zeros_like(keys))
        for inside in _insides(keys, mass, ctx.labels, kernel):
            rows, members = inside.block.rows, inside.block.members
            slope, level = inside.slope()
            scale = ctx.power / _counted(ctx.labels) / inside.mass.masked_fill(inside.mass == 0, torch.inf)
            weights[rows] = scale * (0.5 * LN2 - level)
            pairs = slope.sub_(0.5 * LN2).mul_(kernel.slope(inside.base)).mul_(scale.unsqueeze(-1))
            more[rows] += pairs @ inside.keys[members]
            more[members] += pairs.mT @ inside.keys[rows]
        return add_pull(more[:-1], keys, kernel, weights[:-1], ctx.tile_rows, kept)


class _Inside:
    """What rows of some clusters have inside them.

    Attributes:
        keys: of the batch, and a zero row, whose cosines are below every cut.
        base, affinity: kernel's base and Y, (clusters, r, m).
        mass: of the rows, to all of the batch.
    """

    def __init__(self, block: ClusterBlock, keys: Tensor, mass: Tensor, kernel: PowerOfRelu) -> None:
        self.block, self.keys = block, keys
        self.base = kernel.base_(keys[block.rows] @ keys[block.members].mT)
        self.base.diagonal(block.first, -2, -1).fill_(0.0)
        raw = kernel.value(self.base)
        # Rounding, to which a mass may owe its being, makes it no smaller than what is inside.
        self.mass = torch.maximum(mass[block.rows], raw.sum(-1))
        self.affinity = raw / self.mass.masked_fill(self.mass == 0, 1.0).unsqueeze(-1)
        # T inside the cluster.
        self.share = 1.0 / (block.sizes - 1).to(keys.dtype)
        self.outside = (1.0 - self.affinity.sum(-1)).clamp_min_(0.0)

    def divergence(self) -> Float[Tensor, ""]:
        """Sum of JSD(Y_i || T_i) over the rows."""
        there = self.block.rows < len(self.keys) - 1
        # The diagonal and places where there is nobody have neither Y nor T, but are given T's term, T ln 2.
        void = self.block.members.shape[-1] - self.block.sizes + 1
        inside = entry_divergence(self.affinity, self.share.unsqueeze(-1)).sum(-1) - void * self.share * LN2
        rows = torch.where(self.mass == 0, LN2, 0.5 * (inside + LN2 * self.outside))
        return (rows * there).sum()

    def slope(self) -> tuple[Float[Tensor, "clusters r m"], Float[Tensor, "clusters r"]]:
        """g_ij inside the cluster, and h_i."""
        slope = entry_slope(self.affinity, self.share.unsqueeze(-1))
        return slope, (slope * self.affinity).sum(-1).add_(self.outside, alpha=0.5 * LN2)


def _insides(keys: Tensor, mass: Tensor, labels: BatchLabels, kernel: PowerOfRelu) -> Iterator[_Inside]:
    keys, mass = _with_nobody(keys), _with_nobody(mass)
    for block in labels.blocks:
        yield _Inside(block, keys, mass, kernel)


def _with_nobody(values: Float[Tensor, "n ..."]) -> Float[Tensor, "n+1 ..."]:
    """Zeros behind the last row, where blocks have nobody."""
    return torch.cat([values, torch.zeros_like(values[:1])])


def _slope_of_matrices(keys: Float[Tensor, "n d"], labels: BatchLabels, cut: float, power: float) -> Tensor:
    """The loss's gradient by operations that can be differentiated again, from whole matrices."""
    target = target_of_index(labels.index, keys.dtype)
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    logits = (keys @ keys.mT - cut).masked_fill(own, 0.0)
    # Powers of zeros have infinite slopes, which must not even be looked at.
    steep = torch.where(logits > 0, torch.where(logits > 0, logits, 1.0) ** (power - 1.0), 0.0)
    raw = steep * logits
    mass = raw.sum(-1, keepdim=True)
    counted = (mass > 0) & (labels.others > 0).unsqueeze(-1)
    affinity = raw / torch.where(mass > 0, mass, 1.0)
    slope = entry_slope(affinity, target)
    level = (slope * affinity).sum(-1, keepdim=True)
    weights = torch.where(counted, power / _counted(labels) / torch.where(counted, mass, 1.0), 0.0)
    pairs = steep * (slope - level) * weights
    return (pairs + pairs.mT) @ keys


def _counted(labels: BatchLabels) -> int:
    """Rows that the mean is over; without any it is to be 0."""
    return max(1, sum(size for size in labels.layout.sizes if size > 1))

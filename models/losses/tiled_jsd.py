"""The affinity loss in row tiles, forward and backward: memory O(n (D + tile)), never an n x n matrix.

Definitions: models/losses/affinity.py.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from models.losses.common import target_of_index
from models.losses.jsd import LN2, DenseDivergence, clip_divergence, entry_divergence, entry_slope
from models.tiled import row_tiles
from theory.batches.clusters import ClusterLayout
from theory.batches.tiled_measurements import Segment, tile_segments


class TiledDivergence(torch.autograd.Function):
    """The same from unit keys in cluster order, each tile computed anew in the backward pass.

    Outside the own cluster T is 0: the divergence is ln 2/2 for each unit of mass and its slope ln 2/2 everywhere, so
    logarithms are taken inside clusters only.

    A backward pass that is itself to be differentiated (create_graph) takes its slope from whole matrices, O(n^2).
    """

    @staticmethod
    def forward(ctx, keys, layout, cut, power, tile_rows):
        ctx.save_for_backward(keys)
        ctx.layout, ctx.cut, ctx.power, ctx.tile_rows = layout, cut, power, tile_rows
        total = keys.new_zeros(())
        buffer = keys.new_empty(min(tile_rows, len(keys)), len(keys))
        for rows in row_tiles(len(keys), tile_rows):
            logits = _logits(keys, rows, cut, buffer)
            raw = logits if power == 1 else logits.pow_(power)
            mass = raw.sum(-1)
            for s in tile_segments(layout, rows):
                if s.own.stop - s.own.start > 1:
                    total += _segment_divergence(raw[s.local, s.own], mass[s.local])
        return clip_divergence(total / _counted(layout))

    @staticmethod
    def backward(ctx, gradient):
        (keys,) = ctx.saved_tensors
        with torch.autocast(keys.device.type, enabled=False):
            if torch.is_grad_enabled():
                loss = _dense_divergence(keys, ctx.layout, ctx.cut, ctx.power)
                (d_keys,) = torch.autograd.grad(loss, keys, gradient, create_graph=True)
            else:
                d_keys = TiledDivergence._slope(ctx, keys, gradient)
        return d_keys, None, None, None, None

    @staticmethod
    def _slope(ctx, keys: Tensor, gradient: Tensor) -> Tensor:
        d_keys = torch.zeros_like(keys)
        buffer = keys.new_empty(min(ctx.tile_rows, len(keys)), len(keys))
        raws = buffer if ctx.power == 1 else torch.empty_like(buffer)
        scale = gradient / _counted(ctx.layout)
        for rows in row_tiles(len(keys), ctx.tile_rows):
            logits = _logits(keys, rows, ctx.cut, buffer)
            raw = logits if ctx.power == 1 else torch.pow(logits, ctx.power, out=raws[: len(logits)])
            slope = _logit_slope(logits, raw, tile_segments(ctx.layout, rows), ctx.power, scale)
            d_keys[rows] += slope @ keys
            d_keys.addmm_(slope.mT, keys[rows])
        return d_keys


def _dense_divergence(keys: Float[Tensor, "n d"], layout: ClusterLayout, cut: float, power: float) -> Tensor:
    """The same number from whole matrices, by operations that can be differentiated any number of times."""
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    logits = (keys @ keys.mT - cut).masked_fill(own, 0.0)
    # Powers of zeros have infinite slopes, which must not even be looked at.
    raw = torch.where(logits > 0, torch.where(logits > 0, logits, 1.0) ** power, 0.0)
    mass = raw.sum(-1, keepdim=True)
    sizes = torch.tensor(layout.sizes, device=keys.device)
    index = torch.arange(len(sizes), device=keys.device).repeat_interleave(sizes)
    affinity = raw / torch.where(mass > 0, mass, 1.0)
    return DenseDivergence.apply(affinity, target_of_index(index, keys.dtype))


def _counted(layout: ClusterLayout) -> int:
    """Rows that the mean is over; without any it is to be 0."""
    return max(1, sum(size for size in layout.sizes if size > 1))


def _logits(keys: Tensor, rows: slice, cut: float, buffer: Tensor) -> Tensor:
    """ReLU(C - cut) of a tile, zero diagonal, written into ``buffer``."""
    cosines = torch.mm(keys[rows], keys.mT, out=buffer[: rows.stop - rows.start])
    cosines.diagonal(rows.start).fill_(-1.0)
    return cosines.sub_(cut).relu_()


def _segment_divergence(own: Float[Tensor, "rows m"], mass: Float[Tensor, " rows"]) -> Tensor:
    """Sum of JSD(Y_i || T_i) over rows of one cluster, from the raw affinity inside it and the whole rows' mass."""
    # NaN is to stay NaN.
    empty = mass == 0
    share = 1.0 / (own.shape[-1] - 1)
    affinity = own / torch.where(empty, 1.0, mass)[:, None]
    outside = (1.0 - affinity.sum(-1)).clamp_min(0.0)
    # The diagonal has neither Y nor T, but was given T's term, T ln 2.
    inside = entry_divergence(affinity, share).sum(-1) - share * LN2
    return torch.where(empty, LN2, 0.5 * (inside + LN2 * outside)).sum()


def _logit_slope(
    logits: Float[Tensor, "rows n"],
    raw: Float[Tensor, "rows n"],
    segments: tuple[Segment, ...],
    power: float,
    scale: Float[Tensor, ""],
) -> Float[Tensor, "rows n"]:
    """``scale`` times the gradient of the tile's divergences in its cosines; overwrites ``logits`` and ``raw``.

    With g_ij the slope in Y_ij, s_i the row's mass and h_i = sum_j g_ij Y_ij: power ReLU^(power - 1) (g_ij - h_i)/s_i.
    """
    mass = raw.sum(-1, keepdim=True)
    safe = torch.where(mass > 0, mass, 1.0)
    factor = torch.zeros_like(mass)
    inner = []
    for s in segments:
        size = s.own.stop - s.own.start
        affinity = raw[s.local, s.own] / safe[s.local]
        slope = entry_slope(affinity, 1.0 / max(size - 1, 1))
        outside = (1.0 - affinity.sum(-1, keepdim=True)).clamp_min(0.0)
        level = (slope * affinity).sum(-1, keepdim=True) + 0.5 * LN2 * outside
        counted = (mass[s.local] > 0) & (size > 1)
        weight = torch.where(counted, scale * power / safe[s.local], 0.0)
        factor[s.local] = weight * (0.5 * LN2 - level)
        inner.append(weight * (slope - level))
    if power == 1:
        steep = logits.sign_()
    elif power == 2:
        steep = logits
    else:
        steep = logits.pow_(power - 1.0)
    for s, slope in zip(segments, inner):
        inner_block = steep[s.local, s.own] * slope
        steep[s.local] *= factor[s.local]
        steep[s.local, s.own] = inner_block
    return steep

"""The affinity loss: the mean Jensen-Shannon divergence between a batch's affinity rows and the ideal ones.

JSD(Y_i || T_i) = KL(Y_i || M_i)/2 + KL(T_i || M_i)/2 with M_i = (Y_i + T_i)/2, natural logarithms, in [0, ln 2]; it is
0 where a row attends to its own cluster evenly and ln 2 where it attends to other clusters only. Y is the affinity of
theory.md, section 0, T its ideal: T_ij = 1/(n_k - 1) for i ~ j in cluster k, 0 elsewhere.

A row of Y without mass says nothing about its cluster, and counts ln 2 by definition (the formula would give half of
that). Rows of T without mass, clusters of one, are left out of the mean.

dJSD_i/dY_ij = ln(2 Y_ij/(Y_ij + T_ij))/2 is unbounded where Y_ij vanishes but T_ij does not; it is taken as 0 there,
which is what the ReLU behind Y makes of it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from models.tiled import choose_tile_rows, row_tiles
from theory.affinity import effective_threshold, unit_points
from theory.clusters import ClusterLayout, group_rows
from theory.inputs import Array, require_count, require_points, require_range
from theory.precision import UNIT_SUM_TOLERANCE, dtype_name
from theory.tiled_measurements import Segment, tile_segments

LN2 = math.log(2.0)


def affinity_jsd(affinity: Float[Tensor, "*trials n n"], target: Float[Tensor, "n n"]) -> Float[Tensor, "*trials"]:
    """Mean over rows of JSD(Y_i || T_i), in [0, ln 2], one value a trial. Differentiable in ``affinity``, once.

    Args:
        affinity: Y, rows summing to 1, or to 0 where a row has no neighbours.
        target: T, likewise; a constant. theory.affinity.target_affinity makes it from labels.

    Raises:
        ValueError: negative or infinite entries, rows that sum to neither 1 nor 0, other shapes than the affinity's, a
            target without any row.
    """
    require_affinities(affinity, target)
    return _DenseDivergence.apply(affinity, target.detach().to(affinity.device, affinity.dtype))


def affinity_jsd_from_points(
    points: Float[Tensor, "n D"],
    labels: Array,
    threshold: float = 0.0,
    power: float = 2.0,
    *,
    condition: float = 1.0,
    tile_rows: int | None = None,
) -> Float[Tensor, ""]:
    """``affinity_jsd`` of ReLU(C - cut)^power, rows normalised, zero diagonal, against the labels' target.

    Computed in row tiles, forward and backward: memory O(n (D + tile_rows)), no n x n matrix. cut = max(threshold,
    tau_num). For the truncated output of a stack pass its layer-L ``tokens``.

    Args:
        points: any norms.
        labels: integers (n,), any values and order; a cluster of one point is left out of the mean.
        threshold: tau in [0, 1).
        power: at least 1; 2 is the truncated output's.
        condition: condition number of a map that was applied to the points.
        tile_rows: None chooses.

    Raises:
        ValueError: bad points, labels of another shape or without two points in any cluster, threshold, power or
            tile_rows out of range.
    """
    require_points(points)
    require_range(power, "power", 1.0, math.inf, closed="left")
    cut = effective_threshold(float(threshold), points.dtype, condition)
    layout = group_rows(labels)
    if layout.num_points != points.shape[-2]:
        raise ValueError(f"labels: expected integers of shape ({points.shape[-2]},), got {layout.num_points} of them")
    if max(layout.sizes) < 2:
        raise ValueError("labels: some cluster needs at least 2 points, every one has 1")
    rows = choose_tile_rows(points) if tile_rows is None else require_count(tile_rows, "tile_rows", 1)
    keys = layout.sort_rows(unit_points(points), axis=-2)
    return _TiledDivergence.apply(keys, layout, cut, float(power), rows)


def require_affinities(affinity: Float[Tensor, "*trials n n"], target: Float[Tensor, "n n"]) -> None:
    """Refuse what is not an affinity with a target of its own shape, rows summing to 1 or 0.

    Raises:
        ValueError: as ``affinity_jsd``.
    """
    if affinity.ndim < 2 or affinity.shape[-1] != affinity.shape[-2]:
        raise ValueError(f"affinity: expected shape (..., n, n), got {tuple(affinity.shape)}")
    if tuple(target.shape) != tuple(affinity.shape[-2:]):
        raise ValueError(f"target: expected shape {tuple(affinity.shape[-2:])}, got {tuple(target.shape)}")
    _require_row_sums(affinity, "affinity")
    _require_row_sums(target, "target")
    if not bool((target > 0).any()):
        raise ValueError("target: has no row with mass, so there is nothing to average")


def _require_row_sums(matrix: Tensor, name: str) -> None:
    low, high = torch.aminmax(matrix)
    # NaN fails the first comparison.
    if not bool(low >= 0) or not bool(torch.isfinite(high)):
        raise ValueError(f"{name}: entries must lie in [0, inf)")
    sums = matrix.sum(-1)
    tolerance = UNIT_SUM_TOLERANCE[dtype_name(matrix.dtype)]
    off = torch.minimum((sums - 1.0).abs(), sums)
    if not bool((off <= tolerance).all()):
        raise ValueError(f"{name}: rows must sum to 1 or 0, one is off by {float(off.max()):g}")


def _entry_divergence(affinity: Tensor, target: Tensor | float) -> Tensor:
    """Y ln(2Y/(Y+T)) + T ln(2T/(Y+T)), with 0 ln 0 = 0."""
    both = affinity + target
    both = torch.where(both > 0, both, 1.0)
    share = torch.as_tensor(target, dtype=affinity.dtype, device=affinity.device)
    return torch.xlogy(affinity, 2.0 * affinity / both) + torch.xlogy(share, 2.0 * share / both)


def _entry_slope(affinity: Tensor, target: Tensor | float) -> Tensor:
    """dJSD/dY: half of ln(2Y/(Y+T)), and 0 at Y = 0."""
    ratio = 2.0 * affinity / torch.where(affinity > 0, affinity + target, 1.0)
    return 0.5 * torch.where(affinity > 0, ratio, 1.0).log()


class _DenseDivergence(torch.autograd.Function):
    """The mean over rows, from the matrices themselves."""

    @staticmethod
    def forward(ctx, affinity, target):
        ctx.save_for_backward(affinity, target)
        rows = 0.5 * _entry_divergence(affinity, target).sum(-1)
        rows = torch.where(affinity.sum(-1) > 0, rows, LN2)
        counted = target.sum(-1) > 0
        return torch.where(counted, rows, 0.0).sum(-1) / counted.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        affinity, target = ctx.saved_tensors
        counted = target.sum(-1, keepdim=True) > 0
        weight = counted * (gradient[..., None, None] / counted.sum())
        return weight * _entry_slope(affinity, target), None


class _TiledDivergence(torch.autograd.Function):
    """The same from unit keys in cluster order, each tile computed anew in the backward pass.

    Outside the own cluster T is 0: the divergence is ln 2/2 for each unit of mass and its slope ln 2/2 everywhere, so
    logarithms are taken inside clusters only.
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
        return total / _counted(layout)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (keys,) = ctx.saved_tensors
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
        return d_keys, None, None, None, None


def _counted(layout: ClusterLayout) -> int:
    """Rows that the mean is over."""
    return sum(size for size in layout.sizes if size > 1)


def _logits(keys: Tensor, rows: slice, cut: float, buffer: Tensor) -> Tensor:
    """ReLU(C - cut) of a tile, zero diagonal, written into ``buffer``."""
    cosines = torch.mm(keys[rows], keys.mT, out=buffer[: rows.stop - rows.start])
    cosines.diagonal(rows.start).fill_(-1.0)
    return cosines.sub_(cut).relu_()


def _segment_divergence(own: Float[Tensor, "rows m"], mass: Float[Tensor, " rows"]) -> Tensor:
    """Sum of JSD(Y_i || T_i) over rows of one cluster, from the raw affinity inside it and the whole rows' mass."""
    occupied = mass > 0
    share = 1.0 / (own.shape[-1] - 1)
    affinity = own / torch.where(occupied, mass, 1.0)[:, None]
    outside = (1.0 - affinity.sum(-1)).clamp_min(0.0)
    # The diagonal has neither Y nor T, but was given T's term, T ln 2.
    inside = _entry_divergence(affinity, share).sum(-1) - share * LN2
    return torch.where(occupied, 0.5 * (inside + LN2 * outside), LN2).sum()


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
        slope = _entry_slope(affinity, 1.0 / max(size - 1, 1))
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

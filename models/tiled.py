"""Blocks over large batches: attention, mixing and measurements in row tiles, never an n x n matrix.

A tile is a few consecutive rows against all points, and goes through the block's own ``attend``, ``affinity`` and
``mix``: memory O(n (D + rows)). The backward pass computes each tile again. Source: theory.md, section 0.
"""

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.attention import Projection, Tile, TransFusionBlock, outside_autocast
from models.devices.transfer import upload
from theory.batches.clusters import ClusterLayout
from theory.batches.tiled_measurements import TiledLayer, count_fragments
from theory.batches.trajectory import Trajectory
from theory.numerics.precision import widen

# Bytes of one tile: on a CPU what its last-level cache holds besides the keys, on a GPU enough to fill it. Tiles are
# never lower than MIN_ROWS: every one of them reads all keys and values once, and products with fewer rows are slow.
CPU_TILE_BYTES = 16 * 2**20
GPU_TILE_BYTES = 256 * 2**20
MIN_ROWS, MAX_ROWS = 64, 1024
# Bytes of one square, which is read several times: what the second-level caches of two cores hold.
CPU_SQUARE_BYTES = 4 * 2**20
# What a block may do in a way of its own.
STEPS = ("project", "attend", "affinity", "rectify", "mix", "blend")


def choose_tile_rows(points: Float[Tensor, "*trials n D"]) -> int:
    """Rows of a tile that keep one within CPU_TILE_BYTES or GPU_TILE_BYTES, between MIN_ROWS and MAX_ROWS."""
    budget = CPU_TILE_BYTES if points.device.type == "cpu" else GPU_TILE_BYTES
    return min(max(budget // (points[..., 0].numel() * points.element_size()), MIN_ROWS), MAX_ROWS)


def row_tiles(n: int, tile_rows: int) -> list[slice]:
    """Rows 0..n-1 in consecutive slices of ``tile_rows``, the last one perhaps shorter."""
    return [slice(start, min(start + tile_rows, n)) for start in range(0, n, tile_rows)]


def mix_in_tiles(
    block: TransFusionBlock, points: Float[Tensor, "*trials n D"], tile_rows: int
) -> Float[Tensor, "*trials n D"]:
    """What ``block(points)`` returns, to rounding, in memory O(n (D + tile_rows)), its gradients included.

    Args:
        block: a subclass that overrides ``project``, ``attend``, ``affinity`` or ``mix``, or a power other than 1,
            works too; gradients then come from running these again under autograd, more slowly, and are to be asked
            for outside autocast, as torch has it of all backward passes. Those of plain blocks are not narrowed.

    Raises:
        TypeError: the block overrides ``attend`` or ``mix`` by a method that takes no tile.
    """
    points = widen(points)
    projected = block.project(points)
    plain = all(getattr(type(block), step) is getattr(TransFusionBlock, step) for step in STEPS)
    if plain and block.power == 1.0:
        mixing = block.mixing if isinstance(block.mixing, Tensor) else None
        cut = projected.cut if isinstance(projected.cut, Tensor) else None
        own = projected.queries, projected.keys, projected.scale
        return RowTiledMixing.apply(block, tile_rows, projected, points, *own, cut, mixing)
    if not torch.is_grad_enabled():
        return _mix_rows(block, points, projected, tile_rows)[0]

    def one_tile(rows: slice) -> Tensor:
        tile = Tile(rows, projected)
        return block.mix(points, *block.affinity(block.attend(points, tile)), tile)

    moved = [checkpoint(one_tile, rows, use_reentrant=False) for rows in row_tiles(points.shape[-2], tile_rows)]
    return torch.cat(moved, dim=-2)


def _buffer(projected: Projection, tile_rows: int) -> Tensor:
    keys = projected.keys
    return keys.new_empty(*keys.shape[:-2], min(tile_rows, keys.shape[-2]), keys.shape[-2])


def _tile(projected: Projection, rows: slice, buffer: Tensor) -> Tile:
    return Tile(rows, projected, buffer[..., : rows.stop - rows.start, :])


def _mix_rows(
    block: TransFusionBlock, points: Tensor, projected: Projection, tile_rows: int
) -> tuple[Float[Tensor, "*trials n D"], Float[Tensor, "*trials n"]]:
    """Mixed points and the row masses, tile by tile; not under autograd."""
    moved, masses = torch.empty_like(points), points.new_empty(points.shape[:-1])
    buffer = _buffer(projected, tile_rows)
    for rows in row_tiles(points.shape[-2], tile_rows):
        tile = _tile(projected, rows, buffer)
        affinity, mass = block.affinity(block.attend(points, tile))
        moved[..., rows, :] = block.mix(points, affinity, mass, tile)
        masses[..., rows] = mass
    return moved, masses


class RowTiledMixing(torch.autograd.Function):
    """One block in row tiles: forward keeps points, queries, keys, mixed points and row masses, O(n D).

    Backward, with s the row masses, y the fused points and G' = lambda G / s (0 for rows without neighbours):
    dA_ij = G'_i . (x_j - y_i) where A_ij > 0; dx += A^T G', besides what passes by; dq = dA k; dk = dA^T q.

    A backward pass that is itself to be differentiated (create_graph) goes through whole matrices, O(n^2).
    """

    @staticmethod
    def forward(ctx, block, tile_rows, projected, points, queries, keys, scale, cut, mixing):
        moved, mass = _mix_rows(block, points, projected, tile_rows)
        ctx.block, ctx.tile_rows = block, tile_rows
        ctx.plain_cut = projected.cut if cut is None else None
        ctx.save_for_backward(points, queries, keys, scale, cut, mixing, moved, mass)
        return moved

    @staticmethod
    def backward(ctx, gradient):
        # It may run inside somebody's autocast.
        with outside_autocast(gradient.device):
            return RowTiledMixing._gradients(ctx, gradient)

    @staticmethod
    def _gradients(ctx, gradient):
        points, queries, keys, scale, cut, mixing, moved, mass = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = (points, queries, keys, scale, cut, mixing)
            plain = (ctx.block.mixing, ctx.plain_cut)
            return None, None, None, *_differentiable_gradients(given, plain, gradient)
        weight = ctx.block.mixing if mixing is None else mixing
        projected = Projection(queries, keys, scale, ctx.plain_cut if cut is None else cut)
        occupied = (mass > 0).unsqueeze(-1)
        # lambda times the fused point, without the division by lambda; a row without neighbours moves nowhere.
        kept = 1.0 - weight * occupied.to(points.dtype)
        fused = moved - kept * points
        pull = torch.where(occupied, gradient / torch.where(occupied, mass.unsqueeze(-1), 1.0), 0.0)
        level = -(pull * fused).sum(-1, keepdim=True)
        pull = pull * weight

        # Laid out in order, whatever the order of the trials' axes: both are written as one batch of matrices.
        d_points = (gradient * kept).contiguous()
        d_keys = torch.zeros_like(keys, memory_format=torch.contiguous_format)
        d_queries, d_mass = torch.empty_like(queries), None if cut is None else torch.empty_like(mass)
        divisor = 1.0 if scale is None else scale
        buffer = _buffer(projected, ctx.tile_rows)
        slopes = torch.empty_like(buffer)
        for rows in row_tiles(points.shape[-2], ctx.tile_rows):
            affinity, _ = ctx.block.affinity(ctx.block.attend(points, _tile(projected, rows, buffer)))
            _add_product(d_points, affinity.mT, pull[..., rows, :])
            slope = torch.matmul(pull[..., rows, :], points.mT, out=slopes[..., : rows.stop - rows.start, :])
            slope.add_(level[..., rows, :])
            # slope where the affinity is positive, in place and in one pass.
            torch.ops.aten.threshold_backward.grad_input(slope, affinity, 0.0, grad_input=slope)
            d_queries[..., rows, :] = slope @ keys / divisor
            _add_product(d_keys, slope.mT, queries[..., rows, :] / divisor)
            if d_mass is not None:
                d_mass[..., rows] = slope.sum(-1)
        d_scale = d_cut = d_mixing = None
        if scale is not None:
            d_scale = -((d_queries * queries).sum((-2, -1), keepdim=True) / scale).sum_to_size(scale.shape)
        if cut is not None and d_mass is not None:
            d_cut = -d_mass.sum(-1)[..., None, None].sum_to_size(cut.shape)
        if mixing is not None:
            d_mixing = ((gradient * (moved - points)).sum((-2, -1), keepdim=True) / mixing).sum_to_size(mixing.shape)
        return None, None, None, d_points, d_queries, d_keys, d_scale, d_cut, d_mixing


def _differentiable_gradients(
    given: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None],
    plain: tuple[Tensor | float, Tensor | float | None],
    gradient: Tensor,
) -> list[Tensor | None]:
    """The gradients of RowTiledMixing by operations that can be differentiated again, from whole matrices.

    Args:
        given: points, queries, keys, scale, cut and mixing.
        plain: mixing and cut where they are numbers.
    """
    # Queries and keys may be one tensor; as views of it each gets the gradient of its own place.
    points, queries, keys = (value.view_as(value) for value in given[:3])
    scale, cut, mixing = (None if value is None else value.view_as(value) for value in given[3:])
    own = (points, queries, keys, scale, cut, mixing)
    weight, level = (plain[0] if mixing is None else mixing), (plain[1] if cut is None else cut)
    assert level is not None
    cosines = queries @ keys.mT
    cosines = cosines if scale is None else cosines / scale
    affinity = (cosines - level).relu()
    affinity = affinity.masked_fill(torch.eye(points.shape[-2], dtype=torch.bool, device=points.device), 0.0)
    mass = affinity.sum(-1, keepdim=True)
    fused = torch.where(mass > 0, (affinity @ points) / torch.where(mass > 0, mass, 1.0), points)
    moved = torch.lerp(points, fused, weight)
    wanted = [value for value in own if value is not None and value.requires_grad]
    found = iter(torch.autograd.grad(moved, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if value is not None and value.requires_grad else None for value in own]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, without a copy of ``total`` beside it."""
    left, right = (part.flatten(0, -3) if part.ndim > 2 else part[None] for part in (left, right))
    total.view(-1, *total.shape[-2:]).baddbmm_(left, right)


def measure_in_tiles(
    block: TransFusionBlock, points: Float[Tensor, "1 n D"], layout: ClusterLayout, tile_rows: int | None, mix: bool
) -> tuple[Trajectory, Float[Tensor, "1 n D"]]:
    """One layer of one batch measured and, with ``mix``, mixed in the same pass; not under autograd.

    A symmetric layer - a block's own steps, with keys that are its queries - is cut into squares, of which half are
    worked out. On a CPU those between clusters whose cosines all lie below the cut are left as soon as that is seen.
    The device is waited for once, and once more for every round in which pieces of thin clusters are counted.

    Args:
        points: in cluster order, as the layout says.
        tile_rows: rows of a tile; None chooses them.

    Returns:
        The layer, arrays (1,), and the mixed points (the given ones without ``mix``).
    """
    points = widen(points)
    projected = block.project(points)
    halves = is_symmetric(block, projected)
    layer = TiledLayer(layout, points[0])
    read = _read_squares if halves else _read_strips
    cut, moved = read(block, points, projected, layer, tile_rows, mix)
    found = layer.finish(cut)
    spans = partial(_spans, block, points, projected, layout, found.thin, tile_rows, halves)
    return found.trajectory(count_fragments(layout, found.thin, spans)), moved


def is_symmetric(block: TransFusionBlock, projected: Projection) -> bool:
    """Whether a layer's affinity is its own transpose, so that half of it says all."""
    own = all(getattr(type(block), step) is getattr(TransFusionBlock, step) for step in STEPS if step != "project")
    return own and projected.queries is projected.keys


def choose_square_side(points: Float[Tensor, "*trials n D"]) -> int:
    """Rows, and columns, of squares of which one keeps within CPU_SQUARE_BYTES or GPU_TILE_BYTES, all about equal."""
    budget = CPU_SQUARE_BYTES if points.device.type == "cpu" else GPU_TILE_BYTES
    n, side = points.shape[-2], math.isqrt(budget // points.element_size())
    return -(-n // -(-n // side))


def _read_squares(
    block: TransFusionBlock,
    points: Float[Tensor, "1 n D"],
    projected: Projection,
    layer: TiledLayer,
    tile_rows: int | None,
    mix: bool,
) -> tuple[Tensor | float, Float[Tensor, "1 n D"]]:
    """The cut, and the mixed points; ``layer`` has seen all squares."""
    tiles = row_tiles(points.shape[-2], tile_rows or choose_square_side(points))
    height, may_look = tiles[0].stop, points.device.type == "cpu"
    buffer = points.new_empty(height * height)
    product = torch.zeros_like(points) if mix else None
    for number, rows in enumerate(tiles):
        for columns in tiles[number:]:
            shape = rows.stop - rows.start, columns.stop - columns.start
            out = buffer[: math.prod(shape)].view(1, *shape)
            attention = block.attend(points, Tile(rows, projected, out, columns))
            beta = layer.read_cosines(attention.cosines[0], rows, columns)
            # A wait on other devices. NaN is not below the cut.
            crossing = not may_look or not bool(beta <= attention.cut)
            if not crossing and layer.is_between_clusters(rows, columns):
                continue
            affinity, mass = block.affinity(attention)
            layer.read_affinity(affinity[0], mass[0], rows, columns, crossing)
            if product is not None:
                product[0, rows].addmm_(affinity[0], points[0, columns])
                if columns is not rows:
                    product[0, columns].addmm_(affinity[0].mT, points[0, rows])
    return projected.cut, points if product is None else block.blend(points, product, layer.row_mass[None])


def _read_strips(
    block: TransFusionBlock,
    points: Float[Tensor, "1 n D"],
    projected: Projection,
    layer: TiledLayer,
    tile_rows: int | None,
    mix: bool,
) -> tuple[Tensor | float, Float[Tensor, "1 n D"]]:
    """As ``_read_squares``, rows against all points, for blocks whose steps are their own."""
    height, everything = tile_rows or choose_tile_rows(points), slice(0, points.shape[-2])
    buffer = _buffer(projected, height)
    moved = torch.empty_like(points) if mix else points
    for rows in row_tiles(everything.stop, height):
        tile = _tile(projected, rows, buffer)
        attention = block.attend(points, tile)
        layer.read_cosines(attention.cosines[0], rows, everything)
        affinity, mass = block.affinity(attention)
        layer.read_affinity(affinity[0], mass[0], rows, everything)
        if mix:
            moved[..., rows, :] = block.mix(points, affinity, mass, tile)
    return attention.cut, moved


def _spans(
    block: TransFusionBlock,
    points: Float[Tensor, "1 n D"],
    projected: Projection,
    layout: ClusterLayout,
    clusters: tuple[int, ...],
    tile_rows: int | None,
    halves: bool,
    names: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Smallest and largest name among each row of the clusters and its neighbours there, in one wait."""
    there = upload(torch.from_numpy(names), points.device)
    low, high = there.clone(), there.clone()
    for own in (layout.slices[k] for k in clusters):
        columns = own if halves else slice(0, points.shape[-2])
        height = tile_rows or choose_tile_rows(points[..., columns, :])
        for part in row_tiles(own.stop - own.start, height):
            rows = slice(own.start + part.start, own.start + part.stop)
            tile = Tile(rows, projected, columns=columns if halves else None)
            affinity, _ = block.affinity(block.attend(points, tile))
            edges = (affinity[0] if halves else affinity[0][:, own]) > 0
            low[rows] = torch.minimum(low[rows], torch.where(edges, there[own], len(names)).amin(-1))
            high[rows] = torch.maximum(high[rows], torch.where(edges, there[own], -1).amax(-1))
    low, high = torch.stack([low, high]).cpu().numpy()
    return low, high

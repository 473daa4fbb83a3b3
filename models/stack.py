"""Stacks of attention blocks, truncated: the last block stops at its squared affinity, which is the output.

A stack of depth L mixes L times; its layers 0..L are what the blocks see, and layer L is where the truncated block
reads off the affinity. Source: theory.md, section 0.

Large batches go through in row tiles (models/tiled.py), small ones as whole matrices; the results agree to rounding.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.attention import TransFusionBlock, outside_autocast, require_bias
from models.devices.transfer import upload
from models.environment import resolve_device
from models.tiled import choose_tile_rows, measure_in_tiles, mix_in_tiles
from theory.affinity import normalize_rows
from theory.batches.clusters import ClusterLayout, cluster_layout
from theory.batches.trajectory import Trajectory, layer_extremes, measure_layer
from theory.batches.waitless_layers import read_extremes, read_layer, trajectory_of
from theory.numerics.inputs import require_array, require_count, require_flag, require_points
from theory.numerics.limits import LARGEST_DEPTH
from theory.numerics.precision import numerical_threshold, widen
from theory.subspaces import require_query_key_map

# Bytes of n x n matrices worked on at a time on a CPU: about one core's share of the last-level cache. Larger chunks
# of trials stream every matrix through memory; smaller ones pay more calls.
CPU_CHUNK_BYTES = 4 * 2**20
GPU_CHUNK_BYTES = 512 * 2**20

# Bytes of one batch's n x n matrix up to which a stack forms it; larger batches are tiled. Matrices that outgrow the
# last-level cache are streamed through memory again and again, which makes tiles the faster way too.
CPU_DENSE_BYTES = 16 * 2**20
GPU_DENSE_BYTES = 2 * 2**30

# What stores numbers and computes none.
HALF = (torch.float16, torch.bfloat16)

Normalize = Literal["never", "input", "every"]


@dataclass(frozen=True)
class StackTrace:
    """Every layer of a forward pass.

    Attributes:
        points: layers 0..L, each (*trials, n, D): what block l sees.
        affinities: layers 0..L, each (*trials, n, n), rows normalized: ReLU(C - cut)^power of that layer.
    """

    points: tuple[Float[Tensor, "*trials n D"], ...]
    affinities: tuple[Float[Tensor, "*trials n n"], ...]


class PlacedModule(nn.Module):
    """A module with a ``device`` and a ``dtype``, where and in what it computes: they follow ``.to``, ``.float`` etc.

    Half precision stores numbers and computes none (theory.md, section 0): in its place the module takes float32.

    Raises:
        ValueError: moved to a dtype that is not floating.
    """

    device: torch.device
    dtype: torch.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        place = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        dtype = computing_dtype(place.dtype)
        self._require_dtype(dtype)

        def placed(value: Tensor) -> Tensor:
            moved = fn(value)
            return value.to(moved.device, dtype) if moved.dtype in HALF else moved

        super()._apply(placed, recurse)
        self.device, self.dtype = place.device, dtype
        return self

    def _require_dtype(self, dtype: torch.dtype) -> None:
        """Refuse a dtype, as the constructor does, that cannot hold the module's numbers."""


class AttentionStack(PlacedModule):
    """``depth`` TransFusion blocks and a truncated, squared output. Trials are leading batch axes.

    Args:
        depth: L >= 1 mixing blocks.
        threshold, mixing, query_key_map, condition, bias_form, power: as in TransFusionBlock, shared by all blocks;
            with ``bias_form`` every block learns its own bias, from a threshold above the numerical one. The truncated
            output is squared whatever the power.
        normalize: "never"; "input" makes the inputs unit vectors (Theorem 1b's rate); "every" normalizes at every
            block (needed by ``bias_form``).
        signed: the output is ReLU(C - cut)^2; False ignores signs: C^2 where |C| > cut.
        device, dtype: where and in which precision the stack computes; float64 for verdicts. Half precision stands for
            float32, in which tokens, affinities and measurements are then computed, cut and returned.
        tile_rows: None tiles batches whose n x n matrix exceeds CPU_DENSE_BYTES (GPU_DENSE_BYTES), with rows chosen
            for the cache; a number always tiles, with so many rows. Tiled passes need memory O(n (D + tile_rows)).

    Raises:
        ValueError: depth or tile_rows below 1, threshold or mixing out of range or of another shape, unknown device,
            bias_form without "every" or with a threshold at or below the numerical one, a query_key_map with NaN or
            infinity or without full rank, a dtype that is not floating. Moved to a
            dtype whose numerical threshold hides one that was learned or given with bias_form: likewise.
    """

    block_type: type[TransFusionBlock] = TransFusionBlock

    def __init__(
        self,
        depth: int,
        threshold: Tensor | float = 0.0,
        mixing: Tensor | float = 0.5,
        *,
        query_key_map: Float[Tensor, "d D"] | None = None,
        condition: float = 1.0,
        bias_form: bool = False,
        power: float = 1.0,
        normalize: Normalize = "never",
        signed: bool = True,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        tile_rows: int | None = None,
    ) -> None:
        super().__init__()
        if query_key_map is not None:
            require_query_key_map(query_key_map)
        if normalize not in ("never", "input", "every"):
            raise ValueError(f"normalize: must be never, input or every, got {normalize!r}")
        if bias_form and (normalize != "every" or not signed):
            raise ValueError("bias_form: needs normalize='every' (Lemma 0 appends the bias to unit tokens) and signed")
        require_flag(signed, "signed")
        require_flag(bias_form, "bias_form")
        self.depth = require_count(depth, "depth", 1, LARGEST_DEPTH)
        self.tile_rows = None if tile_rows is None else require_count(tile_rows, "tile_rows", 1)
        self.normalize = normalize
        self.signed = signed
        self.device, self.dtype = resolve_device(device), computing_dtype(dtype)
        if bias_form:
            require_bias(threshold, numerical_threshold(self.dtype, condition))
        self.blocks = nn.ModuleList(
            self.block_type(threshold, mixing, query_key_map, condition, bias_form, power) for _ in range(depth + 1)
        )
        self.to(self.device, self.dtype)

    def _require_dtype(self, dtype: torch.dtype) -> None:
        # Where a wider dtype is taken, nothing is hidden that was not.
        if torch.finfo(dtype).eps > torch.finfo(self.dtype).eps:
            for block in map(self._block, range(self.depth + 1)):
                if block.bias_form:
                    require_bias(block.bias.detach() ** 2, numerical_threshold(dtype, block.condition))

    def prepare(self, points: Float[np.ndarray | Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
        """Points checked, on the stack's device and in its dtype, normalized where asked for.

        Raises:
            ValueError: NaN, infinite or zero points, fewer than two points; points that query_key_map takes to zero;
                without normalization, points whose squared norms the stack's dtype cannot hold; another number of
                trials than threshold or mixing are given for.
        """
        require_points(points)
        self._block(0).require_trials(points)
        if points.shape[-2] < 2:
            raise ValueError(f"points: a batch needs at least 2 points, got {points.shape[-2]}")
        if self.normalize == "never":
            _require_ordinary_size(points, self.dtype)
            tokens = torch.as_tensor(points).to(self.device, self.dtype)
        else:
            tokens = unit_inputs(points, self.device, self.dtype)
        self._require_images(tokens)
        return tokens

    def _block(self, layer: int) -> TransFusionBlock:
        block = self.blocks[layer]
        assert isinstance(block, TransFusionBlock)
        return block

    @torch.no_grad()
    def _require_images(self, tokens: Tensor) -> None:
        matrix = self._block(0).query_key_map
        if matrix is None:
            return
        if matrix.shape[-1] != tokens.shape[-1]:
            raise ValueError(f"points: must be {matrix.shape[-1]} wide as query_key_map is, got {tokens.shape[-1]}")
        with outside_autocast(tokens.device):
            images = tokens @ matrix.mT
        lengths, sizes = (torch.linalg.vector_norm(each, dim=-1) for each in (images, tokens))
        # A shorter image is the round-off of the product.
        least = 16 * torch.finfo(tokens.dtype).eps * torch.linalg.matrix_norm(matrix) * sizes
        seen = (lengths > least) & torch.isfinite(lengths)
        if not bool(seen.all()):
            where = tuple((~seen).nonzero()[0].tolist())
            raise ValueError(f"query_key_map: takes a point to zero or beyond {self.dtype}, first at index {where}")

    def forward(
        self, points: Float[np.ndarray | Tensor, "*trials n D"], return_trace: bool = False
    ) -> Float[Tensor, "*trials n n"] | tuple[Float[Tensor, "*trials n n"], StackTrace]:
        """The truncated output Y, rows normalized; with ``return_trace`` also every layer (memory O(L n^2)).

        Y is n x n whatever the batch size. ``tokens`` stops before it, for losses that are computed in tiles too.
        """
        trace = []
        with outside_autocast(self.device):
            for block, tokens in self._layers(self.prepare(points)):
                if return_trace:
                    raw, mass = block.affinity(block.attend(tokens))
                    trace.append((tokens, _divide_rows(raw, mass)))
        output = self.truncated_output(tokens)
        return (output, StackTrace(*zip(*trace))) if return_trace else output

    def tokens(self, points: Float[np.ndarray | Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
        """Layer L's tokens, which the truncated block reads off; differentiable, and tiled where the batch is large.

        Raises:
            ValueError: as ``prepare``; a ``block_type`` that cannot be tiled where the batch is.
        """
        with outside_autocast(self.device):
            *_, (_, tokens) = self._layers(self.prepare(points))
        return tokens

    def _layers(self, tokens: Tensor) -> Iterator[tuple[TransFusionBlock, Tensor]]:
        """Every block, the truncated one last, with the tokens that it sees."""
        tile_rows = self.rows_of_tiles(tokens)
        for layer in range(self.depth + 1):
            block = self._block(layer)
            yield block, tokens
            if layer < self.depth:
                tokens = self._renorm(block(tokens) if tile_rows is None else mix_in_tiles(block, tokens, tile_rows))

    def truncated_output(self, tokens: Float[Tensor, "*trials n D"]) -> Float[Tensor, "*trials n n"]:
        """The last block's squared affinity of layer-L tokens."""
        with outside_autocast(self.device):
            return self._truncated(self._block(-1), tokens)

    def _truncated(self, block: TransFusionBlock, tokens: Tensor) -> Tensor:
        attention = block.attend(tokens)
        if self.signed:
            return normalize_rows(block.rectify(attention) ** 2)
        size = attention.cosines.abs()
        size = torch.where(size > attention.cut, size, 0.0)
        off_diagonal = ~torch.eye(size.shape[-1], dtype=torch.bool, device=size.device)
        return normalize_rows(torch.where(off_diagonal, size**2, 0.0))

    def _renorm(self, tokens: Tensor) -> Tensor:
        return unit_tokens(tokens) if self.normalize == "every" else tokens

    def rows_of_tiles(self, tokens: Float[Tensor, "*trials n D"]) -> int | None:
        """Rows of a tile, or None where batches of this size are worked on as whole matrices.

        Raises:
            ValueError: a ``block_type`` that cannot be tiled where the batch is.
        """
        n = tokens.shape[-2]
        if self.tile_rows is None and fits_dense(n, tokens):
            return None
        for step in (self.block_type.attend, self.block_type.mix):
            if "tile" not in inspect.signature(step).parameters:
                raise ValueError(f"block_type: {step.__qualname__} takes no tile, which n = {n} needs")
        return choose_tile_rows(tokens) if self.tile_rows is None else min(self.tile_rows, n)

    @torch.no_grad()
    def measure(self, points: Float[np.ndarray | Tensor, "trials n D"], labels: np.ndarray) -> Trajectory:
        """Every layer measured, in chunks of trials that keep the n x n matrices in cache; nothing n x n is kept.

        Large batches are measured one by one, in row tiles, and no n x n matrix is formed.

        Args:
            points: (trials, n, D).
            labels: (n,), shared by all trials.

        Raises:
            ValueError: as ``prepare`` and ``tokens``; bad labels.
        """
        require_array(points, "points")
        if points.ndim != 3:
            raise ValueError(f"points: expected shape (trials, n, D), got {tuple(points.shape)}")
        layout = cluster_layout(labels, points.shape[-2])
        tokens = self.prepare(points)
        tiled = self.rows_of_tiles(tokens[:1]) is not None
        if layout.order is not None and (tiled or tokens.device.type != "cpu"):
            # Once, instead of the matrices of every layer.
            tokens = tokens[:, upload(torch.tensor(layout.order), tokens.device)]
            layout = ClusterLayout(layout.sizes, None)
        parts = [slice(i, i + 1) for i in range(len(tokens))] if tiled else trial_chunks(tokens)
        with outside_autocast(self.device):
            return Trajectory.join_trials([self._measure_part(tokens[part], part, layout, tiled) for part in parts])

    def _measure_part(self, tokens: Tensor, trials: slice, layout: ClusterLayout, tiled: bool) -> Trajectory:
        if not tiled and tokens.device.type != "cpu":
            return self._measure_there(tokens, trials, layout)
        layers = []
        for layer in range(self.depth + 1):
            block, mix = self._block(layer).for_trials(trials), layer < self.depth
            if tiled:
                measured, tokens = measure_in_tiles(block, tokens, layout, self.tile_rows, mix)
            else:
                measured, tokens = _measure_whole(block, tokens, layout, mix)
            tokens = self._renorm(tokens) if mix else tokens
            layers.append(measured)
        return Trajectory.stack_layers(layers)

    def _measure_there(self, tokens: Tensor, trials: slice, layout: ClusterLayout) -> Trajectory:
        """Whole matrices on a device that the host waits for once, at the end."""
        layers = []
        for layer in range(self.depth + 1):
            block = self._block(layer).for_trials(trials)
            attention = block.attend(tokens)
            extremes = read_extremes(attention.cosines, layout)
            affinity, row_mass = block.affinity(attention)
            layers.append(read_layer(extremes, affinity, row_mass, layout, attention.cut))
            if layer < self.depth:
                tokens = self._renorm(block.mix(tokens, affinity, row_mass))
        return trajectory_of(layers)


def _measure_whole(
    block: TransFusionBlock, tokens: Tensor, layout: ClusterLayout, mix: bool
) -> tuple[Trajectory, Tensor]:
    attention = block.attend(tokens)
    extremes = layer_extremes(attention.cosines, layout)
    affinity, row_mass = block.affinity(attention)
    measured = measure_layer(extremes, affinity, row_mass, layout, attention.cut)
    return measured, block.mix(tokens, affinity, row_mass) if mix else tokens


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 and float32 as they are, and float32 for half precision.

    Raises:
        ValueError: another dtype.
    """
    numerical_threshold(dtype)
    return torch.promote_types(dtype, torch.float32)


def fits_dense(n: int, values: Tensor) -> bool:
    """Whether an n x n matrix in the dtype of ``values`` is small enough to be formed on their device."""
    limit = CPU_DENSE_BYTES if values.device.type == "cpu" else GPU_DENSE_BYTES
    return n * n * values.element_size() <= limit


def trial_chunks(tokens: Float[Tensor, "trials n D"]) -> list[slice]:
    """Trials in chunks whose n x n matrices stay in cache."""
    trials, n, _ = tokens.shape
    budget = CPU_CHUNK_BYTES if tokens.device.type == "cpu" else GPU_CHUNK_BYTES
    chunk = max(1, budget // (n * n * tokens.element_size()))
    return [slice(start, min(start + chunk, trials)) for start in range(0, trials, chunk)]


def unit_inputs(
    points: Float[np.ndarray | Tensor, "*trials n D"], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "*trials n D"]:
    """Points of any norms but 0 as unit vectors: those whose squares the dtype cannot hold are scaled first."""
    given: Tensor = widen(torch.as_tensor(points))
    largest = given.detach().abs().amax(-1, keepdim=True)
    low, high = ordinary_sizes(given.shape[-1], dtype)
    # Others are divided by 1, which changes no bit of them.
    scale = torch.where((largest >= low) & (largest <= high), 1.0, largest)
    return unit_tokens((given / scale).to(device, dtype))


def ordinary_sizes(dim: int, dtype: torch.dtype) -> tuple[float, float]:
    """Between which numbers the largest entry of a vector in R^dim must lie for its squared norm to be a full-precision
    number of the dtype."""
    limits = torch.finfo(dtype)
    return math.sqrt(limits.tiny / limits.eps), math.sqrt(limits.max / dim)


def _require_ordinary_size(points: Float[np.ndarray | Tensor, "*trials n D"], dtype: torch.dtype) -> None:
    points = torch.as_tensor(points).detach()
    largest = torch.maximum(points.amax(-1), -points.amin(-1))
    low, high = ordinary_sizes(points.shape[-1], dtype)
    outside = (largest < low) | (largest > high)
    if bool(outside.any()):
        where = tuple(outside.nonzero()[0].tolist())
        raise ValueError(
            f"points: tokens that are not normalized need a largest entry in [{low:.3g}, {high:.3g}] in {dtype}, got "
            f"{float(largest[where]):.3g} at index {where}"
        )


def unit_tokens(tokens: Float[Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
    """Tokens divided by their norms."""
    return tokens / torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)


def _divide_rows(raw: Tensor, mass: Tensor) -> Tensor:
    mass = mass.unsqueeze(-1)
    return raw / torch.where(mass > 0, mass, 1.0)

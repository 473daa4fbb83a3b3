"""The TransFusion attention block over the batch, in the form that the theorems are about.

A_ij = ReLU(C_ij - tau)^p for j != i with cosine queries and keys, rows normalized, x' = (1 - lambda) x + lambda Ahat x;
a row without neighbours keeps its point. p is 1 but for Proposition 5. Source: theory.md, sections 0 and 5; the
architecture follows TransFusion (arXiv 2403.18681).

Every step works on all rows, or on a ``Tile`` of them when no n x n matrix shall be formed (models/tiled.py). Half
precision is computed and returned in float32, and autocast narrows nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theory.affinity import effective_threshold
from theory.numerics.inputs import as_floats, require_mixing, require_number, require_threshold
from theory.numerics.precision import numerical_threshold, widen


@dataclass(frozen=True)
class Projection:
    """Queries and keys of all points: what is computed once a block, however many tiles follow.

    Attributes:
        queries, keys: C = queries keys^T / scale.
        scale: None stands for 1.
        cut: as in Attention.
    """

    queries: Float[Tensor, "*trials n d"]
    keys: Float[Tensor, "*trials n d"]
    scale: Tensor | None
    cut: Tensor | float


@dataclass(frozen=True)
class Tile:
    """Consecutive rows of a batch, against all of its points or consecutive ones.

    Attributes:
        rows: start and stop, both given.
        projection: of the whole batch.
        out: where the cosines are written, (*trials, rows, columns), so that tiles share their memory; not under
            autograd.
        columns: start and stop, both given; None: all points.
    """

    rows: slice
    projection: Projection
    out: Float[Tensor, "*trials rows columns"] | None = None
    columns: slice | None = None


@dataclass(frozen=True)
class Attention:
    """What one block computes before it mixes.

    Attributes:
        cosines: C_ij of queries and keys, diagonal included. ``affinity`` overwrites them: read them before.
        cut: the threshold applied to the cosines, max(tau, tau_num), a number or (trials, 1, 1).
        first_row, first_column: the batch's row and column that are 0 in the cosines; not 0 where they are a tile.
    """

    cosines: Float[Tensor, "*trials rows columns"]
    cut: Tensor | float
    first_row: int = 0
    first_column: int = 0


class TransFusionBlock(nn.Module):
    """One block, with weights that the theory prescribes: identity or a given map W for queries and keys.

    Args:
        threshold: tau in [0, 1), a number, a tensor of one, or a tensor (trials, 1, 1).
        mixing: lambda in (0, 1], likewise.
        query_key_map: W (d, D); queries and keys are W x. None is the identity.
        condition: condition number of W, which scales the numerical threshold.
        bias_form: realize the threshold as Lemma 0 does, by a learned bias b = sqrt(tau) that is appended to unit
            queries as b and to keys as -b: cos = (C - b^2)/(1 + b^2). Tokens must then be normalized at every block,
            and the threshold, from which the bias starts, be given above 0: b enters as its square, whose slope at 0
            is 0, and would never be learned.
        power: p > 0, a number.

    Raises:
        ValueError: an argument out of range, or a tensor of another shape.
    """

    threshold: Tensor | float
    mixing: Tensor | float
    query_key_map: Tensor | None

    def __init__(
        self,
        threshold: Tensor | float = 0.0,
        mixing: Tensor | float = 0.5,
        query_key_map: Float[Tensor, "d D"] | None = None,
        condition: float = 1.0,
        bias_form: bool = False,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        require_threshold(threshold)
        require_mixing(mixing)
        require_number(power, "power", 0.0, float("inf"), closed="neither")
        self.power = float(power)
        self.condition = condition
        self.bias_form = bias_form
        self.register_buffer("query_key_map", query_key_map)
        self._register("mixing", mixing)
        threshold = one_or_one_a_trial(threshold, "threshold")
        if bias_form:
            require_bias(threshold, 0.0)
            self.bias = nn.Parameter(torch.as_tensor(threshold, dtype=torch.float64).sqrt())
        else:
            self._register("threshold", threshold)

    def _register(self, name: str, value: Tensor | float) -> None:
        """Tensors move with the module; plain numbers stay numbers, which costs nothing on any device."""
        value = one_or_one_a_trial(value, name)
        if isinstance(value, Tensor):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    def require_trials(self, points: Float[np.ndarray | Tensor, "*trials n D"]) -> None:
        """Refuse points of another number of trials than threshold or mixing are given for.

        Raises:
            ValueError: names the argument and both numbers.
        """
        require_trials(self.bias if self.bias_form else self.threshold, "threshold", points)
        require_trials(self.mixing, "mixing", points)

    def for_trials(self, trials: slice) -> "TransFusionBlock":
        """This block for some of the trials: itself, unless threshold or mixing are given trial by trial."""
        part = self
        # In the bias form the threshold is a parameter.
        for kept in ("_buffers", "_parameters"):
            values = getattr(self, kept)
            per_trial = {
                name: value[trials]
                for name, value in values.items()
                if name in ("threshold", "mixing", "bias") and value is not None and value.shape[:1].numel() > 1
            }
            if per_trial:
                part = copy(self) if part is self else part
                setattr(part, kept, {**values, **per_trial})
        return part

    def project(self, points: Float[Tensor, "*trials n D"]) -> Projection:
        """Queries, keys and the cut to apply to their cosines.

        Raises:
            ValueError: as ``require_trials``.
        """
        self.require_trials(points)
        keys = points = widen(points)
        if self.query_key_map is not None:
            with outside_autocast(points.device):
                keys = points @ self.query_key_map.mT.to(points.dtype)
        keys = keys / torch.linalg.vector_norm(keys, dim=-1, keepdim=True)
        if not self.bias_form:
            return Projection(keys, keys, None, self._cut(points.dtype))
        bias = self.bias.to(points.dtype)
        column = bias.expand(*keys.shape[:-1], 1)
        scale = 1.0 + bias**2
        # What separates a cosine from round-off separates (C - tau)/(1 + tau) from it after the same division.
        floor = (numerical_threshold(points.dtype, self.condition) - bias**2).clamp_min(0.0) / scale
        return Projection(torch.cat([keys, column], dim=-1), torch.cat([keys, -column], dim=-1), scale, floor)

    def _cut(self, dtype: torch.dtype) -> Tensor | float:
        if not isinstance(self.threshold, Tensor):
            return effective_threshold(self.threshold, dtype, self.condition)
        # The same without a look at the values, which were checked when they came, and may be on a device since.
        return widen(self.threshold).clamp_min(numerical_threshold(dtype, self.condition))

    def attend(self, points: Float[Tensor, "*trials n D"], tile: Tile | None = None) -> Attention:
        """Cosines of queries and keys, all rows or a tile of them, and the cut to apply to them."""
        everything = slice(0, points.shape[-2])
        if tile is None:
            projected, rows, columns, out = self.project(points), everything, everything, None
        else:
            projected, rows, columns, out = tile.projection, tile.rows, tile.columns or everything, tile.out
        with outside_autocast(points.device):
            cosines = torch.matmul(projected.queries[..., rows, :], projected.keys[..., columns, :].mT, out=out)
        if projected.scale is not None:
            cosines = cosines / projected.scale
        return Attention(cosines, projected.cut, rows.start, columns.start)

    def affinity(self, attention: Attention) -> tuple[Float[Tensor, "*trials rows n"], Float[Tensor, "*trials rows"]]:
        """ReLU(C - cut)^p with zero diagonal, not normalized, and its row sums. Overwrites ``attention.cosines``."""
        rectified = self.rectify(attention)
        raw = rectified if self.power == 1.0 else rectified**self.power
        return raw, raw.sum(dim=-1)

    def rectify(self, attention: Attention) -> Float[Tensor, "*trials rows n"]:
        """ReLU(C - cut) with zero diagonal. Overwrites ``attention.cosines``.

        Overwriting is safe under autograd: a matrix product does not need its own result for its gradient.
        """
        logits = attention.cosines
        # A point is not its own neighbour: any value below every cut becomes zero.
        logits.diagonal(attention.first_row - attention.first_column, dim1=-2, dim2=-1).fill_(-1.0)
        return logits.sub_(attention.cut).relu_()

    def mix(
        self,
        points: Float[Tensor, "*trials n D"],
        affinity: Float[Tensor, "*trials rows n"],
        row_mass: Float[Tensor, "*trials rows"],
        tile: Tile | None = None,
    ) -> Float[Tensor, "*trials rows D"]:
        """x' = (1 - lambda) x + lambda Ahat x, dividing after the product so that no n x n matrix is touched again."""
        points = widen(points)
        with outside_autocast(points.device):
            product = affinity @ points
        return self.blend(points if tile is None else points[..., tile.rows, :], product, row_mass)

    def blend(
        self,
        own: Float[Tensor, "*trials rows D"],
        product: Float[Tensor, "*trials rows D"],
        row_mass: Float[Tensor, "*trials rows"],
    ) -> Float[Tensor, "*trials rows D"]:
        """``mix`` where the product of affinity and points is known; without autograd it is overwritten."""
        mass = row_mass.unsqueeze(-1)
        occupied = mass > 0
        # A row without neighbours keeps its point. (Two numbers alone would be float32 to torch.where.)
        weight = torch.where(occupied, self.mixing, torch.zeros_like(mass))
        mass = torch.where(occupied, mass, 1.0)
        if torch.is_grad_enabled():
            return torch.lerp(own, product / mass, weight)
        # Memory that is asked for anew costs more than the arithmetic.
        return torch.lerp(own, product.div_(mass), weight, out=product)

    def forward(self, points: Float[Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
        affinity, row_mass = self.affinity(self.attend(points))
        return self.mix(points, affinity, row_mass)


def outside_autocast(device: torch.device) -> AbstractContextManager:
    """Where autocast narrows no product: a cosine of bfloat16 is off by more than most cuts. Costs a look at a flag
    where there is no autocast."""
    kind = device.type
    narrows = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if narrows else nullcontext()


def one_or_one_a_trial(value: Tensor | float, name: str) -> Tensor | float:
    """A number as a float, a tensor of one number without axes, a tensor (trials, 1, 1) as it is.

    Anything else would broadcast against other axes than the trials': (n,) gives every column a number of its own.

    Raises:
        ValueError: names the argument and its shape.
    """
    if not np.ndim(value):
        return value if isinstance(value, Tensor) else float(value)
    value = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value, dtype=np.float64))
    if value.numel() == 1:
        return value.reshape(())
    if value.ndim != 3 or not len(value) or tuple(value.shape[1:]) != (1, 1):
        raise ValueError(f"{name}: must be one number or of shape (trials, 1, 1), got shape {tuple(value.shape)}")
    return value


def require_bias(threshold: Tensor | float, floor: float) -> None:
    """Refuse thresholds that a bias cannot be learned from: 0, and those that the cut of round-off hides.

    Args:
        floor: 0, or tau_num, the numerical threshold.

    Raises:
        ValueError: names the threshold.
    """
    values = as_floats(threshold, "threshold")
    if not (values > floor).all():
        raise ValueError(f"threshold: must lie in ({floor:g}, 1) with bias_form, got {values.min():g}; from there on "
                         "down the bias has a gradient of 0 and is never learned")  # fmt: skip


def require_trials(value: Tensor | float, name: str, points: Float[np.ndarray | Tensor, "*trials n D"]) -> None:
    """Refuse a tensor (trials, 1, 1) of another number of trials than the points have, those of their axis before n.

    Raises:
        ValueError: names the argument and both numbers.
    """
    if isinstance(value, Tensor) and value.ndim and len(value) > 1:
        trials = points.shape[-3] if points.ndim > 2 else 1
        if len(value) != trials:
            raise ValueError(f"{name}: has {len(value)} values, one a trial, but points has {trials} trials")

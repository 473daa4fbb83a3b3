"""What MoCo (He et al., arXiv 1911.05722; version 2, arXiv 2003.04297) adds to an encoder: a slow copy of it that
encodes the keys, a queue of earlier keys that serve as negatives, and the loss of queries against both.

One step of training:

    queries = encoder(view_a)
    keys = copy(view_b)                                          # no gradient
    loss = moco_loss(queries, keys, queue.features(), 0.2)
    loss.backward(), optimizer.step()
    copy.update(encoder)
    queue.enqueue(keys)                                          # after the loss, or keys meet themselves

A symmetric loss is the mean of two, with the views swapped. MoCo shuffles batches between GPUs so that batch
normalization cannot leak which key belongs to a query; there is no shuffling here, and group normalization does not
need any (models/encoders.py).
"""

import copy
from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.head_output import unit_or_zero
from models.losses.common import require_alike, require_nonzero, require_rows, widen
from models.losses.info_nce import info_nce
from theory.numerics.inputs import require_count, require_flag, require_number
from theory.numerics.precision import numerical_threshold


@final
class MomentumCopy(nn.Module):
    """An exponential moving average of a module's parameters: m old + (1 - m) new at each update.

    Buffers are copied, not averaged: running statistics of batch normalization are moving averages already, and
    counters have no average. A copy in training mode normalizes by the statistics of its own batch and gathers its own
    running statistics, which the next update replaces by the module's; they matter in evaluation mode only.

    The copy starts equal to the module, in the module's mode and on its device. Its parameters need no gradient.

    Attributes:
        module: the copy itself.
        momentum: m.

    Raises:
        ValueError: momentum outside [0, 1], or parameters in half precision, where an update of the size 1 - m would
            be rounded away.
    """

    def __init__(self, module: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        require_number(momentum, "momentum", 0.0, 1.0)
        for name, parameter in module.named_parameters():
            if parameter.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"module: parameters must be float32 or float64, {name} is {parameter.dtype}")
        self.momentum = momentum
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the copy makes of the inputs, without a graph."""
        return self.module(*inputs, **options)

    @torch.no_grad()
    def update(self, module: nn.Module, momentum: float | None = None) -> None:
        """Move towards ``module``: the one that was copied, or one built like it.

        Args:
            module: without a wrapper such as DistributedDataParallel (pass its .module).
            momentum: m for this update, for schedules; None takes the copy's own.

        Raises:
            ValueError: momentum outside [0, 1], or a module with other parameters or buffers.
        """
        momentum = self.momentum if momentum is None else momentum
        require_number(momentum, "momentum", 0.0, 1.0)
        old, new = dict(self.module.named_parameters()), dict(module.named_parameters())
        old_buffers, new_buffers = dict(self.module.named_buffers()), dict(module.named_buffers())
        for mine, other, what in ((old, new, "parameters"), (old_buffers, new_buffers, "buffers")):
            if _shapes(mine) != _shapes(other):
                differing = sorted(name for name, _ in set(_shapes(mine).items()) ^ set(_shapes(other).items()))
                raise ValueError(f"module: must have the copy's {what}, differs in {', '.join(differing)}")
        # old + (1 - m) (new - old): what is equal stays exactly equal.
        if old:
            torch._foreach_lerp_(list(old.values()), [new[name] for name in old], 1.0 - momentum)
        if old_buffers:
            torch._foreach_copy_(list(old_buffers.values()), [new_buffers[name] for name in old_buffers])


@final
class FeatureQueue(nn.Module):
    """The last ``size`` features that were enqueued, normalized: first in, first out.

    It starts empty, without the random negatives that MoCo's code starts with: until it has been filled there are fewer
    negatives, all of them real, and the loss is that of fewer negatives. The state dict holds the features and how many
    were ever enqueued, so a resumed queue goes on exactly as the saved one would have. In distributed training every
    process is to enqueue the same features (models/devices/gather.py gathers them).

    Args:
        size: K, rows that are kept.
        dim: D, coordinates of a feature.
        dtype: of the rows that are kept, floating; float32 unless told.

    Raises:
        ValueError: a count below 1, or another dtype, in which unit vectors would be kept as zeros.
    """

    rows: Tensor

    def __init__(self, size: int, dim: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.size, self.dim = require_count(size, "size", 1), require_count(dim, "dim", 1)
        numerical_threshold(dtype)
        # The i-th feature ever enqueued lies in row i mod K.
        self.register_buffer("rows", torch.zeros(self.size, self.dim, dtype=dtype))
        self._enqueued = 0

    def __len__(self) -> int:
        """Rows that have been filled."""
        return min(self._enqueued, self.size)

    @torch.no_grad()
    def enqueue(self, features: Float[Tensor, "n D"]) -> None:
        """Take n features in, the last row as the newest, and drop the oldest beyond ``size``; n = 0 changes nothing.

        Args:
            features: any length and floating dtype; they are normalized, and no gradient is kept.

        Raises:
            ValueError: another shape or dtype, NaN or infinity, or a zero vector.
        """
        require_rows(features, "features", minimum=0)
        if features.shape[1] != self.dim:
            raise ValueError(f"features: expected shape (n, {self.dim}), got {tuple(features.shape)}")
        if not len(features):
            return
        require_nonzero(features, "features")
        newest = unit_or_zero(widen(features[-self.size :])).to(self.rows)
        last = self._enqueued + len(features)
        slots = torch.arange(last - len(newest), last, device=self.rows.device) % self.size
        self.rows[slots] = newest
        self._enqueued = last

    def features(self) -> Float[Tensor, "filled D"]:
        """The rows that have been filled, oldest first, (min(enqueued, K), D): a copy, which later calls of enqueue
        leave alone, so that a backward pass may come after them."""
        oldest = self._enqueued % self.size if self._enqueued > self.size else 0
        return torch.cat([self.rows[oldest : len(self)], self.rows[:oldest]])

    def get_extra_state(self) -> Tensor:
        """How many features were ever enqueued."""
        return torch.tensor(self._enqueued, dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Counterpart of get_extra_state."""
        self._enqueued = int(state)


def moco_loss(
    queries: Float[Tensor, "n D"],
    keys: Float[Tensor, "n D"],
    negatives: Float[Tensor, "K D"],
    temperature: float = 0.2,
    *,
    normalize: bool = True,
) -> Float[Tensor, ""]:
    """InfoNCE (models/losses/info_nce.py) of every query with its own key against all negatives.

    It is 0 without negatives, and ln(1 + K) where all rows are equal. Half precision is computed in float32, also under
    autocast. Gradients reach whatever requires them.

    Args:
        queries, keys: row i of both shows sample i.
        negatives: K >= 0 rows.
        temperature: t > 0, in units of the score.
        normalize: scores are cosines; False takes inner products.

    Raises:
        ValueError: other shapes, no queries, NaN or infinity, or (normalized) a zero vector; temperature not positive,
            or so small that the scores overflow.
    """
    require_flag(normalize, "normalize")
    for rows, name, minimum in ((queries, "queries", 1), (keys, "keys", 1), (negatives, "negatives", 0)):
        require_rows(rows, name, minimum, nonzero=normalize)
    require_alike(queries, keys, "queries", "keys")
    if negatives.shape[1] != queries.shape[1]:
        raise ValueError(f"negatives: expected shape (K, {queries.shape[1]}), got {tuple(negatives.shape)}")
    with torch.autocast(queries.device.type, enabled=False):
        dtype = torch.promote_types(widen(queries).dtype, torch.promote_types(keys.dtype, negatives.dtype))
        queries, keys, negatives = (rows.to(dtype) for rows in (queries, keys, negatives))
        if normalize:
            queries, keys = unit_or_zero(queries), unit_or_zero(keys)
            negatives = unit_or_zero(negatives) if len(negatives) else negatives
        return info_nce((queries * keys).sum(-1), queries @ negatives.mT, temperature)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

"""Rows of all processes, with their gradients, so that each process can compare its rows with the global batch.

Which factor is right: none. Let each of W processes gather and compute the same global loss L. gather_rows sums the
gradients of all W copies of L back to the owner of a row, W dL/dz; DistributedDataParallel averages the gradients of
parameters over processes, which divides by W; what is left is the gradient of L over the global batch in one process.
The same holds for losses L_r of the own rows against all: what is left is the gradient of their mean. A gather that
detaches the other processes' rows and does not sum is wrong in both cases: by the factor 1/W for a common loss, and by
missing terms for losses of own rows. Parameters behind the gather, such as a temperature, are to be averaged like all
others, so they belong inside DistributedDataParallel.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from models.devices.value_checks import values_are_checked

# Numbers that stand for dtypes while processes compare theirs.
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def rank() -> int:
    """This process's number, 0 without a group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are, 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(features: Float[Tensor, "n D"]) -> Float[Tensor, "N D"]:
    """The rows of all processes of the default group, in the order of their ranks: (W n, D). Without a process group,
    or in a group of one, the features themselves.

    All processes must call it equally often, in the same order, and use the result in their loss: the backward pass
    waits for all of them. It can be differentiated once. Where values are checked shapes are compared first, which
    costs a short message.

    Raises:
        ValueError: features that are no floating matrix, or that differ in shape or dtype between processes; every
            process raises it, and none waits.
    """
    if world_size() == 1:
        _require_matrix(features)
        return features
    if values_are_checked():
        _require_equal(features)
    return _GatherRows.apply(features)


def gather_labels(labels: Int[Tensor, " n"]) -> Int[Tensor, " N"]:
    """The labels of all processes' rows, in the order of ``gather_rows``, as int64 of any values. All processes must
    call it, as there.

    Raises:
        ValueError: labels that differ in number between processes.
    """
    # Bit by bit: a label that became a float would merge with its neighbours from some value on.
    return gather_rows(labels.long()[:, None].view(torch.float32)).view(torch.int64)[:, 0]


class _GatherRows(torch.autograd.Function):
    """Gather forward; backward, the sum over processes of the gradients in this process's rows."""

    @staticmethod
    def forward(ctx, features):
        ctx.rows = len(features)
        # NCCL takes nothing else.
        own = features.contiguous()
        parts = [torch.empty_like(own) for _ in range(world_size())]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        # A copy: the sum is formed in place, and others may hold the gradient. Every backend has all_reduce; gloo has
        # not always had reduce_scatter.
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        first = rank() * ctx.rows
        return total[first : first + ctx.rows]


def _require_matrix(features: Tensor) -> None:
    if features.ndim != 2 or features.dtype not in DTYPES:
        found = f"{features.dtype} of shape {tuple(features.shape)}"
        raise ValueError(f"features: expected floating numbers of shape (n, D), got {found}")


def _require_equal(features: Tensor) -> None:
    """Exchange shapes and dtypes: what is wrong with one process's features is known to all before any raises."""
    valid = features.ndim == 2 and features.dtype in DTYPES
    own = [*features.shape, DTYPES.index(features.dtype)] if valid else [-1, -1, -1]
    mine = torch.tensor(own, dtype=torch.int64, device=features.device)
    all_ranks = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(all_ranks, mine)
    found = [tuple(each) for each in torch.stack(all_ranks).tolist()]
    if len(set(found)) == 1 and valid:
        return
    _require_matrix(features)
    words = [f"rank {number} {_described(each)}" for number, each in enumerate(found)]
    raise ValueError(f"features: must have one shape and dtype on all ranks, got {', '.join(words)}")


def _described(entry: tuple[int, ...]) -> str:
    rows, columns, dtype = entry
    return "no floating matrix" if dtype < 0 else f"{(rows, columns)} {DTYPES[dtype]}"

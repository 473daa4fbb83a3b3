"""The loss of the authors' early public code, for comparison only: what it computes, not how it was written."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from models.head_output import unit_or_zero
from models.losses.common import require_alike, require_logits, require_rows, widen
from theory.numerics.inputs import require_number

# Added to row sums, and the least value that enters a logarithm.
TINY = 1e-10


def symnsq_legacy(
    view_a: Float[Tensor, "N D"], view_b: Float[Tensor, "N D"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """Squared cosines over row sums against a target that contains the diagonal: sum over entries over 2N.

    With a, b the normalized views, rows of the first view compare with columns [b | a], rows of the second with
    [a | b]. Y is the square of these over temperature, with the 2N x 2N diagonal set to 0 and rows divided by their
    sums + 1e-10; T_ij = 1 where i = j modulo N. Both are clamped to [1e-10, 1], M = (Y + T)/2, and the value is the
    sum over entries of T ln(T/M) + Y ln(Y/M), divided by 2N. Memory O(N^2); half precision is computed in float32.

    What follows from that, each of it tested:

    - The temperature cancels in the normalization, up to the 1e-10.
    - A row of T sums to 2, and one of its two ones stands on the diagonal, where Y is 0. Every entry's term is at least
      0, that one is ln 2 whatever the batch, and so the value cannot go below ln 2; with the clamp, c = 1e-10, not
      below (1 + c) ln 2 + c ln c - (1 + c) ln(1 + c) = ln 2 - 2.33e-9, which is the infimum.
    - Batches come as close to it as rounding allows where the samples are orthogonal to each other. The two views of a
      sample need not agree for that: every cosine between them other than 0 will do, negative ones too.
    - In rows of the first view the columns are swapped, so that the diagonal entry is the positive pair: it is removed,
      and the sample's cosine with itself, always 1, takes its place. Row i of the first view does not depend on view b
      of sample i at all. Swapping the views changes the value.

    Args:
        view_a, view_b: row i of both shows sample i.
        temperature: positive.

    Raises:
        ValueError: views of different or other shapes, without rows, with NaN, infinity or a zero vector; temperature
            not positive, or so small that the squares overflow.
    """
    return _row_losses(view_a, view_b, temperature).mean()


def _row_losses(view_a: Float[Tensor, "N D"], view_b: Float[Tensor, "N D"], temperature: float) -> Tensor:
    """Each row's sum over entries, (2N,), the first view's before the second's."""
    require_number(temperature, "temperature", 0.0, math.inf, closed="neither")
    require_alike(view_a, view_b, "view_a", "view_b")
    for view, name in ((view_a, "view_a"), (view_b, "view_b")):
        require_rows(view, name, 1, nonzero=True)
    with torch.autocast(view_a.device.type, enabled=False):
        unit_a, unit_b = unit_or_zero(widen(view_a)), unit_or_zero(widen(view_b))
        first = unit_a @ torch.cat([unit_b, unit_a]).mT
        second = unit_b @ torch.cat([unit_a, unit_b]).mT
        n = len(unit_a)
        require_logits(temperature, 1.0 / temperature, 2 * n, first.dtype)
        squares = (torch.cat([first, second]) / temperature).square()
        weights = squares * (1.0 - torch.eye(2 * n, dtype=squares.dtype, device=squares.device))
        weights = weights / (weights.sum(-1, keepdim=True) + TINY)
        target = torch.eye(n, dtype=squares.dtype, device=squares.device).repeat(2, 2)
        return _entry_divergence(weights.clamp(TINY, 1.0), target.clamp(TINY, 1.0)).sum(-1)


def _entry_divergence(weights: Tensor, target: Tensor) -> Tensor:
    log_middle = ((weights + target) / 2.0).log()
    return target * (target.log() - log_middle) + weights * (weights.log() - log_middle)

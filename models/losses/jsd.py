"""The Jensen-Shannon divergence of affinity rows, entry by entry, and its mean from whole matrices.

Definitions: models/losses/affinity.py.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LN2 = math.log(2.0)
# The largest number of a dtype that does not exceed ln 2. Rounding ln 2 to float32 rounds up.
CAPS = {torch.float64: LN2, torch.float32: float(np.nextafter(np.float32(LN2), np.float32(0.0)))}


def clip_divergence(values: Float[Tensor, "*trials"]) -> Float[Tensor, "*trials"]:
    """Means of divergences that rounding carried out of [0, ln 2] put back into it. For forward passes of
    ``autograd.Function``: where autograd sees it, it would stop gradients."""
    return values.clamp(0.0, CAPS[values.dtype])


def entry_divergence(affinity: Tensor, target: Tensor | float) -> Tensor:
    """Y ln(2Y/(Y+T)) + T ln(2T/(Y+T)), with 0 ln 0 = 0: twice what an entry adds to the divergence."""
    both = affinity + target
    both = torch.where(both > 0, both, 1.0)
    share = target.to(affinity.dtype) if isinstance(target, Tensor) else target
    return torch.xlogy(affinity, 2.0 * affinity / both) + torch.xlogy(share, 2.0 * share / both)


def entry_slope(affinity: Tensor, target: Tensor | float) -> Tensor:
    """dJSD/dY: half of ln(2Y/(Y+T)), and 0 at Y = 0."""
    ratio = 2.0 * affinity / torch.where(affinity > 0, affinity + target, 1.0)
    return 0.5 * torch.where(affinity > 0, ratio, 1.0).log()


class DenseDivergence(torch.autograd.Function):
    """The mean over rows, from the matrices themselves; float32 or float64, both alike.

    The slope is made of operations that autograd knows, so that it can be differentiated again, and mapped and
    differentiated by torch.func.
    """

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def forward(affinity, target):
        rows = 0.5 * entry_divergence(affinity, target).sum(-1)
        # NaN is to stay NaN.
        rows = torch.where(affinity.sum(-1) == 0, LN2, rows)
        counted = target.sum(-1) > 0
        # NaN is to show where no row is counted, too.
        return clip_divergence((rows * counted).sum(-1) / counted.sum().clamp_min(1))

    @staticmethod
    def backward(ctx, gradient):
        affinity, target = ctx.saved_tensors
        counted = target.sum(-1, keepdim=True) > 0
        weight = counted * (gradient[..., None, None] / counted.sum().clamp_min(1))
        return weight * entry_slope(affinity, target), None

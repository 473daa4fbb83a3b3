"""How far an affinity is from its target, row by row: Jensen-Shannon, and the two Kullback-Leibler divergences.

JSD is finite for any two distributions. KL(P || Q) is infinite where Q vanishes and P does not, and a ReLU makes
exact zeros: without help KL(T || Y) is infinite as soon as one positive pair is not attended to, and KL(Y || T) as soon
as one other pair is. The distribution in the second argument is therefore mixed with the uniform one over the n - 1
other points, Q' = (1 - smoothing) Q + smoothing/(n - 1) off the diagonal. What a zero costs then depends on the
smoothing, about -ln(smoothing); JSD needs no such constant.

A row of Y without mass says nothing about its cluster. KL counts it as the uniform distribution, KL(T || uniform) or
KL(uniform || T'), which says the same; it has no gradient. (JSD counts it ln 2, its worst value, as theory.md,
section 4, needs for its certificate.)
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Real, Shaped
from torch import Tensor

from models.devices.value_checks import values_are_checked
from models.losses.affinity import affinity_jsd, prepare_affinities
from models.losses.common import label_index, target_of_index
from theory.numerics.inputs import Array, require_choice, require_number

Divergence = Literal["jsd", "kl_target", "kl_affinity"]


def affinity_divergence(
    affinity: Real[Array, "*trials n n"],
    target: Shaped[Array, "n n"],
    kind: Divergence = "jsd",
    smoothing: float = 1e-4,
) -> Float[Tensor, "*trials"]:
    """Mean divergence over the rows whose target has mass, natural logarithms, one value a trial.

    Args:
        affinity: Y, zero diagonal, rows summing to 1, or to 0 where a row has no neighbours.
        target: T, likewise; a constant, of any real dtype, as in ``affinity_jsd``.
        kind: jsd, JSD(Y || T), in [0, ln 2]; kl_target, KL(T || Y'), Y' smoothed; kl_affinity, KL(Y || T'), T'
            smoothed. Neither KL is exactly 0 at Y = T because of the smoothing. Rounding below 0 is put back to 0.
        smoothing: weight of the uniform distribution in the second argument of a KL, in (0, 1); jsd ignores it.

    Returns:
        (*trials,), in the wider of the two dtypes and float32 at least.

    Raises:
        ValueError: an unknown kind, smoothing out of range, a KL of matrices with a diagonal; otherwise as
            ``affinity_jsd``.
    """
    require_choice(kind, "kind", get_args(Divergence))
    require_number(smoothing, "smoothing", 0.0, 1.0, closed="neither")
    if kind == "jsd":
        return affinity_jsd(affinity, target)
    affinity, target = prepare_affinities(affinity, target)
    for matrix, name in ((affinity, "affinity"), (target, "target")):
        if values_are_checked() and bool((matrix.diagonal(dim1=-2, dim2=-1) != 0).any()):
            raise ValueError(f"{name}: must have a zero diagonal")
    uniform = _uniform(affinity)
    # NaN is to stay NaN.
    rows = torch.where(affinity.sum(-1, keepdim=True) == 0, uniform, affinity)
    if kind == "kl_target":
        divergence = _relative_entropy(target, (1.0 - smoothing) * rows + smoothing * uniform)
    else:
        divergence = _relative_entropy(rows, (1.0 - smoothing) * target + smoothing * uniform)
    counted = target.sum(-1) > 0
    mean = torch.where(counted, divergence, 0.0).sum(-1) / counted.sum().clamp_min(1)
    # The value is raised, the gradient passes.
    return mean + (mean.detach().clamp_min(0.0) - mean.detach())


def target_of_labels(
    labels: Array, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n n"]:
    """T_ij = 1/(n_k - 1) for i ~ j in cluster k, 0 elsewhere (theory.md 4); a cluster of one has a row of zeros.

    Args:
        labels: integers (n,), any values and order; NumPy or torch, on any device.
        dtype: any floating one; half precision is rounded to once.

    Raises:
        ValueError: labels of another shape or type, a dtype that is not floating.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype: expected a floating dtype, got {dtype}")
    return target_of_index(label_index(labels, None, device), dtype)


def _uniform(like: Float[Tensor, "*trials n n"]) -> Float[Tensor, "n n"]:
    n = like.shape[-1]
    return torch.full((n, n), 1.0 / max(n - 1, 1), dtype=like.dtype, device=like.device).fill_diagonal_(0.0)


def _relative_entropy(first: Tensor, second: Tensor) -> Tensor:
    """sum_j P_ij ln(P_ij/Q_ij) over P_ij > 0, where Q_ij > 0 too.

    Its slope in P is taken as 0 where P vanishes (it is -inf), which is what the ReLU behind P makes of it.
    """
    # All are positive, or NaN, which is to stay what it is.
    occupied = first != 0
    ratio = torch.where(occupied, first, 1.0).log() - torch.where(occupied, second, 1.0).log()
    return torch.where(occupied, first * ratio, 0.0).sum(-1)

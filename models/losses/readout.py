"""How an affinity is read off cosines: the definition of theory.md, section 0, and the variants of an ablation.

Of each head's cosines C a raw affinity is made, zero on the diagonal; raw affinities are averaged over the heads and
their rows divided by their sums.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.devices.value_checks import values_are_checked
from models.losses.common import require_logits, widen
from theory.numerics.inputs import require_array, require_choice, require_number
from theory.numerics.precision import UNIT_SUM_TOLERANCE, dtype_name, numerical_threshold

Readout = Literal["squared_relu", "relu", "squared", "softmax"]


def read_affinity(
    cosines: Float[Tensor, "heads n n"], readout: Readout = "squared_relu", *, temperature: float = 0.1
) -> Float[Tensor, "n n"]:
    """Y, zero diagonal, rows summing to 1, or to 0 where a row has no mass. Differentiable with finite gradients.

    Args:
        cosines: may exceed 1 by rounding; half precision is computed, cut and returned as float32.
        readout: raw affinity off the diagonal, with cut the numerical threshold of the dtype that it is computed in:
            squared_relu, ReLU(C - cut)^2; relu, ReLU(C - cut); squared, C^2 where |C| > cut, signs ignored;
            softmax, exp(C/temperature) over its sum over j != i, which leaves no row without mass.
        temperature: of the softmax, in units of the cosine; others ignore it.

    Raises:
        ValueError: an unknown readout; cosines of another shape, fewer than 2 points, NaN or outside [-1, 1];
            temperature not positive, or so small that C/temperature overflows.
    """
    require_choice(readout, "readout", get_args(Readout))
    require_number(temperature, "temperature", 0.0, math.inf, closed="neither")
    require_array(cosines, "cosines")
    if not cosines.dtype.is_floating_point:
        raise ValueError(f"cosines: expected a floating dtype, got {cosines.dtype}")
    if cosines.ndim != 3 or cosines.shape[1] != cosines.shape[2] or cosines.shape[1] < 2 or len(cosines) == 0:
        raise ValueError(f"cosines: expected shape (heads, n, n) with n >= 2, got {tuple(cosines.shape)}")
    require_cosines(cosines)
    cosines = widen(cosines, "cosines")
    cut = numerical_threshold(cosines.dtype)
    own = torch.eye(cosines.shape[-1], dtype=torch.bool, device=cosines.device)
    if readout == "softmax":
        require_logits(temperature, 1.0, cosines.shape[-1], cosines.dtype)
        raw = torch.softmax((cosines / temperature).masked_fill(own, -math.inf), dim=-1)
    elif readout == "squared":
        # NaN is to stay NaN.
        raw = torch.where(cosines.abs() <= cut, 0.0, cosines.square())
    else:
        raw = (cosines - cut).relu()
        raw = raw.square() if readout == "squared_relu" else raw
    raw = raw.masked_fill(own, 0.0).mean(0)
    mass = raw.sum(-1, keepdim=True)
    return raw / torch.where(mass > 0, mass, 1.0)


def require_cosines(cosines: Float[Tensor, "*any"]) -> None:
    """Refuse numbers outside [-1, 1], up to what their dtype rounds, where values are checked. Of rows' squared norms
    it says that of their cosines, the largest of which lie on the diagonal.

    Raises:
        ValueError: NaN, or outside.
    """
    if not values_are_checked():
        return
    largest = float(cosines.detach().abs().max())
    if not largest <= 1.0 + UNIT_SUM_TOLERANCE[dtype_name(cosines.dtype)]:
        raise ValueError(f"cosines: must lie in [-1, 1], the largest absolute value is {largest:g}")

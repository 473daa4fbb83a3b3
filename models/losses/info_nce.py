"""InfoNCE with one positive (van den Oord et al., arXiv 1807.03748; MoCo, arXiv 1911.05722): of query i with the score
s_i of its own key and scores s_ik of K negatives,

    loss_i = -ln(exp(s_i/t) / (exp(s_i/t) + sum_k exp(s_ik/t))).

Scores, not features, because a method may score its pairs and its negatives by different features.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from models.devices.value_checks import values_are_checked
from models.losses.common import require_logits, widen
from theory.numerics.inputs import require_array, require_number


def info_nce(
    positives: Float[Tensor, " n"], negatives: Float[Tensor, "n K"], temperature: float = 0.2
) -> Float[Tensor, ""]:
    """The mean of loss_i over queries: 0 without negatives, ln(1 + K) where all scores are equal.

    Half precision is computed in float32, also under autocast.

    Args:
        positives: s_i.
        negatives: s_ik, K >= 0.
        temperature: t > 0, in units of the score.

    Raises:
        ValueError: other shapes, no queries, NaN or infinity; temperature not positive, or so small that the scores
            overflow.
    """
    require_number(temperature, "temperature", 0.0, math.inf, closed="neither")
    require_array(positives, "positives")
    require_array(negatives, "negatives")
    if positives.ndim != 1 or not len(positives):
        raise ValueError(f"positives: expected shape (n,) with n >= 1, got {tuple(positives.shape)}")
    if negatives.ndim != 2 or len(negatives) != len(positives):
        raise ValueError(f"negatives: expected shape ({len(positives)}, K), got {tuple(negatives.shape)}")
    for scores, name in ((positives, "positives"), (negatives, "negatives")):
        if not scores.dtype.is_floating_point:
            raise ValueError(f"{name}: expected a floating dtype, got {scores.dtype}")
        if values_are_checked() and not bool(torch.isfinite(scores).all()):
            raise ValueError(f"{name}: contains NaN or infinity")
    with torch.autocast(positives.device.type, enabled=False):
        scores = torch.cat([widen(positives)[:, None], widen(negatives)], dim=1)
        if values_are_checked():
            require_logits(temperature, float(scores.detach().abs().max()), max(scores.shape), scores.dtype)
        logits = scores / temperature
        return (logits.logsumexp(1) - logits[:, 0]).mean()

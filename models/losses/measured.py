"""What an affinity says of a batch whose classes are known: the loss, the sharpness, and the cosines behind them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.losses.affinity import affinity_jsd
from models.losses.common import label_index, target_of_index
from models.losses.readout import read_affinity
from theory.numerics.inputs import Array


@dataclass(frozen=True)
class MeasuredAffinity:
    """One block's squared affinity, held against the classes.

    Attributes:
        affinity: Y, rows summing to 1, or to 0 where a row has no neighbours.
        sharpness: each row's share of its affinity that lies inside its own class.
        jsd: of Y to the classes' target.
        within, cross: cosines, averaged over the heads, of all ordered pairs of a class, and of two classes.
    """

    affinity: Float[Tensor, "n n"]
    sharpness: Float[Tensor, " n"]
    jsd: Float[Tensor, ""]
    within: Float[Tensor, " pairs"]
    cross: Float[Tensor, " others"]


def measure_affinity(cosines: Float[Tensor, "heads n n"], labels: Array, resolution: float = 0.0) -> MeasuredAffinity:
    """Read the affinity off cosines (readout squared_relu), and measure it.

    Args:
        labels: classes (n,), integers of any values.
        resolution: cosines up to it, in absolute value, are no mass.

    Raises:
        ValueError: labels of another shape or type; otherwise as ``read_affinity`` and ``affinity_jsd``.
    """
    index = label_index(labels, cosines.shape[-1], cosines.device)
    alike = index[:, None] == index
    others = alike.clone().fill_diagonal_(False)
    affinity = read_affinity(cosines.masked_fill(cosines.abs() <= resolution, 0.0) if resolution else cosines)
    jsd = affinity_jsd(affinity, target_of_index(index, affinity.dtype))
    mean = cosines.mean(0)
    sharpness = torch.where(others, affinity, 0.0).sum(-1)
    return MeasuredAffinity(affinity, sharpness, jsd, mean[others], mean[~alike])

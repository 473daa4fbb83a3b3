"""The losses as modules for anybody's training loop: ``loss = criterion(embeddings, labels)``.

Each takes what the ecosystem's losses take, and tells by the second argument which of the two it is:

    criterion(embeddings, labels)      (n, D) and integers (n,): equal labels are positives (pytorch-metric-learning)
    criterion(view_a, view_b)          (n, D) both: row i with row i (lightly)

They are the functions of this folder (objectives.py) with two habits of a training: they look at no values, so that the
host never waits for a GPU, and nothing that an encoder makes in mid-training ends the program. A row of zeros has no
direction: its cosine with every other row is 0, whatever happens near it, and it has no gradient. Read by ReLU it is a
row without mass, which theory.md, section 4, counts as ln 2. A batch without any pair of equal labels has loss 0. NaN
and infinity come out as NaN. ``check_values=True`` names all three in a ValueError instead.

Half precision is computed in float32, also under autocast, and the loss returned in float32.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.devices.gather import gather_labels, gather_rows, world_size
from models.devices.transfer import upload
from models.devices.value_checks import values_trusted
from models.losses.common import BatchLabels, labels_of_batch, require_nonzero, require_rows
from models.losses.objectives import Objective
from models.losses.readout import Readout
from theory.batches.clusters import index_labels
from theory.numerics.inputs import Array, require_flag, require_number


class BatchLoss(nn.Module):
    """What the losses of this file share; they differ in their objective.

    Args:
        objective: what is computed.
        gather: the rows of all processes of torch.distributed's default group take part, each of which computes the
            loss of the global batch. Gradients are right where they are averaged over the processes, as
            DistributedDataParallel does (models/devices/gather.py). All processes must bring equally many rows, of one
            dtype: shapes are exchanged before the rows, and a difference is a ValueError in all of them. (What else is
            wrong with one process's arguments is raised there alone.) Without a group nothing is gathered.
        check_values: look for NaN, infinity, zero rows and batches without positives, and refuse them by name; on a GPU
            the host then waits for the answers.

    Raises:
        ValueError: a flag that is none.
    """

    def __init__(self, objective: Objective, gather: bool = False, check_values: bool = False) -> None:
        super().__init__()
        self.objective = objective
        self.gather = require_flag(gather, "gather")
        self.check_values = require_flag(check_values, "check_values")

    def forward(self, embeddings: Float[Tensor, "n D"], labels: Array) -> Float[Tensor, ""]:
        """The loss of a batch, a mean over its rows.

        Args:
            embeddings: (n, D), floating, of any norms.
            labels: integers or booleans (n,), NumPy or torch, on any device: rows of equal labels are positives of each
                other, and rows whose label occurs once are left out of the mean, as anchors. Or the second view:
                floating, of the shape of the first, on its device; row i of both shows sample i.

        Raises:
            ValueError: embeddings of another shape or dtype; labels that are neither; rows that differ in number
                between processes (``gather``); with ``check_values`` what that looks for. Names the argument.
        """
        if not isinstance(embeddings, Tensor):
            raise ValueError(f"embeddings: expected a tensor (n, D), got a {type(embeddings).__name__}")
        with values_trusted(not self.check_values):
            require_rows(embeddings, "embeddings", 1)
            require_nonzero(embeddings, "embeddings")
            if isinstance(labels, Tensor) and labels.is_floating_point():
                return self._of_views(embeddings, labels)
            return self._of_labels(embeddings, labels)

    def _of_views(self, first: Tensor, second: Tensor) -> Tensor:
        if first.shape != second.shape or first.device != second.device:
            told, found = (f"{tuple(view.shape)} on {view.device}" for view in (first, second))
            raise ValueError(
                f"labels: expected integers of shape ({len(first)},), or a second view like the first, {told}; got "
                f"{second.dtype} of shape {found}"
            )
        require_rows(second, "labels, the second view", 1)
        require_nonzero(second, "labels, the second view")
        dtype = torch.promote_types(first.dtype, second.dtype)
        rows = torch.cat([first.to(dtype), second.to(dtype)])
        if self._gathers():
            # One message for both: a rank's views lie one behind the other in it.
            ranks = _gathered(rows).unflatten(0, (world_size(), 2, len(first)))
            rows = ranks.transpose(0, 1).flatten(0, 2)
        return self.objective(rows, BatchLabels.of_views(len(rows) // 2, 2, rows.device))

    def _of_labels(self, embeddings: Tensor, labels: Array) -> Tensor:
        require_rows(embeddings, "embeddings")
        labels = _as_integers(labels, len(embeddings), embeddings.device, self._gathers())
        if self._gathers():
            embeddings, labels = _gathered(embeddings), gather_labels(labels)
        if self.check_values:
            return self.objective(embeddings, labels_of_batch(labels, len(embeddings), embeddings.device))
        return self.objective(embeddings, BatchLabels.of_classes(labels, 1))

    def _gathers(self) -> bool:
        return self.gather and world_size() > 1

    def extra_repr(self) -> str:
        """Settings that are not as they are by default."""
        flags = [name for name in ("gather", "check_values") if getattr(self, name)]
        return ", ".join([*self._settings(), *(f"{name}=True" for name in flags)])

    def _settings(self) -> list[str]:
        return [f"temperature={self.objective.effective_temperature:g}"]


class NTXentLoss(BatchLoss):
    """NT-Xent, SimCLR's loss (arXiv 2002.05709), of cosines: the mean over rows of -ln of the positive's softmax weight
    among all other rows (contrastive.py).

    Of labels that occur more than twice the logarithms are averaged over a row's positives, all of which stay in the
    denominator, as in SupCon; pytorch-metric-learning's NTXentLoss leaves the other positives out of it.

    Args:
        temperature: t > 0, divides cosines.
        gather, check_values: as BatchLoss.

    Raises:
        ValueError: temperature not positive, or a flag that is none; in ``forward`` a temperature so small that
            cosines divided by it overflow.
    """

    def __init__(self, temperature: float = 0.5, *, gather: bool = False, check_values: bool = False) -> None:
        super().__init__(Objective("nt_xent", temperature=_positive(temperature)), gather, check_values)


class SupConLoss(BatchLoss):
    """Supervised contrastive loss, L_out of Khosla et al. (arXiv 2004.11362), of cosines (contrastive.py).

    Args:
        temperature: t > 0, divides cosines.
        gather, check_values: as BatchLoss.

    Raises:
        ValueError: as NTXentLoss.
    """

    def __init__(self, temperature: float = 0.1, *, gather: bool = False, check_values: bool = False) -> None:
        super().__init__(Objective("supcon", temperature=_positive(temperature)), gather, check_values)


class AffinityJSDLoss(BatchLoss):
    """TransFusion's loss (arXiv 2403.18681): the mean Jensen-Shannon divergence between a batch's affinity rows and the
    ideal ones, in [0, ln 2] (affinity.py). Its value certifies affinity sharpness (theory.md, section 4).

    The affinity of plain embeddings is that of a truncated block whose queries and keys are their directions, and what
    Objective reads off a head without attention: ReLU(C_ij - cut)^2 of their cosines, zero diagonal, rows divided by
    their sums; cut is the numerical threshold (theory.md, section 0). A TransFusion head's own affinity is made of its
    learned queries and keys: for that call Objective("affinity") on what the head returns.

    On a CPU, and where the matrix of a batch is large, the readouts squared_relu and relu are computed in tiles, which
    need labels on the host: there a GPU is waited for once a batch of labels.

    Args:
        readout: squared_relu; or relu, without the square; squared, C_ij^2, signs ignored; softmax of C_ij/temperature.
        temperature: of the softmax readout; others ignore it.
        gather, check_values: as BatchLoss.

    Raises:
        ValueError: an unknown readout, temperature not positive, or a flag that is none.
    """

    def __init__(
        self,
        readout: Readout = "squared_relu",
        temperature: float = 0.1,
        *,
        gather: bool = False,
        check_values: bool = False,
    ) -> None:
        super().__init__(Objective("affinity", readout, temperature=_positive(temperature)), gather, check_values)

    def _settings(self) -> list[str]:
        readout = self.objective.readout
        return [f"readout={readout!r}", *(super()._settings() if readout == "softmax" else ())]


def _positive(temperature: float) -> float:
    return require_number(temperature, "temperature", 0.0, math.inf, closed="neither")


def _gathered(rows: Float[Tensor, "n D"]) -> Float[Tensor, "N D"]:
    """Shapes are compared whoever looks at values: processes of uneven batches would wait for each other for good."""
    with values_trusted(False):
        return gather_rows(rows)


def _as_integers(labels: Array, num_points: int, device: torch.device, gathered: bool) -> Int64[Tensor, " n"]:
    """Labels of any integers as int64 on ``device``; nobody waits for those that are there already."""
    if isinstance(labels, Tensor) and labels.shape == (num_points,) and not labels.is_complex():
        return upload(labels.long(), device)
    try:
        values, index = index_labels(labels, num_points)
    except ValueError as error:
        raise ValueError(f"{error}; or a second view, a floating tensor (n, D)") from None
    narrow = values.dtype.kind in "iub"
    if gathered and not narrow:
        raise ValueError("labels: must fit 64 bits where processes compare theirs")
    return upload(torch.from_numpy(values.astype(np.int64)[index] if narrow else index), device)

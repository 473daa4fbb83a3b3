"""Objectives: any loss on the output of any head, and the named ones that an ablation compares."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.head_output import HeadOutput, Reading, unit_or_zero
from models.losses.common import BatchLabels, labels_of_batch, require_rows, widen
from models.losses.contrastive import supcon
from models.losses.divergence import Divergence, affinity_divergence
from models.losses.legacy import symnsq_legacy
from models.losses.readout import Readout, read_affinity, require_cosines
from models.losses.tiled_jsd import TiledDivergence
from models.stack import fits_dense
from theory.numerics.inputs import Array, require_choice, require_flags, require_number
from theory.numerics.precision import numerical_threshold

ObjectiveKind = Literal["affinity", "nt_xent", "supcon", "symnsq_legacy"]

# What temperature = None stands for; an affinity uses it in its softmax only.
TEMPERATURES: dict[str, float] = {"affinity": 0.1, "nt_xent": 0.5, "supcon": 0.1, "symnsq_legacy": 0.5}


@dataclass(frozen=True)
class Objective:
    """What is minimized.

    Raises:
        ValueError: an unknown choice, temperature not positive, intermediate negative or infinite, smoothing outside
            (0, 1).
    """

    kind: ObjectiveKind = "affinity"
    """affinity compares affinities with the labels' ideal one; nt_xent and supcon contrast embeddings, one formula with
    different default temperatures: the labels say which rows are positives; symnsq_legacy is the loss of the authors'
    early public code, of the embeddings of two views."""
    readout: Readout = "squared_relu"
    """Of affinity: how it is read off cosines, before rows are divided by their sums."""
    divergence: Divergence = "jsd"
    """Of affinity: Y from its target T by JSD(Y || T), kl_target KL(T || Y) or kl_affinity KL(Y || T)."""
    temperature: float | None = None
    """Divides cosines (or inner products) before an exponential. None: 0.5 for nt_xent and symnsq_legacy, 0.1 for
    supcon and the softmax readout; other readouts ignore it."""
    normalize: bool = True
    """Of nt_xent and supcon: compare cosines; False compares inner products."""
    intermediate: float = 0.0
    """Of affinity: weight of every reading before the last, whose weight is 1; the weighted mean is taken."""
    smoothing: float = 1e-4
    """Of the two KL divergences: weight of the uniform distribution mixed into the second argument."""

    def __post_init__(self) -> None:
        require_flags(self)
        require_choice(self.kind, "kind", get_args(ObjectiveKind))
        require_choice(self.readout, "readout", get_args(Readout))
        require_choice(self.divergence, "divergence", get_args(Divergence))
        if self.temperature is not None:
            require_number(self.temperature, "temperature", 0.0, math.inf, closed="neither")
        require_number(self.intermediate, "intermediate", 0.0, math.inf, closed="left")
        require_number(self.smoothing, "smoothing", 0.0, 1.0, closed="neither")

    def __call__(self, output: HeadOutput | Float[Tensor, "n d"], labels: Array | BatchLabels) -> Float[Tensor, ""]:
        """The loss of one batch, averaged over the output and its auxiliary streams; in float32 at least.

        Affinities of large batches are n x n matrices, except where one head compares its tokens directly and JSD reads
        squared_relu or relu: those are computed in tiles, and so are nt_xent and supcon.

        Args:
            output: of n rows; or embeddings (n, d) themselves, whose affinity is read off their own cosines. Embeddings
                of a head with attention are not its output: hand over what the head returned.
            labels: integers (n,), NumPy or torch, on any device: view-pair numbers (``view_pair_labels``) for
                self-supervised training, classes for supervised. Rows whose label occurs once are left out of the mean.

        Raises:
            ValueError: output that is neither; labels of another shape or type, or without any label that occurs
                twice; for symnsq_legacy labels other than N different ones and the same again; an affinity asked of an
                output without readings; embeddings or cosines with NaN or infinity, or embeddings with a zero vector
                where they are normalized.
        """
        output = self._output_of(output)
        read = labels_of_batch(labels, len(output.embeddings), output.embeddings.device)
        if self.kind == "symnsq_legacy":
            _require_view_pairs(read.on_host)
        with torch.autocast(output.embeddings.device.type, enabled=False):
            streams = [self._of_stream(stream, read) for stream in (output, *output.auxiliary)]
            return streams[0] if len(streams) == 1 else sum(streams[1:], start=streams[0]) / len(streams)

    @property
    def effective_temperature(self) -> float:
        """temperature, or what None stands for."""
        return TEMPERATURES[self.kind] if self.temperature is None else float(self.temperature)

    def _output_of(self, output: HeadOutput | Tensor) -> HeadOutput:
        if isinstance(output, HeadOutput):
            return output
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            raise ValueError(f"output: expected what a head returns, or embeddings (n, d), got a {kind}")
        require_rows(output, "output")
        # Cosines are read by affinities alone.
        return HeadOutput.of_embeddings(output) if self.kind == "affinity" else HeadOutput(output, ())

    def _of_stream(self, output: HeadOutput, labels: BatchLabels) -> Tensor:
        if self.kind == "affinity":
            return self._of_readings(output.readings, labels)
        if self.kind == "symnsq_legacy":
            first, second = output.embeddings.chunk(2)
            return symnsq_legacy(first, second, self.effective_temperature)
        return supcon(output.embeddings, labels, self.effective_temperature, normalize=self.normalize)

    def _of_readings(self, readings: tuple[Reading, ...], labels: BatchLabels) -> Tensor:
        if not readings:
            raise ValueError("output: has no readings, from which an affinity could be read")
        total = self._of_reading(readings[-1], labels)
        if self.intermediate == 0.0 or len(readings) == 1:
            return total
        for reading in readings[:-1]:
            total = total + self.intermediate * self._of_reading(reading, labels)
        return total / (1.0 + self.intermediate * (len(readings) - 1))

    def _of_reading(self, reading: Reading, labels: BatchLabels) -> Tensor:
        same = reading.queries is reading.keys
        queries = _unit(reading.queries)
        reading = Reading(queries, queries if same else _unit(reading.keys))
        if self._tiles(reading):
            require_cosines(queries.square().sum(-1))
            power = 2.0 if self.readout == "squared_relu" else 1.0
            return TiledDivergence.apply(queries[0], labels, numerical_threshold(queries.dtype), power, None)[0]
        affinity = read_affinity(reading.cosines(), self.readout, temperature=self.effective_temperature)
        return affinity_divergence(affinity, labels.target(affinity.dtype), self.divergence, self.smoothing)

    def _tiles(self, reading: Reading) -> bool:
        """Where labels are on the host for nothing, or the whole matrix is too large to be formed."""
        heads, n, _ = reading.queries.shape
        tiled = self.divergence == "jsd" and self.readout in ("squared_relu", "relu")
        large = reading.queries.device.type == "cpu" or not fits_dense(n, reading.queries)
        return tiled and heads == 1 and reading.queries is reading.keys and large


OBJECTIVES: dict[str, Objective] = {
    "jsd": Objective(),
    "kl_target": Objective(divergence="kl_target"),
    "kl_affinity": Objective(divergence="kl_affinity"),
    "jsd_relu": Objective(readout="relu"),
    "jsd_softmax": Objective(readout="softmax"),
    "jsd_squared": Objective(readout="squared"),
    "nt_xent": Objective("nt_xent"),
    "nt_xent_unnormalized": Objective("nt_xent", normalize=False),
    "supcon": Objective("supcon"),
    "symnsq_legacy": Objective("symnsq_legacy"),
}
"""The objectives of the ablation. jsd is TransFusion's; jsd_relu leaves out the square, jsd_softmax puts a softmax in
place of ReLU and row sums, jsd_squared ignores the signs of cosines."""


def objective_from_name(name: str, **changes: Any) -> Objective:
    """A named objective, with some fields changed.

    Raises:
        ValueError: an unknown name or field, or a value out of range.
    """
    require_choice(name, "name", tuple(OBJECTIVES))
    for field in changes:
        require_choice(field, "changes", tuple(Objective.__dataclass_fields__))
    return replace(OBJECTIVES[name], **changes)


def _unit(vectors: Float[Tensor, "heads n d"]) -> Float[Tensor, "heads n d"]:
    """In float32 at least; vectors that were normalized in half precision are normalized again."""
    wide = widen(vectors)
    return wide if wide.dtype == vectors.dtype else unit_or_zero(wide)


def _require_view_pairs(index: np.ndarray) -> None:
    first, second = index[: len(index) // 2], index[len(index) // 2 :]
    if not np.array_equal(first, second) or len(np.unique(first)) < len(first):
        raise ValueError("labels: symnsq_legacy needs two views of N samples, N different labels and the same again")

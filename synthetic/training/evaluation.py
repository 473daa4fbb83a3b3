"""What a trained head does to fresh batches: affinity sharpness, integrity and certificate at every block.

All of it in float64, whatever the training ran in; a block's affinity is the squared one, ReLU(C - cut)^2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.head_output import HeadOutput, Reading
from models.heads import Head
from models.losses.measured import measure_affinity
from synthetic.training.batch_source import BatchSource, TrainingBatch
from synthetic.trials.files import Counterexample
from synthetic.trials.registry import trial_of
from theory.batches.clusters import as_numpy
from theory.judging.verdicts import Status, Verdict, combine_cells
from theory.loss_certificate import certified_sharpness, check_certificate
from theory.measurements import linear_quantile, recovered

# Shares of within-cluster and cross cosines that the quantile integrity leaves out.
LEVEL = 0.05


@dataclass(frozen=True)
class LayerMeasures:
    """One block on several batches, arrays (batches,).

    Attributes:
        sharpness: mean over the rows of a batch.
        integrity: smallest within-cluster minus largest cross cosine of queries and keys; its 5 %/95 % version is
            ``quantile_integrity``.
        jsd: of the block's affinity to the classes' target; ``certified`` the sharpness that it guarantees.
        attention: mean mass inside the own cluster of the weights that the block mixed with, oneself included; NaN
            where the head mixes nothing here.
    """

    sharpness: np.ndarray
    integrity: np.ndarray
    quantile_integrity: np.ndarray
    jsd: np.ndarray
    certified: np.ndarray
    attention: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """A head on several batches.

    Attributes:
        layers: one for each reading, the output's last.
        neighbour_accuracy: share of rows whose nearest embedding of another sample, by cosine, is of their own class;
            (batches,).
        separated: batches whose output has every within-cluster cosine above every cross cosine.
        recovered: batches whose output has no false edge and every cluster in one piece.
        verdict: Theorem 4 on all layers and batches.
        suspect: an affinity that contradicts it, if there is one.
    """

    layers: list[LayerMeasures]
    neighbour_accuracy: np.ndarray
    separated: np.ndarray
    recovered: np.ndarray
    verdict: Verdict
    suspect: Counterexample | None


@torch.no_grad()
def evaluate(head: Head, source: BatchSource, batches: int, device: torch.device) -> Evaluation:
    """Measure ``head``, in evaluation mode and float64, on that many evaluation batches."""
    rows, accuracy, whole, verdicts, suspect = [], [], [], [], None
    for number in range(batches):
        batch = to_device(source.batch(number, evaluation=True), device)
        output = head(batch.points, views=batch.views, trace=True)
        found = [_measure_reading(reading, batch.classes) for reading in output.readings]
        alike = batch.classes[:, None] == batch.classes[None, :]
        for layer, weights in zip(found, output.attentions):
            layer["attention"] = (weights.mean(0) * alike).sum(-1).mean().item()
        verdicts += [layer.pop("verdict") for layer in found]
        affinities = [layer.pop("affinity") for layer in found]
        for own, affinity in zip(verdicts[-len(found) :], affinities):
            if own.status is Status.VIOLATED:
                values = {"affinity": as_numpy(affinity), "labels": as_numpy(batch.classes)}
                suspect = Counterexample(trial_of("theorem_4"), values)
        rows.append(found)
        accuracy.append(_neighbour_accuracy(output, batch))
        whole.append(bool(recovered(affinities[-1], batch.classes)))
    names = list(LayerMeasures.__dataclass_fields__)
    layers = [
        LayerMeasures(**{name: np.array([row[i][name] for row in rows]) for name in names}) for i in range(len(rows[0]))
    ]
    separated = layers[-1].integrity > 0.0
    return Evaluation(
        layers, np.array(accuracy), separated, np.array(whole), combine_cells("Theorem 4", verdicts), suspect
    )


def _measure_reading(reading: Reading, classes: Tensor) -> dict:
    found = measure_affinity(reading.cosines(), classes)
    loss, rows = found.jsd.cpu().numpy()[None], found.sharpness.cpu().numpy()[:, None]
    return {
        "sharpness": found.sharpness.mean().item(),
        "integrity": (found.within.min() - found.cross.max()).item(),
        "quantile_integrity": (linear_quantile(found.within, LEVEL) - linear_quantile(found.cross, 1.0 - LEVEL)).item(),
        "jsd": float(loss[0]),
        "certified": float(np.asarray(certified_sharpness(loss))[0]),
        "attention": float("nan"),
        "verdict": check_certificate(loss, rows),
        "affinity": found.affinity,
    }


def _neighbour_accuracy(output: HeadOutput, batch: TrainingBatch) -> float:
    cosines = Reading.of_tokens(output.embeddings).cosines()[0]
    # The other view of a sample is no achievement, let alone the sample itself.
    own = batch.samples[:, None] == batch.samples[None, :]
    nearest = cosines.masked_fill(own, -2.0).argmax(-1)
    return (batch.classes[nearest] == batch.classes).double().mean().item()


def to_device(batch: TrainingBatch, device: torch.device, dtype: torch.dtype = torch.float64) -> TrainingBatch:
    """The batch where and in the precision in which a head wants it."""
    classes, samples, targets = (each.to(device) for each in (batch.classes, batch.samples, batch.targets))
    return TrainingBatch(batch.points.to(device, dtype), classes, samples, targets, batch.views)

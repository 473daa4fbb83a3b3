"""One training: a head on synthetic batches, measured layer by layer as it learns.

batches -> head -> loss -> step; every so often, and at the end, fresh batches -> measurements -> rows.
"""

import math
import time
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from models.head_output import HeadOutput
from models.heads import Head, HeadConfig, build_head, count_parameters
from models.losses import Objective, read_affinity
from models.optim import learning_rate
from synthetic.training.batch_source import BatchSource
from synthetic.training.evaluation import Evaluation, evaluate, to_device
from synthetic.trials.files import Counterexample
from theory.judging.verdicts import Verdict, combine_cells
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_STEPS, LARGEST_TRIALS

# A change of the mean sharpness from one block to the next counts where it exceeds this many standard errors.
CLEAR = 2.0
# The learning rate rises over the first twentieth of the steps, then falls along a cosine to 0.
WARM_UP = 20


@dataclass(frozen=True)
class Optimisation:
    """How a head is trained: Adam, linear warm-up over a twentieth of the steps, then a cosine to 0."""

    steps: int = 800
    """Optimiser steps, each on a fresh batch."""
    learning_rate: float = 3e-3
    """Peak learning rate."""
    evaluations: int = 8
    """How often the head is measured during the training, besides before and after it."""
    evaluation_batches: int = 40
    """Fresh batches for the final measurement; during the training a quarter of them."""

    def __post_init__(self) -> None:
        require_count(self.steps, "steps", 1, LARGEST_STEPS)
        require_number(self.learning_rate, "learning_rate", 0.0, math.inf, closed="neither")
        require_count(self.evaluations, "evaluations", 0, LARGEST_STEPS)
        require_count(self.evaluation_batches, "evaluation_batches", 1, LARGEST_TRIALS)


@dataclass(frozen=True)
class TrainingTask:
    """One training, complete: what is trained on what, and how.

    Attributes:
        index: of its row.
        arm: what it is called in an ablation.
        columns: further columns of its row, that say where it belongs.
        keep_maps: also return affinity matrices, before and after.
    """

    index: int
    arm: str
    source: BatchSource
    head: HeadConfig
    objective: Objective
    optimisation: Optimisation
    seed: int
    columns: dict = field(default_factory=dict)
    keep_maps: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        row: its row; NaN measures where the loss did not stay finite (``diverged``).
        history: a row for each measured step and layer.
        maps: rows of affinity matrices, empty unless asked for.
        verdict: Theorem 4 on everything that was measured.
        suspect: an affinity that contradicts it, if there is one.
    """

    row: dict
    history: list[dict]
    maps: list[dict]
    verdict: Verdict
    suspect: Counterexample | None


def train(task: TrainingTask, device: torch.device) -> TrainingResult:
    """Run a training."""
    started, how = time.perf_counter(), task.optimisation
    head = _build(task).to(device)
    steps = how.steps if count_parameters(head) else 0  # the head "none" has nothing to learn
    if steps:
        optimiser = torch.optim.Adam(head.parameters(), lr=how.learning_rate)
        warm_up = max(1, how.steps // WARM_UP)
        schedule = LambdaLR(optimiser, lambda step: learning_rate(step, how.steps, warm_up, 1.0))
    marks = {round(how.steps * i / (how.evaluations + 1)) for i in range(how.evaluations + 1)} - {how.steps}
    history, verdicts, suspects = [], [], []
    maps = affinity_maps(head, task, "before", device) if task.keep_maps else []
    loss_value, diverged, training_seconds = math.nan, False, 0.0
    for step in range(steps):
        if step in marks:
            measured = measure(head, task, max(1, how.evaluation_batches // 4), device)
            verdicts.append(measured.verdict)
            suspects.append(measured.suspect)
            history += history_rows(task, step, measured, loss_value)
        begun = time.perf_counter()
        batch = to_device(task.source.batch(step), device, torch.float32)
        output = head(batch.points, views=batch.views)
        # The losses refuse what is not finite; a training that gets there has a result too.
        if not is_finite(output):
            diverged = True
            break
        loss = task.objective(output, batch.targets)
        loss_value = loss.item()
        if not math.isfinite(loss_value):
            diverged = True
            break
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        training_seconds += time.perf_counter() - begun
    diverged = diverged or not all(bool(p.isfinite().all()) for p in head.parameters())
    row = {
        "cell": task.index, "arm": task.arm, **task.columns, "seed": task.seed, "noise_level": task.source.noise_level,
        "batch_size": task.source.batch_size, "learning_rate": how.learning_rate, "depth": task.head.depth,
        "parameters": count_parameters(head), "diverged": diverged, "loss": loss_value,
    }  # fmt: skip
    if diverged:
        row |= dict.fromkeys(MEASURES, math.nan)
    else:
        measured = measure(head, task, how.evaluation_batches, device)
        verdicts.append(measured.verdict)
        suspects.append(measured.suspect)
        history += history_rows(task, how.steps, measured, loss_value)
        maps += affinity_maps(head, task, "after", device) if task.keep_maps else []
        row |= final_measures(measured)
    row |= {"history_rows": len(history), "step_ms": 1e3 * training_seconds / how.steps,
            "seconds": time.perf_counter() - started}  # fmt: skip
    suspect = next((found for found in suspects if found is not None), None)
    return TrainingResult(row, history, maps, combine_cells("Theorem 4", verdicts), suspect)


def is_finite(output: HeadOutput) -> bool:
    """No NaN and no infinity in anything that a loss may read, all streams included."""
    tensors = [output.embeddings, *(part for r in output.readings for part in (r.queries, r.keys))]
    return all(bool(t.isfinite().all()) for t in tensors) and all(is_finite(stream) for stream in output.auxiliary)


def _build(task: TrainingTask) -> Head:
    """The head, initialized from the task's seed and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return build_head(task.head, task.source.ambient_dim)


def _frozen(head: Head) -> Head:
    """A copy in float64 and evaluation mode."""
    return deepcopy(head).double().eval()


def measure(head: Head, task: TrainingTask, batches: int, device: torch.device) -> Evaluation:
    """The head as it stands, on the first ``batches`` evaluation batches."""
    return evaluate(_frozen(head), task.source, batches, device)


# Columns of a row that come from the final measurement.
MEASURES = (
    "sharpness", "sharpness_first", "certified", "integrity", "quantile_integrity", "separated_rate",
    "recovered_rate", "neighbour_accuracy", "attention_first", "attention_last", "blocks", "blocks_sharpened",
    "blocks_dulled",
)  # fmt: skip


def final_measures(measured: Evaluation) -> dict:
    """A row's measures; blocks count where the next block's sharpness (attention mass where there is one affinity
    only) is clearly above, or clearly below, this one's."""
    last, first = measured.layers[-1], measured.layers[0]
    series = [layer.sharpness for layer in measured.layers]
    attention = [layer.attention for layer in measured.layers if not np.isnan(layer.attention).any()]
    steps = [clear_change(before, after) for before, after in pairwise(series)]
    return dict(
        zip(
            MEASURES,
            (
                last.sharpness.mean(), first.sharpness.mean(), last.certified.mean(), last.integrity.mean(),
                last.quantile_integrity.mean(), measured.separated.mean(), measured.recovered.mean(),
                measured.neighbour_accuracy.mean(),
                attention[0].mean() if attention else math.nan, attention[-1].mean() if attention else math.nan,
                len(steps), sum(step > 0 for step in steps), sum(step < 0 for step in steps),
            ),
        )
    )  # fmt: skip


def clear_change(before: np.ndarray, after: np.ndarray) -> int:
    """1 or -1 where the paired mean difference exceeds CLEAR standard errors, else 0."""
    change = after - before
    error = change.std(ddof=1) / math.sqrt(len(change)) if len(change) > 1 else math.inf
    return 0 if abs(change.mean()) <= CLEAR * error else int(math.copysign(1, change.mean()))


def history_rows(task: TrainingTask, step: int, measured: Evaluation, loss: float) -> list[dict]:
    """One row a layer."""
    return [
        {
            "cell": task.index, "step": step, "layer": number, "loss": loss, "sharpness": layer.sharpness.mean(),
            "sharpness_low": np.quantile(layer.sharpness, 0.05), "sharpness_high": np.quantile(layer.sharpness, 0.95),
            "integrity": layer.integrity.mean(), "quantile_integrity": layer.quantile_integrity.mean(),
            "jsd": layer.jsd.mean(), "certified": layer.certified.mean(), "attention": layer.attention.mean(),
        }
        for number, layer in enumerate(measured.layers)
    ]  # fmt: skip


@torch.no_grad()
def affinity_maps(head: Head, task: TrainingTask, stage: str, device: torch.device) -> list[dict]:
    """Rows of every block's affinity on the first evaluation batch, sorted by class: columns c0, c1, ..."""
    batch = to_device(task.source.batch(0, evaluation=True), device)
    output: HeadOutput = _frozen(head)(batch.points, views=batch.views)
    order = torch.argsort(batch.classes, stable=True)
    rows = []
    for layer, reading in enumerate(output.readings):
        affinity = read_affinity(reading.cosines())[order][:, order].cpu().numpy()
        rows += [
            {"cell": task.index, "stage": stage, "layer": layer, "row": i, "class": int(batch.classes[order[i]]),
             **{f"c{j}": float(f"{value:.4g}") for j, value in enumerate(values)}}
            for i, values in enumerate(affinity)
        ]  # fmt: skip
    return rows

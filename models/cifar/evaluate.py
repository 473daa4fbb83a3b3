"""Probes of a trained encoder and head.

    python -m models.cifar.evaluate runs/simclr/checkpoint.pt           kNN and linear probe on h and z
    python -m models.cifar.evaluate runs/simclr/checkpoint.pt --device cuda

Every choice is made on validation images, then the test images are read once. For heads that attend over the batch z
depends on the other images: those figures are labeled transductive.

Exit status: as in all commands (--help), never 1.
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro

from models.cifar.data.images import Splits, load_images
from models.cifar.data.views import evaluation_view
from models.cifar.evaluation.features import LabelledFeatures, encode_set
from models.cifar.evaluation.probes import ProbeConfig, probe
from models.cifar.methods.learners import Learner
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import load_learner
from models.commands import command
from models.environment import resolve_device
from models.heads import count_parameters
from theory.numerics.whole_files import write_table

# Columns that are read off a probe's result.
NUMBERS = ("accuracy", "low", "high", "validation_accuracy")


@dataclass(frozen=True)
class EvaluateOptions:
    """Command line of the evaluation."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A checkpoint that ``python -m models.cifar`` wrote."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    root: Path | None = None
    """Folder of decoded images, where it is not the one of the training."""


def evaluate(config: TrainConfig, learner: Learner, splits: Splits, device: torch.device) -> list[dict]:
    """results.csv: one row for each kind of features and probe.

    Images are shuffled first: folders hold one class after the other, and a head that attends over the batch could tell
    the class of a batch from its company.
    """
    view = partial(evaluation_view, config=config.view)
    parts, labels = {}, {}
    for name, images in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(config.seed))
        size = min(config.batch_size, len(images))
        parts[name] = encode_set(learner.encoder, learner.head, images.images[order], view, size, device)
        labels[name] = images.labels[order]
    sizes = {
        "test_images": len(splits.test),
        "encoder_parameters": count_parameters(learner.encoder),
        "head_parameters": count_parameters(learner.head),
    }
    rows = []
    for kind in ("h", "z"):
        train, validation, test = (
            LabelledFeatures(parts[name][kind].float(), labels[name].to(device)) for name in parts
        )
        smaller = len(train.labels)
        knn = ProbeConfig("knn", tuple(k for k in ProbeConfig().neighbours if k <= smaller) or (1,))
        for choice in (knn, ProbeConfig("linear")):
            transductive = kind == "z" and learner.head.transductive
            what = {"features": kind, "probe": choice.kind, "transductive": transductive}
            rows.append(what | _probe(train, validation, test, choice) | sizes)
    return rows


def _probe(train: LabelledFeatures, validation: LabelledFeatures, test: LabelledFeatures, config: ProbeConfig) -> dict:
    """A probe's columns; NaN, and why, where features leave it nothing to fit."""
    try:
        result = probe(train, validation, test, config)
    except (ArithmeticError, ValueError) as error:
        return dict.fromkeys(NUMBERS, math.nan) | {"chosen": f"none: {error}"}
    chosen = " ".join(f"{name}={value:g}" for name, value in result.chosen.items())
    return {name: getattr(result, name) for name in NUMBERS} | {"chosen": chosen}


def print_results(rows: list[dict]) -> None:
    """One line a probe."""
    print("features  probe    accuracy [95 % interval]      validation   chosen")
    for row in rows:
        note = "  (transductive)" if row["transductive"] else ""
        interval = f"{row['accuracy']:6.2%} [{row['low']:6.2%}, {row['high']:6.2%}]"
        chosen = f"{row['validation_accuracy']:10.2%}   {row['chosen']}{note}"
        print(f"{row['features']:<9} {row['probe']:<8} {interval}   {chosen}")


def run(options: EvaluateOptions) -> int:
    """Load, probe, print and store beside the checkpoint.

    Raises:
        ValueError: not a checkpoint, images that are not there, an unknown device.
        OSError: results could not be written.
    """
    device = resolve_device(options.device)
    config, learner = load_learner(options.checkpoint, device)
    data = config.data if options.root is None else replace(config.data, root=options.root)
    rows = evaluate(config, learner, load_images(data), device)
    write_table(options.checkpoint.parent / "results.csv", rows)
    print_results(rows)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, EvaluateOptions, arguments, "python -m models.cifar.evaluate", __doc__)


if __name__ == "__main__":
    sys.exit(main())

"""Probes of a trained encoder and head.

    python -m models.cifar.evaluate runs/simclr/checkpoint.pt                 kNN and linear probe on h, z, baselines
    python -m models.cifar.evaluate runs/simclr/checkpoint.pt --device cuda
    python -m models.cifar.evaluate runs/simclr/checkpoint.pt --dataset PATH  on other images

Every choice is made on validation images, then the test images are read once. For heads that attend over the batch z
depends on the other images: those figures are labeled transductive.

Two baselines stand beside them: the pixels (at most 16 x 16, averaged) and the encoder at the weights that the seed
gives it before any training (also for a training with --init), with batch normalization by the training images'
statistics. Where learned features tell less of the classes than either, a line says so, and whether these images decide
it: by an exact sign test (5 %) of those whose class one of both alone finds, which are counted in the last columns.

The images must be those of the training, whose fingerprint the checkpoint keeps; they are found from any folder.
--dataset reads others, split, sized and limited as the training's settings say. results.csv beside the checkpoint is of
the finished training and its images alone: results on others, and of a training that was stopped or diverged, have a
file of their own, named after images and epoch. What cannot be measured (no test images, no classes) is empty, and
said.

Exit status: as in all commands (--help), never 1.
"""

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import torch
import tyro
from torch import Tensor

from models.cifar.data.fingerprint import fingerprint, listed
from models.cifar.data.images import Splits
from models.cifar.data.names import printable
from models.cifar.data.views import evaluation_view
from models.cifar.evaluation.baselines import (
    BASELINES,
    PIXELS,
    UNTRAINED,
    below_baselines,
    calibrate,
    found_alone,
    pixels_of,
)
from models.cifar.evaluation.epoch_measures import NEIGHBOURS, TEMPERATURE
from models.cifar.evaluation.features import LabelledFeatures, encode_features, encode_set
from models.cifar.evaluation.probes import ProbeConfig, ProbeKind, probe
from models.cifar.methods.learners import Learner
from models.cifar.training.config import TrainConfig
from models.cifar.training.results import results_path
from models.cifar.training.state import load_trained, new_learner
from models.cifar.training.stored_images import read_images
from models.commands import command
from models.devices.transfer import moved
from models.environment import require_float64, resolve_device
from models.heads import count_parameters
from theory.numerics.inputs import require_choice
from theory.numerics.whole_files import write_table

# Features of what was learned: the encoder's, and the head's.
LEARNED = ("h", "z")

# Columns that are read off a probe's result.
NUMBERS = ("accuracy", "low", "high", "validation_accuracy")


@dataclass(frozen=True)
class EvaluateOptions:
    """Command line of the evaluation."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A checkpoint that ``python -m models.cifar`` wrote."""
    dataset: str | None = None
    """Other images: a name or path as in training. None: those of the training, wherever they lie now."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1."""
    root: Path | None = None
    """Folder for downloads and decoded images. None: the one of this user's cache."""
    encoder_factory: str | None = None
    """MODULE:FUNCTION that made the training's encoder, where it was trained with --encoder.factory. Its code is
    imported and run; a checkpoint that names one is refused without it."""


def evaluate(
    config: TrainConfig,
    learner: Learner,
    splits: Splits,
    device: torch.device,
    data: dict | None = None,
    *,
    epoch: int | None = None,
    baselines: bool = True,
    features: tuple[str, ...] = LEARNED,
    probes: tuple[ProbeKind, ...] = get_args(ProbeKind),
) -> list[dict]:
    """results.csv: one row for each kind of features and probe, with the hash of the images that were read.

    Features are h and z, then pixels and untrained (evaluation/baselines.py). ``monitor_accuracy`` of kNN is on
    validation images with the fixed k and temperature of the epochs' monitor: what epochs.csv has of every epoch.

    Images are shuffled first: folders hold one class after the other, and a head that attends over the batch could tell
    the class of a batch from its company. What cannot be measured is NaN, and ``left_out`` says why.

    Args:
        data: fingerprint of the images, where it is known; None works it out.
        epoch: after which the learner is as it is, the last column; None: without that column.
        baselines: also measure them. They depend on images, normalization, encoder and seed alone, and need not be
            measured again for each of many trainings that share these.
        features: h, z or both.
        probes: which; those that nobody reads take longer than a short training.
    """
    for asked in features:
        require_choice(asked, "features", LEARNED)
    view = partial(evaluation_view, config=config.view)
    images, labels = {}, {}
    for name, part in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        if not len(part):
            continue
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(config.seed))
        images[name], labels[name] = part.images[order], part.labels[order].to(device)
    parts = {}
    for name, shuffled in images.items():
        size = min(config.batch_size, len(shuffled))
        if "z" in features:
            parts[name] = encode_set(learner.encoder, learner.head, shuffled, view, size, device)
        else:
            parts[name] = {"h": encode_features(learner.encoder, shuffled, view, size, device)}
    sizes = {
        "test_images": len(splits.test),
        "encoder_parameters": count_parameters(learner.encoder),
        "head_parameters": count_parameters(learner.head),
        "dataset": printable(splits.train.name),
        "data_sha256": (data or fingerprint(splits))["sha256"],
    }
    said: dict[str, str] = dict.fromkeys(features, "")
    if baselines:
        pixels, said[PIXELS] = pixels_of(*images.values())
        said[UNTRAINED] = ""
        untrained = moved(new_learner(config).encoder, device, config.memory_format)
        calibrate(untrained, images["train"], view, config.batch_size, device)
        for kind, encoder in ((PIXELS, pixels), (UNTRAINED, untrained)):
            for name, shuffled in images.items():
                parts[name][kind] = encode_features(encoder, shuffled, view, config.batch_size, device)
    rows = []
    # Of the same images in the same order, whatever the features.
    right: dict[tuple[str, str], Tensor | None] = {}
    for kind in said:
        found = {name: LabelledFeatures(parts[name][kind].float(), labels[name]) for name in parts}
        for choice in map(ProbeConfig, probes):
            transductive = kind == "z" and learner.head.transductive
            what = {"features": kind, "probe": choice.kind, "transductive": transductive}
            measured, monitored, why, right[kind, choice.kind] = _probe(found, splits, choice)
            told = "; ".join(each for each in (said[kind], why) if each)
            alone = found_alone(right.get(("h", choice.kind)), right[kind, choice.kind] if kind in BASELINES else None)
            rows.append(what | measured | sizes | {"left_out": told, "monitor_accuracy": monitored}
                        | (alone if baselines else {}))  # fmt: skip
    return rows if epoch is None else [row | {"epoch": epoch} for row in rows]


def _probe(
    found: dict[str, LabelledFeatures], splits: Splits, config: ProbeConfig
) -> tuple[dict, float, str, Tensor | None]:
    """A probe's columns, the monitor's accuracy, what the probe left out, and which images it finds the class of; NaN,
    why, and None where it has nothing to measure with or nothing to fit."""
    nothing = dict.fromkeys(NUMBERS, math.nan)
    classes = splits.train.labels.unique().tolist()
    if len(classes) < 2:
        names = listed([splits.train.class_names[label] for label in classes])
        why = f"probes need at least 2 classes, all images are of class {names}"
        return nothing | {"chosen": "none"}, math.nan, why, None
    if "validation" not in found:
        return nothing | {"chosen": "none"}, math.nan, "probes choose on validation images, there are none", None
    try:
        result = probe(found["train"], found["validation"], found.get("test"), config)
    except (ArithmeticError, ValueError) as error:
        return nothing | {"chosen": f"none: {error}"}, math.nan, str(error), None
    chosen = " ".join(f"{name}={value:g}" for name, value in result.chosen.items())
    missing = () if "test" in found else ("there are no test images to read (test/CLASS/FILE)",)
    measured = {name: getattr(result, name) for name in NUMBERS} | {"chosen": chosen}
    monitored = result.candidates.get((NEIGHBOURS, TEMPERATURE), math.nan)
    return measured, monitored, "; ".join((*result.left_out, *missing)), result.right


def print_results(rows: list[dict]) -> None:
    """One line a probe, then what could not be measured or used, and where a baseline tells more than what was
    learned."""
    print("features  probe    accuracy [95 % interval]      validation   chosen")
    for row in rows:
        note = "  (transductive)" if row["transductive"] else ""
        interval = "not measured"
        if not math.isnan(row["accuracy"]):
            interval = f"{row['accuracy']:6.2%} [{row['low']:6.2%}, {row['high']:6.2%}]"
        validation = "-" if math.isnan(row["validation_accuracy"]) else f"{row['validation_accuracy']:.2%}"
        print(f"{row['features']:<9} {row['probe']:<8} {interval:<24} {validation:>12}   {row['chosen']}{note}")
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["left_out"]:
            said.setdefault(row["left_out"], []).append(f"{row['probe']} on {row['features']}")
    for what, where in said.items():
        print(f"{', '.join(where)}: {what}")
    for line in below_baselines(rows):
        print(line)


def run(options: EvaluateOptions) -> int:
    """Load, probe, print and store beside the checkpoint.

    Raises:
        ValueError: not a checkpoint, images that are not there or not those of the training, an unknown device.
        OSError: results could not be written.
    """
    device = resolve_device(options.device)
    require_float64(device)
    trained = load_trained(options.checkpoint, device, options.encoder_factory)
    splits, data = read_images(trained, options.checkpoint, options.dataset, options.root)
    path = results_path(options.checkpoint, trained, data)
    rows = evaluate(trained.config, trained.learner, splits, device, data, epoch=trained.epoch)
    write_table(path, rows)
    print_results(rows)
    if trained.unfinished:
        print(f"{options.checkpoint} is {trained.unfinished}: these are no results of a finished run")
    print(f"{data['name']} (SHA-256 {data['sha256'][:8]}): {path}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, EvaluateOptions, arguments, "python -m models.cifar.evaluate", __doc__)


if __name__ == "__main__":
    sys.exit(main())

"""The advisor's predictions on many feature sets, each written down and hashed before the rows that judge it are read.

    python -m models.cifar.prospective                         digits and two tables of scikit-learn, some minutes
    python -m models.cifar.prospective --images PATH           also an image folder or archive
    python -m models.cifar.prospective --out DIR --resume      go on; finished trainings and sets are kept

Of every data set of images: the pixels, an untrained encoder, and encoders trained by SimCLR, SupCon and TransFusion.
The advisor sees the validation images, under views of several strengths; test images, which nobody has trained on or
chosen with, judge its predictions. Tables are halved at random, and their views are the rows with Gaussian noise. Each
set has an advisor's run folder of its own (predictions.json with its SHA-256, checked.csv); checked.csv at the top has
them all, data.json what is known of the images (duplicates across parts, say), and the figure shows measured over
predicted.

A set of predictions that are all right has one that is CONTRADICTED in one case of twenty (5 % for all of a set
together). More sets than chance explains have one if so many or more would with at most 5 %, were they independent;
sets of the same images are not quite.

Exit status: 1 more sets have a contradicted prediction than chance explains, or no prediction at all is confirmed;
others as in all commands (--help).
"""

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom
from torch import nn

from models.advisor import AdvisorConfig
from models.advisor.__main__ import AdvisorRun
from models.advisor.__main__ import run as advise_and_check
from models.advisor.inputs.features import FeatureSet, feature_set
from models.advisor.prospective import CONFIDENCE
from models.cifar.data.images import (
    LARGEST_SIZE,
    SMALLEST_SIZE,
    DataConfig,
    Splits,
    load_images,
    require_test_and_classes,
)
from models.cifar.embed import write_features
from models.cifar.evaluation.strengths import embed_strengths
from models.cifar.methods.settings import method_of
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import new_learner
from models.cifar.training.train import DivergedError, fit
from models.commands import DIVERGED, command, draw
from models.environment import require_float64, resolve_device
from models.run_folder import open_run_folder
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_BATCH, LARGEST_EPOCHS
from theory.numerics.manifest import require_unchanged
from theory.numerics.whole_files import exact_floats, write_json, write_table

TRAINED = ("simclr", "supcon", "transfusion")
STRENGTHS = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
# Of a table's standardized columns, at strength 1.
TABLE_NOISE = 2.0
# Of the images that are not tested on, the advisor's; the others are trained on.
VALIDATION_SHARE = 0.4
# Chance explains so many contradicted sets, or more, with at least this probability, or it does not explain them.
LEVEL = 0.05
ADVISED, KEPT_ASIDE = "FEATURES.npz", "KEPT_ASIDE.npz"


@dataclass(frozen=True)
class ProspectiveStudy:
    """Command line of the study."""

    images: Path | None = None
    """An image folder or archive, beside the digits."""
    limit: int = 300
    """Images of each class of it, training and test alike."""
    image_size: int = 16
    """Height and width that its images are brought to."""
    epochs: int = 10
    """Of every training."""
    seed: int = 0
    """Of trainings, splits and everything that is drawn."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1."""
    out: Path | None = None
    """Run folder; by default runs/prospective-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Go on with the run in --out."""
    accept_other_version: bool = False
    """With --resume: go on with a run of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""
    figures: bool = True
    """Draw the figures (PNG and PDF)."""


@dataclass(frozen=True)
class Both:
    """A feature set: rows that the advisor sees, and rows kept aside."""

    advised: FeatureSet
    kept_aside: FeatureSet


def tables(seed: int) -> Iterator[tuple[str, Both]]:
    """Two of scikit-learn's tables, halved; columns are standardized by the first half."""
    from sklearn import datasets

    for name in ("breast_cancer", "wine"):
        rows, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
        rng = np.random.default_rng([seed, len(rows)])
        halves = np.array_split(rng.permutation(len(rows)), 2)
        mean, scale = rows[halves[0]].mean(axis=0), rows[halves[0]].std(axis=0)
        rows = (rows - mean) / scale
        sets = []
        for half in halves:
            noise = TABLE_NOISE * rng.standard_normal((len(half), rows.shape[1]))
            views = [rows[half] + strength * noise for strength in STRENGTHS]
            sets.append(feature_set(rows[half], labels[half], views, STRENGTHS, name=name))
        yield name, Both(*sets)


def image_sets(
    name: str, data: DataConfig, splits: Splits, options: ProspectiveStudy, folder: Path
) -> Iterator[tuple[str, Both]]:
    """Pixels, an untrained encoder and trained ones, one after the other."""
    device = resolve_device(options.device)
    base = TrainConfig(data=data, epochs=options.epochs, seed=options.seed, measure_every=options.epochs)
    base = replace(base, batch_size=min(base.batch_size, len(splits.train)))
    yield f"{name}_pixels", _embedded(nn.Flatten(), splits, base, device)
    yield f"{name}_untrained", _embedded(new_learner(check(base, splits, device)).encoder, splits, base, device)
    for method in TRAINED:
        config = check(replace(base, method=method_of(method)), splits, device)
        run = folder / f"{name}_{method}_training"
        run.mkdir(exist_ok=True)
        print(f"{name}: {method}, {options.epochs} epochs on {len(splits.train):,} images", flush=True)
        trained = fit(config, splits, device, run, resume=True).learner.encoder
        yield f"{name}_{method}", _embedded(trained, splits, base, device)


def _embedded(encoder: nn.Module, splits: Splits, config: TrainConfig, device: torch.device) -> Both:
    encoder = encoder.to(device).eval()
    return Both(*(
        embed_strengths(encoder, part, config.view, STRENGTHS, config.batch_size, device)
        for part in (splits.validation, splits.test)
    ))  # fmt: skip


def study(options: ProspectiveStudy) -> int:
    """Train, advise, check, and put everything into one table; returns the exit status.

    Raises:
        ValueError: images, settings or a folder that cannot be used.
        DivergedError: a loss is not finite.
        OSError: a file could not be written.
    """
    require_count(options.limit, "limit", 1, LARGEST_BATCH)
    require_count(options.image_size, "image_size", SMALLEST_SIZE, LARGEST_SIZE)
    require_count(options.epochs, "epochs", 1, LARGEST_EPOCHS)
    require_count(options.seed, "seed", 0, 2**31 - 1)
    device = resolve_device(options.device)
    require_float64(device)
    digits = DataConfig(validation_share=VALIDATION_SHARE, split_seed=options.seed)
    data = {"digits": digits}
    if options.images is not None:
        data["images"] = replace(
            digits, dataset=str(options.images), limit=options.limit, image_size=options.image_size
        )
    # Images that cannot be read are refused before anything is trained.
    splits = {name: require_test_and_classes(load_images(each)) for name, each in data.items()}
    settings = {"images": str(options.images), "limit": options.limit, "image_size": options.image_size,
                "epochs": options.epochs, "seed": options.seed, "share": AdvisorConfig().share}  # fmt: skip
    with open_run_folder("prospective", options.out, options.resume, settings, device,
                         accept_other_version=options.accept_other_version) as folder:  # fmt: skip
        write_json(folder / "data.json", {name: each.report for name, each in splits.items()})
        for each in splits.values():
            if each.report is not None:
                print("\n".join(each.report.lines()), flush=True)
        return _study_in(folder, splits, data, options)


def _study_in(folder: Path, splits: dict[str, Splits], data: dict[str, DataConfig], options: ProspectiveStudy) -> int:
    found = [advised(*each, folder, options) for each in tables(options.seed)]
    for name, images in splits.items():
        found += [advised(*each, folder, options) for each in image_sets(name, data[name], images, options, folder)]
    table = pd.concat(found, ignore_index=True)
    print(summary_table(table))
    checked = table[table["status"] != "NONE"]
    write_table(folder / "checked.csv", checked.to_dict("records"))
    told = complaint(checked)
    if told:
        print(told)
    status = draw(folder) if options.figures else 0
    return int(bool(told)) or status


def complaint(checked: pd.DataFrame) -> str:
    """What checked predictions (columns set and status) have against the advisor, in words; nothing where chance
    explains the sets that have a contradicted one."""
    if not (checked["status"] == "CONFIRMED").any():
        return "no prediction is confirmed"
    by_set = (checked["status"] == "CONTRADICTED").groupby(checked["set"]).any()
    found, sets = int(by_set.sum()), len(by_set)
    chance = float(binom.sf(found - 1, sets, 1.0 - CONFIDENCE))
    # One set alone has its one in twenty by rounding too.
    if found and chance <= LEVEL * (1.0 + 1e-9):
        return (f"{found} of {sets} sets have a contradicted prediction, which chance explains with {chance:.2g}: "
                f"at most {LEVEL:g}")  # fmt: skip
    return ""


def advised(name: str, sets: Both, folder: Path, options: ProspectiveStudy) -> pd.DataFrame:
    """One set through the advisor, in a folder of its own; its checked predictions, with the set's name."""
    own = folder / name
    files = [folder / f"{name}_{file}" for file in (ADVISED, KEPT_ASIDE)]
    if not (own / "report.txt").exists():
        for path, features in zip(files, (sets.advised, sets.kept_aside)):
            write_features(path, features)
        advise_and_check(AdvisorRun(features=files[0], check=files[1], out=own, resume=own.exists(), seed=options.seed,
                                    figures=False, accept_other_version=options.accept_other_version))  # fmt: skip
    # Rows in which attention does not see the labels leave nothing to predict.
    path = own / "checked.csv"
    if not path.exists():
        return pd.DataFrame({"set": [name], "status": "NONE"})
    text = require_unchanged(path, path.read_bytes()).decode()
    return pd.read_csv(io.StringIO(text), **exact_floats(pd.__version__)).assign(set=name)


def summary_table(checked: pd.DataFrame) -> str:
    """A line a set, and one for all."""
    lines = ["", "set                    predictions  confirmed  contradicted  undecided   median error   worst"]
    for name, part in [*checked.groupby("set", sort=False), ("all", checked)]:
        part = part[part["status"] != "NONE"]
        errors = (part["measured"] - part["value"]).abs().dropna()
        counts = [int((part["status"] == status).sum()) for status in ("CONFIRMED", "CONTRADICTED", "UNDECIDED")]
        lines.append(f"{name:<22} {len(part):11d}  {counts[0]:9d}  {counts[1]:12d}  {counts[2]:9d}   "
                     f"{errors.median():12.3f}   {errors.max():.3f}")  # fmt: skip
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(
        study,
        ProspectiveStudy,
        arguments,
        "python -m models.cifar.prospective",
        __doc__,
        others={DivergedError: DIVERGED},
    )


if __name__ == "__main__":
    sys.exit(main())

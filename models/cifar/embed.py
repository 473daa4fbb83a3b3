"""Embeddings of a trained run and of its views, for the advisor.

    python -m models.cifar.embed runs/simclr/checkpoint.pt --strengths 0 0.25 0.5 1 --out FEATURES.npz
    python -m models.advisor FEATURES.npz
    python -m models.cifar.embed runs/simclr/checkpoint.pt --part test --strengths 0 0.25 0.5 1 --out KEPT_ASIDE.npz
    python -m models.advisor FEATURES.npz --check KEPT_ASIDE.npz

The images must be those of the training, whose fingerprint the checkpoint keeps; --dataset PATH reads others.

Strength 1 means the augmentations of the training's settings (view.strength scales them), 0 the images themselves. The
file holds embeddings (n, D) (features h, in evaluation mode), labels (n,), views (strengths, n, D) and strengths.

Exit status: as in all commands (--help), never 1. There is a whole file or none.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from models.advisor.inputs.features import FeatureSet
from models.cifar.evaluation.strengths import check_view_strengths, embed_strengths
from models.cifar.training.state import load_trained
from models.cifar.training.stored_images import read_images
from models.commands import command
from models.environment import resolve_device
from theory.console.typed import as_typed
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_BATCH
from theory.numerics.whole_files import replacing

SUFFIX = ".npz"


@dataclass(frozen=True)
class EmbedOptions:
    """Command line of the embedding."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A checkpoint that ``python -m models.cifar`` wrote."""
    out: Path
    """The .npz file to write; must not exist."""
    strengths: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
    """Strengths of the views, increasing from 0."""
    part: Literal["validation", "train", "test"] = "validation"
    """Which of the run's images."""
    images: int | None = None
    """Only so many of them, as many of each class as can be. None: all."""
    dataset: str | None = None
    """Other images: a name or path as in training. None: those of the training, wherever they lie now."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    root: Path | None = None
    """Folder for downloads and decoded images. None: the one of this user's cache."""
    encoder_factory: str | None = None
    """MODULE:FUNCTION that made the training's encoder, where it was trained with --encoder.factory. Its code is
    imported and run; a checkpoint that names one is refused without it."""


def run(options: EmbedOptions) -> int:
    """Embed and write.

    Raises:
        ValueError: not a checkpoint, strengths or images that cannot be used, an --out that exists or is no .npz.
        OSError: the file could not be written.
    """
    _check_out(options.out)
    if options.images is not None:
        require_count(options.images, "images", 4, LARGEST_BATCH)
    device = resolve_device(options.device)
    trained = load_trained(options.checkpoint, device, options.encoder_factory)
    config, learner = trained.config, trained.learner
    check_view_strengths(options.strengths, config.view)
    splits, data = read_images(trained, options.checkpoint, options.dataset, options.root)
    part = getattr(splits, options.part)
    if not len(part):
        raise ValueError(f"part: {data['name']} has no {options.part} images, as it is split here")
    if options.images is not None and options.images > len(part):
        raise ValueError(f"images: must not exceed the {len(part)} {options.part} images, got {options.images}")
    found = embed_strengths(
        learner.encoder, part, config.view, options.strengths, config.batch_size, device, options.images
    )
    write_features(options.out, found)
    levels = ", ".join(f"{level:g}" for level in found.strengths)
    whose = f"{options.part} images of {data['name']} (SHA-256 {data['sha256'][:8]})"
    if trained.unfinished:
        print(f"{options.checkpoint} is {trained.unfinished}")
    print(f"{found.num_rows:,} {whose} at strengths {levels}: {as_typed('python -m models.advisor')} {options.out}")
    return 0


def _check_out(path: Path) -> None:
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"out: must end in {SUFFIX}, got {path}")
    if path.exists():
        raise ValueError(f"out: {path} exists; give another name")
    if not path.parent.is_dir():
        raise ValueError(f"out: there is no folder {path.parent}")


def write_features(path: Path, features: FeatureSet) -> None:
    """The arrays that ``python -m models.advisor`` reads, in one file, whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file, embeddings=features.embeddings, labels=np.array(features.class_names)[features.classes],
            views=np.stack(features.views), strengths=np.array(features.strengths),
        )  # fmt: skip
        file.flush()
        os.fsync(file.fileno())


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, EmbedOptions, arguments, "python -m models.cifar.embed", __doc__)


if __name__ == "__main__":
    sys.exit(main())

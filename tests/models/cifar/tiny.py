"""Images and settings of trainings that take a tenth of a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.cifar.data.images import DataConfig, ImageSet, Splits
from models.cifar.training.checks import without_idle
from models.cifar.training.config import HeadChoice, TrainConfig
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig
from tests.models.cifar.data.image_files import encoded

CPU = torch.device("cpu")
# The same on a command line.
WORDS = ["--no-figures", "--encoder.width", "2", "--encoder.norm", "group", "--head.kind", "linear", "--head.out-dim",
         "4", "--batch-size", "8", "--data.image-size", "8", "--epochs", "1"]  # fmt: skip


def tiny(**changes) -> TrainConfig:
    """A training of one epoch; settings by their names, optimiser and head by theirs."""
    base = TrainConfig(
        encoder=EncoderConfig("small", width=2, norm="group"), head=HeadChoice("linear", out_dim=4), epochs=1,
        batch_size=8, measure_images=12, optimiser=OptimizerConfig("adamw", 1e-3, warmup_epochs=0),
        data=DataConfig(image_size=8, validation_share=0.3),
    )  # fmt: skip
    return without_idle(replace(base, **changes))


def colors(counts: tuple[int, ...], seed: int = 0, names: tuple[str, ...] = ("r", "g", "b")) -> ImageSet:
    """Noisy images of 8 x 8 pixels, as many of each color as ``counts`` says."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    base = torch.eye(3)[labels][:, :, None, None] * 150
    images = base + 60 * torch.rand(len(labels), 3, 8, 8, generator=generator)
    return ImageSet(images.to(torch.uint8), labels, names[: len(counts)], "colors")


def three_colors() -> Splits:
    """16 training, 9 validation and 6 test images."""
    return Splits(colors((6, 5, 5), 0), colors((3, 3, 3), 1), colors((2, 2, 2), 2))


def write_folder(folder: Path, classes: str, each: int = 8, seed: int = 0) -> Path:
    """An image folder with ``each`` images a class in train, and half of that in test."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", each), ("test", each // 2)):
        for place, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(60 + 60 * place, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
                (folder / part / name / f"{number}.png").write_bytes(encoded(pixels))
    return folder

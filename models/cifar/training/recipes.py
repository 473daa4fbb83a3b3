"""Recipes: what a training is told where its command line says nothing, because one setting does not suit all.

Each was tuned for SimCLR on validation images, and is the same for every method; models/cifar/README.md has what its
settings gave.

plain   the settings' own defaults.
digits  Digits are 8 x 8 pixels, gray and never mirrored: SimCLR's views of photographs destroy them, and features end
        below the pixels.
fast    CIFAR-10 on two CPU cores in ten minutes, or with 30 epochs in a quarter of an hour: a narrow network behind a
        strided stem, views that grow during the training, and bf16 where the processor multiplies it.
auto    digits for scikit-learn's digits, else plain.
"""

from typing import Literal, get_args

from models.cifar.data import images
from models.cifar.data.views import ViewConfig
from models.cifar.methods.settings import SimCLR
from models.cifar.training.config import TrainConfig
from models.devices.processor import multiplies_bf16
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig
from theory.numerics.inputs import require_choice

# What a recipe may be called.
RecipeName = Literal["auto", "plain", "digits", "fast"]

DIGITS = TrainConfig(
    method=SimCLR(temperature=0.2),
    # Their own size: larger ones take longer and show no more.
    data=images.DataConfig(dataset=images.DIGITS, image_size=8),
    # Strokes make other digits in other places: where they are must not be averaged out.
    encoder=EncoderConfig("small", width=32, pool_size=2),
    view=ViewConfig(
        min_area=0.7, flip=False, rotation=15.0, color_jitter=0.0, grayscale=0.0, mean=(0.0,) * 3, std=(1.0,) * 3
    ),
    optimiser=OptimizerConfig("adamw", learning_rate=1e-3, weight_decay=0.01),
    epochs=40,
    batch_size=128,
)


def fast_lane() -> TrainConfig:
    """The fast lane, in the precision that suits this processor."""
    return TrainConfig(
        method=SimCLR(temperature=0.2),
        encoder=EncoderConfig("small", width=32, stem_stride=2, features=512),
        optimiser=OptimizerConfig("adamw", learning_rate=3e-3, weight_decay=0.01),
        epochs=18,
        batch_size=128,
        view_sizes=(16, 24, 32),
        precision="bf16" if multiplies_bf16() else "float32",
        measure_every=5,
    )


def recipe(name: str, dataset: str) -> TrainConfig:
    """The settings that a command line starts from.

    Args:
        dataset: name or path of its images, which auto goes by.

    Raises:
        ValueError: an unknown name.
    """
    require_choice(name, "--recipe", get_args(RecipeName))
    if name == "fast":
        return fast_lane()
    of_digits = name == "digits" or (name == "auto" and dataset == images.DIGITS)
    return DIGITS if of_digits else TrainConfig()

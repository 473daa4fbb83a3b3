"""What a training is told where its command line says nothing: by the images, because one setting does not suit all.

Digits are 8 x 8 pixels, gray and never mirrored: SimCLR's views of photographs destroy them, and features end below the
pixels. models/README.md has what each of the settings gave.
"""

from models.cifar.data import images
from models.cifar.data.views import ViewConfig
from models.cifar.methods.settings import SimCLR
from models.cifar.training.config import TrainConfig
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig

DIGITS = TrainConfig(
    method=SimCLR(temperature=0.2),
    # Their own size: larger ones take longer and show no more.
    data=images.DataConfig(dataset=images.DIGITS, image_size=8),
    encoder=EncoderConfig("small", width=32),
    view=ViewConfig(
        min_area=0.7, flip=False, rotation=15.0, color_jitter=0.0, grayscale=0.0, mean=(0.0,) * 3, std=(1.0,) * 3
    ),
    optimiser=OptimizerConfig("adamw", learning_rate=3e-3, weight_decay=0.01),
    batch_size=128,
)


def default_for(dataset: str) -> TrainConfig:
    """The settings that a command line starts from, by the name or path of its images."""
    return DIGITS if dataset == images.DIGITS else TrainConfig()

"""Training, validation and test images are not mistaken for each other, nor draws of one kind for another's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from models.cifar.data.images import DataConfig, ImageSet, Splits, load_images
from models.cifar.data.views import ViewConfig
from models.cifar.evaluate import evaluate
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.training.config import HeadChoice, TrainConfig
from models.cifar.training.state import generator_of, new_learner
from models.heads import HeadConfig, build_head

CPU = torch.device("cpu")
CONFIG = TrainConfig(head=HeadChoice("none"), batch_size=12, measure_images=12)


class Colors(torch.nn.Module):
    """Features are the color of an image, which tells its class."""

    def forward(self, images):
        return images.mean((2, 3))


@pytest.fixture
def learner():
    made = new_learner(CONFIG)
    made.encoder, made.head = Colors(), build_head(HeadConfig("none"), 3)
    return made


def colors(each, shift=0):
    """Images of three colors, labeled right, or wrong by a shift."""
    labels = torch.arange(3).repeat_interleave(each)
    images = 40 + 150 * torch.eye(3)[labels][:, :, None, None].expand(-1, -1, 8, 8)
    images = images + torch.arange(len(labels))[:, None, None, None] % 5
    return ImageSet(images.to(torch.uint8), (labels + shift) % 3, ("r", "g", "b"), "colors")


def test_validation_images_are_training_images_and_test_images_are_not(tmp_path):
    """Dark images to train on, bright ones to test on."""
    for part, low in (("train", 0), ("test", 128)):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(6):
                pixels = np.full((8, 8, 3), low + 10 * i, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    splits = load_images(DataConfig(str(tmp_path), root=tmp_path / "cache", validation_share=0.5))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 6, 12]
    assert int(splits.train.images.max()) < 128
    assert int(splits.validation.images.max()) < 128
    assert int(splits.test.images.min()) >= 128


def test_probes_choose_on_validation_images_and_report_the_test_images(learner):
    """Validation labels are right and test labels are all wrong; then the other way round."""
    train, right, wrong = colors(12), colors(4), colors(5, shift=1)
    for row in evaluate(CONFIG, learner, Splits(train, right, wrong), CPU):
        assert (row["validation_accuracy"], row["accuracy"], row["test_images"]) == (1.0, 0.0, 15), row
    for row in evaluate(CONFIG, learner, Splits(train, wrong, right), CPU):
        assert (row["validation_accuracy"], row["accuracy"], row["test_images"]) == (0.0, 1.0, 12), row


def test_epochs_are_measured_on_validation_images(learner):
    still = ViewConfig(crop=False, flip=False, color_jitter=0.0, grayscale=0.0)
    train, right, wrong = colors(12), colors(4), colors(5, shift=1)
    for parts, knn in ((Splits(train, right, wrong), 1.0), (Splits(train, wrong, right), 0.0)):
        found = measure_epoch(learner, parts, still, CPU, epoch=1, batch_size=12, count=12)
        assert found.columns["knn"] == knn
        # Of the twelve images that are measured, each has its own partner.
        assert sum(row["positive"] for row in found.scores) == 12


def test_draws_of_every_seed_kind_epoch_and_step_are_their_own():
    keys = [(seed, stream, epoch, step) for seed in (0, 1, 7) for stream in range(6) for epoch in range(4)
            for step in range(4)]  # fmt: skip

    def drawn(seed, stream, epoch, step):
        return float(
            torch.rand((), generator=generator_of(replace(CONFIG, seed=seed), stream, epoch, step), dtype=torch.float64)
        )

    numbers = [drawn(*key) for key in keys]
    assert len(set(numbers)) == len(keys)
    assert numbers == [drawn(*key) for key in keys]
    # Uniform: the mean of 288 has a standard deviation of .017.
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.07)

"""Evaluation on the pretend accelerator: no mixed devices, and the CPU's numbers."""

import pytest
import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.data.images import Splits
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.evaluation.features import LabelledFeatures, encode_set
from models.cifar.evaluation.probes import ProbeConfig, probe
from models.cifar.evaluation.strengths import critical_columns
from models.cifar.training.state import new_learner
from tests.stand_in import DEVICE, PretendDevice
from tests.stand_in.steps import configuration

CPU = torch.device("cpu")
# Deep Fusion attends over the batch, and its blocks are traced.
CONFIG = configuration("deepfusion", None, "small")


def evaluated(device):
    splits = Splits(*(random_images(count, 8) for count in (30, 20, 20)))
    learner = new_learner(CONFIG).to(device)
    measured = measure_epoch(learner, splits, CONFIG.view, device, 0, 16, 20)
    critical, _ = critical_columns(learner.encoder, splits.validation, CONFIG.view, (0.0, 1.0), 16, device, 20)
    return measured.columns | critical, measured.layers, measured.scores


def test_what_an_epoch_measures():
    wanted = evaluated(CPU)
    with PretendDevice():
        found = evaluated(DEVICE)
    assert found[0] == pytest.approx(wanted[0], rel=1e-4, nan_ok=True)
    for rows, expected in zip(found[1:], wanted[1:]):
        assert len(rows) == len(expected)
        for row, other in zip(rows, expected):
            assert row.pop("part", None) == other.pop("part", None)
            assert row == pytest.approx(other, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_probes(kind):
    generator = torch.Generator().manual_seed(0)
    parts = []
    for count in (30, 12, 12):
        labels = torch.arange(count) % 3
        rows = torch.eye(3)[labels] + 0.3 * torch.randn(count, 3, generator=generator)
        parts.append(LabelledFeatures(rows, labels))
    config = ProbeConfig(kind, neighbours=(3, 5), l2_weights=(1e-3, 1e-2))
    wanted = probe(*parts, config)
    with PretendDevice():
        there = [LabelledFeatures(part.features.to(DEVICE), part.labels.to(DEVICE)) for part in parts]
        assert probe(*there, config) == wanted


def test_sets_of_images_wait_for_nothing_but_their_transfer():
    images, learner = random_images(20, 8).images, new_learner(CONFIG)
    wanted = encode_set(learner.encoder, learner.head, images, lambda batch: batch / 255, 8, CPU)
    with PretendDevice() as log:
        learner = learner.to(DEVICE)
        log.events.clear()
        found = encode_set(learner.encoder, learner.head, images, lambda batch: batch / 255, 8, DEVICE)
        assert len(log.uploads) == 3
        assert log.waits == []
        for name, rows in wanted.items():
            torch.testing.assert_close(found[name].cpu(), rows, rtol=1e-4, atol=1e-6)

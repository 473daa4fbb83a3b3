"""A task of the gpu tier on an accelerator: training, probes and transformations, narrow and on a few images."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.data.images import Splits
from models.cifar.training import train
from models.cifar.training.checks import check, without_idle
from models.encoders import EncoderConfig
from paper_checks.tiers import GPU
from paper_checks.trainings import arms, transformations
from paper_checks.trainings.arms import Training
from tests.stand_in import ACCELERATORS, accelerator


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACCELERATORS)
def test_a_training_of_the_gpu_tier(monkeypatch, tmp_path, kind):
    images = random_images(60, 8)
    parts = [images.subset(torch.arange(start, stop)) for start, stop in ((0, 20), (20, 40), (40, 60))]
    monkeypatch.setattr(arms, "images", lambda data, control: Splits(*parts))
    for module in (arms, train):
        # The stand-in's device has no place among those that a user may name.
        monkeypatch.setattr(module, "check", lambda config, splits, device: check(config, splits, torch.device("cpu")))
    # One of the transformations: each has probes of its own.
    monkeypatch.setattr(transformations, "TRANSFORMATIONS", dict(list(transformations.TRANSFORMATIONS.items())[:1]))
    small = {"encoder": EncoderConfig("small", width=4), "epochs": 2, "batch_size": 10, "measure_every": 2,
             "optimiser": replace(GPU.config.optimiser, warmup_epochs=1)}  # fmt: skip
    # Narrowing is not modelled by the stand-in.
    config = without_idle(replace(GPU.config, **small, precision=GPU.config.precision if kind == "cuda" else "float32"))
    with accelerator(kind) as device:
        task = Training("simclr", config, str(device), transformations=True)
        task.run(tmp_path)
    assert all((tmp_path / name).exists() for name in task.leaves)
    results = pd.read_csv(tmp_path / "results.csv")
    assert results["accuracy"].between(0.0, 1.0).all()
    assert set(pd.read_csv(tmp_path / "transformations.csv")["features"]) == {"h", "z"}

"""A whole training on an accelerator: what it keeps of every epoch is what the CPU keeps."""

from dataclasses import replace

import pytest
import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.data.images import Splits
from models.cifar.data.views import ViewConfig
from models.cifar.training import train
from models.cifar.training.checkpoint import CHECKPOINT, load_checkpoint
from models.cifar.training.checks import check
from models.optim import OptimizerConfig
from tests.stand_in import ACCELERATORS, accelerator
from tests.stand_in.steps import configuration

# Of an epoch's row, what no device can repeat.
TIMES = {"seconds", "views_per_second", "advise_seconds"}


# torch takes the stand-in for the device that it claims, which has no numbers to copy to.
@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("kind", ACCELERATORS)
@pytest.mark.parametrize("method", ["simclr", "moco_ft", "transfusion"])
def test_a_training_with_all_that_it_measures(monkeypatch, tmp_path, method, kind):
    """Steps, kNN, scores, angles, affinities, the critical strength, checkpoint and resumption."""
    images = random_images(60, 8)
    parts = [images.subset(torch.arange(start, stop)) for start, stop in ((0, 20), (20, 60), (20, 60))]
    config = replace(
        configuration(method, None, "small"),
        epochs=2,
        advise_every=2,
        advise_strengths=(0.0, 0.5),
        view=ViewConfig(blur=0.5),
        optimiser=OptimizerConfig("adamw", schedule="constant", warmup_epochs=0),
    )
    # The stand-in's device has no place among those that a user may name.
    monkeypatch.setattr(train, "check", lambda config, splits, device: check(config, splits, torch.device("cpu")))
    rows = {}
    with accelerator(kind) as there:
        for name, device in (("cpu", torch.device("cpu")), ("there", there)):
            folder = tmp_path / name
            folder.mkdir()
            train.fit(replace(config, epochs=1), Splits(*parts), device, folder)
            assert not any(each.is_cuda for each in load_checkpoint(folder / CHECKPOINT)["learner"].values())
            rows[name] = train.fit(config, Splits(*parts), device, folder, resume=True).epochs
    assert [set(row) for row in rows["cpu"]] == [set(row) for row in rows["there"]]
    assert "advise_seconds" in rows["there"][1]
    assert {"knn", "positive_mean", "phi_q50"} <= set(rows["there"][0])
    # A GPU adds up in another order, and training makes more of it.
    close = 1e-4 if kind == "stand-in" else 0.2
    for expected, found in zip(rows["cpu"], rows["there"], strict=True):
        for name in set(expected) - TIMES:
            assert found[name] == pytest.approx(expected[name], rel=close, abs=close, nan_ok=True), name

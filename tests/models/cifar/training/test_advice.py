"""The critical strength in a training's log: when, of what, what it changes, and where there is none."""

import csv
from dataclasses import replace
from math import isnan

import pytest
import torch

from models.advisor.critical_strength import critical_strength
from models.cifar.data.images import DataConfig, load_images
from models.cifar.data.views import ViewConfig
from models.cifar.evaluation.strengths import embed_strengths
from models.cifar.training import train
from models.cifar.training.checks import without_idle
from models.cifar.training.config import HeadChoice, TrainConfig
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig

CPU = torch.device("cpu")
STRENGTHS = (0.0, 0.5, 1.0)
CONFIG = TrainConfig(
    data=DataConfig(image_size=8, limit=60, validation_share=0.4, split_seed=1),
    encoder=EncoderConfig("small", width=4),
    head=HeadChoice("deepfusion", width=8, depth=1, num_heads=1, dropout=0.2, out_dim=8), view=ViewConfig(0.75),
    optimiser=OptimizerConfig("adamw", 3e-3), epochs=3, batch_size=32, measure_every=3, measure_images=120,
    advise_every=2, advise_strengths=STRENGTHS,
)  # fmt: skip


@pytest.fixture(scope="module")
def splits():
    return load_images(CONFIG.data)


def weights(state):
    return torch.cat([p.detach().flatten() for p in (*state.learner.parameters(), *state.learner.buffers())])


def table(folder):
    with open(folder / "epochs.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_so_many_epochs_and_after_the_last_it_is_what_the_advisor_says(splits, tmp_path):
    state = train.fit(CONFIG, splits, CPU, tmp_path)
    rows = table(tmp_path)
    assert [row["strength"] for row in rows] == ["", "0.75", "0.75"]
    assert [row["critical_strength"] != "" for row in rows] == [False, True, True]
    assert float(rows[-1]["advise_seconds"]) > 0
    features = embed_strengths(state.learner.encoder, splits.validation, CONFIG.view, STRENGTHS, 32, CPU, 120)
    answer = critical_strength(features)
    for column, value in (("critical_strength", answer.value), ("critical_low", answer.low)):
        assert float(rows[-1][column]) == value
    assert 0.0 <= answer.low < answer.value < 1.0


def test_a_training_is_the_same_with_and_without(splits, tmp_path):
    """Weights, statistics of batch normalization, dropout, and a training that goes on after it was asked."""
    without = without_idle(replace(CONFIG, advise_every=0))
    kept = weights(train.fit(without, splits, CPU, _folder(tmp_path, "without")))
    torch.manual_seed(4)
    assert torch.equal(weights(train.fit(CONFIG, splits, CPU, _folder(tmp_path, "with"))), kept)
    assert torch.equal(weights(train.fit(replace(CONFIG, advise_every=1), splits, CPU, _folder(tmp_path, "all"))), kept)


def _folder(path, name):
    (path / name).mkdir()
    return path / name


def test_features_that_cannot_be_asked_keep_the_epoch(splits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("models.cifar.evaluation.strengths.encode_features",
                        lambda encoder, images, *rest: torch.zeros(len(images), 4))  # fmt: skip
    state = train.fit(CONFIG, splits, CPU, tmp_path)
    assert "epoch 2 has no critical strength: features of digits: row 0 is zero" in capsys.readouterr().err
    assert state.epochs[1]["strength"] == 0.75
    assert "critical_strength" not in state.epochs[1]
    assert len(table(tmp_path)) == 3


def test_classes_that_attention_does_not_see_leave_it_empty_and_say_so(splits, tmp_path, capsys):
    part = splits.validation
    shuffled = replace(part, labels=part.labels[torch.randperm(len(part), generator=torch.Generator().manual_seed(0))])
    state = train.fit(replace(CONFIG, epochs=2, measure_every=2), replace(splits, validation=shuffled), CPU, tmp_path)
    row = state.epochs[-1]
    assert all(isnan(row[name]) for name in ("critical_strength", "critical_low", "critical_high"))
    assert table(tmp_path)[-1]["critical_strength"] == ""
    assert "epoch 2 has no critical strength: ReLU attention does not see the classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"advise_every": -1}, "advise_every: must"),
        ({"advise_every": 1, "advise_strengths": (0.5, 1.0)}, "advise_strengths: must begin with 0"),
        ({"advise_every": 1, "advise_strengths": (0.0,)}, "advise_strengths: needs 0 and at least one more"),
        ({"advise_every": 1, "advise_strengths": (0.0, 1.5)}, "advise_strengths: strength: must be below 1.25"),
        ({"advise_every": 1, "advise_strengths": (0.0, 1.0, 0.5)}, "advise_strengths: must increase"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        replace(CONFIG, **settings)

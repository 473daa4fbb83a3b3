"""The trainer against plain loops written from the papers (oracles/), step by step and in float64."""

import copy
from dataclasses import replace

import pytest
import torch

from models.cifar.data.images import ImageSet, Splits
from models.cifar.methods.settings import DeepFusion, MoCo, MoCoFeatureTransform, SimCLR, SupCon, TransFusion
from models.cifar.training import state, train
from models.cifar.training.config import HeadChoice, TrainConfig
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig
from tests.models.cifar.oracles.moco import train_moco
from tests.models.cifar.oracles.simclr import train_simclr
from tests.models.cifar.oracles.transfusion import train_transfusion

SGD = OptimizerConfig("sgd", 0.1, momentum=0.8, weight_decay=0.05, nesterov=True)
ADAMW = OptimizerConfig("adamw", 3e-3, momentum=0.8, weight_decay=0.3, schedule="constant")
LARS = OptimizerConfig("lars", 20.0, momentum=0.7, weight_decay=0.1, warmup_epochs=2)
# Seven keys: neither filled nor emptied evenly by batches of four.
QUEUE = {"queue_size": 7, "momentum": 0.6}
BLOCKS = HeadChoice("transfusion", width=8, depth=1)


def config(method, optimiser=SGD, **changes):
    settings = {
        "encoder": EncoderConfig("small", width=4, norm="group"), "head": HeadChoice("mlp", out_dim=6),
        "epochs": 3, "batch_size": 4, "seed": 5,
    }  # fmt: skip
    return TrainConfig(method=method, optimiser=optimiser, **{**settings, **changes})


@pytest.fixture(scope="module")
def splits():
    """Ten training images, so that two wait in every epoch; the other parts hold other images."""
    generator = torch.Generator().manual_seed(0)

    def part(count):
        images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.randint(3, (count,), generator=generator), ("a", "b", "c"), "noise")

    return Splits(part(10), part(6), part(6))


@pytest.fixture
def in_float64(monkeypatch):
    """The trainer's own steps, unmeasured, in double precision; the losses of all steps are listed."""
    losses, build, make, step = [], state.new_learner, train.make_batch, train.training_step

    def wide_batch(*arguments):
        batch = make(*arguments)
        return replace(batch, first=batch.first.double(), second=batch.second.double())

    def listed_step(*arguments):
        found = step(*arguments)
        losses.append(found.loss.item())
        return found

    monkeypatch.setattr(state, "new_learner", lambda config: build(config).double())
    monkeypatch.setattr(train, "make_batch", wide_batch)
    monkeypatch.setattr(train, "training_step", listed_step)
    monkeypatch.setattr(train, "_measure", lambda *arguments: None)
    return losses


def weights(*networks):
    return torch.cat([parameter.detach().flatten() for network in networks for parameter in network.parameters()])


@pytest.mark.parametrize(
    ("oracle", "options"),
    [
        (train_simclr, config(SimCLR())),
        (train_simclr, config(SimCLR(temperature=0.2), ADAMW, head=HeadChoice("linear", out_dim=6))),
        (train_simclr, config(SimCLR(normalize=False, temperature=3.0), LARS, encoder=EncoderConfig(width=4))),
        (train_simclr, config(SupCon(), batch_size=5)),
        (train_simclr, config(DeepFusion(), ADAMW, head=HeadChoice(width=8, depth=2, num_heads=2, out_dim=5))),
        (train_moco, config(MoCo(**QUEUE))),
        (train_moco, config(MoCo(**QUEUE, temperature=0.7, symmetric=True), ADAMW, encoder=EncoderConfig(width=4))),
        (train_moco, config(MoCoFeatureTransform(**QUEUE))),
        (train_moco, config(MoCoFeatureTransform(**QUEUE, symmetric=True, union=True, transform_from_epoch=1))),
        (train_moco, config(MoCoFeatureTransform(**QUEUE, positives="interpolate", positive_beta=0.4,
                                                 negative_beta=5.0, weights="row", renormalize=True), ADAMW)),
        (train_moco, config(MoCoFeatureTransform(**QUEUE, weights="step", negatives_query="transformed"))),
        (train_moco, config(MoCoFeatureTransform(**QUEUE, positives="none"), LARS)),
        (train_moco, config(MoCoFeatureTransform(**QUEUE, negatives="none", positive_beta=7.0))),
        (train_transfusion, config(TransFusion(), head=BLOCKS)),
        (train_transfusion, config(TransFusion(supervised=True, intermediate=0.3), ADAMW, batch_size=5,
                                   head=replace(BLOCKS, depth=2, num_heads=2, attention_scope="joint"))),
        (train_transfusion, config(TransFusion(intermediate=0.0), head=replace(BLOCKS, keep_diagonal=True), epochs=2)),
        (train_transfusion, config(TransFusion(readout="relu"), head=BLOCKS, epochs=2)),
    ],
    ids=lambda value: "" if callable(value) else f"{value.method.name},{value.optimiser.kind}",
)  # fmt: skip
def test_the_trainer_does_what_the_papers_say(oracle, options, splits, in_float64, tmp_path):
    before = state.new_learner(options)
    encoder, head = copy.deepcopy(before.encoder), copy.deepcopy(before.head)
    expected = oracle(options, splits.train.images, splits.train.labels, encoder, head)
    learner = train.fit(options, splits, torch.device("cpu"), tmp_path).learner
    assert len(expected) == options.epochs * (10 // options.batch_size)
    assert in_float64 == pytest.approx(expected, rel=1e-8)
    found, wanted, start = (
        weights(*pair) for pair in ((learner.encoder, learner.head), (encoder, head), (before.encoder, before.head))
    )
    assert (wanted - start).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-8)

"""What the methods with a momentum copy do in several processes, and what their queue holds."""

import math

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from models.cifar.data.images import Splits
from models.cifar.methods import learners
from models.cifar.methods.learners import Batch, build_learner
from models.cifar.methods.settings import MoCo, MoCoFeatureTransform, method_of
from models.cifar.training import train
from models.cifar.training.checks import check
from models.cifar.training.config import HeadChoice
from models.encoders import EncoderConfig
from models.momentum import FeatureQueue
from tests.models.cifar.methods.several_processes import in_processes
from tests.models.cifar.tiny import CPU, colors, tiny

QUEUED = 13
WAYS = {
    "moco": MoCo(queue_size=QUEUED),
    "coordinate": MoCoFeatureTransform(queue_size=QUEUED),
    "row, symmetric": MoCoFeatureTransform(queue_size=QUEUED, weights="row", symmetric=True, union=True),
    "step": MoCoFeatureTransform(queue_size=QUEUED, weights="step", negatives_query="transformed"),
}


def drawn(seed):
    return torch.Generator().manual_seed(seed)


# --- several processes ------------------------------------------------------------------------------------------------


def learner_and_batch(method):
    """In double precision, with a full queue."""
    encoder, head = EncoderConfig("small", width=4, norm="group"), HeadChoice("mlp", out_dim=5)
    learner = build_learner(method, encoder, head.resolve(method.name), drawn(0)).double()
    learner.queue.enqueue(torch.randn(QUEUED, 5, generator=drawn(1), dtype=torch.float64))
    views = torch.rand(2, 8, 3, 8, 8, generator=drawn(2), dtype=torch.float64)
    return learner, Batch(views[0], views[1], torch.arange(8) // 2, 0, drawn(3))


def weights_of_pairs_and_queue(config, rows):
    return list(learners._draw(config, torch.zeros(rows, 5), QUEUED, drawn(2)))


def one_of_two(rank):
    """Gradients that this process is left with, and what it draws."""
    found = {}
    for name, method in WAYS.items():
        learner, batch = learner_and_batch(method)
        own = Batch(*(t.chunk(2)[rank] for t in (batch.first, batch.second, batch.labels)), 0, batch.generator)
        # Kept until gradients are averaged: a wrapper that is freed before averages nothing.
        network = DistributedDataParallel(learner)
        network(own).backward()
        draws = weights_of_pairs_and_queue(method, 4) if method.name == "moco_ft" else []
        found[name] = {"gradients": [p.grad for p in learner.trained.parameters()], "draws": draws}
    return found


def test_two_processes_transform_as_one_does(tmp_path):
    """Pairs by weights of their own, the queue alike: losses of halves have the mean and gradient of the whole's."""
    both = in_processes(2, one_of_two, tmp_path)
    for name, method in WAYS.items():
        learner, batch = learner_and_batch(method)
        learner(batch).backward()
        expected = [p.grad for p in learner.trained.parameters()]
        for found in both:
            torch.testing.assert_close(found[name]["gradients"], expected, rtol=0, atol=1e-12)
        if method.name == "moco":
            continue
        (first, *queue), (second, *other) = (found[name]["draws"] for found in both)
        whole, *alone = weights_of_pairs_and_queue(method, 8)
        assert torch.equal(torch.cat([first, second]), whole)
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(queue, other, alone, strict=True))
        assert (first == second).any() == (method.weights == "step"), "a step has one weight for all rows"


@pytest.mark.parametrize("method", ["moco", "moco_ft"])
def test_queries_and_keys_are_normalized_over_the_same_rows(method):
    """By the kind of their normalization alone: its synchronized kind computes on GPUs only."""
    encoder, head = EncoderConfig("small", width=4, norm="batch"), HeadChoice("mlp", out_dim=5, batch_norm=True)
    learner = build_learner(method_of(method), encoder, head.resolve(method), drawn(0))
    before, names = list(learner.trained.parameters()), list(learner.state_dict())
    train._synchronize_batch_norm(learner)
    for network, copy in zip((learner.encoder, learner.head), learner.copies, strict=True):
        kinds = [[type(each) for each in part.modules() if isinstance(each, _BatchNorm)] for part in (network, copy)]
        assert kinds[0] == kinds[1]
        assert set(kinds[0]) == {nn.SyncBatchNorm}
    assert all(a is b for a, b in zip(before, learner.trained.parameters(), strict=True)), "the optimizer's own"
    assert list(learner.state_dict()) == names
    learner.after_step()


def test_a_head_that_sees_the_global_batch_needs_no_synchronization():
    """It would gather what is gathered already."""
    encoder, head = EncoderConfig("small", width=4, norm="batch"), HeadChoice("mlp", out_dim=5, batch_norm=True)
    learner = build_learner(method_of("simclr"), encoder, head.resolve("simclr"), drawn(0))
    train._synchronize_batch_norm(learner)
    kinds = [{type(each) for each in part.modules() if isinstance(each, _BatchNorm)}
             for part in (learner.encoder, learner.head)]  # fmt: skip
    assert kinds == [{nn.SyncBatchNorm}, {nn.BatchNorm1d}]


# --- the queue's own size ---------------------------------------------------------------------------------------------


def test_at_half_the_images_about_one_query_of_eight_meets_its_own_earlier_key():
    """An image in step s of m, and in step t of the next epoch, has (m - 1 - s) + t whole batches enqueued behind its
    key; the queue holds m/2 batches. So it meets the key at (m/2)(m/2 + 1)/2 of m^2 places: 1/8 + 1/(4 m)."""
    images, batch, epochs = 160, 8, 40
    part = colors((60, 50, 50))
    options = check(tiny(method=MoCo(), batch_size=batch), Splits(part, part, part), CPU)
    assert options.method.queue_size == images // 2
    # Features that tell which image they are of.
    angles = torch.arange(images) * (2 * math.pi / images)
    marks, queue, met = torch.stack([angles.cos(), angles.sin()], 1), FeatureQueue(options.method.queue_size, 2), 0
    steps = images // batch
    for epoch in range(epochs):
        for index, _ in train._order(options, epoch, images, steps, CPU):
            queued = (queue.features() @ marks.T).argmax(1)
            met += torch.isin(index, queued).sum().item()
            queue.enqueue(marks[index])
    share = met / ((epochs - 1) * images)
    # Three standard deviations of 6240 draws, were they independent.
    assert share == pytest.approx(1 / 8 + 1 / (4 * steps), abs=0.013)

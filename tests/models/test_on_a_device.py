"""Heads, losses and queues on the pretend accelerator: the CPU's numbers, no mixed devices, no wait where values are
trusted. Training steps are in tests/models/cifar/training/test_waits.py."""

import copy
import math
from typing import get_args

import numpy as np
import pytest
import torch

from models.devices.transfer import upload, upload_together
from models.devices.value_checks import values_are_checked, values_trusted
from models.heads import HeadConfig, HeadKind, build_head
from models.losses import OBJECTIVES, affinity_jsd_from_points, info_nce, nt_xent, supcon, view_pair_labels
from models.losses.common import BatchLabels, labels_of_batch
from models.momentum import FeatureQueue, moco_loss
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from tests.stand_in import DEVICE, PretendDevice

ROWS, DIM = 8, 6


def features(seed=0, rows=ROWS):
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_and_gradients(head, objective, rows, labels):
    rows = rows.detach().clone().requires_grad_()
    loss = objective(head(rows, views=2), labels)
    loss.backward()
    found = [loss.detach(), rows.grad, *(p.grad for p in head.parameters() if p.grad is not None)]
    return [each.cpu() for each in found]


@pytest.mark.parametrize("kind", get_args(HeadKind))
def test_every_head_with_every_loss(kind):
    torch.manual_seed(0)
    head = build_head(HeadConfig(kind, out_dim=4, width=4, depth=1, num_heads=2), DIM).double()
    labels = view_pair_labels(ROWS // 2)
    expected = [loss_and_gradients(copy.deepcopy(head), each, features(), labels) for each in OBJECTIVES.values()]
    with PretendDevice() as log:
        there, known = head.to(DEVICE), BatchLabels.of_views(ROWS // 2, 2, DEVICE)
        rows = features().to(DEVICE).requires_grad_()
        for objective, wanted in zip(OBJECTIVES.values(), expected):
            module, start = copy.deepcopy(there), len(log.events)
            with values_trusted():
                objective(module(rows, views=2), known).backward()
            assert log.events[start:] == []
            found = loss_and_gradients(copy.deepcopy(there), objective, rows, labels)
            assert len(found) == len(wanted)
            for a, b in zip(found, wanted):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


CONTRASTS = {
    "supcon": lambda x, y: supcon(x, y),
    "supcon, tiled": lambda x, y: supcon(x, y, tile_rows=3),
    "supcon, unnormalized": lambda x, y: supcon(x, y, 9.0, normalize=False),
    "affinity, tiled": lambda x, y: affinity_jsd_from_points(x, y, tile_rows=3),
    "nt_xent": lambda x, y: nt_xent(*x.chunk(2)),
    "moco": lambda x, y: moco_loss(x[:3], x[3:6], x[6:]),
    "info_nce": lambda x, y: info_nce(x[:, 0], x[:, 1:]),
    **{name: (lambda x, y, o=objective: o(build_head(HeadConfig("none"), DIM)(x, views=2), y))
       for name, objective in OBJECTIVES.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRASTS)
def test_what_is_trusted_is_what_is_checked_and_says_so_when_it_is_not_finite(name):
    """A loss may not hide NaN: it is what a training is stopped by."""
    call, x, labels = CONTRASTS[name], features(), BatchLabels.of_views(ROWS // 2, 2, "cpu")
    expected = call(x, labels)
    with values_trusted():
        assert torch.equal(call(x, labels), expected)
        # Partners by their places, and by sums over labels: the same to rounding.
        classes = BatchLabels.of_classes(torch.tensor([7, 300, -2, 0]), 2)
        torch.testing.assert_close(call(x, classes), expected, rtol=1e-14, atol=0.0)
        # A score of -inf is a weight of 0, which is a number.
        for value in (math.nan, math.inf, *([-math.inf] if name != "info_nce" else [])):
            spoiled = x.clone()
            # One entry, in one row.
            spoiled[5, 2] = value
            assert not torch.isfinite(call(spoiled, labels)), value
            spoiled[:] = value
            assert not torch.isfinite(call(spoiled, labels)), value
    with pytest.raises(ValueError, match=r"NaN or inf|\[-1, 1\]|zero vector"):
        call(x * math.nan, labels)


@pytest.mark.parametrize("name", ["supcon", "supcon, tiled", "affinity, tiled"])
def test_losses_in_tiles_wait_for_nothing(name):
    x = features()
    expected = CONTRASTS[name](x, view_pair_labels(ROWS // 2))
    with PretendDevice() as log, values_trusted():
        there, labels = x.to(DEVICE).requires_grad_(), BatchLabels.of_views(ROWS // 2, 2, DEVICE)
        log.events.clear()
        for _ in range(2):
            loss = CONTRASTS[name](there, labels)
            loss.backward()
        assert log.waits == []
        # Tiles want their rows in order, which is sent once a batch.
        assert len(log.uploads) == (name == "affinity, tiled")
        torch.testing.assert_close(loss.detach().cpu(), expected, rtol=1e-12, atol=0)


def test_labels_are_read_once():
    labels = torch.tensor([5, 5, -1, 7, -1, 5])
    read = labels_of_batch(labels, 6, "cpu")
    assert read.index.tolist() == [1, 1, 0, 2, 0, 1]
    assert read.others.tolist() == [2, 2, 1, 0, 1, 2]
    assert labels_of_batch(read, 6, "cpu") is read
    assert read.target(torch.float64) is read.target(torch.float64)
    assert BatchLabels.of_classes(labels, 1).others.tolist() == [2, 2, 1, 0, 1, 2]
    assert BatchLabels.of_classes(labels, 2).others.tolist() == [5, 5, 3, 1, 3, 5] * 2
    assert BatchLabels.of_classes(labels, 2).layout == labels_of_batch(labels.repeat(2), 12, "cpu").layout
    views = BatchLabels.of_views(3, 2, "cpu")
    assert views.index.tolist() == view_pair_labels(3).tolist()
    assert views.others.tolist() == [1] * 6
    assert views.layout == labels_of_batch(view_pair_labels(3), 6, "cpu").layout
    with pytest.raises(ValueError, match=r"labels: expected integers of shape \(4,\), got 6 of them"):
        labels_of_batch(read, 4, "cpu")
    with pytest.raises(ValueError, match="labels: some label must occur at least twice"):
        labels_of_batch(torch.arange(3), 3, "cpu")


def test_values_are_checked_unless_somebody_vouches_for_them():
    assert values_are_checked()
    with values_trusted():
        assert not values_are_checked()
        with values_trusted(False):
            assert values_are_checked()
        assert not values_are_checked()
    with pytest.raises(RuntimeError, match="stop"), values_trusted():
        raise RuntimeError("stop")
    assert values_are_checked()


def test_many_tensors_go_to_a_device_together():
    parts = [torch.rand(2, 3), torch.arange(4), torch.rand(5), torch.arange(2).reshape(2, 1)]
    with PretendDevice() as log:
        there = upload_together(parts, DEVICE)
        assert len(log.uploads) == 2
        assert log.waits == []
        assert all(torch.equal(a.cpu(), b) for a, b in zip(there, parts))
        assert upload(there[0], DEVICE) is there[0]
    assert upload_together([], "cpu") == []
    assert upload(parts[0], "cpu") is parts[0]


def test_a_queue_waits_for_nothing():
    expected = FeatureQueue(5, DIM, torch.float64)
    for seed in range(3):
        expected.enqueue(features(seed, 3))
    with PretendDevice() as log, values_trusted():
        queue, batches = FeatureQueue(5, DIM, torch.float64).to(DEVICE), [features(s, 3).to(DEVICE) for s in range(3)]
        log.events.clear()
        for batch in batches:
            queue.enqueue(batch)
        found = queue.features()
        assert log.events == []
        torch.testing.assert_close(found.cpu(), expected.features(), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"normalize": "every", "bias_form": True}], ids=["plain", "bias"])
def test_a_stack_is_waited_for_once_a_chunk_of_trials(options, monkeypatch):
    """Besides the three checks of its input; thresholds by trial and clusters in any order change nothing."""
    points = torch.stack([features(seed) for seed in range(5)])
    labels = np.array([1, 0, 0, 1, 2, 2, 1, 0])
    thresholds = 0.3 if options else torch.linspace(0.0, 0.8, 5, dtype=torch.float64)[:, None, None]
    expected = AttentionStack(2, thresholds, **options).measure(points, labels)
    with PretendDevice() as log:
        stack, there = AttentionStack(2, thresholds, device=DEVICE, **options), points.to(DEVICE)
        for budget, chunks in ((2**20, 1), (2 * ROWS**2 * 8, 3)):
            monkeypatch.setattr("models.stack.GPU_CHUNK_BYTES", budget)
            log.events.clear()
            found = stack.measure(there, labels)
            checks = [place for place in log.waits if "trajectory_of" not in place and "as_numpy" not in place]
            wanted = ["require_points", "require_points"] + ([] if options else ["_require_ordinary_size"])
            assert [place.split()[1] for place in checks] == wanted
            assert len(log.waits) - len(checks) == chunks
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-12)


def test_softmax_stacks():
    points, labels = features().reshape(2, 4, DIM), np.array([0, 0, 1, 1])
    expected = SoftmaxStack(2, 3.0).measure(points, labels)
    with PretendDevice():
        found = SoftmaxStack(2, 3.0, device=DEVICE).measure(points, labels)
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9)

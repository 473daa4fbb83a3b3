"""Second views that each process encodes for another: the same batch and loss, other statistics."""

from dataclasses import replace

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from models.cifar.methods.learners import BatchLearner
from models.cifar.methods.settings import method_of
from models.cifar.training import train
from models.cifar.training.checks import check
from models.cifar.training.config import HeadChoice
from models.cifar.training.read_config import differences
from models.cifar.training.state import new_learner
from models.devices.gather import world_size
from models.encoders import EncoderConfig
from tests.models.cifar.methods.several_processes import in_processes
from tests.models.cifar.tiny import CPU, three_colors, tiny
from theory.numerics.whole_files import to_plain

METHODS, NORMS, WAYS = ("simclr", "supcon"), ("group", "batch"), (False, True)
LATER_STEP, EPOCH = 1, 2


def options(method, norm, exchanged):
    encoder = EncoderConfig("small", width=2, norm=norm)
    return tiny(method=method_of(method), encoder=encoder, exchange_views=exchanged)


def batch_of(config):
    """This process's part of a batch, in double precision, as a training takes it."""
    images = three_colors().train
    shares = list(train._order(config, EPOCH, len(images), 2, CPU))
    batch = train.make_batch(config, images, shares[LATER_STEP][0], EPOCH, LATER_STEP, shares[LATER_STEP][1])
    return replace(batch, first=batch.first.double(), second=batch.second.double())


def part(rank):
    found = {}
    for method in METHODS:
        for norm in NORMS:
            for exchanged in WAYS:
                config = check(options(method, norm, exchanged), three_colors(), CPU)
                batch, learner = batch_of(config), new_learner(config).double()
                # Kept until gradients are averaged: a wrapper that is freed before averages nothing.
                network = DistributedDataParallel(learner)
                loss = network(batch)
                loss.backward()
                gradient = torch.cat([p.grad.flatten() for p in learner.parameters()])
                found[f"{method} {norm} {exchanged}"] = {
                    "first": batch.first, "second": batch.second, "labels": batch.labels, "loss": loss.detach(),
                    "gradient": gradient, "exchanged": batch.exchanged, "encoded": learner.prepare(batch)[0],
                }  # fmt: skip
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return in_processes(2, part, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", NORMS)
def test_the_global_batch_is_the_same_bit_for_bit(both, method, norm):
    paired, exchanged = ([found[f"{method} {norm} {way}"] for found in both] for way in WAYS)
    for one, other, following in zip(paired, exchanged, paired[::-1]):
        assert (one["exchanged"], other["exchanged"]) == (False, True)
        assert torch.equal(other["first"], one["first"])
        assert torch.equal(other["labels"], one["labels"])
        assert torch.equal(other["second"], following["second"])
        assert not torch.equal(other["second"], one["second"])
        assert torch.equal(other["encoded"], torch.cat([one["first"], following["second"]]))


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_are_the_same_where_rows_do_not_meet_in_the_encoder(both, method):
    for found in both:
        paired, exchanged = (found[f"{method} group {way}"] for way in WAYS)
        torch.testing.assert_close(exchanged["loss"], paired["loss"], rtol=0, atol=1e-12)
        torch.testing.assert_close(exchanged["gradient"], paired["gradient"], rtol=0, atol=1e-12)
        paired, exchanged = (found[f"{method} batch {way}"] for way in WAYS)
        assert abs(exchanged["loss"] - paired["loss"]) > 1e-4
        assert (exchanged["gradient"] - paired["gradient"]).norm() > 1e-2 * paired["gradient"].norm()


def three_orders(rank):
    """First and second indices of this process's images, and what its rows are in the order of the loss."""
    config = tiny(exchange_views=True, batch_size=12, head=HeadChoice("none"))
    (index, second), *_ = train._order(config, 0, 12, 1, CPU)
    learner, seen = new_learner(config), []
    assert isinstance(learner, BatchLearner)
    learner.objective = lambda output, labels: seen.append(output.embeddings) or output.embeddings.sum()
    batch = train.make_batch(config, three_colors().train, index, 0, 0, second)
    # Features that say which image they are of.
    features = torch.cat([index, second]).float()[:, None].repeat(1, 8).requires_grad_()
    learner.prepare(batch)[1](features)
    return {"index": index, "second": second, "rows": seen[0].detach()[:, 0], "processes": world_size()}


def test_three_processes_bring_the_second_views_back_in_order(tmp_path):
    found = in_processes(3, three_orders, tmp_path)
    order = torch.cat([each["index"] for each in found]).float()
    assert [each["processes"] for each in found] == [3] * 3
    for each, following in zip(found, found[1:] + found[:1]):
        assert torch.equal(each["second"], following["index"])
        assert torch.equal(each["rows"], torch.cat([order, order]))


@pytest.mark.parametrize("method", ["moco", "moco_ft"])
def test_methods_that_compare_in_one_process_refuse_it(method):
    with pytest.raises(ValueError, match=rf"^exchange_views: must be False with {method}, which compares the two"):
        check(options(method, "group", True), three_colors(), CPU)
    check(options(method, "group", False), three_colors(), CPU)


def test_one_process_exchanges_nothing():
    paired, exchanged = (batch_of(options("simclr", "batch", way)) for way in WAYS)
    assert torch.equal(exchanged.second, paired.second)
    assert not exchanged.exchanged


def test_a_run_of_before_goes_on_with_the_setting_as_it_is_by_default():
    stored = to_plain(options("simclr", "batch", False))
    del stored["exchange_views"]
    assert differences(stored, options("simclr", "batch", False)) == []
    assert differences(stored, options("simclr", "batch", True)) == ["exchange_views"]

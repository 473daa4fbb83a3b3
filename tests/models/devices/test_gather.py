"""Two gloo processes on this machine, started once, against one process with the global batch."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.cifar.methods.gradient_cache import cached_backward
from models.devices.gather import gather_labels, gather_rows
from models.losses import AffinityJSDLoss, NTXentLoss, SupConLoss, nt_xent
from tests.models.cifar.methods.several_processes import in_processes

WORLD, N, D = 2, 3, 4
# Neighbours that floats would merge, and bits that are no number as a float.
EXTREME_LABELS = torch.tensor([2**24, 2**24 + 1, 2**63 - 1, -(2**63), -1, 0x7FC000017FC00001])
T = 0.3


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def views():
    """Two views of WORLD x N samples; rank r has rows r N to (r + 1) N of both."""
    return random(WORLD * N, D), random(WORLD * N, D, seed=1)


def detached_gather(features):
    """The other ranks' rows without their gradient, as plain all_gather leaves them."""
    rows = gather_rows(features.detach()).clone()
    own = slice(dist.get_rank() * len(features), (dist.get_rank() + 1) * len(features))
    rows[own] = features
    return rows


def all_global(gather, features):
    """Every rank computes the loss of the global batch."""
    return nt_xent(*(gather(each) for each in features.chunk(2)), T)


def own_anchors(gather, features):
    """Every rank computes the mean over its own rows of the first view, against all of the second."""
    queries, keys = features.chunk(2)
    logits = queries @ gather(keys).T / T
    rank = dist.get_rank() if dist.is_initialized() else 0
    labels = rank * len(queries) + torch.arange(len(queries))
    return nn.functional.cross_entropy(logits, labels)


LOSSES = {"all_global": all_global, "own_anchors": own_anchors}
GATHERS = {"gather_rows": gather_rows, "detached": detached_gather}


# Modules that gather themselves, of labels (which stand on other processes too) and of two views.
CLASSES = torch.tensor([0, 2**40, 1, 2**40, 1, 0])
MODULES = {kind.__name__: kind for kind in (NTXentLoss, SupConLoss, AffinityJSDLoss)}


def module_losses(kind, module, own):
    """Losses of labels, and of two views."""
    first, second = (module(view[own]) for view in views())
    loss = kind(gather=True)
    return loss(first, CLASSES[own]), loss(first, second)


def loss_and_gradients(loss, module):
    return loss.detach(), list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))


def mean_of_processes(tensors):
    """What DistributedDataParallel makes of gradients."""
    for each in tensors:
        dist.all_reduce(each)
    return [each / WORLD for each in tensors]


def refusal(features, call=gather_rows):
    try:
        call(features)
    except ValueError as error:
        return str(error)
    return None


def work(rank):
    """What one process finds."""
    found = {}
    own = slice(rank * N, (rank + 1) * N)
    for loss_name, loss_of in LOSSES.items():
        for gather_name, gather in GATHERS.items():
            module = DistributedDataParallel(network())
            loss = loss_of(gather, module(torch.cat([view[own] for view in views()])))
            loss.backward()
            gradients = [parameter.grad for parameter in module.parameters()]
            found[loss_name, gather_name] = (loss.detach(), gradients)
        module = DistributedDataParallel(network())
        chunks = list(torch.cat([view[own] for view in views()]).split((2, 1, 3)))
        loss = cached_backward(module, chunks, partial(loss_of, gather_rows))
        found[loss_name, "cached"] = (loss, [parameter.grad for parameter in module.parameters()])
    rows = views()[0][own].clone().requires_grad_()
    # With gaps between the numbers, as a slice has them.
    gathered = gather_rows(torch.stack([rows, -rows], dim=-1)[..., 0])
    # Each rank weighs all rows by its own numbers.
    (gathered * random(WORLD * N, D, seed=10 + rank)).sum().backward()
    found["rows"], found["gradient"] = gathered.detach(), rows.grad
    halves = gather_rows(views()[0][own].bfloat16())
    found["halves"] = halves
    found["labels"] = gather_labels(EXTREME_LABELS[own])
    for name, kind in MODULES.items():
        module = network()
        for what, loss in zip(("labels", "views"), module_losses(kind, module, own)):
            value, gradients = loss_and_gradients(loss, module)
            found[name, what] = (value, mean_of_processes(gradients))
    uneven = random(N + rank, D)
    found["uneven"] = [
        refusal(uneven, lambda rows: NTXentLoss(gather=True)(rows, rows)),
        refusal(uneven, lambda rows: SupConLoss(gather=True)(rows, torch.zeros(len(rows), dtype=torch.int64))),
    ]
    found["wide"] = refusal(views()[0][own], lambda rows: SupConLoss(gather=True)(rows, [2**80, 0, 0]))
    found["refusals"] = [
        refusal(random(N + rank, D)),
        refusal(random(N, D + rank)),
        refusal(random(N, D).float() if rank else random(N, D)),
        refusal(random(N, D)[0] if rank else random(N, D)),
        refusal(random(2, N, D)),
        refusal(torch.ones(N, D, dtype=torch.int64)),
        refusal(random(N, D)),
    ]
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return in_processes(WORLD, work, tmp_path_factory.mktemp("gather"))


def one_process(loss_name):
    module = network()
    loss = LOSSES[loss_name](gather_rows, module(torch.cat(views())))
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in module.parameters()]


@pytest.mark.parametrize("way", ["gather_rows", "cached"])
@pytest.mark.parametrize("loss_name", LOSSES)
def test_two_processes_train_as_one(found, loss_name, way):
    loss, gradients = one_process(loss_name)
    mean = sum(each[loss_name, way][0] for each in found) / WORLD
    torch.testing.assert_close(mean, loss, rtol=1e-12, atol=1e-12)
    if loss_name == "all_global":
        assert found[0][loss_name, way][0] == found[1][loss_name, way][0]
    for each in found:
        torch.testing.assert_close(each[loss_name, way][1], gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("what", ["labels", "views"])
@pytest.mark.parametrize("name", MODULES)
def test_modules_that_gather_have_the_loss_and_gradient_of_one_process(found, name, what):
    module = network()
    losses = dict(zip(("labels", "views"), module_losses(MODULES[name], module, slice(None))))
    loss, gradients = loss_and_gradients(losses[what], module)
    for each in found:
        torch.testing.assert_close(each[name, what], (loss, gradients), rtol=1e-12, atol=1e-12)
    alone = dict(zip(("labels", "views"), module_losses(MODULES[name], module, slice(0, N))))[what]
    assert abs(alone - loss) > 1e-3, "other rows matter"


def test_modules_refuse_uneven_batches_on_all_ranks_and_wait_for_nobody(found):
    for each in found:
        assert all("rank 0 " in message and "rank 1 " in message for message in each["uneven"])
        assert each["wide"] == "labels: must fit 64 bits where processes compare theirs"


@pytest.mark.parametrize("loss_name", LOSSES)
def test_a_detached_gather_has_the_right_loss_and_another_gradient(found, loss_name):
    loss, gradients = one_process(loss_name)
    mean = sum(each[loss_name, "detached"][0] for each in found) / WORLD
    torch.testing.assert_close(mean, loss, rtol=1e-12, atol=1e-12)
    for each in found:
        detached = each[loss_name, "detached"][1]
        worst = max(((a - b).norm() / b.norm()) for a, b in zip(detached, gradients) if b.norm() > 1e-6)
        assert worst > 0.1
        if loss_name == "all_global":
            torch.testing.assert_close([WORLD * a for a in detached], gradients, rtol=1e-12, atol=1e-12)


def test_rows_are_in_rank_order_and_gradients_summed_to_their_owner(found):
    total = sum(random(WORLD * N, D, seed=10 + rank) for rank in range(WORLD))
    for rank, each in enumerate(found):
        assert torch.equal(each["rows"], views()[0])
        assert torch.equal(each["halves"], views()[0].bfloat16())
        assert torch.equal(each["labels"], EXTREME_LABELS)
        torch.testing.assert_close(each["gradient"], total[rank * N : (rank + 1) * N])


def test_differences_are_refused_on_all_ranks(found):
    for rank, each in enumerate(found):
        rows, columns, dtypes, ndim, cube, integers, right = each["refusals"]
        for message in (rows, columns, dtypes, ndim, cube, integers):
            assert message.startswith("features:")
        assert "rank 0 (3, 4) torch.float64, rank 1 (4, 4) torch.float64" in rows
        assert "rank 1 (3, 5)" in columns
        assert "rank 1 (3, 4) torch.float32" in dtypes
        assert ("(4,)" in ndim) if rank else ("rank 1 no floating matrix" in ndim)
        assert right is None, "and the group goes on"


def test_without_a_group_rows_are_themselves(as_users_call):
    rows = random(N, D).requires_grad_()
    assert gather_rows(rows) is rows
    assert torch.equal(gather_labels(EXTREME_LABELS), EXTREME_LABELS)
    assert torch.equal(gather_labels(torch.tensor([3, 0, 200], dtype=torch.uint8)), torch.tensor([3, 0, 200]))
    for wrong in (rows[0], rows.long()):
        with pytest.raises(ValueError, match=r"^features:"):
            gather_rows(wrong)

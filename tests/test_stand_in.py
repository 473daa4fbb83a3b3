"""The pretend accelerator notices what a real one would refuse or wait for, and computes what the CPU does."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.stand_in import DEVICE, PretendDevice, generator_on
from tests.stand_in.device import PretendTensor


@pytest.fixture
def log():
    with PretendDevice() as log:
        yield log


def there(log, *shape, dtype=torch.float32):
    """A tensor of the device, whose upload does not count."""
    made = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=dtype).reshape(shape).to(DEVICE)
    log.events.clear()
    return made


def test_it_claims_the_device_and_computes_as_the_cpu_does(log):
    x = torch.arange(6.0).reshape(2, 3)
    y = x.to(DEVICE)
    assert isinstance(y, PretendTensor)
    assert y.device == DEVICE
    assert torch.equal((y.mT @ y.sin()).cpu(), x.mT @ x.sin())
    for made in (torch.zeros(2, device=DEVICE), y.new_ones(3), torch.empty_like(y), torch.arange(3, device=DEVICE)):
        assert made.device == DEVICE
    for made in (torch.tensor([1.5, 2.5], device=DEVICE), y.new_tensor([1.5, 2.5])):
        assert made.tolist() == [1.5, 2.5]
    assert torch.as_tensor(x, device=DEVICE).cpu().equal(x)


def test_views_and_writes_reach_the_same_memory(log):
    x = there(log, 2, 3)
    x[:, 1].mul_(10)
    x[0] = 7.0
    assert x.tolist() == [[7.0, 7.0, 7.0], [4.0, 50.0, 6.0]]
    assert x.add_(1) is x


def test_gradients_and_optimizers_are_those_of_the_cpu(log):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    moved = copy.deepcopy(plain).to(DEVICE)
    assert all(isinstance(each, nn.Parameter) and each.device == DEVICE for each in moved.parameters())
    x = torch.randn(5, 3)
    for module, rows in ((plain, x), (moved, x.to(DEVICE)), (copy.deepcopy(moved), x.to(DEVICE))):
        module.train()
        optimizer = torch.optim.AdamW(module.parameters(), fused=True)
        module(rows).square().sum().backward()
        optimizer.step()
        for name, value in module.state_dict().items():
            if module is not plain:
                assert value.device == DEVICE
            kept = plain.state_dict()[name]
            torch.testing.assert_close(value.cpu(), kept, rtol=0, atol=0)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.ones(2) @ x,
        lambda x: torch.cat([x, torch.ones(1, 3)]),
        lambda x: torch.where(x > 0, x, torch.ones(3)),
        lambda x: nn.functional.linear(x, torch.ones(4, 3)),
        lambda x: torch.nn.Linear(3, 1)(x),
        lambda x: x[0].mul_(torch.ones(3)),
        lambda x: torch.ones(3)[x[0].long() % 3],
        lambda x: torch.rand(3, device=DEVICE, generator=torch.Generator()),
        lambda x: x.numpy(),
    ],
)
def test_mixing_devices_is_refused(mix, log):
    with pytest.raises((RuntimeError, TypeError)):
        mix(there(log, 2, 3))


def test_its_generators_draw_there_and_nowhere_else(log):
    drawn = torch.rand(4, generator=generator_on(DEVICE, 3), device=DEVICE)
    assert drawn.device == generator_on(DEVICE, 3).device == DEVICE
    assert log.events == []
    assert torch.equal(drawn.cpu(), torch.rand(4, generator=torch.Generator().manual_seed(3)))
    with pytest.raises(RuntimeError, match="expected a generator of cpu, got one of meta"):
        torch.rand(3, generator=generator_on(DEVICE, 3))


def test_numbers_of_the_host_go_with_any_device(log):
    x = there(log, 3)
    assert (x * torch.tensor(2.0)).tolist() == [2.0, 4.0, 6.0]
    assert torch.where(x > 1, x, 0.0).tolist() == [0.0, 2.0, 3.0]
    log.events.clear()
    x[1] = 5.0
    x.fill_(2.0)
    torch.lerp(x, x, 0.5).clamp_(0, 1).masked_fill(x > 1, 0.0)
    assert log.events == []


WAITS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0, 0]),
    "if": lambda x: 1 if (x > 0).all() else 0,
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: torch.nonzero(x),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: torch.unique(x),
    "boolean row": lambda x: x[(x > 0).all(1)],
    "boolean write": lambda x: x.__setitem__((x > 2), x[0, :1].expand(4)),
    "masked_select": lambda x: torch.masked_select(x, x > 0),
    "bincount": lambda x: torch.bincount(x[0].long()),
    "repeat_interleave": lambda x: torch.repeat_interleave(x[0].long()),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu", non_blocking=True),
    "copy_": lambda x: torch.empty(2, 3).copy_(x),
    "tolist": lambda x: x.tolist(),
}


@pytest.mark.parametrize("name", WAITS)
def test_every_wait_is_noticed_once(name, log):
    WAITS[name](there(log, 2, 3))
    assert [event.kind for event in log.events] == ["wait"]
    assert log.waits[0].startswith("tests/test_stand_in.py:")
    assert "<lambda>" in log.waits[0]


UPLOADS = {
    "to": (lambda x: torch.ones(2).to(DEVICE), "blocking upload"),
    "tensor": (lambda x: torch.tensor([1.0], device=DEVICE), "blocking upload"),
    "new_tensor": (lambda x: x.new_tensor([1.0, 2.0]), "blocking upload"),
    "as_tensor": (lambda x: torch.as_tensor(0.0, device=DEVICE), "blocking upload"),
    "copy_": (lambda x: x.copy_(torch.ones(2, 3)), "blocking upload"),
    "index": (lambda x: x[torch.tensor([1, 0])], "blocking upload"),
    "in advance": (lambda x: torch.ones(2).to(DEVICE, non_blocking=True), "upload"),
    "write in advance": (lambda x: x.copy_(torch.ones(2, 3), non_blocking=True), "upload"),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_every_upload_is_noticed_once(name, log):
    call, kind = UPLOADS[name]
    call(there(log, 2, 3))
    assert [event.kind for event in log.events] == [kind]
    assert len(log.uploads) == 1
    assert len(log.waits) == (kind == "blocking upload")


QUIET = {
    "factories": lambda x: (torch.zeros(3, device=DEVICE), torch.eye(2, device=DEVICE), x.new_full((2,), 1.0)),
    "places": lambda x: x[torch.arange(2, device=DEVICE)],
    "fill": lambda x: x.masked_fill_(x > 0, 1.0),
    "boolean number": lambda x: torch.where(x > 0, x, 0.0),
    "repeat with its size": lambda x: torch.repeat_interleave(x[0].long(), output_size=6),
    "shape": lambda x: (len(x), x.shape[0] * 2, x.dtype),
    "to where it is": lambda x: x.to(DEVICE).to(torch.float64).contiguous(),
    "the host's own": lambda x: (torch.ones(3).sum().item(), torch.unique(torch.ones(2))),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_costs_nothing_is_not_counted(name, log):
    QUIET[name](there(log, 2, 3))
    assert log.events == []


def test_the_line_that_waited_is_named(log):
    from theory.numerics.inputs import require_points

    require_points(there(log, 2, 3))
    assert all(place.startswith("theory/numerics/inputs.py:") for place in log.waits)
    assert all("require_points" in place for place in log.waits)
    assert len(log.waits) == 2


def test_waits_of_a_backward_pass_are_noticed(log):
    class Chatty(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            assert gradient.sum().item() == 6
            return gradient * 2

    x = there(log, 2, 3).requires_grad_()
    Chatty.apply(x).sum().backward()
    assert [event.kind for event in log.events] == ["wait"]
    assert " backward " in log.waits[0]
    assert isinstance(x.grad, Tensor)


def test_operations_are_counted_by_name(log):
    x = there(log, 2, 3)
    log.operations.clear()
    (x + 1).mul_(2).sum()
    assert log.operations == {"add": 1, "mul_": 1, "sum": 1}
    assert log.total_operations == 3


def test_outside_of_its_mode_a_pretend_tensor_is_of_no_use():
    with PretendDevice() as log:
        x = there(log, 3)
    with pytest.raises(RuntimeError, match="inside its PretendDevice only"):
        x + 1
    assert torch.autocast("cpu", enabled=False).device == "cpu"

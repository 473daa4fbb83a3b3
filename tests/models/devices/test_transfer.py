"""Transfers between the host and devices, and waiting for what a device still has to do."""

from typing import ClassVar

import pytest
import torch

from models.devices.timing import wait_for
from models.devices.transfer import upload

CPU = torch.device("cpu")


class Told(torch.Tensor):
    """A tensor that keeps what is asked of it."""

    asked: ClassVar[list[dict]] = []

    @property
    def device(self):
        return torch.device("cuda", 0)

    def to(self, device, **how):
        self.asked.append({"device": torch.device(device), **how})
        return self


@pytest.mark.parametrize(("target", "ahead"), [("cpu", False), ("mps", False), ("cuda:1", True)])
def test_what_goes_to_the_host_is_waited_for(target, ahead):
    """Otherwise it is read before it is there."""
    Told.asked.clear()
    upload(torch.zeros(3).as_subclass(Told), target)
    assert Told.asked == [{"device": torch.device(target), "non_blocking": ahead}]


def test_what_is_there_already_stays():
    values = torch.arange(3)
    assert upload(values, "cpu") is values


def test_every_gpu_is_waited_for(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: seen.append(device))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: seen.append("mps"))
    for device in (CPU, torch.device("mps"), torch.device("cuda", 1)):
        wait_for(device)
    assert seen == ["mps", torch.device("cuda", 1)]

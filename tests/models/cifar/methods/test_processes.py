"""Processes agree, take turns, and leave nothing of their group behind."""

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.multiprocessing import ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from models.cifar.methods.processes import everywhere, first_process_first, join_group, leave_group, rank, world_size
from tests.models.cifar.methods.several_processes import in_processes

CPU = torch.device("cpu")


def agree(number):
    with first_process_first():
        # Were there no order, the first would be last.
        time.sleep(0.5 * (1 - number))
        turn = time.monotonic()
    flags = [everywhere(flag, CPU) for flag in (True, False, number == 0)]
    return {"turn": turn, "flags": flags, "place": [rank(), world_size()]}


def test_processes_agree_and_take_turns(tmp_path):
    first, second = in_processes(2, agree, tmp_path)
    assert first["flags"] == second["flags"] == [True, False, False]
    assert first["turn"] < second["turn"]
    assert (first["place"], second["place"]) == ([0, 2], [1, 2])


def test_one_process_is_alone(monkeypatch):
    monkeypatch.delitem(os.environ, "RANK", raising=False)
    join_group(CPU)
    assert (rank(), world_size()) == (0, 1)
    with first_process_first():
        assert everywhere(True, CPU)
        assert not everywhere(False, CPU)
    leave_group()


def keep_a_wrapper(number):
    keep_a_wrapper.forever = DistributedDataParallel(nn.Linear(3, 2))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are seen in /proc")
def test_what_keeps_the_group_alive_is_seen(tmp_path):
    with pytest.raises(ProcessRaisedException, match="threads of the group are left"):
        in_processes(2, keep_a_wrapper, tmp_path)

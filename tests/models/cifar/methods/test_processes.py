"""Processes agree, take turns, and leave nothing of their group behind."""

import copy
import math
import os
import socket
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.multiprocessing import ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from models.cifar.benchmark.pipelines import random_images
from models.cifar.methods import processes
from models.cifar.methods.processes import (
    Group,
    device_of_process,
    everywhere,
    first_process_first,
    group_of_environment,
    join_group,
    largest_of_all,
    leave_group,
    range_of_all,
    rank,
    world_size,
)
from models.cifar.training.state import start
from models.cifar.training.train import fit, make_batch, training_step
from tests.models.cifar.methods.several_processes import in_processes
from tests.models.cifar.tiny import three_colors, tiny
from tests.stand_in.steps import IMAGES, configuration

CPU = torch.device("cpu")


def agree(number):
    with first_process_first():
        # Were there no order, the first would be last.
        time.sleep(0.5 * (1 - number))
        turn = time.monotonic()
    flags = [everywhere(flag, CPU) for flag in (True, False, number == 0)]
    largest = [largest_of_all(torch.tensor(float(number))).item(), *range_of_all(7 - 2 * number, CPU)]
    stopped = [diverge_in_the_second(number, check_values) for check_values in (False, True)]
    return {"turn": turn, "flags": flags, "place": [rank(), world_size()], "largest": largest, "stopped": stopped}


def diverge_in_the_second(number, check_values):
    """Whether the own loss is finite, and whether weights stay, where one process has images that are not finite."""
    config = configuration("moco", None, "small", check_values=check_values)
    state = start(config, CPU)
    state.learner.train()
    network = DistributedDataParallel(state.learner)
    batch = make_batch(config, random_images(IMAGES, 8), torch.arange(IMAGES), 0, 0)
    batch = replace(batch, first=batch.first * math.nan) if number == 1 else batch
    before = copy.deepcopy(list(state.learner.trained.parameters()))
    reading = training_step(state, network, batch)
    kept = all(torch.equal(a, b) for a, b in zip(before, state.learner.trained.parameters()))
    return [bool(torch.isfinite(reading.loss)), kept]


def test_processes_agree_and_take_turns(tmp_path):
    first, second = in_processes(2, agree, tmp_path)
    assert first["flags"] == second["flags"] == [True, False, False]
    assert first["turn"] < second["turn"]
    assert (first["place"], second["place"]) == ([0, 2], [1, 2])
    assert first["largest"] == second["largest"] == [1.0, 5, 7]
    assert first["stopped"] == [[True, True]] * 2
    assert second["stopped"] == [[False, True]] * 2


def resumed(folders, number):
    """What a process is told that resumes in a folder of its own, of which the first has a checkpoint."""
    fit(tiny(), three_colors(), CPU, folders[0])
    try:
        fit(tiny(), three_colors(), CPU, folders[number], resume=True)
    except ValueError as error:
        return str(error)
    return ""


def test_processes_that_do_not_see_one_run_folder_do_not_wait_for_each_other(tmp_path):
    """As on two machines without a common disk: only the first has written checkpoints."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    for told in in_processes(2, partial(resumed, folders), tmp_path):
        assert "some processes found the run after epoch 1 there, others after epoch 0" in told


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


WHOLE = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


@pytest.fixture
def described(monkeypatch):
    """Sets the environment variables of a group, and no others of it."""

    def describe(**variables):
        for name in WHOLE:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return describe


def test_the_environment_describes_a_group_or_none(described):
    described(**{name: value for name, value in WHOLE.items() if name != "RANK"})
    assert group_of_environment() is None
    described(**WHOLE)
    assert group_of_environment() == Group(rank=1, local_rank=0, world_size=3)


def test_a_single_process_needs_no_place_on_its_machine(described):
    alone = {**WHOLE, "RANK": "0", "WORLD_SIZE": "1"}
    del alone["LOCAL_RANK"]
    described(**alone)
    assert group_of_environment() == Group(0, 0, 1)
    assert device_of_process("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"^device: must be cpu or cuda under torchrun, got cuda:1"):
        device_of_process("cuda:1")


@pytest.mark.parametrize("number", [0, 1])
def test_processes_that_do_not_come_are_waited_for_minutes_and_not_hours(described, monkeypatch, number):
    """The first of two waits for the second; the second finds nobody at the address."""
    assert timedelta(minutes=1) < processes.MEETING < timedelta(minutes=30) < processes.WAITING
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    described(RANK=str(number), WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    monkeypatch.setattr(processes, "MEETING", timedelta(seconds=1))
    with pytest.raises(ValueError, match=rf"^MASTER_ADDR, MASTER_PORT: no group at 127.0.0.1:{port}: .*[Tt]imed out"):
        join_group(CPU)
    assert world_size() == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [*((name, None, "is missing in the environment, which has RANK") for name in WHOLE if name != "RANK"),
     ("RANK", "3", r"must be a whole number in \[0, 2\]"), ("RANK", "-1", "whole number"), ("RANK", "", "whole number"),
     ("WORLD_SIZE", "0", "whole number"), ("WORLD_SIZE", "1e9", "whole number"), ("LOCAL_RANK", "x", "whole number"),
     ("MASTER_PORT", "65536", "whole number"), ("MASTER_ADDR", " ", "is missing")],
)  # fmt: skip
def test_a_group_that_is_not_whole_is_refused_by_name(described, name, value, says):
    described(**({k: v for k, v in WHOLE.items() if k != name} | ({} if value is None else {name: value})))
    with pytest.raises(ValueError, match=rf"^{name}: .*{says}"):
        device_of_process("cpu")
    with pytest.raises(ValueError, match=rf"^{name}: "):
        join_group(torch.device("cpu"))

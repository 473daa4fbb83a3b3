"""Two processes of one training: started from a server, and gone with whoever asked for them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from models.losses import nt_xent
from paper_checks.trainings.two_processes import PROCESSES, TEMPERATURE, in_two_processes, own_anchors_loss

STARTER = (
    "import sys; from tests.paper_checks.trainings.test_two_processes import *; in_two_processes(wait, sys.argv[1])"
)


def wait(rank: int, folder: str) -> None:
    """What never ends by itself, once it has said who it is."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600.0)


def fail(rank: int, folder: str) -> None:
    """In one of the two, once both are there."""
    (Path(folder) / str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.05)
    if rank == 1:
        raise ArithmeticError("planted")
    time.sleep(600.0)


def lives(pid: int) -> bool:
    """A dead process that nobody has asked about yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return sys.platform != "linux"


def gone(pids: list[int], end: float) -> bool:
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(lives, pids))


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed there")
def test_a_killed_starter_takes_both_with_it(tmp_path):
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], cwd=Path(__file__).parents[3])
    end = time.monotonic() + 120.0
    while len(found := list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        assert starter.poll() is None
        time.sleep(0.05)
    pids = [int(path.name) for path in found]
    assert len(pids) == 2
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert gone(pids, end)


def test_one_that_fails_ends_the_other(tmp_path):
    with pytest.raises(Exception, match="planted"):
        in_two_processes(fail, str(tmp_path))
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    assert gone(pids, time.monotonic() + 60.0)


def test_the_mean_of_the_processes_losses_is_the_loss_of_one():
    """Value and gradient, from rows of any norms; neither half is the whole."""
    views = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3.0

    def of(loss):
        rows = views.clone().requires_grad_()
        value = loss(*rows)
        return value.detach(), *torch.autograd.grad(value, rows)

    parts = [of(lambda *rows, rank=rank: own_anchors_loss(*rows, rank)) for rank in range(PROCESSES)]
    whole = of(lambda *rows: nt_xent(*rows, TEMPERATURE))
    for first, second, expected in zip(*parts, whole):
        torch.testing.assert_close((first + second) / PROCESSES, expected, rtol=0, atol=1e-12)
        assert not torch.allclose(first, expected, atol=1e-3)

"""The trainer's benchmark and the peers' on an accelerator: the same rows as on the CPU, but for times."""

import re

import pytest

from models.cifar.benchmark import losses, pipelines, stacks
from models.cifar.benchmark.__main__ import BenchmarkOptions, run
from models.encoders import EncoderConfig
from tests.stand_in import ACCELERATORS, accelerator

ROWS = [pipelines.BARE, pipelines.TRAINER, pipelines.VIEWS, pipelines.OBVIOUS, pipelines.OBVIOUS_VIEWS]


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_the_command_on_an_accelerator(capsys, kind):
    with accelerator(kind) as device:
        options = BenchmarkOptions(
            device=str(device), rounds=1, image_size=8, batch_size=4, encoder=EncoderConfig("small", width=4)
        )
        assert run(options) == 0
    printed = capsys.readouterr().out
    found = re.findall(r"^(\S.*?)\s+([\d,]+)\s+([\d.]+)% \[", printed, re.MULTILINE)
    assert [name for name, _, _ in found] == ROWS
    assert found[0][2] == "100.0"
    assert all(float(speed.replace(",", "")) > 0 for _, speed, _ in found)


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_losses_and_stacks_on_an_accelerator(kind):
    with accelerator(kind) as device:
        rows = list(losses.compare_losses(("nt_xent", "supcon", "affinity"), (16,), 5, 1, device, lambda text: None))
        assert {row["status"] for row in rows} == {"timed"}
        assert len(stacks.compare_stacks(1, device, ((2, 16, 4),))) == 1

"""One test, two devices: a GPU where there is one, and the pretend accelerator everywhere.

@pytest.mark.parametrize("kind", ACCELERATORS)
def test_agrees_with_the_cpu(kind):
    with accelerator(kind) as device:
        ...
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.stand_in.device import DEVICE, PretendDevice, PretendGenerator

ACCELERATORS = [
    "stand-in",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


@contextmanager
def accelerator(kind: str) -> Iterator[torch.device]:
    """The device, for as long as the block lasts."""
    if kind == "cuda":
        yield torch.device("cuda")
        return
    with PretendDevice():
        yield DEVICE


def generator_on(device: torch.device, seed: int) -> torch.Generator:
    """A seeded generator of a device that ``accelerator`` has given."""
    made = PretendGenerator() if device == DEVICE else torch.Generator(device)
    return made.manual_seed(seed)

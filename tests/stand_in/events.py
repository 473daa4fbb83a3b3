"""What happened on the pretend accelerator, and which line of ours made it happen."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
HERE = str(Path(__file__).parent)

# wait: the host reads something that the device computes. upload: the host's numbers go to the device.
# blocking upload: one that also waits, because it was not asked to be asynchronous (non_blocking).
Kind = Literal["wait", "upload", "blocking upload"]


@dataclass(frozen=True)
class Event:
    """One wait or upload.

    Attributes:
        operation: of ATen, such as _local_scalar_dense.
        place: FILE:LINE of the innermost line of this repository, FUNCTION.
    """

    kind: Kind
    operation: str
    place: str


@dataclass
class Log:
    """Everything that was asked of the device.

    Attributes:
        events: waits and uploads, in order.
        operations: how often each ATen operation ran on the device.
    """

    events: list[Event] = field(default_factory=list)
    operations: Counter = field(default_factory=Counter)

    def add(self, kind: Kind, operation: str) -> None:
        """Note an event of the line that is running."""
        self.events.append(Event(kind, operation, place_of_caller()))

    def places(self, *kinds: Kind) -> list[str]:
        """Where events of some kinds came from, in order."""
        return [f"{event.place} {event.operation}" for event in self.events if event.kind in kinds]

    @property
    def waits(self) -> list[str]:
        """Lines that waited: for a value, or because an upload did."""
        return self.places("wait", "blocking upload")

    @property
    def uploads(self) -> list[str]:
        """Lines that sent a tensor of the host to the device."""
        return self.places("upload", "blocking upload")

    @property
    def total_operations(self) -> int:
        """Operations that ran on the device."""
        return sum(self.operations.values())


def place_of_caller() -> str:
    """The innermost line of this repository that is running, tests included, this folder not; nor a virtual environment
    in it."""
    for file, line, function in _frames():
        if file.startswith(f"{ROOT}/") and not file.startswith(HERE) and "site-packages" not in file:
            return f"{file[len(str(ROOT)) + 1 :]}:{line} {function}"
    return "outside"


def _frames() -> Iterator[tuple[str, int, str]]:
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back

"""Run folders, verified: is everything in them as the run left it, and do their verdicts follow from their rows?

    python -m synthetic.verify runs/a            one line: whole or not, and why
    python -m synthetic.verify runs/*            one line each

Of every kind of run: the sweeps, phase diagram, tightness, trained stacks, trainings on images, advice, the papers'
claims with all their tasks. Every file is held against its SHA-256 in manifest.json; verdicts, and tables that follow
from others, are worked out again from the rows, by this version's rules. Checkpoints are held against their own
checksums. Nothing is written, and a run that is under way is left alone. The manifest tells accidents and edits, not
the work of somebody who wrote a new one.

Exit status: 0 all folders are whole, finished or not; 6 a folder is not whole, or its verdicts are not those of its
rows; 2 a folder is no run folder or in use; never 1; others as in all commands (--help).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from synthetic.integrity.folders import State, look_at
from synthetic.runs.statuses import command
from theory.numerics.commands import AUDIT_FAILED, BAD_ARGUMENTS


@dataclass(frozen=True)
class VerifyOptions:
    """Command line of the verification."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""


def run(options: VerifyOptions) -> int:
    """Say of every folder what is found; returns the exit status."""
    if not options.folders:
        raise ValueError("folders: give at least one run folder")
    states = set()
    for folder in options.folders:
        found = look_at(folder)
        states.add(found.state)
        mark = "" if found.state is State.WHOLE else f"{found.state.value.upper()}: "
        print(f"{folder}: {mark}{found.words}", flush=True)
    return AUDIT_FAILED if State.BROKEN in states else 0 if states == {State.WHOLE} else BAD_ARGUMENTS


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, VerifyOptions, arguments, "python -m synthetic.verify", __doc__)


if __name__ == "__main__":
    sys.exit(main())

"""What the command lines of all sweeps have in common: where they run and where their results go."""

from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from figures.drawing import draw_and_tell
from synthetic.runs.backends import BackendOptions
from theory.console.typed import as_typed
from theory.judging.verdicts import Status, Verdict
from theory.numerics.commands import CHECK_FAILED, DONE
from theory.numerics.manifest import settle

Settings = TypeVar("Settings")
REPLAY = "python -m synthetic.sweep_noise --replay"


@dataclass(frozen=True)
class RunOptions(BackendOptions):
    """Backend and run folder of a sweep; none of it changes the rows."""

    out: Path | None = None
    """Run folder; by default runs/NAME-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out, on any backend; what is finished is kept."""
    accept_other_version: bool = False
    """With --resume: go on with rows of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""
    figures: bool = True
    """Draw the figures (PNG and PDF) into the run folder."""

    def folder(self, name: str) -> Path:
        """The run folder.

        Raises:
            ValueError: a run is to be continued, but not which.
        """
        if self.resume and self.out is None:
            raise ValueError("--resume: give the run folder to continue with --out")
        return self.out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def settings_of(options: RunOptions, kind: type[Settings]) -> Settings:
    """The part of a command line that the rows depend on.

    Raises:
        ValueError: settings that cannot be run, named.
    """
    if not is_dataclass(kind):
        raise TypeError(f"kind: must be a dataclass, got {kind.__name__}")
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})


def finish(folder: Path, verdicts: list[Verdict], figures: bool, replay: str = REPLAY) -> int:
    """Say which counterexamples were kept, draw the figures, and return the exit status.

    Args:
        replay: what to put before a counterexample's path to see it again.
    """
    for path in sorted(folder.glob("counterexample-*.npz")):
        print(f"Counterexample: {path} (see it again with {as_typed(replay)} {path})")
    status = draw_and_tell(folder) if figures else DONE
    settle(folder)
    return CHECK_FAILED if any(verdict.status is Status.VIOLATED for verdict in verdicts) else status

"""One small run of each main command, for campaigns that repeat it: what it is called with, and by what."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import models.cifar.__main__ as images
from paper_checks import __main__ as claims
from paper_checks.claims import Claim, Finding
from paper_checks.statistics.decisions import NO_EVIDENCE
from synthetic import over_fusion, phase_diagram, sweep_batch, sweep_noise, train_stack
from tests.crashes import Disk, KilledError, contents
from theory.numerics.commands import CRASHED
from theory.numerics.whole_files import write_json, write_table

# Columns that hold times, by the table; these alone may differ between two runs.
CLOCKS = {"trainings.csv": ("seconds", "step_ms"), "epochs.csv": ("seconds", "views_per_second")}


@dataclass(frozen=True)
class Powers:
    """A task of a claim that takes a moment and leaves two files."""

    number: int
    alone: bool = False
    leaves: tuple[str, ...] = ("config.json", "rows.csv")

    @property
    def name(self) -> str:
        return f"powers-of-{self.number}"

    def run(self, folder: Path) -> None:
        write_json(folder / "config.json", {"number": self.number})
        time.sleep(0.02)
        write_table(folder / "rows.csv", [{"power": i, "value": self.number**i} for i in range(5)])


def planted_claim(arguments: list[str]) -> int:
    """paper_checks with one claim of quick tasks, which is checked as all are."""

    def judge(results, tier):
        rows = [row for number in range(8) for row in results.table(Powers(number), "rows")]
        return Finding("undecided", "It was looked at.", [], {"powers": rows}, p_values=NO_EVIDENCE)

    claim = Claim("S1", "SimCLR", "here", "Claim S1.", "trend", "None.",
                  lambda tier: [Powers(number) for number in range(8)], judge)  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "all_claims", lambda: {"S1": claim})
        return claims.main(arguments)


@dataclass(frozen=True)
class SmallRun:
    """A command and its arguments, but for --out and --resume."""

    main: Callable[[list[str]], int]
    arguments: tuple[str, ...]

    def __call__(self, folder: Path, resume: bool, *more: str) -> None:
        """Run it, or go on with it, to the end.

        Raises:
            KilledError: the process is dead, which a command takes for a crash.
            AssertionError: it ended with another status than 0 and 1.
        """
        status = self.main([*self.arguments, "--out", str(folder), *(["--resume"] if resume else []), *more])
        if status == CRASHED and Disk.killed:
            raise KilledError
        assert status in (0, 1), status


RUNS = {
    "sweep_noise": SmallRun(sweep_noise.main, (
        "--ambient-dims", "16", "--batch-sizes", "12", "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2",
        "--trials", "20", "--depth", "2", "--noise-levels", "0.1", "0.3", "--no-controls", "--no-figures")),
    "sweep_batch": SmallRun(sweep_batch.main, (
        "--subspace-dims", "2", "--principal-angles-deg", "80", "--noise-shares", "0", "--affinities", "signed",
        "--trials", "20", "--floor-trials", "20", "--denoising.ambient-dims", "64", "--denoising.cluster-sizes", "4",
        "--denoising.trials", "2", "--no-figures")),
    "phase_diagram": SmallRun(phase_diagram.main, (
        "--noises", "bounded", "--coarse", "2", "--refinements", "1", "--trials", "20", "--largest-cluster", "40",
        "--ambient-dim", "12", "--no-figures")),
    "over_fusion": SmallRun(over_fusion.main, (
        "--num-clusters", "3", "--cluster-size", "5", "--ambient-dim", "64", "--depth", "4", "--trials", "2",
        "--inverse-temperatures", "4", "--no-figures")),
    "train_stack": SmallRun(train_stack.main, (
        "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2", "--ambient-dim", "12", "--optimisation.steps",
        "4", "--optimisation.evaluations", "1", "--optimisation.evaluation-batches", "4", "--head.width", "8",
        "--head.out-dim", "8", "--head.depth", "2", "--seeds", "1", "--backend", "serial", "--noise-levels", "0.3",
        "0.6", "--batch-sizes", "12", "--no-figures")),
    "models.cifar": SmallRun(images.main, (
        "--encoder.width", "4", "--data.limit", "20", "--data.image-size", "8", "--epochs", "3", "--batch-size", "32",
        "--measure-images", "20", "--no-figures")),
    "paper_checks": SmallRun(planted_claim, ("--only", "S1", "--jobs", "1")),
}  # fmt: skip


def results(folder: Path) -> dict[str, object]:
    """What two runs of the same settings must have in common: all files but for times, and pictures of figures."""
    found = {}
    for name, content in contents(folder).items():
        path = Path(name)
        if path.suffix in (".png", ".pdf", ".pt", ".html", ".md") or path.name == "task.json":
            continue
        clocks = CLOCKS.get(path.name, ())
        lines = [line.split(",") for line in content.decode().splitlines()] if clocks else content
        if clocks:
            kept = [i for i, column in enumerate(lines[0]) if column not in clocks]
            lines = [[line[i] for i in kept if i < len(line)] for line in lines]
        found[name] = lines
    return found

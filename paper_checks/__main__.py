"""Every claim of the four papers, and two of our own, tested: reproduced, contradicted, or undecided at this scale.

    python -m paper_checks                                     quick tier: synthetic data and digits, half an hour
    python -m paper_checks --tier cpu --images PATH            a small encoder on an image folder or archive
    python -m paper_checks --tier gpu --images cifar10         ResNet-18, hundreds of trainings
    python -m paper_checks --only T1,D2                        some claims
    python -m paper_checks --out runs/p --resume               continue a run that was stopped
    python -m paper_checks --list                              claims and rules, nothing is run
    python -m paper_checks --control shuffled_labels           a planted error: nothing about classes may come out

The run folder has report.html (open it in a browser), report.md, results.csv, one folder a claim with its tables and
figures, and one folder a task. Claims share tasks, and each is computed once.

Exit status: 0 done, 1 with --check: a theorem claim is not reproduced, or in a control run a claim about classes is;
2 bad arguments, images or an unusable folder, 3 results could not be written, 4 a task failed, so that claims are
reported as not run, 70 a crash, 130 interrupted, 143 terminated. Finished tasks are kept; --resume computes failed ones
again.
"""

import shutil
import sys
import traceback
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from tqdm import tqdm

from models.cifar.data.images import load_images
from models.commands import WORKERS_LOST, exit_status
from models.environment import resolve_device
from models.run_folder import differing, open_run_folder
from paper_checks.arms import Training
from paper_checks.catalogue import all_claims
from paper_checks.claims import Claim, Finding
from paper_checks.limits.trainings import LimitTraining
from paper_checks.report.pages import Entry, Meta, print_summary, write_report
from paper_checks.statistics.decisions import NO_EVIDENCE
from paper_checks.tasks import Results, Task, TaskFailedError, carry_out, last_lines, missing, unique
from paper_checks.tiers import Control, Tier, TierName, tier_of
from synthetic.runs.backends import BackendOptions, WorkersLostError, open_backend
from theory.numerics.whole_files import read_json, write_json, write_table

TASKS, CLAIMS = "tasks", "claims"
ON_IMAGES = (Training, LimitTraining)


@dataclass(frozen=True)
class PaperChecks:
    """Command line of the paper checks."""

    tier: TierName = "quick"
    """quick: synthetic data and scikit-learn's digits; cpu: a small encoder on --images; gpu: ResNet-18 on --images."""
    images: str | None = None
    """Path of an image folder or archive (train/CLASS/*, test or val/CLASS/*), or cifar10, cifar100."""
    root: Path | None = None
    """Folder for downloads and decoded images; by default the user's cache folder."""
    only: str | None = None
    """Claims to check, by id and separated by commas, such as T1,D2. By default all."""
    jobs: int | None = None
    """Tasks at a time, each in a process with one thread; by default one a core, on a GPU one."""
    device: str | None = None
    """Where trainings on images run: cpu, cuda, cuda:1. By default the tier's: cuda for gpu, else cpu."""
    out: Path | None = None
    """Run folder; by default runs/paper-checks-TIER-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out: tasks that are done are kept, claims are judged again."""
    control: Control = "none"
    """shuffled_labels: the classes of all images are permuted; a claim about classes must then not be reproduced."""
    check: bool = False
    """Exit with 1 if a theorem claim is not reproduced, or in a control run if a claim about classes is."""
    list: bool = False
    """Print the claims and their rules, and run nothing."""


def chosen_claims(only: str | None) -> list[Claim]:
    """The claims named, in the order of the report.

    Raises:
        ValueError: an unknown id, or none.
    """
    claims = all_claims()
    if only is None:
        return list(claims.values())
    names = {name.strip() for name in only.split(",") if name.strip()}
    unknown = sorted(names - set(claims))
    if unknown or not names:
        raise ValueError(f"--only: must name some of {', '.join(claims)}; got {', '.join(unknown) or 'none'}")
    return [claim for claim in claims.values() if claim.id in names]


def run(options: PaperChecks) -> int:
    """Compute what is missing, judge every claim, write the report; returns the exit status.

    Raises:
        ValueError: arguments, images or a folder that cannot be used.
        OSError: a file could not be written.
    """
    claims = chosen_claims(options.only)
    if options.list:
        print("\n\n".join(f"{c.id} ({c.paper}, {c.place}; {c.kind}): {c.wording}\n    Rule: {c.rule}" for c in claims))
        return 0
    tier = tier_of(options.tier, options.images, options.root, options.device, options.control)
    device = resolve_device(tier.device)
    backend = _backend(options.jobs, device)
    tasks = unique(task for claim in claims for task in claim.tasks(tier))
    # A process keeps the images of one seed.
    tasks.sort(key=lambda task: task.config.seed if isinstance(task, ON_IMAGES) else 0)
    if any(isinstance(task, ON_IMAGES) for task in tasks):
        # Decoded once, before many processes ask for them; and what is wrong with them is said before a folder is made.
        load_images(tier.config.data)
    name = f"paper-checks-{tier.name}"
    folder = open_run_folder(name, options.out, options.resume, tier, device, "tier.json", _other_run)
    kept = f"finished tasks are kept, continue with the same command and --out {folder} --resume"
    try:
        failures = carry_out_all(tasks, folder / TASKS, backend, device)
    except KeyboardInterrupt:
        print(f"\n{kept}", file=sys.stderr)
        raise
    results = Results(folder / TASKS)
    entries = [judge(claim, results, tier, folder, options, failures) for claim in claims]
    seconds = sum(results.seconds(task) for task in tasks if task.name not in failures)
    write_report(entries, _meta(options, tier, folder, seconds), folder)
    print_summary(entries)
    print(f"Report: {folder / 'report.html'}")
    if failures:
        print(f"\n{len(failures)} of {len(tasks)} tasks failed; {kept}", file=sys.stderr)
    return _status(entries, options)


def _other_run(stored: dict, tier: dict) -> list[str]:
    return ["tier, images, device or control"] if differing(stored, tier) else []


def _status(entries: list[Entry], options: PaperChecks) -> int:
    if any(entry.finding.answer == "failed" for entry in entries):
        return WORKERS_LOST
    failed = [e for e in entries if e.claim.kind == "theorem" and e.finding.answer != "reproduced"]
    fooled = [e for e in entries if e.claim.labels and e.finding.answer == "reproduced"]
    wrong = failed + (fooled if options.control != "none" else [])
    return 1 if options.check and wrong else 0


def _backend(jobs: int | None, device: torch.device) -> BackendOptions:
    """Processes with one thread each; on a GPU, and for one job, this process.

    Raises:
        ValueError: a number of jobs that cannot be.
    """
    serial = device.type != "cpu" or jobs == 1
    return BackendOptions("serial") if serial else BackendOptions("loky", jobs, threads=1)


def carry_out_all(tasks: list[Task], root: Path, options: BackendOptions, device: torch.device) -> dict[str, str]:
    """Compute the tasks that are missing, with progress, and go on after one that fails.

    Returns:
        names of the tasks that failed, or whose process died, and why.

    Raises:
        ValueError: a folder belongs to another task.
    """
    todo = missing(tasks, root)
    print(f"{len(tasks)} tasks, {len(tasks) - len(todo)} already there; results in {root.parent}", flush=True)
    root.mkdir(parents=True, exist_ok=True)
    shared, alone = ([task for task in todo if task.alone == which] for which in (False, True))
    attempt = partial(_attempt, root=root)
    failures: dict[str, str] = {}
    with tqdm(total=len(todo), disable=None, unit="task") as bar:

        def note(task: Task, why: str | None) -> None:
            if why is not None:
                failures[task.name] = why
                tqdm.write(f"error: {why}", file=sys.stderr)
            bar.update()

        waiting = dict(enumerate(shared))
        try:
            with warnings.catch_warnings(), open_backend(options, device) as backend:
                # loky replaces a process whose memory has grown; no task is lost.
                warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
                for number, why in backend.map(attempt, shared):
                    note(waiting.pop(number), why)
        except WorkersLostError as error:
            for task in waiting.values():
                note(task, f"{task.name}: {error}")
        for task in alone:
            note(task, attempt(task))
    return failures


def _attempt(task: Task, root: Path) -> str | None:
    """What went wrong with a task; None if nothing did. Exceptions of libraries do not all travel between processes."""
    try:
        carry_out(task, root)
    except TaskFailedError as error:
        return f"{task.name}: {error}"
    except Exception as error:
        return f"{task.name}: {_in_words(error)}"
    return None


def _in_words(error: Exception) -> str:
    """The error, and the last lines of its traceback."""
    return f"{type(error).__name__}: {last_lines(str(error), 1)}\n{last_lines(traceback.format_exc())}"


def _finding(claim: Claim, results: Results, tier: Tier, failures: dict[str, str]) -> tuple[Finding, tuple[str, ...]]:
    """What is found about a claim, and what failed: tasks that it needs, or its judge if their tables are damaged."""
    needed = claim.tasks(tier)
    failed = tuple(failures[task.name] for task in needed if task.name in failures)
    words = f"Nothing is said: {len(failed)} of the {len(needed)} tasks that it needs failed."
    if not failed:
        try:
            return claim.judge(results, tier), ()
        except Exception as error:
            words = "Nothing is said: the results of its tasks cannot be read."
            failed = (_in_words(error),)
    return Finding("failed", words, [], p_values=None if claim.kind == "theorem" else NO_EVIDENCE), failed


def judge(
    claim: Claim, results: Results, tier: Tier, folder: Path, options: PaperChecks, failures: dict[str, str]
) -> Entry:
    """A claim's finding, with its tables and figures in a folder of its own, which is made anew.

    Args:
        failures: of tasks, by their names.
    """
    finding, failed = _finding(claim, results, tier, failures)
    # Matplotlib takes a second to import, which worker processes and refused commands are spared.
    from figures.catalogue import draw_all

    own = folder / CLAIMS / claim.id
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    write_json(own / "config.json", {"claim": claim.id, "wording": claim.wording, "answer": finding.answer,
                                     "tier": tier.name, "sentence": finding.sentence})  # fmt: skip
    for name, rows in {"contrasts": finding.rows, **finding.tables}.items():
        if rows:
            write_table(own / f"{name}.csv", rows)
    pictures = (*draw_all(own), *finding.pictures)
    return Entry(claim, finding, pictures, f"{CLAIMS}/{claim.id}", _command(options, only=claim.id), failed)


def _command(options: PaperChecks, only: str | None) -> str:
    words = ["python -m paper_checks", f"--tier {options.tier}"]
    words += ["--images PATH"] if options.images else []
    words += [f"--only {only}"] if only else []
    words += [f"--control {options.control}"] if options.control != "none" else []
    return " ".join(words)


def _meta(options: PaperChecks, tier: Tier, folder: Path, seconds: float) -> Meta:
    """What the report says of the run: of its last start."""
    last = read_json(folder / "environment.json")["runs"][-1]
    config, data, step = tier.config, tier.config.data, tier.config.optimiser
    sizes = [f"{data.limit} a class" if data.limit else "", f"{data.image_size} pixels" if data.image_size else ""]
    images = ", ".join(["scikit-learn digits" if tier.gray else Path(data.dataset).name, *filter(None, sizes)])
    return Meta(
        title="Claims about contrastive learning, checked",
        date=str(last["started"])[:10],
        tier=tier.name,
        command=_command(options, options.only),
        seeds=tier.seeds,
        splits=_splits(data.limit is not None),
        seconds=seconds,
        images=images,
        versions={name: last[name] for name in ("python", "numpy", "scipy", "torch", "device", "commit")},
        budget=f"{config.encoder.kind} encoder of width {config.encoder.first_width}, {config.epochs} epochs, "
        f"batches of {config.batch_size}, {config.precision}, {step.kind} at {step.learning_rate:g}",
        control=tier.control,
    )


def _splits(limited: bool) -> str:
    used = "the training images that are used, and " if limited else ""
    return (
        f"every seed draws {used}which training images are held out for validation; all arms have the draw of their "
        "seed, so that intervals over seeds cover it; test images are the same in all trainings"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        lambda: run(tyro.cli(PaperChecks, args=arguments, prog="python -m paper_checks", description=__doc__))
    )


if __name__ == "__main__":
    sys.exit(main())

"""Every claim of the four papers, and two of our own, tested: reproduced, contradicted, no difference that matters, or
undecided at this scale.

    python -m paper_checks                                     quick tier: synthetic data, digits; ten minutes
    python -m paper_checks --tier cpu --images PATH            a small encoder on an image folder or archive
    python -m paper_checks --tier gpu --images cifar10         ResNet-18, hundreds of trainings
    python -m paper_checks --only T1,D2                        some claims
    python -m paper_checks --cap 20                            up to 20 seeds for claims that are undecided with 5
    python -m paper_checks --hours 2 --out runs/p              begin nothing after two hours, and report
    python -m paper_checks --out runs/p --resume               continue a run that was stopped
    python -m paper_checks --list                              claims and rules, nothing is run
    python -m paper_checks --readings                          also where a paper leaves a choice open: other choices
    python -m paper_checks --control shuffled_labels           a planted error: nothing about classes may come out

Every claim is looked at with the seeds of the first stage. Then seeds are added only for the arms of claims that are
still undecided, up to the cap, first where a decision is likely for the time that it takes; the report is written anew
after every look. Several looks have the error rate of one (paper_checks/statistics/sequential.py), in whichever order
and pieces.

The run folder has report.html (open it in a browser), report.md, results.csv, one folder a claim with its tables and
figures, and one folder a task. Claims share tasks, and each is computed once.

Exit status: 1 with --check: a theorem claim is not reproduced, or in a control run a claim about classes is and stands
over all claims; 4 a task failed, so that claims are reported as not run; others as in all commands (--help). Finished
tasks are kept; --resume computes failed ones again.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from models.commands import CHECK_FAILED, WORKERS_LOST, command
from models.environment import resolve_device
from models.run_folder import differing, open_run_folder, with_defaults
from paper_checks.catalogue import all_claims
from paper_checks.claims import OWN, Claim
from paper_checks.execution import carry_out_all, in_order
from paper_checks.other_readings import reading_names
from paper_checks.precisions import Asked, assign, begun_in, left_alone, trains
from paper_checks.report.entries import Entry, ReadingEntry
from paper_checks.report.other_readings import fooled
from paper_checks.report.pages import print_summary
from paper_checks.report.words import worth_words
from paper_checks.same_images import fingerprint_of, keep, not_its_images
from paper_checks.stages import Step, plan_of
from paper_checks.study import Study
from paper_checks.tasks import TASKS, unique
from paper_checks.tiers import TIERS, Control, Tier, TierName, tier_of
from synthetic.runs.backends import MAX_JOBS, BackendOptions
from theory.console.typed import as_typed
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_SEEDS
from theory.numerics.whole_files import to_plain

SETTINGS = "tier.json"
# A year.
MOST_HOURS = 8766.0


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
    """Claims to check, by id and separated by commas, such as T1,D2. By default all; in the tiers quick and cpu all of
    the papers, without this toolkit's own L1 and L2, which take as long as half of them."""
    jobs: int | None = None
    """Tasks at a time, each in a process with one thread; by default one a core, on a GPU one."""
    device: str | None = None
    """Where trainings on images run: cpu, cuda, cuda:1. By default the tier's: cuda for gpu, else cpu."""
    cap: int | None = None
    """Most seeds that an arm gets while a claim about it is undecided, at least those of the first stage. By default
    the tier's: quick 5, which is its first stage, cpu and gpu 20. A run keeps its cap: looks are planned with it."""
    hours: float | None = None
    """Begin no task after so many hours, and report what is there; --resume goes on."""
    out: Path | None = None
    """Run folder; by default runs/paper-checks-TIER-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out: tasks that are done are kept, claims are judged again."""
    accept_other_version: bool = False
    """With --resume: go on with tasks of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""
    control: Control = "none"
    """shuffled_labels: the classes of all images are permuted; a claim about classes is then reproduced by chance only,
    with probability 2.5 % at most (D3: 5 %), and --check fails by those that stand over all claims."""
    precision: Asked | None = None
    """Of trainings on images. By default the tier's: in cpu bf16 where the processor multiplies it, else float32. A run
    keeps what it was begun in; with --resume, claims whose first look is still to come are trained in this one, each
    with all of its arms, and what would be in one that is slow here is left alone."""
    readings: bool = False
    """Ask claims in other readings too, where their paper leaves a choice open, after everything else. Tiers cpu and
    gpu always do, unless --main-only."""
    main_only: bool = False
    """Ask no claim in other readings."""
    check: bool = False
    """Exit with 1 if a theorem claim is not reproduced, or in a control run if a claim about classes is, and
    stands over all claims."""
    list: bool = False
    """Print the claims and their rules, and run nothing."""

    def __post_init__(self) -> None:
        if self.jobs is not None:
            require_count(self.jobs, "jobs", 1, MAX_JOBS)
        if self.cap is not None:
            require_count(self.cap, "cap", 1, LARGEST_SEEDS)
        if self.hours is not None:
            require_number(self.hours, "hours", 0.0, MOST_HOURS, closed="right")
        if self.readings and self.main_only:
            raise ValueError("readings: cannot be asked for with --main-only")

    @property
    def asked_readings(self) -> bool | None:
        """Whether other readings are asked for; None leaves it to the tier."""
        return True if self.readings else False if self.main_only else None


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


def asked_claims(only: str | None, tier: Tier) -> list[Claim]:
    """As ``chosen_claims``; without names those that the tier asks.

    Raises:
        ValueError: an unknown id, or none.
    """
    return [claim for claim in chosen_claims(only) if only is not None or tier.own_claims or claim.paper != OWN]


def run(options: PaperChecks) -> int:
    """Compute what is missing, judge every claim, write the report; returns the exit status.

    Raises:
        ValueError: arguments, images or a folder that cannot be used.
        OSError: a file could not be written.
    """
    claims = chosen_claims(options.only)
    if options.list:
        print("\n\n".join(_listed(claim) for claim in claims))
        return 0
    tier = tier_of(options.tier, options.images, options.root, options.device, options.control, options.cap,
                   options.asked_readings)  # fmt: skip
    claims = asked_claims(options.only, tier)
    device = resolve_device(tier.device)
    stored = options.out / SETTINGS if options.resume and options.out else None
    tier = begun_in(tier, stored, options.precision, device)
    _backend(options.jobs, device)
    # All that may ever be computed: two tasks of one name are noticed before anything is.
    asked = [
        each for claim in claims for each in (claim, *(map(claim.read_as, claim.readings) if tier.readings else ()))
    ]
    unique(task for claim in asked for seeds in plan_of(claim, tier) for task in claim.tasks(tier.at(seeds)))
    seen = None
    if any(trains(claim, tier) for claim in claims):
        # Decoded once, before many processes ask for them; and what is wrong with them is said before a folder is made.
        seen = fingerprint_of(tier)
    name = f"paper-checks-{tier.name}"
    settings = {**to_plain(tier), "claims": [claim.id for claim in claims], "readings": reading_names(claims, tier)}
    other = partial(_other_run, options.out, seen, tier)
    with open_run_folder(name, options.out, options.resume, settings, device, SETTINGS, other,
                         options.accept_other_version) as folder:  # fmt: skip
        if seen is not None:
            keep(seen, folder)
        return _run_in(folder, assign(claims, tier, folder, options.precision), tier, device, options)


def _run_in(folder: Path, claims: list[Claim], tier: Tier, device: torch.device, options: PaperChecks) -> int:
    left = left_alone(claims, tier, options.precision, device)
    tasks = in_order([claim for claim in claims if claim.id not in left], tier)
    backend = _backend(options.jobs, device)
    until = None if options.hours is None else time.time() + 3600.0 * options.hours
    kept = f"finished tasks are kept, continue with the same command and --out {folder} --resume"
    study = Study(claims, tier, folder, partial(_command, options), left)
    try:
        failures = carry_out_all(tasks, folder / TASKS, backend, device, until)
        while True:
            entries = study.report(failures)
            step = study.next_step(failures)
            late = until is not None and time.time() > until
            if step is None or late:
                break
            print(_announced(step), flush=True)
            failures |= carry_out_all(list(step.tasks), folder / TASKS, backend, device, until)
    except KeyboardInterrupt:
        print(f"\n{kept}", file=sys.stderr)
        raise
    print_summary(entries)
    print(f"Report: {folder / 'report.html'}")
    if failures:
        print(f"\n{len(failures)} of {study.tasks} tasks failed; {kept}", file=sys.stderr)
    elif late and (step or any(e.finding.answer == "pending" for e in entries if e.claim.id not in left)):
        print(f"--hours {options.hours:g} are over; {kept}")
    if waiting := study.waiting(failures):
        print(f"In bf16, which is slow here, and left (--precision bf16 does them): {', '.join(waiting)}")
    return _status(entries, options) or study.drawing


def _listed(claim: Claim) -> str:
    words = worth_words(claim)
    worth = f"\n    Smallest effect worth deciding: {words}" if words else ""
    if claim.readings:
        worth += f"\n    Read as: {claim.main}. Other readings: {'; '.join(each.name for each in claim.readings)}"
    return f"{claim.id} ({claim.paper}, {claim.place}; {claim.kind}): {claim.wording}\n    Rule: {claim.rule}{worth}"


def _announced(step: Step) -> str:
    cost = f"{step.seeds} seeds, {len(step.tasks)} tasks to do, about {step.seconds / 60.0:.0f} min of computing"
    if step.readings:
        return f"{step.claim.id} in {step.readings} other reading{'s' * (step.readings > 1)}: {cost}"
    # Another reading goes by its own name.
    name = step.claim.id if step.claim.readings or not step.claim.main else f"{step.claim.id}, {step.claim.main},"
    return f"{name} is undecided: {cost}; a decision has a chance of about {step.chance:.0%}"


def _other_run(folder: Path | None, seen: dict | None, tier: Tier, stored: dict, asked: dict) -> list[str]:
    # Runs of earlier versions had the seeds of the first stage and no more, and did not keep which claims they asked.
    stored = {"cap": stored.get("seeds"), "claims": asked["claims"], "readings": {}, "shown_arms": True,
              "chosen_rates": asked["chosen_rates"], **stored,
              "config": with_defaults(stored.get("config"), tier.config)}  # fmt: skip
    if stored["claims"] != asked["claims"]:
        # The error rate over all claims is over those that were asked before the run.
        return [f"set of claims, {','.join(stored['claims'])}, which is settled before a run"]
    if stored["readings"] != asked["readings"]:
        # So is that over a claim's readings.
        names = "; ".join(f"{name}: {', '.join(each)}" for name, each in stored["readings"].items()) or "none"
        return [f"set of readings, {names}, which is settled before a run (--readings, --main-only)"]
    if stored.get("name") != asked["name"]:
        return [f"tier, {stored.get('name')}"]
    told = [f"{name} {was} (now {now})" for name, (was, now) in sorted(differing(stored, asked).items())]
    return told if told or seen is None or folder is None else not_its_images(folder, seen)


def _status(entries: list[Entry], options: PaperChecks) -> int:
    found: list[Entry | ReadingEntry] = [*entries, *(each for entry in entries for each in entry.readings)]
    if any(each.finding.answer == "failed" or each.failures for each in found):
        return WORKERS_LOST
    failed = [e.claim.id for e in entries if e.claim.kind == "theorem" and e.finding.answer != "reproduced"]
    wrong = failed + (fooled(entries) if options.control != "none" else [])
    return CHECK_FAILED if options.check and wrong else max(entry.drawing for entry in entries)


def _backend(jobs: int | None, device: torch.device) -> BackendOptions:
    """Processes with one thread each; on a GPU, and for one job, this process.

    Raises:
        ValueError: a number of jobs that cannot be.
    """
    serial = device.type != "cpu" or jobs == 1
    return BackendOptions("serial") if serial else BackendOptions("loky", jobs, threads=1)


def _command(options: PaperChecks, only: str | None, precision: str) -> str:
    """As it is typed, for all claims that were asked for or for one."""
    only = only or options.only
    words = [as_typed("python -m paper_checks"), f"--tier {options.tier}"]
    words += ["--images PATH"] if options.images else []
    words += [f"--cap {options.cap}"] if options.cap is not None else []
    words += [f"--only {only}"] if only else []
    words += ["--readings"] if options.readings else ["--main-only"] if options.main_only else []
    # The cpu tier's own depends on the processor.
    told = options.tier == "cpu" or precision != TIERS[options.tier].config.precision
    words += [f"--precision {precision}"] if told else []
    words += [f"--device {options.device}"] if options.device else []
    words += [f"--control {options.control}"] if options.control != "none" else []
    return " ".join(words)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, PaperChecks, arguments, "python -m paper_checks", __doc__)


if __name__ == "__main__":
    sys.exit(main())

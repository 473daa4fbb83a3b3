"""The precision of a run's trainings, where a run goes on on another processor.

bf16 is the faster one where the processor multiplies it, and slow where it does not. It also moves accuracies by about
as much as some claims are about (README.md, "Precisions"), so that a claim's arms all have one precision: the run's, or
that of a later start, of claims that nobody had looked at then.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from models.cifar.training.config import Precision
from models.devices.processor import multiplies_bf16
from paper_checks.claims import Claim
from paper_checks.tasks import TASK, TASKS, Task, missing, training_of
from paper_checks.tiers import Tier
from theory.numerics.manifest import read_manifest
from theory.numerics.whole_files import DamagedFileError, read_json, write_json

# Those that can be asked for on every device.
Asked = Literal["float32", "bf16"]
# By claim, where it is not the run's.
PRECISIONS = "precisions.json"
# By claim, the tasks of its first look, once it has been taken.
LOOKS = "looks.json"


def begun_in(tier: Tier, settings: Path | None, asked: Asked | None, device: torch.device) -> Tier:
    """The tier in the precision that its run was begun in; a new run's is the one asked for, or the tier's own.

    Args:
        settings: file with those of the run that goes on; None for a new run. One that cannot be read, or of another
            tier, is left to whoever opens the run.

    Raises:
        ValueError: trainings would be in a precision that is slow here, and nobody has asked for that.
    """
    precision = asked or tier.config.precision
    if settings is not None:
        try:
            stored = read_json(settings)
            precision = stored["config"]["precision"]
        except (OSError, DamagedFileError, KeyError, TypeError):
            return tier
        if stored.get("name") != tier.name:
            return tier
    if asked is None and is_slow(precision, device):
        if settings is None:
            raise ValueError(
                f"--tier {tier.name}: trains in {precision}, which is slow on this processor; say --precision float32, "
                f"or --precision {precision} to do it all the same"
            )
        raise ValueError(
            f"--resume {settings.parent}: its trainings are in {precision}, which is slow on this processor; say "
            "--precision float32 to go on with the claims that nobody has looked at yet, each with all of its arms in "
            f"float32, or --precision {precision} to go on in that all the same"
        )
    return tier.in_precision(precision)


def is_slow(precision: str, device: torch.device) -> bool:
    """Whether trainings in this precision take longer on this device than in float32."""
    return precision == "bf16" and device.type == "cpu" and not multiplies_bf16()


def assign(claims: Sequence[Claim], tier: Tier, folder: Path, asked: Asked | None) -> list[Claim]:
    """Every claim in its precision, which the run's folder keeps; says which claims change theirs, and what that costs.

    Args:
        tier: in the run's precision.
        asked: for claims whose first look is still to come; None leaves all as they are.

    Raises:
        ValueError: a folder belongs to another task, or a file that keeps precisions or looks is gone.
    """
    path, tasks = folder / PRECISIONS, folder / TASKS
    kept, looks = _kept(path), _kept(folder / LOOKS)
    found: dict[str, Precision] = {}
    moved: list[str] = []
    unused: set[Task] = set()
    for claim in claims:
        if not trains(claim, tier):
            continue
        now = found[claim.id] = kept.get(claim.id, tier.config.precision)
        needed = claim.trained_in(now).tasks(tier)
        # A task of a look may be gone, as messages about damaged ones advise, or have another name since an arm was
        # corrected: the claim has been looked at.
        # A look at another reading is a look at the claim.
        asked_of = [needed]
        if tier.readings:
            asked_of += [claim.trained_in(now).read_as(each).tasks(tier) for each in claim.readings]
        looked = claim.id in looks or not all(missing(each, tasks) for each in asked_of)
        if asked is not None and asked != now and not looked:
            found[claim.id] = asked
            moved.append(claim.id)
            unused |= {task for task in needed if training_of(task) is not None and (tasks / task.name / TASK).exists()}
    others = {name: precision for name, precision in found.items() if precision != tier.config.precision}
    if others != kept:
        write_json(path, others)
    if moved:
        used = {task for claim in claims if claim.id in found and claim.id not in moved
                for task in claim.trained_in(found[claim.id]).tasks(tier)}  # fmt: skip
        print(f"Now in {asked}: {', '.join(moved)}; {len(unused - used)} finished trainings in another are not used")
    return [claim.trained_in(others[claim.id]) if claim.id in others else claim for claim in claims]


def remember_looks(looks: Mapping[str, Sequence[Task]], folder: Path) -> None:
    """Keep which claims have been looked at, so that no later start asks them anew in another precision.

    Args:
        looks: claim's id -> the tasks of its first look.
    """
    kept, found = _kept(folder / LOOKS), {name: _names(tasks) for name, tasks in looks.items()}
    if kept | found != kept:
        write_json(folder / LOOKS, kept | found)


def _kept(path: Path) -> dict:
    """What a file of the run keeps; nothing where it has never been written.

    Raises:
        DamagedFileError: it is gone.
    """
    if path.exists():
        return read_json(path)
    if path.name in read_manifest(path.parent):
        raise DamagedFileError(f"--resume: {path}: missing; put back a copy, or start a new run")
    return {}


def _names(tasks: Iterable[Task]) -> list[str]:
    return [task.name for task in tasks]


def left_alone(claims: Sequence[Claim], tier: Tier, asked: Asked | None, device: torch.device) -> frozenset[str]:
    """Claims for which no training is begun here, as their precision is slow and nobody asked for it."""
    return frozenset(
        claim.id for claim in claims
        if (precision := claim.precision or tier.config.precision) != asked
        and is_slow(precision, device) and trains(claim, tier)
    )  # fmt: skip


def trains(claim: Claim, tier: Tier) -> bool:
    """Whether any of what a claim needs is a training on images."""
    return any(training_of(task) is not None for task in claim.tasks(tier))


def precision_words(claims: Sequence[Claim], tier: Tier) -> str:
    """The run's precision, and the claims that have another."""
    others: dict[str, list[str]] = {}
    for claim in claims:
        if claim.precision not in (None, tier.config.precision):
            others.setdefault(str(claim.precision), []).append(claim.id)
    told = [f"{', '.join(names)} in {precision}" for precision, names in others.items()]
    return tier.config.precision + (f" ({'; '.join(told)})" if told else "")

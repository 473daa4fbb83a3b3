"""The precision of a run's trainings, where a run goes on on another processor.

bf16 is the faster one where the processor multiplies it, and many times slower where it does not. It also moves
accuracies by about as much as some claims are about (README.md), so that a claim's arms all have one precision: the
run's, or, of claims that nobody had looked at when the run went on elsewhere, the one that was then asked for.
"""

from collections.abc import Sequence
from pathlib import Path

from models.cifar.training.config import Precision
from models.devices.processor import multiplies_bf16
from paper_checks.claims import Claim
from paper_checks.tasks import missing
from paper_checks.tiers import Tier
from theory.numerics.whole_files import DamagedFileError, read_json, write_json

# By claim, where it is not the run's.
PRECISIONS = "precisions.json"


def begun_in(tier: Tier, settings: Path | None, asked: Precision | None) -> Tier:
    """The tier in the precision that its run was begun in; a new run's is the one asked for, or the tier's own.

    Args:
        settings: file with those of the run that goes on; None for a new run. One that cannot be read is left to
            whoever opens the run.

    Raises:
        ValueError: nobody says in which precision a run goes on that this processor would take many times as long for.
    """
    stored = None
    if settings is not None:
        try:
            stored = read_json(settings)["config"]["precision"]
        except (OSError, DamagedFileError, KeyError, TypeError):
            return tier
    if stored is not None and asked is None and is_slow(stored, tier):
        raise ValueError(
            f"--resume {settings.parent if settings else ''}: its trainings are in {stored}, which this processor does "
            "not multiply: say --precision float32 to train the claims that have no answer yet in that, each with all "
            f"of its arms, or --precision {stored} to go on as before, many times slower"
        )
    return tier.in_precision(stored or asked or tier.config.precision)


def is_slow(precision: str, tier: Tier) -> bool:
    """Whether trainings in this precision take many times as long here as in float32."""
    return precision == "bf16" and tier.device == "cpu" and not multiplies_bf16()


def settle(claims: Sequence[Claim], tier: Tier, folder: Path, asked: Precision | None) -> list[Claim]:
    """Every claim in its precision, which the run's folder keeps.

    Args:
        tier: in the run's precision.
        asked: for claims whose first look is still to come; None leaves all as they are.

    Raises:
        ValueError: a folder belongs to another task.
    """
    path = folder / PRECISIONS
    kept = read_json(path) if path.exists() else {}
    found = {}
    for claim in claims:
        now = kept.get(claim.id, tier.config.precision)
        wanted = asked or now
        if wanted != now and missing(claim.trained_in(now).tasks(tier), folder / "tasks"):
            now = wanted
        if set(claim.trained_in(now).tasks(tier)) != set(claim.tasks(tier)):
            found[claim.id] = now
    if found != kept:
        write_json(path, found)
    return [claim.trained_in(found[claim.id]) if claim.id in found else claim for claim in claims]


def left_alone(claims: Sequence[Claim], tier: Tier, asked: Precision | None) -> frozenset[str]:
    """Claims of whose trainings none is begun here, as they would take many times as long as elsewhere, and nobody
    asked for that."""
    return frozenset(
        claim.id for claim in claims
        if (precision := claim.precision or tier.config.precision) != asked and is_slow(precision, tier)
        and set(claim.trained_in("float32").tasks(tier)) != set(claim.tasks(tier))
    )  # fmt: skip


def in_words(claims: Sequence[Claim], tier: Tier) -> str:
    """The run's precision, and the claims that have another."""
    others: dict[str, list[str]] = {}
    for claim in claims:
        if claim.precision not in ("", tier.config.precision):
            others.setdefault(claim.precision, []).append(claim.id)
    told = [f"{', '.join(names)} in {precision}" for precision, names in others.items()]
    return tier.config.precision + (f" ({'; '.join(told)})" if told else "")

"""What a report is made of: claims with their findings, how they stand over all, and the rows of results.csv."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from paper_checks.claims import Claim, Finding
from paper_checks.statistics.decisions import Answer
from paper_checks.statistics.family import Standing, standings
from paper_checks.statistics.sequential import shares

ANSWERS: tuple[Answer, ...] = get_args(Answer)
SIGNS = {"reproduced": "✓", "contradicted": "✗", "no difference": "=", "undecided": "?", "failed": "!", "pending": "…"}
LABELS = {"failed": "not run (failed)", "no difference": "no difference that matters", "pending": "not yet run"}


@dataclass(frozen=True)
class ReadingEntry:
    """Another reading of a claim in the report.

    Attributes:
        share: of the error rate of a claim, that the look has which the finding is of.
        taken: looks that were taken.
        failures: why it could not be judged, or looked at with more seeds.
    """

    name: str
    finding: Finding
    share: float = 1.0
    taken: int = 1
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A claim in the report.

    Attributes:
        pictures: figures as PNG.
        folder: of the claim's tables and figures, in the run folder.
        command: that repeats it.
        failures: why it could not be judged, or looked at with more seeds, with the last lines of what was said.
        plan: seeds of its looks.
        taken: looks that were taken.
        look: which of them the finding is of, from 0.
        seconds: that its tasks took, one after the other.
        own_seconds: its share of them, where claims that need the same task divide its time.
        drawing: the exit status that its figures leave; 0 where they were drawn.
        readings: other readings of the claim; empty in runs without them.
    """

    claim: Claim
    finding: Finding
    pictures: tuple[Path, ...]
    folder: str
    command: str
    failures: tuple[str, ...] = ()
    plan: tuple[int, ...] = ()
    taken: int = 1
    look: int = 0
    seconds: float = math.nan
    own_seconds: float = math.nan
    drawing: int = 0
    readings: tuple[ReadingEntry, ...] = ()


@dataclass(frozen=True)
class Meta:
    """What the report says about the run.

    Attributes:
        seeds: trainings of each arm, in words.
        splits: which images a seed draws, in words.
        seconds: that its tasks took, one after the other.
        images: what they are, in words or as a path.
        versions: of software, and the hardware, by name.
        budget: what every training may spend, in words.
        control: none, or the planted error of a control run.
    """

    title: str
    date: str
    tier: str
    command: str
    seeds: str
    splits: str
    seconds: float
    images: str
    versions: dict
    budget: str
    control: str = "none"


def share_of(entry: Entry) -> float:
    """Of the error rate, that the look has which the finding is of."""
    return shares(entry.plan)[entry.look] if entry.plan else 1.0


def standings_of(entries: Sequence[Entry]) -> dict[str, Standing]:
    """By claim, how the trends and comparisons stand over all of them.

    Raises:
        ValueError: one has no p-values.
    """
    family = [entry for entry in entries if entry.claim.kind != "theorem"]
    for entry in family:
        if entry.finding.p_values is None:
            raise ValueError(f"{entry.claim.id}: a {entry.claim.kind} must have p-values")
    return standings({entry.claim.id: (entry.finding.answer, entry.finding.evidence) for entry in family})


def result_rows(entries: Sequence[Entry]) -> list[dict]:
    """One row a number; a claim without numbers has one row too."""
    rows, found = [], standings_of(entries)
    for entry in entries:
        claim, finding, standing = entry.claim, entry.finding, found.get(entry.claim.id)
        own: dict = {"claim": claim.id, "paper": claim.paper, "kind": claim.kind, "answer": finding.answer}
        own |= {"p_value": standing and standing.p_value, "p_over_all_claims": standing and standing.adjusted,
                "stands_over_all_claims": standing and standing.stands,
                "minutes": _minutes(entry.seconds), "own_minutes": _minutes(entry.own_seconds)}  # fmt: skip
        rows += [{**own, **row, **own} for row in finding.rows or [{}]]
    return rows


def _minutes(seconds: float) -> float:
    return round(seconds / 60.0, 3)


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How many claims have each answer; the less common answers only where there are some."""
    found = Counter(entry.finding.answer for entry in entries)
    common = ("reproduced", "contradicted", "undecided")
    return {answer: found[answer] for answer in ANSWERS if answer in common or found[answer]}

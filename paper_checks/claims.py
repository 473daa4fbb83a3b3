"""What a claim is, and what is found about it.

The claims themselves are in one module a family; catalogue.py lists them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from models.cifar.training.config import Precision
from paper_checks.statistics.decisions import Answer, Contrast, PValues, contrast_rows, decide, p_values
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier

# The last is no paper's: what this toolkit predicts of real data.
Paper = Literal["TransFusion", "Deep Fusion", "SimCLR", "Feature transformation", "The limits on real data"]
OWN: Paper = "The limits on real data"
Kind = Literal["theorem", "trend", "comparison"]


@dataclass(frozen=True)
class Finding:
    """What was measured about a claim.

    Attributes:
        answer: by the claim's rule.
        sentence: what was seen, in words and numbers.
        rows: the numbers that decide, one row each with the columns of decisions.contrast_rows; a theorem's verdicts
            have their own columns.
        tables: name -> rows of what the claim's figure draws.
        pictures: figures that a task has drawn already, and that belong to the claim.
        p_values: of a trend or comparison, for the error rate over all claims; None for a theorem.
        contrasts: that decide, where differences over seeds do.
    """

    answer: Answer
    sentence: str
    rows: list[dict]
    tables: dict[str, list[dict]] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    p_values: PValues | None = None
    contrasts: tuple[Contrast, ...] = ()

    @property
    def evidence(self) -> PValues:
        """The p-values.

        Raises:
            ValueError: there are none.
        """
        if self.p_values is None:
            raise ValueError("must have p-values")
        return self.p_values


@dataclass(frozen=True)
class Reading:
    """A claim read otherwise, where its paper leaves a choice open: the same rule, with other arms.

    Attributes:
        name: what is chosen otherwise, in words; a claim's readings have names of their own.
        tasks, judge: as a claim's; the contrasts are of the claim's measures.
    """

    name: str
    tasks: Callable[[Tier], list[Task]]
    judge: Callable[[Results, Tier], Finding]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, and how it is checked.

    Attributes:
        id: T1, D1, S1, F1, L1, ...
        place: where in the paper.
        wording: the claim, in this toolkit's words.
        kind: theorem (must hold always), trend (of a factor), comparison (of arms).
        rule: how it is decided, in words; fixed before anything is run.
        tasks: what has to be computed in a tier.
        judge: from the results of these tasks to the finding.
        labels: whether the answer depends on the images' classes, so that shuffling them must leave nothing to find.
        worth: the smallest effect worth deciding, by measure, in the measure's unit; fixed before anything is run. A
            claim without one cannot come out as "no difference that matters".
        why: these, in a few words.
        equivalence: whether it can come out as "no difference that matters". Not where the arms of a contrast are the
            same training in some seeds: differences that are 0 by construction look far more certain than they are.
        main: what the claim itself chooses, in words, where its paper leaves a choice open.
        precision: of all its trainings, where it is not the tier's (precisions.py).
        readings: other choices. Each is answered by the same rule at its share of another 5 % (registered/readings.md);
            the claim's own answer does not depend on them.

    Raises ValueError for readings without a word for the main one, or two of one name.
    """

    id: str
    paper: Paper
    place: str
    wording: str
    kind: Kind
    rule: str
    tasks: Callable[[Tier], list[Task]]
    judge: Callable[[Results, Tier], Finding]
    labels: bool = False
    worth: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    equivalence: bool = True
    main: str = ""
    precision: Precision | None = None
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        names = [self.main, *(each.name for each in self.readings)]
        if self.readings and (not self.main or len(set(names)) < len(names)):
            raise ValueError(f"{self.id}: readings need names of their own, the main one too, got {names}")

    def read_as(self, reading: Reading) -> "Claim":
        """The claim in another reading of it."""
        return replace(self, tasks=reading.tasks, judge=reading.judge, main=reading.name, readings=())

    def trained_in(self, precision: Precision) -> "Claim":
        """The claim, and its readings, with all trainings in a precision, whatever the tier's is."""
        readings = tuple(_trained_in(each, precision) for each in self.readings)
        return replace(_trained_in(self, precision), precision=precision, readings=readings)

    def look(self, results: Results, tier: Tier, share: float = 1.0) -> Finding:
        """What the seeds of a tier say, as a look of its own with a share of the error rate (statistics/sequential.py).

        Raises:
            KeyError: a contrast's measure has no worth, though others have.
        """
        found = self.judge(results, tier)
        if found.contrasts and self.worth and self.equivalence:
            contrasts = tuple(replace(each, worth=self.worth[each.measure]) for each in found.contrasts)
            values = p_values(contrasts)
            found = replace(found, answer=values.answer, p_values=values, contrasts=contrasts)
        rows = contrast_rows(found.contrasts, share) if found.contrasts else found.rows
        # Without a third answer, or where batches decide and not seeds, worth is the unit that they are drawn in.
        rows = [{**row, "worth": self.worth[row["measure"]]} if row.get("measure") in self.worth else row
                for row in rows]  # fmt: skip
        return replace(found, rows=rows)


_Asked = TypeVar("_Asked", Claim, Reading)


def _trained_in(one: _Asked, precision: Precision) -> _Asked:
    return replace(
        one,
        tasks=lambda tier: one.tasks(replace(tier, precision=tier.precision or precision)),
        judge=lambda results, tier: one.judge(results, replace(tier, precision=tier.precision or precision)),
    )


def judged(sentence: str, contrasts: list[Contrast], **tables: list[dict]) -> Finding:
    """A finding that the contrasts decide."""
    return Finding(decide(contrasts), sentence, contrast_rows(contrasts), tables, p_values=p_values(contrasts),
                   contrasts=tuple(contrasts))  # fmt: skip

"""What a claim is, and what is found about it.

The claims themselves are in one module a family; catalogue.py lists them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from paper_checks.decisions import Answer, Contrast, PValues, contrast_row, decide, p_values
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier

# The last is no paper's: what this toolkit predicts of real data.
Paper = Literal["TransFusion", "Deep Fusion", "SimCLR", "Feature transformation", "The limits on real data"]
Kind = Literal["theorem", "trend", "comparison"]


@dataclass(frozen=True)
class Finding:
    """What was measured about a claim.

    Attributes:
        answer: by the claim's rule.
        sentence: what was seen, in words and numbers.
        rows: the numbers that decide, one row each with the columns of decisions.contrast_row; a theorem's verdicts
            have their own columns.
        tables: name -> rows of what the claim's figure draws.
        pictures: figures that a task has drawn already, and that belong to the claim.
        p_values: of a trend or comparison, for the error rate over all claims; None for a theorem.
    """

    answer: Answer
    sentence: str
    rows: list[dict]
    tables: dict[str, list[dict]] = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    p_values: PValues | None = None


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


def judged(sentence: str, contrasts: list[Contrast], **tables: list[dict]) -> Finding:
    """A finding that the contrasts decide."""
    rows = [contrast_row(each) for each in contrasts]
    return Finding(decide(contrasts), sentence, rows, tables, p_values=p_values(contrasts))

"""Attacks on a trial's statement, their verdicts, and the cases that they end at, settled in high precision."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synthetic.trials.ascent import Attack, Violation, attack
from synthetic.trials.files import Counterexample
from synthetic.trials.trial import Trial
from theory.judging.verdicts import Status, Verdict
from theory.numerics.precision import RELATIVE_MARGIN

# A killed statement counts as refuted only by a violation well above round-off.
CLEAR_VIOLATION = 1e-6


@dataclass(frozen=True)
class Prosecution:
    """An attack, and what it was on: a trial's statement, or a false one that it replaces."""

    trial: Trial
    attack: Attack

    @property
    def true(self) -> bool:
        """Whether what was attacked has to stand."""
        return self.attack.violation in self.trial.violations

    @property
    def refuted(self) -> bool:
        """A counterexample was found: beyond round-off for true statements, clearly for killed ones."""
        return self.attack.closest > (RELATIVE_MARGIN if self.true else CLEAR_VIOLATION)

    def verdict(self) -> Verdict:
        """As a verdict: measured is the closest approach, the bound 0."""
        found, name = self.attack, f"Adversary, {self.attack.violation.name}"
        if not np.isfinite(found.closest):
            told = "no restart satisfies the hypotheses"
            return Verdict(name, Status.NOT_APPLICABLE, cases=found.restarts, detail=told)
        status = Status.VIOLATED if self.refuted else Status.HOLDS
        # At the bound itself the claim is attained, which "<=" allows; round-off can land on either side.
        approach = min(found.closest, 0.0) if status is Status.HOLDS else found.closest
        return Verdict(name, status, approach, 0.0, -approach, -approach, found.inside, found.restarts,
                       detail=f"closest approach at sizes {found.sizes}")  # fmt: skip

    def counterexample(self) -> Counterexample | None:
        """The case that the attack ended at, where the statement's own check, high precision included, can settle
        it."""
        values = self.attack.values()
        return None if values is None else Counterexample(self.trial, values)

    def settled(self, folder: Path | None = None) -> Verdict:
        """The verdict, with an excess that is round-off taken for what it is; a counterexample that survives high
        precision is kept in ``folder``."""
        verdict = self.verdict()
        example = self.counterexample() if self.refuted else None
        if example is None:
            return verdict
        if example.replay().status is Status.HOLDS:
            return replace(verdict, status=Status.HOLDS, measured=0.0, margin=0.0, relative_margin=0.0,
                           detail=f"{verdict.detail}, attained: the excess is round-off")  # fmt: skip
        if folder is not None:
            example.save(folder / f"counterexample-adversary-{self.trial.key}.npz")
        return verdict


def prosecute(trials: Iterable[Trial], restarts: int, steps: int, seed: int, killed: bool = False) -> list[Prosecution]:
    """Attack everything that the trials claim, or the false statements that they replace, with progress."""
    work: list[tuple[Trial, Violation]] = [
        (trial, violation) for trial in trials for violation in (trial.killed if killed else trial.violations)
    ]
    bar = tqdm(work, disable=None, unit="claim")
    found = []
    for trial, violation in bar:
        bar.set_description(violation.name)
        found.append(Prosecution(trial, attack(violation, restarts, steps, seed)))
    return found

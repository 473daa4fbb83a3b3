"""How far every claim is, and which seeds come next.

First every claim is looked at with the seeds of the first stage. Then seeds are added only for the arms of claims
that are still undecided, up to the cap, a look of one claim at a time: the one that is most likely to be decided for
the time that it takes. Any order of looks keeps the error rates (statistics/sequential.py); this one gets most answers
early.

Nothing is remembered but finished tasks: from these, every start finds out anew how far it is.
"""

import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from paper_checks.claims import Claim, Finding
from paper_checks.statistics.decisions import DECIDED, NO_EVIDENCE
from paper_checks.statistics.power import chance, hopeless
from paper_checks.statistics.sequential import first_decision, looks, over_looks, shares, to_come
from paper_checks.tasks import Results, Task, last_lines, missing, seeds_in
from paper_checks.tiers import Tier


@dataclass(frozen=True)
class State:
    """How far a claim is.

    Attributes:
        plan: seeds of its looks.
        taken: looks that were taken.
        finding: of the look that decided, or of the last one.
        tasks: that these looks needed; of a claim without any look those that the first one needs.
        failures: why a task that it needs failed, or its judge.
        look: that the finding is of, from 0.
        portion: of the error rate of a claim, that all looks together have: 1, or less for one of several readings.
    """

    claim: Claim
    plan: tuple[int, ...]
    taken: int
    finding: Finding
    tasks: tuple[Task, ...]
    failures: tuple[str, ...] = ()
    look: int = 0
    portion: float = 1.0

    @property
    def settled(self) -> bool:
        """Decided, or no look is left."""
        return self.finding.answer in DECIDED or self.taken == len(self.plan)

    @property
    def share(self) -> float:
        """Of the error rate of a claim, that the look has which the finding is of."""
        return shares(self.plan)[self.look] * self.portion


@dataclass(frozen=True)
class Step:
    """A look that is worth taking next.

    Attributes:
        seeds: of the look.
        tasks: that are not done.
        chance: of deciding the claim, roughly.
        seconds: that the tasks will take, one after the other, roughly.
        readings: of the claim, that are looked at for the first time; 0 where it is a look at one.
    """

    claim: Claim
    seeds: int
    tasks: tuple[Task, ...]
    chance: float
    seconds: float
    readings: int = 0


def plan_of(claim: Claim, tier: Tier) -> tuple[int, ...]:
    """Seeds of the looks at a claim: one look only where its tasks do not grow with the seeds, as those of theorems and
    of claims with seeds of their own."""
    if tier.cap == tier.seeds or claim.kind == "theorem":
        return (tier.seeds,)
    grows = set(claim.tasks(tier.at(tier.cap))) != set(claim.tasks(tier))
    return looks(tier.seeds, tier.cap) if grows else (tier.seeds,)


def state_of(claim: Claim, tier: Tier, results: Results, failures: Mapping[str, str], portion: float = 1.0) -> State:
    """How far a claim is, from the tasks that are done.

    Args:
        failures: of tasks, by their names.
        portion: of the error rate, in (0, 1], that all looks together have.

    Raises:
        ValueError: a folder belongs to another task.
    """
    return replace(_state(claim, tier, results, failures, portion), portion=portion)


def _state(claim: Claim, tier: Tier, results: Results, failures: Mapping[str, str], portion: float) -> State:
    plan = plan_of(claim, tier)
    found: list[Finding] = []
    tasks: tuple[Task, ...] = ()
    for seeds, share in zip(plan, shares(plan)):
        needed = tuple(claim.tasks(tier.at(seeds)))
        lacking = missing(needed, results.root)
        if lacking:
            failed = tuple(failures[task.name] for task in lacking if task.name in failures)
            if found:
                return _settled(claim, plan, found, tasks, failed)
            return State(claim, plan, 0, _without_look(claim, needed, lacking, failed), needed, failed)
        try:
            found.append(_at_portion(claim.look(results, tier.at(seeds), share * portion), portion))
        except Exception as error:
            if found:
                # What earlier looks said stays said.
                return _settled(claim, plan, found, tasks, (in_words(error),))
            words = "Nothing is said: the results of its tasks cannot be read."
            finding = replace(_nothing(claim, words), answer="failed")
            return State(claim, plan, len(found), finding, needed, (in_words(error),))
        tasks = tuple(dict.fromkeys((*tasks, *needed)))
        if _settled(claim, plan, found, tasks).finding.answer in DECIDED:
            break
    return _settled(claim, plan, found, tasks)


def _at_portion(finding: Finding, portion: float) -> Finding:
    """With p-values, and the answer that they give, at a portion of the error rate."""
    if portion == 1.0 or finding.p_values is None:
        return finding
    values = finding.p_values.at_share(portion)
    return replace(finding, answer=values.answer, p_values=values)


def _settled(
    claim: Claim, plan: tuple[int, ...], found: Sequence[Finding], tasks: tuple[Task, ...], failed: tuple[str, ...] = ()
) -> State:
    """What the looks that were taken come to."""
    look, finding = 0, found[0]
    if len(plan) > 1:
        values = [each.evidence for each in found]
        look, answer = first_decision(values, plan)
        finding = replace(found[look], answer=answer, p_values=over_looks(values[: look + 1], plan))
    return State(claim, plan, len(found), finding, tasks, failed, look)


def _without_look(claim: Claim, needed: Sequence[Task], lacking: Sequence[Task], failed: Sequence[str]) -> Finding:
    if failed:
        words = f"Nothing is said: {len(failed)} of the {len(needed)} tasks that it needs failed."
        return replace(_nothing(claim, words), answer="failed")
    return _nothing(claim, f"Nothing is said yet: {len(lacking)} of the {len(needed)} tasks that it needs are to come.")


def _nothing(claim: Claim, words: str) -> Finding:
    return Finding("pending", words, [], p_values=None if claim.kind == "theorem" else NO_EVIDENCE)


def in_words(error: Exception) -> str:
    """The error, and the last lines of its traceback."""
    return f"{type(error).__name__}: {last_lines(str(error), 1)}\n{last_lines(traceback.format_exc())}"


def next_step(
    states: Iterable[State],
    tier: Tier,
    results: Results,
    failures: Mapping[str, str] | None = None,
    least: float = 0.0,
) -> Step | None:
    """The look that promises most: by the chance of a decision for the time that it takes; None where none is left.

    Args:
        failures: tasks, by their names, that are not tried again.
        least: chance below which a look is not worth taking.
    """
    steps = []
    for state in states:
        if state.finding.answer != "undecided" or state.taken >= len(state.plan):
            continue
        left = [(seeds, share * state.portion) for seeds, share in to_come(state.plan, state.taken)]
        seeds, share = left[0]
        lacking = tuple(missing(state.claim.tasks(tier.at(seeds)), results.root))
        # A look whose tasks are there and that was not taken could not be judged.
        if lacking and not any(task.name in (failures or {}) for task in lacking):
            likely = chance(state.finding.rows, seeds, share)
            if likely < least or hopeless(state.finding.rows, left):
                continue
            steps.append(Step(state.claim, seeds, lacking, likely, expected_seconds(lacking, state.tasks, results)))
    # Of equal promise, the shortest; what is there already costs nothing.
    return max(steps, key=lambda step: (step.chance / max(step.seconds, 1.0), -step.seconds), default=None)


def expected_seconds(tasks: Sequence[Task], done: Sequence[Task], results: Results) -> float:
    """What tasks will take: a seed as long as those of the same arm took, or else as all of the claim's."""
    known: dict[object, list[float]] = {}
    for task in done:
        seconds = results.seconds(task)
        if math.isfinite(seconds):
            known.setdefault(_arm(task), []).append(seconds / seeds_in(task))
    every = [seconds for each in known.values() for seconds in each] or [0.0]
    total = 0.0
    for task in tasks:
        same = known.get(_arm(task), every)
        total += seeds_in(task) * sum(same) / len(same)
    return total


def _arm(task: Task) -> object:
    return getattr(task, "label", type(task).__name__)


def costs(states: Sequence[State], results: Results) -> dict[str, tuple[float, float]]:
    """By claim, the seconds that its tasks took, and its share of them where claims that need one task divide its
    time; the shares add up to the time of all tasks.
    """
    used: dict[Task, list[str]] = {}
    for state in states:
        for task in state.tasks if state.taken else ():
            used.setdefault(task, []).append(state.claim.id)
    found = {state.claim.id: [0.0, 0.0] for state in states}
    for task, names in used.items():
        seconds = results.seconds(task)
        for name in names:
            found[name][0] += seconds
            found[name][1] += seconds / len(names)
    return {name: (whole, part) for name, (whole, part) in found.items()}

"""Readings of a claim beside its main one: how far they are, and which is looked at next (registered/readings.md).

A claim's R other readings have 1/R of 5 % each (Bonferroni), over all looks at them, so that with probability 95 % or
more none of them is answered wrongly; the claim's own answer and Holm's procedure over all claims are as without them.
They are looked at when nothing is left to do for any claim itself: first all with the seeds of the first stage, then
with more where a decision is at least as likely as not.
"""

from collections.abc import Iterable, Mapping

from paper_checks.claims import Claim
from paper_checks.stages import State, Step, expected_seconds, next_step, state_of
from paper_checks.tasks import Results, Task, missing
from paper_checks.tiers import Tier

# Of a decision, below which no seeds are added for a reading.
LEAST_CHANCE = 0.5


def reading_states(
    claim: Claim, tier: Tier, results: Results, failures: Mapping[str, str], before: Iterable[State] = ()
) -> tuple[State, ...]:
    """How far every other reading of a claim is; none in tiers without them.

    Args:
        failures: of tasks, by their names.
        before: the states of an earlier time, of which those that are settled stay.

    Raises:
        ValueError: a folder belongs to another task.
    """
    if not tier.readings:
        return ()
    kept = {state.claim.main: state for state in before if state.settled}
    portion = 1.0 / max(1, len(claim.readings))
    return tuple(
        kept.get(each.name) or state_of(claim.read_as(each), tier, results, failures, portion)
        for each in claim.readings
    )


def next_reading(
    readings: Mapping[str, tuple[State, ...]],
    claims: Mapping[str, State],
    tier: Tier,
    results: Results,
    failures: Mapping[str, str],
) -> Step | None:
    """What to compute next for readings; None where nothing is worth it.

    Args:
        readings: by claim.
        claims: their main readings.
        failures: tasks, by their names, that are not tried again.
    """
    steps = []
    for name, states in readings.items():
        begun = [state for state in states if state.finding.answer == "pending"]
        lacking: dict[Task, None] = {}
        for state in begun:
            needed = missing(state.tasks, results.root)
            if not any(task.name in failures for task in needed):
                lacking |= dict.fromkeys(needed)
        if lacking:
            # A claim that has failed leaves no times.
            done = claims[name].tasks if claims[name].taken else ()
            seconds = expected_seconds(tuple(lacking), done, results)
            steps.append(Step(claims[name].claim, tier.seeds, tuple(lacking), 1.0, seconds, len(begun)))
    if steps:
        # All first looks promise alike: the shortest.
        return min(steps, key=lambda step: step.seconds)
    return next_step([each for states in readings.values() for each in states], tier, results, failures, LEAST_CHANCE)


def reading_names(claims: Iterable[Claim], tier: Tier) -> dict[str, list[str]]:
    """By claim, the other readings that a run asks for: settled before it."""
    return {claim.id: [each.name for each in claim.readings]
            for claim in claims if tier.readings and claim.readings}  # fmt: skip

"""MoCo with feature transformation (arXiv 2108.02982): harder positives, mixed negatives."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from models.cifar.methods.settings import LARGEST_QUEUE
from paper_checks.claims import Claim, Finding, Reading, judged
from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import Arm
from paper_checks.trainings.moco_ways import (
    AUTHORS,
    MAIN,
    NORMALIZED,
    QUEUE_MAIN,
    ROW,
    SLOW,
    STEP,
    STEP_SLOW,
    WAYS,
    Way,
)
from paper_checks.trainings.reading import accuracies, accuracy_contrast, loss_words, mean, points, tasks_of


def _over_moco(results: Results, tier: Tier, arms: dict[str, Arm], way: Way) -> list[Contrast]:
    plain = way.plain(tier)
    return [accuracy_contrast(results, tier, f"{name} over MoCo", arm, plain) for name, arm in arms.items()]


def _collapse_words(results: Results, tier: Tier, arm: Arm) -> str:
    """The paper speaks of a MoCo whose scores have not all become 1."""
    last = {seed: table[-1]["negative_mean"] for seed, table in arm.tables(results, tier, "epochs").items()}
    return f"Mean score of negatives of MoCo, at last: {mean(last):.2f}."


def _learned_words(results: Results, tier: Tier, arms: dict[str, Arm], way: Way) -> str:
    """Losses, beside that of features that are all alike, which transformations leave alone: every score is 1."""
    alike, queue = math.log1p(tier.small_queue), tier.small_queue
    told = "" if way.half else f" Features that are all alike have ln(1 + {queue}) = {alike:.2f}."
    return loss_words(results, tier, arms) + told


def _judge_transformed(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    choices = way.choices(tier)
    arms = {name: arm for name, arm in choices.items() if name != "neither"}
    words = f"Transformed: {accuracies(results, tier, choices)}. {_collapse_words(results, tier, way.plain(tier))} "
    words += _learned_words(results, tier, choices, way)
    return judged(words, _over_moco(results, tier, arms, way), points=points(results, tier, choices, "transformed"))


def _extrapolation(tier: Tier, way: Way) -> dict[str, Arm]:
    return {"extrapolated": way.positives(tier), "MoCo": way.plain(tier),
            "interpolated": way.positives(tier, positives="interpolate")}  # fmt: skip


def _judge_extrapolation(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    arms = _extrapolation(tier, way)
    pair = arms["extrapolated"], arms["interpolated"]
    contrast = accuracy_contrast(results, tier, "positives: extrapolated over interpolated", *pair)
    words = f"{accuracies(results, tier, arms)}. {_learned_words(results, tier, arms, way)}"
    return judged(words, [contrast], points=points(results, tier, arms, "positives"))


def _betas(tier: Tier, way: Way) -> dict[str, Arm]:
    return {f"{kind} Beta({value:g}, {value:g})": arm
            for kind, betas in (("positives", way.positive_betas(tier)), ("negatives", way.negative_betas(tier)))
            for value, arm in betas.items()}  # fmt: skip


def _judge_betas(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    arms = _betas(tier, way)
    rows = [*points(results, tier, way.positive_betas(tier), "Beta parameter", "positives extrapolated"),
            *points(results, tier, way.negative_betas(tier), "Beta parameter", "negatives interpolated")]  # fmt: skip
    words = accuracies(results, tier, {"MoCo": way.plain(tier), **arms})
    words += f". {_learned_words(results, tier, arms, way)}"
    return judged(words, _over_moco(results, tier, arms, way), points=rows)


def _queues(tier: Tier, way: Way = MAIN) -> dict[str, dict[str, Arm]]:
    """Which queue -> its size -> arm."""

    def arms(each: Way) -> dict[str, Arm]:
        union = {"union": each.negatives(tier, union=True)} if tier.shown_arms else {}
        return {"original": each.plain(tier), "transformed": each.negatives(tier), **union}

    small, large = arms(replace(way, half=False)), arms(replace(way, half=True))
    return {name: {f"{tier.small_queue}": small[name], f"{LARGEST_QUEUE} or half": large[name]} for name in small}


def _queue_arms(tier: Tier, way: Way) -> dict[str, Arm]:
    return {f"{name} {size}": arm for name, arms in _queues(tier, way).items() for size, arm in arms.items()}


def _judge_queues(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    queues = _queues(tier, way)
    contrasts = [accuracy_contrast(results, tier, f"transformed over original queue, {size}",
                                   queues["transformed"][size], queues["original"][size])
                 for size in queues["original"]]  # fmt: skip
    rows = [row for name, arms in queues.items() for row in points(results, tier, arms, "queue", name)]
    words = "; ".join(f"{name} {accuracies(results, tier, arms)}" for name, arms in queues.items())
    return judged(f"Queues by size: {words}.", contrasts, points=rows)


def _starts(tier: Tier, way: Way = MAIN) -> dict[str, Arm]:
    half = tier.config.epochs // 2
    late = way.transformed(tier, transform_from_epoch=half)
    return {"from the start": way.transformed(tier), f"from epoch {half}": late, "never": way.plain(tier)}


def _judge_starts(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    arms = _starts(tier, way)
    early, late, never = arms
    contrasts = [accuracy_contrast(results, tier, f"{early} over {late}", arms[early], arms[late]),
                 accuracy_contrast(results, tier, f"{late} over {never}", arms[late], arms[never])]  # fmt: skip
    rows = points(results, tier, arms, "features are transformed")
    words = f"{accuracies(results, tier, arms)}. {_learned_words(results, tier, arms, way)}"
    return judged(words, contrasts, points=rows)


Arms = Callable[[Tier, Way], dict[Any, Arm]]
ARMS: dict[str, Arms] = {
    "F2": lambda tier, way: way.choices(tier),
    "F3": _extrapolation,
    "F4": lambda tier, way: {"MoCo": way.plain(tier), **_betas(tier, way)},
    "F5": _queue_arms,
    "F6": _starts,
}


def _tasks(name: str, way: Way) -> Callable[[Tier], list[Task]]:
    return lambda tier: tasks_of(tier, *dict.fromkeys(ARMS[name](tier, way).values()))


def _readings(name: str, judge: Callable[..., Finding], ways: tuple[Way, ...] = WAYS) -> tuple[Reading, ...]:
    return tuple(Reading(way.name, _tasks(name, way), partial(judge, way=way)) for way in ways)


CLAIMS = (
    Claim(
        "F2", "Feature transformation", "section 4, main ablation",
        "Extrapolating positives and interpolating negatives each improve MoCo, and so do both together.",
        "comparison",
        "Linear probe on h: each of the three minus MoCo; all, paired over seeds.",
        _tasks("F2", MAIN), _judge_transformed, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
        main=MAIN.name, readings=_readings("F2", _judge_transformed),
    ),
    Claim(
        "F3", "Feature transformation", "section 4.1",
        "Extrapolating positives, which makes them harder, is better than interpolating them, which makes them easier.",
        "comparison",
        "Linear probe on h: extrapolated minus interpolated positives, negatives as they are; paired over seeds.",
        _tasks("F3", MAIN), _judge_extrapolation, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
        main=MAIN.name, readings=_readings("F3", _judge_extrapolation),
    ),
    Claim(
        "F4", "Feature transformation", "section 4, Beta parameters",
        "Features transformed with any parameter of the Beta distribution are better than MoCo's.",
        "comparison",
        "Linear probe on h: positives extrapolated with Beta(a, a), a = .2, 2, 8, and negatives interpolated with "
        "Beta(b, b), b = .2, 1.6, 8, each minus MoCo; all six, paired over seeds.",
        _tasks("F4", MAIN), _judge_betas, labels=True,
        worth={"accuracy": 0.01},
        why="as F2, whose gain it is about",
        # Six arms each: what changes most.
        main=MAIN.name, readings=_readings("F4", _judge_betas, (AUTHORS, STEP)),
    ),
    Claim(
        "F5", "Feature transformation", "section 4.2, queue",
        "A queue of interpolated negatives is better than the original one, at small and large size.",
        "comparison",
        "Linear probe on h: transformed minus original queue, at both sizes, paired over seeds. Their union is shown "
        "and does not decide: it has twice the negatives.",
        _tasks("F5", MAIN), _judge_queues, labels=True,
        worth={"accuracy": 0.01},
        why="as F2, whose negatives it is about",
        # Its positives are as they are, and its queries plain in any reading.
        main=QUEUE_MAIN, readings=_readings("F5", _judge_queues, (STEP_SLOW, STEP, ROW, NORMALIZED, SLOW)),
    ),
    Claim(
        "F6", "Feature transformation", "section 4, when to start",
        "Features can be transformed from any epoch on, and the earlier the better.",
        "trend",
        "Linear probe on h: from the start minus from half-way, from half-way minus never; both, paired over seeds.",
        _tasks("F6", MAIN), _judge_starts, labels=True,
        worth={"accuracy": 0.01},
        why="as F2",
        main=MAIN.name, readings=_readings("F6", _judge_starts),
    ),
)  # fmt: skip

"""MoCo with feature transformation (arXiv 2108.02982): score distributions, harder positives, mixed negatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from models.cifar.methods.settings import LARGEST_QUEUE
from paper_checks.claims import Claim, Finding, Reading, judged
from paper_checks.statistics.decisions import Contrast, against_zero
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import MOCO, Arm
from paper_checks.trainings.reading import (
    accuracies,
    accuracy_contrast,
    loss_words,
    mean,
    points,
    require_own_views,
    tasks_of,
)

# The paper's queue holds 5 % of its images (65,536 of ImageNet's 1.3 million); small queues of tiers hold 2 to 10 % of
# theirs. models.cifar's default, 4096 or half of the training images, keeps keys for many steps, which move features
# far in short trainings: at momentum .9 and below scores then collapse to 1 (registered/readings.md).
SMALL, HALF = "a queue of a few per cent of the images", "a queue of 4096, or half of the images"
HIGH_MOMENTUM = 0.999


@dataclass(frozen=True)
class Way:
    """One way to read the paper: settings of its arms.

    Attributes:
        name: what is chosen, in words.
        moco: of all arms, by setting of the method.
        transform: of the arms that transform features.
        half: whether the queue has models.cifar's default size, not the tier's small one.
    """

    name: str
    moco: tuple[tuple[str, Any], ...] = ()
    transform: tuple[tuple[str, Any], ...] = ()
    half: bool = False

    def _settings(self, tier: Tier) -> dict[str, Any]:
        return ({} if self.half else {"queue_size": tier.small_queue}) | dict(self.moco)

    def plain(self, tier: Tier) -> Arm:
        """MoCo."""
        return MOCO.with_(**{f"method__{name}": value for name, value in self._settings(tier).items()})

    def transformed(self, tier: Tier, **changes: Any) -> Arm:
        """MoCo with feature transformation; by default of positives and negatives."""
        settings = {**self._settings(tier), **dict(self.transform), **changes}
        if settings.get("positives") == "none":
            # The query is the plain one then.
            settings.pop("negatives_query", None)
        return MOCO.with_(method__name="moco_ft", **{f"method__{name}": value for name, value in settings.items()})

    def positives(self, tier: Tier, **changes: Any) -> Arm:
        """Positives alone: extrapolated unless changed."""
        return self.transformed(tier, negatives="none", **changes)

    def negatives(self, tier: Tier, **changes: Any) -> Arm:
        """Negatives alone."""
        return self.transformed(tier, positives="none", **changes)

    def choices(self, tier: Tier) -> dict[str, Arm]:
        """What is transformed -> arm."""
        return {"neither": self.plain(tier), "positives": self.positives(tier), "negatives": self.negatives(tier),
                "both": self.transformed(tier)}  # fmt: skip

    def positive_betas(self, tier: Tier) -> dict[float, Arm]:
        """Beta parameter -> arm."""
        return {value: self.positives(tier, positive_beta=value) for value in (0.2, 2.0, 8.0)}

    def negative_betas(self, tier: Tier) -> dict[float, Arm]:
        """Beta parameter -> arm."""
        return {value: self.negatives(tier, negative_beta=value) for value in (0.2, 1.6, 8.0)}

    def momenta(self, tier: Tier) -> dict[float, Arm]:
        """Momentum -> MoCo, whose scores are followed through training."""
        values = (0.0, 0.5, 0.9, 0.99, *(value for name, value in self.moco if name == "momentum"))
        epochs = max(tier.config.epochs, FIRST_EPOCHS + FOLLOWED)
        own = replace(self, moco=()).plain(tier).with_(measure_every=1, epochs=epochs)
        return {value: own.with_(method__momentum=value) for value in values}


MAIN = Way("one weight a coordinate, negatives scored by the plain query, not normalized again, momentum .99, "
           f"{SMALL}")  # fmt: skip
# As the command that the authors' code publishes has it.
AUTHORS = Way(
    "the authors' code (one weight a step, negatives scored by the transformed query, momentum .999)",
    (("momentum", HIGH_MOMENTUM),),
    (("weights", "step"), ("negatives_query", "transformed")),
)
ROW = Way("one weight a row", transform=(("weights", "row"),))
STEP = Way("one weight a step", transform=(("weights", "step"),))
QUERY = Way("negatives scored by the transformed query", transform=(("negatives_query", "transformed"),))
NORMALIZED = Way("normalized again", transform=(("renormalize", True),))
SLOW = Way("momentum .999", (("momentum", HIGH_MOMENTUM),))
LARGE = Way(HALF, half=True)
WAYS = (AUTHORS, QUERY, STEP, ROW, NORMALIZED, SLOW, LARGE)
# Where the queue alone is transformed, at both of its sizes.
QUEUE_MAIN = "one weight a coordinate, not normalized again, momentum .99"
STEP_SLOW = Way("the authors' code (one weight a step, momentum .999)", AUTHORS.moco, STEP.transform)
# Where momentum is varied.
MOMENTA_MAIN = f"momenta up to .99, {SMALL}"
TO_HIGH = Way("momenta up to .999", SLOW.moco)
CORRELATION = "atanh of the correlation over momenta"
# Of a correlation that is 1 up to rounding.
MOST = 1.0 - 1e-9
MOMENTS = ("positive_mean", "positive_variance", "negative_mean", "negative_variance")
# Scores of the first epochs move for every momentum, and say nothing about any.
FIRST_EPOCHS = 2
# What comes after them: of fewer epochs steadiness would be one or two differences.
FOLLOWED = 6


def _moment_rows(results: Results, tier: Tier, momenta: dict[float, Arm]) -> list[dict]:
    rows = []
    for momentum, arm in momenta.items():
        accuracy = arm.values(results, tier)
        for seed, epochs in arm.tables(results, tier, "epochs").items():
            rows += [{"curve": f"momentum {momentum:g}", "seed": seed, "epoch": row["epoch"],
                      **{name: row[name] for name in (*MOMENTS, "gradient_norm")}, "accuracy": accuracy[seed]}
                     for row in epochs]  # fmt: skip
    return rows


def _histogram_rows(results: Results, tier: Tier, momenta: dict[float, Arm]) -> list[dict]:
    """Scores of the first seed after the first, a middle and the last epoch."""
    rows = []
    for momentum, arm in momenta.items():
        scores = arm.tables(results, tier, "scores")[0]
        epochs = sorted({row["epoch"] for row in scores})
        shown = {epochs[0], epochs[len(epochs) // 2], epochs[-1]}
        rows += [{"curve": f"momentum {momentum:g}", **row} for row in scores if row["epoch"] in shown]
    return rows


def _unrest(epochs: list[dict]) -> np.ndarray:
    """Mean absolute change from epoch to epoch of each moment of the scores, after the first epochs."""
    table = np.array([[row[name] for name in MOMENTS] for row in epochs[FIRST_EPOCHS:]])
    return np.abs(np.diff(table, axis=0)).mean(0)


def _judge_scores(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    momenta = way.momenta(tier)
    tables = {value: arm.tables(results, tier, "epochs") for value, arm in momenta.items()}
    for value, arm in momenta.items():
        require_own_views(results, tier, arm, tables[value])
    accuracy = {value: arm.values(results, tier) for value, arm in momenta.items()}
    agreement = {}
    for seed in tier.all_seeds:
        unrest = np.stack([_unrest(tables[value][seed]) for value in momenta])
        relative = (unrest / unrest.mean(0)).mean(1)
        agreement[seed] = -float(np.corrcoef(relative, [accuracy[value][seed] for value in momenta])[0, 1])
    # Correlations of four values are far from normal, and tests of their mean err twice as often as they say. Fisher's
    # transform of them is close.
    scores = {seed: float(np.arctanh(np.clip(value, -MOST, MOST))) for seed, value in agreement.items()}
    words = accuracies(results, tier, {f"momentum {value:g}": arm for value, arm in momenta.items()})
    contrast = against_zero("steadiness of scores and accuracy", CORRELATION, scores)
    ends = ", ".join(
        f"{value:g}: {mean({seed: table[-1]['negative_mean'] for seed, table in each.items()}):.2f}"
        for value, each in tables.items()
    )
    # Scores that have collapsed to 1 are steady too.
    found = f"{words}; correlation of steadiness and accuracy {mean(agreement):+.2f}. Mean score of negatives, at last"
    return judged(f"{found}, by momentum: {ends}.", [contrast],
                  moments=_moment_rows(results, tier, momenta),
                  histograms=_histogram_rows(results, tier, momenta))  # fmt: skip


def _over_moco(results: Results, tier: Tier, arms: dict[str, Arm], way: Way) -> list[Contrast]:
    plain = way.plain(tier)
    return [accuracy_contrast(results, tier, f"{name} over MoCo", arm, plain) for name, arm in arms.items()]


def _collapse_words(results: Results, tier: Tier, arm: Arm) -> str:
    """The paper speaks of a MoCo whose scores have not all become 1, and of features that were learned at all."""
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


def _fluctuation(epochs: list[dict]) -> float:
    """Of the gradient's norm from step to step, over its mean: mean over the epochs after the first."""
    if any("gradient_fluctuation" not in row for row in epochs):
        raise ValueError("epochs.csv: of an earlier version, without gradient_fluctuation; delete the trainings at all "
                         "momenta (folders moco,...,measure_every=1,...) to compute them again")  # fmt: skip
    return float(np.mean([row["gradient_fluctuation"] for row in epochs[FIRST_EPOCHS:]]))


def _mean_norms(results: Results, tier: Tier, arm: Arm) -> dict[int, float]:
    return {seed: float(np.mean([row["gradient_norm"] for row in epochs[FIRST_EPOCHS:]]))
            for seed, epochs in arm.tables(results, tier, "epochs").items()}  # fmt: skip


def _judge_gradients(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    momenta = way.momenta(tier)
    low, high = min(momenta), max(momenta)
    of = {value: {seed: _fluctuation(epochs) for seed, epochs in arm.tables(results, tier, "epochs").items()}
          for value, arm in momenta.items()}  # fmt: skip
    measure = "relative fluctuation of the gradient's norm"
    contrast = Contrast(f"momentum {low:g} over {high:g}", measure, of[low], of[high])
    words = ", ".join(f"{value:g}: {mean(each):.2f}" for value, each in of.items())
    size = ", ".join(f"{value:g}: {mean(_mean_norms(results, tier, arm)):.2f}" for value, arm in momenta.items())
    found = f"Fluctuation of the gradient's norm from step to step, over its mean, by momentum: {words}"
    return judged(f"{found}; mean norm: {size}.", [contrast], moments=_moment_rows(results, tier, momenta))


Arms = Callable[[Tier, Way], dict[Any, Arm]]
ARMS: dict[str, Arms] = {
    "F1": lambda tier, way: way.momenta(tier),
    "F2": lambda tier, way: way.choices(tier),
    "F3": _extrapolation,
    "F4": lambda tier, way: {"MoCo": way.plain(tier), **_betas(tier, way)},
    "F5": _queue_arms,
    "F6": _starts,
    "F7": lambda tier, way: way.momenta(tier),
}


def _tasks(name: str, way: Way) -> Callable[[Tier], list[Task]]:
    return lambda tier: tasks_of(tier, *dict.fromkeys(ARMS[name](tier, way).values()))


def _readings(name: str, judge: Callable[..., Finding], ways: tuple[Way, ...] = WAYS) -> tuple[Reading, ...]:
    return tuple(Reading(way.name, _tasks(name, way), partial(judge, way=way)) for way in ways)


CLAIMS = (
    Claim(
        "F1", "Feature transformation", "section 3, score distributions",
        "Momenta whose score distributions keep a steady mean and variance through training give better features.",
        "trend",
        "For every seed: the correlation, over momenta 0, .5, .9, .99, of accuracy (linear probe on h) and minus the "
        "mean change from epoch to epoch of the scores' means and variances (each relative to its mean over "
        "momenta), after the second epoch, in at least 8 epochs; its atanh above 0 over seeds.",
        _tasks("F1", MAIN), _judge_scores, labels=True,
        worth={CORRELATION: 0.1},
        why="over four momenta correlations scatter by more",
        main=MOMENTA_MAIN, readings=_readings("F1", _judge_scores, (TO_HIGH, LARGE)),
    ),
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
    Claim(
        "F7", "Feature transformation", "section 3, gradients",
        "At low momentum gradients fluctuate more.",
        "trend",
        "Of the gradient's norm, in every epoch after the second of at least 8: root mean square of its differences "
        "from step to step, over sqrt(2) and the mean, which leaves out what moves slowly; mean over these epochs, "
        "momentum 0 minus momentum .99; paired over seeds.",
        _tasks("F7", MAIN), _judge_gradients,
        worth={"relative fluctuation of the gradient's norm": 0.1},
        why="a tenth of the norm",
        main=MOMENTA_MAIN, readings=_readings("F7", _judge_gradients, (TO_HIGH, LARGE)),
    ),
)  # fmt: skip

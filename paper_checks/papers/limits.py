"""The limits on real data: do an augmentation limit and a batch floor, predicted from features, hold in training?

Registered before it was run: registered/limits_on_real_data.md, which has every number that stands here.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from models.cifar.training.checks import without_idle
from paper_checks.claims import Claim, Finding, judged
from paper_checks.limits.curves import (
    Place,
    bootstrap_interval,
    crossing_point,
    slopes_beside,
    turning_points,
    within_margin,
)
from paper_checks.limits.trainings import FLOORS, LimitTraining, Question
from paper_checks.statistics.decisions import Contrast, against_zero
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import changed, seeded
from paper_checks.trainings.reading import last_epoch

STRENGTHS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
EMBEDDED = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
METHODS = {"SimCLR": "simclr", "TransFusion": "transfusion"}
VALIDATION_SHARE = 0.3
# One step from level to level.
MARGIN = 0.15
FEWEST_LEVELS = 5
CENSORED = {-1: " (or below)", 0: "", 1: " (or above)"}
BATCH_FACTORS = (1, 2, 4, 8, 16, 32)
BATCH_METHOD, BATCH_STRENGTH = "transfusion", 0.4


def _training(tier: Tier, seed: int, label: str, asks: Question, epochs: int, **settings: object) -> LimitTraining:
    config = changed(tier.config, {name.replace("__", "."): value for name, value in settings.items()})
    data = replace(config.data, validation_share=VALIDATION_SHARE)
    precision = tier.precision or config.precision
    label += f",precision={precision}" if precision != config.precision else ""
    config = replace(config, epochs=epochs, measure_every=epochs, monitor=True, data=data, precision=precision)
    # A tier has sizes for all heads; what this one does not read would be refused.
    return LimitTraining(label, seeded(without_idle(config), seed), asks, EMBEDDED, tier.device, tier.control)


def strength_training(tier: Tier, method: str, strength: float, seed: int) -> LimitTraining:
    """One of L1."""
    label = f"{method},strength={strength:g}"
    return _training(tier, seed, label, "strength", tier.limits.epochs, method__name=method, view__strength=strength)


def batch_sizes(tier: Tier) -> list[int]:
    """Levels of L2."""
    return [tier.limits.smallest_batch * factor for factor in BATCH_FACTORS]


def batch_training(tier: Tier, size: int, seed: int) -> LimitTraining:
    """One of L2; the largest is asked for the floor."""
    epochs = tier.limits.epochs_at_smallest_batch * size // tier.limits.smallest_batch
    asks: Question = "floor" if size == max(batch_sizes(tier)) else "nothing"
    return _training(tier, seed, f"batch_size={size}", asks, epochs, method__name=BATCH_METHOD,
                     view__strength=BATCH_STRENGTH, batch_size=size)  # fmt: skip


def _strength_tasks(tier: Tier) -> list[Task]:
    return [strength_training(tier, method, strength, seed)
            for seed in range(tier.limits.seeds) for method in METHODS.values() for strength in STRENGTHS]  # fmt: skip


def _batch_tasks(tier: Tier) -> list[Task]:
    return [batch_training(tier, size, seed) for seed in range(tier.limits.seeds) for size in batch_sizes(tier)]


def _accuracy(results: Results, task: LimitTraining) -> float:
    """kNN on validation images after the last epoch; NaN where it could not be measured."""
    return float(last_epoch(results.table(task, "epochs"))[0].get("knn", math.nan))


def _advice(results: Results, task: LimitTraining) -> dict[str, dict]:
    return {row["name"]: row for row in results.table(task, "advice")}


def _levels(results: Results, tier: Tier, name: str, method: str) -> list[dict]:
    """One row a seed and strength: accuracy and critical strength."""
    rows = []
    for seed in range(tier.limits.seeds):
        for strength in STRENGTHS:
            task = strength_training(tier, method, strength, seed)
            (found,) = _advice(results, task).values()
            value, low, high = (float(found[column]) for column in ("value", "low", "high"))
            # More is left at the largest strength than was asked for.
            beyond = math.isnan(value) and math.isfinite(low)
            rows.append({"curve": name, "seed": seed, "strength": strength, "accuracy": _accuracy(results, task),
                         "critical": EMBEDDED[-1] if beyond else value, "low": low, "high": high,
                         "beyond": beyond})  # fmt: skip
    return rows


def _grid(rows: list[dict], column: str, seeds: int) -> np.ndarray:
    return np.array([row[column] for row in rows], dtype=float).reshape(seeds, -1)


def turn(accuracies: np.ndarray) -> Place:
    """Where accuracy turns; the smallest of equal places, as registered."""
    return turning_points(STRENGTHS, accuracies)[0]


def cross(critical: np.ndarray) -> Place:
    """Where the critical strength falls below the strength in use."""
    return crossing_point(STRENGTHS, critical, FEWEST_LEVELS)


def _gap(both: np.ndarray) -> float:
    return turn(both[: len(STRENGTHS)]).value - cross(both[len(STRENGTHS) :]).value


def _turn_row(curve: str, seed: str, accuracy: np.ndarray, critical: np.ndarray) -> dict:
    """Turning point, crossing and difference; turning_latest is the largest of equally good turning points."""
    (turning, latest), crossing = turning_points(STRENGTHS, accuracy), cross(critical)
    return {"curve": curve, "seed": seed, "turning": turning.value, "turning_latest": latest.value,
            "turning_censored": turning.censored, "crossing": crossing.value, "crossing_censored": crossing.censored,
            "difference": turning.value - crossing.value}  # fmt: skip


def _turn_rows(curve: str, accuracy: np.ndarray, critical: np.ndarray) -> list[dict]:
    """A row a seed, and one of the mean curves with their intervals."""
    rows = [_turn_row(curve, str(seed), *each) for seed, each in enumerate(zip(accuracy, critical))]
    # A level without a critical strength in some seed has a mean over the others.
    counted = np.isfinite(critical).sum(0)
    means = np.where(counted > 0, np.nansum(critical, axis=0) / np.maximum(counted, 1), np.nan)
    row = _turn_row(curve, "mean curve", accuracy.mean(0), means)
    for column, curves, statistic in (("turning", accuracy, lambda mean: turn(mean).value),
                                      ("crossing", critical, lambda mean: cross(mean).value),
                                      ("difference", np.hstack([accuracy, critical]), _gap)):  # fmt: skip
        row[f"{column}_low"], row[f"{column}_high"] = bootstrap_interval(curves, statistic)
    return [*rows, row]


def _judge_strength(results: Results, tier: Tier) -> Finding:
    seeds, contrasts, levels, turns, words = tier.limits.seeds, [], [], [], []
    for name, method in METHODS.items():
        rows = _levels(results, tier, name, method)
        accuracy, critical = (_grid(rows, column, seeds) for column in ("accuracy", "critical"))
        sides = [within_margin(turn(a), cross(c), MARGIN) for a, c in zip(accuracy, critical)]
        for side, what in enumerate(("earlier", "later")):
            statement = f"{name}: accuracy turns not {what} than the crossing, but for {MARGIN:g}"
            contrasts.append(against_zero(statement, "strength", {s: each[side] for s, each in enumerate(sides)}))
        levels += rows
        turns += _turn_rows(name, accuracy, critical)
        words.append(_turn_words(name, turns[-1], sum(row["beyond"] for row in rows), len(rows)))
    told = f"Trainings of {tier.limits.epochs} epochs; mean curves, exact bootstrap over seeds in brackets"
    return judged(f"{told}: {'; '.join(words)}.", contrasts, limit_levels=levels, limit_turns=turns)


def _turn_words(name: str, row: dict, beyond: int, count: int) -> str:
    parts = []
    for column, word in (
        ("turning", "accuracy turns at"),
        ("crossing", "the crossing is at"),
        ("difference", "apart by"),
    ):
        if not math.isfinite(row[column]):
            parts.append(f"{word}: none")
            continue
        end = CENSORED[row.get(f"{column}_censored", 0)]
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        interval = f"[{low:.2f}, {high:.2f}]" if math.isfinite(low) else "[no interval]"
        parts.append(f"{word} {row[column]:.2f}{end} {interval}")
    more = f"; {beyond} of {count} critical strengths beyond {EMBEDDED[-1]:g}" if beyond else ""
    return f"{name}: {', '.join(parts)}{more}"


def _judge_batches(results: Results, tier: Tier) -> Finding:
    sizes, seeds = batch_sizes(tier), range(tier.limits.seeds)
    levels = [{"seed": seed, "batch_size": size, "accuracy": _accuracy(results, batch_training(tier, size, seed))}
              for seed in seeds for size in sizes]  # fmt: skip
    grid = _grid(levels, "accuracy", len(seeds))
    rows: list[dict] = []
    for seed in seeds:
        found = _advice(results, batch_training(tier, sizes[-1], seed))
        floor, certified = (float(found[name]["value"]) for name in FLOORS)
        below, above = slopes_beside(sizes, grid[seed], floor)
        rows.append({"seed": seed, "floor": floor, "certified": certified, "below": below, "above": above})
    falling, rising = ({row["seed"]: row[side] for row in rows} for side in ("below", "above"))
    measure = "accuracy per doubling"
    contrasts = [against_zero("below the floor accuracy falls", measure, falling),
                 Contrast("faster below the floor than above it", measure, falling, rising)]  # fmt: skip
    means = []
    for k, size in enumerate(sizes):
        low, high = bootstrap_interval(grid, partial(_at, k=k))
        means.append({"batch_size": size, "accuracy": float(grid[:, k].mean()), "low": low, "high": high})
    reached = ", ".join(f"{row['batch_size']} {row['accuracy']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
                        for row in means)  # fmt: skip
    told = ", ".join(f"{word} {_range([row[column] for row in rows])}"
                     for column, word in (("floor", "floor"), ("certified", "certified floor")))  # fmt: skip
    longest = sizes[-1] // sizes[0] * tier.limits.epochs_at_smallest_batch
    epochs = f"Trainings of {tier.limits.epochs_at_smallest_batch} to {longest} epochs"
    text = f"{epochs}; over seeds: {told}. Accuracy by batch size, exact bootstrap over seeds in brackets: {reached}."
    return judged(text, contrasts, floor_levels=levels, floor_values=rows)


def _at(mean: np.ndarray, k: int) -> float:
    return float(mean[k])


def _range(values: list[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "undecided"
    none = f" ({len(values) - len(known)} undecided)" if len(known) < len(values) else ""
    return f"{min(known):.0f} to {max(known):.0f}{none}"


CLAIMS = (
    Claim(
        "L1", "The limits on real data", "a conjecture of this toolkit, beside T2",
        "On real images accuracy turns at the augmentation strength where the critical strength, predicted from the "
        "features, falls below the strength in use.",
        "comparison",
        "SimCLR and TransFusion at seven strengths, five seeds: kNN on validation images turns (peak of the "
        "least-squares tent) within .15, one level, of where the critical strength (ReLU attention keeps half of its "
        "excess affinity sharpness) crosses the strength in use: not earlier and not later, for both methods; all "
        "four, over seeds. Censored values may speak against the claim but not for it. Registered in full in "
        "paper_checks/registered/limits_on_real_data.md.",
        _strength_tasks, _judge_strength, labels=True,
    ),
    Claim(
        "L2", "The limits on real data", "a conjecture of this toolkit, beside T3 (theory.md, Proposition 7)",
        "On real images accuracy falls below the batch floor that is predicted from the features of a training with "
        "large batches.",
        "comparison",
        "TransFusion at six batch sizes with about as many updates, five seeds: accuracy (kNN on validation images) "
        "over log2 of the batch is fitted by two slopes that meet at the advisor's exact floor (5 % of rows without a "
        "true neighbor); the slope below it above 0, and above the slope beyond it; both, over seeds. Registered in "
        "full in paper_checks/registered/limits_on_real_data.md.",
        _batch_tasks, _judge_batches, labels=True,
    ),
)  # fmt: skip

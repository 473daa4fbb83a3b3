"""What is read off finished trainings: accuracies, differences between arms, blocks, and rows for figures."""

import math
from collections.abc import Mapping

from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import Arm, changed

ACCURACY = ("h", "linear")


def tasks_of(tier: Tier, *arms: Arm) -> list[Task]:
    """The trainings of several arms."""
    return [task for arm in arms for task in arm.trainings(tier)]


def mean(values: Mapping[int, float]) -> float:
    """Over seeds; NaN without any."""
    return sum(values.values()) / len(values) if values else math.nan


def accuracies(results: Results, tier: Tier, arms: dict[str, Arm]) -> str:
    """ "Name 81.2 %, Name 79.9 %": the mean accuracies of arms."""
    return ", ".join(f"{name} {mean(arm.values(results, tier)):.1%}" for name, arm in arms.items())


def loss_words(results: Results, tier: Tier, arms: dict[str, Arm]) -> str:
    """ "Mean loss of the first and the last epoch: MoCo 5.86 and 4.76, positives 7.12 and 6.74.": whether arms have
    learned what they were asked."""
    told = []
    for name, arm in arms.items():
        ends = [(table[0]["loss"], table[-1]["loss"]) for table in arm.tables(results, tier, "epochs").values()]
        first, last = (sum(each) / len(each) for each in zip(*ends))
        told.append(f"{name} {first:.2f} and {last:.2f}")
    return f"Mean loss of the first and the last epoch: {', '.join(told)}."


def last_epoch(rows: list[dict]) -> list[dict]:
    """The rows of the last epoch that was measured."""
    last = max((row["epoch"] for row in rows), default=0)
    return [row for row in rows if row["epoch"] == last]


def block_values(results: Results, tier: Tier, arm: Arm, part: str, column: str) -> dict[int, list[float]]:
    """By seed, a column of layers.csv after training, block by block."""
    found = {}
    for seed, rows in arm.tables(results, tier, "layers").items():
        blocks = sorted((r for r in last_epoch(rows) if r["part"] == part), key=lambda row: row["index"])
        wrong = ""
        if any(column not in row for row in blocks):
            wrong = f"of an earlier version, without {column}"
        elif other_views(tier, arm, blocks):
            wrong = "measured by an earlier version, of views of another size than the training's"
        if wrong:
            path = results.folder(arm.trainings(tier.at(max(tier.seeds, seed + 1)))[seed])
            raise ValueError(f"{path}: {wrong}; delete it to compute it again")
        found[seed] = [row[column] for row in blocks]
    return found


def other_views(tier: Tier, arm: Arm, rows: list[dict]) -> bool:
    """Whether rows of layers.csv or epochs.csv were measured of views of another size than the training's, as earlier
    versions did."""
    sizes = set(changed(tier.config, dict(arm.changes)).view_sizes)
    # Without sizes of their own views are as large as images, and always were.
    return bool(sizes) and not {row.get("view_height") for row in rows} <= sizes


def step_contrasts(values: dict[int, list[float]], name: str, measure: str) -> list[Contrast]:
    """Whether every block is above the one before it."""
    depth = min((len(each) for each in values.values()), default=0)
    return [Contrast(f"{name}: block {i + 1} over block {i}", measure,
                     {seed: each[i] for seed, each in values.items()},
                     {seed: each[i - 1] for seed, each in values.items()})
            for i in range(1, depth)]  # fmt: skip


def block_rows(values: dict[int, list[float]], curve: str, measure: str) -> list[dict]:
    """blocks.csv of a claim's figure."""
    return [{"curve": curve, "seed": seed, "block": i, "value": value, "measure": measure}
            for seed, each in values.items() for i, value in enumerate(each)]  # fmt: skip


def accuracy_contrast(results: Results, tier: Tier, name: str, first: Arm, second: Arm) -> Contrast:
    """Whether the first arm is the more accurate: linear probe on h, test images."""
    return Contrast(name, "accuracy", first.values(results, tier), second.values(results, tier))


def points(
    results: Results,
    tier: Tier,
    arms: Mapping[str, Arm] | Mapping[int, Arm] | Mapping[float, Arm],
    factor: str,
    curve: str = "",
) -> list[dict]:
    """One row an arm and seed, for ablation curves: what is varied, its value, accuracies, parameters and seconds.

    Args:
        arms: value of the factor -> arm.
        factor: what is varied.
        curve: which line the points belong to.
    """
    rows = []
    for value, arm in arms.items():
        for task in arm.trainings(tier):
            table = {(r["features"], r["probe"]): r for r in results.table(task, "results")}
            rows.append({
                "factor": factor, "value": value, "curve": curve, "arm": task.label, "seed": task.config.seed,
                "accuracy": table[ACCURACY]["accuracy"],
                **{f"{f}_{p}": table[f, p]["accuracy"] for f, p in table},
                "encoder_parameters": table[ACCURACY]["encoder_parameters"],
                "head_parameters": table[ACCURACY]["head_parameters"],
                "seconds": sum(r["seconds"] for r in results.table(task, "epochs")),
            })  # fmt: skip
    return rows

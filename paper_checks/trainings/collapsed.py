"""Trainings that have collapsed: no affinity above its threshold is left, and with it no gradient.

The affinity loss has gradient 0 in every row without a positive cosine (models/losses/readout.py): where all rows have
none it is ln 2 whatever the weights are, and nothing brings a block back. What such a training has learned says how it
ended, and nothing about the method: its value is missing, and a difference in which one is missing says nothing.
"""

import math
from collections.abc import Mapping

from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import Arm, changed
from paper_checks.trainings.reading import last_epoch

READING = "reading"


def stopped(results: Results, tier: Tier, arm: Arm) -> dict[int, int]:
    """Seed -> the first epoch in which every gradient was 0; only seeds that have one."""
    tables = arm.tables(results, tier, "epochs")
    first = {seed: next((row["epoch"] for row in rows if row["gradient_norm"] == 0.0), None)
             for seed, rows in tables.items()}  # fmt: skip
    return {seed: int(epoch) for seed, epoch in first.items() if epoch is not None}


def dead_readings(results: Results, tier: Tier, arm: Arm) -> dict[int, list[int]]:
    """Seed -> the affinities of its head, by number, that are 0 between all validation images after training; only
    seeds that have some. Heads that are not trained on their affinities have none."""
    if changed(tier.config, dict(arm.changes)).method.name != "transfusion":
        return {}
    found = {seed: [int(row["index"]) for row in last_epoch(rows) if row["part"] == READING and row["sharpness"] == 0.0]
             for seed, rows in arm.tables(results, tier, "layers").items()}  # fmt: skip
    return {seed: dead for seed, dead in found.items() if dead}


def collapsed(results: Results, tier: Tier, arm: Arm) -> set[int]:
    """Seeds whose training has stopped, or ends with affinities that are all 0."""
    return {*stopped(results, tier, arm), *dead_readings(results, tier, arm)}


def without(values: Mapping[int, float], seeds: set[int]) -> dict[int, float]:
    """NaN in the place of these seeds' values."""
    return {seed: math.nan if seed in seeds else value for seed, value in values.items()}


def alive_contrast(results: Results, tier: Tier, name: str, first: Arm, second: Arm) -> Contrast:
    """Whether the first arm is the more accurate (linear probe on h, test images); it says nothing if a training has
    collapsed."""
    one, other = (without(arm.values(results, tier), collapsed(results, tier, arm)) for arm in (first, second))
    return Contrast(name, "accuracy", one, other)


def collapse_words(results: Results, tier: Tier, arms: Mapping[str, Arm]) -> str:
    """Which trainings have collapsed, and how; empty where none has. Begins with a space.

    Args:
        arms: name -> arm.
    """
    words = []
    for name, arm in arms.items():
        still, dead = stopped(results, tier, arm), dead_readings(results, tier, arm)
        if still:
            epochs = f"epoch {min(still.values())} on" + ("" if len(set(still.values())) == 1 else " or later")
            words.append(f"{name}: no gradient from {epochs} in {len(still)} of {tier.seeds} seeds")
        silent = {seed: each for seed, each in dead.items() if seed not in still}
        if silent:
            words.append(f"{name}: affinities of a block all 0 after training in {len(silent)} of {tier.seeds} seeds")
    return f" Collapsed: {'; '.join(words)}; differences with such a training say nothing." if words else ""

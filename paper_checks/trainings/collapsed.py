"""Trainings that have collapsed: none of the affinities that the loss is on is above its threshold, and no gradient is
left.

The affinity loss has gradient 0 in every row without a positive cosine (models/losses/readout.py): where no row of any
affinity has one, the loss is ln 2 whatever the weights are. What such a training has learned says when it stopped, and
nothing about the method: its value is missing, and a difference in which one is missing says nothing.

A block without affinities among others that have some is no collapse: the loss goes on falling through these, and
features are as good as without it (registered/corrections.md, 2026-12-01). It is told, and nothing is left out.
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


def trained_readings(results: Results, tier: Tier, arm: Arm) -> dict[int, dict[int, bool]]:
    """Seed -> number of an affinity that the loss is on -> whether it is 0 between all validation images after
    training. Empty for heads that are not trained on their affinities."""
    method = changed(tier.config, dict(arm.changes)).method
    if method.name != "transfusion":
        return {}
    found = {}
    for seed, rows in arm.tables(results, tier, "layers").items():
        dead = {int(row["index"]): row["sharpness"] == 0.0 for row in last_epoch(rows) if row["part"] == READING}
        last = max(dead, default=0)
        found[seed] = {index: each for index, each in dead.items() if method.intermediate or index == last}
    return found


def collapsed(results: Results, tier: Tier, arm: Arm) -> set[int]:
    """Seeds whose training has stopped, or ends without any affinity that the loss is on."""
    return {*stopped(results, tier, arm), *_silent(trained_readings(results, tier, arm))}


def _silent(readings: Mapping[int, Mapping[int, bool]]) -> set[int]:
    """Seeds without any affinity that the loss is on."""
    return {seed for seed, each in readings.items() if all(each.values())}


def without(values: Mapping[int, float], seeds: set[int]) -> dict[int, float]:
    """NaN in the place of these seeds' values."""
    return {seed: math.nan if seed in seeds else value for seed, value in values.items()}


def known(values: Mapping[int, float]) -> dict[int, float]:
    """Those that are not missing."""
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def alive_contrast(results: Results, tier: Tier, name: str, first: Arm, second: Arm) -> Contrast:
    """Whether the first arm is the more accurate (linear probe on h, test images); it says nothing if a training has
    collapsed."""
    one, other = (without(arm.values(results, tier), collapsed(results, tier, arm)) for arm in (first, second))
    return Contrast(name, "accuracy", one, other)


def collapse_words(results: Results, tier: Tier, arms: Mapping[str, Arm]) -> str:
    """Which trainings have collapsed, and how, and which end with some block without affinities; empty where none
    does. Begins with a space.

    Args:
        arms: name -> arm.
    """
    fallen, silent = [], []
    for name, arm in arms.items():
        still, readings = stopped(results, tier, arm), trained_readings(results, tier, arm)
        whole = _silent(readings) - set(still)
        some = [seed for seed, each in readings.items() if any(each.values()) and seed not in {*still, *whole}]
        if still:
            epochs = f"epoch {min(still.values())} on" + ("" if len(set(still.values())) == 1 else " or later")
            fallen.append(f"{name}: no gradient from {epochs} in {len(still)} of {tier.seeds} seeds")
        if whole:
            fallen.append(f"{name}: no affinity left after training in {len(whole)} of {tier.seeds} seeds")
        if some:
            silent.append(f"{name} in {len(some)} of {tier.seeds} seeds")
    found = f" Collapsed: {'; '.join(fallen)}; a difference with such a training says nothing." if fallen else ""
    return found + (f" Trained to the end with some block without affinities: {'; '.join(silent)}." if silent else "")

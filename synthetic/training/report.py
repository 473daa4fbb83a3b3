"""What a training run prints: breakdown against ideal weights, whether blocks sharpen, and ablation tables."""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from synthetic.measure.boundaries import falling_crossing

# The mean affinity sharpness below which an output counts as broken down.
GOAL = 0.95
AVERAGED = ("certified", "separated_rate", "neighbour_accuracy", "attention_first", "attention_last")


def groups_of(rows: list[dict], *names: str) -> dict[tuple, list[dict]]:
    """Rows by the values of some columns, in order of appearance."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (0 for one value) of what is not NaN; NaN where nothing is left."""
    kept = np.array([value for value in values if not np.isnan(value)])
    if not kept.size:
        return float("nan"), float("nan")
    return float(kept.mean()), float(kept.std(ddof=1)) if kept.size > 1 else 0.0


def breakdown(levels: np.ndarray, sharpness: np.ndarray) -> float:
    """Noise at which the mean sharpness falls through GOAL; inf and -inf where it does not inside the levels, NaN where
    the sharpness at a level is NaN, since a training diverged."""
    # Survivors alone would make the arm look steadier, and a 0 is no sharpness: pooled with levels where nothing
    # diverged it would move the crossing anywhere.
    return math.nan if np.isnan(sharpness).any() else falling_crossing(levels, sharpness, GOAL)


def print_breakdown(rows: list[dict], ideal: list[dict]) -> None:
    """One line for each arm, batch size and noise level; then the breakdown levels."""
    print(
        "\narm            n   noise   sharpness (sd)    certified  separated  neighbours   blocks sharper/duller   "
        "mass first -> last"
    )
    for (arm, size, level), group in groups_of(rows, "arm", "batch_size", "noise_level").items():
        mean, spread = mean_and_spread(row["sharpness"] for row in group)
        average = {name: mean_and_spread(row[name] for row in group)[0] for name in AVERAGED}
        diverged = sum(row["diverged"] for row in group)
        print(
            f"{arm:<12} {size:3d}  {level:6.3f}   {mean:.4f} ({spread:.4f})   {average['certified']:9.4f} "
            f"{average['separated_rate']:10.0%} {average['neighbour_accuracy']:11.1%}   {_blocks(group):<21}   "
            f"{average['attention_first']:.3f} -> {average['attention_last']:.3f}"
            + (f"   {diverged} of {len(group)} diverged, and are left out" if diverged else "")
        )
    print(
        "sharpness, certified: mean affinity sharpness of the output, and what Theorem 4 certifies of it; separated: "
        "batches\nwhose output has alpha > beta; neighbours: rows whose nearest embedding is of their cluster; blocks: "
        "steps from one\nblock's affinity to the next, by more than two standard errors; mass: attention inside the "
        "own cluster (softmax:\noneself included), first and last mixing block."
    )
    print(f"\nNoise at which the mean sharpness falls through {GOAL:g}, and the proved ceilings")
    lost = Counter((row["batch_size"], row["arm"]) for row in rows if row["diverged"])
    for (size,), group in groups_of(breakdown_rows(rows, ideal), "batch_size").items():
        told = {row["name"]: _level(row["noise_level"]) for row in group}
        told |= {arm: f"unknown ({count} diverged)" for (where, arm), count in lost.items() if where == size}
        print(f"  n = {size}: " + "; ".join(f"{name} {level}" for name, level in told.items()))
    print(
        "input: no stack; identity, mapped: stacks with ideal weights; ceilings: one block separates with "
        "probability 1 - delta."
    )


def breakdown_rows(rows: list[dict], ideal: list[dict]) -> list[dict]:
    """breakdowns.csv: for every batch size the breakdown noise of what was trained (NaN, which is an empty field, where
    a training diverged) and of ideal weights, and the proved separation ceilings; inf and -inf where a curve does not
    fall through GOAL inside the levels."""
    table = []
    for (size,), base in groups_of(ideal, "batch_size").items():
        base = sorted(base, key=lambda row: row["noise_level"])
        levels = np.array([row["noise_level"] for row in base])
        ideals = {name: [row[f"{name}_sharpness"] for row in base] for name in ("input", "identity", "mapped")}
        curves = {name: curve for name, curve in ideals.items() if not np.isnan(curve).any()}
        for (arm,), group in groups_of([row for row in rows if row["batch_size"] == size], "arm").items():
            by_level = [[r["sharpness"] for r in group if r["noise_level"] == v] for v in levels]
            if all(by_level):
                curves[arm] = [float(np.mean(values)) for values in by_level]
        found = {name: breakdown(levels, np.array(curve)) for name, curve in curves.items()}
        found |= {f"{name}, proved": base[0][f"{name}_ceiling"] for name in ("identity", "mapped")}
        table += [{"batch_size": size, "name": name, "noise_level": level} for name, level in found.items()]
    return table


def _level(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if np.isfinite(value) else "beyond" if value > 0 else "below"


def _blocks(rows: list[dict]) -> str:
    """Blocks that sharpened, that dulled, and all, over some trainings."""
    blocks, risen, fallen = (
        int(np.nansum([row[name] for row in rows])) for name in ("blocks", "blocks_sharpened", "blocks_dulled")
    )
    return f"{risen:5d}/{fallen} of {blocks}"


def print_ablation(rows: list[dict], ablation: str) -> None:
    """One line an arm and varied value; for learning rates also how wide a range each arm can use."""
    varied = "depth" if ablation == "depth" else "learning_rate"
    print(
        f"\n{'arm':<34} {varied:>13}   sharpness (sd)    neighbours (sd)   separated   blocks sharper/duller   diverged"
    )
    for (arm, value), group in groups_of(rows, "arm", varied).items():
        sharp, near = (mean_and_spread(row[name] for row in group) for name in ("sharpness", "neighbour_accuracy"))
        separated = mean_and_spread(row["separated_rate"] for row in group)[0]
        print(
            f"{arm:<34} {value:13g}   {sharp[0]:.4f} ({sharp[1]:.4f})   {near[0]:8.1%} ({near[1]:.1%})   "
            f"{separated:9.0%}   {_blocks(group):<21} {sum(row['diverged'] for row in group):8d}"
        )
    if ablation in ("loss", "learning_rate"):
        print("\nLearning rates at which the mean neighbour accuracy (sharpness) is within .05 of the arm's best")
        for (arm,), group in groups_of(rows, "arm").items():
            texts = [usable_rates(group, name) for name in ("neighbour_accuracy", "sharpness")]
            print(f"  {arm:<34} {texts[0]:<48} ({texts[1]})")


def usable_rates(rows: list[dict], measure: str, tolerance: float = 0.05) -> str:
    """Best mean, at which learning rate, and how many of the rates come close to it; a diverged run counts as 0."""
    means = {
        rate: float(np.mean([0.0 if np.isnan(row[measure]) else row[measure] for row in group]))
        for (rate,), group in groups_of(rows, "learning_rate").items()
    }
    best = max(means, key=means.__getitem__)
    close = [rate for rate, mean in means.items() if mean >= means[best] - tolerance]
    return f"best {means[best]:.3f} at {best:g}; {len(close)} of {len(means)}: {min(close):g} to {max(close):g}"

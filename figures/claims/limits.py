"""Figures of the limits on real data: accuracy and critical strength by strength, accuracy by batch size."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from figures.claims.style import PERCENT, PLAIN, WIDTH, half_width, over_seeds
from figures.run_folder import RunFolder

TURN, CROSS = "C1", "C2"
# What is known of a place at the first or last level, beyond which nothing was measured, and where its arrow points.
CENSORED = {-1: ("at or below", "<"), 1: ("at or above", ">")}


def draw_turns(run: RunFolder) -> Figure:
    """A column a method: accuracy over the strength in use above, the critical strength below; both turns as lines.

    A turn at the end of the levels is drawn with an arrow, since it may lie beyond; critical strengths beyond the
    largest embedded one, and means with one of them, are triangles without an interval: they are at least that.
    """
    levels, turns = run.tables["limit_levels"], run.tables["limit_turns"]
    curves = list(dict.fromkeys(levels["curve"]))
    figure, grid = plt.subplots(2, len(curves), figsize=(WIDTH, 5.2), sharex=True, sharey="row", squeeze=False)
    for curve, (above, below) in zip(curves, grid.T):
        part = levels[levels["curve"] == curve]
        mean = turns[(turns["curve"] == curve) & (turns["seed"] == "mean curve")].iloc[0]
        _draw_means(above, part, "strength", "accuracy", "C0")
        _draw_means(below, part, "strength", "critical", "C0", beyond="beyond")
        ends = np.array([part["strength"].min(), part["strength"].max()])
        below.plot(ends, ends, color="0.4", linestyle="--", label="strength in use")
        for ax in (above, below):
            _mark(ax, mean, "turning", TURN, "accuracy turns")
            _mark(ax, mean, "crossing", CROSS, "critical falls below use")
        above.set_title(str(curve))
        above.yaxis.set_major_formatter(PERCENT)
        below.set_xlabel("augmentation strength in training")
    grid[0][0].set_ylabel("kNN accuracy, validation")
    grid[1][0].set_ylabel("critical strength")
    # Not every panel has every mark.
    named = {label: handle for ax in (*grid[1], *grid[0]) for handle, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(named.values(), named, loc="outside lower center", ncols=3 if len(named) > 4 else 4)
    count = levels["seed"].nunique()
    figure.suptitle(
        f"{run.config['claim']}: mean and 95 % over {count} seeds; shaded: bootstrap of the mean curve's turn"
    )
    return figure


def _mark(ax: Axes, row: pd.Series, column: str, color: str, label: str) -> None:
    """A place of the mean curve with its interval; nothing where there is none."""
    if math.isfinite(row[column]):
        # Runs of earlier versions do not say.
        said, arrow = CENSORED.get(row.get(f"{column}_censored", 0), ("", ""))
        ax.axvline(row[column], color=color, linewidth=1.2, linestyle=":" if said else "-",
                   label=f"{label}: {said}" if said else label)  # fmt: skip
        if said:
            ax.plot(row[column], 0.94, color=color, marker=arrow, transform=ax.get_xaxis_transform(), clip_on=False)
    if math.isfinite(row[f"{column}_low"]) and math.isfinite(row[f"{column}_high"]):
        ax.axvspan(row[f"{column}_low"], row[f"{column}_high"], color=color, alpha=0.15, linewidth=0)


def _draw_means(ax: Axes, rows: pd.DataFrame, over: str, column: str, color: str, beyond: str | None = None) -> None:
    """Mean over seeds with Student's interval, and every seed small.

    Args:
        beyond: a column that says of which values the truth is larger: they, and means with one of them, are marked as
            such and have no interval, nor a line to them.
    """
    middle, half = over_seeds(rows, over, column, half_width)
    capped = rows[beyond].astype(bool) if beyond in rows else pd.Series(False, index=rows.index)
    least = middle.index.isin(rows.loc[capped, over])
    ax.errorbar(middle.index, middle.mask(least), yerr=half.mask(least), color=color, marker="o", markersize=4,
                capsize=3, label=None if least.all() else "mean, 95 %")  # fmt: skip
    ax.plot(rows.loc[~capped, over], rows.loc[~capped, column], color=color, linestyle="none", marker=".", alpha=0.35)
    if least.any():
        ax.plot(middle.index[least], middle[least], color=color, linestyle="none", marker="^", markersize=5,
                markerfacecolor="white", label="mean, at least")  # fmt: skip
        ax.plot(rows.loc[capped, over], rows.loc[capped, column], color=color, linestyle="none", marker="^",
                markersize=3, alpha=0.35)  # fmt: skip


def draw_floor(run: RunFolder) -> Figure:
    """Accuracy over the batch size, and the floors that were predicted with every seed."""
    levels, floors = run.tables["floor_levels"], run.tables["floor_values"]
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    _draw_means(ax, levels, "batch_size", "accuracy", "C0")
    for column, color, label in (
        ("floor", TURN, "predicted floor, these rows"),
        ("certified", CROSS, "certified floor"),
    ):
        for place, value in enumerate(floors[column].dropna()):
            ax.axvline(value, color=color, linewidth=1, alpha=0.7, label=label if place == 0 else None)
    sizes = sorted(levels["batch_size"].unique())
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(PLAIN)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("batch size")
    ax.set_ylabel("kNN accuracy, validation")
    ax.legend(fontsize=8)
    count = levels["seed"].nunique()
    figure.suptitle(f"{run.config['claim']}: accuracy and predicted batch floors; mean and 95 % over {count} seeds")
    return figure

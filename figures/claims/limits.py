"""Figures of the limits on real data: accuracy and critical strength by strength, accuracy by batch size."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from figures.claims.style import PERCENT, PLAIN, WIDTH, half_width
from figures.run_folder import RunFolder

TURN, CROSS = "C1", "C2"


def draw_turns(run: RunFolder) -> Figure:
    """A column a method: accuracy over the strength in use above, the critical strength below; both turns as lines."""
    levels, turns = run.tables["limit_levels"], run.tables["limit_turns"]
    curves = list(dict.fromkeys(levels["curve"]))
    figure, grid = plt.subplots(2, len(curves), figsize=(WIDTH, 5.2), sharex=True, sharey="row", squeeze=False)
    for curve, (above, below) in zip(curves, grid.T):
        part = levels[levels["curve"] == curve]
        mean = turns[(turns["curve"] == curve) & (turns["seed"] == "mean curve")].iloc[0]
        _draw_means(above, part, "strength", "accuracy", "C0")
        _draw_means(below, part, "strength", "critical", "C0")
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
    figure.legend(*grid[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    count = levels["seed"].nunique()
    figure.suptitle(
        f"{run.config['claim']}: mean and 95 % over {count} seeds; shaded: bootstrap of the mean curve's turn"
    )
    return figure


def _mark(ax: Axes, row: pd.Series, column: str, color: str, label: str) -> None:
    """A place of the mean curve with its interval; nothing where there is none."""
    if math.isfinite(row[column]):
        ax.axvline(row[column], color=color, linewidth=1.2, label=label)
    if math.isfinite(row[f"{column}_low"]) and math.isfinite(row[f"{column}_high"]):
        ax.axvspan(row[f"{column}_low"], row[f"{column}_high"], color=color, alpha=0.15, linewidth=0)


def _draw_means(ax: Axes, rows: pd.DataFrame, over: str, column: str, color: str) -> None:
    """Mean over seeds with Student's interval, and every seed small."""
    grouped = rows[rows[column].notna()].groupby(over)[column]
    middle, half = grouped.mean(), grouped.agg(half_width)
    ax.errorbar(middle.index, middle, yerr=half, color=color, marker="o", markersize=4, capsize=3, label="mean, 95 %")
    ax.plot(rows[over], rows[column], color=color, linestyle="none", marker=".", alpha=0.35)


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

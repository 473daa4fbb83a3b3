"""Ablations of trained stacks: what an arm reaches, over learning rates, depths, or side by side."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.run_folder import RunFolder
from figures.trainings.diverged import as_zero, counted_words

STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MEASURES = (("sharpness", "mean affinity sharpness"), ("neighbour_accuracy", "nearest neighbour of the own cluster"))


def draw(run: RunFolder) -> Figure | None:
    """Curves over what was varied, with bands of one standard deviation over seeds; None for a run that is no
    ablation."""
    ablation = run.config["ablation"]
    if ablation == "none":
        return None
    rows = run.tables["trainings"]
    diverged = counted_words(rows, MEASURES[0][0])
    rows = as_zero(rows, *(name for name, _ in MEASURES))
    varied = {"loss": "learning_rate", "learning_rate": "learning_rate", "depth": "depth"}.get(ablation)
    if varied is None:
        return draw_bars(rows, run, diverged)
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 4.3), sharey=False)
    for ax, (measure, name) in zip(axes, MEASURES):
        draw_curves(ax, rows, varied, measure)
        ax.set_ylabel(name)
        ax.set_ylim(0.0, 1.04)
    arms = rows["arm"].nunique()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, arms))
    figure.suptitle(_title(rows, run, diverged), fontsize=10)
    return figure


def draw_curves(ax: Axes, rows: pd.DataFrame, varied: str, measure: str) -> None:
    """Mean over seeds for each arm, one standard deviation as a band."""
    for i, (arm, part) in enumerate(rows.groupby("arm", sort=False)):
        grouped = part.groupby(varied)[measure]
        mean, spread = grouped.mean(), grouped.std().fillna(0.0)
        style: dict[str, Any] = {"color": f"C{i % 7}", "linestyle": STYLES[i // 7], "marker": MARKERS[i % 7]}
        ax.plot(mean.index, mean, label=arm, markersize=3.5, **style)
        ax.fill_between(mean.index, mean - spread, mean + spread, color=f"C{i % 7}", alpha=0.12, linewidth=0)
    if varied == "learning_rate":
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
    else:
        ax.set_xlabel("mixing blocks")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_bars(rows: pd.DataFrame, run: RunFolder, diverged: str = "") -> Figure:
    """Arms side by side: a dot a seed, a bar for the mean; the title says how many diverged."""
    arms = list(dict.fromkeys(rows["arm"]))
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 1.2 + 0.3 * len(arms)), sharey=True)
    for ax, (measure, name) in zip(axes, MEASURES):
        for place, arm in enumerate(arms):
            values = rows.loc[rows["arm"] == arm, measure]
            ax.barh(place, values.mean(), color="C0", alpha=0.35, height=0.7)
            ax.plot(values, [place] * len(values), "o", color="C0", markersize=3)
        ax.set_xlabel(name)
        ax.set_xlim(0.0, 1.02)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(arms)), arms)
    axes[0].invert_yaxis()
    figure.suptitle(_title(rows, run, diverged), fontsize=10)
    return figure


def _title(rows: pd.DataFrame, run: RunFolder, diverged: str) -> str:
    steps, seeds = run.config["optimisation"]["steps"], rows["seed"].nunique()
    title = (
        rf"Ablation: {run.config['ablation'].replace('_', ' ')} ($\sigma$ = {rows['noise_level'].iloc[0]:g}, "
        f"n = {rows['batch_size'].iloc[0]}, {steps} steps, {seeds} seed{'s' * (seeds > 1)})"
    )
    return "\n".join(filter(None, [title, diverged]))

"""Figures of the scores of positive and negative pairs: their distributions, and their moments over epochs."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.claims.style import (
    ACCURACY,
    PERCENT,
    WIDTH,
    curve_of,
    deviation,
    draw_lines,
    is_wide,
    looks_of,
    name_curves,
    plain_ticks,
    seed_words,
)
from figures.run_folder import RunFolder


def draw_histograms(run: RunFolder) -> Figure:
    """Densities of positive and negative scores, a panel for each curve, the epochs below one another."""
    table = run.tables["histograms"]
    panels = list(table.groupby("curve", sort=False))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    epochs = max(part["epoch"].nunique() for _, part in panels)
    figure, grid = plt.subplots(
        rows, columns, figsize=(WIDTH, 0.8 + rows * (0.5 + 0.45 * epochs)), sharex=True, squeeze=False
    )
    for ax, (curve, part) in zip(grid.flat, panels):
        _draw_ridges(ax, part)
        ax.set_title(str(curve))
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        ax.set_xlabel("cosine of two embeddings")
        ax.tick_params(labelbottom=True)
    filled = table[(table["positive"] > 0) | (table["negative"] > 0)]
    if not filled.empty:
        grid[0][0].set_xlim(filled["from"].min(), filled["to"].max())
    grid[0][0].xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(f"{run.config['claim']}: densities of scores by epoch (each row scaled to its peak)")
    return figure


def _draw_ridges(ax: Axes, part: pd.DataFrame) -> None:
    epochs = sorted(part["epoch"].unique())
    for place, epoch in enumerate(epochs):
        rows = part[part["epoch"] == epoch].sort_values("from")
        edges = np.append(rows["from"], rows["to"].iloc[-1])
        densities = {
            kind: _density(rows[kind].to_numpy(dtype=float), np.diff(edges)) for kind in ("negative", "positive")
        }
        peak = max(each.max() for each in densities.values()) or 1.0
        for kind, color, style in (("negative", "#D55E00", "--"), ("positive", "#0072B2", "-")):
            heights = place - 0.85 * densities[kind] / peak
            label = f"{kind} pairs" if place == 0 else None
            ax.stairs(heights, edges, baseline=place, fill=True, color=color, alpha=0.3)
            ax.stairs(heights, edges, baseline=None, color=color, linestyle=style, linewidth=1.2, label=label)
    ax.set_yticks(range(len(epochs)), [f"epoch {epoch:g}" for epoch in epochs])
    ax.set_ylim(len(epochs) - 0.95, -0.95)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _density(counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    total = np.nansum(counts)
    return np.nan_to_num(counts) / (total * widths) if total > 0 else np.zeros_like(counts)


MOMENT_PANELS = {
    "positive_mean": "positive scores: mean",
    "positive_variance": "positive scores: variance",
    "gradient_norm": "norm of the gradient",
    "negative_mean": "negative scores: mean",
    "negative_variance": "negative scores: variance",
}


def draw_moments(run: RunFolder) -> Figure:
    """Moments of the scores and the gradient's norm over epochs, and what accuracy came of them."""
    table = run.tables["moments"]
    looks = looks_of(table)
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.6))
    for ax, (column, name) in zip(axes.flat, MOMENT_PANELS.items()):
        draw_lines(ax, table, "epoch", column, looks, spread=deviation)
        ax.set_title(name)
        ax.set_xlabel("epoch")
        if not column.endswith("mean") and is_wide(table[column]):
            ax.set_yscale("log")
            plain_ticks(ax.yaxis)
    _draw_final(axes[1][2], table, looks)
    name_curves(figure, axes.flat, looks)
    figure.suptitle(f"{run.config['claim']}: mean over {seed_words(table)}; bands: one standard deviation")
    return figure


def _draw_final(ax: Axes, table: pd.DataFrame, looks: dict[str, dict]) -> None:
    """Accuracy after training, which every epoch's row repeats: single seeds, and their mean as a line."""
    final = table.groupby([curve_of(table), "seed"], sort=False)[ACCURACY].last().dropna()
    for place, (curve, look) in enumerate(looks.items()):
        values = final[final.index.get_level_values(0) == curve]
        ax.plot([place] * len(values), values, alpha=0.6, **{**look, "linestyle": ""})
        if len(values):
            ax.plot([place - 0.3, place + 0.3], [values.mean()] * 2, color=look["color"])
    ax.set_title("accuracy after training")
    ax.set_xticks([])
    ax.set_xlim(-0.6, len(looks) - 0.4)
    ax.yaxis.set_major_formatter(PERCENT)

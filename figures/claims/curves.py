"""Figures of what was varied: accuracy over it, over pairs of augmentations, and a measure over blocks."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from figures.claims.style import (
    ACCURACY,
    PERCENT,
    WIDTH,
    as_numbers,
    curve_of,
    draw_lines,
    half_width,
    is_wide,
    looks_of,
    name_curves,
    plain_ticks,
    seed_words,
)
from figures.run_folder import RunFolder


def draw_curves(run: RunFolder) -> Figure | None:
    """Accuracy against what was varied, a row of panels for each factor: lines over numbers, dots for categories."""
    table = run.tables["points"]
    factors = [part for _, part in table.groupby("factor", sort=False)]
    layouts = [_layout(part) for part in factors]
    columns = max(len(measures) for _, measures, _ in layouts)
    heights = [height for _, _, height in layouts]
    looks = looks_of(table)
    figure, grid = plt.subplots(len(factors), columns, figsize=(WIDTH, 0.4 + 0.3 * (len(looks) > 1) + sum(heights)),
                                squeeze=False, height_ratios=heights)  # fmt: skip
    for axes, part, (numeric, measures, _) in zip(grid, factors, layouts):
        for ax, (column, name) in zip(axes, measures.items()):
            (_draw_numbers if numeric else _draw_categories)(ax, part, column, looks)
            ax.set_title(name)
        for ax in axes[len(measures) :]:
            ax.set_visible(False)
        if len(measures) > 1:
            _share_limits(axes[0], axes[1])
            axes[1].tick_params(labelleft=False)
            axes[1].set_ylabel("")
    name_curves(figure, grid.flat, looks)
    figure.suptitle(f"{run.config['claim']}: accuracy, mean and 95 % interval (small: each of {seed_words(table)})")
    return figure


def _layout(part: pd.DataFrame) -> tuple[bool, dict[str, str], float]:
    """Of one factor: whether it is a number, column -> title of each panel, and the height in inches."""
    if as_numbers(part["value"]) is not None:
        return True, {ACCURACY: ""}, 2.9
    # z is probed where a claim reads it: of some of the values alone it is no comparison.
    both = all(name in part.columns and part[name].notna().groupby(part["value"]).any().all()
               for name in ("h_linear", "z_linear"))  # fmt: skip
    measures = {"h_linear": "linear probe on h", "z_linear": "linear probe on z"} if both else {ACCURACY: ""}
    return False, measures, 0.9 + part["value"].nunique() * (0.2 + 0.16 * len(looks_of(part)))


def _draw_numbers(ax: Axes, part: pd.DataFrame, column: str, looks: dict[str, dict]) -> None:
    values = pd.to_numeric(part["value"]).astype(float)
    for curve, rows in part.assign(value=values).groupby(curve_of(part), sort=False):
        middle, half = _means(rows, "value", column)
        ax.errorbar(middle.index, middle, yerr=half, capsize=3, label=curve, **looks[curve])
        ax.plot(rows["value"], rows[column], linestyle="", marker=looks[curve]["marker"], markersize=3, alpha=0.35,
                color=looks[curve]["color"])  # fmt: skip
    ax.set_xlabel(str(part["factor"].iloc[0]))
    ax.set_ylabel(ACCURACY)
    ax.yaxis.set_major_formatter(PERCENT)
    if is_wide(values):
        ax.set_xscale("log")
        plain_ticks(ax.xaxis, FixedLocator(sorted(values.unique())) if values.nunique() <= 8 else None)


def _draw_categories(ax: Axes, part: pd.DataFrame, column: str, looks: dict[str, dict]) -> None:
    places = {value: place for place, value in enumerate(dict.fromkeys(part["value"]))}
    curves = list(part.groupby(curve_of(part), sort=False))
    step = 0.7 / len(curves)
    for i, (curve, rows) in enumerate(curves):
        shift = (i - (len(curves) - 1) / 2.0) * step
        middle, half = _means(rows, "value", column)
        look = {**looks[curve], "linestyle": ""}
        ax.errorbar(middle, middle.index.map(places) + shift, xerr=half, capsize=3, label=curve, **look)
        ax.plot(rows[column], rows["value"].map(places) + shift + 0.22 * step, alpha=0.35, **{**look, "markersize": 3})
    ax.set_yticks(list(places.values()), [textwrap.fill(str(value), 26) for value in places])
    ax.set_ylim(len(places) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_ylabel(str(part["factor"].iloc[0]))
    ax.set_xlabel(ACCURACY)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _share_limits(*axes: Axes) -> None:
    """h and z on one scale."""
    limits = (min(ax.get_xlim()[0] for ax in axes), max(ax.get_xlim()[1] for ax in axes))
    for ax in axes:
        ax.set_xlim(*limits)


def _means(rows: pd.DataFrame, over: str, column: str) -> tuple[pd.Series, pd.Series]:
    """Mean over seeds, and half the interval's width; none where a value is missing, as in the rule of claims."""
    grouped = rows.groupby(over, sort=False)[column]
    middle = grouped.mean()
    if as_numbers(middle.index.to_series()) is not None:
        middle = middle.sort_index()
    return middle, grouped.agg(half_width)[middle.index]


def draw_composition(run: RunFolder) -> Figure:
    """Mean accuracy of every pair of augmentations, and on the diagonal of each alone."""
    table = run.tables["composition"]
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    means = table.groupby(["first", "second"])[ACCURACY].mean()
    cells = np.full((len(names), len(names)), np.nan)
    for (first, second), value in means.items():
        i, j = names.index(first), names.index(second)
        cells[i, j] = cells[j, i] = value
    side = 1.6 + 0.75 * len(names)
    figure, ax = plt.subplots(figsize=(side + 1.0, side))
    colors = plt.get_cmap("Blues").with_extremes(bad="0.88")
    image = ax.imshow(cells, cmap=colors)
    for i, j in np.ndindex(cells.shape):
        value = cells[i, j]
        dark = math.isfinite(value) and np.asarray(image.norm(value)) > 0.55
        ax.text(j, i, f"{value:.1%}" if math.isfinite(value) else "none", ha="center", va="center", fontsize=10,
                color="white" if dark else "black", fontweight="bold" if i == j else "normal")  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.grid(False)
    ax.set_frame_on(False)
    ax.tick_params(length=0, labelsize=9)
    bar = figure.colorbar(image, ax=ax, format=PERCENT, shrink=0.85)
    bar.set_label("accuracy")
    bar.ax.set_frame_on(False)
    title = f"{run.config['claim']}: two augmentations together (diagonal: one alone)"
    figure.suptitle(f"{title}\nmean accuracy over {seed_words(table)}")
    return figure


def draw_blocks(run: RunFolder) -> Figure:
    """A value of every block, a panel for each measure, a line for each curve with its 95 % interval."""
    table = run.tables["blocks"]
    panels = list(table.groupby("measure", sort=False))
    looks = looks_of(table)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH if len(panels) > 1 else 5.5, 3.3), squeeze=False)
    for ax, (measure, part) in zip(axes[0], panels):
        draw_lines(ax, part, "block", "value", looks, spread=half_width)
        ax.set_ylabel(str(measure))
        ax.set_xlabel("block")
    name_curves(figure, axes.flat, looks)
    figure.suptitle(f"{run.config['claim']}: mean over {seed_words(table)}; bars: 95 % intervals")
    return figure

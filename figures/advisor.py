"""Advice about a user's embeddings: sharpness against batch size, strength and depth; predicted against measured."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from figures.run_folder import RunFolder
from figures.ticks import plain_numbers

COLORS = {"relu": "C0", "softmax": "C1"}
NAMES = {"relu": "ReLU attention", "softmax": "softmax attention"}
PANELS = {
    "batch_size": ("batch size n", "mean affinity sharpness"),
    "isolated": ("batch size n", "rows without a true neighbor"),
    "strength": ("augmentation strength", "mean affinity sharpness"),
    "depth": ("layer", "mean affinity sharpness"),
}
# Which predictions are measurements of which panel's curves.
MEASURED = {"batch_size": "sharpness", "isolated": "isolated", "strength": "strength_sharpness", "depth": "depth"}
KINDS = {
    "sharpness": ("sharpness by batch size", "o", "C0"),
    "isolated": ("share without a true neighbor", "s", "C1"),
    "strength_sharpness": ("sharpness by strength", "^", "C2"),
    "strength": ("largest strength", "*", "C3"),
    "depth": ("sharpness by layer", "D", "C4"),
}


def draw(run: RunFolder) -> Figure | None:
    """One panel a question that was asked; hollow markers are what rows kept aside measured."""
    curves = run.tables["curves"]
    if "question" not in curves:
        return None
    asked = [name for name in PANELS if (curves["question"] == name).any()]
    if not asked:
        return None
    checked = run.tables.get("checked")
    columns = 2 if len(asked) == 4 else len(asked)
    lines = len(asked) // columns
    figure, axes = plt.subplots(lines, columns, figsize=(3.4 * columns + 0.4, 2.6 * lines + 0.9), squeeze=False)
    for ax, name in zip(axes.flat, asked):
        draw_panel(ax, name, curves[curves["question"] == name])
        if checked is not None:
            draw_measured(ax, checked[checked["kind"] == MEASURED[name]])
        if name == "isolated":
            ax.axhline(run.config["share"], color="0.3", linestyle="--", linewidth=1)
    handles: list[Artist] = [Line2D([], [], color=COLORS[kind], label=NAMES[kind]) for kind in COLORS
               if (curves["curve"] == kind).any()]  # fmt: skip
    handles.append(Patch(facecolor="0.5", alpha=0.25, label="95 % for rows drawn anew"))
    handles.append(Line2D([], [], color="0.6", linewidth=1, label="chance"))
    if "isolated" in asked:
        handles.append(Line2D([], [], color="0.3", linestyle="--", linewidth=1, label="share allowed"))
    if checked is not None:
        handles.append(Line2D([], [], color="0.15", linestyle="none", marker="o", markerfacecolor="none",
                              label="measured on rows kept aside"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_panel(ax: Axes, name: str, rows: pd.DataFrame) -> None:
    """Curves with their bands, and chance."""
    for kind, part in rows.groupby("curve", sort=False):
        part = part.sort_values("at")
        ax.plot(part["at"], part["value"], color=COLORS[kind], marker=".")
        ax.fill_between(part["at"], part["low"], part["high"], color=COLORS[kind], alpha=0.25, linewidth=0)
    chance = rows.drop_duplicates("at").sort_values("at")
    if chance["chance"].notna().any():
        ax.plot(chance["at"], chance["chance"], color="0.6", linewidth=1)
    if name in ("batch_size", "isolated"):
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
    elif name == "depth":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel(PANELS[name][0])
    ax.set_ylabel(PANELS[name][1])


def draw_measured(ax: Axes, rows: pd.DataFrame) -> None:
    """A hollow marker where something was measured."""
    for kind, part in rows.groupby("curve", sort=False):
        ax.plot(part["at"], part["measured"], color=COLORS[kind], linestyle="none", marker="o", markerfacecolor="none")


def draw_checked(run: RunFolder) -> Figure | None:
    """Measured over predicted, with the interval that was predicted; on the diagonal the two agree."""
    checked = run.tables["checked"]
    checked = checked[checked["measured"].notna()]
    if checked.empty:
        return None
    figure, ax = plt.subplots(figsize=(4.6, 4.4))
    largest = 1.05 * max(1.0 / 1.05, checked["value"].max(), checked["measured"].max())
    ax.plot([0, largest], [0, largest], color="0.6", linewidth=1)
    for kind, part in checked.groupby("kind", sort=False):
        label, marker, color = KINDS[kind]
        reach = [part["value"] - part["low"].clip(lower=0), part["high"].clip(upper=largest) - part["value"]]
        ax.errorbar(part["value"], part["measured"], xerr=[each.clip(lower=0) for each in reach], color=color,
                    marker=marker, linestyle="none", linewidth=0.7, label=label)  # fmt: skip
    wrong = checked[checked["status"] == "CONTRADICTED"]
    if len(wrong):
        ax.plot(wrong["value"], wrong["measured"], color="0.1", linestyle="none", marker="x", markersize=10,
                label="contradicted")  # fmt: skip
    confirmed = int((checked["status"] == "CONFIRMED").sum())
    ax.set_xlabel("predicted, with the 95 % interval for the measured value")
    ax.set_ylabel("measured on rows kept aside")
    ax.set_title(f"{confirmed} of {len(checked)} predictions inside their intervals")
    ax.set_xlim(0, largest)
    ax.set_ylim(0, largest)
    ax.legend(loc="upper left")
    return figure

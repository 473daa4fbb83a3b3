"""Trained stacks: breakdown against ideal weights and the proved ceilings, and affinity sharpness block by block."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.typing import LineStyleType

from figures.looks import MARKERS, color_and_marker
from figures.run_folder import RunFolder
from figures.ticks import plain_numbers_if_few
from figures.trainings.diverged import as_zero, counted_words

# Leaks below this are of round-off.
ROUNDING = 1e-15
CEILINGS = (("identity", "C2"), ("mapped", "C4"))
IDEAL: tuple[tuple[str, str, LineStyleType], ...] = (
    ("input", "no stack", ":"),
    ("identity", "ideal weights: identity", "--"),
    ("mapped", "ideal weights: W", "-."),
)


def draw_breakdown(run: RunFolder) -> Figure:
    """One panel a batch size: sharpness of the output against noise, trained (a dot a seed, 0 where it diverged) and
    ideal. With several batch sizes a last panel has the noise at which each curve breaks down, if that is known."""
    rows, ideal = as_zero(run.tables["trainings"], "sharpness"), run.tables["ideal"]
    sizes = sorted(ideal["batch_size"].unique())
    panels = len(sizes) + (len(sizes) > 1)
    figure, axes = plt.subplots(1, panels, figsize=(1.2 + 2.7 * panels, 3.8), squeeze=False)
    arms = list(dict.fromkeys(rows["arm"]))
    if len(sizes) > 1:
        draw_against_batch_size(axes[0][-1], run.tables["breakdowns"], arms)
    for ax, size in zip(axes[0], sizes):
        draw_ideal(ax, ideal[ideal["batch_size"] == size])
        own = rows[rows["batch_size"] == size]
        for i, arm in enumerate(arms):
            part = own[own["arm"] == arm]
            if not part.empty:
                mean = part.groupby("noise_level")["sharpness"].mean()
                ax.plot(mean.index, mean, color=f"C{i}")
                # Those at 0 are seen whole.
                ax.plot(part["noise_level"], part["sharpness"], MARKERS[i], color=f"C{i}", alpha=0.7, clip_on=False)
        ax.set_title(f"n = {size}")
        ax.set_xlabel(r"noise level $\sigma$")
        ax.set_xlim(left=0)
        ax.set_ylim(0.0, 1.04)
    axes[0][0].set_ylabel("mean affinity sharpness of the output")
    handles = [Line2D([], [], color=f"C{i}", marker=MARKERS[i]) for i in range(len(arms))]
    handles += [Line2D([], [], color="0.35", linestyle=style) for _, _, style in IDEAL]
    handles += [Line2D([], [], color=shade, linewidth=3.5, alpha=0.5) for _, shade in CEILINGS]
    names = [
        *(f"trained: {arm}" for arm in arms),
        *(name for _, name, _ in IDEAL),
        "proved ceiling: identity",
        "proved ceiling: W",
    ]
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    diverged = counted_words(run.tables["trainings"], "sharpness")
    unknown = run.tables["breakdowns"]
    unknown = unknown[unknown["name"].isin(arms) & unknown["noise_level"].isna()]
    if len(sizes) > 1 and not unknown.empty:
        # Runs of earlier versions have breakdowns in which they count as 0.
        diverged += "; no breakdown is known where one diverged"
    title = "Trained against ideal breakdown: how much noise a stack can take"
    figure.suptitle("\n".join(filter(None, [title, diverged])), fontsize=10)
    return figure


def draw_against_batch_size(ax: Axes, table: pd.DataFrame, arms: list[str]) -> None:
    """Breakdown noise over the batch size; what does not break down inside the noise levels, or where a training
    diverged, is left out."""
    table = table[np.isfinite(table["noise_level"])]
    styles: dict[str, dict[str, Any]] = {}
    styles |= {name: {"color": "0.35", "linestyle": style, "linewidth": 1.2} for name, _, style in IDEAL}
    styles |= {f"{name}, proved": {"color": shade, "linewidth": 3.5, "alpha": 0.5} for name, shade in CEILINGS}
    styles |= {arm: {"color": f"C{i}", "marker": MARKERS[i]} for i, arm in enumerate(arms)}
    for name, part in table.sort_values("batch_size").groupby("name"):
        ax.plot(part["batch_size"], part["noise_level"], **styles[name])
    sizes = sorted(table["batch_size"].unique())
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("batch size n")
    ax.set_title("noise at which sharpness\nfalls through .95")
    ax.set_ylim(bottom=0.0)


def draw_ideal(ax: Axes, ideal: pd.DataFrame) -> None:
    """Sharpness without a stack and with ideal weights, and the separation ceilings of the latter."""
    ideal = ideal.sort_values("noise_level")
    for name, _, style in IDEAL:
        if ideal[f"{name}_sharpness"].notna().any():
            ax.plot(ideal["noise_level"], ideal[f"{name}_sharpness"], color="0.35", linestyle=style, linewidth=1.2)
    for name, shade in CEILINGS:
        ceiling = ideal[f"{name}_ceiling"].iloc[0]
        if ceiling > 0:
            ax.axvline(ceiling, color=shade, linewidth=3.5, alpha=0.5, zorder=0)


def draw_blocks(run: RunFolder) -> Figure:
    """Left: the mass outside the own cluster in every block's final affinity, upside down, one line a noise level.
    Right: every block's sharpness through training, with what the loss certifies. One row of panels an arm, at its
    largest batch."""
    rows, history = run.tables["trainings"], run.tables["history"]
    arms = list(dict.fromkeys(rows["arm"]))
    figure, axes = plt.subplots(len(arms), 2, figsize=(8.8, 0.9 + 2.7 * len(arms)), squeeze=False)
    for line, arm in zip(axes, arms):
        every = rows[rows["arm"] == arm]
        every = every[every["batch_size"] == every["batch_size"].max()]
        own = every[~every["diverged"].astype(bool)]
        line[0].set_ylabel(f"{arm}\nleak = 1 - sharpness (up: sharper)")
        line[1].set_ylabel("mean affinity sharpness")
        if own.empty:
            for ax in line:
                ax.text(0.5, 0.5, "every training diverged", transform=ax.transAxes, ha="center", va="center")
            continue
        levels = np.sort(own["noise_level"].unique())
        draw_final(line[0], own, history, levels)
        shown = own[own["noise_level"] == levels[len(levels) // 2]].iloc[0]
        draw_learning(line[1], history[history["cell"] == shown["cell"]])
        line[1].set_ylim(0.0, 1.04)
        left_out = len(every) - len(own)
        seeds = f"{len(own)} of {len(every)} trainings, {left_out} diverged" if left_out else "every seed"
        line[0].set_title(rf"after training, {seeds} (numbers: noise $\sigma$)")
        line[1].set_title(rf"through training, $\sigma$ = {shown['noise_level']:g}, seed {shown['seed']}")
    axes[-1][0].set_xlabel("block (the last one is the output)")
    axes[-1][1].set_xlabel("optimizer step")
    figure.suptitle("Does every block sharpen?", fontsize=10)
    return figure


def draw_final(ax: Axes, rows: pd.DataFrame, history: pd.DataFrame, levels: np.ndarray) -> None:
    """One minus the sharpness of every block at the end of the training; up is sharper. Where nothing is left, which a
    logarithmic axis has no place for, a triangle stands beyond the least that is."""
    last = history[history["cell"].isin(rows["cell"])]
    last = last[last["step"] == last.groupby("cell")["step"].transform("max")]
    last = last.assign(leak=1.0 - last["sharpness"])
    none = last["leak"] <= ROUNDING
    floor = 0.5 * last.loc[~none, "leak"].min() if not none.all() else ROUNDING
    last["leak"] = last["leak"].mask(none, floor)
    for i, level in enumerate(levels):
        for cell in rows.loc[rows["noise_level"] == level, "cell"]:
            part = last[last["cell"] == cell].sort_values("layer")
            ax.plot(part["layer"], part["leak"], linewidth=1, **color_and_marker(i))
        # The last line's end tells which noise it was.
        end = part.iloc[-1]
        ax.annotate(
            f"{level:g}", (end["layer"], end["leak"]), xytext=(6, 0), textcoords="offset points",
            color=f"C{i % 7}", va="center", fontsize=7.5,
        )  # fmt: skip
    if none.any():
        ax.plot(last.loc[none, "layer"], last.loc[none, "leak"], "^", color="0.2", markersize=9, markerfacecolor="none",
                label="no leak at all")  # fmt: skip
        ax.legend(fontsize=7)
    ax.set_yscale("log")
    plain_numbers_if_few(ax.yaxis)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_learning(ax: Axes, history: pd.DataFrame) -> None:
    """Measured sharpness of every block against the step, and the certified one as dashes."""
    layers = np.sort(history["layer"].unique())
    for i, layer in enumerate(layers):
        part = history[history["layer"] == layer].sort_values("step")
        color = plt.get_cmap("viridis")(0.85 * i / max(1, len(layers) - 1))
        ax.plot(part["step"], part["sharpness"], color=color, label=f"block {layer}")
        ax.plot(part["step"], part["certified"], color=color, linestyle="--", linewidth=1)
    handles, names = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color="0.4", linestyle="--"))
    ax.legend(handles, [*names, "certified (Thm 4)"], fontsize=7, loc="lower right", ncols=2)

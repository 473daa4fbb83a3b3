"""Success rate against noise, with confidence bands and the proved ceilings drawn in (Theorems 2b and 2f)."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.looks import color_and_marker
from figures.run_folder import RunFolder, without_controls
from figures.ticks import success_rate

OUTCOMES = (
    ("separated", "separation", "Separated at the input\n(one block suffices)"),
    ("admits_threshold", "persistence", "Theorem 2a's hypotheses hold\n(separated at every depth)"),
    ("recovered", "persistence", "Clusters recovered\nat every layer of the stack"),
)
CERTIFIED = (0, (1, 1.5))
NOISE_NAMES = {
    "gaussian": r"noise level $\sigma$",
    "bounded": r"noise level $\epsilon$ (uniform in the ball)",
    "sphere": r"noise level $\epsilon$ (on the sphere)",
    "worst": r"noise level $\epsilon$ (worst case)",
}


def draw(run: RunFolder) -> Figure:
    """One row of panels for each ambient dimension, one panel for each kind of success."""
    table = run.tables["rows"]
    rows = without_controls(table)
    rows = rows[~rows["mapped"]]
    beside = table[table["control"] == "fusion"] if "control" in table else table[:0]
    dims, sizes = (sorted(int(each) for each in rows[name].unique()) for name in ("ambient_dim", "batch_size"))
    figure, axes = plt.subplots(
        len(dims), 3, figsize=(8.4, 0.7 + 2.2 * len(dims)), sharey=True, sharex="row", squeeze=False
    )
    for line, dim in zip(axes, dims):
        for ax, (outcome, ceiling, title) in zip(line, OUTCOMES):
            # Recovery is promised with the threshold that theory recommends, not with one of the user's own.
            promised = outcome != "recovered" or run.config["threshold"] is None
            draw_panel(ax, rows[rows["ambient_dim"] == dim], sizes, outcome, ceiling, run.config["delta"], promised)
            if outcome == "recovered":
                draw_repair(ax, rows[rows["ambient_dim"] == dim], beside[beside["ambient_dim"] == dim], sizes)
            ax.set_xlabel(NOISE_NAMES[rows["noise"].iloc[0]])
            if dim == dims[0]:
                ax.set_title(title)
        line[0].set_ylabel(f"success rate, D = {dim}")
    handles = [Line2D([], [], **color_and_marker(i)) for i in range(len(sizes))]
    handles += [Line2D([], [], color="0.3", linestyle=(0, (4, 2))), Line2D([], [], color="0.5", linestyle=":")]
    names = [*(f"n = {size}" for size in sizes), "proved ceiling (of each n)", success_rate(run.config["delta"])]
    if "certified_rate" in rows:
        handles.append(Line2D([], [], color="0.3", linestyle=CERTIFIED, linewidth=1.0))
        names.append("certified from some layer on (2a')")
    if len(beside):
        handles.append(Line2D([], [], color="0.3", linestyle="-.", marker="o", markerfacecolor="white"))
        names.append("layers 1 to L, threshold and ceiling of 2f")
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4))
    trials = rows["trials"].iloc[0]
    figure.suptitle(
        f"Success against noise: {rows['num_clusters'].iloc[0]} clusters, {trials} batches a point, "
        f"95 % Clopper-Pearson bands",
        fontsize=10,
    )
    return figure


def draw_repair(ax: Axes, rows: pd.DataFrame, beside: pd.DataFrame, sizes: list[int]) -> None:
    """What Theorems 2a' and 2f say of recovery: the share of batches that are certified to be recovered from some layer
    on, thinly dashed, and, with hollow marks, recovery at and past the fusion ceiling, which is the line there.

    Args:
        beside: the rows with the threshold of Theorem 2f.
    """
    if "certified_rate" in rows:
        for size, group in rows.groupby("batch_size"):
            group = group.sort_values("noise_level")
            color = color_and_marker(sizes.index(size))["color"]
            ax.plot(group["noise_level"], group["certified_rate"], color=color, linestyle=CERTIFIED, linewidth=1.0)
    for size, group in beside.groupby("batch_size"):
        group, look = group.sort_values("noise_level"), color_and_marker(sizes.index(size))
        ax.plot(group["noise_level"], group["repaired_rate"], **look, markerfacecolor="white", linestyle="-.")
        ax.axvline(group["fusion_ceiling"].iloc[0], color=look["color"], linestyle="-.", linewidth=1.2)


def draw_panel(
    ax: Axes, rows: pd.DataFrame, sizes: list[int], outcome: str, ceiling: str, delta: float, promised: bool = True
) -> None:
    """Success rate by batch size; dashes are each batch size's ceiling, in its color, where one is promised.

    Args:
        sizes: all batch sizes of the figure: each looks the same in every panel.
    """
    for size, group in rows.groupby("batch_size"):
        group = group.sort_values("noise_level")
        look = color_and_marker(sizes.index(size))
        ax.plot(group["noise_level"], group[f"{outcome}_rate"], label=f"n = {size}", **look)
        ax.fill_between(
            group["noise_level"],
            group[f"{outcome}_low"],
            group[f"{outcome}_high"],
            color=look["color"],
            alpha=0.18,
            linewidth=0,
        )
        bound = group[f"{ceiling}_ceiling"].iloc[0]
        if bound > 0 and promised:
            ax.axvline(bound, color=look["color"], linestyle=(0, (4, 2)), linewidth=1.2)
    ax.axhline(1 - delta, color="0.5", linewidth=0.8, linestyle=":")
    ax.set_ylim(-0.03, 1.06)
    ax.set_xlim(left=0)

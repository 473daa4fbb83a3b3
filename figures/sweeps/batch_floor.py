"""Recovery against cluster size, with the floors of Theorem 2c, and the noise that fusion leaves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from figures.run_folder import RunFolder
from figures.ticks import plain_numbers, plain_numbers_if_few, success_rate

KINDS = ("signed", "squared")
COLORS = {"signed": "C0", "squared": "C1"}
FLOORS: tuple[tuple[str, LineStyleType], ...] = (("isolated", ":"), ("simulated", "--"), ("proved", "-"))


def draw(run: RunFolder) -> Figure:
    """One panel for each subspace dimension (rows) and angle with noise (columns); one curve a kind of affinity."""
    rows, floors = run.tables["rows"], run.tables["floors"]
    dims = sorted(floors["subspace_dim"].unique())
    settings = list(dict.fromkeys(zip(rows["principal_angle_deg"], rows["noise_share"])))
    figure, axes = plt.subplots(
        len(dims), len(settings), figsize=(0.9 + 2.5 * len(settings), 1.1 + 1.9 * len(dims)), sharey=True, squeeze=False
    )
    for column, (angle, share) in zip(axes.T, settings):
        own = rows[(rows["principal_angle_deg"] == angle) & (rows["noise_share"] == share)]
        for ax, dim in zip(column, dims):
            part = own[own["subspace_dim"] == dim]
            if part.empty:
                ax.set_axis_off()
                continue
            draw_panel(ax, part, floors[floors["group"].isin(part["group"])], run.config["delta"])
            # Not every dimension has every setting.
            if dim == own["subspace_dim"].min():
                noise = "no noise" if share == 0 else f"noise {part['noise_level'].iloc[0]:.2f}"
                ax.set_title(f"{angle:g}° apart, {noise}", fontsize=9)
            if dim == own["subspace_dim"].max():
                ax.set_xlabel("points a cluster")
    for line, dim in zip(axes, dims):
        line[0].set_ylabel(f"recovery, r = {dim}" + (" (exact floor)" if dim == 2 else ""))
    kinds = [kind for kind in KINDS if (rows["affinity"] == kind).any()]
    handles = [Line2D([], [], color=COLORS[kind], marker="o") for kind in kinds]
    handles += [Line2D([], [], color="0.3", linestyle=style) for _, style in FLOORS]
    handles.append(Line2D([], [], color="black", linewidth=0.8))
    names = [f"{kind} affinity, measured" for kind in kinds]
    names += ["isolated points alone (heuristic)", "simulated floor", "proved floor: guaranteed from here on"]
    names.append("exact rate (r = 2, no noise)")
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    trials, clusters = rows["trials"].iloc[0], rows["num_clusters"].iloc[0]
    figure.suptitle(
        f"How many points one block needs to recover {clusters} clusters that fill r-dimensional subspaces\n"
        f"{trials} batches a point, 95 % bands, dotted line {success_rate(run.config['delta'])}",
        fontsize=10,
    )
    return figure


def draw_panel(ax: Axes, rows: pd.DataFrame, floors: pd.DataFrame, delta: float) -> None:
    """Curves and vertical floors, each kind of affinity in its color."""
    for kind in KINDS:
        part = rows[rows["affinity"] == kind].sort_values("cluster_size")
        if part.empty:
            continue
        size, color = part["cluster_size"], COLORS[kind]
        ax.plot(size, part["recovered_rate"], marker="o", color=color, markersize=3)
        ax.plot(size, part["exact_rate"], color="black", linewidth=0.8, zorder=3)
        ax.fill_between(size, part["recovered_low"], part["recovered_high"], color=color, alpha=0.18, linewidth=0)
        for _, row in floors[floors["affinity"] == kind].iterrows():
            for name, style in FLOORS:
                ax.axvline(row[name], color=color, linestyle=style, linewidth=1.1)
    ax.axhline(1 - delta, color="0.5", linewidth=0.8, linestyle=":", label=success_rate(delta))
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    ax.set_ylim(-0.03, 1.06)


def draw_floors(run: RunFolder) -> Figure | None:
    """Left: proved, simulated and heuristic floors over the measured one. Right, where both were measured: squared over
    signed floors. None where recovery never turned, so that nothing was measured."""
    floors = run.tables["floors"]
    floors = floors[floors["measured"].notna()]
    if floors.empty:
        return None
    keys = ["subspace_dim", "principal_angle_deg", "noise_level"]
    pairs = floors[floors["affinity"] == "signed"].merge(floors[floors["affinity"] == "squared"], on=keys)
    widths = [5.0] if pairs.empty else [5.0, 3.2]
    figure, axes = plt.subplots(1, len(widths), figsize=(sum(widths), 3.4), width_ratios=widths, squeeze=False)
    _draw_ratios(axes[0][0], floors)
    if not pairs.empty:
        _draw_savings(axes[0][1], pairs)
    return figure


def _draw_ratios(left: Axes, floors: pd.DataFrame) -> None:
    """Every floor over the measured one, the noise-free groups if there are some."""
    clean = floors[floors["noise_level"] == 0]
    clean = floors if clean.empty else clean
    names = [f"r={r:g}, {a:g}°\n{k}" for r, a, k in
             zip(clean["subspace_dim"], clean["principal_angle_deg"], clean["affinity"])]  # fmt: skip
    place = np.arange(len(clean))
    for name, label, marker in (
        ("one_step", "one-step descent (proved)", "v"),
        ("proved", "two-step descent; exact for r = 2 (proved)", "s"),
        ("simulated", "simulated", "o"),
        ("isolated", "isolated points (heuristic)", "x"),
    ):
        left.plot(place, clean[name] / clean["measured"], linestyle="", marker=marker, label=label)
    left.axhline(1, color="0.4", linewidth=0.9)
    left.set_xticks(place, names, rotation=90, fontsize=7)
    left.set_ylabel("floor / measured floor")
    left.set_ylim(bottom=0)
    left.legend(fontsize=7)
    left.set_title("Noise-free groups" if len(clean) < len(floors) else "All groups", fontsize=9)


def _draw_savings(right: Axes, pairs: pd.DataFrame) -> None:
    """Floors of squared affinities over those of signed ones."""
    for name, marker in (("proved", "s"), ("measured", "o")):
        right.plot(pairs[f"{name}_x"], pairs[f"{name}_y"] / pairs[f"{name}_x"], linestyle="", marker=marker, label=name)
    right.axhline(0.5, color="0.4", linewidth=0.9, linestyle="--")
    right.set_xscale("log")
    plain_numbers(right.xaxis)
    right.set_ylim(0, max(1.0, 1.05 * right.dataLim.y1))
    right.set_xlabel("signed floor, points a cluster")
    right.set_ylabel("squared / signed")
    right.legend()
    right.set_title("What ignoring signs saves (dashes: half)", fontsize=9)


def draw_denoising(run: RunFolder) -> Figure:
    """Noise left in fused points against cluster size, with the bound, 1/sqrt(m) and the limit 1/sqrt(D)."""
    table = run.tables["denoising"]
    dims = sorted(table["ambient_dim"].unique())
    figure, axes = plt.subplots(1, len(dims), figsize=(0.8 + 3.4 * len(dims), 3.4), sharey=True, squeeze=False)
    for ax, dim in zip(axes[0], dims):
        part = table[table["ambient_dim"] == dim].sort_values("cluster_size")
        size = part["cluster_size"]
        ax.plot(size, part["bound"], marker="s", label="proved bound on every point")
        ax.plot(size, part["measured"], marker="o", label="measured, worst point (mean over batches)")
        ax.plot(size, part["noise_level"] / np.sqrt(size), color="0.4", linestyle="--", label=r"$\sigma/\sqrt{m}$")
        ax.plot(size, part["limit"], color="0.4", linestyle=":", label=r"limit of the bound, $\sigma/\sqrt{\kappa D}$")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_yscale("log")
        plain_numbers_if_few(ax.yaxis)
        ax.set_xlabel("points a cluster m")
        ax.set_title(f"D = {dim}", fontsize=9)
    axes[0][0].set_ylabel("noise left in a fused point")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    figure.suptitle(
        f"Larger clusters average more noise away (σ = {table['noise_level'].iloc[0]:g}, "
        f"{table['depth'].iloc[0]} blocks)",
        fontsize=10,
    )
    return figure

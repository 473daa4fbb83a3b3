"""Measured boundary against the proved bound: how much noise theory leaves on the table."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.run_folder import RunFolder
from figures.ticks import success_rate

MARKERS = {"separation": "o", "persistence": "s", "fusion": "^"}


def draw(run: RunFolder) -> Figure:
    """Left: measured boundary against ceiling. Right: their ratio, tightness, by ambient dimension and batch size."""
    table = run.tables["boundaries"]
    table = table[(table["bound"] > 0) & table["measured"].notna()].sort_values(["ambient_dim", "batch_size"])
    if table.empty:
        return _nothing_measured()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.4), width_ratios=(1, 1.25))
    draw_diagonal(left, table)
    draw_ratios(right, table)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    success = success_rate(run.config["delta"])
    figure.suptitle(f"Noise at which success falls to {success}, measured against proved", fontsize=10)
    return figure


def _nothing_measured() -> Figure:
    """Success that never fell, or a ceiling of zero, leaves nothing to compare: say so instead of drawing axes."""
    figure = plt.figure(figsize=(7.6, 1.2))
    figure.text(
        0.5,
        0.5,
        "No boundary was measured inside the noise levels of this run, or no ceiling is positive.",
        ha="center",
        va="center",
    )
    return figure


def _errors(group: pd.DataFrame, scale: pd.Series | float = 1.0) -> np.ndarray:
    """Distances to the interval's ends; towards an end that lies outside the grid no bar is drawn."""
    ends = (group["measured"] - group["measured_low"], group["measured_high"] - group["measured"])
    return np.nan_to_num(np.stack([end / scale for end in ends])).clip(min=0)


def draw_diagonal(ax: Axes, table: pd.DataFrame) -> None:
    """Points on or above the diagonal confirm the bound."""
    for name, group in table.groupby("ceiling", sort=False):
        ax.errorbar(
            group["bound"],
            group["measured"],
            yerr=_errors(group),
            fmt=MARKERS[name],
            capsize=2,
            label=f"{name} ceiling",
        )
    top = float(np.nanmax([table["measured_high"].max(), table["measured"].max(), table["bound"].max()])) * 1.08
    ax.plot([0, top], [0, top], color="0.4", linewidth=1, label="measured = proved")
    ax.fill_between([0, top], [0, top], color="0.92", zorder=0)
    ax.text(0.97, 0.05, "theory violated", transform=ax.transAxes, ha="right", color="0.35")
    ax.set(xlabel="proved ceiling", ylabel="measured boundary", xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")


def draw_ratios(ax: Axes, table: pd.DataFrame) -> None:
    """Tightness: 1 is a perfect bound, below 1 a wrong one."""
    places = list(dict.fromkeys((r.ambient_dim, r.batch_size) for r in table.itertuples()))
    for shift, (name, group) in zip((-0.12, 0.12, 0.0), table.groupby("ceiling", sort=False)):
        where = [places.index((r.ambient_dim, r.batch_size)) + shift for r in group.itertuples()]
        ax.errorbar(where, group["tightness"], yerr=_errors(group, group["bound"]), fmt=MARKERS[name], capsize=2)
    ax.axhline(1.0, color="0.4", linewidth=1)
    low, high = ax.get_ylim()
    ax.axhspan(0, 1, color="0.92", zorder=0)
    ax.set_ylim(min(0.9, low), max(1.3, high))
    ax.text(0.98, 0.03, "theory violated", transform=ax.transAxes, ha="right", color="0.35")
    ax.set_xlim(-0.5, len(places) - 0.5)
    ax.set_xticks(range(len(places)), [f"D={dim}\nn={size}" for dim, size in places])
    ax.set_ylabel("tightness = measured / proved")


def draw_grid(run: RunFolder) -> Figure:
    """The tightness table: one panel a dimension, geometries side by side, 95 % intervals."""
    table = run.tables["tightness"].replace([np.inf, -np.inf], np.nan)
    dims = sorted(table["ambient_dim"].unique())
    figure, axes = plt.subplots(1, len(dims), figsize=(1.2 + 2.1 * len(dims), 3.2), sharey=True, squeeze=False)
    places = sorted({(r.num_clusters, r.cluster_size) for r in table.itertuples()})
    cosines = sorted(table["within_cos"].unique())
    for ax, dim in zip(axes[0], dims):
        for within, group in table[table["ambient_dim"] == dim].groupby("within_cos"):
            # A cosine looks the same in every panel.
            i = cosines.index(within)
            where = [places.index((r.num_clusters, r.cluster_size)) for r in group.itertuples()]
            errors = np.stack(
                [group["tightness"] - group["tightness_low"], group["tightness_high"] - group["tightness"]]
            )
            name = f"within cosine {within:g}"
            ax.errorbar(
                np.array(where) + 0.2 * (i - 0.5 * (len(cosines) - 1)),
                group["tightness"],
                yerr=errors.clip(min=0),
                fmt="os^Dv"[i % 5],
                color=f"C{i % 7}",
                capsize=2,
                label=name,
            )
        ax.axhline(1.0, color="0.4", linewidth=1)
        ax.set_xlim(-0.5, len(places) - 0.5)
        ax.set_xticks(range(len(places)), [f"K={k}\nm={m}" for k, m in places])
        ax.set_title(f"D = {dim}")
    # Panels share their scale: limits set in one of them would cut off what the next ones show.
    low, high = axes[0][0].get_ylim()
    for ax in axes[0]:
        ax.axhspan(0, 1, color="0.92", zorder=0)
    axes[0][0].set_ylim(min(0.97, low), max(1.2, high))
    axes[0][0].set_ylabel("tightness = measured / proved")
    named = {label: bar for ax in axes[0] for bar, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(named.values(), named, loc="outside lower center", ncols=5)
    figure.suptitle(
        f"Gaussian separation ceiling: measured {success_rate(run.config['delta'])} breakdown over the bound, "
        f"{table['trials'].iloc[0]} batches each",
        fontsize=10,
    )
    return figure

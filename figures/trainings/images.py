"""Trainings on real images: losses and probes by epoch, score distributions, affinity by block, angles of views."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.run_folder import RunFolder
from figures.ticks import plain_numbers_if_few

# Rows of results.csv that learned features are held against.
BASELINES = (("pixels", "raw pixels", "--"), ("untrained", "untrained encoder", ":"))
# Of a panel's height, a line of a legend in small letters.
LEGEND_LINE = 0.09


def draw_curves(run: RunFolder) -> Figure:
    """Loss and gradient norm; and where they were measured kNN accuracy on validation images, with that of the pixels
    and of the untrained encoder, angles of views beside Theorem 2b's ceiling, and the critical strength beside the one
    in use."""
    epochs = run.tables["epochs"].sort_values("epoch")
    panels = [_curve("loss", "loss")]
    if _measured(epochs, "knn"):
        panels.append(lambda ax, epochs: draw_knn(ax, epochs, run.tables.get("results")))
    if _measured(epochs, "gradient_norm"):
        panels.append(_curve("gradient_norm", "gradient norm"))
    if _measured(epochs, "phi_q50"):
        panels.append(lambda ax, epochs: draw_angles(ax, epochs[epochs["phi_q50"].notna()]))
    if "critical_strength" in epochs:
        panels.append(lambda ax, epochs: draw_strengths(ax, epochs[epochs["strength"].notna()]))
    # One panel alone must still hold the title.
    figure, axes = plt.subplots(1, len(panels), figsize=(max(4.0, 2.9 * len(panels)), 2.9), squeeze=False)
    for ax, draw_panel in zip(axes[0], panels):
        draw_panel(ax, epochs)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(_title(run), fontsize=10)
    return figure


def _measured(epochs: pd.DataFrame, column: str) -> bool:
    return column in epochs and bool(epochs[column].notna().any())


def _curve(column: str, name: str) -> Callable[[Axes, pd.DataFrame], None]:
    def draw_panel(ax: Axes, epochs: pd.DataFrame) -> None:
        part = epochs[epochs[column].notna()]
        ax.plot(part["epoch"], part[column], marker="o", markersize=3)
        ax.set_title(name)
        if column == "gradient_norm":
            ax.set_yscale("log")
            plain_numbers_if_few(ax.yaxis)

    return draw_panel


def draw_knn(ax: Axes, epochs: pd.DataFrame, results: pd.DataFrame | None = None) -> None:
    """kNN accuracy of h on validation images by epoch, and of the baselines with the same k and temperature; results of
    earlier versions have none."""
    _curve("knn", "kNN accuracy, validation")(ax, epochs)
    ax.set_ylim(0.0, 1.0)
    if results is None or "monitor_accuracy" not in results:
        return
    levels = results[results["probe"] == "knn"].set_index("features")["monitor_accuracy"].dropna()
    for kind, name, look in BASELINES:
        if kind in levels:
            ax.axhline(levels[kind], color="0.3", linewidth=1, linestyle=look, label=f"{name} {levels[kind]:.1%}")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=7, loc="lower right")


def draw_angles(ax: Axes, epochs: pd.DataFrame) -> None:
    """Angle between a view and its image in feature space; below the ceiling bounded noise would do no harm."""
    degrees = {name: np.degrees(epochs[name]) for name in ("phi_q05", "phi_q50", "phi_q95")}
    ax.plot(epochs["epoch"], degrees["phi_q50"], color="C0", label="views: median")
    ax.fill_between(
        epochs["epoch"], degrees["phi_q05"], degrees["phi_q95"], color="C0", alpha=0.2, linewidth=0, label="5 to 95 %"
    )
    # Where classes overlap there is no ceiling, which is not a ceiling of 0. Without pairs of classes there is none to
    # speak of.
    known = _measured(epochs, "ceiling")
    ceiling = np.degrees(epochs["ceiling"]).where(epochs["ceiling"] > 0.0) if known else pd.Series(dtype=float)
    if not known:
        ax.plot([], [], linestyle="none", label="no ceiling: it needs\n2 classes of 2 images")
    elif ceiling.notna().any():
        ax.plot(epochs["epoch"], ceiling, color="0.3", linestyle="--", label="ceiling (2b, quantiles)")
    else:
        ax.plot([], [], linestyle="none", label=does_not_apply(epochs))
    ax.set_title("angular noise of views, degrees")
    # The legend has the upper part to itself: wherever the band runs, it does not lie over it.
    lines = sum(1 + label.count("\n") for label in ax.get_legend_handles_labels()[1])
    ax.set_ylim(0.0, np.nanmax([degrees["phi_q95"].max(), ceiling.max()]) / (1.0 - LEGEND_LINE * (lines + 0.5)))
    ax.legend(fontsize=7, loc="upper left")


def draw_strengths(ax: Axes, epochs: pd.DataFrame) -> None:
    """The strength in use, and the critical one with its interval: above the line, half of the excess is kept."""
    ax.plot(epochs["epoch"], epochs["strength"], color="0.3", linestyle="--", label="in use")
    known = epochs[epochs["critical_strength"].notna()]
    # An interval that has no upper end is drawn below the value alone.
    above = (known["critical_high"] - known["critical_strength"]).fillna(0.0)
    below = known["critical_strength"] - known["critical_low"]
    if not known.empty:
        look: dict[str, Any] = {"color": "C0", "marker": "o", "markersize": 3, "capsize": 2}
        ax.errorbar(known["epoch"], known["critical_strength"], yerr=[below, above], label="critical, 95 %", **look)
    beyond = epochs[epochs["critical_strength"].isna() & epochs["critical_low"].notna()]
    if not beyond.empty:
        ax.plot(beyond["epoch"], beyond["critical_low"], color="C0", linestyle="none", marker="^", label="at least")
    ax.set_title("augmentation strength")
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize=7)


def does_not_apply(epochs: pd.DataFrame) -> str:
    """Why Theorem 2b has no ceiling here, of the last epoch; runs of earlier versions did not count the pairs."""
    closer = epochs["closer"].dropna() if "closer" in epochs else pd.Series(dtype=float)
    if closer.empty:
        return "2b does not apply:\nclasses overlap"
    return f"2b does not apply:\n{closer.iloc[-1]:.0%} of the cross pairs are\ncloser than the farthest\nwithin pair"


def draw_scores(run: RunFolder) -> Figure:
    """Histograms of positive and negative scores over epochs, as heat maps, with mean and one standard deviation."""
    scores, epochs = run.tables["scores"], run.tables["epochs"]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True)
    epochs = epochs[epochs["positive_mean"].notna()].sort_values("epoch")
    tables = {kind: scores.pivot(index="from", columns="epoch", values=kind) for kind in ("positive", "negative")}
    roots = {kind: np.sqrt(table / table.sum(axis=0)).to_numpy() for kind, table in tables.items()}
    top = max(float(np.nanmax(root)) for root in roots.values())
    for ax, (kind, table) in zip(axes, tables.items()):
        places = _around(table.columns.to_numpy(dtype=float))
        edges = np.append(table.index, scores["to"].max())
        heat = ax.pcolormesh(places, edges, roots[kind], cmap="Blues", vmin=0.0, vmax=top, rasterized=True)
        mean, spread = epochs[f"{kind}_mean"], np.sqrt(epochs[f"{kind}_variance"])
        ax.errorbar(epochs["epoch"], mean, yerr=spread, color="C1", marker="o", markersize=3, capsize=2)
        ax.set_title(f"{kind} scores")
        ax.set_xlabel("epoch")
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylabel("cosine of two embeddings")
    figure.colorbar(heat, ax=axes, label="square root of the share")
    figure.suptitle(f"{_title(run)}: scores (bars: mean, one sd)", fontsize=10)
    return figure


def _around(centers: np.ndarray) -> np.ndarray:
    """Edges of columns around these epochs, which may be measured every few only: halfway from one to the next."""
    if len(centers) == 1:
        return centers[0] + np.array([-0.5, 0.5])
    middles = 0.5 * (centers[:-1] + centers[1:])
    return np.concatenate([[2.0 * centers[0] - middles[0]], middles, [2.0 * centers[-1] - middles[-1]]])


def draw_layers(run: RunFolder) -> Figure:
    """Affinity sharpness of every reading by epoch, with what the loss certifies; class mass of attention beside it."""
    layers = run.tables["layers"]
    readings, attention = (layers[layers["part"] == part] for part in ("reading", "attention"))
    panels = 1 + (not attention.empty)
    figure, axes = plt.subplots(1, panels, figsize=(0.8 + 4.2 * panels, 3.3), squeeze=False)
    chance = float(readings["chance"].iloc[0])
    _draw_series(axes[0][0], readings, "sharpness", "certified", chance)
    axes[0][0].axhline(chance, color="0.6", linewidth=1)
    axes[0][0].set_title("affinity sharpness (dashes: certified; gray: chance)")
    if panels == 2:
        _draw_series(axes[0][1], attention, "class_mass")
        axes[0][1].set_title("attention inside the own class")
    figure.suptitle(f"{_title(run)}, validation images", fontsize=10)
    return figure


def _draw_series(ax: Axes, table: pd.DataFrame, column: str, dashed: str | None = None, shown: float = 0.0) -> None:
    """A line for each block, and one in dashes beside it; the panel reaches as far up as ``shown`` at least."""
    indices = sorted(table["index"].unique())
    for i, index in enumerate(indices):
        part = table[table["index"] == index].sort_values("epoch")
        color = plt.get_cmap("viridis")(0.85 * i / max(1, len(indices) - 1))
        ax.plot(part["epoch"], part[column], color=color, marker="o", markersize=3, label=f"block {index}")
        if dashed is not None:
            ax.plot(part["epoch"], part[dashed], color=color, linestyle="--", linewidth=1)
    ax.set_xlabel("epoch")
    ax.set_ylim(0.0, 1.12 * max(shown, float(table[column].max())))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(fontsize=7)


def _title(run: RunFolder) -> str:
    config = run.config
    name = config["data"]["dataset"].rstrip("/").split("/")[-1]
    return f"{config['method']['name']} on {name}, {config['encoder']['kind']} encoder, batch {config['batch_size']}"

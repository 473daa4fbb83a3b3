"""Layer by layer: alpha, beta, cluster integrity and affinity sharpness, with Theorem 1's rate and 2a's cap."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures.run_folder import RunFolder, without_controls

MARKERS = ("o", "s", "^", "D", "v")
QUANTITIES = (
    ("alpha_min", r"smallest within cosine $\alpha_l$"),
    ("beta_max", r"largest cross cosine $\beta_l$"),
    ("integrity_min", r"cluster integrity $\alpha_l - \beta_l$"),
    ("sharpness_min", "affinity sharpness"),
)


def draw(run: RunFolder) -> Figure:
    """One row of panels for each ambient dimension, at its largest batch size; one line for each of a few noises."""
    rows, layers = without_controls(run.tables["rows"]), run.tables["layers"]
    dims = sorted(rows["ambient_dim"].unique())
    figure, axes = plt.subplots(len(dims), 4, figsize=(10.4, 0.8 + 2.2 * len(dims)), sharex=True, squeeze=False)
    for line, dim in zip(axes, dims):
        group = rows[rows["ambient_dim"] == dim]
        group = group[group["batch_size"] == group["batch_size"].max()]
        cells = select_cells(group)
        for ax, (quantity, name) in zip(line, QUANTITIES):
            draw_panel(ax, cells, layers, quantity)
            if dim == dims[0]:
                ax.set_title(name)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if dim == dims[-1]:
                ax.set_xlabel("layer")
        line[0].set_ylabel(f"D = {dim}, n = {group['batch_size'].iloc[0]}")
        line[3].legend(
            *line[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1.02, 0.5), title="noise level"
        )
    figure.legend(
        [Line2D([], [], color="0.3", linestyle="--"), Line2D([], [], color="0.3", linestyle=":"),
         Line2D([], [], color="0.6", linestyle="-", linewidth=1)],
        [r"Theorem 1's rate: floor of $\alpha_l$", r"Theorem 2a's cap on $\beta_l$", "chance sharpness"],
        loc="outside lower center", ncols=3,
    )  # fmt: skip
    figure.suptitle(f"Worst of {rows['trials'].iloc[0]} batches, layer by layer", fontsize=10)
    return figure


def select_cells(group: pd.DataFrame) -> pd.DataFrame:
    """The noise-free cell, the last levels under both ceilings, and where recovery begins to fail and has failed."""
    noisy = group[~group["mapped"]].sort_values("noise_level")
    picks = [group[group["mapped"]].head(1)]
    picks += [noisy[noisy[f"{name}_guaranteed"]].tail(1) for name in ("persistence", "separation")]
    picks += [noisy[noisy["recovered_rate"] < level].head(1) for level in (0.9, 0.05)]
    return pd.concat(picks).drop_duplicates("cell")


def draw_panel(ax: Axes, cells: pd.DataFrame, layers: pd.DataFrame, quantity: str) -> None:
    """One quantity over layers for each cell, with the bounds that apply to it."""
    for i, cell in enumerate(cells.itertuples()):
        part = layers[layers["cell"] == cell.cell].sort_values("layer")
        name = "0, keys W x (Thm 1)" if cell.mapped else f"{cell.noise_level:.3g} ({_guarantee(cell)})"
        (line,) = ax.plot(part["layer"], part[quantity], marker=MARKERS[i % len(MARKERS)], label=name)
        if quantity == "alpha_min":
            ax.plot(part["layer"], part["alpha_rate_bound"], color=line.get_color(), linestyle="--", linewidth=1)
        if quantity == "beta_max":
            ax.plot(part["layer"], part["beta_cap"], color=line.get_color(), linestyle=":", linewidth=1.3)
        if quantity == "sharpness_min":
            ax.plot(part["layer"], part["sharpness_chance"], color="0.6", linewidth=1, zorder=1)
    if quantity == "sharpness_min":
        ax.set_ylim(-0.05, 1.08)


def _guarantee(cell) -> str:
    if cell.persistence_guaranteed:
        return "every depth guaranteed"
    return "one block guaranteed" if cell.separation_guaranteed else "no guarantee"

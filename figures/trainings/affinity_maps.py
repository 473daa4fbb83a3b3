"""Affinity matrices sorted by label, block by block, before and after training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from figures.run_folder import RunFolder

STAGES = ("before", "after")


def draw(run: RunFolder, table: str) -> Figure:
    """Rows: before and after training; columns: blocks. Values over 1/(m - 1), what an ideal entry has."""
    maps = run.tables[table]
    layers = sorted(maps["layer"].unique())
    figure, axes = plt.subplots(2, len(layers), figsize=(1.1 + 1.75 * len(layers), 4.0), squeeze=False)
    for line, stage in zip(axes, STAGES):
        for ax, layer in zip(line, layers):
            part = maps[(maps["stage"] == stage) & (maps["layer"] == layer)].sort_values("row")
            if part.empty:
                _say_diverged(ax)
            else:
                image = draw_map(ax, part)
            if stage == STAGES[0]:
                ax.set_title("output" if layer == layers[-1] else f"block {layer}")
        line[0].set_ylabel(f"{stage} training")
    figure.colorbar(image, ax=axes, label="affinity / ideal", fraction=0.03, extend="max")
    training = run.tables["trainings"].set_index("cell").loc[maps["cell"].iloc[0]]
    figure.suptitle(
        f"{training['arm']}: affinity of one fresh batch, rows sorted by cluster "
        rf"($\sigma$ = {training['noise_level']:g}, n = {training['batch_size']})",
        fontsize=10,
    )
    return figure


def _say_diverged(ax: Axes) -> None:
    """A training that diverged has no affinities afterwards."""
    ax.text(0.5, 0.5, "diverged", transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def draw_map(ax: Axes, rows: pd.DataFrame) -> AxesImage:
    """One matrix, its clusters outlined."""
    values = rows[[f"c{i}" for i in range(len(rows))]].to_numpy()
    classes = np.unique(rows["class"].to_numpy(), return_inverse=True)[1]
    ideal = 1.0 / (np.bincount(classes)[classes] - 1)
    image = ax.imshow(values / ideal[:, None], cmap="magma_r", vmin=0.0, vmax=1.5, interpolation="nearest")
    for edge in np.flatnonzero(np.diff(classes)) + 0.5:
        ax.axhline(edge, color="0.5", linewidth=0.4)
        ax.axvline(edge, color="0.5", linewidth=0.4)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    return image

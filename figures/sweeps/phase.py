"""The phase diagram: recovery over noise and cluster size as a heat map, the guaranteed region outlined."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.run_folder import RunFolder
from figures.sweeps.noise_bounds import NOISE_NAMES
from figures.ticks import plain_numbers

# Below the plateau that noise leaves at 1 - delta/2 and more, where the contour would be ragged.
CONTOUR = 0.9
LENS = (0, (3, 1.5))


def draw(run: RunFolder) -> Figure:
    """One panel a kind of noise."""
    rows = run.tables["rows"]
    panels = list(dict.fromkeys(zip(rows["panel"], rows["noise"])))
    figure, axes = plt.subplots(1, len(panels), figsize=(1.4 + 3.5 * len(panels), 4.1), sharey=True, squeeze=False)
    for ax, (panel, noise) in zip(axes[0], panels):
        heat = draw_panel(ax, run, panel)
        ax.set_xlabel(NOISE_NAMES[noise])
    axes[0][0].set_ylabel("points a cluster")
    figure.colorbar(heat, ax=axes[0], label="measured recovery rate", pad=0.02)
    first = rows.iloc[0]
    figure.legend(
        [Line2D([], [], color="white", linewidth=2.4), Line2D([], [], color="white", linewidth=1.2, linestyle=LENS),
         Line2D([], [], color="black", linestyle="--")],
        ["proved floor: recovery is guaranteed above it", "by Theorem 2c alone",
         f"measured: {CONTOUR:.0%} of the batches recovered"],
        loc="outside lower center", ncols=3, frameon=True, facecolor="0.7",
    )  # fmt: skip
    figure.suptitle(
        f"Too much noise, or too few points: {first['num_clusters']} clusters that fill "
        f"{first['subspace_dim']}-dimensional subspaces, one block\n({first['affinity']} affinity, "
        f"{first['trials']} batches a point, dots: where it was measured)",
        fontsize=10,
    )
    return figure


def draw_panel(ax: Axes, run: RunFolder, panel: int) -> PolyCollection:
    """Squares in the color of their recovery rate, the guaranteed region outlined and hatched."""
    squares, outline, rows = (
        run.tables[name][run.tables[name]["panel"] == panel] for name in ("squares", "outline", "rows")
    )
    x0, x1, y0, y1 = (squares[name].to_numpy() for name in ("noise_from", "noise_to", "size_from", "size_to"))
    polygons = np.stack(
        [np.stack([x0, y0], -1), np.stack([x1, y0], -1), np.stack([x1, y1], -1), np.stack([x0, y1], -1)], 1
    )
    heat = PolyCollection(list(polygons), array=squares["recovered_rate"].to_numpy(), cmap="viridis", edgecolors="face")
    heat.set_clim(0, 1)
    ax.add_collection(heat)
    top = y1.max()
    known = outline[outline["proved_floor"].notna()]
    if not known.empty:
        ax.plot(known["noise_level"], known["proved_floor"], color="white", linewidth=2.4)
        ax.fill_between(
            known["noise_level"], np.minimum(known["proved_floor"], top), top, facecolor="none", edgecolor="white",
            hatch="//", linewidth=0.0, alpha=0.55,
        )  # fmt: skip
    # Of earlier runs, and where 2c is all there is, nothing more is known.
    lens = outline[outline["lens_floor"].notna()] if "lens_floor" in outline else outline[:0]
    if not lens.empty and not lens["lens_floor"].equals(known["proved_floor"]):
        ax.plot(lens["noise_level"], lens["lens_floor"], color="white", linewidth=1.2, linestyle=LENS)
    ax.tricontour(
        rows["noise_level"], rows["cluster_size"], rows["recovered_rate"], levels=[CONTOUR],
        colors="black", linestyles="--", linewidths=1.2,
    )  # fmt: skip
    ax.scatter(rows["noise_level"], rows["cluster_size"], s=1.2, color="0.9", linewidths=0, alpha=0.6)
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)
    ax.set_xlim(x0.min(), x1.max())
    ax.set_ylim(y0.min(), top)
    return heat

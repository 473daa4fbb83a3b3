"""What large batches cost against their size, width and depth."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures.run_folder import RunFolder

LABELS = {"n": "points n", "ambient_dim": "coordinates D", "depth": "blocks L"}


def draw(run: RunFolder) -> Figure:
    """Seconds on logarithmic axes, a panel a slope, with the fitted line and, dashed, the bare products' time."""
    rows, slopes = run.tables["memory"], run.tables["slopes"]
    figure, panels = plt.subplots(1, len(slopes), figsize=(3.0 * len(slopes), 3.0), squeeze=False)
    for ax, (_, fit) in zip(panels[0], slopes.iterrows()):
        axis = fit["axis"]
        part = rows[rows["axis"] == axis].sort_values(axis)
        fitted = part if axis != "n" else part[part["tile_rows"] > 0]
        ax.plot(part[axis], part["seconds"], "o", label="measured")
        line = np.exp(fit["intercept"] + fit["slope"] * np.log(fitted[axis]))
        ax.plot(fitted[axis], line, color="C0", label="fitted")
        ax.plot(part[axis], part["product_seconds"], "--", color="C1", label="bare products")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ticks = sorted(part[axis])
        ax.set_xticks(ticks[:: -(-len(ticks) // 4)], [f"{tick:,}" for tick in ticks[:: -(-len(ticks) // 4)]])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(LABELS[axis])
        ax.set_title(f"slope {fit['slope']:.2f} ± {fit['standard_error']:.2f}", fontsize=9)
    panels[0][0].set_ylabel("seconds")
    panels[0][0].legend(fontsize=7)
    return figure

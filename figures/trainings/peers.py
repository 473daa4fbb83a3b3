"""Losses against what a user would take instead of them."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures.run_folder import RunFolder

COLUMNS = (("ratio", "times as fast"), ("memory_ratio", "times less memory"))
MARKERS = {"nt_xent": "o", "supcon": "s", "affinity": "^"}


def draw(run: RunFolder) -> Figure | None:
    """How many times the peer's time, with its extremes over the rounds, and memory are ours, over n; a line for every
    loss and peer. None where nothing was timed."""
    rows = run.tables["peer_losses"]
    rows = rows[rows["status"] == "timed"]
    if rows.empty:
        return None
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharex=True)
    peers = list(dict.fromkeys(rows["peer"]))
    for (loss, peer), part in rows.groupby(["loss", "peer"], sort=False):
        part = part.sort_values("n")
        look = {"marker": MARKERS[loss], "color": f"C{list(MARKERS).index(loss)}",
                "linestyle": "-" if peer == peers[0] else "--", "label": f"{loss} against {peer}"}  # fmt: skip
        for ax, (column, _) in zip(axes, COLUMNS):
            ax.plot(part["n"], part[column], **look)
        axes[0].fill_between(part["n"], part["ratio_min"], part["ratio_max"], color=look["color"], alpha=0.15)
    sizes = sorted(rows["n"].unique())
    for ax, (_, label) in zip(axes, COLUMNS):
        ax.axhline(1.0, color="0.5", linestyle=":")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("rows n")
        ax.set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure

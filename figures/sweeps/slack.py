"""Proved numbers against measured ones, a line a combination: how much each gives away, and how often batches fail."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.run_folder import RunFolder

# kind -> (what is proved, the ratio, whether a right number's ratio is at most 1)
KINDS = {
    "depth": ("Threshold without false edges at any layer", "measured / proved", True),
    "fusion": ("Fusion ceiling", "measured / proved", False),
    "soft": ("Batch floor under noise", "proved / measured", False),
}


def draw(run: RunFolder) -> Figure:
    """Left: the ratio of measured and proved, 1 being perfect. Right: failures of batches at the proved number."""
    table = run.tables["slack"]
    title, ratio, below = KINDS[run.config["bound"]]
    proved = table[table["trials"] > 0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 1.5 + 0.17 * len(proved)), sharey=True)
    where = np.arange(len(proved))
    # A ratio of 0 is to a number beyond all that were measured.
    draw_intervals(left, proved.replace({"ratio_low": {0.0: np.nan}}), where, "ratio")
    draw_intervals(right, proved, where, "failure", middle="failure_rate")
    left.set_yticks(where, proved["place"], fontsize=7)
    left.set_ylim(max(len(proved), 1) - 0.5, -0.5)
    low, high = left.get_xlim()
    low, high = (min(low, 0.95), max(high, 1.05)) if len(proved) else (0.5, 1.5)
    left.axvspan(*((1.0, high) if below else (low, 1.0)), color="0.92", zorder=0)
    left.axvline(1.0, color="0.4", linewidth=1)
    left.set_xlim(low, high)
    left.set_xlabel(f"{ratio}; shaded: theory violated")
    right.axvline(run.config["delta"], color="0.4", linewidth=1, linestyle=":")
    right.set_xlim(left=0.0)
    right.set_xlabel("failure rate at the number; dotted: delta")
    unproved = len(table) - len(proved)
    rest = f"; nothing proved in {unproved} of {len(table)} combinations" if unproved else ""
    figure.suptitle(f"{title}, 95 % intervals{rest}", fontsize=10)
    return figure


def draw_intervals(ax: Axes, table: pd.DataFrame, where: np.ndarray, name: str, middle: str | None = None) -> None:
    """Points with bars to both ends; towards an end that was not measured no bar is drawn."""
    values = table[middle or name].to_numpy(dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    ends = values - table[f"{name}_low"].to_numpy(dtype=float), table[f"{name}_high"].to_numpy(dtype=float) - values
    errors = np.stack([np.where(np.isfinite(end), end, 0.0) for end in ends]).clip(min=0.0)
    ax.errorbar(values, where, xerr=errors, fmt="o", markersize=3, capsize=1.5, linewidth=1)

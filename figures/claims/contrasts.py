"""The figure of what decides a claim: differences with their intervals."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures.claims.style import ACCURACY, DIFFERS, WIDTH
from figures.run_folder import RunFolder

CLAIMED, OTHER, UNDECIDED = "on the claimed side", "on the other side", "undecided"
# Color, marker, and filled or not: the side can be told without color.
SIDES: dict = {CLAIMED: ("#0072B2", "o", "full"), OTHER: ("#D55E00", "X", "full"), UNDECIDED: ("#555555", "s", "none")}


def draw(run: RunFolder) -> Figure | None:
    """Mean differences with their intervals, a panel for each measure; None where the claim has no contrasts."""
    table = run.tables["contrasts"]
    if "difference" not in table.columns or table["difference"].isna().all():
        return None
    table = table[table["difference"].notna()]
    panels = [part for _, part in table.groupby("measure", sort=False)]
    heights = [len(part) + 1.6 for part in panels]
    # Where a name takes more than two lines all rows are higher.
    row = 0.18 * max(2, *(len(textwrap.wrap(name, 34)) for name in table["contrast"].astype(str)))
    size = (WIDTH, 0.5 + row * sum(heights))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False, height_ratios=heights)
    seen = [side for ax, part in zip(axes[:, 0], panels) for side in _draw_forest(ax, part)]
    handles: list = [Line2D([], [], color=color, marker=marker, fillstyle=fill, label=side)
               for side, (color, marker, fill) in SIDES.items() if side in seen]  # fmt: skip
    handles.append(Patch(color="0.93", label="claimed side"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    told = f"mean differences and {run.config.get('level', '95 %')} intervals{_over_seeds(table['seeds'])}"
    figure.suptitle(f"{run.config['claim']}: {told}")
    return figure


def _draw_forest(ax: Axes, rows: pd.DataFrame) -> list[str]:
    """One panel; returns the sides that occur."""
    measure = rows["measure"].iloc[0]
    scale = 100.0 if measure == ACCURACY else 1.0
    ends = scale * rows[["difference", "low", "high"]].to_numpy(dtype=float)
    low, high = min(0.0, np.nanmin(ends)), max(0.0, np.nanmax(ends))
    margin = 0.08 * (high - low or 1.0)
    limits = (low - margin, high + margin)
    seen = []
    for place, (row, (middle, left, right)) in enumerate(zip(rows.to_dict("records"), ends)):
        differs = row["direction"] == DIFFERS
        # A claim that two arms differ is met on either side of 0.
        ax.fill_betweenx(
            [place - 0.5, place + 0.5], limits[0] if differs else 0.0, limits[1], color="0.93", linewidth=0, zorder=0
        )
        side = _side(row["side"], differs)
        color, marker, fill = SIDES[side]
        if math.isfinite(left) and math.isfinite(right):
            ax.plot([left, right], [place, place], color=color, solid_capstyle="butt", linewidth=2)
        ax.plot(middle, place, color=color, marker=marker, fillstyle=fill, markersize=7, markerfacecoloralt="white")
        seen.append(side)
    ax.axvline(0.0, color="0.2", linewidth=1)
    ax.set_xlim(*limits)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), [textwrap.fill(str(name), 34) for name in rows["contrast"]])
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("difference of accuracy, percentage points" if measure == ACCURACY else f"difference: {measure}")
    return seen


def _side(side: str, differs: bool) -> str:
    if side not in ("above", "below"):
        return UNDECIDED
    return CLAIMED if side == "above" or differs else OTHER


def _over_seeds(counts: pd.Series) -> str:
    """Nothing for runs with one seed, whose intervals come from their batches."""
    low, high = counts.min(), counts.max()
    if not high > 1:
        return ""
    return f" over {high:.0f} seeds" if low == high else f" over {low:.0f} to {high:.0f} seeds"

"""All claims of a report in one figure: differences in units of the smallest effect worth deciding."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.typing import FillStyleType

from figures.claims.style import DIFFERS, WIDTH
from figures.run_folder import RunFolder

# Color, marker, and filled or not: answers can be told without color.
ANSWERS: dict[str, tuple[str, str, FillStyleType, str]] = {
    "reproduced": ("#0072B2", "o", "full", "reproduced"),
    "contradicted": ("#D55E00", "X", "full", "contradicted"),
    "no difference": ("#009E73", "D", "full", "no difference that matters"),
    "undecided": ("#555555", "s", "none", "undecided"),
}
# Inches of a difference, and between claims.
LINE, GAP = 0.105, 0.1
ROOM = 44
SIGNED = FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")


def draw(run: RunFolder) -> Figure | None:
    """A claim below the other, a line for each of its differences; None where nothing has a unit."""
    table = run.tables["forest"]
    drawn = table[table["effect"].notna()]
    if drawn.empty:
        return None
    claims = [part for _, part in drawn.groupby("claim", sort=False)]
    rest = table[table["effect"].isna()]
    height = sum(max(2, len(part)) * LINE + GAP for part in claims)
    figure, ax = plt.subplots(figsize=(WIDTH, height + 1.5 + 0.15 * (not rest.empty)))
    ax.axvspan(-1.0, 1.0, color="0.92", linewidth=0, zorder=0)
    ax.axvline(0.0, color="0.2", linewidth=1, zorder=1)
    places, top = {}, 0.0
    for part in claims:
        room = max(2, len(part)) * LINE
        either = " †" if (part["direction"] == DIFFERS).any() else ""
        name = (
            f"{part['claim'].iloc[0]}{either}  {textwrap.shorten(str(part['wording'].iloc[0]), ROOM, placeholder=' …')}"
        )
        places[name] = top + 0.5 * room
        start = top + 0.5 * (room - len(part) * LINE)
        for i, row in enumerate(part.to_dict("records")):
            _draw_difference(ax, row, start + (i + 0.5) * LINE)
        top += room + GAP
        ax.axhline(top - 0.5 * GAP, color="0.85", linewidth=0.5, zorder=0)
    ax.set_yticks(list(places.values()), list(places), fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(top - 0.5 * GAP, -0.5 * GAP)
    ax.grid(axis="y", visible=False)
    _scale(ax, drawn)
    side = "on the right" if not (drawn["direction"] == DIFFERS).any() else "right (†: either)"
    ax.set_xlabel(f"difference / smallest effect worth deciding; claimed side {side}")
    handles: list[Artist] = [Line2D([], [], color=color, marker=marker, fillstyle=fill, label=label)
               for answer, (color, marker, fill, label) in ANSWERS.items()
               if answer in set(drawn["answer"])]  # fmt: skip
    handles.append(Patch(color="0.92", label="does not matter"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title=_others(rest))
    figure.suptitle(f"All differences with their intervals ({len(claims)} claims, tier {run.config['tier']})")
    return figure


def _draw_difference(ax: Axes, row: dict, place: float) -> None:
    # What has no answer yet has no difference either.
    color, marker, fill, _ = ANSWERS[row["answer"]]
    if math.isfinite(row["low"]) and math.isfinite(row["high"]):
        ax.plot([row["low"], row["high"]], [place, place], color=color, solid_capstyle="butt", linewidth=1.3)
    ax.plot(row["effect"], place, color=color, marker=marker, fillstyle=fill, markersize=4, markerfacecoloralt="white")


def _scale(ax: Axes, rows: pd.DataFrame) -> None:
    """Straight from −2 to 2 and logarithmic beyond, so that what is near the band and what is far are both seen."""
    ends = rows[["effect", "low", "high"]].to_numpy(dtype=float)
    low, high = min(-2.0, np.nanmin(ends)), max(2.0, np.nanmax(ends))
    ax.set_xscale("symlog", linthresh=2.0, linscale=1.0)
    ax.set_xlim(1.15 * low, 1.15 * high)
    ticks = [0.0, *(sign * size for sign in (-1.0, 1.0) for size in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0))]
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in sorted(ticks) if low <= tick <= high]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(SIGNED)


def _others(rows: pd.DataFrame) -> str | None:
    """Answers of claims that have no differences in such units."""
    if rows.empty:
        return None
    told = [f"{answer}: {', '.join(part['claim'])}" for answer, part in rows.groupby("answer", sort=False)]
    return "Without such differences: " + "; ".join(told)

"""How close random batches and the adversary came to breaking each statement: a line a statement."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.run_folder import RunFolder

# Margins below this are attained: a statement that allows equality is not broken there.
ATTAINED = 1e-12
# Ends of the axis, and where what lies beyond is marked: a margin reaches from -2 to 2, where signs differ.
END, EDGE = 1.15, 1.09


def draw(run: RunFolder) -> Figure:
    """Relative margins of all shapes of random batches, and the closest approach of the attacks; 0 is the bound."""
    table, attacks = run.tables["trials"], run.tables["attacks"]
    names = list(dict.fromkeys(table["name"]))
    figure, ax = plt.subplots(figsize=(7.2, 1.4 + 0.3 * len(names)))
    draw_margins(ax, table, names)
    draw_attacks(ax, attacks[attacks["true"]], table.drop_duplicates("trial"), names)
    ax.axvspan(-END, 0.0, color="0.92", zorder=0)
    ax.axvline(0.0, color="0.4", linewidth=1)
    ax.set_xlim(-END, END)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("(bound - measured) / the larger of the two;  left of 0: broken, or a rate above delta")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle("How close each statement came to being broken", fontsize=10)
    return figure


def draw_margins(ax: Axes, table: pd.DataFrame, names: list[str]) -> None:
    """A mark a shape; broken ones lie left of the line, whatever rounding says. Rates, which have no status of their
    own, may lie there by chance. What lies beyond the axis stands at its end as an arrowhead."""
    known = table[table["relative_margin"].notna()]
    rates = known["status"].isna()
    tightest: dict[str, Any] = {"marker": "|", "color": "C0", "markersize": 9}
    measured: dict[str, Any] = {"marker": "o", "color": "C2", "markersize": 4, "markerfacecolor": "none"}
    for part, look, label in (
        (known[~rates], tightest, "tightest case of a shape of random batches"),
        (known[rates], measured, "rate of a shape; past 0 by chance at times"),
    ):
        margins = part["relative_margin"].to_numpy()
        margins = np.where(np.abs(margins) < ATTAINED, 0.0, margins)
        where = np.array(part["name"].map(names.index))
        inside = np.abs(margins) <= END
        ax.plot(margins[inside], where[inside], linestyle="none", label=label, **look)
        for marker, beyond in (("<", margins < -END), (">", margins > END)):
            if beyond.any():
                arrow = {**look, "marker": marker, "markersize": 6}
                side = "left" if marker == "<" else "right"
                ax.plot(np.clip(margins[beyond], -EDGE, EDGE), where[beyond], linestyle="none",
                        label=f"{label.split()[0]}, beyond the {side} end", **arrow)  # fmt: skip


def draw_attacks(ax: Axes, attacks: pd.DataFrame, trials: pd.DataFrame, names: list[str]) -> None:
    """A triangle an attack that stayed inside its hypotheses; beyond one unit it stands at the edge."""
    line_of = {row.trial: names.index(row.name) for row in trials[["trial", "name"]].itertuples(index=False)}
    known = attacks[(attacks["closest"] > -np.inf) & attacks["trial"].isin(line_of)]
    where = known["trial"].map(line_of) + 0.25
    ax.plot(
        (-known["closest"]).clip(-1.0, 1.0), where, "^", color="C1", markersize=5, label="closest approach of an attack"
    )

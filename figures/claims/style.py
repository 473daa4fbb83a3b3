"""What figures of claims have in common: their width, the look of a curve, and how means are drawn."""

import math
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator
from scipy.special import stdtrit

from figures.looks import MARKERS

# On a page 700 pixels wide letters are then 11 pixels high or more.
WIDTH = 7.0
STYLES = ("-", "--", "-.", ":")
ACCURACY = "accuracy"
# The direction of a difference that is claimed not to be 0: both sides of it are the claimed one.
DIFFERS = "differs"
# As many decimals as a tick needs.
PLAIN = FuncFormatter(lambda value, _: f"{value:.4g}")
PERCENT = FuncFormatter(lambda value, _: f"{100.0 * value:.4g}%")


def draw_lines(
    ax: Axes, table: pd.DataFrame, over: str, column: str, looks: dict[str, dict], spread: Callable[[pd.Series], float]
) -> None:
    """A line for each curve: bars where the spread is an interval, bands where it is a deviation; where a seed of the
    curve has no value, the others' mean alone."""
    for curve, rows in table.groupby(curve_of(table), sort=False):
        middle, half = over_seeds(rows, over, column, spread)
        look = {**looks[curve], "markersize": 4 if len(middle) <= 12 else 0}
        if spread is half_width:
            ax.errorbar(middle.index, middle, yerr=half, capsize=3, label=curve, **look)
        else:
            ax.plot(middle.index, middle, label=curve, **look)
            ax.fill_between(middle.index, middle - half, middle + half, color=look["color"], alpha=0.15, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def over_seeds(
    rows: pd.DataFrame, over: str, column: str, spread: Callable[[pd.Series], float]
) -> tuple[pd.Series, pd.Series]:
    """Mean of the seeds that have a value, and the spread, by place; NaN for the spread where not all seeds have one:
    "mean over 5 seeds" has no interval of 4.

    Args:
        rows: of one curve; places at which no seed has a value, as between epochs that are measured, are left out.
    """
    known = rows[rows[column].notna()]
    complete = known.groupby(over)["seed"].nunique() == rows["seed"].nunique()
    grouped = known.groupby(over)[column]
    return grouped.mean(), grouped.agg(spread).where(complete)


def half_width(values: pd.Series) -> float:
    """Of Student's 95 % interval of the mean; NaN where there is none."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))


def deviation(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def curve_of(table: pd.DataFrame) -> pd.Series:
    """Which curve a row belongs to; tables of a single one leave it empty."""
    if "curve" not in table.columns:
        return pd.Series("", index=table.index)
    return table["curve"].map(lambda name: "" if pd.isna(name) else str(name))


def looks_of(table: pd.DataFrame) -> dict[str, dict]:
    """Curve -> color, line and marker, which tell curves apart in gray too."""
    return {curve: {"color": f"C{i % 7}", "linestyle": STYLES[i % 4], "marker": MARKERS[i % 7]}
            for i, curve in enumerate(dict.fromkeys(curve_of(table)))}  # fmt: skip


def as_numbers(values: pd.Series) -> pd.Series | None:
    """The values as numbers, if all are."""
    found = pd.to_numeric(values, errors="coerce")
    return found.astype(float) if found.notna().all() else None


def is_wide(values: pd.Series) -> bool:
    """Whether a logarithmic axis shows them better."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0.0 and finite.max() > 10.0 * finite.min())


def plain_ticks(axis: Axis, locator: Locator | None = None) -> None:
    """Of a logarithmic axis: 0.2, 0.5, 1, 2 and no powers of ten."""
    axis.set_major_locator(locator or LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PLAIN)


def name_curves(figure: Figure, axes: Iterable[Axes], looks: dict[str, dict]) -> None:
    """One legend below all panels, where there is more than one curve."""
    if len(looks) > 1:
        handles: dict = {}
        for ax in axes:
            for handle, label in zip(*ax.get_legend_handles_labels()):
                line = handle[0] if isinstance(handle, ErrorbarContainer) else handle
                # Dots of categories have no line, which a curve over numbers is told by.
                if label not in handles or plt.getp(line, "linestyle") != "None":
                    handles[label] = handle
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(4, len(looks)))


def seed_words(table: pd.DataFrame) -> str:
    count = table["seed"].nunique()
    return f"{count} seed" if count == 1 else f"{count} seeds"

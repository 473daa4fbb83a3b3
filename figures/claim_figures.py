"""Figures of one claim: what decides it, and the curves, matrices and distributions behind it."""

import math
import textwrap
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator
from scipy.special import stdtrit

from figures.run_folder import RunFolder

# On a page 700 pixels wide letters are then 11 pixels high or more.
WIDTH = 7.0
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", "-.", ":")
CLAIMED, OTHER, UNDECIDED = "on the claimed side", "on the other side", "undecided"
# Color, marker, and filled or not: the side can be told without color.
SIDES: dict = {CLAIMED: ("#0072B2", "o", "full"), OTHER: ("#D55E00", "X", "full"), UNDECIDED: ("#555555", "s", "none")}
ACCURACY = "accuracy"
# As many decimals as a tick needs.
PLAIN = FuncFormatter(lambda value, _: f"{value:.4g}")
PERCENT = FuncFormatter(lambda value, _: f"{100.0 * value:.4g}%")


def draw_contrasts(run: RunFolder) -> Figure | None:
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
        differs = row["direction"] == "differs"
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


def draw_curves(run: RunFolder) -> Figure | None:
    """Accuracy against what was varied, a row of panels for each factor: lines over numbers, dots for categories."""
    table = run.tables["points"]
    factors = [part for _, part in table.groupby("factor", sort=False)]
    layouts = [_layout(part) for part in factors]
    columns = max(len(measures) for _, measures, _ in layouts)
    heights = [height for _, _, height in layouts]
    looks = _looks(table)
    figure, grid = plt.subplots(len(factors), columns, figsize=(WIDTH, 0.4 + 0.3 * (len(looks) > 1) + sum(heights)),
                                squeeze=False, height_ratios=heights)  # fmt: skip
    for axes, part, (numeric, measures, _) in zip(grid, factors, layouts):
        for ax, (column, name) in zip(axes, measures.items()):
            (_draw_numbers if numeric else _draw_categories)(ax, part, column, looks)
            ax.set_title(name)
        for ax in axes[len(measures) :]:
            ax.set_visible(False)
        if len(measures) > 1:
            _share_limits(axes[0], axes[1])
            axes[1].tick_params(labelleft=False)
            axes[1].set_ylabel("")
    _name_curves(figure, grid.flat, looks)
    figure.suptitle(f"{run.config['claim']}: accuracy, mean and 95 % interval (small: each of {_seeds(table)})")
    return figure


def _layout(part: pd.DataFrame) -> tuple[bool, dict[str, str], float]:
    """Of one factor: whether it is a number, column -> title of each panel, and the height in inches."""
    if _numbers(part["value"]) is not None:
        return True, {ACCURACY: ""}, 2.9
    # z is probed where a claim reads it: of some of the values alone it is no comparison.
    both = all(name in part.columns and part[name].notna().groupby(part["value"]).any().all()
               for name in ("h_linear", "z_linear"))  # fmt: skip
    measures = {"h_linear": "linear probe on h", "z_linear": "linear probe on z"} if both else {ACCURACY: ""}
    return False, measures, 0.9 + part["value"].nunique() * (0.2 + 0.16 * len(_looks(part)))


def _draw_numbers(ax: Axes, part: pd.DataFrame, column: str, looks: dict[str, dict]) -> None:
    values = pd.to_numeric(part["value"]).astype(float)
    for curve, rows in part.assign(value=values).groupby(_curves(part), sort=False):
        middle, half = _means(rows, "value", column)
        ax.errorbar(middle.index, middle, yerr=half, capsize=3, label=curve, **looks[curve])
        ax.plot(rows["value"], rows[column], linestyle="", marker=looks[curve]["marker"], markersize=3, alpha=0.35,
                color=looks[curve]["color"])  # fmt: skip
    ax.set_xlabel(str(part["factor"].iloc[0]))
    ax.set_ylabel(ACCURACY)
    ax.yaxis.set_major_formatter(PERCENT)
    if _wide(values):
        ax.set_xscale("log")
        _plain_ticks(ax.xaxis, FixedLocator(sorted(values.unique())) if values.nunique() <= 8 else None)


def _draw_categories(ax: Axes, part: pd.DataFrame, column: str, looks: dict[str, dict]) -> None:
    places = {value: place for place, value in enumerate(dict.fromkeys(part["value"]))}
    curves = list(part.groupby(_curves(part), sort=False))
    step = 0.7 / len(curves)
    for i, (curve, rows) in enumerate(curves):
        shift = (i - (len(curves) - 1) / 2.0) * step
        middle, half = _means(rows, "value", column)
        look = {**looks[curve], "linestyle": ""}
        ax.errorbar(middle, middle.index.map(places) + shift, xerr=half, capsize=3, label=curve, **look)
        ax.plot(rows[column], rows["value"].map(places) + shift + 0.22 * step, alpha=0.35, **{**look, "markersize": 3})
    ax.set_yticks(list(places.values()), [textwrap.fill(str(value), 26) for value in places])
    ax.set_ylim(len(places) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_ylabel(str(part["factor"].iloc[0]))
    ax.set_xlabel(ACCURACY)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _share_limits(*axes: Axes) -> None:
    """h and z on one scale."""
    limits = (min(ax.get_xlim()[0] for ax in axes), max(ax.get_xlim()[1] for ax in axes))
    for ax in axes:
        ax.set_xlim(*limits)


def draw_composition(run: RunFolder) -> Figure:
    """Mean accuracy of every pair of augmentations, and on the diagonal of each alone."""
    table = run.tables["composition"]
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    means = table.groupby(["first", "second"])[ACCURACY].mean()
    cells = np.full((len(names), len(names)), np.nan)
    for (first, second), value in means.items():
        i, j = names.index(first), names.index(second)
        cells[i, j] = cells[j, i] = value
    side = 1.6 + 0.75 * len(names)
    figure, ax = plt.subplots(figsize=(side + 1.0, side))
    colors = plt.get_cmap("Blues").with_extremes(bad="0.88")
    image = ax.imshow(cells, cmap=colors)
    for i, j in np.ndindex(cells.shape):
        value = cells[i, j]
        dark = math.isfinite(value) and np.asarray(image.norm(value)) > 0.55
        ax.text(j, i, f"{value:.1%}" if math.isfinite(value) else "none", ha="center", va="center", fontsize=10,
                color="white" if dark else "black", fontweight="bold" if i == j else "normal")  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.grid(False)
    ax.set_frame_on(False)
    ax.tick_params(length=0, labelsize=9)
    bar = figure.colorbar(image, ax=ax, format=PERCENT, shrink=0.85)
    bar.set_label("accuracy")
    bar.ax.set_frame_on(False)
    figure.suptitle(
        f"{run.config['claim']}: two augmentations together (diagonal: one alone)\nmean accuracy over {_seeds(table)}"
    )
    return figure


def draw_histograms(run: RunFolder) -> Figure:
    """Densities of positive and negative scores, a panel for each curve, the epochs below one another."""
    table = run.tables["histograms"]
    panels = list(table.groupby("curve", sort=False))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    epochs = max(part["epoch"].nunique() for _, part in panels)
    figure, grid = plt.subplots(
        rows, columns, figsize=(WIDTH, 0.8 + rows * (0.5 + 0.45 * epochs)), sharex=True, squeeze=False
    )
    for ax, (curve, part) in zip(grid.flat, panels):
        _draw_ridges(ax, part)
        ax.set_title(str(curve))
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        ax.set_xlabel("cosine of two embeddings")
        ax.tick_params(labelbottom=True)
    filled = table[(table["positive"] > 0) | (table["negative"] > 0)]
    if not filled.empty:
        grid[0][0].set_xlim(filled["from"].min(), filled["to"].max())
    grid[0][0].xaxis.set_major_locator(MaxNLocator(5))
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(f"{run.config['claim']}: densities of scores by epoch (each row scaled to its peak)")
    return figure


def _draw_ridges(ax: Axes, part: pd.DataFrame) -> None:
    epochs = sorted(part["epoch"].unique())
    for place, epoch in enumerate(epochs):
        rows = part[part["epoch"] == epoch].sort_values("from")
        edges = np.append(rows["from"], rows["to"].iloc[-1])
        densities = {
            kind: _density(rows[kind].to_numpy(dtype=float), np.diff(edges)) for kind in ("negative", "positive")
        }
        peak = max(each.max() for each in densities.values()) or 1.0
        for kind, color, style in (("negative", "#D55E00", "--"), ("positive", "#0072B2", "-")):
            heights = place - 0.85 * densities[kind] / peak
            label = f"{kind} pairs" if place == 0 else None
            ax.stairs(heights, edges, baseline=place, fill=True, color=color, alpha=0.3)
            ax.stairs(heights, edges, baseline=None, color=color, linestyle=style, linewidth=1.2, label=label)
    ax.set_yticks(range(len(epochs)), [f"epoch {epoch:g}" for epoch in epochs])
    ax.set_ylim(len(epochs) - 0.95, -0.95)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _density(counts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    total = np.nansum(counts)
    return np.nan_to_num(counts) / (total * widths) if total > 0 else np.zeros_like(counts)


MOMENT_PANELS = {
    "positive_mean": "positive scores: mean",
    "positive_variance": "positive scores: variance",
    "gradient_norm": "norm of the gradient",
    "negative_mean": "negative scores: mean",
    "negative_variance": "negative scores: variance",
}


def draw_moments(run: RunFolder) -> Figure:
    """Moments of the scores and the gradient's norm over epochs, and what accuracy came of them."""
    table = run.tables["moments"]
    looks = _looks(table)
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 4.6))
    for ax, (column, name) in zip(axes.flat, MOMENT_PANELS.items()):
        _draw_lines(ax, table, "epoch", column, looks, spread=_deviation)
        ax.set_title(name)
        ax.set_xlabel("epoch")
        if not column.endswith("mean") and _wide(table[column]):
            ax.set_yscale("log")
            _plain_ticks(ax.yaxis)
    _draw_final(axes[1][2], table, looks)
    _name_curves(figure, axes.flat, looks)
    figure.suptitle(f"{run.config['claim']}: mean over {_seeds(table)}; bands: one standard deviation")
    return figure


def _draw_final(ax: Axes, table: pd.DataFrame, looks: dict[str, dict]) -> None:
    """Accuracy after training, which every epoch's row repeats: single seeds, and their mean as a line."""
    final = table.groupby([_curves(table), "seed"], sort=False)[ACCURACY].last().dropna()
    for place, (curve, look) in enumerate(looks.items()):
        values = final[final.index.get_level_values(0) == curve]
        ax.plot([place] * len(values), values, alpha=0.6, **{**look, "linestyle": ""})
        if len(values):
            ax.plot([place - 0.3, place + 0.3], [values.mean()] * 2, color=look["color"])
    ax.set_title("accuracy after training")
    ax.set_xticks([])
    ax.set_xlim(-0.6, len(looks) - 0.4)
    ax.yaxis.set_major_formatter(PERCENT)


def draw_blocks(run: RunFolder) -> Figure:
    """A value of every block, a panel for each measure, a line for each curve with its 95 % interval."""
    table = run.tables["blocks"]
    panels = list(table.groupby("measure", sort=False))
    looks = _looks(table)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH if len(panels) > 1 else 5.5, 3.3), squeeze=False)
    for ax, (measure, part) in zip(axes[0], panels):
        _draw_lines(ax, part, "block", "value", looks, spread=half_width)
        ax.set_ylabel(str(measure))
        ax.set_xlabel("block")
    _name_curves(figure, axes.flat, looks)
    figure.suptitle(f"{run.config['claim']}: mean over {_seeds(table)}; bars: 95 % intervals")
    return figure


def _draw_lines(
    ax: Axes, table: pd.DataFrame, over: str, column: str, looks: dict[str, dict], spread: Callable[[pd.Series], float]
) -> None:
    """A line for each curve: bars where the spread is an interval, bands where it is a deviation."""
    # What is measured every few epochs is empty in between.
    table = table[table[column].notna()]
    for curve, rows in table.groupby(_curves(table), sort=False):
        grouped = rows.groupby(over)[column]
        middle, half = grouped.mean(), grouped.agg(spread)
        look = {**looks[curve], "markersize": 4 if len(middle) <= 12 else 0}
        if spread is half_width:
            ax.errorbar(middle.index, middle, yerr=half, capsize=3, label=curve, **look)
        else:
            ax.plot(middle.index, middle, label=curve, **look)
            ax.fill_between(middle.index, middle - half, middle + half, color=look["color"], alpha=0.15, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _means(rows: pd.DataFrame, over: str, column: str) -> tuple[pd.Series, pd.Series]:
    """Mean over seeds, and half the interval's width; none where a value is missing, as in the rule of claims."""
    grouped = rows.groupby(over, sort=False)[column]
    middle = grouped.mean()
    if _numbers(middle.index.to_series()) is not None:
        middle = middle.sort_index()
    return middle, grouped.agg(half_width)[middle.index]


def half_width(values: pd.Series) -> float:
    """Of Student's 95 % interval of the mean; NaN where there is none."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))


def _deviation(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _curves(table: pd.DataFrame) -> pd.Series:
    """Which curve a row belongs to; tables of a single one leave it empty."""
    if "curve" not in table.columns:
        return pd.Series("", index=table.index)
    return table["curve"].map(lambda name: "" if pd.isna(name) else str(name))


def _looks(table: pd.DataFrame) -> dict[str, dict]:
    """Curve -> color, line and marker, which tell curves apart in gray too."""
    return {curve: {"color": f"C{i % 7}", "linestyle": STYLES[i % 4], "marker": MARKERS[i % 7]}
            for i, curve in enumerate(dict.fromkeys(_curves(table)))}  # fmt: skip


def _numbers(values: pd.Series) -> pd.Series | None:
    """The values as numbers, if all are."""
    found = pd.to_numeric(values, errors="coerce")
    return found.astype(float) if found.notna().all() else None


def _wide(values: pd.Series) -> bool:
    """Whether a logarithmic axis shows them better."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0.0 and finite.max() > 10.0 * finite.min())


def _plain_ticks(axis: Axis, locator: Locator | None = None) -> None:
    """Of a logarithmic axis: 0.2, 0.5, 1, 2 and no powers of ten."""
    axis.set_major_locator(locator or LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PLAIN)


def _name_curves(figure: Figure, axes: Iterable[Axes], looks: dict[str, dict]) -> None:
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


def _seeds(table: pd.DataFrame) -> str:
    count = table["seed"].nunique()
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _over_seeds(counts: pd.Series) -> str:
    """Nothing for runs with one seed, whose intervals come from their batches."""
    low, high = counts.min(), counts.max()
    if not high > 1:
        return ""
    return f" over {high:.0f} seeds" if low == high else f" over {low:.0f} to {high:.0f} seeds"

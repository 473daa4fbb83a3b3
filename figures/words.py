"""What is seen in a figure, in words, for who does not see it: read from what is drawn, which it cannot contradict.

A picture of a run folder carries its words with it: as the description of a PNG, as the subject of a PDF.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from figures.legend_names import NONE, Key, key_of, name_of, plain, stroke_of
from figures.readings import names_of, points_of, rounded, shown_points, value_on

# The keyword of a PNG's words, which PNG's standard names.
DESCRIPTION = "Description"
# Of the height of a panel, below which a change is none; and of a change, where it begins and has happened.
STILL, BEGUN, DONE = 0.03, 0.1, 0.9
# Characters of a figure's words.
ROOM = 1500
# What is drawn of a single seed, behind a mean.
FAINT = 0.5


def seen(figure: Figure, room: int = ROOM) -> str:
    """Its title, and panel by panel what its axes are and what every curve, row or map does there.

    Args:
        room: characters; where curves do not fit, the first and the last stand for them, and then panels are counted.
    """
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    title = plain(figure.get_suptitle())
    # What stands in place of panels, or beside them.
    title = " ".join(dict.fromkeys([title, *(plain(text.get_text()) for text in figure.texts)])).strip()
    for most in (5, 3, 2):
        told = [words for ax in panels if (words := _panel(ax, key_of(figure, ax), most))]
        whole = _sentences([title, *told])
        if len(whole) <= room:
            return whole
    while len(told) > 1 and len(_sentences([title, *told])) > room - 30:
        told.pop()
    left = len(panels) - len(told)
    return _sentences([title, *told, f"{left} more panel{'s' * (left > 1)}" if left else ""])


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _panel(ax: Axes, key: Key, most: int) -> str:
    """One panel: what it is of, then what is seen; at most so many curves, and rows of each."""
    title, across, up = (plain(text) for text in (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()))
    upright, level = [], []
    curves: list[tuple[str, Line2D]] = []
    for line in ax.get_lines():
        if not line.get_visible() or (line.get_alpha() or 1.0) < FAINT:
            continue
        name = name_of(line, ax, key)
        if line.get_transform() == ax.get_xaxis_transform():
            upright += _place_of(name, ax.xaxis, line.get_xdata())
        elif line.get_transform() == ax.get_yaxis_transform():
            level += _place_of(name, ax.yaxis, line.get_ydata())
        elif len(shown_points(line, ax)) and not _is_guide(line, ax):
            curves.append((_stroked(name, line, curves), line))
    known = [(name, line) for name, line in curves if name] or curves
    rows = names_of(ax.yaxis)
    if rows:
        told = _row_words(ax, known, rows, most)
    else:
        told = _shortened(_together([(name, _curve_words(ax, line)) for name, line in known]), most)
    told = [*_maps(ax), *_outlines(ax, most), *told]
    told += [*_lines(upright, "vertical", most), *_lines(level, "horizontal", most)]
    told += [plain(text.get_text()) for text in ax.texts if text.get_transform() == ax.transAxes]
    if not told:
        return ""
    axes = f"{up} against {across}" if up and across else up or across
    head = f"{title} ({axes})" if title and axes else title or axes
    return f"{head}: {'; '.join(told)}" if head else "; ".join(told)


def _place_of(name: str, axis: Axis, data: object) -> list[tuple[str, str]]:
    """Of a line across a panel: its name and where it stands; nothing where it lies outside."""
    place = float(np.ravel(np.asarray(data, dtype=float))[0])
    low, high = sorted(axis.get_view_interval())
    return [(name, value_on(axis, place))] if low <= place <= high else []


def _stroked(name: str, line: Line2D, known: Sequence[tuple[str, Line2D]]) -> str:
    """Two curves of one name are told apart by how they are drawn."""
    stroke = stroke_of(line)
    alike = name and stroke and any(name == other for other, _ in known)
    return f"{name} ({stroke})" if alike else name


def _together(found: Sequence[tuple[str, str]]) -> list[str]:
    """Curves that do the same are told once."""
    names: dict[str, list[str]] = {}
    for name, does in found:
        names.setdefault(does, []).append(name)
    return [f"{', '.join(dict.fromkeys(own))}: {does}" if all(own) else does for does, own in names.items()]


def _is_guide(line: Line2D, ax: Axes) -> bool:
    """Whether it is an interval beside a marker, a cap of one, or a line that only guides the eye."""
    if any(line in each[1] for each in ax.containers if isinstance(each, ErrorbarContainer)):
        return True
    points = points_of(line)
    bare = line.get_marker() in NONE and str(line.get_label()).startswith("_")
    return bare and len(points) == 2 and (bool((points[0] == points[1]).any()) or _is_diagonal(points))


def _is_diagonal(points: np.ndarray) -> bool:
    return len(points) == 2 and np.ptp(points) > 0.0 and bool((points[:, 0] == points[:, 1]).all())


def _curve_words(ax: Axes, line: Line2D) -> str:
    """Where a curve goes, or where a cloud of points lies."""
    points = shown_points(line, ax)
    points = points[np.argsort(points[:, 0], kind="stable")]
    x, y = points.T
    if len(points) == 1:
        return f"{value_on(ax.yaxis, y[0])}{_at(ax, x[0])}"
    diagonal = line.get_linestyle() in NONE and any(_is_diagonal(points_of(other)) for other in ax.get_lines())
    if (np.diff(x) > 0.0).all() and not diagonal:
        return _course(ax, x, y)
    does = f"{len(points)} points from {value_on(ax.yaxis, y.min())} to {value_on(ax.yaxis, y.max())}"
    if np.ptp(x) > 0.0 and _has_ticks(ax):
        does += f", between {value_on(ax.xaxis, x.min())} and {value_on(ax.xaxis, x.max())}"
    return f"{does}, {rounded(float(np.median(np.abs(y - x))))} from the diagonal (median)" if diagonal else does


def _has_ticks(ax: Axes) -> bool:
    """Whether places across a panel mean anything."""
    return len(ax.xaxis.get_majorticklocs()) > 0


def _at(ax: Axes, x: float) -> str:
    return f" at {value_on(ax.xaxis, x)}" if _has_ticks(ax) else ""


def _course(ax: Axes, x: np.ndarray, y: np.ndarray) -> str:
    """ "falls from 1 to 0 between 0.3 and 0.5"."""
    # As high as they are drawn: a logarithmic axis has other steps.
    heights = ax.yaxis.get_transform().transform(y)
    size = abs(np.diff(ax.yaxis.get_transform().transform(np.array(ax.get_ylim())))[0])
    if not np.isfinite(heights).all() or np.ptp(heights) <= STILL * size:
        return f"stays near {value_on(ax.yaxis, float(np.median(y)))}"
    last = len(y) - 1
    turns = [i for i in sorted((int(np.argmin(heights)), int(np.argmax(heights))))
             if min(abs(heights[i] - heights[0]), abs(heights[i] - heights[last])) > STILL * size]  # fmt: skip
    start, end = value_on(ax.yaxis, y[0]), value_on(ax.yaxis, y[last])
    if turns:
        stations = pairwise([0, *turns, last])
        steps = [f"{'rises' if heights[j] > heights[i] else 'falls'} to {value_on(ax.yaxis, y[j])}"
                 f"{_at(ax, x[j]) if j != last else ''}" for i, j in stations]  # fmt: skip
        return f"from {start} it {', then '.join(steps)}"
    if start == end:
        return f"from {start} to {end}"
    share = (heights - heights[0]) / (heights[last] - heights[0])
    begun, done = max(0, int(np.argmax(share > BEGUN)) - 1), int(np.argmax(share >= DONE))
    words = f"{'rises' if heights[last] > heights[0] else 'falls'} from {start} to {end}"
    if (begun, done) == (0, last):
        return words
    return f"{words} between {value_on(ax.xaxis, x[begun])} and {value_on(ax.xaxis, x[done])}"


def _row_words(ax: Axes, curves: Sequence[tuple[str, Line2D]], rows: dict[float, str], most: int) -> list[str]:
    """By curve, or by color where colors are answers, the rows that it has markers in, with their values and the
    intervals that are drawn as lines of two points."""
    # An interval goes on where the panel ends.
    bars = [points for line in ax.get_lines() if line.get_marker() in NONE and len(points := points_of(line)) == 2]
    low, high = sorted(ax.get_xlim())
    told: dict[str, list[str]] = {}
    for name, line in curves:
        for x, y in shown_points(line, ax):
            own = [bar[:, 0] for bar in bars if (bar[:, 1] == y).all() and bar[:, 0].min() <= x <= bar[:, 0].max()]
            ends = [value_on(ax.xaxis, each) + " (outside)" * (not low <= each <= high)
                    for bar in own[:1] for each in sorted(bar)]  # fmt: skip
            row = rows[min(rows, key=lambda place: abs(place - y))]
            told.setdefault(name, []).append(f"{row} {value_on(ax.xaxis, x)}" + f" [{', '.join(ends)}]" * bool(ends))
    return [f"{name}: {', '.join(_shortened(own, most))}" if name else ", ".join(_shortened(own, most))
            for name, own in told.items()]  # fmt: skip


def _maps(ax: Axes) -> list[str]:
    """Of colored cells: how many, of what, and from where to where they go."""
    told = []
    for cells in ax.get_children():
        if not isinstance(cells, (AxesImage, QuadMesh, PolyCollection)) or cells.get_array() is None:
            continue
        values: np.ndarray = np.ma.filled(np.ma.asarray(cells.get_array(), dtype=float), np.nan)
        known = values[np.isfinite(values)]
        if not known.size:
            continue
        about = f" of {plain(cells.colorbar.ax.get_ylabel())}" if cells.colorbar else ""
        first, last = (f"{rounded(values[at])}{_cell(ax, cells, at)}" for pick in (np.nanargmin, np.nanargmax)
                       for at in [tuple(map(int, np.unravel_index(pick(values), values.shape)))])  # fmt: skip
        below = f"; {(known < 0.0).sum()} below 0, {(known > 0.0).sum()} above" if known.min() < 0.0 else ""
        told.append(f"{known.size} cells{about.rstrip()}, from {first} to {last}{below}")
    return told


def _cell(ax: Axes, cells: AxesImage | QuadMesh | PolyCollection, at: tuple[int, ...]) -> str:
    """Where a cell lies; nothing where places have no names or numbers."""
    if isinstance(cells, AxesImage):
        across, up = names_of(ax.xaxis), names_of(ax.yaxis)
        return f" ({up[float(at[0])]}, {across[float(at[1])]})" if across and up else ""
    if isinstance(cells, QuadMesh):
        x, y = np.asarray(cells.get_coordinates())[at[0] : at[0] + 2, at[1] : at[1] + 2].reshape(-1, 2).mean(axis=0)
    else:
        x, y = np.unique(np.asarray(cells.get_paths()[at[0]].vertices), axis=0).mean(axis=0)
    return f" near ({value_on(ax.xaxis, x)}, {value_on(ax.yaxis, y)})"


def _outlines(ax: Axes, most: int) -> list[str]:
    """Of filled densities: where each has its peak."""
    told: dict[str, list[str]] = {}
    drawn = [each for each in ax.patches if isinstance(each, StepPatch)]
    names = {to_hex(each.get_edgecolor()): plain(label) for each in drawn
             if (label := str(each.get_label() or "")) and not label.startswith("_")}  # fmt: skip
    rows = names_of(ax.yaxis)
    for each in drawn:
        values, edges, baseline = each.get_data()
        if baseline is None or not np.isfinite(np.asarray(values, dtype=float)).any():
            continue
        peak = int(np.nanargmax(np.abs(values - baseline)))
        row = rows[min(rows, key=lambda place: abs(place - float(np.ravel(baseline)[0])))] if rows else ""
        where = f"{row} near {value_on(ax.xaxis, edges[peak : peak + 2].mean())}".strip()
        told.setdefault(names.get(to_hex(each.get_facecolor()), ""), []).append(where)
    return [f"{name + ', ' if name else ''}peaks: {', '.join(_shortened(own, most))}" for name, own in told.items()]


def _lines(found: Sequence[tuple[str, str]], way: str, most: int) -> list[str]:
    """Lines across a panel, by name; those without one are the axes' own."""
    names: dict[str, list[str]] = {}
    for name, place in found:
        if name:
            names.setdefault(name, []).append(place)
    return _shortened(
        [f"{name}: {way} line at {', '.join(_shortened(own, most))}" for name, own in names.items()], most
    )


def _shortened(told: Sequence[str], most: int) -> list[str]:
    """All of it, or the first, the last, and how many lie between."""
    told = list(dict.fromkeys(told))
    if len(told) <= most:
        return told
    first = (most - 1) // 2 or 1
    last = most - 1 - first
    return [*told[:first], f"{len(told) - first - last} more", *told[len(told) - last :]]

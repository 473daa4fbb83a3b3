"""What the axes of a figure say of places and values: by the names of their places, in per cent, or as numbers."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from figures.legend_names import NONE, plain

# Numbers up to this are told without powers of ten.
FULL = 1e9


def points_of(line: Line2D) -> np.ndarray:
    """The finite points of a line, (n, 2)."""
    points = _with_gaps(line)
    return points[np.isfinite(points).all(axis=1)]


def _with_gaps(line: Line2D) -> np.ndarray:
    points: np.ndarray = np.column_stack([np.ma.filled(np.ma.asarray(each, dtype=float), np.nan)
                              for each in (line.get_xdata(), line.get_ydata())])  # fmt: skip
    return points


def shown_points(line: Line2D, ax: Axes) -> np.ndarray:
    """The points of a line that lie in its panel, (n, 2), and where a joined one leaves or enters the panel."""
    points = _with_gaps(line)
    low, high = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1).T
    slack = 1e-9 * (high - low)
    inside = ((points >= low - slack) & (points <= high + slack)).all(axis=1)
    if inside.all() or line.get_linestyle() in NONE:
        return points[inside]
    # A line is straight as it is drawn, on a logarithmic axis too.
    scale = ax.transScale
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn, (first, last) = scale.transform(points), scale.transform(np.stack([low, high]))
    found = [points[:1][inside[:1]]]
    for i, j in zip(range(len(points) - 1), range(1, len(points))):
        ends = _crossed(drawn[i], drawn[j], first, last)
        if ends is None:
            # Nothing is drawn from or to a point that is not finite.
            found.append(points[j : j + 1][inside[j : j + 1]])
        else:
            entered = [] if inside[i] else [scale.inverted().transform(ends[0])]
            found.append(
                np.reshape([*entered, points[j] if inside[j] else scale.inverted().transform(ends[1])], (-1, 2))
            )
    return np.concatenate(found)


def _crossed(start: np.ndarray, end: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """The part of a stretch that lies in a box, (2, 2); None where none does."""
    step = end - start
    if not np.isfinite(step).all():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.sort(np.where(step != 0.0, [(low - start) / step, (high - start) / step], [[-np.inf], [np.inf]]), 0)
    outside = (step == 0.0) & ((start < low) | (start > high))
    first, last = max(0.0, shares[0].max()), min(1.0, shares[1].min())
    return None if outside.any() or first >= last else np.stack([start + first * step, start + last * step])


def ticks_of(axis: Axis) -> dict[float, str]:
    """Place -> what stands there, in order, where an axis has its own places."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return {}
    places = axis.get_majorticklocs()
    texts = axis.get_major_formatter().format_ticks(list(places))
    return {float(place): plain(text) for place, text in sorted(zip(places, texts), key=lambda each: float(each[0]))}


def names_of(axis: Axis) -> dict[float, str]:
    """Place -> name, where what stands at the places are no numbers."""
    found = ticks_of(axis)
    return {} if all(math.isfinite(_number(text)) for text in found.values()) else found


def _number(text: str) -> float:
    try:
        return float(text.replace("−", "-").replace(",", "").rstrip("%°"))
    except ValueError:
        return math.nan


def value_on(axis: Axis, value: float) -> str:
    """A value as the axis writes it: in per cent, by the name of its place, or as a number."""
    if names := names_of(axis):
        return names[min(names, key=lambda place: abs(place - value))]
    if len(ticks := ticks_of(axis)) > 1 and "%" not in "".join(ticks.values()):
        # A tick may say another number than its place's.
        value = _told_by(list(ticks), [_number(text) for text in ticks.values()], value)
    formatter = axis.get_major_formatter()
    if isinstance(formatter, FuncFormatter) and (text := plain(formatter(value, 0))).endswith("%"):
        return f"{rounded(float(text[:-1]))} %"
    return rounded(value)


def _told_by(places: list[float], numbers: list[float], value: float) -> float:
    """The number at a place between ticks; beyond the last one, on the line through the last two."""
    if places == numbers:
        return value
    at = min(max(int(np.searchsorted(places, value)), 1), len(places) - 1)
    share = (value - places[at - 1]) / (places[at] - places[at - 1])
    return numbers[at - 1] + share * (numbers[at] - numbers[at - 1])


def rounded(value: float) -> str:
    """Three digits; whole numbers in full, as batch sizes and steps are."""
    value = 0.0 if abs(value) < 1e-12 else float(value)
    text = f"{value:.3g}"
    if 1e3 <= abs(float(text)) < FULL:
        whole = math.isclose(value, round(value), rel_tol=1e-9)
        text = f"{value if whole else float(text):.0f}"
    return text.replace("-", "−")

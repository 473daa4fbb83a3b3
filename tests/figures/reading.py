"""What a figure shows, read back from its artists and its pixels as a reader of the picture sees it."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.offsetbox import DrawingArea, HPacker
from matplotlib.patches import Patch


@dataclass(frozen=True)
class Look:
    """By what an artist is told from others: its color, its line and its marker."""

    color: str
    line: str
    marker: str


@dataclass(frozen=True)
class Curve:
    """A line or a row of markers: points in the order in which they are joined, and how they look."""

    x: np.ndarray
    y: np.ndarray
    look: Look
    label: str


@dataclass(frozen=True)
class Bars:
    """Error bars: the points and, at each, both ends of its bar (NaN where none is drawn)."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    look: Look
    label: str


def look_of(artist: Line2D | ErrorbarContainer) -> Look:
    """Color, line style and marker, in matplotlib's own names; a mark without a line is "None"."""
    line = artist.lines[0] if isinstance(artist, ErrorbarContainer) else artist
    joined, marker = str(line.get_linestyle()), str(line.get_marker())
    return Look(to_hex(line.get_color()), *("None" if each in ("none", "", " ") else each for each in (joined, marker)))


def depends_on_data(line: Line2D) -> tuple[bool, bool]:
    """Which of its two coordinates are data: (True, False) is a line from the bottom to the top of its panel."""
    return tuple(line.get_transform().contains_branch_seperately(line.axes.transData))


def curves(ax: Axes) -> list[Curve]:
    """Every line in data coordinates, in drawing order; parts of error bars are not among them."""
    parts = {id(part) for bar in ax.containers if isinstance(bar, ErrorbarContainer)
             for part in (bar.lines[0], *bar.lines[1])}  # fmt: skip
    return [
        Curve(*(np.asarray(v, dtype=float) for v in line.get_data(orig=False)), look_of(line), str(line.get_label()))
        for line in ax.lines
        if depends_on_data(line) == (True, True) and id(line) not in parts
    ]


def named(ax: Axes) -> dict[str, Curve]:
    """Lines by label; two of one label are an error."""
    found = [curve for curve in curves(ax) if not curve.label.startswith("_")]
    assert len({curve.label for curve in found}) == len(found), "two lines of one label"
    return {curve.label: curve for curve in found}


def verticals(ax: Axes) -> list[tuple[float, Look]]:
    """Place and look of every line from bottom to top."""
    return [(float(line.get_xdata()[0]), look_of(line)) for line in ax.lines if depends_on_data(line) == (True, False)]


def horizontals(ax: Axes) -> list[tuple[float, Look]]:
    """Height and look of every line from left to right."""
    return [(float(line.get_ydata()[0]), look_of(line)) for line in ax.lines if depends_on_data(line) == (False, True)]


def bars(ax: Axes, along: str = "y") -> list[Bars]:
    """Error bars, in drawing order."""
    found = []
    for bar in ax.containers:
        if not isinstance(bar, ErrorbarContainer):
            continue
        main, _, (collection,) = bar.lines
        ends = np.full((len(main.get_xdata()), 2), np.nan)
        for i, segment in enumerate(collection.get_segments()):
            corners = np.asarray(segment, dtype=float)
            # A bar without both ends is not drawn.
            if len(corners) and np.isfinite(corners).all():
                ends[i] = corners[:, "xy".index(along)]
        x, y = (np.asarray(v, dtype=float) for v in main.get_data(orig=False))
        found.append(Bars(x, y, ends[:, 0], ends[:, 1], look_of(bar), str(bar.get_label())))
    return found


def bands(ax: Axes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """x, lower edge, upper edge and color of every shade between two curves.

    A shade whose corners do not run from left to right and back (unsorted points) is an error: it is no band.
    """
    found = []
    for shade in ax.collections:
        # Heat maps are of many rectangles.
        if not isinstance(shade, PolyCollection) or len(shade.get_paths()) != 1:
            continue
        (path,) = shade.get_paths()
        corners = path.vertices[:-1]
        half = len(corners) // 2
        one, other = corners[1:half], corners[half + 1 :][::-1]
        assert np.array_equal(one[:, 0], other[:, 0]), "both edges of a band have the same points"
        assert (np.diff(one[:, 0]) > 0).all(), "a band runs from left to right"
        edges = np.sort(np.stack([one[:, 1], other[:, 1]]), axis=0)
        color = shade.get_facecolor() if len(shade.get_facecolor()) else shade.get_edgecolor()
        found.append((one[:, 0], edges[0], edges[1], to_hex(color[0])))
    return found


def boxes(collection: PolyCollection) -> np.ndarray:
    """Of a heat map of rectangles: (left, right, bottom, top) of each, (N, 4)."""
    corners = [path.vertices for path in collection.get_paths()]
    return np.array([[v[:, 0].min(), v[:, 0].max(), v[:, 1].min(), v[:, 1].max()] for v in corners])


def dots(ax: Axes) -> list[np.ndarray]:
    """Places of every scatter, each (N, 2)."""
    return [np.asarray(found.get_offsets(), dtype=float) for found in ax.collections if type(found) is PathCollection]


def legend(owner: Figure | Axes) -> dict[str, Look | str]:
    """What a legend says: text -> look of its sample, or the color of its patch."""
    kept: list[Legend] = owner.legends if isinstance(owner, Figure) else [owner.get_legend()]
    assert len(kept) == 1, "one legend"
    texts = [text.get_text() for text in kept[0].get_texts()]
    assert len(set(texts)) == len(texts), "two entries of one name"
    entries = [box.get_children() for box in kept[0].findobj(HPacker)]
    found = {each[1].get_text(): _sample(each[0]) for each in entries if isinstance(each[0], DrawingArea)}
    assert list(found) == texts
    return found


def _sample(box: DrawingArea) -> Look | str:
    """What is drawn beside a legend's text."""
    lines = [part for part in box.get_children() if isinstance(part, Line2D) and part.get_visible()]
    if not lines:
        (patch,) = (part for part in box.get_children() if isinstance(part, Patch))
        return to_hex(patch.get_facecolor())
    looks = [look_of(line) for line in lines]
    (color,) = {look.color for look in looks}
    joined = next((look.line for look in looks if look.line != "None"), "None")
    # "_" and "|" are the caps of error bars.
    return Look(color, joined, next((look.marker for look in looks if look.marker not in ("None", "_", "|")), "None"))


def ticks(ax: Axes, axis: str) -> dict[str, float]:
    """Text -> place of the labels that were put there by hand, in data coordinates."""
    axis = getattr(ax, f"{axis}axis")
    return {text.get_text(): float(place) for text, place in zip(axis.get_ticklabels(), axis.get_ticklocs())}


def heights(ax: Axes, y: np.ndarray) -> np.ndarray:
    """How far up the panel these values are seen: 0 at its bottom, 1 at its top."""
    return _fractions(ax, np.stack([np.full(np.shape(y), ax.get_xlim()[0]), y], -1))[:, 1]


def widths(ax: Axes, x: np.ndarray) -> np.ndarray:
    """How far right in the panel these values are seen: 0 at its left, 1 at its right."""
    return _fractions(ax, np.stack([x, np.full(np.shape(x), ax.get_ylim()[0])], -1))[:, 0]


def _fractions(ax: Axes, points: np.ndarray) -> np.ndarray:
    return ax.transAxes.inverted().transform(ax.transData.transform(points))


class Pixels:
    """A rendered figure: which color is seen where."""

    def __init__(self, figure: Figure):
        figure.canvas.draw()
        self.rgb = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255.0

    def at_fraction(self, ax: Axes, right: float, up: float) -> np.ndarray:
        """Color at a share of the panel's width from its left and of its height from its bottom."""
        return self._at(ax.transAxes.transform((right, up)))

    def at(self, ax: Axes, x: float, y: float) -> np.ndarray:
        """Color at a place in data coordinates."""
        return self._at(ax.transData.transform((x, y)))

    def _at(self, place: np.ndarray) -> np.ndarray:
        return self.rgb[self.rgb.shape[0] - 1 - int(place[1]), int(place[0])]

    def value(self, bar: Axes, color: np.ndarray) -> float:
        """What a vertical color bar says of a color: the value beside the most similar one."""
        left, right, low, high = (*bar.get_xlim(), *bar.get_ylim())
        (x, bottom), (_, top) = bar.transData.transform([((left + right) / 2, low), ((left + right) / 2, high)])
        rows = np.arange(int(min(bottom, top)) + 2, int(max(bottom, top)) - 1)
        found = self.rgb[self.rgb.shape[0] - 1 - rows, int(x)]
        distance = np.abs(found - color).sum(axis=1)
        assert distance.min() < 0.06, "a color that is not on the bar"
        # Half a pixel up, since a row of pixels is seen at its middle.
        return float(bar.transData.inverted().transform((x, rows[distance.argmin()] + 0.5))[1])


def same_color(color: np.ndarray, other: object) -> bool:
    """Whether two colors cannot be told apart."""
    return bool(np.abs(np.asarray(color) - to_rgb(other)).max() < 0.02)


def assert_inside(figure: Figure) -> None:
    """Every point, error bar and reference line lies within its panel: what is cut off is not shown."""
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        for name, (x, y) in _drawn(ax):
            for axis, values, limits in (("x", x, ax.get_xlim()), ("y", y, ax.get_ylim())):
                low, high = sorted(limits)
                slack = 1e-9 * (high - low)
                outside = values[np.isfinite(values) & ~((values >= low - slack) & (values <= high + slack))]
                assert not len(outside), f"{name} lies outside its panel: {axis} = {outside}, limits {limits}"


def _drawn(ax: Axes) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    none = np.array([])
    found = [(f"line {curve.label}", (curve.x, curve.y)) for curve in curves(ax)]
    found += [(f"vertical line at {x}", (np.array([x]), none)) for x, _ in verticals(ax)]
    found += [(f"horizontal line at {y}", (none, np.array([y]))) for y, _ in horizontals(ax)]
    for bar in (bar for bar in ax.containers if isinstance(bar, ErrorbarContainer)):
        found.append((f"points {bar.get_label()}", tuple(np.asarray(v, float) for v in bar.lines[0].get_data(False))))
        segments = [s for part in bar.lines[2] for s in part.get_segments() if len(s)]
        if segments:
            found.append((f"error bars {bar.get_label()}", tuple(np.concatenate(segments).T)))
    return found + [("dots", tuple(places.T)) for places in dots(ax)]

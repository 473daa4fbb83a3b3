"""What a line of a figure is called: by its own label, or by what a legend says of lines that look like it."""

import re

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

GREEK = {"sigma": "σ", "epsilon": "ε", "alpha": "α", "beta": "β", "tau": "τ", "kappa": "κ", "sqrt": "√"}
# How nothing is written.
NONE = ("None", "none", "", " ")
# Dashes, in points of a line of width 1, or "" for a line without gaps and "none" for no line; and the marker.
Look = tuple[str, str]
Key = list[tuple[Line2D, str]]


def plain(text: str) -> str:
    """A label without its formulas and line breaks."""
    text = re.sub(r"\\([a-z]+)", lambda found: GREEK.get(found[1], found[1]), text)
    return " ".join(re.sub(r"[${}]", "", text).split())


def key_of(figure: Figure, ax: Axes) -> Key:
    """Lines of the panel's own legend with their names, and then of the figure's: other panels' say nothing of it."""
    legends = [legend for legend in (ax.get_legend(), *figure.legends) if legend]
    return [(line, plain(text.get_text())) for legend in legends
            for line, text in zip(legend.legend_handles, legend.get_texts()) if isinstance(line, Line2D)]  # fmt: skip


def name_of(line: Line2D, ax: Axes, key: Key) -> str:
    """A line's own label, or what the legend says of its color, and of its stroke and marker.

    Returns:
        nothing where the legend knows neither: what looks alike in another color is another thing, unless the legend
        has it in gray, which stands for all colors.
    """
    labels = [line.get_label()]
    labels += [each.get_label() for each in ax.containers if isinstance(each, ErrorbarContainer) and line is each[0]]
    own = next((plain(str(label)) for label in labels if label and not str(label).startswith("_")), "")
    if own:
        return own
    color, look = to_hex(line.get_color()), look_of(line)
    by_color = [(handle, name) for handle, name in key if to_hex(handle.get_color()) == color]
    if exact := [name for handle, name in by_color if look_of(handle) == look]:
        return exact[0]
    by_look = _of_all_colors(look, [each for each in key if each not in by_color])
    return ", ".join([*[name for _, name in by_color[:1]], *by_look[:1]])


def _of_all_colors(look: Look, key: Key) -> list[str]:
    """Names of gray lines of the look; where there are none, of its dashes."""
    gray = [(look_of(handle), name) for handle, name in key if len(set(to_rgb(handle.get_color()))) == 1]
    exact = [name for other, name in gray if other == look]
    return exact or [name for other, name in gray if other[0] == look[0] not in ("", "none")]


def look_of(line: Line2D) -> Look:
    """Dashes and marker. Matplotlib's name of a stroke is that of all dashes of one's own, which its public functions
    do not tell."""
    marker = "none" if str(line.get_marker()) in NONE else str(line.get_marker())
    if str(line.get_linestyle()) in NONE:
        return "none", marker
    _, dashes = line._unscaled_dash_pattern  # type: ignore[attr-defined]
    return " ".join(f"{float(each):g}" for each in dashes or ()), marker


def stroke_of(line: Line2D) -> str:
    """ "dashed"; nothing for a line without gaps, or none."""
    return {"--": "dashed", ":": "dotted", "-.": "dash-dotted"}.get(str(line.get_linestyle()), "")

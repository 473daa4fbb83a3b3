"""Numbers as people write them: ticks of logarithmic axes, and shares in per cent."""

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator

# Over more decades than this, powers of ten are easier to read.
DECADES = 2


def success_rate(delta: float) -> str:
    """The success rate that a failure rate leaves, in per cent with all digits that it needs: "95 %", "99.9 %"."""
    return f"{100.0 * (1.0 - delta):.10g} %"


def plain_numbers(axis: Axis) -> None:
    """10, 20, 50, 100 on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def plain_numbers_if_few(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis that covers few decades; powers of ten on a longer one."""
    low, high = sorted(axis.get_view_interval())
    if high < 10.0**DECADES * low:
        plain_numbers(axis)

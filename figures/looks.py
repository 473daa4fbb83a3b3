"""How the curves of a figure are told apart where there are more of them than colors."""

from typing import Any

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def color_and_marker(i: int) -> dict[str, Any]:
    """Of curve i: seven colors with a marker each, and then the same colors with others', 49 looks in all."""
    return {"color": f"C{i % 7}", "marker": MARKERS[(i + i // 7) % 7]}

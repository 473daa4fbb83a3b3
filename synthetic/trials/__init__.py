"""A theorem is one object: how its cases are drawn, measured and judged, attacked and kept."""

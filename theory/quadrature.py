"""Gauss-Legendre quadrature over many intervals at once."""

from functools import lru_cache

import numpy as np
from scipy.special import roots_legendre

from theory.inputs import Numbers


@lru_cache(maxsize=16)
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return roots_legendre(count)


def gauss_legendre(low: Numbers, high: Numbers, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [low, high], shape (..., count); all weights are 0 where high <= low."""
    x, w = _legendre(count)
    low = np.asarray(low, dtype=float)
    half = np.maximum(high - low, 0.0)[..., None] / 2.0
    return low[..., None] + half * (x + 1.0), half * w

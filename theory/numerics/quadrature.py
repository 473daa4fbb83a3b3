"""Gauss-Legendre quadrature over many intervals at once."""

from functools import lru_cache

import numpy as np
from scipy.special import roots_legendre

from theory.numerics.inputs import Numbers


@lru_cache(maxsize=16)
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return roots_legendre(count)


def gauss_legendre(low: Numbers, high: Numbers, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [low, high], shape (..., count); all weights are 0 where high <= low."""
    x, w = _legendre(count)
    low = np.asarray(low, dtype=float)
    half = np.maximum(high - low, 0.0)[..., None] / 2.0
    return low[..., None] + half * (x + 1.0), half * w


def gauss_rule(nodes: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss rule of ``count`` nodes for a measure given by many weighted points: exact for polynomials of degree
    2 count - 1, weights sum to 1 (Lanczos with full reorthogonalisation; Golub and Welsch 1969)."""
    basis = [np.sqrt(weights / weights.sum())]
    diagonal, beside = [], []
    for _ in range(count):
        step = nodes * basis[-1]
        diagonal.append(step @ basis[-1])
        for _ in range(2):
            step = step - np.sum([(step @ each) * each for each in basis], axis=0)
        beside.append(np.linalg.norm(step))
        basis.append(step / beside[-1])
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
    return values, vectors[0] ** 2

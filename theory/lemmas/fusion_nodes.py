"""Nodes and weights on which Theorem 2f's row bound is integrated (``theory.lemmas.fusion_rows``; theory.md, 2f)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, roots_hermitenorm

from theory.numerics.inputs import Numbers
from theory.numerics.quadrature import gauss_legendre

# Half-width of windows in standard deviations; what lies outside is below 1e-12 of what counts.
WINDOW = 7.0


@dataclass(frozen=True)
class Nodes:
    """How finely the row bound is integrated.

    Attributes:
        angles, norms: cells of the angle of the row's own point (in cones, which cost more, a quarter of them), nodes
            of its norm.
        neighbour: nodes of a neighbour along the row's point, across it, and off the plane.
        above, offsets: nodes of a cone's other points, above the level of their axis and below it.
    """

    angles: int
    norms: int
    neighbour: tuple[int, int, int]
    above: int
    offsets: int


# What every number that is returned has been computed with; what a search for the noise is led by; what the bound's
# parameters are chosen by.
FULL, QUICK, THIN = Nodes(224, 9, (14, 6, 4), 4, 8), Nodes(112, 5, (14, 6, 4), 2, 5), Nodes(60, 2, (8, 4, 3), 1, 3)


def direction_nodes(dim: int, step: float = 1.2, ratio: float = 1.25) -> tuple[np.ndarray, np.ndarray]:
    """Nodes c in (-1, 1) and log weights of a coordinate of a uniform direction in R^dim.

    In x = artanh c the density is sech^{dim-1} x, nowhere more curved than a Gaussian of width 1/sqrt(dim - 1): steps
    of about that width do for the trapezoidal rule. Beyond 12 of them the nodes' spacing grows with x, and the weights
    count for the most that the integrand can be between two nodes.
    """
    width = 1.0 / np.sqrt(dim - 1.0)
    inner = np.arange(0.0, 12.0 + 1e-9, step) * width
    outer = inner[-1] * ratio ** np.arange(1, 1 + max(int(np.ceil(np.log(6.0 / inner[-1]) / np.log(ratio))), 0))
    gaps = np.diff(outer, prepend=inner[-1])
    half = np.concatenate([inner, outer])
    weights = np.concatenate(
        [np.full(len(inner), np.log(step * width)), np.log(2.0 * gaps) + (gaps / width) ** 2 / 8.0]
    )
    x = np.concatenate([-half[:0:-1], half])
    log_norm = gammaln(0.5 * dim) - gammaln(0.5 * (dim - 1.0)) - 0.5 * np.log(np.pi)
    log_cosh = np.abs(x) + np.log1p(np.exp(-2.0 * np.abs(x))) - np.log(2.0)
    return np.tanh(x), np.concatenate([weights[:0:-1], weights]) + log_norm - (dim - 1.0) * log_cosh


def normal_density(x: Numbers) -> Numbers:
    return np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


def normal_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal variable."""
    nodes, weights = roots_hermitenorm(count)
    return nodes, weights / weights.sum()


def chi_nodes(dim: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the length of a standard normal vector in R^dim, which is nearly normal for large dim."""
    if dim < 12:
        nodes, weights = gauss_legendre(0.0, np.sqrt(dim) + WINDOW, 2 * count + 8)
        exponent = (dim - 1.0) * np.log(nodes) - 0.5 * nodes**2
    else:
        steps, weights = normal_nodes(count)
        nodes = np.sqrt(dim - 1.0) + steps * np.sqrt(0.5)
        weights, nodes = weights[nodes > 0.0], nodes[nodes > 0.0]
        exponent = (dim - 1.0) * np.log(nodes) - 0.5 * nodes**2 + (nodes - np.sqrt(dim - 1.0)) ** 2
    density = weights * np.exp(exponent - exponent.max())
    return nodes, density / density.sum()


def coordinate_nodes(dim: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1), rising, and weights of a coordinate of a uniform direction in R^dim; the weights sum to 1/2."""
    nodes, weights = gauss_legendre(0.0, min(1.0, WINDOW / np.sqrt(dim)), count)
    exponent = 0.5 * (dim - 3.0) * np.log1p(-(nodes**2))
    density = weights * np.exp(exponent - exponent.max())
    return nodes, 0.5 * density / density.sum()

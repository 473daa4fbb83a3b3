"""theory.md's formulas a second time, for the noise sweep's audit: in other words than theory/ has them, one number at
a time, so that a mistake there is not repeated here. Nothing else may use them.
"""

from collections.abc import Sequence

import numpy as np


def plain_cap(alpha: np.ndarray, beta: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """beta+/(nu_(1) nu_(2)) of theory.md 2a, (trials,); infinite where alpha <= 0."""
    first, second = sorted(sizes)[-1], sorted(sizes)[-2]
    norm = np.sqrt(np.maximum(alpha + (1 - alpha) / first, 0.0) * np.maximum(alpha + (1 - alpha) / second, 0.0))
    return np.where(alpha > 0.0, np.maximum(beta, 0.0) / np.where(norm > 0.0, norm, 1.0), np.inf)


def plain_contraction(alpha: float, sizes: Sequence[int], threshold: float, mixing: float) -> float:
    """rho of theory.md 1b, of the worst cluster.

    Of the rows of (1 - lambda) I + lambda Ahat of two points of one cluster: what both give to each other point, and
    the smaller of what either keeps and the other gives it.
    """
    kappa = (alpha - threshold) / (1.0 - threshold)
    worst = 0.0
    for size in sizes:
        given = mixing * kappa / (size - 2 + kappa)
        worst = max(worst, 1.0 - ((size - 2) * given + min(1.0 - mixing, given) + min(given, 1.0 - mixing)))
    return worst


def plain_spread(alpha: float, sizes: Sequence[int]) -> float:
    """(1 - alpha)/nu^2 of theory.md 1b: what bounds the spread before the first block."""
    return (1.0 - alpha) / (alpha + (1.0 - alpha) / max(sizes))


def plain_promise(alpha: float, sizes: Sequence[int], threshold: float, mixing: float, depth: int) -> list[float]:
    """The alpha that 1b promises at layers 0 .. depth, from that of the first layer alone."""
    spread, least, promised = plain_spread(alpha, sizes), alpha, []
    for _ in range(depth + 1):
        promised.append(1.0 - spread)
        least = max(least, 1.0 - spread)
        spread *= plain_contraction(least, sizes, threshold, mixing) ** 2
    return promised


def plain_equiangular(
    within: float, between: float, sizes: Sequence[int], mixing: float, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest within and largest cross cosine of layers 0 .. depth of equiangular clusters, b > 0 (theory.md 1, "Exact
    case"): every point of a cluster keeps the share q^2l of what it deviates from the cluster's mean."""
    alphas, betas = [], []
    for layer in range(depth + 1):
        squares, inner = [], []
        for size in sizes:
            mean_square = within + (1.0 - within) / size
            kept = (1.0 - mixing - mixing / (size - 1)) ** (2 * layer)
            squares.append(mean_square + kept * (1.0 - mean_square))
            inner.append(mean_square - kept * (1.0 - mean_square) / (size - 1))
        alphas.append(min(product / square for product, square in zip(inner, squares)))
        first, second = sorted(squares)[:2]
        betas.append(between / np.sqrt(first * second))
    return np.array(alphas), np.array(betas)

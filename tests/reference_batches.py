"""Proposition 6 and 7 by enumeration: every batch of a small pool, one row and one batch at a time."""

from itertools import combinations

import numpy as np


def batches_with(row: int, labels: np.ndarray, batch_size: int, batches: str = "uniform") -> list[tuple[int, ...]]:
    """All batches of the kind that have the row. Pairs are rows with one label."""
    total, found = len(labels), []
    for batch in combinations(range(total), batch_size):
        counts = np.array([np.sum(labels[list(batch)] == label) for label in np.unique(labels)])
        allowed = {"uniform": True, "balanced": len(set(counts)) == 1, "pairs": set(counts) <= {0, 2}}[batches]
        if row in batch and allowed:
            found.append(batch)
    return found


def expected_share(
    weights: np.ndarray, labels: np.ndarray, row: int, batch_size: int, batches: str = "uniform"
) -> float:
    """E S_i from a row's weights (N,), its weight of itself included (0 where it does not attend to itself)."""
    shares = []
    for batch in batches_with(row, labels, batch_size, batches):
        members = np.array(batch)
        total = weights[members].sum()
        own = weights[members][labels[members] == labels[row]].sum()
        shares.append(own / total if total > 0 else 0.0)
    return float(np.mean(shares))


def empty_chance(weights: np.ndarray, labels: np.ndarray, row: int, batch_size: int) -> float:
    """Share of the batches in which the row has no weight at all."""
    return float(np.mean([weights[list(b)].sum() == 0 for b in batches_with(row, labels, batch_size)]))


def pool_weights(points: np.ndarray, value, itself: float = 0.0) -> np.ndarray:
    """h_ij of all pairs (N, N), by the cosines' definition."""
    norms = np.sqrt((points**2).sum(axis=1))
    found = np.array(
        [[value(min(1.0, float(x @ y) / (a * b))) for y, b in zip(points, norms)] for x, a in zip(points, norms)]
    )
    np.fill_diagonal(found, itself)
    return found

"""Proposition 7 on trial: small pools of random rows, all batches of which are enumerated, at every batch size."""

from itertools import combinations

import numpy as np

from synthetic.trials.theorems.proposition_6 import POOLS_A_SHAPE
from synthetic.trials.trial import Cases, Subject, Trial
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.judging.statements import PROPOSITION_7
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.neighbour_floor import lonely_share, neighbour_floor, true_neighbours

EQUAL = 1e-12


def draw(rng: np.random.Generator) -> Cases:
    """Pools of 5 to 7 rows in 2 or 3 classes, one number of neighbours and one share for all."""
    sizes = ((3, 2), (4, 3), (5, 2), (3, 2, 2))[rng.integers(4)]
    labels = contiguous_labels(sizes)
    points = rng.standard_normal((POOLS_A_SHAPE, len(labels), 3))
    points += 3.0 * rng.random((POOLS_A_SHAPE, 1, 1)) * rng.standard_normal((POOLS_A_SHAPE, len(sizes), 3))[:, labels]
    return Cases(
        {"points": unit_points(points), "threshold": 0.9 * rng.random(POOLS_A_SHAPE)},
        # No expected share is within round-off of these.
        {"labels": labels, "neighbours": int(rng.integers(1, 4)), "share": float(rng.uniform(0.1, 0.9))},
    )


def own_neighbours(cosines: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Which rows are true neighbours of which, (N, N)."""
    return (cosines > threshold) & (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)


def all_neighbours(cosines: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Damaged: neighbours of any class."""
    return (cosines > threshold) & ~np.eye(len(labels), dtype=bool)


def self_counted(cosines: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Damaged: a row is its own neighbour."""
    return own_neighbours(cosines, labels, threshold) | np.eye(len(labels), dtype=bool)


def lower_cut(cosines: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Damaged: half the threshold."""
    return own_neighbours(cosines, labels, 0.5 * threshold)


def measure(cases: Cases, subject: Subject) -> np.ndarray:
    """The share of lonely rows, averaged over all rows and all batches that have them, (N - 1, cases)."""
    labels, k = cases["labels"], int(cases["neighbours"])
    total = len(labels)
    found = np.zeros((total - 1, len(cases["points"])))
    drawn = {n: np.array(list(combinations(range(total), n))) for n in range(2, total + 1)}
    for case, (points, threshold) in enumerate(zip(np.asarray(cases["points"]), cases["threshold"])):
        near = subject(points @ points.T, labels, threshold)
        for n, batches in drawn.items():
            counts = near[batches[:, :, None], batches[:, None, :]].sum(-1)
            # Every row is in as many batches as every other.
            found[n - 2, case] = (counts < k).mean()
    return found


def judge_shares(cases: Cases, measured: np.ndarray) -> Verdict:
    """The hypergeometric mean, its fall with n, and the floor."""
    labels, k, share = cases["labels"], int(cases["neighbours"]), float(cases["share"])
    claimed, floors = np.zeros_like(measured), np.zeros(measured.shape[1])
    for case, (points, threshold) in enumerate(zip(np.asarray(cases["points"]), cases["threshold"])):
        hits = true_neighbours(points, labels, float(threshold))
        claimed[:, case] = [lonely_share(hits, n, k) for n in range(2, len(labels) + 1)]
        floors[case] = neighbour_floor(points, labels, float(threshold), share, k) or 0
    enough = measured <= share
    smallest = np.where(enough.any(axis=0), enough.argmax(axis=0) + 2, 0)
    every = np.ones(measured.shape[1], dtype=bool)
    return combine_parts(
        PROPOSITION_7.name,
        [
            judge("Proposition 7: shares", np.abs(measured - claimed), EQUAL, every, discrete=True),
            judge("Proposition 7: monotone", np.diff(measured, axis=0), EQUAL, every, discrete=True),
            judge("Proposition 7: floor", np.abs(floors - smallest), 0.0, every, discrete=True),
        ],
    )


TRIALS = (
    Trial(
        PROPOSITION_7,
        "proposition_7",
        ("points", "threshold"),
        ("labels", "neighbours", "share"),
        measure,
        judge_shares,
        draw=draw,
        subject=own_neighbours,
        damaged={each.__name__: each for each in (all_neighbours, self_counted, lower_cut)},
    ),
)

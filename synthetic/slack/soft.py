"""The batch floor under Gaussian noise (Theorem 2g) over the number of points from which on 95 % of the batches are
recovered by one block, each size with the threshold that the theorem has for it."""

import numpy as np

from synthetic.measure.boundaries import rising_crossing_with_interval
from synthetic.slack.options import Point, TightnessOptions
from synthetic.slack.rows import slack_row, unproved_row
from synthetic.sweeps.subspace_model import OneBlockResult, OneBlockTask, SubspaceModel, run_one_block
from theory.lemmas.pair_law import NOISE_RANGE
from theory.numerics.inputs import require_number
from theory.soft_floor import soft_floor

# Shares of the floor that a tenth of the batches tries first; how many sizes all of them try then, between the ends of
# the interval that those give.
SHARES, FINE = np.geomspace(0.25, 1.6, 15), 8
ANGLE = float(np.pi / 2)


def model_of(point: Point) -> SubspaceModel:
    """Clusters uniform on orthogonal subspaces, under Gaussian noise.

    Raises:
        ValueError: subspaces that do not fit, noise outside its range.
    """
    require_number(point["noise_levels"], "noise_levels", *NOISE_RANGE)
    return SubspaceModel(point["ambient_dims"], point["num_clusters"], point["subspace_dims"], ANGLE, "gaussian")


def one_block_at(index: int, point: Point, size: int, trials: int, options: TightnessOptions) -> OneBlockResult:
    """Batches of clusters of this size, at their threshold."""
    model, level, squared = model_of(point), point["noise_levels"], point["affinities"] == "squared"
    tau = model.connection(size, level, options.delta, squared).threshold
    return run_one_block(OneBlockTask(model.cell(index, size, level, tau, trials, options.seed), squared))


def measure(index: int, point: Point, options: TightnessOptions) -> dict:
    """One row."""
    level = point["noise_levels"]
    place = (f"D={point['ambient_dims']} r={point['subspace_dims']} K={point['num_clusters']} sigma={level:g} "
             f"{point['affinities']}")  # fmt: skip
    floor = soft_floor(point["subspace_dims"], point["ambient_dims"], point["num_clusters"], level, ANGLE,
                       options.delta, point["affinities"] == "squared")  # fmt: skip
    if floor is None:
        return {**point, **unproved_row(place)}
    goal = 1.0 - options.delta

    def crossing(sizes: np.ndarray, trials: int) -> tuple[float, float, float]:
        counts = [one_block_at(index, point, int(size), trials, options).recovered for size in sizes]
        return rising_crossing_with_interval(sizes, counts, trials, goal)

    failures = options.trials - one_block_at(index, point, floor, options.trials, options).recovered
    coarse = whole_sizes(floor * SHARES)
    ends = np.clip(crossing(coarse, max(10, options.trials // 10))[1:], coarse[0], coarse[-1])
    fine = whole_sizes(np.linspace(ends[0] - 1.0, ends[1] + 1.0, FINE))
    found = crossing(fine, options.trials)
    return {**point, **slack_row(place, float(floor), failures, options.trials, found, inverse=True)}


def whole_sizes(sizes: np.ndarray) -> np.ndarray:
    """Whole numbers of points nearby, each once, 2 at least."""
    return np.unique(np.maximum(2, np.round(sizes))).astype(int)

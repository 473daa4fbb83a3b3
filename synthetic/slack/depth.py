"""The threshold of all layers (Theorem 2e) over the smallest one without false edges.

Batches with clusters uniform on subspaces go through a stack at each of many thresholds, tokens never normalized: the
measured threshold is the one at which 95 % of them have no false edge at any layer 0..L.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from synthetic.batches.cell import Cell
from synthetic.batches.geometry import subspaces_at
from synthetic.slack.options import Point, TightnessOptions
from synthetic.slack.rows import FINE_MARGIN, crossing_in_two_passes, slack_row, unproved_row
from synthetic.sweeps.noise_cells import build_stack
from theory.depth_threshold import cross_pairs, depth_threshold
from theory.numerics.inputs import require_number

# Shares of the threshold that a tenth of the batches tries first; how many levels all of them try then.
COARSE, FINE = np.arange(0.3, 1.06, 0.05), 7
MIXING = 0.5
# The stack takes thresholds below 1 only.
LARGEST_TRIED = 0.9999


def cell_of(index: int, point: Point, options: TightnessOptions) -> Cell:
    """The batches of a combination at tau_L, or at threshold 0 where there is none.

    Raises:
        ValueError: subspaces that do not fit, numbers outside their ranges.
    """
    require_number(point["noise_levels"], "noise_levels", 0.0, np.inf, closed="neither")
    require_number(point["angles_deg"], "angles_deg", 0.0, 90.0, closed="right")
    geometry = subspaces_at(float(np.radians(point["angles_deg"])), point["num_clusters"], point["subspace_dims"])
    bases = geometry.bases(point["ambient_dims"], options.seed)
    pairs = cross_pairs(point["num_clusters"], point["cluster_sizes"])
    tau = depth_threshold(point["ambient_dims"], point["subspace_dims"], pairs, point["depths"], options.delta,
                          geometry.clean_cosines(bases)[1])  # fmt: skip
    return Cell(
        index, point["ambient_dims"], (point["cluster_sizes"],) * point["num_clusters"], "gaussian",
        point["noise_levels"], tau or 0.0, False, geometry, point["depths"], MIXING, options.trials, options.seed,
        unit_inputs=False,
    )  # fmt: skip


def without_false_edge(cell: Cell, thresholds: Sequence[float] | np.ndarray, trials: int) -> np.ndarray:
    """How many of the first batches have no false edge at any layer, at each threshold."""
    counts = np.zeros(len(thresholds), dtype=int)
    for points in replace(cell, trials=trials).batches():
        for i, tau in enumerate(thresholds):
            stack, _ = build_stack(replace(cell, threshold=float(tau)), "cpu")
            layers = stack.measure(torch.from_numpy(points), cell.labels)
            counts[i] += int((layers.false_edges == 0).all(axis=0).sum())
    return counts


def measure(index: int, point: Point, options: TightnessOptions) -> dict:
    """One row."""
    cell = cell_of(index, point, options)
    tau, goal = cell.threshold, 1.0 - options.delta
    place = (f"D={point['ambient_dims']} r={point['subspace_dims']} K={point['num_clusters']} "
             f"m={point['cluster_sizes']} {point['angles_deg']:g} deg sigma={point['noise_levels']:g} "
             f"L={point['depths']}")  # fmt: skip
    if tau == 0.0:
        return {**point, **unproved_row(place)}

    def count(negated: np.ndarray, trials: int) -> np.ndarray:
        """Success rises with the threshold: it falls with its negative."""
        return without_false_edge(cell, np.clip(-negated, 0.0, LARGEST_TRIED), trials)

    failures = options.trials - int(without_false_edge(cell, [tau], options.trials)[0])
    batches = max(1, options.trials // 10), options.trials
    found = crossing_in_two_passes(count, -tau * COARSE[::-1], FINE_MARGIN * tau, FINE, batches, goal)
    middle, late, early = (-level for level in found)
    return {**point, **slack_row(place, tau, failures, options.trials, (middle, early, late))}

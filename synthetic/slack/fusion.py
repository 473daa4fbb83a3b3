"""The fusion ceiling (Theorem 2f) over the noise at which a stack stops recovering its batches.

Batches of cones, at each noise level with the threshold of 2f at that level, go through a stack that never normalizes,
the noisy inputs included. At the ceiling the theorem's own event is counted: no false edge at layer 0, and recovery at
layers 1..L. The measured breakdown is that of recovery at layers 1..L.
"""

from dataclasses import replace

import numpy as np
import torch

from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry
from synthetic.slack.options import Point, TightnessOptions
from synthetic.slack.rows import FINE_MARGIN, crossing_in_two_passes, slack_row, unproved_row
from synthetic.sweeps.noise_cells import build_stack
from theory.batches.trajectory import Trajectory
from theory.fusion_ceiling import fusion_threshold, gaussian_fusion
from theory.noise_ceiling import gaussian_separation
from theory.numerics.inputs import require_count, require_mixing
from theory.numerics.limits import LARGEST_DEPTH
from theory.restart import certified_from_layer

# Multiples of the ceiling that a fifth of the batches tries first; how many levels all of them try then.
COARSE, PILOT, FINE = np.arange(1.0, 1.95, 0.1), 5, 5
# Noise, in separation ceilings, at which batches are counted that Theorem 2a' certifies from layer 1 on.
CERTIFIED_AT = 1.3


def cell_of(index: int, point: Point, options: TightnessOptions) -> Cell:
    """The batches of a combination; noise level and threshold are put in by ``at_noise``.

    Raises:
        ValueError: numbers outside their ranges.
    """
    dim, clusters, size = (point[name] for name in ("ambient_dims", "num_clusters", "cluster_sizes"))
    require_mixing(point["mixings"])
    require_count(point["depths"], "depths", 1, LARGEST_DEPTH)
    tight = point["within_cos"] == 1.0
    geometry = Geometry(clusters, 1 if tight else dim // clusters, within_cos=point["within_cos"])
    cell = Cell(index, dim, (size,) * clusters, "gaussian", 1.0, 0.0, False, geometry, point["depths"],
                point["mixings"], options.trials, options.seed, unit_inputs=False)  # fmt: skip
    return at_noise(cell, 1.0, options.delta)


def at_noise(cell: Cell, level: float, delta: float) -> Cell:
    """The same batches, their noise scaled, with the threshold that the theorem has there."""
    tau = fusion_threshold(cell.ambient_dim, len(cell.sizes), cell.sizes, delta, level)
    return replace(cell, noise_level=level, threshold=tau)


def layers_of(cell: Cell, trials: int) -> Trajectory:
    """The first batches of the cell, every layer measured."""
    stack, _ = build_stack(cell, "cpu")
    parts = [stack.measure(torch.from_numpy(points), cell.labels) for points in replace(cell, trials=trials).batches()]
    return Trajectory.join_trials(parts)


def recovered_later(layers: Trajectory) -> np.ndarray:
    """Batches recovered at layers 1..L, (trials,)."""
    return np.asarray(layers.recovered[1:].all(axis=0))


def promised(layers: Trajectory) -> np.ndarray:
    """Batches of which Theorem 2f's conclusion is true, (trials,)."""
    return recovered_later(layers) & (layers.false_edges[0] == 0)


def measure(index: int, point: Point, options: TightnessOptions) -> dict:
    """One row. Beside the columns of all tables: the ceiling over the separation ceiling (``gain``), the share of
    batches lost by layers 1..L at the ceiling, and that certified from layer 1 on at 1.3 separation ceilings."""
    cell = cell_of(index, point, options)
    dim, clusters, size = cell.ambient_dim, len(cell.sizes), cell.sizes[0]
    place = f"D={dim} K={clusters} m={size} a={point['within_cos']:g} lambda={point['mixings']:g} L={cell.depth}"
    separation = gaussian_separation(dim, clusters, size, point["within_cos"], 0.0, options.delta)
    few = max(10, options.trials // 4)
    certified = np.nan
    if separation > 0.0:
        past = at_noise(cell, CERTIFIED_AT * separation, options.delta)
        first = certified_from_layer(layers_of(past, few), cell.sizes, past.threshold)
        certified = float(((first == 0) | (first == 1)).mean())
    ceiling = gaussian_fusion(dim, clusters, size, point["within_cos"], options.delta, point["mixings"],
                              depth=cell.depth)  # fmt: skip
    extra = {"separation": separation, "gain": ceiling / separation if separation > 0.0 else np.nan,
             "certified_at_1.3": certified, "lost_later": np.nan}  # fmt: skip
    if ceiling == 0.0:
        return {**point, **unproved_row(place), **extra}
    at = layers_of(at_noise(cell, ceiling, options.delta), options.trials)
    extra["lost_later"] = float(1.0 - recovered_later(at).mean())

    def count(levels: np.ndarray, trials: int) -> np.ndarray:
        cells = (at_noise(cell, float(level), options.delta) for level in levels)
        return np.array([int(recovered_later(layers_of(each, trials)).sum()) for each in cells])

    failures = options.trials - int(promised(at).sum())
    batches, goal = (max(1, few // PILOT), few), 1.0 - options.delta
    found = crossing_in_two_passes(count, ceiling * COARSE, FINE_MARGIN * ceiling, FINE, batches, goal)
    return {**point, **slack_row(place, ceiling, failures, options.trials, found), **extra}

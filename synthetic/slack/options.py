"""The command line of the tightness table, and the grid that it measures: one default for each kind of number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from theory.numerics.inputs import require_count, require_number, require_range
from theory.numerics.limits import (
    LARGEST_BATCH,
    LARGEST_CLUSTERS,
    LARGEST_DIM,
    LARGEST_SEED,
    LARGEST_TRIALS,
    require_batch,
    require_grid,
)

BoundKind = Literal["separation", "depth", "fusion", "soft"]
Affinity = Literal["signed", "squared"]
Point = dict[str, Any]

# A grid is the union of blocks; a block is every combination of its lists. What stands in no block of a kind is no
# setting of it.
BLOCKS: dict[BoundKind, tuple[dict[str, tuple], ...]] = {
    "separation": (
        {"ambient_dims": (64, 256, 1024), "num_clusters": (2, 8), "cluster_sizes": (4, 32), "within_cos": (1.0, 0.8)},
    ),
    "depth": (
        {"ambient_dims": (32, 128), "num_clusters": (4,), "cluster_sizes": (8,), "subspace_dims": (2,),
         "angles_deg": (90.0, 60.0), "noise_levels": (0.5, 2.0, 30.0), "depths": (2, 8)},
    ),
    "fusion": tuple(
        {"ambient_dims": dims, "num_clusters": clusters, "cluster_sizes": sizes, "within_cos": (1.0, 0.9),
         "mixings": (0.5, 0.8, 1.0), "depths": (4,)}
        for dims, clusters, sizes in (((64, 256), (4, 8), (16, 32)), ((256,), (8,), (128,)))
    ),
    "soft": tuple(
        {"ambient_dims": (dim,), "num_clusters": (2, 3), "subspace_dims": (own,), "noise_levels": levels,
         "affinities": ("signed", "squared")}
        for dim, own, levels in ((64, 3, (0.3, 0.5, 0.6, 0.7)), (64, 5, (0.4,)), (64, 8, (0.3,)), (256, 3, (0.8,)))
    ),
}  # fmt: skip
# All lists, in the order in which they are first named.
LISTS = tuple(dict.fromkeys(name for kind in BLOCKS.values() for block in kind for name in block))


@dataclass(frozen=True)
class TightnessOptions:
    """Command line of the tightness table. Lists that are not given are those of the kind's default grid; every
    combination is measured."""

    bound: BoundKind = "separation"
    """separation: the Gaussian ceiling (2b); depth: the threshold of all layers (2e); fusion: the fusion ceiling (2f);
    soft: the batch floor under noise (2g)."""
    ambient_dims: tuple[int, ...] | None = None
    """Dimensions D."""
    num_clusters: tuple[int, ...] | None = None
    """Numbers of clusters K."""
    cluster_sizes: tuple[int, ...] | None = None
    """Points a cluster m; not with soft, which looks for them."""
    within_cos: tuple[float, ...] | None = None
    """Smallest clean cosine inside a cluster (1: tight); separation and fusion. Separation attains it in every pair,
    and where D < K m in cones, once a cluster; fusion always takes cones."""
    subspace_dims: tuple[int, ...] | None = None
    """Dimensions r of the subspaces; depth and soft."""
    angles_deg: tuple[float, ...] | None = None
    """Principal angles between the subspaces, degrees, (0, 90]; depth."""
    noise_levels: tuple[float, ...] | None = None
    """Noise levels sigma; depth and soft."""
    mixings: tuple[float, ...] | None = None
    """Mixing weights lambda, (0, 1]; fusion."""
    depths: tuple[int, ...] | None = None
    """Mixing blocks L; depth and fusion."""
    affinities: tuple[Affinity, ...] | None = None
    """signed: C > tau; squared: |C| > tau; soft."""
    delta: float = 0.05
    """Failure probability."""
    trials: int = 2000
    """Batches of each combination, at the proved number and around the crossing; fusion, whose stacks take longest,
    looks for the crossing with a quarter of them."""
    seed: int = 0
    """Every batch is drawn from (seed, combination, trial)."""
    out: Path | None = None
    """Folder for the table (tightness.csv of separation, else slack.csv), verdicts.json, its figure, config.json and
    environment.json."""


def grid_points(options: TightnessOptions) -> list[Point]:
    """Every combination of the grid, once, in the order of its lists.

    Raises:
        ValueError: a list that is empty, or that this kind of number has no use for; numbers outside their ranges.
    """
    require_count(options.trials, "trials", 40, LARGEST_TRIALS)
    require_count(options.seed, "seed", 0, LARGEST_SEED)
    require_number(options.delta, "delta", 0.0, 1.0, closed="neither")
    blocks = BLOCKS[options.bound]
    given = {name: getattr(options, name) for name in LISTS if getattr(options, name) is not None}
    for name, values in given.items():
        if name not in blocks[0]:
            kinds = [kind for kind, others in BLOCKS.items() if name in others[0]]
            raise ValueError(f"{name}: is no setting of --bound {options.bound}, only of {', '.join(kinds)}")
        if not values:
            raise ValueError(f"{name}: give at least one value")
    points: dict[tuple, Point] = {}
    for block in ({**block, **given} for block in blocks):
        require_grid(math.prod(map(len, block.values())), tuple(block))
        for values in product(*block.values()):
            points.setdefault(values, dict(zip(block, values)))
    _check_ranges(list(points.values()))
    return list(points.values())


def _check_ranges(points: Sequence[Point]) -> None:
    """What all kinds have in common; their own functions check the rest before anything is measured."""
    for point in points:
        clusters = require_count(point["num_clusters"], "num_clusters", 2, LARGEST_CLUSTERS)
        if require_count(point["ambient_dims"], "ambient_dims", 2, LARGEST_DIM) < 2 * clusters:
            raise ValueError(
                f"ambient_dims: {clusters} clusters need at least {2 * clusters}, got {point['ambient_dims']}"
            )
        if "cluster_sizes" in point:
            require_count(point["cluster_sizes"], "cluster_sizes", 2, LARGEST_BATCH)
            require_batch(
                point["cluster_sizes"] * clusters, point["ambient_dims"], "cluster_sizes", dim_name="ambient_dims"
            )
        if "within_cos" in point:
            require_range(np.asarray(point["within_cos"]), "within_cos", 0.0, 1.0, closed="right")

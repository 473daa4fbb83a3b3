"""How tight the Gaussian noise ceiling is: measured 95 % breakdown over the proved bound, on a grid of geometries.

    python -m synthetic.tightness                             the default grid, a few minutes on two cores
    python -m synthetic.tightness --ambient-dims 256 --num-clusters 8 --cluster-sizes 32 --within-cos 1

Every batch keeps its noise directions while the noise level rises (common random numbers), so that the success curve of
a few thousand batches is smooth. Exit status: 0, 1 when a breakdown lies below its bound, 2 for bad arguments, 70 a
crash.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro
from tqdm import tqdm

from models.stack import CPU_CHUNK_BYTES
from synthetic.batches import seeding
from synthetic.batches.union_of_subspaces import cone_clusters, equiangular_clusters, subspace_bases
from synthetic.measure.boundaries import crossing_with_interval
from synthetic.runs.records import RunRecorder
from synthetic.runs.statuses import exit_status
from theory.batches.clusters import ClusterLayout, cluster_layout, contiguous_labels
from theory.measurements import cosine_extremes
from theory.noise_ceiling import gaussian_separation
from theory.numerics.inputs import require_count, require_range
from theory.numerics.whole_files import write_table

# Multiples of the bound that a tenth of the batches tries first; all of them then look between the ends of the interval
# that those give, and a margin (in bounds) beyond.
COARSE = np.arange(0.92, 1.61, 0.04)
FINE_MARGIN, FINE_COUNT = 0.02, 13


@dataclass(frozen=True)
class TightnessOptions:
    """Command line of the tightness table: every combination of the four lists is measured."""

    ambient_dims: tuple[int, ...] = (64, 256, 1024)
    """Dimensions D."""
    num_clusters: tuple[int, ...] = (2, 8)
    """Numbers of clusters K."""
    cluster_sizes: tuple[int, ...] = (4, 32)
    """Points a cluster m."""
    within_cos: tuple[float, ...] = (1.0, 0.8)
    """Clean cosine of every pair inside a cluster (1: tight). Where D < K m, cones that attain it once a cluster."""
    delta: float = 0.05
    """Failure probability."""
    trials: int = 2000
    """Batches for each combination."""
    seed: int = 0
    """Every batch is drawn from (seed, combination, trial)."""
    out: Path | None = None
    """Folder for tightness.csv, its figure, config.json and environment.json."""


def clean_batches(
    ambient_dim: int, num_clusters: int, size: int, within: float, rngs: list[np.random.Generator]
) -> tuple[np.ndarray, str]:
    """Orthogonal clusters (trials, n, D), equiangular where the space has room for it, and which kind they are."""
    sizes = (size,) * num_clusters
    if within == 1.0 or ambient_dim >= num_clusters * size:
        return equiangular_clusters(within, 0.0, sizes, ambient_dim, rngs), "equiangular"
    bases = subspace_bases(num_clusters, ambient_dim, ambient_dim // num_clusters, rngs[0])
    return cone_clusters(bases, sizes, within, rngs), "cone"


def separated_counts(clean: np.ndarray, noise: np.ndarray, levels: np.ndarray, layout: ClusterLayout) -> np.ndarray:
    """Of these batches, how many are separated at each noise level. The Gram matrix is quadratic in the level."""
    u, e = torch.from_numpy(clean), torch.from_numpy(noise)
    mixed = u @ e.mT
    constant, linear, square = u @ u.mT, mixed + mixed.mT, e @ e.mT
    counts = []
    for level in levels:
        gram = torch.addcmul(constant, linear, torch.tensor(level)).add_(square, alpha=float(level) ** 2)
        scale = torch.diagonal(gram, dim1=-2, dim2=-1).rsqrt()
        gram.mul_(scale[..., :, None]).mul_(scale[..., None, :])
        alpha, beta = cosine_extremes(gram, layout)
        counts.append(int((alpha > beta).sum()))
    return np.array(counts)


def measure_breakdown(
    combination: int, ambient_dim: int, num_clusters: int, size: int, within: float, options: TightnessOptions
) -> dict:
    """One row: the bound, the measured breakdown with its interval, and their ratio."""
    layout = cluster_layout(contiguous_labels((size,) * num_clusters))
    bound = gaussian_separation(ambient_dim, num_clusters, size, within, 0.0, options.delta)
    n = layout.num_points
    chunk = max(1, CPU_CHUNK_BYTES // (8 * n * n))

    def count(levels: np.ndarray, trials: int) -> np.ndarray:
        total, kind = np.zeros(len(levels), dtype=int), ""
        for start in range(0, trials, chunk):
            numbers = range(start, min(start + chunk, trials))
            rngs = seeding.trial_generators(options.seed, combination, numbers, seeding.POINTS)
            clean, kind = clean_batches(ambient_dim, num_clusters, size, within, rngs)
            rngs = seeding.trial_generators(options.seed, combination, numbers, seeding.NOISE)
            noise = np.stack([rng.standard_normal((n, ambient_dim)) for rng in rngs]) / np.sqrt(ambient_dim)
            total += separated_counts(clean, noise, levels, layout)
        kinds.add(kind)
        return total

    kinds: set[str] = set()
    goal = 1.0 - options.delta
    pilot = max(1, options.trials // 10)
    found = crossing_with_interval(bound * COARSE, count(bound * COARSE, pilot), pilot, goal)
    first, last = np.clip(found[1:], bound * COARSE[0], bound * COARSE[-1])
    levels = np.linspace(first - FINE_MARGIN * bound, last + FINE_MARGIN * bound, FINE_COUNT)
    measured, low, high = crossing_with_interval(levels, count(levels, options.trials), options.trials, goal)
    return {
        "ambient_dim": ambient_dim, "num_clusters": num_clusters, "cluster_size": size, "within_cos": within,
        "geometry": kinds.pop(), "trials": options.trials, "bound": bound, "measured": measured, "measured_low": low,
        "measured_high": high, "tightness": measured / bound, "tightness_low": low / bound,
        "tightness_high": high / bound,
    }  # fmt: skip


def run(options: TightnessOptions) -> int:
    """Measure the grid, print and store it; returns the exit status.

    Raises:
        ValueError: bad options.
    """
    require_count(options.trials, "trials", 40)
    require_range(options.delta, "delta", 0.0, 1.0, closed="neither")
    require_range(np.asarray(options.within_cos), "within_cos", 0.0, 1.0, closed="right")
    grid = list(product(options.ambient_dims, options.num_clusters, options.cluster_sizes, options.within_cos))
    for dim, clusters, size, _ in grid:
        require_count(size, "cluster_sizes", 2)
        if require_count(dim, "ambient_dims", 2) < 2 * require_count(clusters, "num_clusters", 2):
            raise ValueError(f"ambient_dims: {clusters} clusters need at least {2 * clusters}, got {dim}")
    folder = None
    if options.out is not None:
        settings = {k: v for k, v in asdict(options).items() if k != "out"}
        folder = RunRecorder(options.out, settings, False, torch.device("cpu")).path
    rows = [measure_breakdown(i, *point, options) for i, point in enumerate(tqdm(grid, disable=None, unit="geometry"))]
    print("   D   K   m  within cos  geometry       bound   measured breakdown   tightness [95 % interval]")
    for r in rows:
        print(
            f"{r['ambient_dim']:4d} {r['num_clusters']:3d} {r['cluster_size']:3d}  {r['within_cos']:10g}  "
            f"{r['geometry']:<11} {r['bound']:8.4f}   {r['measured']:18.4f}   {r['tightness']:.3f} "
            f"[{r['tightness_low']:.3f}, {r['tightness_high']:.3f}]"
        )
    if folder is not None:
        # Matplotlib takes a second to import.
        from figures.catalogue import draw_all

        write_table(folder / "tightness.csv", rows)
        print("\n".join(str(path) for path in draw_all(folder)))
    return 0 if all(r["tightness_high"] >= 1.0 for r in rows) else 1


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        partial(
            run, tyro.cli(TightnessOptions, args=arguments, prog="python -m synthetic.tightness", description=__doc__)
        )
    )


if __name__ == "__main__":
    sys.exit(main())

"""The Gaussian noise ceiling (Theorem 2b) against the noise at which batches stop being separated.

Every batch keeps its noise directions while the noise level rises (common random numbers), so that the success curve of
a few thousand batches is smooth.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.stack import CPU_CHUNK_BYTES
from synthetic.batches import seeding
from synthetic.batches.union_of_subspaces import cone_clusters, equiangular_clusters, subspace_bases
from synthetic.slack.options import Point, TightnessOptions
from synthetic.slack.rows import FINE_MARGIN, crossing_in_two_passes
from theory.batches.clusters import ClusterLayout, cluster_layout, contiguous_labels
from theory.judging.verdicts import Verdict, judge
from theory.measurements import cosine_extremes
from theory.noise_ceiling import gaussian_separation

# Multiples of the bound that a tenth of the batches tries first; how many levels all of them try then.
COARSE, FINE = np.arange(0.92, 1.61, 0.04), 13


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


def measure(combination: int, point: Point, options: TightnessOptions) -> dict:
    """One row: the bound, the measured breakdown with its interval, and their ratio."""
    ambient_dim, num_clusters, size, within = (
        point[name] for name in ("ambient_dims", "num_clusters", "cluster_sizes", "within_cos")
    )
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
    batches = max(1, options.trials // 10), options.trials
    measured, low, high = crossing_in_two_passes(
        count, bound * COARSE, FINE_MARGIN * bound, FINE, batches, 1.0 - options.delta
    )
    return {
        "ambient_dim": ambient_dim, "num_clusters": num_clusters, "cluster_size": size, "within_cos": within,
        "geometry": kinds.pop(), "trials": options.trials, "bound": bound, "measured": measured, "measured_low": low,
        "measured_high": high, "tightness": measured / bound, "tightness_low": low / bound,
        "tightness_high": high / bound,
    }  # fmt: skip


def judge_rows(rows: Sequence[dict]) -> Verdict:
    """No breakdown lies below its bound with its whole interval."""
    bounds, breakdowns = ([row[name] for row in rows] for name in ("bound", "measured_high"))
    return judge("Theorem 2b: separation ceilings", bounds, breakdowns, True, discrete=True)


def print_table(rows: Sequence[dict]) -> None:
    """One line a geometry."""
    print("   D   K   m  within cos  geometry       bound   measured breakdown   tightness [95 % interval]")
    for r in rows:
        print(
            f"{r['ambient_dim']:4d} {r['num_clusters']:3d} {r['cluster_size']:3d}  {r['within_cos']:10g}  "
            f"{r['geometry']:<11} {r['bound']:8.4f}   {r['measured']:18.4f}   {r['tightness']:.3f} "
            f"[{r['tightness_low']:.3f}, {r['tightness_high']:.3f}]"
        )

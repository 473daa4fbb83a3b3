"""How much of the noise is left after fusion, against Theorem 2c's denoising bound (theory.md, section 2c).

Clean and observed points travel together through the blocks that the observed ones decide on, so that what is left of
the noise is their difference.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from tqdm import tqdm

from models.attention import TransFusionBlock
from synthetic.batches import seeding
from synthetic.batches.noise import add_noise
from synthetic.batches.union_of_subspaces import cone_clusters, subspace_bases
from theory.batches.clusters import contiguous_labels
from theory.denoising import residual_noise
from theory.judging.rates import RateCell, judge_rates
from theory.judging.statements import DENOISING
from theory.judging.verdicts import Verdict
from theory.measurements import pair_extremes
from theory.noise_ceiling import gaussian_extremes, recommended_threshold
from theory.noise_free import norm_floor_squared
from theory.numerics.inputs import require_count, require_mixing, require_number, require_values
from theory.numerics.limits import (
    LARGEST_BATCH,
    LARGEST_CLUSTERS,
    LARGEST_DEPTH,
    LARGEST_DIM,
    LARGEST_TRIALS,
    require_batch,
    require_grid,
)
from theory.persistence import persists

# Multiplications that one row may take; larger batches get fewer trials, but at least two.
ROW_BUDGET = 2e11
SUBSPACE_DIM = 4


@dataclass(frozen=True)
class DenoisingSettings:
    """The denoising part of the batch sweep: Gaussian noise, clusters in cones on orthogonal subspaces."""

    ambient_dims: tuple[int, ...] = (256, 4096)
    """Dimensions D."""
    cluster_sizes: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    """Points a cluster m."""
    num_clusters: int = 2
    """Clusters K."""
    within_cos: float = 0.9
    """Smallest clean cosine inside a cluster, (0, 1]."""
    noise_level: float = 0.3
    """sigma: E|e|^2 = sigma^2."""
    depth: int = 8
    """Blocks L."""
    mixing: float = 0.5
    """lambda in (0, 1]."""
    trials: int = 20
    """Batches a row, at most: large ones get fewer, but at least two."""
    delta: float = 0.05
    """Failure probability that the bound allows."""

    def __post_init__(self) -> None:
        for name in ("ambient_dims", "cluster_sizes"):
            require_values(getattr(self, name), f"denoising.{name}")
        require_count(self.depth, "denoising.depth", 1, LARGEST_DEPTH)
        for size in self.cluster_sizes:
            require_count(size, "denoising.cluster_sizes", 2, LARGEST_BATCH)
        for dim in self.ambient_dims:
            smallest = SUBSPACE_DIM * require_count(self.num_clusters, "denoising.num_clusters", 2, LARGEST_CLUSTERS)
            require_count(dim, "denoising.ambient_dims", smallest, LARGEST_DIM)
            for size in self.cluster_sizes:
                require_batch(size * self.num_clusters, dim, "denoising.cluster_sizes", 2, self.depth,
                              "denoising.ambient_dims")  # fmt: skip
        for name in ("ambient_dims", "cluster_sizes"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"denoising.{name}: give at least one value, each once, got {list(values)}")
        require_grid(len(self.ambient_dims) * len(self.cluster_sizes), ("denoising.ambient_dims", "cluster_sizes"))
        require_number(self.within_cos, "denoising.within_cos", 0.0, 1.0, closed="right")
        require_number(self.noise_level, "denoising.noise_level", 1e-6, 1e6)
        require_mixing(self.mixing)
        require_count(self.trials, "denoising.trials", 2, LARGEST_TRIALS)
        require_number(self.delta, "denoising.delta", 0.0, 1.0, closed="neither")


def fuse_with_clean(
    observed: torch.Tensor, clean: torch.Tensor, threshold: float, mixing: float, depth: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both (n, D), not normalized, after ``depth`` blocks whose weights the observed points decide."""
    block, dim = TransFusionBlock(threshold, mixing), observed.shape[-1]
    both = torch.cat([observed, clean], dim=-1)
    for _ in range(depth):
        affinity, mass = block.affinity(block.attend(both[:, :dim]))
        both = block.mix(both, affinity, mass)
    return both[:, :dim], both[:, dim:]


def measure_denoising(settings: DenoisingSettings, seed: int) -> list[dict]:
    """One row for each dimension and cluster size; ``applicable`` counts the batches that satisfy 2a's hypotheses."""
    grid = list(product(settings.ambient_dims, settings.cluster_sizes))
    return [_row(settings, number, dim, size, seed) for number, (dim, size) in
            enumerate(tqdm(grid, desc="denoising", disable=None))]  # fmt: skip


def _row(s: DenoisingSettings, number: int, dim: int, size: int, seed: int) -> dict:
    sizes = (size,) * s.num_clusters
    labels, n = contiguous_labels(sizes), size * s.num_clusters
    law = (dim, s.num_clusters, size, s.within_cos, 0.0, s.delta)
    threshold = recommended_threshold(*gaussian_extremes(*law, s.noise_level), sizes)
    trials = int(np.clip(ROW_BUDGET / (3.0 * n * n * dim * s.depth), 2, s.trials))
    bases = subspace_bases(s.num_clusters, dim, SUBSPACE_DIM, seeding.generator(seed, seeding.ARRANGEMENT, dim))
    floor = float(np.sqrt(norm_floor_squared(s.within_cos, size)))
    bounds, noises, means, angles, kappas = [], [], [], [], []
    for trial in range(trials):
        rng = seeding.trial_generators(seed, number, [trial], seeding.POINTS)
        clean = cone_clusters(bases, sizes, s.within_cos, rng)
        rng = seeding.trial_generators(seed, number, [trial], seeding.NOISE)
        observed = add_noise(clean, labels, s.noise_level, "gaussian", rng)[0]
        alpha, beta = (float(value) for value in pair_extremes(observed, labels))
        if not persists(alpha, beta, sizes, threshold):
            continue
        kappas.append((alpha - threshold) / (1.0 - threshold))
        fused, fused_clean = fuse_with_clean(
            torch.from_numpy(observed), torch.from_numpy(clean[0]), threshold, s.mixing, s.depth
        )
        noise = torch.linalg.vector_norm(fused - fused_clean, dim=-1)
        cosine = torch.nn.functional.cosine_similarity(fused, fused_clean, dim=-1).clamp(-1.0, 1.0)
        bounds.append(
            residual_noise(s.noise_level, dim, size, size, s.num_clusters, kappas[-1], s.depth, s.delta, s.mixing)
        )
        noises.append(float(noise.max()))
        means.append(float(noise.square().mean().sqrt()))
        angles.append(float(torch.arccos(cosine).max()))
    failures = sum(bool(noise > bound) for noise, bound in zip(noises, bounds))
    failures += sum(bool(noise <= bound < floor and angle > np.arcsin(bound / floor))
                    for noise, bound, angle in zip(noises, bounds, angles))  # fmt: skip
    bound = float(np.mean(bounds)) if bounds else np.nan
    kappa = float(np.mean(kappas)) if kappas else np.nan
    return {
        "ambient_dim": dim, "cluster_size": size, "num_clusters": s.num_clusters, "noise_level": s.noise_level,
        "depth": s.depth, "threshold": threshold, "trials": trials, "applicable": len(bounds), "failures": failures,
        "kappa": kappa, "bound": bound, "measured": float(np.mean(noises)) if noises else np.nan,
        "measured_rms": float(np.mean(means)) if means else np.nan, "limit": s.noise_level / np.sqrt(kappa * dim),
        "angle_bound_deg": float(np.degrees(np.arcsin(bound / floor))) if bound < floor else np.nan,
        "angle_deg": float(np.degrees(np.mean(angles))) if angles else np.nan,
    }  # fmt: skip


def judge_denoising(rows: list[dict], delta: float) -> Verdict:
    """Batches that satisfy the hypotheses and break the bound, against delta; the others confirm nothing."""
    cells = [
        RateCell(f"at D={row['ambient_dim']}, m={row['cluster_size']}", "denoising", row["failures"], row["trials"],
                 row["applicable"], "all rows")
        for row in rows
    ]  # fmt: skip
    return judge_rates(DENOISING.name, cells, delta)

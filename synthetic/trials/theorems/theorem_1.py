"""Theorem 1 on trial: noise-free batches in oblique subspaces, queries and keys mapped by W."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from synthetic.batches.union_of_subspaces import cone_clusters, subspace_bases
from synthetic.trials import damaged
from synthetic.trials.ascent import MANY_SIZES, SMALL_SIZES, Parameters, Sizes, Violation
from synthetic.trials.layers import Batch, cosines_of, extremes, start_clusters, start_equiangular
from synthetic.trials.stacks import BATCH, BATCHES_A_SHAPE, STACK, cut_of, exact_of, measure_stack, random_shape
from synthetic.trials.trial import Cases, Trial
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.judging.statements import SMALLEST_CLUSTER, THEOREM_1, THRESHOLD_AT_B
from theory.judging.verdicts import Verdict
from theory.noise_free import check_noise_free, norm_floor_squared
from theory.subspaces import separating_map

# Spreads below this are round-off of 1 - cosine, not geometry.
SMALLEST_SPREAD = 1e-7


def draw(rng: np.random.Generator) -> Cases:
    """Cones in random subspaces, one threshold below all cosines."""
    sizes, depth, mixing = random_shape(rng)
    dim = int(rng.integers(2, 5))
    ambient = int(len(sizes) * dim + rng.integers(0, 6))
    bases = subspace_bases(len(sizes), ambient, dim, rng, "random")
    within = float(rng.uniform(0.02, 0.9))
    points = cone_clusters(bases, sizes, within, rng.spawn(BATCHES_A_SHAPE))
    matrix, condition = separating_map(bases)
    threshold = within * rng.random(BATCHES_A_SHAPE) * (rng.random() < 0.7)
    return Cases(
        {"points": points, "threshold": threshold, "mixing": mixing},
        {"labels": contiguous_labels(sizes), "depth": depth, "query_key_map": matrix, "condition": condition},
    )


def judge(cases: Cases, layers: Trajectory) -> Verdict:
    """Every part of the theorem, batch by batch."""
    sizes = cluster_layout(cases["labels"]).sizes
    return check_noise_free(layers, sizes, cut_of(cases), cases["mixing"], exact=exact_of(cases))


# --- the adversary ----------------------------------------------------------------------------------------------------


def start_separate_subspaces(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Coordinates of each point inside its own cluster's subspace (the subspaces are orthogonal coordinate blocks)."""
    parameters = start_clusters(generator, restarts, sizes)
    parameters["points"] = parameters["points"][..., :3]
    return parameters


def embed_separately(coordinates: Tensor, sizes: Sizes) -> Tensor:
    """Points (R, n, 3 K): each cluster in its own three coordinates."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    blocks = torch.nn.functional.one_hot(labels, len(sizes)).to(coordinates.dtype)
    return (blocks[:, :, None] * coordinates[:, :, None, :]).flatten(-2)


def separate(parameters: Parameters, sizes: Sizes) -> Batch:
    """Clusters in orthogonal subspaces, a threshold below all within-cluster cosines, lambda in (0, 1/2)."""
    points = embed_separately(parameters["points"], sizes)
    alpha, _ = extremes(cosines_of(points), sizes)
    threshold = torch.sigmoid(parameters["threshold"]) * alpha.detach().clamp(0.0, 1.0)
    return Batch(points, threshold, 0.5 * torch.sigmoid(parameters["mixing"]), alpha - threshold - 1e-6)


def spread_excess(alpha: Tensor, threshold: Tensor, mixing: Tensor, size: int) -> Tensor:
    """log(spread/bound) of Theorem 1b, worst layer; ``size`` is the cluster size that the bound is computed with."""
    kappa = (alpha - threshold) / (1.0 - threshold)
    rho = 1.0 - mixing * kappa * size / (size - 2 + kappa)
    bound = torch.log((1.0 - alpha[0]) / norm_floor_squared(alpha[0], size)) + 2.0 * torch.cumsum(
        torch.log(rho[:-1].clamp_min(1e-300)), dim=0
    )
    excess = torch.log((1.0 - alpha[1:]).clamp_min(1e-300)) - bound
    return torch.where(1.0 - alpha[1:] > SMALLEST_SPREAD, excess, -torch.inf).amax(0)


def _spread(size_of: Callable[[Sizes], int]):
    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        batch = separate(parameters, sizes)
        alpha, _ = extremes(batch.cosines_of_layers(), sizes)
        return batch.slack, spread_excess(alpha, batch.threshold, batch.mixing, size_of(sizes))

    return evaluate


def _monotone(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    batch = separate(parameters, sizes)
    alpha, _ = extremes(batch.cosines_of_layers(), sizes)
    step = torch.log((1.0 - alpha[1:]).clamp_min(1e-300)) - torch.log((1.0 - alpha[:-1]).clamp_min(1e-300))
    return batch.slack, torch.where(1.0 - alpha[1:] > SMALLEST_SPREAD, step, -torch.inf).amax(0)


def _equiangular(low_of: Callable[[Tensor, Tensor, int], Tensor]):
    """beta_l > tau somewhere, for equiangular clusters with low_of(a, b, M) <= tau < a."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        within = torch.sigmoid(parameters["within"])
        between = torch.sigmoid(parameters["between"]) * within
        low = low_of(within, between, max(sizes))
        threshold = low + torch.sigmoid(parameters["threshold"]) * (within - low).clamp_min(0.0)
        mixing = torch.sigmoid(parameters["mixing"])
        labels = torch.from_numpy(contiguous_labels(sizes))
        same = (labels[:, None] == labels[None, :]).to(torch.float64)
        gram = between[:, None, None] + (within - between)[:, None, None] * same
        gram = gram + (1.0 - within)[:, None, None] * torch.eye(len(labels), dtype=torch.float64)
        points = torch.linalg.cholesky(gram + 1e-12 * torch.eye(len(labels), dtype=torch.float64))
        batch = Batch(points, threshold, mixing, within - low - 1e-6)
        _, beta = extremes(batch.cosines_of_layers(), sizes)
        return batch.slack, (beta[1:] - threshold).amax(0)

    return evaluate


def _values(parameters: Parameters, sizes: Sizes) -> dict:
    return separate(parameters, sizes).values(sizes) | {"query_key_map": np.empty((0, 0)), "condition": 1.0}


TRIALS = (
    Trial(
        THEOREM_1,
        "theorem_1",
        BATCH,
        (*STACK, "query_key_map", "condition"),
        measure_stack,
        judge,
        draw=draw,
        violations=(
            Violation("Theorem 1b: spread", MANY_SIZES, start_separate_subspaces, _spread(max), _values),
            Violation("Theorem 1b: alpha never decreases", MANY_SIZES, start_separate_subspaces, _monotone, _values),
            Violation(
                "Theorem 1, equiangular: no leak",
                SMALL_SIZES,
                start_equiangular,
                _equiangular(lambda a, b, m: b / norm_floor_squared(a, m)),
            ),
        ),
        killed=(
            Violation(SMALLEST_CLUSTER.name, ((20, 2), (8, 2)), start_separate_subspaces, _spread(min)),
            Violation(THRESHOLD_AT_B.name, ((6, 6, 6), (3, 3)), start_equiangular, _equiangular(lambda a, b, m: b)),
        ),
        damaged=damaged.stacks("DiagonalKept", "RowsNotNormalized", "OneFalseEdge", "ForgetsToMix"),
        on_cells=lambda cell: cell.mapped,
        stream=9,
    ),
)

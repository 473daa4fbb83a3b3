"""Theorem 2a on trial: clusters around random centers, some barely inside the hypotheses."""

import numpy as np
import torch
from torch import Tensor

from synthetic.trials import damaged
from synthetic.trials.ascent import MANY_SIZES, Parameters, Sizes, Violation
from synthetic.trials.layers import Batch, cosines_of, extremes, start_clusters
from synthetic.trials.stacks import BATCH, BATCHES_A_SHAPE, STACK, cut_of, exact_of, measure_stack, random_shape
from synthetic.trials.trial import Cases, Trial
from theory.affinity import unit_points
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.judging.statements import ALPHA_OF_ANY_SIGN, THEOREM_2A
from theory.judging.verdicts import Verdict
from theory.measurements import pair_extremes
from theory.noise_free import norm_floor_squared
from theory.numerics.precision import numerical_threshold
from theory.persistence import admits_threshold, check_persistence, cross_cap


def draw(rng: np.random.Generator) -> Cases:
    """Points of any norms or normalized; a threshold anywhere in 2a's interval."""
    sizes, depth, mixing = random_shape(rng)
    labels = contiguous_labels(sizes)
    ambient = int(rng.integers(2, 25))
    # Centers with a common part make cross cosines positive; the spread decides how close to the edge the batch is.
    shared = rng.random((BATCHES_A_SHAPE, 1, 1))
    centers = unit_points(rng.standard_normal((BATCHES_A_SHAPE, len(sizes), ambient)))
    centers = centers + shared * unit_points(rng.standard_normal((BATCHES_A_SHAPE, 1, ambient)))
    spread = 10.0 ** rng.uniform(-1.3, 0.0, (BATCHES_A_SHAPE, 1, 1))
    draws = rng.standard_normal((BATCHES_A_SHAPE, len(labels), ambient)) / np.sqrt(ambient)
    points = unit_points(centers)[:, labels] + spread * draws
    unit_inputs = bool(rng.random() < 0.5)
    points = unit_points(points) if unit_inputs else points * rng.uniform(0.2, 5.0, (*points.shape[:2], 1))

    alpha, beta = pair_extremes(points, labels)
    inside = admits_threshold(alpha, beta, sizes)
    low = np.maximum(cross_cap(np.where(inside, alpha, 1.0), beta, sizes), numerical_threshold("float64"))
    inside &= low < alpha
    # The threshold lies strictly inside its interval: an end of it is not a number that float64 can tell apart.
    threshold = np.where(inside, low + (0.001 + 0.998 * rng.random(BATCHES_A_SHAPE)) * (alpha - low), 0.0)
    return Cases(
        {"points": points, "threshold": threshold, "mixing": mixing},
        {"labels": labels, "depth": depth, "unit_inputs": unit_inputs},
    )


def judge(cases: Cases, layers: Trajectory) -> Verdict:
    """Every part of the theorem, batch by batch."""
    sizes, unit = cluster_layout(cases["labels"]).sizes, bool(cases["unit_inputs"])
    return check_persistence(layers, sizes, cut_of(cases), cases["mixing"], unit_inputs=unit, exact=exact_of(cases))


# --- the adversary ----------------------------------------------------------------------------------------------------


def persistent(parameters: Parameters, sizes: Sizes) -> Batch:
    """Any batch, with a threshold anywhere in 2a's interval and lambda in (0, 1)."""
    points = parameters["points"]
    alpha, beta = extremes(cosines_of(points), sizes)
    cap = _cap(alpha, beta, sizes)
    threshold = (cap + torch.sigmoid(parameters["threshold"]) * (alpha - cap).clamp_min(0.0)).detach()
    slack = torch.minimum(alpha, alpha - cap) - 1e-6
    return Batch(points, threshold, torch.sigmoid(parameters["mixing"]), slack)


def _cap(alpha: Tensor, beta: Tensor, sizes: Sizes) -> Tensor:
    largest, second = sorted(sizes, reverse=True)[:2]
    return (
        beta.clamp_min(1e-9)
        / (norm_floor_squared(alpha, largest) * norm_floor_squared(alpha, second)).clamp_min(1e-12).sqrt()
    )


def _cross_cap(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """log(beta_l / cap), worst layer."""
    batch = persistent(parameters, sizes)
    alpha, beta = extremes(batch.cosines_of_layers(), sizes)
    cap = _cap(alpha[0], beta[0], sizes)
    return batch.slack, (torch.log(beta[1:].clamp_min(1e-9)) - torch.log(cap)).amax(0)


def _without_positive_alpha(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Killed: "beta+ < alpha nu^2 alone gives a threshold in [0, 1) with an edge between all i ~ j"."""
    alpha, beta = extremes(cosines_of(parameters["points"]), sizes)
    return alpha * norm_floor_squared(alpha, max(sizes)) - beta.clamp_min(0.0) - 1e-6, -alpha


def _values(parameters: Parameters, sizes: Sizes) -> dict:
    return persistent(parameters, sizes).values(sizes) | {"unit_inputs": True}


TRIALS = (
    Trial(
        THEOREM_2A,
        "theorem_2a",
        BATCH,
        (*STACK, "unit_inputs"),
        measure_stack,
        judge,
        draw=draw,
        violations=(Violation("Theorem 2a: cross cosines", MANY_SIZES, start_clusters, _cross_cap, _values),),
        killed=(Violation(ALPHA_OF_ANY_SIGN.name, ((3, 2), (3, 3)), start_clusters, _without_positive_alpha),),
        damaged=damaged.stacks("DiagonalKept", "ThresholdIgnored", "RowsNotNormalized", "OneFalseEdge", "ForgetsToMix"),
        on_cells=lambda cell: not cell.mapped,
        defaults={"unit_inputs": True},
        stream=10,
    ),
)

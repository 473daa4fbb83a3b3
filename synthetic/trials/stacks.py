"""What trials of attention stacks share: how a batch runs through one, and random clusters."""

import numpy as np
import torch
from jaxtyping import Float

from synthetic.trials.trial import Cases, Subject
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.judging.exact_replay import ExactReplay
from theory.numerics.precision import numerical_threshold

BATCHES_A_SHAPE = 500
# What a batch in a thresholded stack is made of.
BATCH, STACK = ("points", "threshold", "mixing"), ("labels", "depth")


def measure_stack(cases: Cases, subject: Subject) -> Trajectory:
    """All layers of every batch, in float64: tau and lambda of each, W and normalization of all, where given."""
    matrix = cases.shared.get("query_key_map")
    stack = subject(
        int(cases["depth"]), column(cases["threshold"]), column(cases["mixing"]),
        query_key_map=None if matrix is None or not np.size(matrix) else torch.from_numpy(matrix),
        condition=float(cases.shared.get("condition", 1.0)), device=cases.device,
        normalize="input" if cases.shared.get("unit_inputs", True) else "never",
    )  # fmt: skip
    return stack.measure(torch.from_numpy(np.asarray(cases["points"])), cases["labels"])


def cut_of(cases: Cases) -> np.ndarray | float:
    """The threshold that the stack applied: max(tau, tau_num)."""
    return np.maximum(cases["threshold"], numerical_threshold("float64", float(cases.shared.get("condition", 1.0))))


def exact_of(cases: Cases) -> ExactReplay:
    """The batches in high precision, where a margin is too close to call."""
    matrix = cases.shared.get("query_key_map")
    return ExactReplay(cases["points"].__getitem__, cases["labels"], cut_of(cases), cases["mixing"],
                       int(cases["depth"]), matrix if matrix is not None and np.size(matrix) else None)  # fmt: skip


def column_array(values: np.ndarray) -> np.ndarray:
    """(cases,) as (cases, 1, 1), to broadcast against cosines and points."""
    return np.asarray(values, dtype=float)[..., None, None]


def column(values: np.ndarray) -> torch.Tensor:
    """The same as a tensor."""
    return torch.from_numpy(column_array(values))


def random_shape(rng: np.random.Generator) -> tuple[tuple[int, ...], int, np.ndarray]:
    """Cluster sizes 2 to 12, depth 1 to 5, one mixing weight in (0, 1] for each batch.

    Deeper stacks of small clusters only reach the point where every spread is round-off.
    """
    sizes = tuple(int(s) for s in rng.integers(2, 13, size=rng.integers(2, 5)))
    return sizes, int(rng.integers(1, 6)), 1.0 - rng.random(BATCHES_A_SHAPE)


def random_clusters(rng: np.random.Generator) -> tuple[Float[np.ndarray, "trials n D"], tuple[int, ...]]:
    """Batches around random centers of any position, some with a common part that makes all cosines positive."""
    sizes = tuple(int(s) for s in rng.integers(2, 9, size=rng.integers(2, 5)))
    labels, ambient = contiguous_labels(sizes), int(rng.integers(2, 17))
    shared = 3.0 * rng.random((BATCHES_A_SHAPE, 1, 1)) * (rng.random((BATCHES_A_SHAPE, 1, 1)) < 0.7)
    centers = unit_points(rng.standard_normal((BATCHES_A_SHAPE, len(sizes), ambient)))
    centers = centers + shared * unit_points(rng.standard_normal((BATCHES_A_SHAPE, 1, ambient)))
    spread = 10.0 ** rng.uniform(-2.0, 0.3, (BATCHES_A_SHAPE, 1, 1))
    noise = rng.standard_normal((BATCHES_A_SHAPE, len(labels), ambient)) / np.sqrt(ambient)
    return unit_points(unit_points(centers)[:, labels] + spread * noise), sizes

"""Random batches of many shapes, inside the hypotheses of Theorems 1 and 2a, through stacks of many depths."""

from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from models.stack import AttentionStack
from synthetic import seeding
from synthetic.union_of_subspaces import cone_clusters, subspace_bases
from theory.affinity import unit_points
from theory.clusters import contiguous_labels
from theory.exact_replay import ExactReplay
from theory.measurements import pair_extremes
from theory.noise_free import check_noise_free
from theory.persistence import admits_threshold, check_persistence, cross_cap
from theory.precision import numerical_threshold
from theory.subspaces import separating_map
from theory.verdicts import Verdict, combine_cells

BATCHES_A_SHAPE = 500


def search_random(batches: int, seed: int) -> list[Verdict]:
    """Verdicts of Theorem 1 and Theorem 2a on at least ``batches`` random batches each, all inside the hypotheses."""
    verdicts = []
    for name, draw in (("Theorem 1", _noise_free_shape), ("Theorem 2a", _persistent_shape)):
        parts: list[Verdict] = []
        done, shape = 0, 0
        with tqdm(total=batches, disable=None, unit="batch", desc=f"{name}, random") as bar:
            while done < batches:
                parts.append(draw(seeding.generator(seed, shape, len(name))))
                done, shape = done + parts[-1].applicable, shape + 1
                bar.update(parts[-1].applicable)
        verdicts.append(replace(combine_cells(name, parts), statement=f"{name} on random batches"))
    return verdicts


def _shape(rng: np.random.Generator) -> tuple[tuple[int, ...], int, np.ndarray]:
    """Cluster sizes 2 to 12, depth 1 to 5, one mixing weight in (0, 1] for each batch.

    Deeper stacks of small clusters only reach the point where every spread is round-off.
    """
    sizes = tuple(int(s) for s in rng.integers(2, 13, size=rng.integers(2, 5)))
    return sizes, int(rng.integers(1, 6)), 1.0 - rng.random(BATCHES_A_SHAPE)


def _noise_free_shape(rng: np.random.Generator) -> Verdict:
    """Theorem 1: cones in oblique random subspaces, queries and keys mapped by W, one threshold below all cosines."""
    sizes, depth, mixing = _shape(rng)
    dim = int(rng.integers(2, 5))
    ambient = int(len(sizes) * dim + rng.integers(0, 6))
    bases = subspace_bases(len(sizes), ambient, dim, rng, "random")
    within = float(rng.uniform(0.02, 0.9))
    points = cone_clusters(bases, sizes, within, rng.spawn(BATCHES_A_SHAPE))
    matrix, condition = separating_map(bases)
    threshold = within * rng.random(BATCHES_A_SHAPE) * (rng.random() < 0.7)
    cut = np.maximum(threshold, numerical_threshold("float64", condition))
    stack = AttentionStack(depth, _column(threshold), _column(mixing), query_key_map=torch.from_numpy(matrix),
                           condition=condition, normalize="input")  # fmt: skip
    labels = contiguous_labels(sizes)
    trajectory = stack.measure(torch.from_numpy(points), labels)

    exact = ExactReplay(points.__getitem__, labels, cut, mixing, depth, matrix)
    return check_noise_free(trajectory, sizes, cut, mixing, exact=exact)


def _persistent_shape(rng: np.random.Generator) -> Verdict:
    """Theorem 2a: clusters around random centres, some barely inside the hypotheses, of any norms or normalised."""
    sizes, depth, mixing = _shape(rng)
    labels = contiguous_labels(sizes)
    ambient = int(rng.integers(2, 25))
    # Centres with a common part make cross cosines positive; the spread decides how close to the edge the batch is.
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
    stack = AttentionStack(depth, _column(threshold), _column(mixing), normalize="input" if unit_inputs else "never")
    trajectory = stack.measure(torch.from_numpy(points), labels)

    cut = np.maximum(threshold, numerical_threshold("float64"))
    exact = ExactReplay(points.__getitem__, labels, cut, mixing, depth)
    return check_persistence(trajectory, sizes, cut, mixing, unit_inputs=unit_inputs, exact=exact)


def _column(values: np.ndarray) -> torch.Tensor:
    """(trials,) as (trials, 1, 1), to broadcast against cosines and points."""
    return torch.from_numpy(values)[:, None, None]

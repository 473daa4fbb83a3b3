"""A stack's layers, measured: the arrays that every theorem's check reads.

Definitions: theory.md, section 0. The stack hands over one layer at a time; nothing of size n x n is kept.
``Trajectory`` is of ReLU attention, which may leave rows without neighbours and never attends to itself;
``SoftmaxTrajectory`` of softmax attention, in which everybody attends to everybody and to himself. What a block hands
over in half precision is summed in float32; trajectories are float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from theory.batches.clusters import ClusterLayout, as_numpy
from theory.measurements import cosine_extremes, count_components, count_cross_edges, own_cluster_mass
from theory.numerics.inputs import Array
from theory.numerics.precision import widen

# Mass outside the own cluster above which a row is taken to leak, whatever the cosines say.
LEAK = 1e-9

Layers = TypeVar("Layers", bound="LayerArrays")


@dataclass(frozen=True)
class LayerArrays:
    """Arrays whose first axis is the layer and whose last axis is the trial, put together from parts.

    Raises:
        ValueError: an array with NaN or infinity, of which no statement could be judged.
    """

    def __post_init__(self) -> None:
        for f in fields(self):
            values = np.asarray(getattr(self, f.name))
            if not np.isfinite(values).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                raise ValueError(
                    f"{f.name}: contains NaN or infinity, first at index {where} of shape {values.shape} (..., trials)"
                )

    @classmethod
    def stack_layers(cls: type[Layers], layers: list[Layers]) -> Layers:
        """Layers without their axis put one above the other."""
        return cls(**{f.name: np.stack([getattr(x, f.name) for x in layers]) for f in fields(cls)})

    @classmethod
    def join_trials(cls: type[Layers], parts: list[Layers]) -> Layers:
        """Trials measured in several batches put side by side."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: np.concatenate([getattr(x, name) for x in parts], axis=-1) for name in names})


@dataclass(frozen=True)
class Trajectory(LayerArrays):
    """Measurements of a stack, NumPy arrays of shape (layers, trials); layer l is what block l sees.

    Attributes:
        alpha, beta: smallest within-cluster and largest cross cosine.
        sharpness_min, sharpness_mean: affinity sharpness s_i over all rows (a row without neighbours has s_i = 0).
        sharpness_error: largest |s_i - 1| over rows that have a neighbour; 0 means no mass leaks.
        false_edges: pairs i !~ j with a positive affinity.
        fragments: components of the most fragmented cluster; 1 when every cluster is whole.
        isolated: rows without any neighbour.
        axis_product: h_(1) h_(2) of Theorem 2a', h_k the smallest cosine of a token of cluster k with the mean of the
            cluster's unit tokens, at least 0, and (1), (2) the two smallest.
    """

    alpha: np.ndarray
    beta: np.ndarray
    sharpness_min: np.ndarray
    sharpness_mean: np.ndarray
    sharpness_error: np.ndarray
    false_edges: np.ndarray
    fragments: np.ndarray
    isolated: np.ndarray
    axis_product: np.ndarray

    @property
    def num_layers(self) -> int:
        return self.alpha.shape[0]

    @property
    def separated(self) -> np.ndarray:
        """alpha > beta, (layers, trials)."""
        return self.alpha > self.beta

    @property
    def recovered(self) -> np.ndarray:
        """No false edges and every cluster one component, (layers, trials)."""
        return (self.false_edges == 0) & (self.fragments == 1)


@dataclass(frozen=True)
class SoftmaxTrajectory(LayerArrays):
    """Measurements of softmax attention, NumPy arrays (layers, trials); clusters, where there are any, in between.

    Attributes:
        alpha, beta: smallest within-cluster and largest cross cosine.
        min_cross: smallest cross cosine (gamma of Theorem 3b).
        mass_min, mass_max: smallest and largest in-cluster mass, self included, of each cluster's rows, (layers, K,
            trials).
        mass_mean: mean over all rows.
    """

    alpha: np.ndarray
    beta: np.ndarray
    min_cross: np.ndarray
    mass_min: np.ndarray
    mass_max: np.ndarray
    mass_mean: np.ndarray

    @property
    def num_layers(self) -> int:
        return self.alpha.shape[0]


class LayerExtremes(NamedTuple):
    """alpha, beta and axis_product of one layer, NumPy float64 arrays (trials,), as in Trajectory."""

    alpha: np.ndarray
    beta: np.ndarray
    axis_product: np.ndarray


def layer_extremes(cosines: Float[Array, "trials n n"], layout: ClusterLayout) -> LayerExtremes:
    """What is read off one layer's cosines alone, the diagonal included."""
    ordered = layout.sort_matrix(cosines)
    alpha, beta = cosine_extremes(ordered, layout)
    # With axes that are sums of unit tokens, cosines with them are row sums over the root of their own sum.
    sums = [array_namespace(ordered).sum(widen(ordered[..., rows, rows]), axis=-1) for rows in layout.slices]
    axes = axis_product([as_numpy(part).astype(np.float64) for part in sums])
    return LayerExtremes(as_numpy(alpha).astype(np.float64), as_numpy(beta).astype(np.float64), axes)


def axis_product(sums: Sequence[np.ndarray]) -> Float[np.ndarray, "*trials"]:
    """h_(1) h_(2) from each row's sum of cosines with its cluster, itself included: (*trials, n_k), a cluster each."""
    totals = (part.sum(axis=-1) for part in sums)
    heights = [part.min(axis=-1) / np.sqrt(np.where(total > 0.0, total, np.inf)) for part, total in zip(sums, totals)]
    low, next_low = np.sort(np.clip(heights, 0.0, 1.0), axis=0)[:2]
    return low * next_low


def measure_layer(
    extremes: LayerExtremes,
    affinity: Float[Array, "trials n n"],
    row_mass: Float[Array, "trials n"],
    layout: ClusterLayout,
    cut: Array | float,
) -> Trajectory:
    """One layer, arrays (trials,).

    Blocks above the cut need no look: a cluster whose smallest cosine exceeds it is complete, hence one fragment, and
    a batch whose largest cross cosine does not exceed it has no false edge. Both follow from ReLU(C - cut), and are
    checked against the general ``fragments`` and ``false_edges`` in the tests.

    Args:
        extremes: of the cosines that the affinity was made from.
        affinity: ReLU(C - cut) with zero diagonal, not yet normalized.
        row_mass: what the block divides each row by.
        cut: the effective threshold, a number or (trials, 1, 1).
    """
    xp = array_namespace(affinity)
    alpha, beta, _ = extremes
    cut = widen(cut, "cut") if hasattr(cut, "dtype") else cut
    cuts = np.broadcast_to(as_numpy(cut).astype(np.float64).reshape(-1), alpha.shape)
    ordered, mass = layout.sort_matrix(affinity), layout.sort_rows(row_mass)

    own_mass = own_cluster_mass(ordered, layout)
    error = sharpness_error(own_mass, mass)
    # Where an entry that should be zero is not (a damaged stack), mass leaks although beta is below the cut: count.
    leaking = (beta > cuts) | (as_numpy(xp.max(error, axis=-1)) > LEAK)
    counts = np.zeros(alpha.shape, dtype=np.int64)
    if leaking.any():
        counts[leaking] = as_numpy(count_cross_edges(ordered[np.flatnonzero(leaking)], layout))
    pieces = np.ones(alpha.shape, dtype=np.int64)
    thin = np.flatnonzero(~(alpha > cuts))
    if thin.size:
        blocks = [ordered[thin][:, rows, rows] > 0 for rows in layout.slices]
        pieces[thin] = np.max([as_numpy(count_components(block)) for block in blocks], axis=0)
    return summarize_layer(extremes, own_mass, mass, counts, pieces)


def row_sharpness(own_mass: Float[Array, "*trials rows"], row_mass: Float[Array, "*trials rows"]) -> Array:
    """s_i = mass inside the own cluster over what the block divides by, (*trials, rows); 0 without neighbours."""
    own_mass, row_mass = widen(own_mass, "own_mass"), widen(row_mass, "row_mass")
    xp = array_namespace(row_mass)
    return own_mass / xp.where(row_mass > 0, row_mass, xp.ones_like(row_mass))


def sharpness_error(own_mass: Float[Array, "*trials rows"], row_mass: Float[Array, "*trials rows"]) -> Array:
    """|s_i - 1| of rows that have a neighbour, 0 of the others, (*trials, rows)."""
    xp = array_namespace(row_mass)
    sharpness = row_sharpness(own_mass, row_mass)
    return xp.where(row_mass > 0, xp.abs(sharpness - 1.0), xp.zeros_like(sharpness))


def summarize_layer(
    extremes: LayerExtremes,
    own_mass: Float[Array, "trials n"],
    row_mass: Float[Array, "trials n"],
    false_edges: np.ndarray,
    fragments: np.ndarray,
) -> Trajectory:
    """One layer from what its rows were found to hold, arrays (trials,); rows in any order.

    Args:
        extremes: of the cosines.
        own_mass, row_mass: each row's affinity inside its own cluster, and what the block divides the row by.
        false_edges, fragments: as in Trajectory, (trials,).
    """
    xp = array_namespace(row_mass)
    sharpness = row_sharpness(own_mass, row_mass)
    return Trajectory(
        alpha=extremes.alpha,
        beta=extremes.beta,
        sharpness_min=as_numpy(xp.min(sharpness, axis=-1)).astype(np.float64),
        sharpness_mean=as_numpy(xp.mean(sharpness, axis=-1)).astype(np.float64),
        sharpness_error=as_numpy(xp.max(sharpness_error(own_mass, row_mass), axis=-1)).astype(np.float64),
        false_edges=false_edges,
        fragments=fragments,
        isolated=as_numpy(xp.sum(xp.astype(~(row_mass > 0), xp.int64), axis=-1)),
        axis_product=extremes.axis_product,
    )


def measure_softmax_layer(
    cosines: Float[Array, "trials n n"],
    weights: Float[Array, "trials n n"],
    row_mass: Float[Array, "trials n"],
    layout: ClusterLayout,
) -> SoftmaxTrajectory:
    """One layer of softmax attention, arrays (trials,) and (K, trials).

    Args:
        cosines: before any weight was made from them.
        weights: exponentials, the diagonal included, not yet normalized; ``row_mass`` are their row sums.
    """
    cosines, weights, row_mass = (widen(array) for array in (cosines, weights, row_mass))
    xp = array_namespace(weights)
    ordered = layout.sort_matrix(cosines)
    alpha, beta = cosine_extremes(ordered, layout)
    _, negated = cosine_extremes(-ordered, layout)
    weights, mass = layout.sort_matrix(weights), layout.sort_rows(row_mass)
    own = [xp.sum(weights[..., rows, rows], axis=-1) / mass[..., rows] for rows in layout.slices]
    least, most = (
        np.stack([as_numpy(reduce(part, axis=-1)).astype(np.float64) for part in own]) for reduce in (xp.min, xp.max)
    )
    mean = as_numpy(xp.mean(xp.concat(own, axis=-1), axis=-1)).astype(np.float64)
    low, high, smallest = (as_numpy(value).astype(np.float64) for value in (alpha, beta, -negated))
    return SoftmaxTrajectory(low, high, smallest, least, most, mean)

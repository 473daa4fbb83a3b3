"""Losses and measurements, and what each is called with in half precision; bounds are in half_precision_bounds.py.

Arrays hold numbers that float16 and bfloat16 represent exactly, so that answers must agree and inputs are no excuse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace

from models.head_output import HeadOutput, Reading
from models.losses import (
    AffinityJSDLoss,
    NTXentLoss,
    Objective,
    SupConLoss,
    affinity_divergence,
    affinity_jsd,
    affinity_jsd_from_points,
    nt_xent,
    read_affinity,
    supcon,
    symnsq_legacy,
)
from models.losses.info_nce import info_nce
from models.momentum import moco_loss
from theory import affinity, batch_law, certified_mean, measurements, neighbour_floor, subspaces
from theory.batches import tiled_measurements, trajectory, waitless_layers
from theory.batches.clusters import cluster_layout


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        name: the module without its package's name, and the function.
        call: of the arrays in the dtype under test.
        arrays: of float64.
        kind: "loss", of tensors, its gradient in the first one held too; "array", of tensors and of NumPy arrays;
            "number", of NumPy float16 arrays and scalars.
        close: relative distance from the float64 answer; numerical thresholds differ by dtype.
        dtype: what float arrays come back in; None where nothing floating does.
        roundings: to half precision on the way of the gradient.
    """

    name: str
    call: Callable[..., Any]
    arrays: Callable[[], list[np.ndarray]]
    kind: str
    close: float = 1e-5
    dtype: str | None = "float32"
    roundings: int = 1


def points(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Rows around 4 directions that are far from orthogonal, multiples of 1/64 of at most 2."""
    rng = np.random.default_rng(seed)
    rows = np.eye(4, dim)[labels(n)] + 0.25 + 0.2 * rng.standard_normal((n, dim))
    return np.clip(np.round(64 * rows), -128, 128) / 64


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    """Rows of norm 1: signs over 4, those of the cluster's but for a few that are turned."""
    rng = np.random.default_rng(seed)
    signs = np.sign(rng.standard_normal((4, 16)))[labels(n)]
    return signs * np.where(rng.uniform(size=(n, 16)) < 0.15, -1, 1) / 4


def labels(n: int) -> np.ndarray:
    """Four clusters, mixed."""
    return np.arange(n) % 4


def distributions(n: int, seed: int = 0) -> np.ndarray:
    """Rows of multiples of 1/128 that sum to 1, zero diagonal, mostly inside the own cluster."""
    rng = np.random.default_rng(seed)
    steps = np.where(
        rng.uniform(size=(n, 128)) < 0.7, 4 * rng.integers(1, n // 4, (n, 128)), rng.integers(1, n, (n, 128))
    )
    matrix = np.zeros((n, n))
    np.add.at(matrix, (np.arange(n)[:, None], (np.arange(n)[:, None] + steps) % n), 1 / 128)
    return matrix


def targets(n: int) -> np.ndarray:
    """Clusters of 5, and of what is left pairs and one alone: shares that are powers of two."""
    sizes = [5] * (n // 5) + [2] * (n % 5 // 2) + [1] * (n % 5 % 2)
    index = np.repeat(np.arange(len(sizes)), sizes)
    alike = (index[:, None] == index) & ~np.eye(n, dtype=bool)
    return alike / np.maximum(alike.sum(1, keepdims=True), 1)


def cosines(n: int, seed: int = 0) -> np.ndarray:
    """Symmetric, multiples of 1/128, clusters apart, ones on the diagonal."""
    raw = np.random.default_rng(seed).integers(0, 60, (n, n))
    raw = np.maximum(raw, raw.T) + 60 * (labels(n)[:, None] == labels(n)) - 20
    np.fill_diagonal(raw, 128)
    return raw / 128


def embeddings(x: torch.Tensor) -> HeadOutput:
    """A head's output that is all embeddings, which are its reading too."""
    tokens = x[None]
    return HeadOutput(x, (Reading(tokens, tokens),))


def halves(x: Any) -> tuple[Any, Any]:
    """Two views."""
    return x[: len(x) // 2], x[len(x) // 2 :]


def losses() -> list[Case]:
    """All of them from 64 rows, one of every kind from 256, and what adds up over the batch from 2,048."""
    cases = []

    def add(name, call, arrays, n, **options):
        cases.append(Case(f"{name}[{n}]", call, lambda: arrays(n), "loss", **options))

    def features(n):
        return [points(n)]

    def units(n):
        return [unit_rows(n)]

    def rows(n):
        return [distributions(n), targets(n)]

    for n in (64, 256, 2048):
        index, small = labels(n), n == 64
        add("losses.affinity.affinity_jsd", affinity_jsd, rows, n)
        for power, tile_rows in ((2.0, None), (1.0, 50))[: 2 if small else 1]:
            add(
                "losses.affinity.affinity_jsd_from_points",
                lambda x, i=index, p=power, t=tile_rows: affinity_jsd_from_points(x, i, power=p, tile_rows=t),
                features, n, close=1e-4,
            )  # fmt: skip
        for tile_rows in (None, 50) if small else (512,):
            add(
                "losses.contrastive.supcon",
                lambda x, i=index, t=tile_rows: supcon(x, i, 0.05, tile_rows=t),
                features,
                n,
            )
        if n == 2048:
            continue
        add("losses.contrastive.nt_xent", lambda x: nt_xent(*halves(x), 0.05), features, n)
        # Heads normalize in their own dtype.
        add(
            "losses.objectives.Objective",
            lambda x, i=index: Objective()(embeddings(torch.nn.functional.normalize(x)), i),
            units, n, close=1e-4, roundings=4,
        )  # fmt: skip
        add("losses.readout.read_affinity", lambda c: read_affinity(c[None]), lambda n: [cosines(n)], n, close=1e-4)
    for kind in ("kl_target", "kl_affinity"):
        add("losses.divergence.affinity_divergence", lambda y, t, k=kind: affinity_divergence(y, t, k, 0.01), rows, 64)
    add("losses.legacy.symnsq_legacy", lambda x: symnsq_legacy(*halves(x)), features, 64)
    for readout in ("relu", "squared", "softmax"):
        add(
            "losses.readout.read_affinity", lambda c, r=readout: read_affinity(c[None], r),
            lambda n: [cosines(n)], 64, close=1e-4,
        )  # fmt: skip
    for kind in ("nt_xent", "supcon", "symnsq_legacy"):
        add(
            "losses.objectives.Objective",
            lambda x, k=kind: Objective(k)(embeddings(x), np.arange(64) % 32),
            features,
            64,
        )
    for kind in (NTXentLoss, SupConLoss, AffinityJSDLoss):
        add(f"losses.modules.{kind.__name__}", lambda x, k=kind: k()(x, np.arange(64) % 32), features, 64, close=1e-4)
    add("momentum.moco_loss", lambda x: moco_loss(*halves(x[8:]), x[:8]), features, 64)
    add("losses.info_nce.info_nce", lambda c: info_nce(c[:, 0], c[:, 1:]), lambda n: [cosines(n)], 64)
    return cases


def arrays() -> list[Case]:
    """Functions of points, cosines, affinities and bases, NumPy arrays and tensors alike."""
    n = 64
    layout, index = cluster_layout(labels(n)), labels(n)
    ordered = layout.sort_matrix
    mass = lambda y: array_namespace(y).ones_like(y[..., 0])  # noqa: E731

    def of_points(name, call, **options):
        return Case(name, call, lambda: [points(n)], "array", **options)

    def of_affinity(name, call, **options):
        return Case(name, call, lambda: [distributions(n)], "array", **options)

    def extremes(c):
        return trajectory.layer_extremes(c[None], layout)

    def tiles(c, y, squares=(slice(0, 24), slice(24, n))):
        # Cosines are read before affinities, as tiles come by.
        seen = tiled_measurements.TiledLayer(layout, c)
        for i, rows in enumerate(squares):
            for columns in squares[i:]:
                seen.read_cosines(ordered(c)[rows, columns], rows, columns)
                part = ordered(y)[rows, columns]
                seen.read_affinity(part, array_namespace(y).sum(part, axis=-1), rows, columns)
        return seen.finish(0.1)

    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    bases = lambda: [hadamard[:, :2], np.stack([hadamard[:, 0], np.eye(4)[0] - 0]).T[:, :1]]  # noqa: E731
    stack = lambda: [np.stack([np.eye(4)[:, :2], np.stack([hadamard[0], hadamard[3]], 1)])]  # noqa: E731
    pair = lambda: [cosines(n), distributions(n)]  # noqa: E731
    weight = batch_law.Weight("exponential", inverse_temperature=3.0)

    def brackets(x):
        # Computed in float64 whatever the points are stored in, and from histograms in float32.
        found = [batch_law.batch_laws(x, index, [12], [weight], exact=exact)[0] for exact in (True, False)]
        return [each for law in found for each in (law.lower, law.upper, law.mass)]

    return [
        of_points("affinity.unit_points", affinity.unit_points),
        of_points("batch_law.batch_laws", brackets, dtype="float64", close=1e-4),
        of_points("batch_law.expected_sharpness", lambda x: batch_law.expected_sharpness(x, index, 12, weight),
                  dtype="float64"),
        of_points("certified_mean.share_influence", lambda x: certified_mean.share_influence(x, index, weight),
                  dtype="float64"),
        of_points("neighbour_floor.true_neighbours", lambda x: neighbour_floor.true_neighbours(x, index, 0.3),
                  dtype=None),
        of_points("neighbour_floor.neighbour_floor", lambda x: neighbour_floor.neighbour_floor(x, index, 0.3, 0.2),
                  dtype=None),
        of_points("affinity.cosine_gram", affinity.cosine_gram),
        of_points("affinity.affinity_matrix", affinity.affinity_matrix, close=1e-4),
        of_points("affinity.affinity_matrix", lambda x: affinity.affinity_matrix(x, 0.3, 2, signed=False)),
        Case("affinity.effective_threshold", lambda t: affinity.effective_threshold(t, np.float64),
             lambda: [np.array([0.0, 0.25])], "array"),
        of_affinity("affinity.normalize_rows", lambda y: affinity.normalize_rows(y[:, : n // 2])),
        of_points("measurements.pair_extremes", lambda x: measurements.pair_extremes(x, index)),
        of_points("measurements.pair_quantiles", lambda x: measurements.pair_quantiles(x, index)),
        of_points("measurements.cluster_integrity", lambda x: measurements.cluster_integrity(x, index, 0.05)),
        of_points("measurements.linear_quantile", lambda x: measurements.linear_quantile(x, 0.3)),
        Case("measurements.cosine_extremes", lambda c: measurements.cosine_extremes(ordered(c), layout),
             lambda: [cosines(n)], "array"),
        of_affinity("measurements.affinity_sharpness", lambda y: measurements.affinity_sharpness(y, index)),
        of_affinity("measurements.own_cluster_mass", lambda y: measurements.own_cluster_mass(ordered(y), layout)),
        *(
            of_affinity(f"measurements.{f.__name__}", lambda y, f=f: f(y, index), dtype=None)
            for f in (measurements.false_edges, measurements.fragments, measurements.recovered)
        ),
        of_affinity("measurements.count_cross_edges",
                    lambda y: measurements.count_cross_edges(ordered(y), layout), dtype=None),
        Case("trajectory.layer_extremes", extremes, lambda: [cosines(n)], "array", dtype="float64"),
        Case("trajectory.measure_layer",
             lambda c, y, t: trajectory.measure_layer(extremes(c), y[None], mass(y)[None], layout, t),
             lambda: [*pair(), np.array(0.125)], "array", dtype="float64"),
        Case("waitless_layers.read_extremes", lambda c: waitless_layers.read_extremes(c[None], layout),
             lambda: [cosines(n)], "array", dtype="float64"),
        Case("waitless_layers.read_layer",
             lambda c, y, t: waitless_layers.read_layer(
                 waitless_layers.read_extremes(c[None], layout), y[None], mass(y)[None], layout, t),
             lambda: [*pair(), np.array(0.125)], "array", dtype="float64"),
        Case("trajectory.measure_softmax_layer",
             lambda c, y: trajectory.measure_softmax_layer(c[None], y[None], mass(y)[None], layout), pair, "array",
             dtype="float64"),
        Case("trajectory.summarize_layer",
             lambda y: trajectory.summarize_layer(trajectory.LayerExtremes(1, 0, 0), y, y, 0, 1),
             lambda: [distributions(n)], "array",
             dtype="float64"),
        of_affinity("trajectory.row_sharpness", lambda y: trajectory.row_sharpness(y[:8], mass(y[:8])[:, None])),
        of_affinity("trajectory.sharpness_error", lambda y: trajectory.sharpness_error(y[:8], mass(y[:8])[:, None])),
        Case("tiled_measurements.TiledLayer", lambda c, y: tiles(c, y).trajectory(1), pair, "array", dtype="float64"),
        Case("subspaces.principal_angles", subspaces.principal_angles, bases, "array"),
        Case("subspaces.subspace_affinity", subspaces.subspace_affinity, bases, "array"),
        Case("subspaces.smallest_principal_angle", subspaces.smallest_principal_angle, stack, "array"),
        Case("subspaces.separating_map", subspaces.separating_map, stack, "array"),
    ]  # fmt: skip

"""A stack replayed in high precision (mpmath), to settle margins that float64 cannot.

Slow and obvious on purpose: plain lists and exact dot products, one trial at a time, for the same block as
models.attention (theory.md, section 0). Cost: about n^2 D / 2 high-precision products a layer.
"""

import mpmath
import numpy as np
from jaxtyping import Float

from theory.clusters import cluster_layout
from theory.inputs import Array
from theory.precision import EXACT_DIGITS


def exact_replay(
    points: Float[np.ndarray, "n D"],
    labels: Array,
    threshold: float,
    mixing: float,
    depth: int,
    query_key_map: Float[np.ndarray, "d D"] | None = None,
    normalize: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """alpha and beta of every layer 0..depth as object arrays of mpmath numbers.

    Args:
        points: the float64 batch, taken as exact.
        threshold: the effective tau that the stack used.
        query_key_map: W, where queries and keys are W x.
        normalize: tokens are normalised at every layer, the input included.
    """
    layout = cluster_layout(labels, len(points))
    order = range(len(points)) if layout.order is None else layout.order
    cluster = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
    with mpmath.workdps(EXACT_DIGITS):
        tokens = [[mpmath.mpf(float(v)) for v in points[i]] for i in order]
        weights = None if query_key_map is None else [[mpmath.mpf(float(v)) for v in row] for row in query_key_map]
        alphas, betas = [], []
        for layer in range(depth + 1):
            if normalize:
                tokens = [_unit(x) for x in tokens]
            keys = tokens if weights is None else [[mpmath.fdot(row, x) for row in weights] for x in tokens]
            cosines = _cosines(keys)
            within = [cosines[i][j] for i in range(len(tokens)) for j in range(i) if cluster[i] == cluster[j]]
            cross = [cosines[i][j] for i in range(len(tokens)) for j in range(i) if cluster[i] != cluster[j]]
            alphas.append(min(within))
            betas.append(max(cross))
            if layer < depth:
                tokens = _mix(tokens, cosines, mpmath.mpf(threshold), mpmath.mpf(mixing))
        return np.array(alphas, dtype=object), np.array(betas, dtype=object)


def _unit(vector: list) -> list:
    norm = mpmath.sqrt(mpmath.fdot(vector, vector))
    return [v / norm for v in vector]


def _cosines(vectors: list[list]) -> list[list]:
    unit = [_unit(x) for x in vectors]
    return [[mpmath.fdot(unit[i], unit[j]) for j in range(i)] for i in range(len(unit))]


def _mix(tokens: list[list], cosines: list[list], threshold, mixing) -> list[list]:
    mixed = []
    for i, token in enumerate(tokens):
        weights = [cosines[max(i, j)][min(i, j)] - threshold if j != i else mpmath.mpf(0) for j in range(len(tokens))]
        neighbours = [j for j, w in enumerate(weights) if w > 0]
        mass = mpmath.fsum(weights[j] for j in neighbours)
        if not neighbours:
            mixed.append(token)
            continue
        shares = [weights[j] / mass for j in neighbours]
        fused = [mpmath.fdot(shares, [tokens[j][d] for j in neighbours]) for d in range(len(token))]
        mixed.append([(1 - mixing) * x + mixing * y for x, y in zip(token, fused)])
    return mixed

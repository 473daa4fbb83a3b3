"""A stack replayed in high precision (mpmath), to settle margins that float64 cannot.

Slow and obvious on purpose: plain lists and exact dot products, one trial at a time, for the same block as
models.attention (theory.md, section 0). Cost: about n^2 D / 2 high-precision products a layer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath
import numpy as np
from jaxtyping import Float

from theory.batches.clusters import cluster_layout
from theory.numerics.precision import EXACT_DIGITS

# Measured on one core, for choosing how many replays are affordable.
SECONDS_PER_PRODUCT = 6e-7


@dataclass(frozen=True)
class ExactReplay:
    """Trials of a stack, recomputed on demand.

    Args:
        points: trial -> its float64 batch (n, D), taken as exact.
        labels: (n,).
        threshold, mixing: the effective tau and lambda that the stack used, numbers or (trials,).
        depth: mixing blocks.
        query_key_map: W (d, D), where queries and keys are W x.
        normalize: tokens are normalized at every layer, the input included.
        seconds: roughly how long all replays together may take; see ``limit``.
    """

    points: Callable[[int], Float[np.ndarray, "n D"]]
    labels: np.ndarray
    threshold: np.ndarray | float
    mixing: np.ndarray | float
    depth: int
    query_key_map: Float[np.ndarray, "d D"] | None = None
    normalize: bool = False
    seconds: float = 60.0
    _done: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def limit(self) -> int:
        """How many trials fit into ``seconds``, at least one."""
        count, dim = self.points(0).shape
        cost = SECONDS_PER_PRODUCT * count * count * dim * (self.depth + 1)
        return max(1, int(self.seconds / cost))

    def __call__(self, trial: int) -> tuple[np.ndarray, np.ndarray]:
        """alpha and beta of layers 0..depth of one trial, object arrays (layers,) of mpmath numbers."""
        if trial not in self._done:
            self._done[trial] = self._replay(
                self.points(trial), self.at(self.threshold, trial), self.at(self.mixing, trial)
            )
        return self._done[trial]

    @staticmethod
    def at(value: np.ndarray | float, trial: int) -> float:
        """A parameter of one trial."""
        return float(np.asarray(value)[trial] if np.ndim(value) else value)

    def _replay(self, points: np.ndarray, threshold: float, mixing: float) -> tuple[np.ndarray, np.ndarray]:
        layout = cluster_layout(self.labels, len(points))
        order = range(len(points)) if layout.order is None else layout.order
        pairs = [(i, j) for i in range(len(points)) for j in range(i)]
        cluster = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
        matrix = self.query_key_map
        alphas, betas = [], []
        with mpmath.workdps(EXACT_DIGITS):
            tokens = [[mpmath.mpf(float(v)) for v in points[i]] for i in order]
            rows = None if matrix is None else [[mpmath.mpf(float(v)) for v in row] for row in matrix]
            for layer in range(self.depth + 1):
                if self.normalize:
                    tokens = [_unit(x) for x in tokens]
                keys = tokens if rows is None else [[mpmath.fdot(row, x) for row in rows] for x in tokens]
                cosines = _cosines(keys)
                alphas.append(min(cosines[i][j] for i, j in pairs if cluster[i] == cluster[j]))
                betas.append(max(cosines[i][j] for i, j in pairs if cluster[i] != cluster[j]))
                if layer < self.depth:
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

"""The block model and Proposition 5 (this toolkit's statement): when does a block sharpen?

K equal clusters of m points, within-cosine w, cross cosine b: every block x' = P x has P and the Gram matrix constant
on the same blocks, so that three eigenvalues tell everything,
    g_1 = 1 + (m-1) w + (n-m) b,    g_c = 1 + (m-1) w - m b,    g_w = 1 - w,
    g_1' = g_1,    g_c' = mu_c^2 g_c,    g_w' = mu_w^2 g_w,
with mu_c = p_s + (m-1) p_w - m p_b and mu_w = p_s - p_w from P's entries (own point, own cluster, other clusters).
Exact for equiangular batches (tokens normalized or not: all norms are equal); a mean-field prediction for others.

Proposition 5. Let the affinity be ReLU(C - tau)^p, p > 0, K >= 2, 0 <= tau < b < w < 1, a_w = (w-tau)^p,
a_b = (b-tau)^p, X = a_b (1 + mu_c) g_c, Y = (a_w + (K-1) a_b)(1 + mu_w)(1 - w). The affinity sharpness
s = 1/(1 + ((n-m)/(m-1)) a_b/a_w) rises through the block if and only if
    X [w - tau + (K-1)(b - tau)] + tau (w - b) [(K-1) X + (m-1) Y]  <  (b - tau) Y;
for tau = 0: a_b (1 + mu_c) g_c (w + (K-1) b) < b (1 - w)(1 + mu_w)(a_w + (K-1) a_b).
With p <= 1, whatever the threshold, a block never sharpens: any leak grows. For p > 1 and tau = 0 every small leak
shrinks, unless lambda = 1 and m = 2. No block sharpens while b - tau <= tau (m-1)(w-b).

Hypotheses: as above.
Proof: theory.md, section 5; the model: theory.md, section 3.
"""

from dataclasses import dataclass

import numpy as np

from theory.judging.statements import PROPOSITION_5
from theory.judging.verdicts import Verdict, judge
from theory.numerics.inputs import Numbers, as_floats, require_count, require_mixing, require_range, require_threshold
from theory.numerics.precision import half_as_float64

# The model is exact on equiangular batches; what float64 adds over a few dozen blocks stays below this.
EXACTNESS = 1e-12


@dataclass(frozen=True)
class ReluAttention:
    """ReLU(C - threshold)^power without the diagonal, rows normalized; x' = (1 - mixing) x + mixing Ahat x.

    Elementwise parameters may be numbers or arrays that broadcast against the cosines.
    """

    threshold: Numbers = 0.0
    power: Numbers = 1.0
    mixing: Numbers = 0.5

    def __post_init__(self) -> None:
        require_threshold(self.threshold)
        require_range(self.power, "power", 0.0, np.inf, closed="neither")
        require_mixing(self.mixing)

    @half_as_float64
    def weights(self, within: Numbers, between: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Raw affinity to oneself, to a member of the own cluster, to a point of another."""
        inner, outer = (np.maximum(c - self.threshold, 0.0) ** self.power for c in (within, between))
        return np.zeros_like(inner), inner, outer

    @property
    def attends_to_itself(self) -> bool:
        """Whether a row's own point counts into its sharpness."""
        return False


@dataclass(frozen=True)
class SoftmaxAttention:
    """exp(inverse_temperature C), the diagonal included, rows normalized; mixed as in ReluAttention."""

    inverse_temperature: Numbers
    mixing: Numbers = 0.5

    def __post_init__(self) -> None:
        require_range(self.inverse_temperature, "inverse_temperature", 0.0, np.inf, closed="neither")
        require_mixing(self.mixing)

    @half_as_float64
    def weights(self, within: Numbers, between: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """As in ReluAttention, over exp(inverse_temperature)."""
        inner, outer = (np.exp(self.inverse_temperature * (c - 1.0)) for c in (within, between))
        return np.ones_like(inner), inner, outer

    @property
    def attends_to_itself(self) -> bool:
        """Whether a row's own point counts into its sharpness."""
        return True


Attention = ReluAttention | SoftmaxAttention


@dataclass(frozen=True)
class BlockTrajectory:
    """Layers of the block model, arrays (layers, ...); layer l is what block l sees.

    Attributes:
        layer: 0..L, (layers,).
        within, between: cosines inside a cluster and between clusters.
        sharpness: affinity sharpness; for softmax the mass inside the own cluster, oneself included. 0 without
            neighbours.
    """

    layer: np.ndarray
    within: np.ndarray
    between: np.ndarray
    sharpness: np.ndarray

    @property
    def peak(self) -> np.ndarray | np.integer:
        """The (first) layer of largest sharpness, up to rounding, (...)."""
        return (self.sharpness >= self.sharpness.max(axis=0) - EXACTNESS).argmax(axis=0)


@half_as_float64
def trajectory(
    within: Numbers, between: Numbers, num_clusters: int, cluster_size: int, depth: int, attention: Attention
) -> BlockTrajectory:
    """Cosines and sharpness of K equiangular clusters of m points at layers 0..depth, exactly.

    Args:
        within: w, any shape.
        between: b, likewise.
        depth: L >= 0 blocks.

    Raises:
        ValueError: fewer than 2 clusters or points, cosines that no batch has (a negative Gram eigenvalue).
    """
    clusters, size = require_count(num_clusters, "num_clusters", 2), require_count(cluster_size, "cluster_size", 2)
    steps = require_count(depth, "depth", 0)
    require_range(within, "within", -1.0, 1.0)
    require_range(between, "between", -1.0, 1.0)
    w, b = np.broadcast_arrays(as_floats(within, "within"), as_floats(between, "between"))
    gram = _eigenvalues(w, b, clusters, size)
    if min(float(g.min()) for g in gram) < -EXACTNESS * clusters * size:
        raise ValueError("between: no batch has such cosines (1 + (m-1) w must be at least -(n-m) b and m b)")
    layers = [(w, b, _sharpness(w, b, clusters, size, attention))]
    for _ in range(steps):
        gram = _step(gram, w, b, clusters, size, attention)
        w, b = _cosines(gram, clusters, size)
        layers.append((w, b, _sharpness(w, b, clusters, size, attention)))
    return BlockTrajectory(np.arange(steps + 1), *(np.stack(column) for column in zip(*layers)))


def _eigenvalues(w, b, clusters, size):
    """g_1 (all ones), g_c (differences between clusters), g_w (differences inside one)."""
    return 1 + (size - 1) * w + (clusters - 1) * size * b, 1 + (size - 1) * w - size * b, 1 - w


def _cosines(gram, clusters, size):
    ones, contrast, inner = gram
    n = clusters * size
    shared = ones / n + (1 / size - 1 / n) * contrast
    norm = shared + (1 - 1 / size) * inner
    return (shared - inner / size) / norm, (ones - contrast) / n / norm


def _shares(w, b, clusters, size, attention):
    """Row-normalised weights of the own point, a member of the own cluster and another point; and whether there are
    any."""
    own, inner, outer = attention.weights(w, b)
    mass = own + (size - 1) * inner + (clusters - 1) * size * outer
    occupied = mass > 0
    safe = np.where(occupied, mass, 1.0)
    return own / safe, inner / safe, outer / safe, occupied


def _step(gram, w, b, clusters, size, attention):
    own, inner, outer, occupied = _shares(w, b, clusters, size, attention)
    weight = np.where(occupied, attention.mixing, 0.0)
    mu_contrast = 1 - weight * clusters * size * outer
    mu_inner = 1 - weight + weight * (own - inner)
    return gram[0], mu_contrast**2 * gram[1], mu_inner**2 * gram[2]


def _sharpness(w, b, clusters, size, attention):
    own, inner, _, _ = _shares(w, b, clusters, size, attention)
    return own + (size - 1) * inner


@half_as_float64
def sharpening_margin(
    within: Numbers,
    between: Numbers,
    num_clusters: int,
    cluster_size: int,
    power: Numbers,
    mixing: Numbers = 0.5,
    threshold: Numbers = 0.0,
) -> Numbers:
    """Proposition 5: right side minus left side; the block sharpens if and only if this is positive.

    Args:
        within, between: w and b with threshold < b < w < 1, any shape.
        power: p > 0.
        mixing: lambda in (0, 1].
        threshold: tau in [0, 1).

    Raises:
        ValueError: outside the hypotheses.
    """
    clusters, size = require_count(num_clusters, "num_clusters", 2), require_count(cluster_size, "cluster_size", 2)
    require_range(power, "power", 0.0, np.inf, closed="neither")
    require_mixing(mixing)
    require_threshold(threshold)
    require_range(within, "within", 0.0, 1.0, closed="neither")
    require_range(between, "between", -1.0, 1.0)
    if not np.all((np.asarray(between) > threshold) & (np.asarray(between) < within)):
        raise ValueError("between: must lie strictly between the threshold and within")
    with np.errstate(invalid="ignore"):
        margin = margin_formula(within, between, clusters, size, power, mixing, threshold)
    if not np.isfinite(as_floats(margin, "margin")).all():
        raise ValueError("power: so large that all affinities vanish in float64")
    return margin


@half_as_float64
def margin_formula(w, b, clusters, size, power, mixing, threshold):
    """The margin itself, arguments unchecked; of floats, arrays, or mpmath numbers."""
    a_w, a_b = (w - threshold) ** power, (b - threshold) ** power
    row = (size - 1) * a_w + (clusters - 1) * size * a_b
    mu_contrast = 1 - clusters * size * mixing * a_b / row
    mu_inner = 1 - mixing * size * (a_w + (clusters - 1) * a_b) / row
    leak = a_b * (1 + mu_contrast) * (1 + (size - 1) * w - size * b)
    gain = (a_w + (clusters - 1) * a_b) * (1 + mu_inner) * (1 - w)
    spent = leak * (w - threshold + (clusters - 1) * (b - threshold))
    shrunk = threshold * (w - b) * ((clusters - 1) * leak + (size - 1) * gain)
    return (b - threshold) * gain - spent - shrunk


@half_as_float64
def check_sharpening(
    margin: np.ndarray,
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    threshold: Numbers = 0.0,
) -> Verdict:
    """Proposition 5 on measured equiangular batches: the sign of the margin is that of the measured change.

    The change is that of log((w - tau)/(b - tau)), which has the sign of the change of sharpness for every power.

    Args:
        margin: (trials,), of the batches' parameters.
        before, after: within and cross cosine of every batch, measured in front of and behind the block, (trials,).

    Raises:
        ValueError: NaN.
    """
    change = _contrast(*after, threshold) - _contrast(*before, threshold)
    return judge(PROPOSITION_5.name, -np.sign(margin) * change, 0.0, np.ones(len(change), dtype=bool))


def _contrast(within, between, threshold):
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(within - threshold, 0.0)) - np.log(np.maximum(between - threshold, 0.0))


@half_as_float64
def check_exactness(name: str, measured: tuple[np.ndarray, np.ndarray], predicted: BlockTrajectory) -> Verdict:
    """The block model on equiangular batches: measured cosines within EXACTNESS of the predicted ones.

    Args:
        measured: smallest (or any) within-cluster and largest cross cosine, (layers, trials).
        predicted: arrays that broadcast against these.

    Raises:
        ValueError: NaN.
    """
    error = np.maximum(np.abs(measured[0] - predicted.within), np.abs(measured[1] - predicted.between))
    return judge(name, error, EXACTNESS, np.ones(error.shape[-1], dtype=bool), discrete=True)

"""The block model and Proposition 5 on trial: equiangular batches through stacks and single blocks of many powers."""

import numpy as np
import torch
from torch import Tensor

from models.softmax_fusion import SoftmaxStack
from synthetic.batches.prescribed_cosines import equiangular_batches
from synthetic.trials import damaged
from synthetic.trials.ascent import Parameters, Sizes, Violation
from synthetic.trials.stacks import BATCHES_A_SHAPE, column
from synthetic.trials.trial import Cases, Subject, Trial
from theory.affinity import effective_threshold
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import SoftmaxTrajectory, Trajectory
from theory.block_model import (
    ReluAttention,
    SoftmaxAttention,
    check_exactness,
    check_sharpening,
    sharpening_margin,
    trajectory,
)
from theory.judging.statements import ALWAYS_SHARPENS, BLOCK_MODEL, PROPOSITION_5, SQUARED_SHARPENS
from theory.judging.verdicts import Verdict
from theory.noise_free import norm_floor_squared

Measured = Trajectory | SoftmaxTrajectory
POWERS = (1.0, 1.5, 2.0, 3.0)
EQUAL_SIZES = ((2, 2), (5, 5, 5), (8, 8, 8, 8))
INSIDE = 1e-3


def _cosine_pairs(rng: np.random.Generator, low: np.ndarray, decades: float) -> tuple[np.ndarray, np.ndarray]:
    """w and b with low < b < w < 1, small leaks as often as large ones, down to ``decades`` below w - low."""
    within = low + (0.99 - low) * (0.02 + 0.97 * rng.random(BATCHES_A_SHAPE))
    return within, low + (within - low) * 10.0 ** rng.uniform(-decades, -0.01, BATCHES_A_SHAPE)


def _equal_clusters(cases: Cases) -> tuple[int, int]:
    sizes = cluster_layout(cases["labels"]).sizes
    return len(sizes), sizes[0]


def _is_softmax(cases: Cases) -> bool:
    return not np.isnan(cases["inverse_temperature"]).any()


def draw_layers(rng: np.random.Generator) -> Cases:
    """ReLU with and without threshold, power 1 and 2, and softmax."""
    clusters, size, depth = int(rng.integers(2, 5)), int(rng.integers(2, 9)), int(rng.integers(1, 7))
    # A stack's cosines are right to 1e-16, hence its affinities to 1e-16/(b - tau): smaller leaks cost digits.
    within, between = _cosine_pairs(rng, np.zeros(BATCHES_A_SHAPE), decades=2.0)
    points = equiangular_batches(within, between, clusters, size)
    labels, mixing = contiguous_labels((size,) * clusters), 1.0 - rng.random(BATCHES_A_SHAPE)
    power, threshold, kappa = 1.0, np.zeros(BATCHES_A_SHAPE), np.full(BATCHES_A_SHAPE, np.nan)
    if rng.random() < 0.3:
        kappa = 10.0 ** rng.uniform(-1.0, 1.5, BATCHES_A_SHAPE)
    else:
        power = float(rng.choice((1.0, 2.0)))
        # None; one that every layer leaks through; one that no layer does (Theorem 2a). Close to a layer's cross cosine
        # a threshold is a switch, and rounding decides which way it falls.
        cap = between / norm_floor_squared(within, size)
        kept = np.where(cap < within, 0.5 * (cap + within), 0.5 * between)
        threshold = (np.zeros_like(kept), 0.5 * between, kept)[rng.integers(3)]
    return Cases(
        {"points": points, "within": within, "between": between, "inverse_temperature": kappa, "threshold": threshold,
         "mixing": mixing},
        {"labels": labels, "power": power, "depth": depth},
    )  # fmt: skip


def measure_layers(cases: Cases, subject: Subject) -> Measured:
    """Cosines of all layers, through the kind of stack that the shape is for."""
    depth, mixing = int(cases["depth"]), column(cases["mixing"])
    if _is_softmax(cases):
        stack = SoftmaxStack(depth, column(cases["inverse_temperature"]), mixing)
    else:
        stack = subject(depth, column(cases["threshold"]), mixing, power=float(cases["power"]), normalize="input")
    return stack.measure(torch.from_numpy(np.asarray(cases["points"])), cases["labels"])


def judge_layers(cases: Cases, measured: Measured) -> Verdict:
    """The model is exact."""
    model: ReluAttention | SoftmaxAttention
    if _is_softmax(cases):
        model = SoftmaxAttention(cases["inverse_temperature"], cases["mixing"])
    else:
        cut = effective_threshold(np.asarray(cases["threshold"]), "float64")
        model = ReluAttention(cut, float(cases["power"]), cases["mixing"])
    predicted = trajectory(cases["within"], cases["between"], *_equal_clusters(cases), int(cases["depth"]), model)
    return check_exactness(BLOCK_MODEL.name, (measured.alpha, measured.beta), predicted)


def draw_block(rng: np.random.Generator) -> Cases:
    """All powers; half of the shapes with thresholds."""
    clusters, size = int(rng.integers(2, 6)), int(rng.integers(2, 9))
    drawn = 0.9 * rng.random(BATCHES_A_SHAPE) * (rng.random() < 0.5)
    threshold = np.asarray(effective_threshold(drawn, "float64"))
    within, between = _cosine_pairs(rng, threshold, decades=3.0)
    mixing, power = 1.0 - rng.random(BATCHES_A_SHAPE), float(rng.choice(POWERS))
    points, labels = equiangular_batches(within, between, clusters, size), contiguous_labels((size,) * clusters)
    return Cases(
        {"points": points, "within": within, "between": between, "threshold": threshold, "mixing": mixing},
        {"labels": labels, "power": power},
    )


def measure_block(cases: Cases, subject: Subject) -> Measured:
    """Cosines in front of one block and behind it."""
    stack = subject(
        1, column(cases["threshold"]), column(cases["mixing"]), power=float(cases["power"]), normalize="input"
    )
    return stack.measure(torch.from_numpy(np.asarray(cases["points"])), cases["labels"])


def judge_block(cases: Cases, measured: Measured) -> Verdict:
    """The margin's sign is that of the change."""
    margin = sharpening_margin(cases["within"], cases["between"], *_equal_clusters(cases), float(cases["power"]),
                               cases["mixing"], cases["threshold"])  # fmt: skip
    before, after = zip(measured.alpha, measured.beta)
    return check_sharpening(margin, before, after, cases["threshold"])


# --- the adversary ----------------------------------------------------------------------------------------------------


def start_pairs(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Within-cosine, cross cosine, threshold and mixing, unconstrained."""
    names = ("within", "between", "threshold", "mixing")
    return {name: 1.5 * torch.randn(restarts, generator=generator, dtype=torch.float64) for name in names}


def _through_block(parameters: Parameters, sizes: Sizes, power: float, threshold: Tensor):
    """w, b and their values behind one block, by multiplying the matrices out; and lambda."""
    m, n = sizes[0], sum(sizes)
    labels = torch.from_numpy(contiguous_labels(sizes))
    same = (labels[:, None] == labels[None, :]).to(torch.float64)
    eye = torch.eye(n, dtype=torch.float64)
    within = threshold + (0.99 - threshold) * torch.sigmoid(parameters["within"])
    between = threshold + (within - threshold) * torch.sigmoid(parameters["between"])
    mixing = torch.sigmoid(parameters["mixing"])
    w, b = within[:, None, None], between[:, None, None]
    gram = b + (w - b) * same + (1.0 - w) * eye
    affinity = ((gram - threshold[:, None, None]).clamp_min(0.0) + 1e-300) ** power * (1.0 - eye)
    weight = mixing[:, None, None]
    mixed = (1.0 - weight) * eye + weight * affinity / affinity.sum(-1, keepdim=True)
    gram = mixed @ gram @ mixed.mT
    return within, between, gram[:, 0, 1] / gram[:, 0, 0], gram[:, 0, m] / gram[:, 0, 0], mixing


def _contrast_change(within, between, new_within, new_between, threshold) -> Tensor:
    """log((w - tau)/(b - tau)) behind the block minus in front of it: the sign of the change of sharpness."""
    new = torch.log((new_within - threshold).clamp_min(1e-300)) - torch.log((new_between - threshold).clamp_min(1e-300))
    return new - torch.log(within - threshold) + torch.log(between - threshold)


def _margin(power: float):
    """Minus (margin times change): positive where their signs differ."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        threshold = 0.9 * torch.sigmoid(parameters["threshold"] - 1.0)
        w, b, new_w, new_b, mixing = _through_block(parameters, sizes, power, threshold)
        k, m, n = len(sizes), sizes[0], sum(sizes)
        a_w, a_b = (w - threshold) ** power, (b - threshold) ** power
        row = (m - 1) * a_w + (n - m) * a_b
        x = a_b * (2 - n * mixing * a_b / row) * (1 + (m - 1) * w - m * b)
        y = (a_w + (k - 1) * a_b) * (2 - mixing * m * (a_w + (k - 1) * a_b) / row) * (1 - w)
        left = x * (w - threshold + (k - 1) * (b - threshold)) + threshold * (w - b) * ((k - 1) * x + (m - 1) * y)
        margin = ((b - threshold) * y - left) / (left + (b - threshold) * y)
        change = _contrast_change(w, b, new_w, new_b, threshold)
        return b - threshold - INSIDE * w, -margin * torch.tanh(100.0 * change)

    return evaluate


def _never(power: float, thresholded: bool):
    """The change of log contrast: positive where a block sharpens. Never, for p <= 1."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        threshold = 0.9 * torch.sigmoid(parameters["threshold"] - 1.0) * float(thresholded)
        w, b, new_w, new_b, _ = _through_block(parameters, sizes, power, threshold)
        return b - threshold - INSIDE * w, _contrast_change(w, b, new_w, new_b, threshold)

    return evaluate


def _always(power: float):
    """Killed: a block of this power never lowers the sharpness."""
    never = _never(power, thresholded=False)

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        slack, change = never(parameters, sizes)
        return slack, -change

    return evaluate


BLOCK = ("points", "within", "between", "threshold", "mixing")
TRIALS = (
    Trial(
        BLOCK_MODEL,
        "block_model",
        (*BLOCK, "inverse_temperature"),
        ("labels", "power", "depth"),
        measure_layers,
        judge_layers,
        draw=draw_layers,
        damaged=damaged.stacks("PowerIgnored", "DiagonalKept", "ThresholdIgnored", "RowsNotNormalized", "ForgetsToMix"),
        stream=0,
    ),
    Trial(
        PROPOSITION_5,
        "proposition_5",
        BLOCK,
        ("labels", "power"),
        measure_block,
        judge_block,
        draw=draw_block,
        # Powers and thresholds are the shape's, and few shapes tell one of them from another.
        shows_after=40,
        violations=(
            *(Violation(f"Proposition 5: sign, p = {p:g}", EQUAL_SIZES, start_pairs, _margin(p)) for p in POWERS),
            *(Violation(f"Proposition 5: p = {p:g} never sharpens", EQUAL_SIZES, start_pairs, _never(p, True))
              for p in (0.5, 1.0)),
        ),
        killed=(
            Violation(ALWAYS_SHARPENS.name, EQUAL_SIZES, start_pairs, _always(1.0)),
            Violation(SQUARED_SHARPENS.name, EQUAL_SIZES, start_pairs, _always(2.0)),
        ),
        damaged=damaged.stacks("PowerIgnored", "DiagonalKept", "ThresholdIgnored", "RowsNotNormalized"),
        stream=5,
    ),
)  # fmt: skip

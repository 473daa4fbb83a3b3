"""Theorem 3 on trial: softmax stacks, normalized and plain, temperatures over three decades."""

import math

import numpy as np
import torch
from torch import Tensor

from models.softmax_fusion import Normalize, SoftmaxStack
from synthetic.trials import damaged
from synthetic.trials.ascent import MANY_SIZES, SMALL_SIZES, Parameters, Sizes, Violation
from synthetic.trials.layers import cosines_of, extremes, smallest_cross, start_clusters
from synthetic.trials.stacks import BATCHES_A_SHAPE, column, random_clusters
from synthetic.trials.trial import Cases, Subject, Trial
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import SoftmaxTrajectory
from theory.judging.statements import SOFTMAX_KEEPS, THEOREM_3
from theory.judging.verdicts import Verdict
from theory.softmax_fusion import check_softmax_fusion

DEPTH = 4
# Slack that a hypothesis must have, so that nothing is decided by rounding.
INSIDE = 1e-3


def draw(rng: np.random.Generator) -> Cases:
    """Clusters of any position, each batch with its own temperature and mixing."""
    points, sizes = random_clusters(rng)
    kappa = 10.0 ** rng.uniform(-1.0, 2.0, BATCHES_A_SHAPE)
    mixing = 1.0 - rng.random(BATCHES_A_SHAPE)
    normalized = bool(rng.random() < 0.6)
    depth, labels = int(rng.integers(1, 7)), contiguous_labels(sizes)
    return Cases({"points": points, "inverse_temperature": kappa, "mixing": mixing},
                 {"labels": labels, "depth": depth, "normalized": normalized})  # fmt: skip


def measure(cases: Cases, subject: Subject) -> SoftmaxTrajectory:
    """All layers of every batch."""
    stack = subject(int(cases["depth"]), column(cases["inverse_temperature"]), column(cases["mixing"]),
                    normalize="every" if cases["normalized"] else "input")  # fmt: skip
    return stack.measure(torch.from_numpy(np.asarray(cases["points"])), cases["labels"])


def judge(cases: Cases, layers: SoftmaxTrajectory) -> Verdict:
    """(a) to (c), batch by batch."""
    return check_softmax_fusion(layers, cluster_layout(cases["labels"]).sizes, cases["inverse_temperature"],
                                cases["mixing"], normalized=bool(cases["normalized"]))  # fmt: skip


# --- the adversary ----------------------------------------------------------------------------------------------------


def _temperature(parameters: Parameters) -> Tensor:
    """kappa in (0.03, 55), (R,)."""
    return torch.exp(3.5 * torch.tanh(parameters["threshold"] / 3.5) + 0.5)


def _softmax_layers(parameters: Parameters, depth: int, normalize: Normalize) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines (layers, R, n, n), kappa and lambda (R,)."""
    kappa, mixing = _temperature(parameters), torch.sigmoid(parameters["mixing"])
    stack = SoftmaxStack(1, 1.0, normalize=normalize)
    stack.inverse_temperature, stack.mixing = kappa[:, None, None], mixing[:, None, None]
    tokens = torch.nn.functional.normalize(parameters["points"], dim=-1)
    layers = [cosines_of(tokens)]
    for _ in range(depth):
        tokens = stack.block(tokens)
        layers.append(cosines_of(tokens))
    return torch.stack(layers), kappa, mixing


def _softmax_mass(cosines: Tensor, kappa: Tensor, sizes: Sizes) -> Tensor:
    """In-cluster mass of every row, itself included, (..., R, n)."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    weights = torch.softmax(kappa[:, None, None] * cosines, dim=-1)
    return (weights * (labels[:, None] == labels[None, :])).sum(-1)


def _row_sizes(sizes: Sizes) -> Tensor:
    return torch.tensor([size for size in sizes for _ in range(size)], dtype=torch.float64)


def _mass(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """(a): log odds of the bound over those of the measured mass, worst row."""
    cosines, kappa, _ = _softmax_layers(parameters, 0, "input")
    alpha, beta = extremes(cosines[0], sizes)
    own = _row_sizes(sizes)
    bound = (kappa * (alpha - beta))[:, None] + torch.log(own / (sum(sizes) - own))
    mass = _softmax_mass(cosines[0], kappa, sizes)
    return torch.ones_like(alpha), (bound - torch.logit(mass.clamp(1e-300, 1.0 - 1e-16))).amax(-1)


def _certified(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """(b): how far a cosine lies beyond its iterated bound, worst layer while a~ > 0."""
    cosines, kappa, mixing = _softmax_layers(parameters, DEPTH, "every")
    alpha, beta = extremes(cosines, sizes)
    gamma = smallest_cross(cosines, sizes)
    a, b, g = alpha[0], beta[0], gamma[0]
    slack, smallest = a - g - 1e-9, min(sizes)
    worst, alive = torch.full_like(a, -torch.inf), torch.ones_like(a, dtype=torch.bool)
    for layer in range(1, DEPTH + 1):
        mass = torch.sigmoid(kappa * (a - b) + math.log(smallest / (sum(sizes) - smallest)))
        p = (1.0 - mixing * (1.0 - mass)) ** 2
        floor, t = p * a + (1.0 - p) * g, p * b + 1.0 - p
        alive = alive & (floor > INSIDE)
        safe = floor.clamp_min(INSIDE)
        a, b, g = safe, torch.where(t >= 0, t / safe, t), torch.where(g >= 0, g, g / safe)
        excess = torch.stack([a - alpha[layer], beta[layer] - b, g - gamma[layer]]).amax(0)
        worst = torch.where(alive, torch.maximum(worst, excess), worst)
    return slack, worst


def _collapse(normalize: Normalize):
    """(c): log of the spread over its bound, worst layer."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        cosines, kappa, mixing = _softmax_layers(parameters, DEPTH, normalize)
        lowest = torch.minimum(extremes(cosines, sizes)[0], smallest_cross(cosines, sizes))
        gamma = lowest[0].clamp_min(INSIDE)
        spread = (1.0 - gamma).clamp_min(1e-12)
        rho = 1.0 - mixing * torch.exp(-kappa * spread)
        caps, n = [], sum(sizes)
        for layer in range(1, DEPTH + 1):
            if normalize == "input":
                caps.append((1.0 - gamma) * (rho ** (2 * layer) / gamma).clamp_max(1.0))
                continue
            e = torch.exp(-kappa * spread)
            overlap = (2 * mixing * (1 - mixing) * e + (mixing * e) ** 2) / n
            spread = spread * torch.minimum(1 - overlap, (1 - mixing * e) ** 2 / (1 - spread + spread / n))
            caps.append(spread)
        measured = (1.0 - lowest[1:]).clamp_min(1e-300)
        excess = torch.log(measured) - torch.log(torch.stack(caps).clamp_min(1e-300))
        return lowest[0] - INSIDE, torch.where(measured > 1e-7, excess, -torch.inf).amax(0)

    return evaluate


def _softmax_keeps(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Killed: "in-cluster mass never falls below its first value where Theorem 2a's hypotheses hold"."""
    cosines, kappa, _ = _softmax_layers(parameters, DEPTH, "input")
    alpha, beta = extremes(cosines[0], sizes)
    largest, second = sorted(sizes, reverse=True)[:2]
    norms = ((alpha + (1 - alpha) / largest) * (alpha + (1 - alpha) / second)).clamp_min(1e-12).sqrt()
    mass = _softmax_mass(cosines, kappa, sizes).mean(-1)
    return torch.minimum(alpha, alpha - beta.clamp_min(0.0) / norms) - INSIDE, (mass[0] - mass[1:]).amax(0)


TRIALS = (
    Trial(
        THEOREM_3,
        "theorem_3",
        ("points", "inverse_temperature", "mixing"),
        ("labels", "depth", "normalized"),
        measure,
        judge,
        draw=draw,
        subject=SoftmaxStack,
        violations=(
            Violation("Theorem 3a: mass", MANY_SIZES, start_clusters, _mass),
            Violation("Theorem 3b: certified cosines", SMALL_SIZES, start_clusters, _certified),
            Violation("Theorem 3c: plain blocks", SMALL_SIZES, start_clusters, _collapse("input")),
            Violation("Theorem 3c: normalized blocks", SMALL_SIZES, start_clusters, _collapse("every")),
        ),
        killed=(Violation(SOFTMAX_KEEPS.name, SMALL_SIZES, start_clusters, _softmax_keeps),),
        damaged={
            stack.__name__: stack
            for stack in (
                damaged.DiagonalRemoved, damaged.TemperatureDoubled, damaged.TemperatureHalved,
                damaged.WeightsNotNormalized, damaged.TokensNeverMove, damaged.ScatteredTokens,
            )
        },
        stream=3,
    ),
)  # fmt: skip

"""Theorems 3 and 4 and Proposition 5 as an adversary sees them, and the false statements that they replace.

As in synthetic/claims.py: every function works on a batch of restarts (R, ...) in float64 and is differentiable. The
bounds are written here a second time, in torch, so that a slip in theory/ does not hide itself.
"""

import math

import torch
from torch import Tensor

from models.softmax_fusion import SoftmaxStack
from synthetic.claims import MANY_SIZES, SMALL_SIZES, Claim, Parameters, cosines_of, extremes, start_clusters
from theory.clusters import contiguous_labels
from theory.loss_certificate import LN2
from theory.statements import ALWAYS_SHARPENS, EMPTY_ROW_HALF, SOFTMAX_KEEPS, SQUARED_SHARPENS

DEPTH = 4
# Slack that a hypothesis must have, so that nothing is decided by rounding.
INSIDE = 1e-3


# --- Theorem 3 --------------------------------------------------------------------------------------------------------


def _temperature(parameters: Parameters) -> Tensor:
    """kappa in (0.03, 55), (R,)."""
    return torch.exp(3.5 * torch.tanh(parameters["threshold"] / 3.5) + 0.5)


def _softmax_layers(parameters: Parameters, depth: int, normalize: str) -> tuple[Tensor, Tensor, Tensor]:
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


def _softmax_mass(cosines: Tensor, kappa: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """In-cluster mass of every row, itself included, (..., R, n)."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    weights = torch.softmax(kappa[:, None, None] * cosines, dim=-1)
    return (weights * (labels[:, None] == labels[None, :])).sum(-1)


def _row_sizes(sizes: tuple[int, ...]) -> Tensor:
    return torch.tensor([size for size in sizes for _ in range(size)], dtype=torch.float64)


def _smallest_cross(cosines: Tensor, sizes: tuple[int, ...]) -> Tensor:
    return -extremes(-cosines, sizes)[1]


def _evaluate_mass(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(a): log odds of the bound over those of the measured mass, worst row."""
    cosines, kappa, _ = _softmax_layers(parameters, 0, "input")
    alpha, beta = extremes(cosines[0], sizes)
    own = _row_sizes(sizes)
    bound = (kappa * (alpha - beta))[:, None] + torch.log(own / (sum(sizes) - own))
    mass = _softmax_mass(cosines[0], kappa, sizes)
    return torch.ones_like(alpha), (bound - torch.logit(mass.clamp(1e-300, 1.0 - 1e-16))).amax(-1)


def _evaluate_certified(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(b): how far a cosine lies beyond its iterated bound, worst layer while a~ > 0."""
    cosines, kappa, mixing = _softmax_layers(parameters, DEPTH, "every")
    alpha, beta = extremes(cosines, sizes)
    gamma = _smallest_cross(cosines, sizes)
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


def _evaluate_collapse(normalize: str):
    """(c): log of the spread over its bound, worst layer."""

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        cosines, kappa, mixing = _softmax_layers(parameters, DEPTH, normalize)
        lowest = torch.minimum(extremes(cosines, sizes)[0], _smallest_cross(cosines, sizes))
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


def _evaluate_softmax_keeps(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Killed: "in-cluster mass never falls below its first value where Theorem 2a's hypotheses hold"."""
    cosines, kappa, _ = _softmax_layers(parameters, DEPTH, "input")
    alpha, beta = extremes(cosines[0], sizes)
    largest, second = sorted(sizes, reverse=True)[:2]
    norms = ((alpha + (1 - alpha) / largest) * (alpha + (1 - alpha) / second)).clamp_min(1e-12).sqrt()
    mass = _softmax_mass(cosines, kappa, sizes).mean(-1)
    return torch.minimum(alpha, alpha - beta.clamp_min(0.0) / norms) - INSIDE, (mass[0] - mass[1:]).amax(0)


# --- Theorem 4 --------------------------------------------------------------------------------------------------------


def start_rows(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Logits of affinity rows, of many peakednesses, and of the share of a row that is left empty."""
    n = sum(sizes)
    scale = torch.logspace(-1.0, 1.0, restarts, dtype=torch.float64)[:, None, None]
    return {
        "logits": scale * torch.randn(restarts, n, n, generator=generator, dtype=torch.float64),
        "empty": torch.randn(restarts, n, generator=generator, dtype=torch.float64),
    }


def _binary(s: Tensor) -> Tensor:
    inner = torch.special.xlogy(s, 2 * s / (1 + s)) + (1 - s) * LN2 + torch.log(2 / (1 + s))
    return 0.5 * inner


def _rows(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Divergence and sharpness of every row, (R, n), and which rows are empty."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    same = labels[:, None] == labels[None, :]
    same.fill_diagonal_(False)
    affinity = torch.softmax(parameters["logits"], dim=-1)
    target = (same / same.sum(-1, keepdim=True)).to(affinity.dtype)
    middle = 0.5 * (affinity + target)
    terms = torch.special.xlogy(affinity, affinity / middle) + torch.special.xlogy(target, target / middle)
    return 0.5 * terms.sum(-1), (affinity * same).sum(-1), parameters["empty"] > 1.0


def _evaluate_certificate(empty_row: float):
    """binary(mean s) - loss, and binary(s_i) - JSD_i of the worst row; ``empty_row``: the divergence of empty rows."""

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        divergence, sharpness, empty = _rows(parameters, sizes)
        divergence = torch.where(empty, empty_row, divergence)
        sharpness = torch.where(empty, 0.0, sharpness)
        rows = (_binary(sharpness) - divergence).amax(-1)
        mean = _binary(sharpness.mean(-1)) - divergence.mean(-1)
        return torch.ones_like(mean), torch.maximum(rows, mean)

    return evaluate


# --- Proposition 5 ----------------------------------------------------------------------------------------------------


def start_pairs(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Within-cosine, cross cosine, threshold and mixing, unconstrained."""
    names = ("within", "between", "threshold", "mixing")
    return {name: 1.5 * torch.randn(restarts, generator=generator, dtype=torch.float64) for name in names}


def _through_block(parameters: Parameters, sizes: tuple[int, ...], power: float, threshold: Tensor):
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


def _evaluate_margin(power: float):
    """Minus (margin times change): positive where their signs differ."""

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
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


def _evaluate_never(power: float, thresholded: bool):
    """The change of log contrast: positive where a block sharpens. A true claim for p <= 1."""

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        threshold = 0.9 * torch.sigmoid(parameters["threshold"] - 1.0) * float(thresholded)
        w, b, new_w, new_b, _ = _through_block(parameters, sizes, power, threshold)
        return b - threshold - INSIDE * w, _contrast_change(w, b, new_w, new_b, threshold)

    return evaluate


def _evaluate_always(power: float):
    """Killed: a block of this power never lowers the sharpness."""
    never = _evaluate_never(power, thresholded=False)

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        slack, change = never(parameters, sizes)
        return slack, -change

    return evaluate


EQUAL_SIZES = ((2, 2), (5, 5, 5), (8, 8, 8, 8))

FUSION_CLAIMS = (
    Claim("Theorem 3a: mass", True, MANY_SIZES, start_clusters, _evaluate_mass),
    Claim("Theorem 3b: certified cosines", True, SMALL_SIZES, start_clusters, _evaluate_certified),
    Claim("Theorem 3c: plain blocks", True, SMALL_SIZES, start_clusters, _evaluate_collapse("input")),
    Claim("Theorem 3c: normalised blocks", True, SMALL_SIZES, start_clusters, _evaluate_collapse("every")),
    Claim("Theorem 4: certificate", True, SMALL_SIZES, start_rows, _evaluate_certificate(LN2)),
    *(Claim(f"Proposition 5: sign, p = {p:g}", True, EQUAL_SIZES, start_pairs, _evaluate_margin(p))
      for p in (1.0, 1.5, 2.0, 3.0)),
    *(Claim(f"Proposition 5: p = {p:g} never sharpens", True, EQUAL_SIZES, start_pairs, _evaluate_never(p, True))
      for p in (0.5, 1.0)),
)  # fmt: skip

KILLED_FUSION_CLAIMS = (
    Claim(SOFTMAX_KEEPS.name, False, SMALL_SIZES, start_clusters, _evaluate_softmax_keeps),
    Claim(EMPTY_ROW_HALF.name, False, SMALL_SIZES, start_rows, _evaluate_certificate(0.5 * LN2)),
    Claim(ALWAYS_SHARPENS.name, False, EQUAL_SIZES, start_pairs, _evaluate_always(1.0)),
    Claim(SQUARED_SHARPENS.name, False, EQUAL_SIZES, start_pairs, _evaluate_always(2.0)),
)

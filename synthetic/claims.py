"""Statements as an adversary sees them: free parameters, a hypothesis to respect and a violation to maximise.

True claims are parts of Theorems 1, 2a and 2b; no adversary may break them. Killed claims are the false statements
recorded in theory.md; an adversary that does not break them is too weak to be trusted with the true ones.

Every function works on a batch of restarts (R, ...) in float64 and is differentiable.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.attention import TransFusionBlock
from theory.clusters import contiguous_labels
from theory.noise_free import norm_floor_squared
from theory.statements import ALPHA_OF_ANY_SIGN, ONE_TERM_CEILING, SMALLEST_CLUSTER, THRESHOLD_AT_B

Parameters = dict[str, Tensor]
DEPTH = 5
# Spreads below this are round-off of 1 - cosine, not geometry.
SMALLEST_SPREAD = 1e-7


@dataclass(frozen=True)
class Claim:
    """A statement under attack.

    Attributes:
        name: how it is reported.
        true: False for the killed statements of theory.md.
        sizes: cluster sizes to try.
        start: (generator, restarts, sizes) -> parameters to ascend from.
        evaluate: (parameters, sizes) -> (slack, violation), each (R,): the hypothesis holds where slack > 0, the
            statement is broken where violation > 0 besides.
        replay: (statement of synthetic.counterexamples, decoder) of claims whose violation is a batch in a stack, to
            be settled in high precision and kept.
    """

    name: str
    true: bool
    sizes: tuple[tuple[int, ...], ...]
    start: Callable[[torch.Generator, int, tuple[int, ...]], Parameters]
    evaluate: Callable[[Parameters, tuple[int, ...]], tuple[Tensor, Tensor]]
    replay: tuple[str, Callable[[Parameters, tuple[int, ...]], "Batch"]] | None = None


# --- batches and their layers -----------------------------------------------------------------------------------------


def start_clusters(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Clusters of many tightnesses around random centres, and unconstrained threshold and mixing."""
    dim = max(4, len(sizes) + 1)
    normal = {"generator": generator, "dtype": torch.float64}
    labels = torch.from_numpy(contiguous_labels(sizes))
    scale = torch.logspace(-1.5, 0.3, restarts, dtype=torch.float64)[:, None, None]
    centers = torch.randn(restarts, len(sizes), dim, **normal)
    return {
        "points": centers[:, labels] + scale * torch.randn(restarts, len(labels), dim, **normal),
        "threshold": torch.randn(restarts, **normal),
        "mixing": torch.randn(restarts, **normal),
    }


def start_separate_subspaces(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Coordinates of each point inside its own cluster's subspace (the subspaces are orthogonal coordinate blocks)."""
    parameters = start_clusters(generator, restarts, sizes)
    parameters["points"] = parameters["points"][..., :3]
    return parameters


def embed_separately(coordinates: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Points (R, n, 3 K): each cluster in its own three coordinates."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    blocks = torch.nn.functional.one_hot(labels, len(sizes)).to(coordinates.dtype)
    return (blocks[:, :, None] * coordinates[:, :, None, :]).flatten(-2)


@dataclass(frozen=True)
class Batch:
    """What parameters stand for: points (R, n, D), threshold and mixing (R,), and the hypothesis' slack (R,)."""

    points: Tensor
    threshold: Tensor
    mixing: Tensor
    slack: Tensor

    def layercosines_of(self) -> Tensor:
        """Cosines (DEPTH + 1, R, n, n) of all layers of a stack with unit inputs."""
        block = TransFusionBlock(self.threshold[:, None, None].clamp(0.0, 1.0 - 1e-9), self.mixing[:, None, None])
        tokens = torch.nn.functional.normalize(self.points, dim=-1)
        layers = [cosines_of(tokens)]
        for _ in range(DEPTH):
            tokens = block(tokens)
            layers.append(cosines_of(tokens))
        return torch.stack(layers)


def extremes(cosines: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """alpha and beta over the last two axes."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    row, column = torch.triu_indices(len(labels), len(labels), 1)
    pairs = cosines[..., row, column]
    same = labels[row] == labels[column]
    return pairs[..., same].amin(-1), pairs[..., ~same].amax(-1)


def spread_excess(alpha: Tensor, threshold: Tensor, mixing: Tensor, size: int) -> Tensor:
    """log(spread/bound) of Theorem 1b, worst layer; ``size`` is the cluster size that the bound is computed with."""
    kappa = (alpha - threshold) / (1.0 - threshold)
    rho = 1.0 - mixing * kappa * size / (size - 2 + kappa)
    bound = torch.log((1.0 - alpha[0]) / norm_floor_squared(alpha[0], size)) + 2.0 * torch.cumsum(
        torch.log(rho[:-1].clamp_min(1e-300)), dim=0
    )
    excess = torch.log((1.0 - alpha[1:]).clamp_min(1e-300)) - bound
    return torch.where(1.0 - alpha[1:] > SMALLEST_SPREAD, excess, -torch.inf).amax(0)


# --- Theorem 1b -------------------------------------------------------------------------------------------------------


def decode_separate(parameters: Parameters, sizes: tuple[int, ...]) -> Batch:
    """Clusters in orthogonal subspaces, a threshold below all within-cluster cosines, lambda in (0, 1/2)."""
    points = embed_separately(parameters["points"], sizes)
    alpha, _ = extremes(cosines_of(points), sizes)
    threshold = torch.sigmoid(parameters["threshold"]) * alpha.detach().clamp(0.0, 1.0)
    return Batch(points, threshold, 0.5 * torch.sigmoid(parameters["mixing"]), alpha - threshold - 1e-6)


def _evaluate_spread(size_of: Callable[[tuple[int, ...]], int]):
    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        batch = decode_separate(parameters, sizes)
        alpha, _ = extremes(batch.layercosines_of(), sizes)
        return batch.slack, spread_excess(alpha, batch.threshold, batch.mixing, size_of(sizes))

    return evaluate


def _evaluate_monotone(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    batch = decode_separate(parameters, sizes)
    alpha, _ = extremes(batch.layercosines_of(), sizes)
    step = torch.log((1.0 - alpha[1:]).clamp_min(1e-300)) - torch.log((1.0 - alpha[:-1]).clamp_min(1e-300))
    return batch.slack, torch.where(1.0 - alpha[1:] > SMALLEST_SPREAD, step, -torch.inf).amax(0)


def cosines_of(points: Tensor) -> Tensor:
    """Cosines of all pairs, (..., n, n)."""
    unit = torch.nn.functional.normalize(points, dim=-1)
    return unit @ unit.mT


# --- Theorem 2a -------------------------------------------------------------------------------------------------------


def decode_persistent(parameters: Parameters, sizes: tuple[int, ...]) -> Batch:
    """Any batch, with a threshold anywhere in 2a's interval and lambda in (0, 1)."""
    points = parameters["points"]
    alpha, beta = extremes(cosines_of(points), sizes)
    cap = _cap(alpha, beta, sizes)
    threshold = (cap + torch.sigmoid(parameters["threshold"]) * (alpha - cap).clamp_min(0.0)).detach()
    slack = torch.minimum(alpha, alpha - cap) - 1e-6
    return Batch(points, threshold, torch.sigmoid(parameters["mixing"]), slack)


def _cap(alpha: Tensor, beta: Tensor, sizes: tuple[int, ...]) -> Tensor:
    largest, second = sorted(sizes, reverse=True)[:2]
    return (
        beta.clamp_min(1e-9)
        / (norm_floor_squared(alpha, largest) * norm_floor_squared(alpha, second)).clamp_min(1e-12).sqrt()
    )


def _evaluate_cross_cap(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """log(beta_l / cap), worst layer."""
    batch = decode_persistent(parameters, sizes)
    alpha, beta = extremes(batch.layercosines_of(), sizes)
    cap = _cap(alpha[0], beta[0], sizes)
    return batch.slack, (torch.log(beta[1:].clamp_min(1e-9)) - torch.log(cap)).amax(0)


def _evaluate_without_positive_alpha(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Killed: "beta+ < alpha nu^2 alone gives a threshold in [0, 1) with an edge between all i ~ j"."""
    alpha, beta = extremes(cosines_of(parameters["points"]), sizes)
    return alpha * norm_floor_squared(alpha, max(sizes)) - beta.clamp_min(0.0) - 1e-6, -alpha


# --- the equiangular case ---------------------------------------------------------------------------------------------


def start_equiangular(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Within-cosine, cross cosine, threshold and mixing, unconstrained."""
    return {
        name: torch.randn(restarts, generator=generator, dtype=torch.float64)
        for name in ("within", "between", "threshold", "mixing")
    }


def _evaluate_equiangular(low_of: Callable[[Tensor, Tensor, int], Tensor]):
    """beta_l > tau somewhere, for equiangular clusters with low_of(a, b, M) <= tau < a."""

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        within = torch.sigmoid(parameters["within"])
        between = torch.sigmoid(parameters["between"]) * within
        low = low_of(within, between, max(sizes))
        threshold = low + torch.sigmoid(parameters["threshold"]) * (within - low).clamp_min(0.0)
        mixing = torch.sigmoid(parameters["mixing"])
        labels = torch.from_numpy(contiguous_labels(sizes))
        same = (labels[:, None] == labels[None, :]).to(torch.float64)
        gram = between[:, None, None] + (within - between)[:, None, None] * same
        gram = gram + (1.0 - within)[:, None, None] * torch.eye(len(labels), dtype=torch.float64)
        points = torch.linalg.cholesky(gram + 1e-12 * torch.eye(len(labels), dtype=torch.float64))
        batch = Batch(points, threshold, mixing, within - low - 1e-6)
        _, beta = extremes(batch.layercosines_of(), sizes)
        return batch.slack, (beta[1:] - threshold).amax(0)

    return evaluate


# --- bounded noise (Theorem 2b) ---------------------------------------------------------------------------------------


def start_noisy(generator: torch.Generator, restarts: int, sizes: tuple[int, ...]) -> Parameters:
    """Clean points in the plane or space, noise directions, and how much of the allowed noise is used."""
    parameters = start_clusters(generator, restarts, sizes)
    parameters["points"] = parameters["points"][..., :3]
    parameters["noise"] = torch.randn(parameters["points"].shape, generator=generator, dtype=torch.float64)
    return parameters


def _evaluate_noisy(threshold_needed: bool, second_term: bool):
    """Separation of noisy batches with phi below the ceiling.

    Args:
        threshold_needed: the claim promises a threshold in [0, 1) that separates, not only alpha > beta.
        second_term: phi also stays below (pi/2 - theta_w)/2.
    """

    def evaluate(parameters: Parameters, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        clean = torch.nn.functional.normalize(parameters["points"], dim=-1)
        alpha0, beta0 = extremes(clean @ clean.mT, sizes)
        theta_within = torch.acos(alpha0.clamp(-1.0 + 1e-12, 1.0 - 1e-12))
        gap = torch.acos(beta0.clamp(-1.0 + 1e-12, 1.0 - 1e-12)) - theta_within
        phi = gap / 4.0
        if second_term:
            phi = torch.minimum(phi, (torch.pi / 2.0 - theta_within) / 2.0)
        slack = phi - 1e-4
        radius = 0.999 * torch.sin(phi.clamp(1e-6, torch.pi / 2))[:, None, None]
        noisy = clean + radius * torch.nn.functional.normalize(parameters["noise"], dim=-1)
        alpha, beta = extremes(cosines_of(noisy), sizes)
        return slack, (beta.clamp_min(0.0) if threshold_needed else beta) - alpha

    return evaluate


MANY_SIZES = ((2, 2), (3, 2), (20, 2), (5, 4, 2), (6, 6, 6))
SMALL_SIZES = ((2, 2), (3, 2), (3, 3, 2))

TRUE_CLAIMS = (
    Claim("Theorem 1b: spread", True, MANY_SIZES, start_separate_subspaces, _evaluate_spread(max),
          ("theorem_1", decode_separate)),
    Claim("Theorem 1b: alpha never decreases", True, MANY_SIZES, start_separate_subspaces, _evaluate_monotone,
          ("theorem_1", decode_separate)),
    Claim("Theorem 2a: cross cosines", True, MANY_SIZES, start_clusters, _evaluate_cross_cap,
          ("theorem_2a", decode_persistent)),
    Claim("Theorem 1, equiangular: no leak", True, SMALL_SIZES, start_equiangular,
          _evaluate_equiangular(lambda a, b, m: b / norm_floor_squared(a, m))),
    Claim("Theorem 2b: bounded noise separates", True, SMALL_SIZES, start_noisy, _evaluate_noisy(False, False)),
    Claim("Theorem 2b: a threshold separates", True, SMALL_SIZES, start_noisy, _evaluate_noisy(True, True)),
)  # fmt: skip

KILLED_CLAIMS = (
    Claim(SMALLEST_CLUSTER.name, False, ((20, 2), (8, 2)), start_separate_subspaces, _evaluate_spread(min)),
    Claim(THRESHOLD_AT_B.name, False, ((6, 6, 6), (3, 3)), start_equiangular,
          _evaluate_equiangular(lambda a, b, m: b)),
    Claim(ALPHA_OF_ANY_SIGN.name, False, ((3, 2), (3, 3)), start_clusters, _evaluate_without_positive_alpha),
    Claim(ONE_TERM_CEILING.name, False, ((2, 2), (3, 2)), start_noisy,
          _evaluate_noisy(True, False)),
)  # fmt: skip

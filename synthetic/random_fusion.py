"""Random batches for Theorems 3 and 4, the block model and Proposition 5, each through the stacks it speaks about.

Shapes (cluster sizes, depth, power) are drawn a few hundred batches at a time, everything else batch by batch.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from models.losses import affinity_jsd
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic import seeding
from synthetic.fusion_counterexamples import FusionCounterexample, Keep, forget, keeper
from theory.affinity import affinity_matrix, effective_threshold, target_affinity, unit_points
from theory.block_model import (
    ReluAttention,
    SoftmaxAttention,
    check_exactness,
    check_sharpening,
    sharpening_margin,
    trajectory,
)
from theory.clusters import contiguous_labels
from theory.loss_certificate import check_certificate
from theory.measurements import affinity_sharpness
from theory.noise_free import norm_floor_squared
from theory.softmax_fusion import check_softmax_fusion
from theory.verdicts import Status, Verdict, combine_cells

BATCHES_A_SHAPE = 500
POWERS = (1.0, 1.5, 2.0, 3.0)


# What draws a shape's batches and judges them; a violating batch goes to the second argument.
Draw = Callable[[np.random.Generator, Keep], Verdict]


def search_random_fusion(batches: int, seed: int, folder: Path | None = None) -> list[Verdict]:
    """Verdicts on at least ``batches`` random batches each: Theorems 3 and 4, the block model, Proposition 5.

    Args:
        folder: where a batch of every violated shape is kept.
    """
    softmax = _search("Theorem 3", softmax_shape, batches, seed, 3, folder)
    certificate = _search("Theorem 4", certificate_shape, batches, seed, 4, folder)
    return [softmax, certificate, *search_block_model(batches, seed, folder)]


def search_block_model(batches: int, seed: int, folder: Path | None = None) -> list[Verdict]:
    """Verdicts on at least ``batches`` equiangular batches each: the block model is exact, Proposition 5's sign."""
    return [
        _search("Block model", block_model_shape, batches, seed, 0, folder),
        _search("Proposition 5", sharpening_shape, batches, seed, 5, folder),
    ]


def _search(name: str, draw: Draw, batches: int, seed: int, stream: int, folder: Path | None) -> Verdict:
    parts: list[Verdict] = []
    keep = keeper(folder)
    done = 0
    with tqdm(total=batches, disable=None, unit="batch", desc=f"{name}, random") as bar:
        while done < batches:
            parts.append(draw(seeding.generator(seed, len(parts), stream), keep))
            done += parts[-1].applicable
            bar.update(parts[-1].applicable)
    return replace(combine_cells(name, parts), statement=f"{name} on random batches")


def _clusters(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...]]:
    """Batches around random centres of any position, some with a common part that makes all cosines positive."""
    sizes = tuple(int(s) for s in rng.integers(2, 9, size=rng.integers(2, 5)))
    labels, ambient = contiguous_labels(sizes), int(rng.integers(2, 17))
    shared = 3.0 * rng.random((BATCHES_A_SHAPE, 1, 1)) * (rng.random((BATCHES_A_SHAPE, 1, 1)) < 0.7)
    centers = unit_points(rng.standard_normal((BATCHES_A_SHAPE, len(sizes), ambient)))
    centers = centers + shared * unit_points(rng.standard_normal((BATCHES_A_SHAPE, 1, ambient)))
    spread = 10.0 ** rng.uniform(-2.0, 0.3, (BATCHES_A_SHAPE, 1, 1))
    noise = rng.standard_normal((BATCHES_A_SHAPE, len(labels), ambient)) / np.sqrt(ambient)
    return unit_points(unit_points(centers)[:, labels] + spread * noise), sizes


def softmax_shape(rng: np.random.Generator, keep: Keep = forget) -> Verdict:
    """Theorem 3, (a) to (c): normalised and plain blocks, temperatures over three decades."""
    points, sizes = _clusters(rng)
    kappa = 10.0 ** rng.uniform(-1.0, 2.0, BATCHES_A_SHAPE)
    mixing = 1.0 - rng.random(BATCHES_A_SHAPE)
    normalize = "every" if rng.random() < 0.6 else "input"
    depth, labels = int(rng.integers(1, 7)), contiguous_labels(sizes)
    stack = SoftmaxStack(depth, column(kappa), column(mixing), normalize=normalize)
    measured = stack.measure(torch.from_numpy(points), labels)
    verdict = check_softmax_fusion(measured, sizes, kappa, mixing, normalized=normalize == "every")
    return _keep_violation(keep, verdict, "theorem_3", points=points, labels=labels, inverse_temperature=kappa,
                           mixing=mixing, depth=depth, normalized=normalize == "every")  # fmt: skip


def certificate_shape(rng: np.random.Generator, keep: Keep = forget) -> Verdict:
    """Theorem 4 on affinities of batches, thresholded so that some rows are empty, and on random rows."""
    points, sizes = _clusters(rng)
    labels = contiguous_labels(sizes)
    if rng.random() < 0.5:
        affinity = affinity_matrix(points, column_array(0.95 * rng.random(BATCHES_A_SHAPE)), power=rng.choice(POWERS))
    else:
        raw = rng.gamma(10.0 ** rng.uniform(-1.5, 1.0), size=(BATCHES_A_SHAPE, len(labels), len(labels)))
        raw *= np.where(labels[:, None] == labels[None, :], 1.0, 10.0 ** rng.uniform(-4.0, 0.0))
        raw *= rng.random(raw.shape[:-1])[..., None] > 0.1
        mass = raw.sum(-1, keepdims=True)
        affinity = raw / np.where(mass > 0, mass, 1.0)
    loss = affinity_jsd(torch.from_numpy(affinity), torch.from_numpy(target_affinity(labels))).numpy()
    verdict = check_certificate(loss, affinity_sharpness(affinity, labels).T)
    return _keep_violation(keep, verdict, "theorem_4", affinity=affinity, labels=labels)


def equiangular_batches(
    within: Float[np.ndarray, " trials"], between: Float[np.ndarray, " trials"], num_clusters: int, cluster_size: int
) -> Float[np.ndarray, "trials n n"]:
    """Points with these cosines exactly, each trial its own: the symmetric root of the Gram matrix.

    Raises:
        ValueError: cosines that no batch has.
    """
    labels = contiguous_labels((cluster_size,) * num_clusters)
    same = (labels[:, None] == labels[None, :]).astype(float)
    size, count = cluster_size, num_clusters
    # The root has the same three eigenspaces: P_1 = J/n, P_c = same/m - J/n, P_w = I - same/m.
    gram = (
        1 + (size - 1) * within + (count - 1) * size * between,
        1 + (size - 1) * within - size * between,
        1 - within,
    )
    if min(float(g.min()) for g in gram) < 0.0:
        raise ValueError("between: no batch has such cosines")
    ones, contrast, inner = (np.sqrt(g)[:, None, None] for g in gram)
    average = np.full_like(same, 1.0 / len(labels))
    return ones * average + contrast * (same / size - average) + inner * (np.eye(len(labels)) - same / size)


def _cosine_pairs(rng: np.random.Generator, low: np.ndarray, decades: float) -> tuple[np.ndarray, np.ndarray]:
    """w and b with low < b < w < 1, small leaks as often as large ones, down to ``decades`` below w - low."""
    within = low + (0.99 - low) * (0.02 + 0.97 * rng.random(BATCHES_A_SHAPE))
    return within, low + (within - low) * 10.0 ** rng.uniform(-decades, -0.01, BATCHES_A_SHAPE)


def block_model_shape(rng: np.random.Generator, keep: Keep = forget) -> Verdict:
    """The block model against real stacks: ReLU with and without threshold, power 1 and 2, and softmax."""
    clusters, size, depth = int(rng.integers(2, 5)), int(rng.integers(2, 9)), int(rng.integers(1, 7))
    # A stack's cosines are right to 1e-16, hence its affinities to 1e-16/(b - tau): smaller leaks cost digits.
    within, between = _cosine_pairs(rng, np.zeros(BATCHES_A_SHAPE), decades=2.0)
    points = torch.from_numpy(equiangular_batches(within, between, clusters, size))
    labels, mixing = contiguous_labels((size,) * clusters), 1.0 - rng.random(BATCHES_A_SHAPE)
    power, threshold, kappa = 1.0, np.zeros(BATCHES_A_SHAPE), np.full(BATCHES_A_SHAPE, np.nan)
    if rng.random() < 0.3:
        kappa = 10.0 ** rng.uniform(-1.0, 1.5, BATCHES_A_SHAPE)
        measured = SoftmaxStack(depth, column(kappa), column(mixing)).measure(points, labels)
        model = SoftmaxAttention(kappa, mixing)
    else:
        power = float(rng.choice((1.0, 2.0)))
        # None; one that every layer leaks through; one that no layer does (Theorem 2a). Close to a layer's cross cosine
        # a threshold is a switch, and rounding decides which way it falls.
        cap = between / norm_floor_squared(within, size)
        kept = np.where(cap < within, 0.5 * (cap + within), 0.5 * between)
        threshold = (np.zeros_like(kept), 0.5 * between, kept)[rng.integers(3)]
        stack = AttentionStack(depth, column(threshold), column(mixing), power=power, normalize="input")
        cut = effective_threshold(threshold, "float64")
        measured, model = stack.measure(points, labels), ReluAttention(cut, power, mixing)
    predicted = trajectory(within, between, clusters, size, depth, model)
    verdict = check_exactness("Block model", (measured.alpha, measured.beta), predicted)
    return _keep_violation(keep, verdict, "block_model", points=points.numpy(), labels=labels, within=within,
                           between=between, inverse_temperature=kappa, threshold=threshold, power=power, mixing=mixing,
                           depth=depth)  # fmt: skip


def sharpening_shape(rng: np.random.Generator, keep: Keep = forget) -> Verdict:
    """Proposition 5 against real blocks, all powers; half of the shapes with thresholds."""
    clusters, size = int(rng.integers(2, 6)), int(rng.integers(2, 9))
    threshold = effective_threshold(0.9 * rng.random(BATCHES_A_SHAPE) * (rng.random() < 0.5), "float64")
    within, between = _cosine_pairs(rng, threshold, decades=3.0)
    mixing, power = 1.0 - rng.random(BATCHES_A_SHAPE), float(rng.choice(POWERS))
    points, labels = equiangular_batches(within, between, clusters, size), contiguous_labels((size,) * clusters)
    stack = AttentionStack(1, column(threshold), column(mixing), power=power, normalize="input")
    measured = stack.measure(torch.from_numpy(points), labels)
    margin = sharpening_margin(within, between, clusters, size, power, mixing, threshold)
    before, after = zip(measured.alpha, measured.beta)
    verdict = check_sharpening(margin, before, after, threshold)
    return _keep_violation(keep, verdict, "proposition_5", points=points, labels=labels, within=within, between=between,
                           threshold=threshold, power=power, mixing=mixing)  # fmt: skip


def _keep_violation(keep: Keep, verdict: Verdict, statement: str, labels: np.ndarray, **values: object) -> Verdict:
    """Hand the tightest batch of a violated verdict to ``keep``; arrays lead with the trial, but for the labels."""
    if verdict.status is Status.VIOLATED:
        one = {k: v[verdict.where] if isinstance(v, np.ndarray) else v for k, v in values.items()}
        keep(FusionCounterexample(statement, {**one, "labels": labels}))
    return verdict


def column_array(values: np.ndarray) -> np.ndarray:
    """(trials,) as (trials, 1, 1), to broadcast against cosines and points."""
    return values[:, None, None]


def column(values: np.ndarray) -> torch.Tensor:
    """The same as a tensor."""
    return torch.from_numpy(column_array(values))

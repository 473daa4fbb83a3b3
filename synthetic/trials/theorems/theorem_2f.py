"""Theorems 2a' and 2f on trial: a certificate from any layer on, and the noise up to which one block earns it."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from models.attention import TransFusionBlock
from synthetic.batches.geometry import Geometry
from synthetic.batches.noise import add_noise
from synthetic.trials import damaged
from synthetic.trials.ascent import SMALL_SIZES, Parameters, Sizes, Violation
from synthetic.trials.layers import DEPTH, cosines_of, extremes, start_clusters
from synthetic.trials.stacks import BATCH, STACK, column, cut_of, measure_stack
from synthetic.trials.theorems import theorem_2a
from synthetic.trials.trial import Cases, Rate, Subject, Trial
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.fusion_ceiling import fusion_threshold, gaussian_fusion
from theory.judging.statements import THEOREM_2A_RESTART, THEOREM_2F, WITHIN_PRODUCT
from theory.judging.verdicts import Verdict
from theory.restart import TokenGeometry, check_restart, measure_tokens

DELTA = 0.05
FEW_BATCHES = 100

# --- 2a', the restart -------------------------------------------------------------------------------------------------


def draw_any(rng: np.random.Generator) -> Cases:
    """As for Theorem 2a, but with a threshold anywhere: many batches are certified at no layer, some at a later one."""
    cases = theorem_2a.draw(rng)
    threshold = np.where(rng.random(len(cases["threshold"])) < 0.5, cases["threshold"],
                         rng.uniform(0.0, 0.9, len(cases["threshold"])))  # fmt: skip
    return Cases({**cases.each, "threshold": threshold}, cases.shared)


def measure_both(cases: Cases, subject: Subject) -> tuple[Trajectory, TokenGeometry]:
    """All layers as the stack measures them, and what the certificate reads of their tokens."""
    stack = subject(int(cases["depth"]), column(cases["threshold"]), column(cases["mixing"]),
                    normalize="input" if cases["unit_inputs"] else "never")  # fmt: skip
    points = torch.from_numpy(np.asarray(cases["points"]))
    with torch.no_grad():
        _, trace = stack(points, return_trace=True)
    tokens = torch.stack(list(trace.points)).numpy()
    return stack.measure(points, cases["labels"]), measure_tokens(tokens, cases["labels"])


def judge_restart(cases: Cases, measured: Trajectory | tuple[Trajectory, TokenGeometry]) -> Verdict:
    """From the first certified layer on; of the sweep's batches there is the trajectory alone."""
    layers, geometry = (measured, None) if isinstance(measured, Trajectory) else measured
    return check_restart(layers, cluster_layout(cases["labels"]).sizes, cut_of(cases), geometry)


def _start(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Clusters around random centers, and tokens of all norms."""
    parameters = start_clusters(generator, restarts, sizes)
    parameters["norms"] = 0.5 * torch.randn(restarts, sum(sizes), generator=generator, dtype=torch.float64)
    return parameters


def _products(killed: bool):
    """The largest later cross cosine over tau, where the condition on products holds; ``killed``: with I_w for I."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        norms = torch.exp(torch.tanh(parameters["norms"]))
        tokens = torch.nn.functional.normalize(parameters["points"], dim=-1) * norms[..., None]
        products = tokens @ tokens.mT
        within, cross = extremes(products, sizes)
        squares = (tokens**2).sum(-1)
        least = within if killed else torch.minimum(within, squares.amin(-1))
        threshold = 0.9 * torch.sigmoid(parameters["threshold"])
        norm = least + (squares.amin(-1) - least) / max(sizes)
        slack = torch.minimum(least - threshold * squares.amax(-1), threshold * norm - cross.clamp_min(0.0)) - 1e-6
        block = TransFusionBlock(threshold.detach()[:, None, None], torch.sigmoid(parameters["mixing"])[:, None, None])
        worst = []
        for _ in range(DEPTH):
            tokens = block(tokens)
            worst.append(extremes(cosines_of(tokens), sizes)[1])
        first = extremes(cosines_of(parameters["points"]), sizes)[1]
        return slack, torch.stack([first, *worst]).amax(0) - threshold

    return evaluate


# --- 2f, the fusion ceiling -------------------------------------------------------------------------------------------


@cache
def ceiling_of(dim: int, clusters: int, size: int, within: float, mixing: float) -> float:
    """The ceiling of a shape, which takes seconds and comes again."""
    return gaussian_fusion(dim, clusters, size, within, DELTA, mixing, subspace_dim=2)


def draw_at_ceiling(rng: np.random.Generator) -> Cases:
    """Tight clusters or cones on orthogonal subspaces, at the ceiling, which is often past separation."""
    while True:
        clusters, size = int(rng.choice((2, 4, 6))), int(rng.choice((8, 16, 32)))
        dim, within = int(rng.choice((64, 128))), float(rng.choice((1.0, 0.97)))
        # Cones that keep half of every point have no ceiling.
        mixing = float(rng.choice((0.5, 0.8, 1.0) if within == 1.0 else (1.0,)))
        level = ceiling_of(dim, clusters, size, within, mixing)
        if level > 0.0:
            break
    sizes = (size,) * clusters
    geometry, labels = Geometry(clusters, 2, within_cos=within), contiguous_labels(sizes)
    clean = geometry.draw(geometry.bases(dim, int(rng.integers(2**31))), sizes, rng.spawn(FEW_BATCHES))
    points = add_noise(clean, labels, level, "gaussian", rng.spawn(FEW_BATCHES))
    tau = fusion_threshold(dim, clusters, size, DELTA, level)
    return Cases(
        {"points": points, "threshold": np.full(FEW_BATCHES, tau), "mixing": np.full(FEW_BATCHES, mixing)},
        {"labels": labels, "depth": 4, "unit_inputs": False},
    )


TRIALS = (
    Trial(
        THEOREM_2A_RESTART,
        "theorem_2a_restart",
        BATCH,
        (*STACK, "unit_inputs"),
        measure_both,
        judge_restart,
        draw=draw_any,
        violations=(Violation("Theorem 2a': products", SMALL_SIZES, _start, _products(False)),),
        killed=(Violation(WITHIN_PRODUCT.name, SMALL_SIZES, _start, _products(True)),),
        damaged=damaged.stacks("OneFalseEdge", "PushesApart"),
        on_cells=lambda cell: not cell.mapped,
        defaults={"unit_inputs": True},
    ),
    Trial(
        THEOREM_2F,
        "theorem_2f",
        BATCH,
        (*STACK, "unit_inputs"),
        measure_stack,
        rate=Rate(DELTA, lambda _, layers: ~layers.recovered[1:].all(axis=0)),
        draw=draw_at_ceiling,
        damaged=damaged.stacks("ThresholdIgnored", "PushesApart"),
        defaults={"unit_inputs": True},
    ),
)

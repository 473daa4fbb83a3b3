"""Theorem 2b on trial: bounded noise, of which no batch may fail, and Gaussian noise, of which a share delta may."""

import numpy as np
import torch
from torch import Tensor

from synthetic.batches.geometry import ClusterKind, Geometry
from synthetic.batches.noise import NoiseKind, add_noise
from synthetic.batches.union_of_subspaces import Arrangement
from synthetic.trials import damaged
from synthetic.trials.ascent import SMALL_SIZES, Parameters, Sizes, Violation
from synthetic.trials.layers import cosines_of, extremes, start_clusters
from synthetic.trials.stacks import BATCH, BATCHES_A_SHAPE, STACK, measure_stack
from synthetic.trials.trial import Cases, Rate, Trial
from theory.affinity import unit_points
from theory.batches.clusters import cluster_layout, contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.judging.statements import ONE_TERM_CEILING, THEOREM_2B
from theory.judging.verdicts import Verdict
from theory.noise_ceiling import (
    bounded_separation,
    check_bounded,
    gaussian_extremes,
    gaussian_persistence,
    gaussian_separation,
    recommended_threshold,
    within_extremes,
)
from theory.persistence import admits_threshold

DELTA = 0.05
FEW_BATCHES = 200
ARRANGEMENTS: tuple[Arrangement, ...] = ("orthogonal", "random")
KINDS: tuple[ClusterKind, ...] = ("cone", "equiangular")
BOUNDED_NOISE: tuple[NoiseKind, ...] = ("bounded", "sphere", "worst")


def _sizes_of(cases: Cases) -> tuple[int, ...]:
    return cluster_layout(cases["labels"]).sizes


# --- bounded noise ----------------------------------------------------------------------------------------------------


def draw_bounded(rng: np.random.Generator) -> Cases:
    """Cones on orthogonal or oblique subspaces, noise of any bounded kind up to a little past the ceiling."""
    sizes = tuple(int(s) for s in rng.integers(2, 9, size=rng.integers(2, 5)))
    labels = contiguous_labels(sizes)
    geometry = Geometry(len(sizes), 2, ARRANGEMENTS[rng.integers(2)], within_cos=float(rng.uniform(0.6, 1.0)))
    bases = geometry.bases(int(2 * len(sizes) + rng.integers(0, 8)), int(rng.integers(2**31)))
    within, between = geometry.clean_cosines(bases)
    angles = np.arccos([within, between])
    ceiling = bounded_separation(*map(float, angles)) or 0.1
    level = min(0.99, ceiling * float(rng.choice((0.5, 0.999, rng.uniform(0.0, 1.2)))))
    clean = geometry.draw(bases, sizes, rng.spawn(BATCHES_A_SHAPE))
    noisy = add_noise(clean, labels, level, BOUNDED_NOISE[rng.integers(3)], rng.spawn(BATCHES_A_SHAPE))
    still = np.zeros(BATCHES_A_SHAPE)
    return Cases(
        {"points": unit_points(noisy), "threshold": still, "mixing": still + 0.5},
        {"labels": labels, "depth": 1, "clean_angles": angles, "noise_level": level},
    )


def judge_bounded(cases: Cases, layers: Trajectory) -> Verdict:
    """What the noise level leaves of the clean angles, batch by batch."""
    within, between = map(float, cases["clean_angles"])
    level = float(cases["noise_level"])
    return check_bounded(layers.alpha[0], layers.beta[0], within, between, level, _sizes_of(cases))


# --- Gaussian noise ---------------------------------------------------------------------------------------------------


def _draw_at(ceiling_of):
    def draw(rng: np.random.Generator) -> Cases:
        """Equiangular or cone clusters at the ceiling exactly, with the threshold that theory recommends."""
        while True:
            sizes = tuple(int(s) for s in rng.integers(2, 9, size=rng.integers(2, 5)))
            within = float(rng.uniform(0.7, 1.0))
            kind = KINDS[rng.integers(2)]
            geometry = Geometry(len(sizes), 2, clusters=kind, within_cos=within)
            dim = int(sum(sizes) + rng.integers(0, 60))
            law = (dim, len(sizes), sizes, within, 0.0, DELTA)
            level = ceiling_of(*law)
            if level > 0.0:
                break
        labels, still = contiguous_labels(sizes), np.zeros(FEW_BATCHES)
        clean = geometry.draw(geometry.bases(dim, int(rng.integers(2**31))), sizes, rng.spawn(FEW_BATCHES))
        points = unit_points(add_noise(clean, labels, level, "gaussian", rng.spawn(FEW_BATCHES)))
        allowed = gaussian_extremes(*law, level)
        threshold = recommended_threshold(*allowed, sizes)
        return Cases(
            {"points": points, "threshold": still + threshold, "mixing": 1.0 - rng.random(FEW_BATCHES)},
            {"labels": labels, "depth": 4, "extremes": np.array(allowed)},
        )

    return draw


FAILURES = {
    "separation": lambda cases, layers: ~layers.separated[0],
    "persistence": lambda cases, layers: ~admits_threshold(layers.alpha[0], layers.beta[0], _sizes_of(cases)),
    "recovery": lambda cases, layers: ~layers.recovered.all(axis=0),
    "extremes": lambda cases, layers: ~within_extremes(layers.alpha[0], layers.beta[0], tuple(cases["extremes"])),
}


def _gaussian(promise: str) -> Trial:
    return Trial(
        THEOREM_2B,
        f"theorem_2b_{promise}",
        BATCH,
        (*STACK, "extremes"),
        measure_stack,
        rate=Rate(DELTA, FAILURES[promise]),
        draw=_draw_at(gaussian_separation if promise in ("separation", "extremes") else gaussian_persistence),
        damaged={"OnePointOfAllSwapped": damaged.OnePointOfAllSwapped},
        defaults={"extremes": np.array([-1.0, 1.0])},
        part=f"Gaussian noise, {promise}",
    )


# --- the adversary ----------------------------------------------------------------------------------------------------


def start_noisy(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Clean points in the plane or space, noise directions, and how much of the allowed noise is used."""
    parameters = start_clusters(generator, restarts, sizes)
    parameters["points"] = parameters["points"][..., :3]
    parameters["noise"] = torch.randn(parameters["points"].shape, generator=generator, dtype=torch.float64)
    return parameters


def _noisy(threshold_needed: bool, second_term: bool):
    """Separation of noisy batches with phi below the ceiling.

    Args:
        threshold_needed: the claim promises a threshold in [0, 1) that separates, not only alpha > beta.
        second_term: phi also stays below (pi/2 - theta_w)/2.
    """

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
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


TRIALS = (
    Trial(
        THEOREM_2B,
        "theorem_2b_bounded",
        BATCH,
        (*STACK, "clean_angles", "noise_level"),
        measure_stack,
        judge_bounded,
        draw=draw_bounded,
        violations=(
            Violation("Theorem 2b: bounded noise separates", SMALL_SIZES, start_noisy, _noisy(False, False)),
            Violation("Theorem 2b: a threshold separates", SMALL_SIZES, start_noisy, _noisy(True, True)),
        ),
        killed=(Violation(ONE_TERM_CEILING.name, ((2, 2), (3, 2)), start_noisy, _noisy(True, False)),),
        damaged={"OnePointSwapped": damaged.OnePointSwapped},
        on_cells=lambda cell: not cell.mapped and cell.noise != "gaussian",
        part="bounded noise",
    ),
    *(_gaussian(promise) for promise in FAILURES),
)

"""Theorem 2e on trial: noise of any size, deep stacks, at the threshold at which no layer has a false edge."""

import numpy as np

from synthetic.batches.geometry import ClusterKind, Geometry
from synthetic.batches.noise import add_noise
from synthetic.batches.union_of_subspaces import Arrangement
from synthetic.trials import damaged
from synthetic.trials.stacks import BATCH, STACK, cut_of, measure_stack
from synthetic.trials.trial import Cases, Rate, Trial
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.batches.trajectory import Trajectory
from theory.depth_threshold import check_depth_threshold, cross_pairs, depth_threshold
from theory.judging.statements import THEOREM_2E
from theory.judging.verdicts import Verdict

DELTA = 0.05
FEW_BATCHES = 200
KINDS: tuple[ClusterKind, ...] = ("cone", "uniform")


def draw(rng: np.random.Generator) -> Cases:
    """Cones or whole subspaces, orthogonal or oblique, noise from 0 to 30, up to 12 blocks, at tau_L exactly."""
    while True:
        sizes = tuple(int(s) for s in rng.integers(2, 9, size=rng.integers(2, 5)))
        dim, depth = int(rng.integers(1, 4)), int(rng.integers(1, 13))
        # In one dimension a cone is one direction.
        kind, within = KINDS[rng.integers(2)], float(rng.uniform(0.3, 1.0)) if dim > 1 else 1.0
        arrangement: Arrangement = "random" if rng.random() < 0.4 else "orthogonal"
        geometry = Geometry(len(sizes), dim, arrangement, clusters=kind, within_cos=within)
        ambient = len(sizes) * dim + int(rng.integers(10, 200))
        bases = geometry.bases(ambient, int(rng.integers(2**31)))
        kappa = geometry.clean_cosines(bases)[1]
        threshold = depth_threshold(ambient, dim, cross_pairs(len(sizes), sizes), depth, DELTA, kappa)
        if threshold is not None:
            break
    labels = contiguous_labels(sizes)
    level = float(rng.choice((0.0, 10.0 ** rng.uniform(-1.0, 0.3), 10.0 ** rng.uniform(0.3, 1.5))))
    clean = geometry.draw(bases, sizes, rng.spawn(FEW_BATCHES))
    points = add_noise(clean, labels, level, "gaussian", rng.spawn(FEW_BATCHES))
    unit_inputs = bool(rng.random() < 0.5)
    return Cases(
        {
            "points": unit_points(points) if unit_inputs else points,
            "threshold": np.full(FEW_BATCHES, threshold),
            "mixing": 1.0 - rng.random(FEW_BATCHES),
        },
        {"labels": labels, "depth": depth, "unit_inputs": unit_inputs, "needed": threshold},
    )


def judge(cases: Cases, layers: Trajectory) -> Verdict:
    """Exact sharpness at every layer of batches without a false edge."""
    return check_depth_threshold(layers, cut_of(cases), float(cases["needed"]))


def _leaks(_: Cases, layers: Trajectory) -> np.ndarray:
    return np.asarray((layers.false_edges > 0).any(axis=0))


VALUES = (*STACK, "unit_inputs", "needed")
TRIALS = (
    Trial(
        THEOREM_2E,
        "theorem_2e",
        BATCH,
        VALUES,
        measure_stack,
        judge,
        draw=draw,
        damaged=damaged.stacks("DiagonalKept", "RowsNotNormalized"),
        defaults={"unit_inputs": True},
        part="sharpness",
    ),
    Trial(
        THEOREM_2E,
        "theorem_2e_leaks",
        BATCH,
        VALUES,
        measure_stack,
        rate=Rate(DELTA, _leaks),
        draw=draw,
        damaged=damaged.stacks("ThresholdIgnored") | {"OnePointOfAllSwapped": damaged.OnePointOfAllSwapped},
        defaults={"unit_inputs": True},
        part="false edges",
    ),
)

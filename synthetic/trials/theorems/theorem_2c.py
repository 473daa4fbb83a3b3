"""Theorem 2c on trial: clusters that fill their subspaces, at their proved floor, through one block."""

from functools import partial

import numpy as np
import torch

from synthetic.batches.geometry import Geometry
from synthetic.batches.noise import add_noise
from synthetic.measure.one_block import one_block
from synthetic.trials.trial import Cases, Rate, Subject, Trial
from theory.affinity import unit_points
from theory.batch_floor import bounded_connection, gaussian_connection, gaussian_floor
from theory.clusters import contiguous_labels
from theory.statements import THEOREM_2C

DELTA = 0.05
FEW_BATCHES, LARGEST_CLUSTER = 100, 120


def _draw(squared: bool):
    def draw(rng: np.random.Generator) -> Cases:
        """Any noise, at the floor that it leaves; floors of more than LARGEST_CLUSTER points are drawn again."""
        while True:
            clusters, dim, noisy = int(rng.integers(2, 4)), int(rng.integers(2, 4)), bool(rng.random() < 0.5)
            angle = float(np.radians(rng.choice((60.0, 75.0, 90.0))))
            ambient, share = (clusters + 1) * dim + int(rng.integers(0, 8)), float(rng.random())
            if noisy:
                level = 0.15 * share
                size = gaussian_floor(dim, ambient, clusters, angle, level, DELTA, squared) if level > 1e-6 else None
            else:
                level = 0.4 * share * float(np.sin(angle / 4.0))
                size = bounded_connection(angle, level, clusters, DELTA).floor(dim, squared)
            if size is not None and size <= LARGEST_CLUSTER:
                break
        if noisy:
            link = gaussian_connection(ambient, clusters, size, angle, level, DELTA, squared)
        else:
            link = bounded_connection(angle, level, clusters, DELTA)
        arrangement = {} if angle == np.pi / 2 else {"arrangement": "angle", "principal_angle": angle}
        geometry = Geometry(clusters, dim, clusters="uniform", **arrangement)
        labels = contiguous_labels((size,) * clusters)
        clean = geometry.draw(
            geometry.bases(ambient, int(rng.integers(2**31))), (size,) * clusters, rng.spawn(FEW_BATCHES)
        )
        kind = "gaussian" if noisy else ("bounded", "sphere")[rng.integers(2)]
        points = unit_points(add_noise(clean, labels, level, kind, rng.spawn(FEW_BATCHES)))
        return Cases({"points": points}, {"labels": labels, "threshold": link.threshold})

    return draw


def measure_graph(cases: Cases, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Which batches have a false edge, and which a cluster in pieces."""
    points = torch.from_numpy(np.asarray(cases["points"]))
    return subject(points, cases["labels"], float(cases["threshold"]), device=cases.device)


def falls_apart(_: Cases, measured: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Batches that one block does not recover."""
    return measured[0] | measured[1]


def with_threshold(change, squared: bool) -> Subject:
    """One block with another threshold than it was told."""
    return lambda points, labels, threshold, device: one_block(points, labels, change(threshold), squared, device)


def thresholds_that_are_wrong(squared: bool) -> dict[str, Subject]:
    """Blocks whose cut is not the one that the statement is about."""
    return {
        "ThresholdHalved": with_threshold(lambda tau: 0.5 * tau, squared),
        "ThresholdTooHigh": with_threshold(lambda tau: 0.5 + 0.5 * tau, squared),
    }


def _trial(kind: str) -> Trial:
    squared = kind == "squared"
    return Trial(
        THEOREM_2C,
        f"theorem_2c_{kind}",
        ("points",),
        ("labels", "threshold"),
        measure_graph,
        rate=Rate(DELTA, falls_apart),
        draw=_draw(squared),
        subject=partial(one_block, squared=squared),
        damaged=thresholds_that_are_wrong(squared),
        part=kind,
    )


TRIALS = (_trial("signed"), _trial("squared"))

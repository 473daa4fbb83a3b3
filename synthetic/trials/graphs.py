"""What trials of one block's graph share: clusters that fill their subspaces, and what is asked of their graph."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from synthetic.batches.geometry import subspaces_at
from synthetic.batches.noise import NoiseKind, add_noise
from synthetic.measure.one_block import one_block
from synthetic.trials.trial import Cases, Rate, Subject, Trial
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.judging.statements import Statement

DELTA = 0.05
FEW_BATCHES = 100


def filled_subspaces(
    rng: np.random.Generator,
    dim: int,
    ambient: int,
    sizes: tuple[int, ...],
    angle: float,
    level: float,
    kinds: tuple[NoiseKind, ...],
    threshold: float,
) -> Cases:
    """FEW_BATCHES batches of clusters uniform on subspaces at one principal angle, under noise of one of the kinds."""
    geometry, labels = subspaces_at(angle, len(sizes), dim), contiguous_labels(sizes)
    clean = geometry.draw(geometry.bases(ambient, int(rng.integers(2**31))), sizes, rng.spawn(FEW_BATCHES))
    kind = kinds[0] if len(kinds) == 1 else kinds[rng.integers(len(kinds))]
    points = unit_points(add_noise(clean, labels, level, kind, rng.spawn(FEW_BATCHES)))
    return Cases({"points": points}, {"labels": labels, "threshold": threshold})


def graph_key(statement: Statement, squared: bool) -> str:
    """Of the trial of a floor, signed or squared."""
    return f"{statement.name.lower().replace(' ', '_')}_{'squared' if squared else 'signed'}"


def graph_trial(
    statement: Statement, kind: str, draw: Callable[[bool], Callable[[np.random.Generator], Cases]]
) -> Trial:
    """The trial of a floor, signed or squared; ``draw`` of whether signs are ignored is what draws its cases."""
    squared = kind == "squared"
    return Trial(
        statement,
        graph_key(statement, squared),
        ("points",),
        ("labels", "threshold"),
        _measure,
        rate=Rate(DELTA, _falls_apart),
        draw=draw(squared),
        subject=partial(one_block, squared=squared),
        damaged=_thresholds_that_are_wrong(squared),
        part=kind,
    )


def _measure(cases: Cases, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Which batches have a false edge, and which a cluster in pieces."""
    points = torch.from_numpy(np.asarray(cases["points"]))
    return subject(points, cases["labels"], float(cases["threshold"]), device=cases.device)


def _falls_apart(_: Cases, measured: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Batches that one block does not recover."""
    return measured[0] | measured[1]


def _with_threshold(change, squared: bool) -> Subject:
    """One block with another threshold than it was told."""
    return lambda points, labels, threshold, device: one_block(points, labels, change(threshold), squared, device)


def _thresholds_that_are_wrong(squared: bool) -> dict[str, Subject]:
    """Blocks whose cut is not the one that the statement is about."""
    return {
        "ThresholdHalved": _with_threshold(lambda tau: 0.5 * tau, squared),
        "ThresholdTooHigh": _with_threshold(lambda tau: 0.5 + 0.5 * tau, squared),
    }

"""What training is compared with: no stack at all, and stacks whose weights the theory prescribes, on the same batches.

Prescribed weights are the identity (Theorem 2), or W = [U_1 .. U_K]^T, which keeps only the subspaces (Theorem 1's map)
and with them a share K r/D of the noise, so that every noise ceiling rises by sqrt(D/(K r)). Their threshold is the one
that Theorem 2a recommends, or one of a grid if that does better on a few training batches: far beyond the ceilings the
recommended one, which guards against the worst pair, leaves most points without neighbours.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from models.stack import AttentionStack
from synthetic.training.batch_source import BatchSource
from theory.affinity import affinity_matrix
from theory.batch_floor import gaussian_floor
from theory.batches.clusters import as_numpy
from theory.lemmas.pair_law import NOISE_RANGE
from theory.measurements import affinity_sharpness, pair_extremes, recovered
from theory.noise_ceiling import gaussian_extremes, gaussian_persistence, gaussian_separation, recommended_threshold

# A ceiling does not depend on the noise level, but is asked for at every one.
_separation, _persistence = cache(gaussian_separation), cache(gaussian_persistence)


@dataclass(frozen=True)
class NoiseLaw:
    """What the Gaussian functions of theory.noise_ceiling need to know of a source, seen in ``dim`` dimensions.

    Attributes:
        dim: D, or K r behind W.
        scale: noise in these dimensions over noise in all: sqrt(dim/D).
    """

    dim: int
    scale: float
    num_clusters: int
    sizes: tuple[int, ...]
    within: float
    between: float
    delta: float

    @property
    def arguments(self) -> tuple[int, int, tuple[int, ...], float, float, float]:
        return self.dim, self.num_clusters, self.sizes, self.within, self.between, self.delta

    def separation(self) -> float:
        """Noise level, in all D dimensions, up to which one block separates with probability 1 - delta."""
        return _separation(*self.arguments) / self.scale

    def persistence(self) -> float:
        """The same at every depth."""
        return _persistence(*self.arguments) / self.scale

    def threshold(self, noise_level: float) -> float:
        """The threshold that Theorem 2a recommends for this noise."""
        level = float(np.clip(noise_level * self.scale, *NOISE_RANGE))
        return recommended_threshold(*gaussian_extremes(*self.arguments, level), self.sizes)


def law_of_source(source: BatchSource, delta: float, mapped: bool = False) -> NoiseLaw | None:
    """The law of a source's batches, all views together; None where ``mapped`` has no isotropic one: subspaces that are
    oblique, or new in every batch."""
    geometry = source.geometry
    sizes = tuple(size * source.views for size in source.sizes)
    if mapped and (geometry.arrangement != "orthogonal" or source.subspaces == "fresh"):
        return None
    dim = geometry.num_clusters * geometry.subspace_dim if mapped else source.ambient_dim
    within, between = geometry.clean_cosines(source.bases)
    return NoiseLaw(dim, math.sqrt(dim / source.ambient_dim), geometry.num_clusters, sizes, within, between, delta)


def measure_ideal(source: BatchSource, depth: int, batches: int, delta: float) -> dict:
    """Sharpness of the squared affinity and separation, without a stack ("input"), with the identity and with W.

    One row. ``*_separated`` are the shares of batches with alpha > beta where the output is read off, ``*_ceiling`` the
    noise up to which that is proved of one block and, ``*_depth_ceiling``, of every depth.
    """
    drawn = [source.batch(number, evaluation=True) for number in range(batches)]
    points, labels = torch.stack([batch.points for batch in drawn]), as_numpy(drawn[0].classes)
    row: dict = {"noise_level": source.noise_level, "batch_size": source.batch_size}
    row |= _measures("input", points, labels)
    for name, mapped in (("identity", False), ("mapped", True)):
        law = law_of_source(source, delta, mapped)
        if law is None:
            row |= dict.fromkeys((f"{name}_{what}" for what in MEASURES), math.nan)
            continue
        matrix = torch.from_numpy(np.concatenate(list(source.bases), axis=1)) if mapped else None
        trial = torch.stack([source.batch(number).points for number in range(CALIBRATION)])
        thresholds = (law.threshold(source.noise_level), *GRID)
        found = [_through_stack(name, trial, labels, matrix, depth, threshold) for threshold in thresholds]
        best = thresholds[int(np.argmax([measures[f"{name}_sharpness"] for measures in found]))]
        row |= _through_stack(name, points, labels, matrix, depth, best)
        row |= {f"{name}_threshold": best, f"{name}_ceiling": law.separation(),
                f"{name}_depth_ceiling": law.persistence()}  # fmt: skip
    return row | {"batch_floor": batch_floor(source, delta)}


def batch_floor(source: BatchSource, delta: float) -> float:
    """Theorem 2c: the batch size from which on one block with identity weights recovers clusters that fill orthogonal
    subspaces with probability 1 - delta; NaN for other clusters, inf where noise leaves no connection radius."""
    geometry = source.geometry
    if geometry.clusters != "uniform" or geometry.arrangement != "orthogonal" or geometry.subspace_dim < 2:
        return math.nan
    level = float(np.clip(source.noise_level, *NOISE_RANGE))
    floor = gaussian_floor(geometry.subspace_dim, source.ambient_dim, geometry.num_clusters, math.pi / 2, level, delta)
    return math.inf if floor is None else float(floor * geometry.num_clusters)


MEASURES = ("sharpness", "separated", "recovered", "threshold", "ceiling", "depth_ceiling")
# Training batches on which a threshold is chosen, and the thresholds tried beside the recommended one.
CALIBRATION, GRID = 8, tuple(float(v) for v in np.linspace(0.0, 0.9, 19))


def _through_stack(
    name: str, points: torch.Tensor, labels: np.ndarray, matrix: torch.Tensor | None, depth: int, threshold: float
) -> dict:
    """Measures of the tokens that the truncated block of a stack reads; points go through ``matrix`` first."""
    tokens = points if matrix is None else points @ matrix
    return _measures(name, AttentionStack(depth, threshold, normalize="input").tokens(tokens), labels, threshold)


def _measures(name: str, tokens: torch.Tensor, labels: np.ndarray, threshold: float = 0.0) -> dict:
    affinity = affinity_matrix(tokens, threshold, power=2)
    alpha, beta = pair_extremes(tokens, labels)
    return {
        f"{name}_sharpness": float(affinity_sharpness(affinity, labels).mean()),
        f"{name}_separated": float((alpha > beta).double().mean()),
        f"{name}_recovered": float(recovered(affinity, labels).double().mean()),
    }

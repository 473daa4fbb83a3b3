"""One experiment: what a batch is made of, and one cell of it measured and held against the theorems.

A batch goes generator -> noise -> stack -> trajectory -> verdicts here, in this order and without turning back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from models.stack import AttentionStack
from synthetic import seeding
from synthetic.noise import NoiseKind, add_noise
from synthetic.union_of_subspaces import Arrangement, cone_clusters, equiangular_clusters, subspace_bases
from synthetic.union_of_subspaces import uniform_clusters as uniform_on_subspaces
from theory.affinity import unit_points
from theory.clusters import contiguous_labels
from theory.exact_replay import ExactReplay
from theory.inputs import require_count, require_mixing, require_range, require_threshold
from theory.noise_ceiling import check_bounded
from theory.noise_free import check_noise_free
from theory.persistence import admits_threshold, check_persistence
from theory.precision import numerical_threshold
from theory.subspaces import separating_map
from theory.trajectory import Trajectory
from theory.verdicts import Verdict

ClusterKind = Literal["cone", "uniform", "equiangular"]
# Bytes of points generated and held at a time.
TRIAL_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Geometry:
    """Clean clusters (theory.md 0): K clusters in D dimensions, each in its own subspace of dimension r.

    Raises ValueError, naming the field, for anything that cannot be generated.
    """

    num_clusters: int = 8
    """Clusters K, each in its own subspace."""
    subspace_dim: int = 4
    """Dimension r of each subspace."""
    arrangement: Arrangement = "orthogonal"
    """How the subspaces lie: orthogonal, random, or with all principal angles equal (angle)."""
    principal_angle: float | None = None
    """That angle in radians, (0, pi/2]; only and always with arrangement angle."""
    clusters: ClusterKind = "cone"
    """cone: in an angle around a centre; uniform: on the subspace's whole sphere; equiangular: all cosines equal."""
    within_cos: float = 0.9
    """Smallest (equiangular: every) cosine inside a cluster, (-1, 1]."""
    between_cos: float = 0.0
    """Cosine between clusters; equiangular clusters only, the others take theirs from the subspaces."""
    imbalance: float = 1.0
    """Largest cluster over smallest, at least 1; sizes rise geometrically in between."""

    def __post_init__(self) -> None:
        require_count(self.num_clusters, "num_clusters", 2)
        require_count(self.subspace_dim, "subspace_dim", 1)
        require_range(self.within_cos, "within_cos", -1.0, 1.0, closed="right")
        require_range(self.between_cos, "between_cos", -1.0, 1.0)
        require_range(self.imbalance, "imbalance", 1.0, 1e6)
        if self.between_cos != 0.0 and self.clusters != "equiangular":
            raise ValueError(f"between_cos: goes with clusters 'equiangular' only, not with {self.clusters!r}")
        if self.arrangement == "angle":
            if self.principal_angle is None:
                raise ValueError("principal_angle: is required with arrangement 'angle', in (0, pi/2]")
            require_range(self.principal_angle, "principal_angle", 0.0, np.pi / 2.0, closed="right")
        elif self.principal_angle is not None:
            raise ValueError("principal_angle: goes with arrangement 'angle' only")

    def sizes(self, batch_size: int) -> tuple[int, ...]:
        """Points a cluster: as equal as they can be, or rising geometrically up to ``imbalance`` times the smallest.

        Raises:
            ValueError: fewer than two points a cluster.
        """
        require_count(batch_size, "batch_sizes", 2)
        share = np.geomspace(1.0, self.imbalance, self.num_clusters)
        stops = np.round(np.cumsum(share) / share.sum() * batch_size).astype(int)
        sizes = np.sort(np.diff(stops, prepend=0))[::-1]
        if sizes.min() < 2:
            raise ValueError(
                f"batch_sizes: {batch_size} points leave a cluster of {sizes.min()} among "
                f"{self.num_clusters} clusters; every cluster needs at least 2"
            )
        return tuple(int(s) for s in sizes)

    def bases(self, ambient_dim: int, seed: int) -> np.ndarray:
        """The arrangement of subspaces (K, D, r), one for all cells with this ambient dimension."""
        rng = seeding.generator(seed, seeding.ARRANGEMENT, ambient_dim)
        return subspace_bases(
            self.num_clusters, ambient_dim, self.subspace_dim, rng, self.arrangement, self.principal_angle
        )

    def clean_cosines(self, bases: np.ndarray) -> tuple[float, float]:
        """What all clean batches obey: smallest within-cluster and largest cross cosine. Clusters uniform on their
        subspaces obey nothing within (-1), so no ceiling of the cone model applies to them."""
        if self.clusters == "equiangular":
            return self.within_cos, self.between_cos
        overlaps = [np.linalg.norm(a.T @ b, ord=2) for i, a in enumerate(bases) for b in bases[:i]]
        largest = max(overlaps)
        largest = 0.0 if largest < numerical_threshold("float64") else float(min(largest, 1.0))
        return -1.0 if self.clusters == "uniform" else self.within_cos, largest

    def draw(self, bases: np.ndarray, sizes: tuple[int, ...], rngs: list[np.random.Generator]) -> np.ndarray:
        """Clean batches (trials, n, D)."""
        if self.clusters == "equiangular":
            return equiangular_clusters(self.within_cos, self.between_cos, sizes, bases.shape[1], rngs)
        if self.clusters == "uniform":
            return uniform_on_subspaces(bases, sizes, rngs)
        return cone_clusters(bases, sizes, self.within_cos, rngs)


@dataclass(frozen=True)
class Cell:
    """One point of a sweep's grid: a batch size and a noise level, and the stack that its batches go through.

    ``mapped`` cells are Theorem 1's: no noise, oblique (random) subspaces, queries and keys W x, threshold 0.
    ``extremes`` are (alpha, beta) that theory allows at this noise, where it says so; ``control`` names the cells that
    stand beside the grid (synthetic/controls.py).
    """

    index: int
    ambient_dim: int
    sizes: tuple[int, ...]
    noise: NoiseKind
    noise_level: float
    threshold: float
    mapped: bool
    geometry: Geometry
    depth: int
    mixing: float
    trials: int
    seed: int
    extremes: tuple[float, float] | None = None
    control: str = ""

    def __post_init__(self) -> None:
        require_threshold(self.threshold)
        require_mixing(self.mixing)
        require_count(self.trials, "trials", 1)
        require_count(self.depth, "depth", 1)

    @property
    def batch_size(self) -> int:
        return sum(self.sizes)

    @property
    def labels(self) -> np.ndarray:
        return contiguous_labels(self.sizes)

    def batches(self) -> Iterator[np.ndarray]:
        """The cell's batches in chunks (trials, n, D) that fit TRIAL_CHUNK_BYTES."""
        chunk = max(1, TRIAL_CHUNK_BYTES // (8 * self.batch_size * self.ambient_dim))
        for start in range(0, self.trials, chunk):
            yield self.points(range(start, min(start + chunk, self.trials)))

    def points(self, trials: Sequence[int]) -> np.ndarray:
        """Observed unit points (len(trials), n, D) of the given trials; the same whichever are asked for together."""
        clean_rngs, noise_rngs = self.generators(trials)
        clean = self.geometry.draw(self.bases, self.sizes, clean_rngs)
        return unit_points(add_noise(clean, self.labels, self.noise_level, self.noise, noise_rngs))

    def generators(self, trials: Sequence[int]) -> tuple[list[np.random.Generator], list[np.random.Generator]]:
        """Of the clean points and of the noise of each trial."""
        clean, noise = (
            seeding.trial_generators(self.seed, self.index, trials, stream)
            for stream in (seeding.POINTS, seeding.NOISE)
        )
        return clean, noise

    @property
    def bases(self) -> np.ndarray:
        return _bases(self.geometry, self.ambient_dim, self.seed)

    @property
    def clean_angles(self) -> tuple[float, float]:
        """theta_w and theta_b of the clean batches, radians."""
        within, between = self.geometry.clean_cosines(self.bases)
        return float(np.arccos(within)), float(np.arccos(between))

    def query_key_map(self) -> tuple[np.ndarray | None, float]:
        """W and its condition number; (None, 1) for cells without a map."""
        return separating_map(self.bases) if self.mapped else (None, 1.0)


@lru_cache(maxsize=8)
def _bases(geometry: Geometry, ambient_dim: int, seed: int) -> np.ndarray:
    return geometry.bases(ambient_dim, seed)


@dataclass(frozen=True)
class CellResult:
    """A measured cell.

    Attributes:
        trajectory: all layers of all trials.
        admits_threshold: (trials,) the noisy batch satisfies Theorem 2a's hypotheses for some threshold.
        cut: the threshold that the stack applied, max(tau, tau_num).
        verdicts: name -> verdict of the theorems that are checked batch by batch.
        suspects: name -> (trial, points) of a violated verdict's batch, to be kept as a counterexample.
        distinct: batches that differ from all others of the cell.
    """

    trajectory: Trajectory
    admits_threshold: np.ndarray
    cut: float
    verdicts: dict[str, Verdict]
    suspects: dict[str, tuple[int, np.ndarray]]
    distinct: int


StackFactory = Callable[..., AttentionStack]


def run_cell(
    cell: Cell,
    device: str | torch.device = "cpu",
    progress: Callable[[int], object] = lambda trials: None,
    stack_factory: StackFactory = AttentionStack,
) -> CellResult:
    """Generate, propagate and check all trials of a cell.

    Args:
        progress: called with the number of trials done since the last call.
        stack_factory: what builds the stack; tests pass damaged ones to see that the checks notice.
    """
    stack, cut = build_stack(cell.depth, cell.threshold, cell.mixing, *cell.query_key_map(), device, stack_factory)
    parts, seen = [], set()
    for points in cell.batches():
        parts.append(stack.measure(torch.from_numpy(points), cell.labels))
        # First and last point tell batches apart: one is drawn first, one is not.
        seen.update(batch[[0, -1]].tobytes() for batch in points)
        progress(len(points))
    trajectory = Trajectory.join_trials(parts)
    verdicts = check_cell(cell, trajectory, cut)
    suspects = {name: (v.where, cell.points([v.where])[0]) for name, v in verdicts.items() if v.status == "VIOLATED"}
    alpha, beta = trajectory.alpha[0], trajectory.beta[0]
    return CellResult(trajectory, admits_threshold(alpha, beta, cell.sizes), cut, verdicts, suspects, len(seen))


def build_stack(
    depth: int,
    threshold: float,
    mixing: float,
    query_key_map: np.ndarray | None,
    condition: float,
    device: str | torch.device,
    stack_factory: StackFactory = AttentionStack,
) -> tuple[AttentionStack, float]:
    """The stack that cells and counterexamples run, in float64, and the threshold it applies: max(tau, tau_num)."""
    stack = stack_factory(
        depth, threshold, mixing, condition=condition, normalize="input", device=device,
        query_key_map=None if query_key_map is None else torch.from_numpy(query_key_map),
    )  # fmt: skip
    return stack, max(threshold, numerical_threshold("float64", condition))


def check_cell(cell: Cell, trajectory: Trajectory, cut: float) -> dict[str, Verdict]:
    """The theorems that speak about single batches of this cell, held against its measurements."""
    exact = ExactReplay(lambda trial: cell.points([trial])[0], cell.labels, cut, cell.mixing, cell.depth,
                        cell.query_key_map()[0])  # fmt: skip
    if cell.mapped:
        return {"theorem_1": check_noise_free(trajectory, cell.sizes, cut, cell.mixing, exact=exact)}
    verdicts = {
        "theorem_2a": check_persistence(trajectory, cell.sizes, cut, cell.mixing, unit_inputs=True, exact=exact)
    }
    if cell.noise != "gaussian":
        verdicts["theorem_2b_bounded"] = check_bounded(
            trajectory.alpha[0], trajectory.beta[0], *cell.clean_angles, cell.noise_level, cell.sizes
        )
    return verdicts


def oblique(geometry: Geometry) -> Geometry:
    """The geometry with independent random subspaces, for Theorem 1: oblique to each other, points in cones."""
    clusters = "uniform" if geometry.clusters == "uniform" else "cone"
    return replace(geometry, arrangement="random", principal_angle=None, clusters=clusters, between_cos=0.0)

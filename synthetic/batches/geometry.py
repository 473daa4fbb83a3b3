"""Clean clusters on subspaces: what is drawn, how large its clusters are, and which cosines it has at worst."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from synthetic.batches import seeding
from synthetic.batches.union_of_subspaces import Arrangement, cone_clusters, equiangular_clusters, subspace_bases
from synthetic.batches.union_of_subspaces import uniform_clusters as uniform_on_subspaces
from theory.numerics.inputs import require_choice, require_count, require_number
from theory.numerics.limits import LARGEST_BATCH, LARGEST_CLUSTERS, LARGEST_DIM
from theory.numerics.precision import numerical_threshold

ClusterKind = Literal["cone", "uniform", "equiangular"]


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
    """cone: in an angle around a center; uniform: on the subspace's whole sphere; equiangular: all cosines equal."""
    within_cos: float = 0.9
    """Smallest (equiangular: every) cosine inside a cluster, (-1, 1]."""
    between_cos: float = 0.0
    """Cosine between clusters; equiangular clusters only, the others take theirs from the subspaces."""
    imbalance: float = 1.0
    """Largest cluster over smallest, at least 1; sizes rise geometrically in between."""

    def __post_init__(self) -> None:
        require_choice(self.arrangement, "arrangement", get_args(Arrangement))
        require_choice(self.clusters, "clusters", get_args(ClusterKind))
        require_count(self.num_clusters, "num_clusters", 2, LARGEST_CLUSTERS)
        require_count(self.subspace_dim, "subspace_dim", 1, LARGEST_DIM)
        require_number(self.within_cos, "within_cos", -1.0, 1.0, closed="right")
        require_number(self.between_cos, "between_cos", -1.0, 1.0)
        require_number(self.imbalance, "imbalance", 1.0, 1e6)
        if self.between_cos != 0.0 and self.clusters != "equiangular":
            raise ValueError(f"between_cos: goes with clusters 'equiangular' only, not with {self.clusters!r}")
        if self.arrangement == "angle":
            if self.principal_angle is None:
                raise ValueError("principal_angle: is required with arrangement 'angle', in (0, pi/2]")
            require_number(self.principal_angle, "principal_angle", 0.0, np.pi / 2.0, closed="right")
        elif self.principal_angle is not None:
            raise ValueError("principal_angle: goes with arrangement 'angle' only")

    def sizes(self, batch_size: int) -> tuple[int, ...]:
        """Points a cluster: as equal as they can be, or rising geometrically up to ``imbalance`` times the smallest.

        Raises:
            ValueError: fewer than two points a cluster.
        """
        require_count(batch_size, "batch_sizes", 2, LARGEST_BATCH)
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
        largest = max(float(np.linalg.norm(a.T @ b, ord=2)) for i, a in enumerate(bases) for b in bases[:i])
        largest = 0.0 if largest < numerical_threshold("float64") else min(largest, 1.0)
        return -1.0 if self.clusters == "uniform" else self.within_cos, largest

    def draw(self, bases: np.ndarray, sizes: tuple[int, ...], rngs: list[np.random.Generator]) -> np.ndarray:
        """Clean batches (trials, n, D)."""
        if self.clusters == "equiangular":
            return equiangular_clusters(self.within_cos, self.between_cos, sizes, bases.shape[1], rngs)
        if self.clusters == "uniform":
            return uniform_on_subspaces(bases, sizes, rngs)
        return cone_clusters(bases, sizes, self.within_cos, rngs)


def subspaces_at(principal_angle: float, num_clusters: int, subspace_dim: int) -> Geometry:
    """Clusters uniform on subspaces at one principal angle; orthogonal ones, pi/2, need the fewest dimensions."""
    if principal_angle == np.pi / 2:
        return Geometry(num_clusters, subspace_dim, clusters="uniform")
    return Geometry(num_clusters, subspace_dim, "angle", principal_angle, clusters="uniform")


def oblique(geometry: Geometry) -> Geometry:
    """The geometry with independent random subspaces, for Theorem 1: oblique to each other, points in cones."""
    clusters: ClusterKind = "uniform" if geometry.clusters == "uniform" else "cone"
    return replace(geometry, arrangement="random", principal_angle=None, clusters=clusters, between_cos=0.0)

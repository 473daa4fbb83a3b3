"""One block on the subspace model: which batches it recovers, and what Theorems 2c and 2g guarantee of them.

A batch goes generator -> noise -> cosines -> graph -> recovered or not; rows and verdicts are made of the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, subspaces_at
from synthetic.measure.one_block import one_block
from theory.batch_floor import (
    Connection,
    bounded_connection,
    gaussian_connection,
    gaussian_floor,
    gaussian_guarantee,
    is_guaranteed,
)
from theory.judging.rates import RateCell, clopper_pearson, judge_rates
from theory.judging.statements import THEOREM_2C, THEOREM_2G, Statement
from theory.judging.verdicts import Verdict
from theory.numerics.floor_search import climb
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_CLUSTERS, LARGEST_DIM

BatchNoise = Literal["bounded", "sphere", "worst", "gaussian"]


@dataclass(frozen=True)
class SubspaceModel:
    """Clusters uniform on the unit spheres of K subspaces whose principal angles are all equal, under noise.

    Raises ValueError, naming the field, for anything that cannot be generated.
    """

    ambient_dim: int
    num_clusters: int
    subspace_dim: int
    principal_angle: float
    noise: BatchNoise

    def __post_init__(self) -> None:
        require_count(self.subspace_dim, "subspace_dim", 2, LARGEST_DIM)
        require_count(self.num_clusters, "num_clusters", 2, LARGEST_CLUSTERS)
        require_number(self.principal_angle, "principal_angle", 0.0, np.pi / 2, closed="right")
        if self.noise not in ("bounded", "sphere", "worst", "gaussian"):
            raise ValueError(f"noise: must be bounded, sphere, worst or gaussian, got {self.noise!r}")
        self.geometry.bases(self.ambient_dim, 0)

    @property
    def geometry(self) -> Geometry:
        """As the generators take it."""
        return subspaces_at(self.principal_angle, self.num_clusters, self.subspace_dim)

    @property
    def noise_limit(self) -> float:
        """sin(theta_b/4): bounded noise from here on leaves no connection radius."""
        return float(np.sin(self.principal_angle / 4.0))

    def connection(self, cluster_size: int, noise_level: float, delta: float, squared: bool) -> Connection:
        """Threshold, connection radius and target of each cluster."""
        if self.noise == "gaussian":
            return gaussian_connection(
                self.ambient_dim, self.num_clusters, cluster_size, self.principal_angle, noise_level, delta, squared
            )
        return bounded_connection(self.principal_angle, noise_level, self.num_clusters, delta)

    def floor(self, noise_level: float, delta: float, squared: bool) -> int | None:
        """The proved floor, of Gaussian noise the smaller one of Theorems 2c and 2g; None where none is proved."""
        if self.noise == "gaussian":
            return gaussian_floor(self.subspace_dim, self.ambient_dim, self.num_clusters, self.principal_angle,
                                  noise_level, delta, squared)  # fmt: skip
        # Under bounded noise the connection does not depend on the cluster size.
        return self.connection(2, noise_level, delta, squared).floor(self.subspace_dim, squared)

    def lens_floor(self, noise_level: float, delta: float, squared: bool) -> int | None:
        """Theorem 2c's floor alone; None where it has none."""

        def needed(size: int) -> int | None:
            return self.connection(size, noise_level, delta, squared).floor(self.subspace_dim, squared)

        return climb(needed, 3)

    def guarantees(self, cluster_size: int, noise_level: float, delta: float, squared: bool) -> bool:
        """Whether clusters of exactly this size are proved to be recovered."""
        if self.noise == "gaussian":
            return gaussian_guarantee(self.subspace_dim, self.ambient_dim, self.num_clusters, cluster_size,
                                      self.principal_angle, noise_level, delta, squared)  # fmt: skip
        link = self.connection(cluster_size, noise_level, delta, squared)
        return is_guaranteed(link, self.subspace_dim, cluster_size, squared)

    def cell(self, index: int, cluster_size: int, noise_level: float, threshold: float, trials: int, seed: int) -> Cell:
        """The batches, keyed by (seed, index, trial)."""
        return Cell(
            index=index, ambient_dim=self.ambient_dim, sizes=(cluster_size,) * self.num_clusters, noise=self.noise,
            noise_level=noise_level, threshold=threshold, mapped=False, geometry=self.geometry, depth=1, mixing=0.5,
            trials=trials, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True)
class OneBlockTask:
    """A cell to be measured through one block, with its signs or without."""

    cell: Cell
    squared: bool

    @property
    def index(self) -> int:
        """The cell."""
        return self.cell.index


@dataclass(frozen=True)
class OneBlockResult:
    """Of the trials, how many were recovered, had a false edge, had a cluster in pieces; and the first that failed."""

    recovered: int
    false_edges: int
    fragmented: int
    first_failure: int


def run_one_block(task: OneBlockTask) -> OneBlockResult:
    """Generate and measure all trials of a cell."""
    parts = [
        one_block(torch.from_numpy(points), task.cell.labels, task.cell.threshold, task.squared)
        for points in task.cell.batches()
    ]
    false, pieces = (np.concatenate(column) for column in zip(*parts))
    failed = np.flatnonzero(false | pieces)
    return OneBlockResult(
        int(len(false) - failed.size), int(false.sum()), int(pieces.sum()), int(failed[0]) if failed.size else -1
    )


def outcome_columns(result: OneBlockResult, trials: int) -> dict:
    """A row's measured columns: counts, rate of recovery with its 95 % interval, rates of either failure."""
    low, high = clopper_pearson(result.recovered, trials)
    return {
        "trials": trials, "recovered": result.recovered, "recovered_rate": result.recovered / trials,
        "recovered_low": low, "recovered_high": high, "false_edge_rate": result.false_edges / trials,
        "fragmented_rate": result.fragmented / trials, "first_failure": result.first_failure,
    }  # fmt: skip


def floor_cells(rows: Sequence[dict]) -> list[RateCell]:
    """What is promised of every guaranteed cell; those at their floor, where failures are most likely, confirm
    it. Needs the columns of ``outcome_columns``, ``guaranteed``, ``place``, ``floor`` and ``cluster_size``."""
    return [
        RateCell(
            f"at {row['place']}", "recovery", int(row["trials"]) - int(row["recovered"]), int(row["trials"]),
            pool="at the floors" if row["cluster_size"] == row["floor"] else None,
        )
        for row in rows
        if row["guaranteed"]
    ]  # fmt: skip


def by_theorem(rows: Sequence[dict]) -> list[tuple[Statement, list[dict]]]:
    """The rows that Theorem 2c speaks about, and those of 2g: with Gaussian noise, whose guarantees are the better of
    2g's and 2c's. Without those of which there are none."""
    noisy = [row["noise"] == "gaussian" and row["noise_level"] > 0.0 for row in rows]
    parts = [(THEOREM_2C, [row for row, soft in zip(rows, noisy) if not soft]),
             (THEOREM_2G, [row for row, soft in zip(rows, noisy) if soft])]  # fmt: skip
    return [(theorem, own) for theorem, own in parts if own]


def judge_floors(rows: Sequence[dict], delta: float) -> list[Verdict]:
    """A verdict for each theorem that speaks about some of the rows (theory.judging.rates.judge_rates)."""
    return [judge_rates(theorem.name, floor_cells(own), delta) for theorem, own in by_theorem(rows)]

"""Counterexamples: the batch that contradicted a statement, on disk, and replayed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.stack import AttentionStack
from synthetic.experiment import Cell, CellResult, build_stack
from synthetic.fusion_counterexamples import FIELDS as FUSION_FIELDS
from synthetic.fusion_counterexamples import FusionCounterexample, not_a_counterexample, read_values, write_values
from synthetic.one_block import OneBlockTask, floor_cells, one_block
from synthetic.report import rate_cells
from theory.clusters import cluster_layout
from theory.exact_replay import ExactReplay
from theory.inputs import require_points
from theory.noise_ceiling import check_bounded, within_extremes
from theory.noise_free import check_noise_free
from theory.persistence import admits_threshold, check_persistence
from theory.rates import culprits
from theory.verdicts import Status, Verdict

FIELDS = {"statement", "points", "labels", "threshold", "mixing", "depth", "query_key_map", "condition",
          "clean_angles", "noise_level", "extremes", "seed", "cell", "trial"}  # fmt: skip
STATEMENTS = ("theorem_1", "theorem_2a", "theorem_2b_bounded", "theorem_2b_separation", "theorem_2b_persistence",
              "theorem_2b_recovery", "theorem_2b_extremes", "theorem_2c_signed", "theorem_2c_squared")  # fmt: skip


@dataclass(frozen=True)
class Counterexample:
    """All that is needed to see a violation again.

    Attributes:
        statement: one of STATEMENTS.
        points: (n, D) unit observed points; labels (n,).
        query_key_map: W (d, D), or an empty array for none.
        clean_angles: (theta_w, theta_b) in radians, or an empty array where they play no part.
        extremes: (alpha(sigma), beta(sigma)) that theory allows at this noise, or an empty array.
        seed, cell, trial: where the batch was drawn.
    """

    statement: str
    points: np.ndarray
    labels: np.ndarray
    threshold: float
    mixing: float
    depth: int
    query_key_map: np.ndarray
    condition: float
    clean_angles: np.ndarray
    noise_level: float
    extremes: np.ndarray
    seed: int
    cell: int
    trial: int

    def save(self, path: Path) -> None:
        """Write an .npz, whole or not at all."""
        write_values(path, {name: getattr(self, name) for name in FIELDS})

    @staticmethod
    def load(path: Path) -> "Counterexample":
        """Read an .npz; nothing in it is unpickled.

        Raises:
            ValueError: not such a file, damaged, or with contents that make no batch.
        """
        # Files of earlier versions knew no extremes, which their statements do not need.
        fields = {"extremes": np.empty(0), **read_values(path)}
        if set(fields) != FIELDS:
            raise not_a_counterexample(path)
        if fields["statement"] not in STATEMENTS:
            raise ValueError(f"--replay {path}: unknown statement {fields['statement']!r}")
        require_points(fields["points"])
        cluster_layout(fields["labels"], len(fields["points"]))
        return Counterexample(**fields)

    def replay(self, device: str | torch.device = "cpu") -> Verdict:
        """Send the batch through the stack again and check the statement again."""
        if self.statement.startswith("theorem_2c"):
            squared = self.statement.endswith("squared")
            false, pieces = one_block(torch.from_numpy(self.points)[None], self.labels, self.threshold, squared, device)
            return _one_failure(self.statement, bool(false[0] | pieces[0]))
        matrix = self.query_key_map if self.query_key_map.size else None
        stack, cut = build_stack(
            self.depth, self.threshold, self.mixing, matrix, self.condition, device, AttentionStack
        )
        trajectory = stack.measure(torch.from_numpy(self.points)[None], self.labels)
        sizes = cluster_layout(self.labels).sizes

        exact = ExactReplay(lambda trial: self.points, self.labels, cut, self.mixing, self.depth, matrix)
        if self.statement == "theorem_1":
            return check_noise_free(trajectory, sizes, cut, self.mixing, exact=exact)
        if self.statement == "theorem_2a":
            return check_persistence(trajectory, sizes, cut, self.mixing, unit_inputs=True, exact=exact)
        if self.statement == "theorem_2b_bounded":
            return check_bounded(trajectory.alpha[0], trajectory.beta[0], *self.clean_angles, self.noise_level, sizes)
        alpha, beta = trajectory.alpha[0], trajectory.beta[0]
        failed = {
            "theorem_2b_separation": lambda: ~trajectory.separated[0],
            "theorem_2b_persistence": lambda: ~admits_threshold(alpha, beta, sizes),
            "theorem_2b_recovery": lambda: ~trajectory.recovered.all(axis=0),
            "theorem_2b_extremes": lambda: ~within_extremes(alpha, beta, self.extremes),
        }[self.statement]()
        return _one_failure(self.statement, bool(failed[0]))


def replay_file(path: Path, device: str | torch.device = "cpu") -> Verdict:
    """Check a counterexample of any statement again.

    Raises:
        ValueError: not a counterexample file, or a damaged one.
    """
    if read_values(path).get("statement") in FUSION_FIELDS:
        return FusionCounterexample.load(path).replay()
    return Counterexample.load(path).replay(device)


def _one_failure(statement: str, failed: bool) -> Verdict:
    """One failing batch of a rate that was too high, seen again or not."""
    status = Status.VIOLATED if failed else Status.HOLDS
    return Verdict(
        statement, status, float(failed), 0.0, -float(failed), -float(failed), 1, 1, 0,
        f"one failing batch of a rate that was too high; it {'fails again' if failed else 'does not fail'}",
    )  # fmt: skip


def save_suspects(folder: Path, cell: Cell, result: CellResult) -> None:
    """Keep the batches of a cell that violated a statement about single batches."""
    for statement, (trial, points) in result.suspects.items():
        _save(folder, cell, statement, trial, points)


def save_failures(folder: Path, cells: Sequence[Cell], rows: Sequence[dict], delta: float) -> None:
    """Keep one failing batch of every cell whose failure rate contradicts Theorem 2b."""
    promises = rate_cells(rows)
    for index in culprits([cell for cell, _, _ in promises], delta):
        _, row, guarantee = promises[index]
        cell = next(c for c in cells if c.index == row["cell"])
        statement = f"theorem_2b_{guarantee}"
        for trial in range(cell.trials):
            points = cell.points([trial])[0]
            if _example(cell, statement, trial, points).replay().status is Status.VIOLATED:
                _save(folder, cell, statement, trial, points)
                break


def save_batch_failures(
    folder: Path, task_of: Callable[[dict], OneBlockTask], rows: Sequence[dict], delta: float
) -> None:
    """Keep one failing batch of every cell whose failure rate contradicts Theorem 2c; ``task_of`` a row is its task."""
    guaranteed = [row for row in rows if row["guaranteed"]]
    for index in culprits(floor_cells(guaranteed), delta):
        task, trial = task_of(guaranteed[index]), int(guaranteed[index]["first_failure"])
        statement = f"theorem_2c_{'squared' if task.squared else 'signed'}"
        _save(folder, task.cell, statement, trial, task.cell.points([trial])[0])


def _save(folder: Path, cell: Cell, statement: str, trial: int, points: np.ndarray) -> None:
    path = folder / f"counterexample-{statement}-cell{cell.index}-trial{trial}.npz"
    _example(cell, statement, trial, points).save(path)


def _example(cell: Cell, statement: str, trial: int, points: np.ndarray) -> Counterexample:
    matrix, condition = cell.query_key_map()
    return Counterexample(
        statement, points, cell.labels, cell.threshold, cell.mixing, cell.depth,
        np.empty((0, 0)) if matrix is None else matrix, condition, np.array(cell.clean_angles), cell.noise_level,
        np.array(cell.extremes or ()), cell.seed, cell.index, trial,
    )  # fmt: skip

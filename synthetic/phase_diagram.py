"""The phase diagram: recovery over the (noise, points a cluster) plane, with what Theorems 2c and 2g guarantee.

    python -m synthetic.phase_diagram                        bounded and Gaussian noise, two to five minutes
    python -m synthetic.phase_diagram --quick                half a minute, coarser
    python -m synthetic.phase_diagram --affinity squared     signs ignored
    python -m synthetic.phase_diagram --out runs/p --resume  continue an interrupted run
    python -m synthetic.phase_diagram --backend loky --jobs 2    in processes; the same rows

Squares of the plane whose corners disagree, in what was measured or in what is guaranteed, are divided again. Every
measured point inside the guaranteed region is tested against delta.

Exit status: 1 something is violated (a failing batch is kept); others as in all commands (--help).
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from models.stack import resolve_device
from synthetic.runs.backends import Backend, open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import CELLS_ALONE, RunRecorder
from synthetic.runs.statuses import command
from synthetic.runs.tasks import run_tasks
from synthetic.sweeps.failures import save_batch_failures
from synthetic.sweeps.subspace_model import (
    BatchNoise,
    OneBlockResult,
    OneBlockTask,
    SubspaceModel,
    judge_floors,
    outcome_columns,
    run_one_block,
)
from theory.judging.statements import STATEMENTS
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_BATCH, LARGEST_SEED, LARGEST_TRIALS, require_grid
from theory.numerics.whole_files import write_json, write_table

# Squares whose corners differ by more than this in their rate are divided.
RATE_STEP = 0.08
# Noise reaches this far past the level where the connection radius vanishes.
PAST_LIMIT = 1.35


@dataclass(frozen=True)
class PhaseSettings:
    """What the points of a phase diagram depend on. The same settings give the same points on one machine."""

    noises: tuple[BatchNoise, ...] = ("bounded", "gaussian")
    """One panel each: bounded (uniform in the ball), sphere, worst, gaussian."""
    subspace_dim: int = 3
    """Dimension r of the subspaces, at least 2."""
    num_clusters: int = 3
    """Clusters K."""
    principal_angle_deg: float = 90.0
    """Principal angles between the subspaces, degrees, (0, 90]."""
    ambient_dim: int = 64
    """Dimension D; at least K r, or (K + 1) r for angles below 90 degrees."""
    affinity: Literal["signed", "squared"] = "signed"
    """signed: C > tau; squared: |C| > tau."""
    largest_cluster: int = 256
    """Cluster sizes go from 3 to this."""
    coarse: int = 4
    """Squares along each side at first."""
    refinements: int = 3
    """How often a square may be divided."""
    trials: int = 200
    """Batches a point."""
    delta: float = 0.05
    """Failure probability that the guarantee allows."""
    seed: int = 0
    """Every batch is drawn from (seed, point, trial)."""

    def __post_init__(self) -> None:
        if not self.noises or len(set(self.noises)) != len(self.noises):
            raise ValueError(f"noises: give at least one, each once, got {list(self.noises)}")
        require_number(self.principal_angle_deg, "principal_angle_deg", 0.0, 90.0, closed="right")
        require_count(self.largest_cluster, "largest_cluster", 8, LARGEST_BATCH)
        require_count(self.coarse, "coarse", 2, 128)
        require_count(self.refinements, "refinements", 0, 6)
        require_grid(len(self.noises) * (self.coarse * 2**self.refinements + 1) ** 2, ("coarse", "refinements"))
        require_count(self.trials, "trials", 1, LARGEST_TRIALS)
        require_count(self.seed, "seed", 0, LARGEST_SEED)
        require_number(self.delta, "delta", 0.0, 1.0, closed="neither")


# The defaults of --quick.
QUICK = {"refinements": 2, "trials": 100, "largest_cluster": 128}


@dataclass(frozen=True)
class PhaseDiagram(RunOptions, PhaseSettings):
    """Command line of the phase diagram."""

    quick: bool = False
    """Other defaults: two refinements, 100 trials, clusters up to 128. Options that are given win."""


@dataclass(frozen=True)
class Plane:
    """One panel: a lattice of points (i, j) over noise and, logarithmically, cluster size.

    Attributes:
        number: of the panel; points have the index number * 10^8 + i * 10^4 + j on the finest lattice.
        top: largest noise level.
        steps: squares along each side of the finest lattice.
    """

    number: int
    model: SubspaceModel
    top: float
    steps: int
    settings: PhaseSettings

    def index(self, i: int, j: int) -> int:
        return self.number * 10**8 + i * 10**4 + j

    def level(self, i: int) -> float:
        """Noise level of column i."""
        return self.top * i / self.steps

    def size(self, j: int) -> int:
        """Cluster size of row j."""
        return round(3.0 * (self.settings.largest_cluster / 3.0) ** (j / self.steps))

    def task(self, i: int, j: int) -> tuple[OneBlockTask, dict]:
        """What is measured at a point, and its row but for the outcome."""
        s, size, level = self.settings, self.size(j), self.level(i)
        squared = s.affinity == "squared"
        link = self.model.connection(size, level, s.delta, squared)
        guaranteed = self.model.guarantees(size, level, s.delta, squared)
        row: dict = {
            "cell": self.index(i, j), "panel": self.number, "column": i, "line": j, "noise": self.model.noise,
            "noise_level": level, "cluster_size": size, "num_clusters": s.num_clusters,
            "subspace_dim": s.subspace_dim, "affinity": s.affinity, "threshold": link.threshold,
            "radius_deg": float(np.degrees(link.radius)), "guaranteed": guaranteed,
            # Lines of the lattice may round to one size: their batches are others, and so are their places.
            "place": f"{self.model.noise} noise {level:.4g}, m={size}, line {j}",
        }  # fmt: skip
        cell = self.model.cell(self.index(i, j), size, level, link.threshold, s.trials, s.seed)
        return OneBlockTask(cell, squared), row


def build_planes(settings: PhaseSettings) -> list[Plane]:
    """The panels, each with its range of noise.

    Raises:
        ValueError: subspaces that do not fit, named.
    """
    planes = []
    for number, noise in enumerate(settings.noises):
        angle = float(np.radians(settings.principal_angle_deg))
        model = SubspaceModel(settings.ambient_dim, settings.num_clusters, settings.subspace_dim, angle, noise)
        top = min(PAST_LIMIT * _vanishing_noise(model, settings), 10.0 if noise == "gaussian" else 0.95)
        planes.append(Plane(number, model, top, settings.coarse * 2**settings.refinements, settings))
    return planes


def _vanishing_noise(model: SubspaceModel, settings: PhaseSettings) -> float:
    """Noise at which clusters of 8 points have no connection radius left."""
    if model.noise != "gaussian":
        return model.noise_limit

    def radius(log_level: float) -> float:
        link = model.connection(8, float(np.exp(log_level)), settings.delta, settings.affinity == "squared")
        return link.radius - 1e-3

    return float(np.exp(brentq(radius, np.log(1e-4), np.log(10.0), xtol=1e-3)))


Square = tuple[int, int, int]  # column, line, side on the finest lattice


def corners(square: Square) -> list[tuple[int, int]]:
    """Its four lattice points."""
    i, j, side = square
    return [(i, j), (i + side, j), (i, j + side), (i + side, j + side)]


def measure_plane(plane: Plane, recorder: RunRecorder, backend: Backend, measure: Callable) -> list[Square]:
    """Measure a panel, coarse points first; returns the squares that cover it."""
    side = plane.steps // plane.settings.coarse
    squares = [(i, j, side) for i in range(0, plane.steps, side) for j in range(0, plane.steps, side)]
    covering: list[Square] = []
    while squares:
        rows = _measure_points(
            plane, {point for square in squares for point in corners(square)}, recorder, backend, measure
        )
        divided = [square for square in squares if square[2] > 1 and _disagree(plane, square, rows)]
        covering += [square for square in squares if square not in set(divided)]
        squares = [
            (i + a, j + b, half) for i, j, side in divided for half in [side // 2] for a in (0, half) for b in (0, half)
        ]
    return covering


def _disagree(plane: Plane, square: Square, rows: dict[int, dict]) -> bool:
    found = [rows[plane.index(*point)] for point in corners(square)]
    rates = [row["recovered_rate"] for row in found]
    return max(rates) - min(rates) > RATE_STEP or len({bool(row["guaranteed"]) for row in found}) > 1


def _measure_points(
    plane: Plane, points: Iterable[tuple[int, int]], recorder: RunRecorder, backend: Backend, measure: Callable
) -> dict[int, dict]:
    """Measure what is not there yet; returns all rows by index."""
    work = [plane.task(*point) for point in sorted(points)]
    row_of = {task.index: row for task, row in work}

    def store(task: OneBlockTask, result: OneBlockResult) -> None:
        recorder.add({**row_of[task.index], **outcome_columns(result, plane.settings.trials)})

    run_tasks([task for task, _ in work], recorder, backend, measure, store, "point")
    return {int(row["cell"]): row for row in recorder.rows}


def square_rows(plane: Plane, squares: list[Square], rows: dict[int, dict]) -> list[dict]:
    """squares.csv: what the heat map is painted with, each square in the mean color of its corners."""
    return [
        {
            "panel": plane.number, "noise_from": plane.level(i), "noise_to": plane.level(i + side),
            "size_from": plane.size(j), "size_to": plane.size(j + side),
            "recovered_rate": float(np.mean([rows[plane.index(*p)]["recovered_rate"] for p in corners((i, j, side))])),
        }
        for i, j, side in squares
    ]  # fmt: skip


def outline_rows(plane: Plane) -> list[dict]:
    """outline.csv: the proved floor over noise, and Theorem 2c's alone; empty where there is none."""
    s, squared = plane.settings, plane.settings.affinity == "squared"
    table = []
    for i in range(0, plane.steps + 1, max(1, plane.steps // 32)):
        level = plane.level(i)
        floor = plane.model.floor(level, s.delta, squared)
        lens = plane.model.lens_floor(level, s.delta, squared)
        table.append({"panel": plane.number, "noise": plane.model.noise, "noise_level": level,
                      "proved_floor": np.nan if floor is None else float(floor),
                      "lens_floor": np.nan if lens is None else float(lens)})  # fmt: skip
        if floor is None or floor > 100 * s.largest_cluster:
            break
    return table


def with_floors(rows: list[dict]) -> list[dict]:
    """The rows with the smallest guaranteed size that was measured at their noise, where failures are most likely."""
    floors: dict[tuple, int] = {}
    for row in rows:
        if row["guaranteed"]:
            key = (row["panel"], row["column"])
            floors[key] = min(floors.get(key, row["cluster_size"]), row["cluster_size"])
    return [{**row, "floor": floors.get((row["panel"], row["column"]), np.nan)} for row in rows]


def run(options: PhaseDiagram, measure: Callable = run_one_block) -> int:
    """Measure all panels and return the exit status.

    Args:
        measure: what measures a task; tests pass a damaged one to see that the verdict notices.

    Raises:
        ValueError: bad settings, an unusable run folder or scheduler.
        OSError: a file could not be written.
        WorkersLostError: the backend's workers died too often.
    """
    settings = settings_of(options, PhaseSettings)
    planes = build_planes(settings)
    out = options.folder("phase")
    device = resolve_device("cpu")
    squares, outline = [], []
    with open_backend(options, device, options.quick) as backend:
        recorder = RunRecorder(out, asdict(settings), options.resume, device, CELLS_ALONE, options.accept_other_version)
        print(
            f"{len(recorder.finished)} points of {settings.trials} trials already there; results in {out}", flush=True
        )
        for plane in planes:
            covering = measure_plane(plane, recorder, backend, measure)
            squares += square_rows(plane, covering, {int(row["cell"]): row for row in recorder.rows})
            outline += outline_rows(plane)
    write_table(out / "squares.csv", squares)
    write_table(out / "outline.csv", outline)
    rows = with_floors(recorder.rows)
    verdicts = judge_floors(rows, settings.delta)
    save_batch_failures(
        out, lambda row: planes[int(row["panel"])].task(int(row["column"]), int(row["line"]))[0], rows, settings.delta
    )
    write_json(out / "verdicts.json", verdicts)
    guaranteed = sum(bool(row["guaranteed"]) for row in recorder.rows)
    print(f"\n{len(recorder.rows)} points measured, {guaranteed} of them guaranteed")
    for verdict in verdicts:
        print(f"  {verdict}\n      {STATEMENTS[verdict.statement].headline}")
    return finish(out, verdicts, options.figures)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, PhaseDiagram, arguments, "python -m synthetic.phase_diagram", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())

"""The batch sweep: how many points a cluster needs until one block recovers it, against Theorem 2c's and 2g's floors.

    python -m synthetic.sweep_batch                          the default run, a minute or two on two cores
    python -m synthetic.sweep_batch --quick                  a few seconds, coarser
    python -m synthetic.sweep_batch --noise gaussian         Gaussian instead of bounded noise
    python -m synthetic.sweep_batch --out runs/b --resume    continue an interrupted run
    python -m synthetic.sweep_batch --backend loky --jobs 2  in processes; the same rows

For every subspace dimension, principal angle, noise level and kind of affinity (signed, squared) it measures recovery
around the simulated floor and at the proved one; a second part measures how fusion averages noise away (denoising).

Exit status: 1 something is violated; others as in all commands (--help).
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import product

import numpy as np
from tqdm import tqdm

from models.stack import resolve_device
from synthetic.measure.boundaries import rising_crossing_with_interval
from synthetic.runs.backends import open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import CELLS_ALONE, RunRecorder
from synthetic.runs.statuses import command
from synthetic.runs.tasks import run_tasks
from synthetic.sweeps.denoising import DenoisingSettings, judge_denoising, measure_denoising
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
from theory.batch_floor import connectivity_floor
from theory.judging.rates import trials_to_notice
from theory.judging.statements import STATEMENTS
from theory.judging.verdicts import Verdict
from theory.lemmas.connectivity import circle_disconnection_probability
from theory.numerics.inputs import require_count, require_number, require_range
from theory.numerics.limits import LARGEST_CLUSTERS, LARGEST_SEED, LARGEST_TRIALS, require_grid
from theory.numerics.whole_files import write_json, write_table

# Batch sizes around the simulated floor at which recovery is measured.
MULTIPLES = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
QUICK_MULTIPLES = (0.5, 0.75, 1.0, 1.3)
# Failure rate at a floor, in multiples of delta, that is to be noticed.
NOTICED = 1.6


@dataclass(frozen=True)
class BatchSettings:
    """What the rows of a batch sweep depend on. The same settings give the same rows on one machine."""

    subspace_dims: tuple[int, ...] = (2, 3, 4)
    """Dimensions r of the subspaces, at least 2."""
    principal_angles_deg: tuple[float, ...] = (90.0, 60.0)
    """Principal angles between the subspaces, degrees, (0, 90]."""
    noise_shares: tuple[float, ...] = (0.0, 0.25)
    """Noise levels as shares, [0, 1), of sin(theta_b/4), where bounded noise leaves no connection radius."""
    noise: BatchNoise = "bounded"
    """bounded (uniform in the ball), sphere (its surface), worst (turns the closest pairs), gaussian."""
    affinities: tuple[str, ...] = ("signed", "squared")
    """signed: C > tau; squared: |C| > tau."""
    num_clusters: int = 3
    """Clusters K, all of the same size."""
    ambient_dim: int = 32
    """Dimension D of the space; at least K r, or (K + 1) r for angles below 90 degrees."""
    trials: int = 400
    """Batches a cell."""
    floor_trials: int | None = None
    """Batches of the cells at their proved floors, which confirm the theorems. Default: as many as notice, with
    probability 95 %, a failure rate of 1.6 delta at any one floor, but at least trials."""
    delta: float = 0.05
    """Failure probability that the floors allow, for the whole batch; at least K 1e-4."""
    denoise: bool = True
    """Measure denoising as well."""
    denoising: DenoisingSettings = field(default_factory=DenoisingSettings)
    """The denoising part."""
    seed: int = 0
    """Every batch is drawn from (seed, cell, trial)."""

    def __post_init__(self) -> None:
        for name in ("subspace_dims", "principal_angles_deg", "noise_shares", "affinities"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name}: give at least one value, each once, got {list(values)}")
        for angle in self.principal_angles_deg:
            require_range(angle, "principal_angles_deg", 0.0, 90.0, closed="right")
        require_range(np.asarray(self.noise_shares), "noise_shares", 0.0, 1.0, closed="left")
        if set(self.affinities) - {"signed", "squared"}:
            raise ValueError(f"affinities: must be among signed, squared, got {list(self.affinities)}")
        require_grid(
            len(self.subspace_dims) * len(self.principal_angles_deg) * len(self.noise_shares) * len(self.affinities)
            * len(MULTIPLES), ("noise_shares", "subspace_dims", "principal_angles_deg", "affinities"),
        )  # fmt: skip
        clusters = require_count(self.num_clusters, "num_clusters", 2, LARGEST_CLUSTERS)
        require_number(self.delta, "delta", 4e-4 * clusters, 0.5)
        require_count(self.trials, "trials", 1, LARGEST_TRIALS)
        if self.floor_trials is not None:
            require_count(self.floor_trials, "floor_trials", 1, LARGEST_TRIALS)
        require_count(self.seed, "seed", 0, LARGEST_SEED)


# The defaults of --quick.
QUICK = {"subspace_dims": (2, 3), "principal_angles_deg": (60.0,), "noise_shares": (0.0,), "trials": 100,
         "denoise": False}  # fmt: skip


@dataclass(frozen=True)
class SweepBatch(RunOptions, BatchSettings):
    """Command line of the batch sweep."""

    quick: bool = False
    """Other defaults, a small grid: r = 2 and 3, 60 degrees, no noise, 100 trials, four sizes a group, no denoising.
    Options that are given win."""


@dataclass(frozen=True)
class Group:
    """One curve: recovery against cluster size, everything else fixed, with its floors.

    Attributes:
        level: noise level; ``share`` of the limit.
        proved, one_step, simulated, isolated: floors in points per cluster; proved is Stevens' for r = 2;
            the others are of the clean connection radius, NaN where Gaussian noise leaves none.
    """

    number: int
    model: SubspaceModel
    share: float
    level: float
    squared: bool
    proved: int
    one_step: float
    simulated: float
    isolated: float

    @property
    def place(self) -> str:
        """For tables and verdicts."""
        angle, kind = np.degrees(self.model.principal_angle), "squared" if self.squared else "signed"
        return f"r={self.model.subspace_dim}, {angle:g} deg, noise {self.level:.3g}, {kind}"


def build_models(settings: BatchSettings) -> list[SubspaceModel]:
    """The subspace models, one for each dimension and angle.

    Raises:
        ValueError: subspaces that do not fit, named.
    """
    return [
        SubspaceModel(settings.ambient_dim, settings.num_clusters, dim, float(np.radians(degrees)), settings.noise)
        for dim, degrees in product(settings.subspace_dims, settings.principal_angles_deg)
    ]


def build_groups(settings: BatchSettings, models: list[SubspaceModel]) -> list[Group]:
    """All groups with a proved floor, their floors computed."""
    grid = product(models, settings.noise_shares, settings.affinities)
    groups = [_build_group(settings.delta, number, *place)
              for number, place in enumerate(tqdm(list(grid), desc="floors", disable=None))]  # fmt: skip
    return [group for group in groups if group is not None]


def _build_group(delta: float, number: int, model: SubspaceModel, share: float, affinity: str) -> Group | None:
    """None where no floor is proved."""
    level, squared = share * model.noise_limit, affinity == "squared"
    proved = model.floor(level, delta, squared)
    if proved is None:
        return None
    # Under Gaussian noise the radius depends on the cluster size: the other floors are those at the proved one.
    link = model.connection(proved, level, delta, squared)
    others = [connectivity_floor(model.subspace_dim, link.radius, link.delta, squared, method)
              if link.radius > 0.0 else np.nan
              for method in ("one_step", "simulated", "isolated")]  # fmt: skip
    return Group(number, model, share, level, squared, proved, *others)


def group_sizes(group: Group, multiples: tuple[float, ...]) -> list[int]:
    """Cluster sizes of a curve: around the simulated floor, and the proved floor."""
    # Theorem 2g may prove fewer points than the simulation of 2c's graph needs, which has fewer edges.
    middle = np.fmin(group.simulated, group.proved)
    around = {max(2, round(multiple * middle)) for multiple in multiples}
    return sorted({*around, group.proved})


def _task_row(group: Group, index: int, size: int, settings: BatchSettings) -> tuple[OneBlockTask, dict]:
    link = group.model.connection(size, group.level, settings.delta, group.squared)
    dim = group.model.subspace_dim
    row = {
        "cell": index, "group": group.number, "subspace_dim": dim,
        "principal_angle_deg": round(float(np.degrees(group.model.principal_angle)), 9), "noise": group.model.noise,
        "noise_share": group.share, "noise_level": group.level,
        "affinity": "squared" if group.squared else "signed", "num_clusters": group.model.num_clusters,
        "cluster_size": size, "threshold": link.threshold, "radius_deg": float(np.degrees(link.radius)),
        "exact_rate": _exact_rate(group, size, link.radius),
        "floor": group.proved, "guaranteed": size >= group.proved
        and group.model.guarantees(size, group.level, settings.delta, group.squared),
        "place": f"{group.place}, m={size}",
    }  # fmt: skip
    cell = group.model.cell(index, size, group.level, link.threshold, settings.trials, settings.seed)
    return OneBlockTask(cell, group.squared), row


def with_floor_trials(
    work: list[tuple[OneBlockTask, dict]], settings: BatchSettings
) -> list[tuple[OneBlockTask, dict]]:
    """The tasks, those at their floors with the trials that they need (BatchSettings.floor_trials)."""
    guaranteed = sum(row["guaranteed"] for _, row in work)
    trials = settings.trials if settings.floor_trials is None else settings.floor_trials
    if settings.floor_trials is None and guaranteed:
        trials = max(settings.trials, trials_to_notice(NOTICED * settings.delta, settings.delta, guaranteed))
    return [
        (replace(task, cell=replace(task.cell, trials=trials)), row)
        if row["guaranteed"] and row["cluster_size"] == row["floor"]
        else (task, row)
        for task, row in work
    ]


def _exact_rate(group: Group, size: int, radius: float) -> float:
    """Recovery without noise on circles, where Stevens' formula knows it; NaN elsewhere."""
    if group.model.subspace_dim > 2 or group.level > 0.0:
        return float("nan")
    return (1.0 - circle_disconnection_probability(size, radius, group.squared)) ** group.model.num_clusters


def summarize_groups(groups: list[Group], rows: list[dict], delta: float) -> list[dict]:
    """floors.csv: one row a group, proved and practical floors against the measured one (recovery 1 - delta)."""
    table = []
    for group in groups:
        cells = sorted((r for r in rows if r["group"] == group.number), key=lambda r: r["cluster_size"])
        sizes = np.array([r["cluster_size"] for r in cells], dtype=float)
        recovered, trials = ([int(r[column]) for r in cells] for column in ("recovered", "trials"))
        measured, early, late = rising_crossing_with_interval(sizes, recovered, trials, 1.0 - delta)
        measured, early, late = (value if 0.0 < value < np.inf else np.nan for value in (measured, early, late))
        table.append({
            "group": group.number, **{k: cells[0][k] for k in ("subspace_dim", "principal_angle_deg", "noise",
                                                               "noise_level", "affinity", "radius_deg")},
            "proved": group.proved, "one_step": group.one_step, "simulated": group.simulated,
            "isolated": group.isolated, "measured": measured, "measured_low": early, "measured_high": late,
            "tightness": group.proved / measured, "one_step_tightness": group.one_step / measured,
            "simulated_over_measured": group.simulated / measured,
        })  # fmt: skip
    return table


def run(options: SweepBatch, measure: Callable = run_one_block) -> int:
    """Run the sweep and return its exit status.

    Args:
        measure: what measures a task; tests pass a damaged one to see that the verdict notices.

    Raises:
        ValueError: bad settings, an unusable run folder or scheduler.
        OSError: a file could not be written.
        WorkersLostError: the backend's workers died too often.
    """
    settings = settings_of(options, BatchSettings)
    out = options.folder("batch")
    device = resolve_device("cpu")
    models = build_models(settings)
    with open_backend(options, device, options.quick) as backend:
        recorder = RunRecorder(out, asdict(settings), options.resume, device, CELLS_ALONE, options.accept_other_version)
        groups = build_groups(settings, models)
        pairs = [(group, size) for group in groups
                 for size in group_sizes(group, QUICK_MULTIPLES if options.quick else MULTIPLES)]  # fmt: skip
        work = [_task_row(group, index, size, settings) for index, (group, size) in enumerate(pairs)]
        work = with_floor_trials(work, settings)
        done = sum(task.index in recorder.finished for task, _ in work)
        print(f"{len(work)} cells of {settings.trials} trials (at the floors {max(t.cell.trials for t, _ in work):,}), "
              f"{done} already there; results in {out}", flush=True)  # fmt: skip
        row_of = {task.index: row for task, row in work}

        def store(task: OneBlockTask, result: OneBlockResult) -> None:
            recorder.add({**row_of[task.index], **outcome_columns(result, task.cell.trials)})

        run_tasks([task for task, _ in work], recorder, backend, measure, store, "cell", f"of {len(work)} cells")
    floors = summarize_groups(groups, recorder.rows, settings.delta)
    write_table(out / "floors.csv", floors)
    verdicts = judge_floors(recorder.rows, settings.delta)
    tasks = {task.cell.index: task for task, _ in work}
    save_batch_failures(out, lambda row: tasks[row["cell"]], recorder.rows, settings.delta)
    denoising = []
    if settings.denoise:
        denoising = measure_denoising(settings.denoising, settings.seed)
        write_table(out / "denoising.csv", denoising)
        verdicts.append(judge_denoising(denoising, settings.denoising.delta))
    write_json(out / "verdicts.json", verdicts)
    print_report(floors, denoising, verdicts)
    return finish(out, verdicts, options.figures)


def print_report(floors: list[dict], denoising: list[dict], verdicts: list[Verdict]) -> None:
    """Floors of every group, the denoising table, and one verdict a theorem."""
    print("\n r  angle  noise  affinity  radius   measured [95 %]          simulated  isolated  proved  tightness")
    for row in floors:
        print(
            f"{row['subspace_dim']:2d} {row['principal_angle_deg']:5.0f}  {row['noise_level']:5.3f}  "
            f"{row['affinity']:<8} {row['radius_deg']:6.1f}   "
            f"{_measured(row):<24}"
            f"{_points(row['simulated'])} {_points(row['isolated'])} {row['proved']:7d}  {row['tightness']:9.2f}"
        )
    print(
        "points a cluster needs; angle, radius: degrees; measured: recovery 1 - delta; tightness: proved over measured."
    )
    if denoising:
        print("\n    D     m   noise left: bound   measured   bound/measured   angle (deg): bound   measured")
        for row in denoising:
            print(
                f"{row['ambient_dim']:5d} {row['cluster_size']:5d} {row['bound']:19.4f} {row['measured']:10.4f} "
                f"{row['bound'] / row['measured']:16.2f} {row['angle_bound_deg']:20.2f} {row['angle_deg']:10.2f}"
            )
    print("\nVerdicts (statements and proofs are this toolkit's own)")
    for verdict in verdicts:
        print(f"  {verdict}\n      {STATEMENTS[verdict.statement].headline}")


def _points(floor: float) -> str:
    """Right-aligned; a dash where there is none."""
    return f"{'-':>9}" if np.isnan(floor) else f"{floor:9.0f}"


def _measured(row: dict) -> str:
    """A dash where recovery is 1 - delta or more already at the smallest size that was measured, or never is."""
    if np.isnan(row["measured"]):
        return f"{'-':>7}"
    return f"{row['measured']:7.1f} [{row['measured_low']:6.1f}, {row['measured_high']:6.1f}]"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, SweepBatch, arguments, "python -m synthetic.sweep_batch", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())

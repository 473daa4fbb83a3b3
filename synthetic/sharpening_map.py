"""When does a block sharpen? Proposition 5 on equiangular batches, and a map of it on noisy ones.

    python -m synthetic.sharpening_map                       half a minute on two cores
    python -m synthetic.sharpening_map --quick               a few seconds
    python -m synthetic.sharpening_map --threshold .5        another threshold for the third panel

First noisy batches with mean cosines (within, between) go through one plain, one squared and one thresholded ReLU
block: where does the affinity sharpness rise? Then the sign of Proposition 5's margin is held against the measured
change on equiangular batches (p = 1, 1.5, 2, 3, with and without threshold), and the block model against real stacks.

Exit status: 1 something is violated; others as in all commands (--help).
"""

import sys
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch

from models.stack import AttentionStack, resolve_device
from synthetic.batches.prescribed_cosines import draw_batches
from synthetic.runs.backends import open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import RunRecorder, Tables
from synthetic.runs.statuses import command
from synthetic.runs.tasks import announce, run_tasks
from synthetic.trials.registry import trial_of
from synthetic.trials.search import search
from theory.batches.clusters import contiguous_labels
from theory.block_model import ReluAttention, trajectory
from theory.numerics.inputs import require_count, require_mixing, require_number
from theory.numerics.limits import LARGEST_BATCH, LARGEST_CLUSTERS, LARGEST_SEED, LARGEST_TRIALS
from theory.numerics.precision import numerical_threshold
from theory.numerics.whole_files import write_json, write_table

MAP = Tables("map", None)
# The map's axes: mean cosine inside clusters, and, geometrically, between them.
WITHIN, BETWEEN = (0.05, 0.97), (0.003, 0.9)


@dataclass(frozen=True)
class MapSettings:
    """What the rows depend on. The same settings give the same rows on one machine."""

    equiangular_batches: int = 100_000
    """Equiangular batches for Proposition 5, and as many for the block model."""
    num_clusters: int = 4
    """Clusters K of the map."""
    cluster_size: int = 16
    """Points m a cluster of the map."""
    ambient_dim: int = 256
    """Dimension D of the map's batches."""
    steps: int = 20
    """Steps along each axis of the map."""
    threshold: float = 0.3
    """tau of the thresholded block, (0, 1)."""
    mixing: float = 0.5
    """lambda in (0, 1]."""
    trials: int = 20
    """Noisy batches at each point of the map."""
    seed: int = 0
    """Every batch is drawn from (seed, point, trial)."""

    def __post_init__(self) -> None:
        require_count(self.equiangular_batches, "equiangular_batches", 1, LARGEST_TRIALS)
        require_count(self.num_clusters, "num_clusters", 2, LARGEST_CLUSTERS)
        require_count(self.cluster_size, "cluster_size", 2, LARGEST_BATCH)
        require_count(self.steps, "steps", 2, 1000)
        require_number(self.threshold, "threshold", 0.0, 1.0, closed="neither")
        require_mixing(self.mixing)
        require_count(self.trials, "trials", 1, LARGEST_TRIALS)
        require_count(self.seed, "seed", 0, LARGEST_SEED)


# The defaults of --quick.
QUICK = {"equiangular_batches": 5_000, "steps": 10, "trials": 5}


@dataclass(frozen=True)
class SharpeningMap(RunOptions, MapSettings):
    """Command line of the sharpening map."""

    quick: bool = False
    """Other defaults: 5,000 equiangular batches, 10 steps, 5 batches a point. Options that are given win."""


@dataclass(frozen=True)
class Point:
    """One square of the map, measured at its center; ``index`` keys its batches.

    Attributes:
        within, between: mean cosines, each as (from, center, to).
    """

    index: int
    within: tuple[float, float, float]
    between: tuple[float, float, float]


def build_points(settings: MapSettings) -> list[Point]:
    """Squares whose centers have between < within."""
    edges = np.linspace(*WITHIN, settings.steps + 1)
    within = _intervals(edges, 0.5 * (edges[:-1] + edges[1:]))
    edges = np.geomspace(*BETWEEN, settings.steps + 1)
    between = _intervals(edges, np.sqrt(edges[:-1] * edges[1:]))
    pairs = ((w, b) for w in within for b in between if b[1] < w[1])
    return [Point(index, w, b) for index, (w, b) in enumerate(pairs)]


def _intervals(edges: np.ndarray, middles: np.ndarray) -> list[tuple[float, float, float]]:
    return list(zip(edges[:-1].tolist(), middles.tolist(), edges[1:].tolist()))


def blocks_of(settings: MapSettings) -> dict[str, ReluAttention]:
    """The three blocks that the map compares, by name."""
    cut = numerical_threshold("float64")
    return {
        "plain": ReluAttention(cut, 1.0, settings.mixing),
        "squared": ReluAttention(cut, 2.0, settings.mixing),
        "thresholded": ReluAttention(settings.threshold, 1.0, settings.mixing),
    }


def measure_point(point: Point, settings: MapSettings) -> dict:
    """Sharpness in front of and behind each block, measured and predicted."""
    s = settings
    within, between = point.within[1], point.between[1]
    points = draw_batches(
        "noisy", within, between, s.num_clusters, s.cluster_size, s.ambient_dim, s.trials, s.seed, point.index
    )
    labels = contiguous_labels((s.cluster_size,) * s.num_clusters)
    edges = {"within_from": point.within[0], "within_to": point.within[2], "between_from": point.between[0],
             "between_to": point.between[2]}  # fmt: skip
    row: dict = {"cell": point.index, "within": within, "between": between, **edges}
    for name, block in blocks_of(s).items():
        stack = AttentionStack(1, block.threshold, s.mixing, power=block.power, normalize="input")
        sharpness = stack.measure(torch.from_numpy(points), labels).sharpness_mean
        change = sharpness[1] - sharpness[0]
        model = trajectory(within, between, s.num_clusters, s.cluster_size, 1, block).sharpness
        row |= {
            f"{name}_before": float(sharpness[0].mean()), f"{name}_after": float(sharpness[1].mean()),
            f"{name}_error": float(change.std(ddof=1) / np.sqrt(s.trials)) if s.trials > 1 else np.nan,
            f"{name}_model_before": float(model[0]), f"{name}_model_after": float(model[1]),
        }  # fmt: skip
    return row


def boundary_rows(settings: MapSettings, resolution: int = 121) -> list[dict]:
    """boundary.csv: the block model's change of sharpness on a fine grid, for the boundary that figures draw."""
    axes = np.linspace(*WITHIN, resolution), np.geomspace(*BETWEEN, resolution)
    within, between = (v.ravel() for v in np.meshgrid(*axes, indexing="ij"))
    keep = between < within
    w, b = within[keep], between[keep]
    columns = {"within": w, "between": b}
    for name, block in blocks_of(settings).items():
        model = trajectory(w, b, settings.num_clusters, settings.cluster_size, 1, block).sharpness
        columns[name] = model[1] - model[0]
    return [dict(zip(columns, (float(v) for v in values))) for values in zip(*columns.values())]


def agreement(rows: list[dict], name: str) -> tuple[int, int, int]:
    """Points where measured and predicted change agree in sign, where they disagree, and where noise decides: the
    measured change is within two standard errors of 0."""
    agree = differ = unclear = 0
    for row in rows:
        change = row[f"{name}_after"] - row[f"{name}_before"]
        model = row[f"{name}_model_after"] - row[f"{name}_model_before"]
        if not abs(change) > 2.0 * row[f"{name}_error"]:
            unclear += 1
        elif (change > 0) == (model > 0):
            agree += 1
        else:
            differ += 1
    return agree, differ, unclear


def run(options: SharpeningMap) -> int:
    """Check, measure and return the exit status.

    Raises:
        ValueError: bad settings, an unusable run folder.
        OSError: a file could not be written.
    """
    settings = settings_of(options, MapSettings)
    points, out = build_points(settings), options.folder("sharpening")
    measure_point(points[0], replace(settings, trials=1))
    device = resolve_device("cpu")
    with open_backend(options, device, options.quick) as backend:
        recorder = RunRecorder(out, asdict(settings), options.resume, device, MAP, options.accept_other_version)
        announce(points, recorder, "point")
        run_tasks(points, recorder, backend, partial(measure_point, settings=settings),
                  lambda _, row: recorder.add(row), "point")  # fmt: skip
    write_table(out / "boundary.csv", boundary_rows(settings))
    tried = (trial_of("block_model"), trial_of("proposition_5"))
    verdicts = [search(trial, settings.equiangular_batches, settings.seed, out)[0] for trial in tried]
    write_json(out / "verdicts.json", verdicts)
    print(f"\nOf {len(points)} points:  sharpens, measured   predicted   signs agree   differ   within noise")
    for name in blocks_of(settings):
        risen = sum(row[f"{name}_after"] > row[f"{name}_before"] for row in recorder.rows)
        foreseen = sum(row[f"{name}_model_after"] > row[f"{name}_model_before"] for row in recorder.rows)
        agree, differ, unclear = agreement(recorder.rows, name)
        print(f"  {name:<14} {risen:20d} {foreseen:13d} {agree:13d} {differ:8d} {unclear:14d}")
    print("\nVerdicts (statements and proofs are this toolkit's own)")
    for verdict in verdicts:
        print(f"  {verdict}")
    return finish(out, verdicts, options.figures)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, SharpeningMap, arguments, "python -m synthetic.sharpening_map", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())

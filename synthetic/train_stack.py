"""Trained stacks: does every block sharpen, where do they break down, and what does the loss certify?

    python -m synthetic.train_stack                          the default run, two to three minutes on two cores
    python -m synthetic.train_stack --quick                  half a minute
    python -m synthetic.train_stack --ablation loss          losses over three decades of learning rates
    python -m synthetic.train_stack --backend serial         in one process; the same rows
    python -m synthetic.train_stack --out runs/t --resume    continue an interrupted run
    python -m synthetic.train_stack --device cuda            on a GPU

The default run trains TransFusion (supervised, loss on every block) and Deep Fusion (two views, NT-Xent) over noise
levels and batch sizes, and compares their breakdown with stacks of ideal weights and with Theorem 2's ceilings.
Ablations: loss, learning_rate, depth, attention, supervision; at one noise level and batch size, several seeds.

Exit status: 1 something is violated; others as in all commands (--help).
"""

import sys
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from models.environment import require_float64, resolve_device
from models.heads import HeadConfig
from models.losses import Objective
from synthetic.batches.geometry import Geometry
from synthetic.runs.backends import BackendKind, BackendOptions, open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import RunRecorder, Tables
from synthetic.runs.statuses import command
from synthetic.runs.stored_verdicts import verdict_columns, verdict_of_rows
from synthetic.runs.tasks import announce, run_tasks
from synthetic.training.ablations import Ablation, Variant, build_variants
from synthetic.training.batch_source import BatchSource, Subspaces, Supervision
from synthetic.training.ideal_weights import law_of_source, measure_ideal
from synthetic.training.report import breakdown_rows, print_ablation, print_breakdown
from synthetic.training.training import Optimisation, TrainingResult, TrainingTask, train
from theory.judging.statements import THEOREM_4
from theory.lemmas.pair_law import NOISE_RANGE
from theory.numerics.inputs import require_count, require_number, require_range
from theory.numerics.limits import LARGEST_DIM, LARGEST_SEEDS, require_batch
from theory.numerics.whole_files import write_json, write_table

KEY = "theorem_4"
TRAININGS = Tables("trainings", "history", ("cell", "step", "layer"), count="history_rows")
# Noise levels of the default run, as multiples of the separation ceiling of the largest batch, and of ablations.
NOISE_SHARES, ABLATION_SHARE = (0.7, 1.2, 2.0, 2.8, 3.6), (2.4,)


@dataclass(frozen=True)
class TrainSettings:
    """What the rows depend on. The same settings give the same rows on one machine and device, but for times."""

    ablation: Ablation = "none"
    """none: the default run; else what is varied."""
    geometry: Geometry = field(default_factory=lambda: Geometry(num_clusters=6, subspace_dim=3, within_cos=0.8))
    """Clean clusters."""
    ambient_dim: int = 64
    """Dimension D."""
    batch_sizes: tuple[int, ...] | None = None
    """Rows n, all views together. Default: 24, 48 and 96; in ablations 96."""
    noise_levels: tuple[float, ...] | None = None
    """Gaussian noise, E|e|^2 = sigma^2. Default: multiples of the proved separation ceiling."""
    subspaces: Subspaces = "fixed"
    """fixed: weights can learn the subspaces; fresh: new ones in every batch, which only the batch can tell."""
    supervision: Supervision = "labels"
    """labels: the loss knows the clusters; views: it knows which two rows are views of one point."""
    head: HeadConfig = field(default_factory=lambda: HeadConfig(width=32, out_dim=32))
    """The network."""
    objective: Objective = field(default_factory=lambda: Objective(intermediate=1.0))
    """The loss."""
    optimisation: Optimisation = field(default_factory=Optimisation)
    """How it is minimized."""
    seeds: int | None = None
    """Trainings of every kind: seeds 0, 1, ... of the initialization and the batches. Default: 2; in ablations 3."""
    delta: float = 0.05
    """Failure probability that the proved ceilings allow."""

    def __post_init__(self) -> None:
        require_count(self.ambient_dim, "ambient_dim", 2, LARGEST_DIM)
        if self.seeds is not None:
            require_count(self.seeds, "seeds", 1, LARGEST_SEEDS)
        require_number(self.delta, "delta", 0.0, 1.0, closed="neither")
        for name in ("batch_sizes", "noise_levels"):
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) != len(values)):
                raise ValueError(f"{name}: give at least one value, each once, got {list(values)}")
        if self.noise_levels is not None:
            require_range(np.array([v for v in self.noise_levels if v != 0.0]), "noise_levels", *NOISE_RANGE)
        for size in self.batch_sizes or ():
            require_batch(require_count(size, "batch_sizes", 2), self.ambient_dim, "batch_sizes")


# The defaults of --quick; those that depend on other settings are filled in by ``complete``.
QUICK = {"seeds": 1, "optimisation": Optimisation(steps=100, evaluations=2, evaluation_batches=12)}


@dataclass(frozen=True)
class TrainStack(RunOptions, TrainSettings):
    """Command line of the training."""

    device: str = "cpu"
    """Where the networks train: cpu, cuda, cuda:1."""
    backend: BackendKind | None = None
    """By default loky, a process a core, on the CPU, and serial on a GPU."""
    threads: int | None = 1
    """Torch threads of every training; these networks are too small to share."""
    quick: bool = False
    """Other defaults: 100 steps, one batch size, two noise levels, one seed: shows the run, but too few steps to judge
    by. Options that are given win."""

    def backend_on(self, device: torch.device) -> BackendOptions:
        """Where trainings of networks on this device run: also with --quick, and whatever --threads says, since a
        training takes longer than a process to start.

        Raises:
            ValueError: as BackendOptions.
        """
        kind: BackendKind = "loky" if device.type == "cpu" else "serial"
        return BackendOptions(self.backend or kind, self.jobs, self.scheduler, self.threads)


@runtime_checkable
class Trainer(Protocol):
    """What runs a training."""

    def __call__(self, task: TrainingTask, device: torch.device) -> TrainingResult: ...


def complete(settings: TrainSettings, quick: bool) -> TrainSettings:
    """The settings with every default filled in; what is given stays.

    Args:
        quick: the defaults are those of --quick.

    Raises:
        ValueError: no ceiling that noise levels could be multiples of.
    """
    ablation = settings.ablation != "none"
    sizes = settings.batch_sizes or ((96,) if ablation or quick else (24, 48, 96))
    seeds = settings.seeds or (1 if quick else 3 if ablation else 2)
    levels = settings.noise_levels
    if levels is None:
        clean = BatchSource(settings.geometry, settings.ambient_dim, max(sizes), 0.0, "labels", "fixed", 0)
        law = law_of_source(clean, settings.delta)
        ceiling = 0.0 if law is None else law.separation()
        if ceiling == 0.0:
            raise ValueError("noise_levels: give them; for these clusters no noise is proved to be harmless")
        shares = ABLATION_SHARE if ablation else NOISE_SHARES[1::2] if quick else NOISE_SHARES
        levels = tuple(float(f"{share * ceiling:.3g}") for share in shares)
    return replace(settings, batch_sizes=sizes, noise_levels=levels, seeds=seeds)


def _filled(settings: TrainSettings) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Batch sizes, noise levels and seeds of complete settings."""
    sizes, levels, seeds = found = (settings.batch_sizes, settings.noise_levels, settings.seeds)
    if sizes is None or levels is None or seeds is None:
        raise ValueError(f"batch_sizes, noise_levels, seeds: must be given, got {found}")
    return sizes, levels, seeds


def build_tasks(settings: TrainSettings) -> list[TrainingTask]:
    """All trainings: arms x noise levels x batch sizes x seeds. Deep Fusion's trainings of the default run are for the
    largest batch only.

    Raises:
        ValueError: clusters that cannot be generated, named, or settings that ``complete`` has not filled in.
    """
    s, (batch_sizes, levels, seeds) = settings, _filled(settings)
    arms = build_variants(s.ablation, s.head, s.objective, s.supervision, s.optimisation)
    tasks: list[TrainingTask] = []
    kept = (max(batch_sizes), levels[len(levels) // 2])
    for arm in arms:
        sizes = batch_sizes if s.ablation != "none" or arm is arms[0] else (max(batch_sizes),)
        for size, level, seed in ((n, e, i) for n in sizes for e in levels for i in range(seeds)):
            source = BatchSource(s.geometry, s.ambient_dim, size, level, arm.supervision, s.subspaces, seed)
            maps = s.ablation == "none" and seed == 0 and (size, level) == kept
            tasks.append(TrainingTask(len(tasks), arm.name, source, arm.head, arm.objective, arm.optimisation, seed,
                                      _columns(arm), maps))  # fmt: skip
    return tasks


def _columns(arm: Variant) -> dict:
    return {
        "head": arm.head.kind, "supervision": arm.supervision, "intermediate": arm.objective.intermediate, **arm.columns
    }  # fmt: skip


def run(options: TrainStack, trainer: Trainer = train) -> int:
    """Train, compare and return the exit status.

    Args:
        trainer: what runs a training; tests pass a damaged one to see that the verdict notices.

    Raises:
        ValueError: bad settings, an unknown device or one without float64, an unusable run folder or scheduler.
        OSError: a file could not be written.
        WorkersLostError: the backend's workers died too often.
    """
    device = resolve_device(options.device)
    require_float64(device)
    where = options.backend_on(device)
    settings = complete(settings_of(options, TrainSettings), options.quick)
    tasks, out = build_tasks(settings), options.folder("train")
    with open_backend(where, device) as backend:
        recorder = RunRecorder(out, asdict(settings), options.resume, device, TRAININGS, options.accept_other_version)

        def store(task: TrainingTask, result: TrainingResult) -> None:
            if result.maps:
                # Before the row: a training that is finished has all that belongs to it.
                write_table(out / f"maps_{task.head.kind}.csv", result.maps)
            if result.suspect is not None:
                result.suspect.save(out / f"counterexample-theorem_4-{task.index}.npz")
            recorder.add(result.row | verdict_columns(KEY, result.verdict), result.history)

        announce(tasks, recorder, "training")
        run_tasks(tasks, recorder, backend, partial(trainer, device=device), store, "training")
    verdict = verdict_of_rows(recorder.rows, KEY, THEOREM_4.name)
    if settings.ablation == "none":
        ideal = ideal_rows(settings)
        write_table(out / "ideal.csv", ideal)
        write_table(out / "breakdowns.csv", breakdown_rows(recorder.rows, ideal))
        print_breakdown(recorder.rows, ideal)
    else:
        print_ablation(recorder.rows, settings.ablation)
    # Last, so that a folder with verdicts has all tables.
    write_json(out / "verdicts.json", [verdict])
    print(f"\nVerdicts (statements and proofs are this toolkit's own)\n  {verdict}")
    return finish(out, [verdict], options.figures)


def ideal_rows(settings: TrainSettings) -> list[dict]:
    """ideal.csv: the same evaluation batches without a stack and with ideal weights, one row a noise and batch size."""
    s, (batch_sizes, levels, _) = settings, _filled(settings)
    return [
        measure_ideal(BatchSource(s.geometry, s.ambient_dim, n, level, s.supervision, s.subspaces, 0), s.head.depth,
                      s.optimisation.evaluation_batches, s.delta)
        for n in batch_sizes for level in levels
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, TrainStack, arguments, "python -m synthetic.train_stack", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())

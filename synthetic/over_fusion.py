"""Over-fusion: affinity sharpness against depth, for ReLU and softmax attention on the same batches.

    python -m synthetic.over_fusion                          half a minute on two cores
    python -m synthetic.over_fusion --quick                  a few seconds
    python -m synthetic.over_fusion --within-cos .8          other clusters

Theorem 3 (softmax keeps its mass for a certified depth, then falls to chance), Theorem 2a (thresholded ReLU keeps
sharpness 1) and the block model (exact on equiangular batches, a mean-field prediction on noisy ones) are held against
every layer.

Exit status: 1 something is violated; others as in all commands (--help).
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack, resolve_device
from synthetic.batches.prescribed_cosines import BatchKind, draw_batches, mean_cosines
from synthetic.runs.backends import open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import RunRecorder, Tables
from synthetic.runs.statuses import command
from synthetic.runs.stored_verdicts import verdict_columns, verdict_of_rows
from synthetic.runs.tasks import announce, run_tasks
from synthetic.trials.files import Counterexample
from synthetic.trials.registry import trial_of
from theory.batches.clusters import contiguous_labels
from theory.batches.trajectory import SoftmaxTrajectory, Trajectory
from theory.block_model import ReluAttention, SoftmaxAttention, check_exactness, trajectory
from theory.judging.statements import BLOCK_MODEL, THEOREM_2A, THEOREM_3
from theory.judging.verdicts import Status, Verdict
from theory.numerics.inputs import require_count, require_mixing, require_number, require_range
from theory.numerics.limits import LARGEST_BATCH, LARGEST_CLUSTERS, LARGEST_DEPTH, LARGEST_SEED, LARGEST_TRIALS
from theory.numerics.precision import numerical_threshold
from theory.numerics.whole_files import write_json
from theory.persistence import check_persistence, threshold_interval
from theory.softmax_fusion import certified_depth, check_softmax_fusion, mass_cap, spread_caps

CURVES = Tables("curves", "depths")
JUDGED = {"theorem_2a": THEOREM_2A.name, "theorem_3": THEOREM_3.name, "block_model": BLOCK_MODEL.name}


@dataclass(frozen=True)
class FusionSettings:
    """What the rows depend on. The same settings give the same rows on one machine."""

    num_clusters: int = 4
    """Clusters K."""
    cluster_size: int = 16
    """Points m a cluster."""
    ambient_dim: int = 512
    """Dimension D."""
    within_cos: float = 0.8
    """Mean cosine inside a cluster, (0, 1)."""
    between_cos: float = 0.25
    """Mean cosine between clusters, [0, within_cos)."""
    inverse_temperatures: tuple[float, ...] = (4.0, 6.0, 8.0)
    """kappa of the softmax stacks."""
    depth: int = 128
    """Blocks."""
    mixing: float = 0.5
    """lambda in (0, 1]."""
    trials: int = 40
    """Batches of each kind."""
    seed: int = 0
    """Every batch is drawn from (seed, kind, trial)."""

    def __post_init__(self) -> None:
        require_count(self.num_clusters, "num_clusters", 2, LARGEST_CLUSTERS)
        require_count(self.cluster_size, "cluster_size", 2, LARGEST_BATCH)
        require_number(self.within_cos, "within_cos", 0.0, 1.0, closed="neither")
        require_number(self.between_cos, "between_cos", 0.0, self.within_cos, closed="left")
        if not self.inverse_temperatures or len(set(self.inverse_temperatures)) != len(self.inverse_temperatures):
            raise ValueError("inverse_temperatures: give at least one value, each once")
        require_range(np.asarray(self.inverse_temperatures), "inverse_temperatures", 0.0, np.inf, closed="neither")
        require_count(self.depth, "depth", 1, LARGEST_DEPTH)
        require_mixing(self.mixing)
        require_count(self.trials, "trials", 1, LARGEST_TRIALS)
        require_count(self.seed, "seed", 0, LARGEST_SEED)


# The defaults of --quick.
QUICK = {"depth": 64, "trials": 8}


@dataclass(frozen=True)
class OverFusion(RunOptions, FusionSettings):
    """Command line of the over-fusion run."""

    quick: bool = False
    """Other defaults: depth 64, 8 batches. Options that are given win."""


@dataclass(frozen=True)
class Curve:
    """One curve: a kind of attention on a kind of batch.

    Attributes:
        name: of the attention, as figures show it.
        batches: noisy or equiangular.
        kappa: inverse temperature, None for ReLU.
        normalized: tokens are normalized at every block (softmax only; Theorem 3b's form).
        thresholded: ReLU with a threshold that Theorem 2a allows for all batches.
        power: of the ReLU affinity.
    """

    index: int
    name: str
    batches: BatchKind
    kappa: float | None = None
    normalized: bool = False
    thresholded: bool = False
    power: float = 1.0


def build_curves(settings: FusionSettings) -> list[Curve]:
    """All curves, on noisy and on equiangular batches."""
    kinds = [
        partial(Curve, name="ReLU, threshold", thresholded=True), partial(Curve, name="ReLU"),
        partial(Curve, name="ReLU squared", power=2.0),
        *(partial(Curve, name=f"softmax {kappa:g}", kappa=kappa) for kappa in settings.inverse_temperatures),
        *(partial(Curve, name=f"softmax {kappa:g}, normalized", kappa=kappa, normalized=True)
          for kappa in settings.inverse_temperatures),
    ]  # fmt: skip
    drawn: tuple[BatchKind, ...] = ("noisy", "equiangular")
    pairs = [(kind, batches) for batches in drawn for kind in kinds]
    return [kind(index=i, batches=batches) for i, (kind, batches) in enumerate(pairs)]


def measure_curve(
    curve: Curve, settings: FusionSettings, folder: Path | None = None
) -> tuple[dict, list[dict], list[Verdict]]:
    """Row, layers' rows and verdicts of one curve; a batch that contradicts Theorem 3 is kept in ``folder``."""
    s = settings
    # Noisy and equiangular batches are the same for all attentions: keyed by their kind.
    points = draw_batches(curve.batches, s.within_cos, s.between_cos, s.num_clusters, s.cluster_size, s.ambient_dim,
                          s.trials, s.seed, ("noisy", "equiangular").index(curve.batches))  # fmt: skip
    sizes = (s.cluster_size,) * s.num_clusters
    labels, tensor = contiguous_labels(sizes), torch.from_numpy(points)
    n = len(labels)
    within, between = mean_cosines(points, s.num_clusters)
    measured: Trajectory | SoftmaxTrajectory
    model: ReluAttention | SoftmaxAttention
    extra: dict = {}
    if curve.kappa is None:
        threshold = _common_threshold(tensor, labels, sizes) if curve.thresholded else 0.0
        cut = max(threshold, numerical_threshold("float64"))
        stack = AttentionStack(s.depth, threshold, s.mixing, power=curve.power, normalize="input")
        measured, model = stack.measure(tensor, labels), ReluAttention(cut, curve.power, s.mixing)
        sharpness, chance = measured.sharpness_mean, (s.cluster_size - 1) / (n - 1)
        # Equiangular batches attain the cap exactly, which float64 cannot call: there the block model is the check.
        persists = curve.thresholded and curve.batches == "noisy"
        verdicts = [check_persistence(measured, sizes, cut, s.mixing, unit_inputs=True)] if persists else []
    else:
        softened = SoftmaxStack(s.depth, curve.kappa, s.mixing, normalize="every" if curve.normalized else "input")
        measured, model = softened.measure(tensor, labels), SoftmaxAttention(curve.kappa, s.mixing)
        sharpness, chance, threshold = measured.mass_mean, s.cluster_size / n, np.nan
        verdicts = [check_softmax_fusion(measured, sizes, curve.kappa, s.mixing, normalized=curve.normalized)]
        extra = _softmax_bounds(measured, curve.kappa, curve.normalized, s, n)
    if curve.kappa is not None and verdicts[0].status is Status.VIOLATED and folder is not None:
        values = {"points": points[verdicts[0].where], "labels": labels, "inverse_temperature": curve.kappa,
                  "mixing": s.mixing, "depth": s.depth, "normalized": curve.normalized}  # fmt: skip
        Counterexample(trial_of("theorem_3"), values).save(folder / f"counterexample-theorem_3-{curve.index}.npz")
    predicted = trajectory(within, between, s.num_clusters, s.cluster_size, s.depth, model)
    if curve.batches == "equiangular":
        verdicts.append(check_exactness(BLOCK_MODEL.name, (measured.alpha, measured.beta), predicted))
    separated = (measured.alpha > measured.beta).all(axis=1)
    row = {
        "cell": curve.index, "name": curve.name, "batches": curve.batches, "kappa": curve.kappa, "threshold": threshold,
        "normalized": curve.normalized, "chance": chance, "peak_measured": int(sharpness.mean(axis=1).argmax()),
        "peak_predicted": int(predicted.sharpness.mean(axis=1).argmax()),
        "separated_layers": int(separated.argmin()) if not separated.all() else s.depth + 1,
        "certified_layers": extra.pop("certified", np.nan),
    }  # fmt: skip
    told = {verdict.statement: verdict for verdict in verdicts}
    for key, name in JUDGED.items():
        row |= verdict_columns(key, told.get(name))
    error = np.abs(sharpness - predicted.sharpness)
    columns = {
        "sharpness_mean": sharpness.mean(axis=1), "sharpness_low": np.quantile(sharpness, 0.05, axis=1),
        "sharpness_high": np.quantile(sharpness, 0.95, axis=1), "predicted": predicted.sharpness.mean(axis=1),
        "error_mean": error.mean(axis=1), "error_max": error.max(axis=1), "cap": np.full(s.depth + 1, np.nan), **extra,
    }  # fmt: skip
    layers = [{"cell": curve.index, "layer": layer, **{k: float(v[layer]) for k, v in columns.items()}}
              for layer in range(s.depth + 1)]  # fmt: skip
    return row, layers, verdicts


def verdicts_of(rows: list[dict]) -> list[Verdict]:
    """One verdict a statement, on all curves.

    Raises:
        ValueError: rows of an earlier version, without the verdicts' columns.
    """
    return [verdict_of_rows(rows, key, name) for key, name in JUDGED.items()]


def _common_threshold(points: torch.Tensor, labels: np.ndarray, sizes: tuple[int, ...]) -> float:
    """The middle of the thresholds that Theorem 2a allows for all batches; 0 where there is none."""
    first: Trajectory = AttentionStack(1, normalize="input").measure(points, labels)
    interval = threshold_interval(float(first.alpha[0].min()), float(first.beta[0].max()), sizes)
    return 0.0 if interval is None else 0.5 * sum(interval)


def _softmax_bounds(measured: SoftmaxTrajectory, kappa: float, normalized: bool, s: FusionSettings, n: int) -> dict:
    """Theorem 3's bounds for the worst of the batches: the mass's cap by layer and the certified number of layers."""
    alpha, beta, gamma = (v[0] for v in (measured.alpha, measured.beta, measured.min_cross))
    bounds: dict = {}
    lowest = float(np.minimum(alpha, gamma).min())
    if lowest > 0.0:
        caps = spread_caps(lowest, kappa, s.depth, s.mixing, n if normalized else None)
        bounds["cap"] = mass_cap(caps, kappa, s.cluster_size, n)
    if normalized and (alpha >= gamma).all():
        bounds["certified"] = min(
            certified_depth(a, b, g, kappa, s.cluster_size, n, s.mixing) for a, b, g in zip(alpha, beta, gamma)
        )
    return bounds


def print_report(rows: list[dict], layers: list[dict], verdicts: list[Verdict]) -> None:
    """One line a curve, and the verdicts."""
    print(
        "\nattention               batches       first   peak @ layer (model)   layer 16     last   chance  separated  "
        "certified   model's error"
    )
    for row in rows:
        own = [layer for layer in layers if layer["cell"] == row["cell"]]
        values = [layer["sharpness_mean"] for layer in own]
        certified = "-" if np.isnan(row["certified_layers"]) else f"{row['certified_layers']:.0f}"
        print(
            f"{row['name']:<23} {row['batches']:<12} {values[0]:.4f}   {max(values):.4f} @ {row['peak_measured']:>3} "
            f"({row['peak_predicted']:>3})     {values[min(16, len(values) - 1)]:.4f}   {values[-1]:.4f}    "
            f"{row['chance']:.3f} {row['separated_layers']:9d} {certified:>10}         "
            f"{max(layer['error_mean'] for layer in own):.1e}"
        )
    print(
        "normalized: tokens are made unit vectors at every block; first, peak, last: mean sharpness (softmax: "
        "mass, oneself\nincluded); separated: consecutive layers, input included, with alpha > beta in all batches; "
        "certified:\nhow many of them Theorem 3b guarantees; model's error: of the mean sharpness, at the worst layer."
    )
    print("\nVerdicts (statements and proofs are this toolkit's own)")
    for verdict in verdicts:
        print(f"  {verdict}")


def run(options: OverFusion) -> int:
    """Measure every curve and return the exit status.

    Raises:
        ValueError: bad settings, an unusable run folder.
        OSError: a file could not be written.
    """
    settings = settings_of(options, FusionSettings)
    curves, out = build_curves(settings), options.folder("fusion")
    draw_batches("equiangular", settings.within_cos, settings.between_cos, settings.num_clusters,
                 settings.cluster_size, settings.ambient_dim, 1, 0, 0)  # fmt: skip
    device = resolve_device("cpu")
    with open_backend(options, device, options.quick) as backend:
        recorder = RunRecorder(out, asdict(settings), options.resume, device, CURVES, options.accept_other_version)

        def store(_: Curve, result: tuple[dict, list[dict], list[Verdict]]) -> None:
            recorder.add(*result[:2])

        announce(curves, recorder, "curve")
        run_tasks(curves, recorder, backend, partial(measure_curve, settings=settings, folder=out), store, "curve")
    summary = verdicts_of(recorder.rows)
    write_json(out / "verdicts.json", summary)
    print_report(recorder.rows, recorder.details, summary)
    return finish(out, summary, options.figures)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, OverFusion, arguments, "python -m synthetic.over_fusion", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())

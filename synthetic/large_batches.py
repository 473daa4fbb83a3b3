"""Large batches: what tiling costs where whole matrices fit too, and the memory and time it needs beyond.

    python -m synthetic.large_batches                             n = 1,024 .. 65,536, then ratios up to n = 8,192
    python -m synthetic.large_batches --sizes 1024 4096 --dtype float32
    python -m synthetic.large_batches --work train                loss and gradients instead of measurements
    python -m synthetic.large_batches --device cuda --dtype float32 --sizes 65536 262144 1048576

First, in a fresh process each, seconds and peak memory of every size, width and depth, beside the bytes of a single
n x n matrix and the time that the layers' bare products would take at the speed that a product of 2,048 x 2,048 numbers
reaches in that process; and how cost grows with each of the three: slopes of log seconds with their standard errors,
beside those of the products' count. Then the time of tiled over dense passes, in turn, ratios taken round by round: all
layers with all measurements, and a training step (stack, affinity loss, gradients of the points).

Exit status: as in all commands (--help), never 1.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor

from models.devices.timing import in_turn, wait_for
from models.environment import resolve_device
from models.losses import affinity_jsd, affinity_jsd_from_points
from models.stack import AttentionStack
from models.tiled import choose_square_side, choose_tile_rows
from synthetic.benchmark import CLUSTERS, SUBSPACE_DIM, make_batches
from synthetic.runs.options import finish
from synthetic.runs.records import RunRecorder
from synthetic.runs.statuses import command
from theory.affinity import target_affinity
from theory.numerics.commands import DONE
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_ROUNDS, require_batch
from theory.numerics.whole_files import write_table

AMBIENT_DIM = 128
SIZES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
# Up to here whole matrices fit everywhere, with the few copies that a dense backward pass keeps.
LARGEST_DENSE = 8192
# Where the products' speed is measured: large enough to reach it, small enough to take no time.
PRODUCT_SIZE, PRODUCT_ROUNDS = 2048, 7
# Work that takes less is repeated for as long, and its median time taken.
REPEAT_SECONDS = 1.0
# Points that a slope needs for a standard error.
FEWEST_POINTS = 3
Axis = Literal["n", "ambient_dim", "depth"]
# (name of a table, its rows so far)
Keep = Callable[[str, list[dict]], None]
AXES: dict[Axis, str] = {"n": "points", "ambient_dim": "coordinates", "depth": "blocks"}


@dataclass(frozen=True)
class LargeBatchOptions:
    """Command line of the large batches."""

    sizes: tuple[int, ...] = SIZES
    """Batch sizes, multiples of 8 (the clusters), at 128 coordinates."""
    dtype: Literal["float64", "float32"] = "float64"
    """Precision of the stack."""
    depth: int = 4
    """Blocks of the stack."""
    dims: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Coordinates of the points, for the slope; none leaves it out."""
    depths: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Blocks of the stack, for the slope; none leaves it out."""
    slope_size: int = 4096
    """Batch size at which coordinates and blocks vary."""
    noise: float = 0.5
    """Gaussian noise of the batches, as a multiple of the separation ceiling."""
    work: Literal["measure", "train"] = "measure"
    """What the table of sizes is about: all measurements, or a training step."""
    rounds: int = 5
    """Rounds of the comparison with dense passes, in each of which everything has its turn; 0 leaves it out."""
    device: str = "cpu"
    """Where the stack computes: cpu, cuda, cuda:1."""
    out: Path | None = None
    """Folder for memory.csv, slopes.csv, their figure, and ratios.csv."""


@dataclass(frozen=True)
class Shape:
    """What a cost depends on, and which of the three numbers varies."""

    axis: Axis
    n: int
    ambient_dim: int
    depth: int

    @property
    def product_flops(self) -> float:
        """Of the products that any implementation needs: cosines at every layer, mixing at all but the last."""
        return (2 * self.depth + 1) * 2.0 * self.n**2 * self.ambient_dim


class DenseStack(AttentionStack):
    """Never tiled, however large the batch."""

    def rows_of_tiles(self, tokens: Tensor) -> None:
        return None


class TiledStack(AttentionStack):
    """Always tiled, however small the batch."""

    def rows_of_tiles(self, tokens: Tensor) -> int:
        return choose_tile_rows(tokens)


@dataclass(frozen=True)
class LargeBatch:
    """One batch and the stack for it."""

    points: Tensor
    labels: np.ndarray
    threshold: float
    depth: int

    @staticmethod
    def draw(shape: Shape, options: LargeBatchOptions) -> "LargeBatch":
        """A batch (1, n, D) in the options' precision and on their device."""
        points, labels, threshold = make_batches((1, shape.n, shape.ambient_dim), options.noise)
        tensor = torch.from_numpy(points).to(getattr(torch, options.dtype)).to(options.device)
        return LargeBatch(tensor, labels, threshold, shape.depth)

    def stack(self, kind: type[AttentionStack] = AttentionStack) -> AttentionStack:
        return kind(self.depth, self.threshold, dtype=self.points.dtype, device=self.points.device)

    def train(self, stack: AttentionStack) -> Tensor:
        """Gradient (n, D) of the affinity loss of the truncated output; dense where the stack is a DenseStack."""
        points = self.points[0].clone().requires_grad_()
        if isinstance(stack, DenseStack):
            target = torch.from_numpy(target_affinity(self.labels)).to(points)
            loss = affinity_jsd(stack(points), target)
        else:
            tokens = stack.tokens(points)
            rows = stack.rows_of_tiles(tokens)
            loss = affinity_jsd_from_points(tokens, self.labels, self.threshold, tile_rows=rows)
        loss.backward()
        assert points.grad is not None
        return points.grad


def compare(n: int, options: LargeBatchOptions) -> dict:
    """Time of tiled over dense passes at one size: medians and extremes over the rounds, and seconds of both."""
    batch = LargeBatch.draw(Shape("n", n, AMBIENT_DIM, options.depth), options)
    dense, tiled = batch.stack(DenseStack), batch.stack(TiledStack)
    row: dict = {"n": n, "dtype": options.dtype}
    for name, work in (("measure", lambda stack: stack.measure(batch.points, batch.labels)), ("train", batch.train)):
        runs = {"dense": partial(work, dense), "tiled": partial(work, tiled)}
        times = in_turn(runs, options.rounds, batch.points.device)
        ratio, _ = times["tiled"].over(times["dense"])
        row |= {f"{name}_{kind}_s": float(np.median(each.wall)) for kind, each in times.items()}
        row |= {f"{name}_ratio": ratio.median, f"{name}_ratio_min": ratio.low, f"{name}_ratio_max": ratio.high}
    return row


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, with all that it has asked of the device."""
    wait_for(device)
    begun = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - begun


def product_speed(like: Tensor) -> float:
    """Floating-point operations a second of a product of square matrices, in a tensor's dtype and on its device: the
    best of some."""
    factor = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=like.dtype, device=like.device)
    factor @ factor
    return 2.0 * PRODUCT_SIZE**3 / min(_seconds(lambda: factor @ factor, like.device) for _ in range(PRODUCT_ROUNDS))


def need(shape: Shape, options: LargeBatchOptions) -> dict:
    """Seconds and peak memory of one batch; to be run in a fresh process, whose whole peak it reports."""
    batch = LargeBatch.draw(shape, options)
    stack, device, small = batch.stack(), batch.points.device, slice(0, None, max(shape.n // (8 * CLUSTERS), 1))

    def work(points: Tensor, labels: np.ndarray) -> None:
        part = replace(batch, points=points, labels=labels)
        if options.work == "train":
            part.train(stack)
        else:
            stack.measure(points, labels)

    # Threads, libraries and the device start with a few points, besides the speed.
    work(batch.points[:, small], batch.labels[small])
    spent: list[float] = []
    speed, busy = product_speed(batch.points), time.process_time()
    while not spent or sum(spent) < REPEAT_SECONDS:
        spent.append(_seconds(lambda: work(batch.points, batch.labels), device))
    busy = time.process_time() - busy
    tile_rows = stack.rows_of_tiles(batch.points)
    if tile_rows is not None and options.work == "measure":
        tile_rows = choose_square_side(batch.points)
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        **asdict(shape),
        "dtype": options.dtype,
        "work": options.work,
        "tile_rows": 0 if tile_rows is None else tile_rows,
        "seconds": float(np.median(spent)),
        "cpu_seconds": busy / len(spent),
        "product_seconds": shape.product_flops / speed,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device_peak_mib": on_device / 2**20,
        "one_matrix_mib": shape.n * shape.n * batch.points.element_size() / 2**20,
    }


def slopes(rows: list[dict]) -> list[dict]:
    """slopes.csv: how the logarithm of the seconds grows with that of n, D and depth, least squares; of batches that go
    in tiles alone where the size varies, since others are worked on in another way."""
    found = []
    for axis in AXES:
        own = [row for row in rows if row["axis"] == axis and (axis != "n" or row["tile_rows"])]
        if len({row[axis] for row in own}) < FEWEST_POINTS:
            continue
        size = np.log([row[axis] for row in own])
        fit = linregress(size, np.log([row["seconds"] for row in own]))
        counted = linregress(size, np.log([Shape(axis, row["n"], row["ambient_dim"], row["depth"]).product_flops
                                           for row in own]))  # fmt: skip
        found.append({
            "axis": axis, "points": len(own), "slope": fit.slope, "standard_error": fit.stderr,
            "intercept": fit.intercept, "products": counted.slope,
        })  # fmt: skip
    return found


def dense_sizes(options: LargeBatchOptions) -> list[int]:
    """Sizes of the second table."""
    return [n for n in options.sizes if n <= LARGEST_DENSE] if options.rounds else []


def _print_comparison(options: LargeBatchOptions, keep: Keep) -> None:
    sizes = dense_sizes(options)
    if sizes:
        print(f"Tiled over dense, median [min, max] of {options.rounds} rounds; seconds are medians")
        print("     n   measure: dense    tiled   ratio                 train: dense    tiled   ratio")
    rows = []
    for n in sizes:
        row = compare(n, options)
        cells = "       ".join(
            f"{row[f'{name}_dense_s']:12.3f} {row[f'{name}_tiled_s']:8.3f}   {row[f'{name}_ratio']:.2f} "
            f"[{row[f'{name}_ratio_min']:.2f}, {row[f'{name}_ratio_max']:.2f}]"
            for name in ("measure", "train")
        )
        print(f"{n:6d}   {cells}", flush=True)
        rows.append(row)
        keep("ratios", rows)


def shapes(options: LargeBatchOptions) -> list[Shape]:
    """All batches of the first table: sizes, then widths, then depths."""
    return [
        *(Shape("n", n, AMBIENT_DIM, options.depth) for n in options.sizes),
        *(Shape("ambient_dim", options.slope_size, dim, options.depth) for dim in options.dims),
        *(Shape("depth", options.slope_size, AMBIENT_DIM, depth) for depth in options.depths),
    ]


def _print_needs(options: LargeBatchOptions, keep: Keep) -> list[dict]:
    what = "all measurements" if options.work == "measure" else "a training step"
    where = "process / device" if options.device != "cpu" else "process"
    print(f"Time and peak memory of a fresh {where}: {what}; products: what the bare ones would take")
    print("      n     D   depth   tile rows   seconds   products       peak memory   one n x n matrix")
    rows = []
    for shape in shapes(options):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(need, shape, options).result()
        peak = f"{row['peak_mib']:.0f}" + (f" / {row['device_peak_mib']:.0f}" if options.device != "cpu" else "")
        shown = f"{row['n']:7d} {row['ambient_dim']:5d}   {row['depth']:5d}   {row['tile_rows'] or 'dense':>9}   "
        shown += f"{row['seconds']:7.2f}   {row['product_seconds']:8.2f}   {peak:>11} MiB   "
        print(f"{shown}{row['one_matrix_mib']:12.0f} MiB", flush=True)
        rows.append(row)
        keep("memory", rows)
    return rows


def _print_slopes(found: list[dict]) -> None:
    for row in found:
        print(
            f"seconds grow with the {AXES[row['axis']]} to the power {row['slope']:.2f} +- {row['standard_error']:.2f} "
            f"({row['points']} of them; the products' count: {row['products']:.2f})"
        )


def run(options: LargeBatchOptions) -> int:
    """Measure, print and store.

    Raises:
        ValueError: bad options.
        OSError: the folder cannot be written.
    """
    require_count(options.rounds, "rounds", 0, LARGEST_ROUNDS)
    require_count(options.depth, "depth", 1, LARGEST_DEPTH)
    require_number(options.noise, "noise", 0.0, 1.0)
    if not options.sizes:
        raise ValueError("sizes: give at least one value")
    for dim in options.dims:
        require_count(dim, "dims", CLUSTERS * SUBSPACE_DIM)
    for depth in options.depths:
        require_count(depth, "depths", 1, LARGEST_DEPTH)
    for shape in shapes(options):
        name = "sizes" if shape.axis == "n" else "slope_size"
        require_batch(require_count(shape.n, name, 2 * CLUSTERS), shape.ambient_dim, name, depth=shape.depth)
        if shape.n % CLUSTERS:
            raise ValueError(f"{name}: must be multiples of {CLUSTERS}, got {shape.n}")
    device = resolve_device(options.device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda, measurements need float64, got {device}")
    recorder = None
    if options.out is not None:
        settings = {k: v for k, v in asdict(options).items() if k != "out"}
        recorder = RunRecorder(options.out, settings, False, device)

    def keep(name: str, rows: list[dict]) -> None:
        # Rewritten whole after every row: what is interrupted loses the row under way.
        if recorder is not None and rows:
            write_table(recorder.path / f"{name}.csv", rows)

    print(f"{options.dtype}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    # First the processes: one that is started by a large process counts its starter's peak as its own.
    grown = slopes(_print_needs(options, keep))
    _print_slopes(grown)
    keep("slopes", grown)
    _print_comparison(options, keep)
    return DONE if recorder is None else finish(recorder.path, [], True)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, LargeBatchOptions, arguments, "python -m synthetic.large_batches", __doc__)


if __name__ == "__main__":
    sys.exit(main())

"""Large batches: what tiling costs where whole matrices fit too, and the memory and time it needs beyond.

    python -m synthetic.large_batches                             n = 1,024 .. 65,536, then ratios up to n = 8,192
    python -m synthetic.large_batches --sizes 1024 4096 --dtype float32
    python -m synthetic.large_batches --work train                loss and gradients instead of measurements

First, for every size and in a fresh process each, seconds and peak memory, beside the bytes of a single n x n matrix.
Then the time of tiled over dense passes, in turn, ratios taken round by round: all layers with all measurements, and a
training step (stack, affinity loss, gradients of the points).

Exit status: as in all commands (--help), never 1.
"""

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from models.losses import affinity_jsd, affinity_jsd_from_points
from models.stack import AttentionStack
from models.tiled import choose_tile_rows
from synthetic.benchmark import CLUSTERS, make_batches, seconds
from synthetic.runs.records import RunRecorder
from synthetic.runs.statuses import command
from theory.affinity import target_affinity
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_ROUNDS, require_batch
from theory.numerics.whole_files import write_table

AMBIENT_DIM = 128
SIZES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
# Up to here whole matrices fit everywhere, with the few copies that a dense backward pass keeps.
LARGEST_DENSE = 8192


@dataclass(frozen=True)
class LargeBatchOptions:
    """Command line of the large batches."""

    sizes: tuple[int, ...] = SIZES
    """Batch sizes, multiples of 8 (the clusters)."""
    dtype: Literal["float64", "float32"] = "float64"
    """Precision of the stack."""
    depth: int = 4
    """Blocks of the stack."""
    noise: float = 0.5
    """Gaussian noise of the batches, as a multiple of the separation ceiling."""
    work: Literal["measure", "train"] = "measure"
    """What the table of sizes is about: all measurements, or a training step."""
    rounds: int = 5
    """Rounds of the comparison with dense passes, each of which runs everything once; 0 leaves it out."""
    out: Path | None = None
    """Folder for memory.csv and ratios.csv."""


class DenseStack(AttentionStack):
    """Never tiled, however large the batch."""

    def rows_of_tiles(self, tokens: Tensor) -> None:
        return None


@dataclass(frozen=True)
class LargeBatch:
    """One batch and the stack for it."""

    points: Tensor
    labels: np.ndarray
    threshold: float
    depth: int

    @staticmethod
    def draw(n: int, options: LargeBatchOptions) -> "LargeBatch":
        """A batch (1, n, 128) in the options' precision."""
        points, labels, threshold = make_batches((1, n, AMBIENT_DIM), options.noise)
        tensor = torch.from_numpy(points).to(getattr(torch, options.dtype))
        return LargeBatch(tensor, labels, threshold, options.depth)

    def stack(self, kind: type[AttentionStack] = AttentionStack, tile_rows: int | None = None) -> AttentionStack:
        return kind(self.depth, self.threshold, dtype=self.points.dtype, tile_rows=tile_rows)

    def train(self, stack: AttentionStack) -> Tensor:
        """Gradient (n, D) of the affinity loss of the truncated output; dense where the stack is a DenseStack."""
        points = self.points[0].clone().requires_grad_()
        if isinstance(stack, DenseStack):
            target = torch.from_numpy(target_affinity(self.labels)).to(points.dtype)
            loss = affinity_jsd(stack(points), target)
        else:
            tokens = stack.tokens(points)
            loss = affinity_jsd_from_points(tokens, self.labels, self.threshold, tile_rows=stack.tile_rows)
        loss.backward()
        return points.grad


def compare(n: int, options: LargeBatchOptions) -> dict:
    """Time of tiled over dense passes at one size: medians and extremes over the rounds, and seconds of both."""
    batch = LargeBatch.draw(n, options)
    dense, tiled = batch.stack(DenseStack), batch.stack(tile_rows=choose_tile_rows(batch.points))
    row = {"n": n, "dtype": options.dtype}
    for name, work in (("measure", lambda stack: stack.measure(batch.points, batch.labels)), ("train", batch.train)):
        runs = [partial(work, dense), partial(work, tiled)]
        for run_once in runs:
            run_once()
        times = np.array([[seconds(run_once) for run_once in runs] for _ in range(options.rounds)])
        ratios = times[:, 1] / times[:, 0]
        row |= {f"{name}_dense_s": np.median(times[:, 0]), f"{name}_tiled_s": np.median(times[:, 1]),
                f"{name}_ratio": np.median(ratios), f"{name}_ratio_min": ratios.min(),
                f"{name}_ratio_max": ratios.max()}  # fmt: skip
    return row


def need(n: int, options: LargeBatchOptions) -> dict:
    """Seconds and peak memory of one size; to be run in a fresh process, whose whole peak it reports."""
    batch = LargeBatch.draw(n, options)
    stack = batch.stack()
    if options.work == "train":
        spent = seconds(lambda: batch.train(stack))
    else:
        spent = seconds(lambda: stack.measure(batch.points, batch.labels))
    tile_rows = stack.rows_of_tiles(batch.points)
    return {
        "n": n,
        "dtype": options.dtype,
        "work": options.work,
        "tile_rows": 0 if tile_rows is None else tile_rows,
        "seconds": spent,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "one_matrix_mib": n * n * batch.points.element_size() / 2**20,
    }


def _print_comparison(options: LargeBatchOptions) -> list[dict]:
    sizes = [n for n in options.sizes if n <= LARGEST_DENSE] if options.rounds else []
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
    return rows


def _print_needs(options: LargeBatchOptions) -> list[dict]:
    what = "all measurements" if options.work == "measure" else "a training step"
    print(f"Time and peak memory of a fresh process: {what}")
    print("     n   tile rows   seconds   peak memory   one n x n matrix")
    rows = []
    if not options.sizes:
        raise ValueError("sizes: give at least one value")
    for n in options.sizes:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(need, n, options).result()
        print(
            f"{n:6d}   {row['tile_rows'] or 'dense':>9}   {row['seconds']:7.2f}   {row['peak_mib']:7.0f} MiB   "
            f"{row['one_matrix_mib']:12.0f} MiB",
            flush=True,
        )
        rows.append(row)
    return rows


def run(options: LargeBatchOptions) -> int:
    """Measure, print and store.

    Raises:
        ValueError: bad options.
        OSError: the folder cannot be written.
    """
    require_count(options.rounds, "rounds", 0, LARGEST_ROUNDS)
    require_count(options.depth, "depth", 1, LARGEST_DEPTH)
    require_number(options.noise, "noise", 0.0, 1.0)
    for n in options.sizes:
        require_batch(require_count(n, "sizes", 2 * CLUSTERS), AMBIENT_DIM, "sizes", depth=options.depth)
        if n % CLUSTERS:
            raise ValueError(f"sizes: must be multiples of {CLUSTERS}, got {n}")
    recorder = None
    if options.out is not None:
        settings = {k: v for k, v in asdict(options).items() if k != "out"}
        recorder = RunRecorder(options.out, settings, False, torch.device("cpu"))
    print(
        f"{options.dtype}, D = {AMBIENT_DIM}, depth {options.depth}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )
    # First the processes: one that is started by a large process counts its starter's peak as its own.
    needs = _print_needs(options)
    ratios = _print_comparison(options)
    if recorder is not None:
        write_table(recorder.path / "memory.csv", needs)
        if ratios:
            write_table(recorder.path / "ratios.csv", ratios)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, LargeBatchOptions, arguments, "python -m synthetic.large_batches", __doc__)


if __name__ == "__main__":
    sys.exit(main())

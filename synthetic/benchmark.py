"""How fast the stack is, as ratios measured in one run.

    python -m synthetic.benchmark

Reports, for each shape, the time of a stack's forward pass with all measurements against (a) the bare matrix products
of the same shapes (cosines and mixing at every layer, nothing else) and (b) the obvious loop over trials in NumPy; and
its peak memory. The three run in turn, so that a noisy machine slows them alike; ratios are taken round by round.

Exit status: as in all commands (--help), never 1.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components

from models.cifar.benchmark.stacks import bare_products
from models.devices.timing import Spread, in_turn
from models.stack import AttentionStack
from synthetic.batches import seeding
from synthetic.batches.noise import add_noise
from synthetic.batches.union_of_subspaces import cone_clusters, subspace_bases
from synthetic.runs.statuses import command
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.noise_ceiling import gaussian_extremes, gaussian_separation, recommended_threshold
from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_ROUNDS

# (trials, n, D)
SHAPES = ((64, 256, 64), (16, 512, 128), (200, 32, 64), (16, 256, 256))
CLUSTERS, SUBSPACE_DIM, WITHIN = 8, 4, 0.9


@dataclass(frozen=True)
class BenchmarkOptions:
    """Command line of the benchmark."""

    rounds: int = 7
    """Rounds, in each of which everything has its turn; medians are reported."""
    depth: int = 6
    """Blocks of the stack."""
    noise: float = 0.5
    """Gaussian noise of the batches, as a multiple of the separation ceiling."""


def obvious_trial(points: np.ndarray, labels: np.ndarray, threshold: float, mixing: float, depth: int) -> list[dict]:
    """The stack and its measurements for one batch, written as one would at first: masks, and a loop over layers.

    Also the slow reference that the fast path is tested against.
    """
    same = labels[:, None] == labels[None, :]
    others = same & ~np.eye(len(points), dtype=bool)
    layers = []
    for _ in range(depth + 1):
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosines = unit @ unit.T
        affinity = np.where(cosines > threshold, cosines - threshold, 0.0)
        np.fill_diagonal(affinity, 0.0)
        mass = affinity.sum(axis=1, keepdims=True)
        normalized = np.divide(affinity, mass, out=np.zeros_like(affinity), where=mass > 0)
        sharpness = np.where(others, normalized, 0.0).sum(axis=1)
        fragments = [connected_components(affinity[np.ix_(labels == k, labels == k)] > 0, directed=False)[0]
                     for k in np.unique(labels)]  # fmt: skip
        axes = {k: unit[labels == k].mean(axis=0) for k in np.unique(labels)}
        heights = [max((unit[labels == k] @ axis).min() / max(np.linalg.norm(axis), 1e-300), 0.0)
                   for k, axis in axes.items()]  # fmt: skip
        layers.append({
            "alpha": cosines[others].min(), "beta": cosines[~same].max(),
            "sharpness_min": sharpness.min(), "sharpness_mean": sharpness.mean(),
            "sharpness_error": np.abs(sharpness - 1.0)[mass[:, 0] > 0].max(initial=0.0),
            "false_edges": int((affinity > 0)[~same].sum()) // 2, "fragments": max(fragments),
            "isolated": int((mass == 0).sum()), "axis_product": np.prod(np.sort(heights)[:2]),
        })  # fmt: skip
        points = np.where(mass > 0, (1 - mixing) * points + mixing * (normalized @ points), points)
    return layers


def make_batches(shape: tuple[int, int, int], noise: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit points (trials, n, D), labels, and the threshold for their noise."""
    trials, n, dim = shape
    sizes = (n // CLUSTERS,) * CLUSTERS
    labels = contiguous_labels(sizes)
    bases = subspace_bases(CLUSTERS, dim, SUBSPACE_DIM, seeding.generator(0, 0))
    clean = cone_clusters(bases, sizes, WITHIN, seeding.trial_generators(0, 0, range(trials), seeding.POINTS))
    law = (dim, CLUSTERS, sizes, WITHIN, 0.0, 0.05)
    level = noise * gaussian_separation(*law)
    threshold = recommended_threshold(*gaussian_extremes(*law, level), sizes)
    noisy = add_noise(clean, labels, level, "gaussian", seeding.trial_generators(0, 0, range(trials), seeding.NOISE))
    return unit_points(noisy), labels, threshold


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_shape(shape: tuple[int, int, int], options: BenchmarkOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds (rounds,) of the stack, the bare products and the obvious loop."""
    points, labels, threshold = make_batches(shape, options.noise)
    tensor = torch.from_numpy(points)
    stack = AttentionStack(options.depth, threshold)

    def loop() -> None:
        for batch in points:
            obvious_trial(batch, labels, threshold, 0.5, options.depth)

    work = {"stack": lambda: stack.measure(tensor, labels), "bare": lambda: bare_products(tensor, options.depth),
            "loop": loop}  # fmt: skip
    times = in_turn(work, options.rounds, tensor.device)
    return times["stack"].wall, times["bare"].wall, times["loop"].wall


def peak_memory(shape: tuple[int, int, int], options: BenchmarkOptions) -> float:
    """Peak MiB of a process that generates and measures this shape; to be run in a fresh process."""
    points, labels, threshold = make_batches(shape, options.noise)
    AttentionStack(options.depth, threshold).measure(torch.from_numpy(points), labels)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(options: BenchmarkOptions) -> int:
    """Measure and print.

    Raises:
        ValueError: bad options.
    """
    require_count(options.rounds, "rounds", 1, LARGEST_ROUNDS)
    require_number(options.noise, "noise", 0.0, 1.0)
    require_count(options.depth, "depth", 1, LARGEST_DEPTH)
    print(
        f"float64, depth {options.depth}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median [min, max] of {options.rounds} rounds"
    )
    print("trials    n    D   stack + measurements   over bare products     loop over stack          peak memory")
    for shape in SHAPES:
        stack, bare, loop = time_shape(shape, options)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peak = pool.submit(peak_memory, shape, options).result()
        print(
            f"{shape[0]:6d} {shape[1]:4d} {shape[2]:4d}   {np.median(stack) * 1e3:10.1f} ms          "
            f"{Spread.of(stack / bare)!s:<22} {Spread.of(loop / stack)!s:<22}   {peak:.0f} MiB"
        )
    law = (256, CLUSTERS, 32, 1.0, 0.0, 0.05)
    print(f"one Gaussian noise ceiling (D=256, K=8, m=32): {seconds(lambda: gaussian_separation(*law)):.2f} s")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, BenchmarkOptions, arguments, "python -m synthetic.benchmark", __doc__)


if __name__ == "__main__":
    sys.exit(main())

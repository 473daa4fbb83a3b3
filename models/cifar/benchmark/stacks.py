"""The stack at small shapes, against the matrix products that no implementation can do without."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from models.devices.timing import Spread, in_turn
from models.stack import AttentionStack
from theory.batches.clusters import contiguous_labels

# (trials, n, D), of 8 clusters.
SHAPES = ((200, 32, 64), (16, 256, 256))
CLUSTERS, DEPTH, THRESHOLD, NOISE = 8, 6, 0.3, 0.4
HEADING = "trials    n    D     stack + measurements   over bare products"


def bare_products(points: Tensor, depth: int) -> Tensor:
    """The products that any implementation needs: n x D x n for the cosines, n x n x D for mixing, at every layer."""
    for layer in range(depth + 1):
        gram = points @ points.mT
        if layer < depth:
            points = gram @ points * 1e-3
    return points


def clustered_points(shape: tuple[int, int, int]) -> Float[Tensor, "trials n D"]:
    """Noisy unit vectors around orthogonal directions, one a cluster, in cluster order; float64."""
    trials, n, dim = shape
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(CLUSTERS, dim, dtype=torch.float64).repeat_interleave(n // CLUSTERS, 0)
    noise = torch.randn(trials, n, dim, generator=generator, dtype=torch.float64) / dim**0.5
    points = centres + NOISE * noise
    return points / points.norm(dim=-1, keepdim=True)


def compare_stacks(rounds: int, device: torch.device, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> list[dict]:
    """One row a shape: a stack of 6 blocks with all measurements, in float64, over the bare products."""
    rows = []
    for shape in shapes:
        points = clustered_points(shape).to(device)
        labels = contiguous_labels((shape[1] // CLUSTERS,) * CLUSTERS)
        stack = AttentionStack(DEPTH, THRESHOLD, device=device)
        work: dict[str, Callable[[], object]] = {
            "stack": partial(stack.measure, points, labels), "bare": partial(bare_products, points, DEPTH)
        }  # fmt: skip
        times = in_turn(work, rounds, device)
        wall, cpu = times["stack"].over(times["bare"])
        rows.append({
            "trials": shape[0], "n": shape[1], "dim": shape[2], "depth": DEPTH,
            "stack_ms": times["stack"].milliseconds, "ratio": wall.median, "ratio_min": wall.low,
            "ratio_max": wall.high, "cpu_ratio": cpu.median,
        })  # fmt: skip
    return rows


def line_of(row: dict) -> str:
    """A row as it is printed."""
    spread = Spread(row["ratio"], row["ratio_min"], row["ratio_max"])
    return f"{row['trials']:6d} {row['n']:4d} {row['dim']:4d}   {row['stack_ms']:10.1f} ms          {spread}"

"""The largest settings that a run takes: beyond any honest use, so that a slip (1e9 trials, a depth of a million) is
refused by name in a moment, and not found out after hours, or by a machine without memory.

Formulas have no such limits (inputs.py): a number costs nothing, a batch does.
"""

from collections.abc import Sequence

from theory.numerics.inputs import require_count

# Batches of one kind, trials of one cell.
LARGEST_TRIALS = 10**7
# Blocks one after the other.
LARGEST_DEPTH = 4096
# Points of a batch: sixteen times a million, which row tiles can still take.
LARGEST_BATCH = 2**24
# Coordinates of a point, a token or an embedding.
LARGEST_DIM = 2**20
LARGEST_CLUSTERS = 4096
# Coordinates of a token or an embedding in a network, and channels of an encoder's first stage.
LARGEST_WIDTH = 2**18
LARGEST_CHANNELS = 1024
# Learning rates and weight decays: float32 still holds their products.
LARGEST_RATE = 1e6
# Weights of a network: 32 GiB in float32.
LARGEST_WEIGHTS = 2**33
# Rounds of a benchmark, starting points of a search.
LARGEST_ROUNDS = 10**5
# Steps of an optimizer, or of an ascent.
LARGEST_STEPS = 10**8
# Trainings of one kind.
LARGEST_SEEDS = 10**4
LARGEST_EPOCHS = 10**6
# What 64 bits hold, as tables keep it.
LARGEST_SEED = 2**63 - 1
# Cells of a grid.
LARGEST_GRID = 10**5
# Numbers in one batch, or in the bases of its subspaces: 32 GiB in float64.
LARGEST_NUMBERS = 2**32
# Multiplications of one cell: years on one core, weeks on a GPU.
LARGEST_WORK = 10**19


def require_grid(cells: int, names: Sequence[str]) -> None:
    """Refuse a grid of too many cells.

    Raises:
        ValueError: names the lists that span it.
    """
    if cells > LARGEST_GRID:
        raise ValueError(f"{names[0]}: with {', '.join(names[1:])} {cells:,} cells, at most {LARGEST_GRID:,}")


def require_batch(
    points: int, dim: int, name: str, trials: int = 1, depth: int = 1, dim_name: str = "ambient_dim"
) -> None:
    """Refuse batches that no memory holds, or that nobody will see the end of.

    Args:
        points, dim: of a batch (n, D).
        name: of the setting that says how many points there are.

    Raises:
        ValueError: names the settings, with what they multiply to.
    """
    require_count(points, name, 1, LARGEST_BATCH)
    require_count(dim, dim_name, 1, LARGEST_DIM)
    if points * dim > LARGEST_NUMBERS:
        raise ValueError(
            f"{name}: {points:,} points of {dim:,} coordinates ({dim_name}) are {points * dim:.2g} numbers, at most "
            f"{LARGEST_NUMBERS:.2g}"
        )
    work = trials * (depth + 1) * points * points * dim
    if work > LARGEST_WORK:
        raise ValueError(
            f"{name}: {trials:,} batches of {points:,} points through {depth:,} blocks take {work:.2g} "
            f"multiplications, at most {LARGEST_WORK:.2g}"
        )

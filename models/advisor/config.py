"""What the advisor is asked for."""

import math
from dataclasses import dataclass

from theory.numerics.inputs import require_count, require_number
from theory.numerics.limits import LARGEST_BATCH, LARGEST_ROUNDS, LARGEST_SEED


@dataclass(frozen=True)
class AdvisorConfig:
    """Settings that the answers depend on.

    Raises:
        ValueError: a setting out of range, named.
    """

    batch_size: int | None = None
    """Batch that threshold, temperature, strength and depth are advised for; None: large enough for eight rows of a
    row's own class, at most an eighth of the rows, from 16 to 256. Batches of new rows are filled from a random half of
    the rows looked at, 5,000 at most, so that none is larger than that."""
    share: float = 0.05
    """Largest share of rows that may be without a true neighbor in their batch."""
    target: float = 0.5
    """Share of the excess over chance that an augmentation must leave."""
    delta: float = 0.05
    """Probability with which a CERTIFIED answer may be wrong."""
    effective_neighbors: float = 4.0
    """Effective neighbors that the median row must have in a batch; sharpness alone would choose the nearest one."""
    depth: int = 8
    """Blocks of the stacks that are run on batches of the rows."""
    batches: int = 16
    """Batches that the stacks are run on; of a check set ten times as many are drawn."""
    seed: int = 0
    """Of every random choice."""
    memory_limit: float = 4.0
    """GiB that the arrays of a file may take once read; larger ones are refused before they are read."""

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            require_count(self.batch_size, "batch_size", 4, LARGEST_BATCH)
        for name in ("share", "target", "delta"):
            require_number(getattr(self, name), name, 0.0, 1.0, closed="neither")
        require_number(self.effective_neighbors, "effective_neighbors", 1.0, math.inf, closed="left")
        require_count(self.depth, "depth", 1, 256)
        require_count(self.batches, "batches", 2, LARGEST_ROUNDS)
        require_count(self.seed, "seed", 0, LARGEST_SEED)
        require_number(self.memory_limit, "memory_limit", 0.0, 1024.0, closed="right")

"""The pairs of rows that share a label, as blocks of clusters of nearly one size: whoever asks something of them asks
all clusters of a block at once, instead of one by one or under a mask of all pairs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from models.devices.transfer import upload_together
from models.tiled import CPU_TILE_BYTES, row_tiles
from theory.batches.clusters import ClusterLayout

# Entries of a block, and the share of its largest cluster's size that its smallest has at least.
BLOCK_ENTRIES, FILLED = CPU_TILE_BYTES // 8, 0.6


@dataclass(frozen=True, eq=False)
class ClusterBlock:
    """Some rows of each of some clusters, against all members of these clusters.

    Attributes:
        rows, members: places in the batch; n, where nobody is, behind the last member of the smaller clusters.
        sizes: members that there are.
        first: of the rows, counted in their cluster.
    """

    rows: Int64[Tensor, "clusters r"]
    members: Int64[Tensor, "clusters m"]
    sizes: Int64[Tensor, "clusters 1"]
    first: int = 0


def cluster_blocks(layout: ClusterLayout, device: torch.device) -> tuple[ClusterBlock, ...]:
    """All pairs of rows that share a cluster, clusters of one row left out."""
    sizes = np.asarray(layout.sizes)
    starts = np.cumsum(sizes) - sizes
    # What is behind the last row is nobody's.
    order = np.append(np.arange(layout.num_points) if layout.order is None else layout.order, layout.num_points)
    blocks: list[ClusterBlock] = []
    for chosen in _of_nearly_one_size(sizes):
        counts, width = sizes[chosen, None], int(sizes[chosen].max())
        column = np.arange(width)
        places = order[np.where(column < counts, starts[chosen, None] + column, layout.num_points)]
        members, own = upload_together([torch.from_numpy(places), torch.from_numpy(counts)], device)
        if width * width <= BLOCK_ENTRIES:
            parts = zip(members.split(BLOCK_ENTRIES // width**2), own.split(BLOCK_ENTRIES // width**2))
            blocks += [ClusterBlock(part, part, size) for part, size in parts]
        else:
            blocks += [
                ClusterBlock(members[k : k + 1, rows], members[k : k + 1], own[k : k + 1], rows.start)
                for k in range(len(members))
                for rows in row_tiles(width, max(1, BLOCK_ENTRIES // width))
            ]
    return tuple(blocks)


def _of_nearly_one_size(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Clusters of two rows and more in groups, the largest first."""
    left = np.unique(sizes[sizes > 1])
    while len(left):
        alike = left >= FILLED * left[-1]
        yield np.flatnonzero((sizes >= left[alike][0]) & (sizes <= left[-1]))
        left = left[~alike]

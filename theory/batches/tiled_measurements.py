"""A layer measured row tile by row tile, for batches whose n x n matrices do not fit: memory O(n tile).

The definitions are those of theory.md, section 0, and the results those of ``trajectory.measure_layer``; rows and
columns stand in cluster order throughout. Each tile is seen once: ``tile_cosines`` before its cosines become an
affinity, ``measure_tile`` after. What is kept of tiles in half precision is float32.
"""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from theory.batches.clusters import ClusterLayout, as_numpy
from theory.batches.trajectory import (
    LEAK,
    LayerExtremes,
    Trajectory,
    axis_product,
    sharpness_error,
    summarize_layer,
)
from theory.numerics.inputs import Array
from theory.numerics.precision import widen


@dataclass(frozen=True)
class Segment:
    """The rows of a tile that belong to one cluster.

    Attributes:
        cluster: its index in the layout.
        local: these rows, counted from the tile's first.
        own: the columns of the whole cluster.
        first: the segment's first row, counted from the cluster's first.
    """

    cluster: int
    local: slice
    own: slice
    first: int


@dataclass(frozen=True)
class TileCosines:
    """Extremes of a tile.

    Attributes:
        row_minimum: each row's smallest cosine inside its cluster, (rows,).
        row_sum: each row's sum of cosines inside its cluster, itself included, (rows,).
        beta: the largest cosine with a later cluster, 0-d; -inf where there is none.
    """

    row_minimum: Float[Array, " rows"]
    row_sum: Float[Array, " rows"]
    beta: Array


@dataclass(frozen=True)
class TileMeasurement:
    """What is left of a tile once it is measured.

    Attributes:
        cosines: as read before the tile became an affinity.
        own_mass, row_mass: affinity inside the row's own cluster, and what the block divides the row by.
        above, below: positive affinities with later and with earlier clusters.
    """

    cosines: TileCosines
    own_mass: Float[Array, " rows"]
    row_mass: Float[Array, " rows"]
    above: int
    below: int


def tile_segments(layout: ClusterLayout, rows: slice) -> tuple[Segment, ...]:
    """The clusters that rows ``start`` to ``stop`` belong to, in order."""
    stops = np.cumsum(layout.sizes)
    begin, end = np.searchsorted(stops, (rows.start, rows.stop - 1), side="right")
    found = []
    for cluster in range(int(begin), int(end) + 1):
        own = layout.slices[cluster]
        low, high = max(own.start, rows.start), min(own.stop, rows.stop)
        found.append(Segment(cluster, slice(low - rows.start, high - rows.start), own, low - own.start))
    return tuple(found)


def tile_cosines(cosines: Float[Array, "rows n"], segments: tuple[Segment, ...]) -> TileCosines:
    """Extremes of one tile. A point's cosine with itself is the largest there is, so it cannot be the minimum."""
    cosines = widen(cosines, "cosines")
    xp = array_namespace(cosines)
    n = cosines.shape[-1]
    lowest = [xp.min(cosines[s.local, s.own], axis=-1) for s in segments]
    sums = [xp.sum(cosines[s.local, s.own], axis=-1) for s in segments]
    # Pairs are symmetric: each is looked at from its earlier cluster, as in cosine_extremes.
    later = [xp.max(cosines[s.local, s.own.stop :]) for s in segments if s.own.stop < n]
    none = xp.full((), -xp.inf, dtype=cosines.dtype, device=device(cosines))
    return TileCosines(xp.concat(lowest), xp.concat(sums), xp.max(xp.stack(later)) if later else none)


def measure_tile(
    cosines: TileCosines,
    affinity: Float[Array, "rows n"],
    row_mass: Float[Array, " rows"],
    segments: tuple[Segment, ...],
    cut: float,
    components: "ClusterComponents",
) -> TileMeasurement:
    """The rest of one tile: masses, false edges, and the edges inside clusters, which go into ``components``.

    As in measure_layer, blocks above the cut need no look: where beta does not exceed the cut and no mass leaks there
    is no false edge, and a row whose every own cosine exceeds it holds its cluster together.

    Args:
        affinity: ReLU(C - cut) with zero diagonal, not yet normalized.
        row_mass: what the block divides each row by.
        cut: the effective threshold.
        components: of this layer, changed in place.
    """
    affinity, row_mass = widen(affinity, "affinity"), widen(row_mass, "row_mass")
    xp = array_namespace(affinity)
    n = affinity.shape[-1]
    own_mass = []
    for s in segments:
        block = affinity[s.local, s.own]
        own_mass.append(xp.sum(block, axis=-1) - xp.linalg.diagonal(block[:, s.first :]))
    own_mass = xp.concat(own_mass)
    above = below = 0
    if bool(cosines.beta > cut) or bool(xp.max(sharpness_error(own_mass, row_mass)) > LEAK):
        above = sum(_count_positive(affinity[s.local, s.own.stop :]) for s in segments if s.own.stop < n)
        below = sum(_count_positive(affinity[s.local, : s.own.start]) for s in segments if s.own.start > 0)
    whole = as_numpy(cosines.row_minimum) > cut
    for s in segments:
        if components.counts[s.cluster] > 1:
            if whole[s.local].any():
                components.join_all(s.cluster)
            else:
                components.join(s.cluster, affinity[s.local, s.own] > 0, s.first)
    return TileMeasurement(cosines, own_mass, row_mass, above, below)


def join_tiles(tiles: list[TileMeasurement], components: "ClusterComponents") -> Trajectory:
    """One layer of one batch from its tiles, arrays (1,).

    False edges are counted from both ends and the larger count is taken: they are unordered pairs, and the affinity's
    pattern is symmetric but for damage to one side.
    """
    xp = array_namespace(tiles[0].row_mass)
    alpha = xp.min(xp.concat([tile.cosines.row_minimum for tile in tiles]))
    beta = xp.max(xp.stack([tile.cosines.beta for tile in tiles]))
    low, high = (np.clip(as_numpy(value).astype(np.float64).reshape(1), -1.0, 1.0) for value in (alpha, beta))
    sums = as_numpy(xp.concat([tile.cosines.row_sum for tile in tiles])).astype(np.float64)
    axes = axis_product([part[None, :] for part in np.split(sums, components.stops[:-1])])
    edges = max(sum(tile.above for tile in tiles), sum(tile.below for tile in tiles))
    return summarize_layer(
        LayerExtremes(low, high, axes),
        xp.concat([tile.own_mass for tile in tiles])[None, :],
        xp.concat([tile.row_mass for tile in tiles])[None, :],
        np.array([edges], dtype=np.int64),
        np.array([max(components.counts)], dtype=np.int64),
    )


class ClusterComponents:
    """Connected components inside every cluster, while the rows of its graph come by: memory O(n).

    Attributes:
        counts: components of each cluster, given the edges seen so far.
        stops: where each cluster ends.
    """

    def __init__(self, layout: ClusterLayout) -> None:
        self.counts, self.stops = list(layout.sizes), np.cumsum(layout.sizes)
        self._labels = [np.arange(size) for size in layout.sizes]

    def join_all(self, cluster: int) -> None:
        """The cluster is one component."""
        self.counts[cluster] = 1

    def join(self, cluster: int, edges: Bool[Array, "rows m"], first: int) -> None:
        """Add the edges of rows ``first``, ``first + 1``, ... of a cluster of m points; an edge either way counts."""
        xp = array_namespace(edges)
        start, count = 0, 1
        while start < edges.shape[0] and self.counts[cluster] > 1:
            # Only edges between components matter. The first row leaves few of them in a dense cluster, so rows are
            # taken one, two, four, ... at a time, and the list of edges stays short.
            labels = self._labels[cluster]
            ends = labels[first + start : first + min(start + count, edges.shape[0])]
            on_device = xp.asarray(labels, device=device(edges))
            fresh = edges[start : start + len(ends), :] & (
                on_device[None, :] != xp.asarray(ends, device=device(edges))[:, None]
            )
            rows, columns = (as_numpy(index) for index in xp.nonzero(fresh))
            if rows.size:
                pairs = (np.ones(rows.size, dtype=np.int8), (ends[rows], labels[columns]))
                graph = coo_array(pairs, shape=(self.counts[cluster],) * 2).tocsr()
                self.counts[cluster], merged = connected_components(graph, directed=False)
                self._labels[cluster] = merged[labels].astype(labels.dtype)
            start, count = start + count, 2 * count


def _count_positive(block: Float[Array, "rows columns"]) -> int:
    xp = array_namespace(block)
    # Signs are summed row by row, exactly; far faster than comparing and counting booleans.
    if not bool(xp.max(block) > 0):
        return 0
    return int(xp.sum(xp.astype(xp.sum(xp.sign(block), axis=-1), xp.int64)))

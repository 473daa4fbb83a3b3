"""A layer measured tile by tile, for batches whose n x n matrices do not fit: memory O(n), besides the tiles.

The definitions are those of theory.md, section 0, and the results those of ``trajectory.measure_layer``; rows and
columns stand in cluster order throughout. Each tile is seen twice: its cosines before they become an affinity, and the
affinity. What tiles say stays on their device until the layer is finished, which is the one time that somebody waits;
clusters that no row of theirs holds together are counted afterwards, in rounds. What is kept of tiles in half precision
is float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Int
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

# Every row's smallest or largest name among itself and its neighbours inside its cluster, (n,) each, given names (n,).
Spans = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


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


@final
class TiledLayer:
    """One layer of one batch, while its tiles come by.

    A tile is rows against all columns, or one of the squares that a symmetric layer is cut into: those on the diagonal,
    and those right of it, which stand for their mirror images too.

    Attributes:
        row_mass: what the block divides each row by, as far as tiles have come by, (n,).
    """

    def __init__(self, layout: ClusterLayout, tokens: Float[Array, "n D"]) -> None:
        """For tiles in the library and dtype of the tokens, and on their device."""
        tokens = widen(tokens[:0, ...], "tokens")
        xp, n, where = array_namespace(tokens), layout.num_points, device(tokens)
        self._layout = layout
        self._lowest = xp.full((n,), xp.inf, dtype=tokens.dtype, device=where)
        self._sums, self._own_mass, self.row_mass = (xp.zeros((n,), dtype=tokens.dtype, device=where) for _ in range(3))
        self._beta = xp.full((), -xp.inf, dtype=tokens.dtype, device=where)
        self._above, self._below = (xp.zeros((), dtype=xp.int64, device=where) for _ in range(2))

    def read_cosines(self, cosines: Float[Array, "rows columns"], rows: slice, columns: slice) -> Array:
        """Take in a tile's cosines. A point's cosine with itself is the largest there is, so it is no row's smallest.

        Returns:
            The largest cosine between clusters of the tile, 0-d; -inf where there is none.
        """
        cosines = widen(cosines, "cosines")
        xp = array_namespace(cosines)
        later = []
        for local, inside, _, after in self._parts(rows, columns):
            if inside is not None:
                self._take_own(xp, cosines[local, inside], _shifted(local, rows), -1)
                if _is_mirrored(rows, columns):
                    self._take_own(xp, cosines[local, inside], _shifted(inside, columns), -2)
            # Pairs are symmetric: each is looked at from its earlier cluster, as in cosine_extremes.
            if after is not None:
                later.append(xp.max(cosines[local, after]))
        if not later:
            return xp.full((), -xp.inf, dtype=cosines.dtype, device=device(cosines))
        beta = later[0] if len(later) == 1 else xp.max(xp.stack(later))
        self._beta = xp.maximum(self._beta, beta)
        return beta

    def _take_own(self, xp: Any, block: Array, rows: slice, axis: int) -> None:
        self._lowest[rows] = xp.minimum(self._lowest[rows], xp.min(block, axis=axis))
        self._sums[rows] += xp.sum(block, axis=axis)

    def read_affinity(
        self,
        affinity: Float[Array, "rows columns"],
        row_mass: Float[Array, " rows"],
        rows: slice,
        columns: slice,
        count: bool = True,
    ) -> None:
        """Take in a tile's affinity.

        Args:
            affinity: ReLU(C - cut) with zero diagonal, not yet normalized.
            row_mass: what the block divides each row by, or the tile's part of it.
            count: whether there may be positive affinities between clusters.
        """
        affinity, row_mass = widen(affinity, "affinity"), widen(row_mass, "row_mass")
        xp = array_namespace(affinity)
        self.row_mass[rows] += row_mass
        if _is_mirrored(rows, columns):
            self.row_mass[columns] += xp.sum(affinity, axis=-2)
        for local, inside, before, after in self._parts(rows, columns):
            if inside is not None:
                self._take_own_mass(xp, affinity[local, inside], _shifted(local, rows), _shifted(inside, columns))
            if count and after is not None:
                self._above += _count_positive(affinity[local, after])
            if count and before is not None:
                self._below += _count_positive(affinity[local, before])

    def _take_own_mass(self, xp: Any, block: Array, rows: slice, columns: slice) -> None:
        own = xp.sum(block, axis=-1)
        if columns.start < rows.stop:
            own = own - xp.linalg.diagonal(block[:, rows.start - columns.start :])
        self._own_mass[rows] += own
        if _is_mirrored(rows, columns):
            self._own_mass[columns] += xp.sum(block, axis=-2)

    def _parts(self, rows: slice, columns: slice) -> list[tuple[slice, slice | None, slice | None, slice | None]]:
        """Cluster by cluster: its rows, and its own columns, those of earlier and those of later clusters, all counted
        from the tile's first, and None where the tile has none of them."""
        if self.is_between_clusters(rows, columns):
            # Read as one.
            return [(slice(0, rows.stop - rows.start), None, None, slice(0, columns.stop - columns.start))]
        found = []
        for s in tile_segments(self._layout, rows):
            before, after = slice(0, s.own.start), slice(s.own.stop, self._layout.num_points)
            found.append((s.local, _overlap(s.own, columns), _overlap(before, columns), _overlap(after, columns)))
        return found

    def is_between_clusters(self, rows: slice, columns: slice) -> bool:
        """Whether all of a tile's columns belong to later clusters than its rows."""
        return tile_segments(self._layout, slice(rows.stop - 1, rows.stop))[0].own.stop <= columns.start

    def finish(self, cut: Array | float) -> "MeasuredTiles":
        """The layer once all tiles have come by, in one transfer.

        Args:
            cut: the effective threshold, a number or an array of one.
        """
        xp = array_namespace(self.row_mass)
        kept = (self._lowest, self._sums, self._own_mass, self.row_mass)
        numbers = [self._beta, self._above, self._below]
        if hasattr(cut, "dtype"):
            numbers.append(xp.reshape(cut, ()))
        flat = xp.concat([*(xp.astype(each, xp.float64) for each in kept),
                          xp.stack([xp.astype(each, xp.float64) for each in numbers])])  # fmt: skip
        found = as_numpy(flat)
        lowest, sums, own_mass, row_mass = found[: -len(numbers)].reshape(4, -1)
        beta, above, below = found[-len(numbers) :][:3]
        level = float(found[-1]) if hasattr(cut, "dtype") else float(cut)
        edges = max(int(above), int(below))
        return MeasuredTiles(self._layout, lowest, sums, own_mass, row_mass, float(beta), edges, level)


@dataclass(frozen=True)
class MeasuredTiles:
    """What is left of a layer's tiles, on the host, float64.

    Attributes:
        lowest, sums: each row's smallest cosine inside its cluster, and the sum of them, itself included, (n,).
        own_mass, row_mass: each row's affinity inside its own cluster, and what the block divides the row by, (n,).
        beta: the largest cross cosine.
        cross_edges: positive affinities between clusters. They are counted from both ends where tiles have both, and
            the larger count is taken: edges are unordered pairs, and the affinity's pattern is symmetric but for
            damage to one side.
        cut: the effective threshold.
    """

    layout: ClusterLayout
    lowest: Float[np.ndarray, " n"]
    sums: Float[np.ndarray, " n"]
    own_mass: Float[np.ndarray, " n"]
    row_mass: Float[np.ndarray, " n"]
    beta: float
    cross_edges: int
    cut: float

    @property
    def thin(self) -> tuple[int, ...]:
        """Clusters that may be in pieces; one of whose rows has all its cosines above the cut is in one."""
        starts = [rows.start for rows in self.layout.slices]
        return tuple(int(k) for k in np.flatnonzero(~(np.maximum.reduceat(self.lowest, starts) > self.cut)))

    def trajectory(self, fragments: int) -> Trajectory:
        """The layer, arrays (1,).

        Args:
            fragments: components of the most fragmented cluster.
        """
        axes = axis_product([self.sums[None, rows] for rows in self.layout.slices])
        low, high = (np.clip(np.array([value]), -1.0, 1.0) for value in (np.min(self.lowest), self.beta))
        # As in measure_layer: below the cut is no false edge, unless mass leaks in a damaged stack.
        leaking = self.beta > self.cut or bool(np.max(sharpness_error(self.own_mass, self.row_mass)) > LEAK)
        return summarize_layer(
            LayerExtremes(low, high, axes),
            self.own_mass[None, :],
            self.row_mass[None, :],
            np.array([self.cross_edges if leaking else 0], dtype=np.int64),
            np.array([fragments], dtype=np.int64),
        )


def count_fragments(layout: ClusterLayout, clusters: Sequence[int], spans: Spans) -> int:
    """Connected components of the most fragmented of some clusters, an edge either way counts; 1 if there are none.

    In every round each component joins all those that a row of it has as neighbour with the smallest or the largest
    name; at most as many rounds as a cluster has points, and two or three of most graphs, the last of which finds that
    nothing is left to be joined.

    Args:
        spans: of these clusters' rows; what it says of other rows does not matter.
    """
    if not clusters:
        return 1
    rows = np.concatenate([np.arange(layout.num_points)[layout.slices[k]] for k in clusters])
    names: Int[np.ndarray, " n"] = np.arange(layout.num_points, dtype=np.int32)

    def pieces() -> int:
        return max(len(np.unique(names[layout.slices[k]])) for k in clusters)

    while pieces() > 1:
        ends = np.concatenate([each[rows] for each in spans(names)])
        starts = np.tile(names[rows], 2)
        fresh = starts != ends
        if not fresh.any():
            break
        graph = coo_array((np.ones(fresh.sum(), dtype=np.int8), (starts[fresh], ends[fresh])), shape=(len(names),) * 2)
        names = connected_components(graph.tocsr(), directed=False)[1][names].astype(np.int32)
    return pieces()


def _is_mirrored(rows: slice, columns: slice) -> bool:
    return columns.start >= rows.stop


def _overlap(part: slice, columns: slice) -> slice | None:
    """Those of the columns that are in the part, counted from their first."""
    low, high = max(part.start, columns.start), min(part.stop, columns.stop)
    return slice(low - columns.start, high - columns.start) if low < high else None


def _shifted(local: slice, of: slice) -> slice:
    return slice(local.start + of.start, local.stop + of.start)


def _count_positive(block: Float[Array, "rows columns"]) -> Array:
    xp = array_namespace(block)
    # Ones and zeros are summed row by row, exactly; three times as fast as comparing and counting booleans.
    ones = xp.minimum(xp.ceil(block), xp.ones((), dtype=block.dtype, device=device(block)))
    return xp.sum(xp.astype(xp.sum(ones, axis=-1), xp.int64))

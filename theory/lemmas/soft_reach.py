"""Where a noisy cluster's edges go: the probability of an edge, or of none, to a sample closer to a root than a limit,
or farther. The soft graph in integrals over rings around a point: U(d, t; a) of theory.md, 2g.

Every one is a sum of positive terms, so that small ones keep their relative accuracy: the probability of a sample
beyond x' without an edge to it is not taken for a difference of two that are nearly equal.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from theory.numerics.quadrature import gauss_legendre
from theory.sphere import TINY, arccos, cap_measure, distance_density

# From this dimension on the share of a ring is read off a table of this many entries: betainc is slow.
TABLED_DIM, TABLED_CAPS = 4, 4001


@dataclass(frozen=True)
class Reach:
    """P(sample within or beyond a limit, with or without an edge) by distance; lines' distances with ``squared``.

    Attributes:
        subspace_dim, squared: r, and whether signs are ignored.
        ends: ends of panels over [0, pi].
        angles, kernels: a table, (p,) and (p, c): functions of the angle between two points, joined by straight lines.
        nodes: nodes a panel.
    """

    subspace_dim: int
    squared: bool
    ends: np.ndarray
    angles: np.ndarray
    kernels: np.ndarray
    nodes: int

    def within(self, distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """int over samples closer to the root than ``limit`` of the kernels, for a point at ``distance``, (..., c)."""
        if self.subspace_dim == 2:
            return self._arcs(distance, limit)
        return self._rings(distance, limit, beyond=False)

    def beyond(self, distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """The same over samples farther from the root than ``limit``."""
        if not self.squared:
            return self.within(np.pi - distance, np.pi - limit)
        if self.subspace_dim == 2:
            # On a circle, far from a line is close to the line across.
            return self._arcs(np.pi / 2 - distance, np.pi / 2 - limit)
        return self._rings(distance, limit, beyond=True)

    def _rings(self, distance: np.ndarray, limit: np.ndarray, beyond: bool) -> np.ndarray:
        """Rings around the point at angle p, of each the share that counts; panels end where a ring touches a limit."""
        shape = np.broadcast_shapes(distance.shape, limit.shape)
        d, t = (np.broadcast_to(part, shape).reshape(-1, 1) for part in (distance, limit))
        if self.squared:
            # Rings at p and at pi - p are one.
            start, stop = np.zeros_like(d), np.full_like(d, np.pi / 2)
            touch = [np.abs(d - t), np.minimum(d + t, np.pi - d - t)]
        else:
            # No ring closer than d - t or farther than d + t touches the cap.
            start, stop = np.maximum(d - t, 0.0), np.where(d + t < np.pi, d + t, np.pi)
            touch = [np.abs(d - t), np.minimum(d + t, 2.0 * np.pi - d - t)]
        ends = np.concatenate([np.broadcast_to(self.ends, (len(d), len(self.ends))), *touch], axis=1)
        ends = np.sort(np.clip(ends, start, stop), axis=1)
        row, panel = np.nonzero(np.diff(ends, axis=1) > 0.0)
        low, length = ends[row, panel, None], (ends[row, panel + 1] - ends[row, panel])[:, None]
        # Shares begin like roots where rings touch: nodes crowd there.
        v, w = gauss_legendre(0.0, 1.0, self.nodes)
        p, w = low + length * v * v * (3.0 - 2.0 * v), length * 6.0 * v * (1.0 - v) * w
        d, t = d[row], t[row]
        cosine, sine = np.cos(p) * np.cos(d), np.sin(p) * np.sin(d)
        near = self._cap((np.cos(t) - cosine) / np.maximum(sine, TINY))
        if self.squared:
            # The cap around the antipode.
            far = self._cap((np.cos(t) + cosine) / np.maximum(sine, TINY))
            near = 2.0 * (np.maximum(1.0 - near - far, 0.0) if beyond else near + far)
        counts = np.bincount(row, minlength=ends.shape[0]) * self.nodes
        found = self._sum(p.ravel(), (w * distance_density(self.subspace_dim, p) * near).ravel(), counts)
        return found.reshape(*shape, -1)

    def _cap(self, cosine: np.ndarray) -> np.ndarray:
        """Share of a ring whose azimuth's cosine exceeds ``cosine``."""
        dim = self.subspace_dim - 1
        return cap_measure(dim, arccos(cosine)) if dim < TABLED_DIM else np.interp(cosine, *self._caps)

    @cached_property
    def _caps(self) -> tuple[np.ndarray, np.ndarray]:
        cosine = np.linspace(-1.0, 1.0, TABLED_CAPS)
        return cosine, cap_measure(self.subspace_dim - 1, arccos(cosine))

    def _sum(self, p: np.ndarray, weight: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """sum of weight * kernels(p) over the first ``counts[0]`` nodes, the next ``counts[1]``, ...: a sparse matrix
        times the table."""
        place = np.clip(np.searchsorted(self.angles, p, side="right") - 1, 0, len(self.angles) - 2)
        up = weight * (p - self.angles[place]) / np.diff(self.angles)[place]
        data, columns = np.empty((p.size, 2)), np.empty((p.size, 2), dtype=np.int32)
        data[:, 0], data[:, 1], columns[:, 0], columns[:, 1] = weight - up, up, place, place + 1
        rows = np.concatenate([[0], np.cumsum(2 * counts)]).astype(np.int32)
        return csr_array((data.ravel(), columns.ravel(), rows), shape=(len(counts), len(self.angles))) @ self.kernels

    def _arcs(self, distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """r = 2: F(p) = (1/pi) int_0^p, read off a table, odd and continued beyond pi."""

        def one(distance: np.ndarray) -> np.ndarray:
            return 0.5 * (self._arc(limit - distance) + self._arc(limit + distance))

        return one(distance) + one(np.pi - distance) if self.squared else one(distance)

    def _arc(self, p: np.ndarray) -> np.ndarray:
        folded = np.minimum(np.abs(p), 2.0 * np.pi - np.abs(p))
        read = np.stack([np.interp(folded, self.angles, column) for column in self._arc_table.T], axis=-1)
        whole = 2.0 * self._arc_table[-1]
        return np.sign(p)[..., None] * np.where(np.abs(p)[..., None] > np.pi, whole - read, read)

    @cached_property
    def _arc_table(self) -> np.ndarray:
        steps = 0.5 * (self.kernels[1:] + self.kernels[:-1]) * np.diff(self.angles)[:, None] / np.pi
        return np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])

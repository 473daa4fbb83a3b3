"""Theorem 2c's regions on the sphere, point by point: from the words of theory.md, with no formula of theory.sphere.

Root R, a sample x at angle d from it, neighbours z of x no closer to the root. Coordinates: R = e_1, x in the plane of
e_1 and e_2; what is left is the lateral part, whose direction tells the side. With ``squared`` points are lines, shown
by the representative close to x (z) or to z (w).
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator


def uniform_points(rng, shape, dim):
    points = rng.standard_normal((*np.atleast_1d(shape), dim))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Scene:
    """Root and x, and who is where."""

    dim: int
    radius: float
    distance: float
    squared: bool = False

    @property
    def x(self):
        return np.cos(self.distance) * np.eye(self.dim)[0] + np.sin(self.distance) * np.eye(self.dim)[1]

    def near(self, points, center):
        """Neighbours of a center, which may differ from point to point."""
        cosine = (points * center).sum(-1)
        return (np.abs(cosine) if self.squared else cosine) > np.cos(self.radius)

    def closer(self, points):
        """Closer to the root than x."""
        return (np.abs(points[..., 0]) if self.squared else points[..., 0]) > np.cos(self.distance)

    def side(self, points, center, lateral):
        """On the side that ``lateral`` points to, by the representatives close to ``center``."""
        sign = np.where((points * center).sum(-1) < 0, -1.0, 1.0) if self.squared else 1.0
        return sign * (points[..., 2:] * lateral).sum(-1) > 0

    def lens(self, points):
        return self.near(points, self.x) & self.closer(points)

    def others(self, points):
        """Neighbours of x that are no closer to the root."""
        return self.near(points, self.x) & ~self.closer(points)

    def reach(self, points, z):
        """Neighbours of z, not of x, closer to the root than x."""
        return self.near(points, z) & self.closer(points) & ~self.near(points, self.x)

    def around_x(self, distance, azimuth):
        """Points at polar coordinates around x, azimuth from the direction to the root; lateral part along e_3."""
        down, across = np.zeros((2, self.dim))
        down[:2] = np.sin(self.distance), -np.cos(self.distance)
        across[2] = 1.0
        distance, azimuth = np.asarray(distance)[..., None], np.asarray(azimuth)[..., None]
        return np.cos(distance) * self.x + np.sin(distance) * (np.cos(azimuth) * down + np.sin(azimuth) * across)

    def polar(self, points):
        """Distance from x and azimuth around it of the points' representatives close to x."""
        cosine = points @ self.x
        if self.squared:
            points, cosine = points * np.sign(cosine)[..., None], np.abs(cosine)
        sine = np.sqrt(np.maximum(1 - cosine**2, 1e-300))
        down = np.sin(self.distance) * points[..., 0] - np.cos(self.distance) * points[..., 1]
        return np.arccos(np.clip(cosine, -1, 1)), np.arccos(np.clip(down / sine, -1, 1))

    def in_cap(self, rng, size):
        """Uniform points of x's cap, from a table of the distance's distribution."""
        grid = np.linspace(0, self.radius, 20_001)
        middle = np.cumsum(np.sin(grid[:-1] + grid[1] / 2) ** (self.dim - 2))
        p = np.interp(rng.random(size), np.r_[0, middle / middle[-1]], grid)[:, None]
        tangent = uniform_points(rng, size, self.dim - 1)
        down = np.r_[np.sin(self.distance), -np.cos(self.distance), np.zeros(self.dim - 2)]
        lateral = np.concatenate([np.zeros((size, 2)), tangent[:, 1:]], axis=1)
        return np.cos(p) * self.x + np.sin(p) * (tangent[:, :1] * down + lateral)

    def rank(self, rng, cloud=100_000, grid=17):
        return Rank(self, rng, cloud, grid)


class Rank:
    """z's place: larger reach first and, among equals, closer to x. The reach and what of it is on z's side are counted
    over a cloud of points for z on a grid, and interpolated."""

    def __init__(self, scene, rng, cloud, grid):
        self.scene = scene
        points = uniform_points(rng, cloud, scene.dim)
        points = points[scene.closer(points) & ~scene.near(points, scene.x)]
        p, psi = np.linspace(0, scene.radius, grid), np.linspace(0, np.pi, grid)
        # around_x puts z's lateral part along e_3.
        right, points = points[:, 2] > 0, points.T.copy()
        reach, on_side = np.zeros((2, grid, grid))
        for at in np.ndindex(grid, grid):
            cosines = scene.around_x(p[at[0]], psi[at[1]]) @ points
            hit, away = cosines > np.cos(scene.radius), cosines < -np.cos(scene.radius)
            reach[at], on_side[at] = np.count_nonzero(hit), np.count_nonzero(hit & right)
            if scene.squared:
                reach[at] += np.count_nonzero(away)
                on_side[at] += np.count_nonzero(away & ~right)
        self.tables = [RegularGridInterpolator((p, psi), table / cloud) for table in (reach, on_side)]

    def _look_up(self, table, z):
        distance, azimuth = self.scene.polar(z)
        return distance, table(np.stack([np.minimum(distance, self.scene.radius), azimuth], axis=-1))

    def reach(self, z):
        return self._look_up(self.tables[0], z)[1]

    def on_side(self, z):
        return self._look_up(self.tables[1], z)[1]

    def __call__(self, z):
        distance, reach = self._look_up(self.tables[0], z)
        return reach - 1e-9 * distance


# --- closed forms on circles and ordinary spheres ---------------------------------------------------------------------


def cap_overlap(first, between, second):
    """Share of the ordinary sphere within ``first`` of one point and ``second`` of another, ``between`` them: the
    lens's sectors less its triangles (Gauss-Bonnet)."""
    if between >= first + second:
        return 0.0
    if between <= abs(first - second):
        return np.sin(min(first, second) / 2) ** 2
    if first + second + between >= 2 * np.pi:
        return np.sin(first / 2) ** 2 + np.sin(second / 2) ** 2 - 1

    def corner(opposite, one, other):
        return np.arccos(np.clip((np.cos(opposite) - np.cos(one) * np.cos(other)) / np.sin(one) / np.sin(other), -1, 1))

    angles = corner(between, first, second), corner(second, between, first), corner(first, between, second)
    return (np.pi - angles[0] - np.cos(first) * angles[1] - np.cos(second) * angles[2]) / (2 * np.pi)


def arcs_overlap(first, between, second):
    """Share of the circle within ``first`` of one point and ``second`` of another."""
    meet = [min(first, turn + second) - max(-first, turn - second) for turn in (between, between - 2 * np.pi)]
    return min(sum(max(part, 0.0) for part in meet) / (2 * np.pi), 1.0)


def reach(dim, radius, distance, far, turn, squared, steps=4000):
    """reach_r(d, z) for r = 3 or 4 and, for r = 3, what of it is on z's side: midpoint rule over the distance q from
    the root. At each q, of the directions within some angle of z's those that are not as close to x's."""

    def within(q, level, other):
        """Angle between directions up to which points at q and ``other`` from the root are within ``level``."""
        return np.arccos(np.clip((np.cos(level) - np.cos(q) * np.cos(other)) / np.sin(q) / np.sin(other), -1, 1))

    overlap = arcs_overlap if dim == 3 else cap_overlap
    share = (lambda angle: angle / np.pi) if dim == 3 else (lambda angle: np.sin(angle / 2) ** 2)
    total = on_side = 0.0
    sheets = 2.0 if squared else 1.0
    ranges = [(0.0, distance), (np.pi - distance, np.pi)] if squared else [(0.0, distance)]
    for low, high in ranges:
        for q in low + (high - low) * (np.arange(steps) + 0.5) / steps:
            density = np.sin(q) ** (dim - 2) / (2 if dim == 3 else np.pi / 2) * (high - low) / steps * sheets
            z, x = within(q, radius, far), within(q, radius, distance)
            ring = share(z) - overlap(z, turn, x)
            opposite = np.pi - within(q, np.pi - radius, distance) if squared else 0.0
            ring -= overlap(z, np.pi - turn, opposite)
            total += density * ring
            if dim == 3:
                # Of the half circle on z's side: between z's arc, x's and, at the other end, its antipode's.
                side = min(turn + z, np.pi - opposite) - max(turn - z, x)
                on_side += density * max(side, 0.0) / (2 * np.pi)
    return total, on_side

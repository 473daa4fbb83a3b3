"""Theorem 2g's two-sided bound once more, by other integrals than theory.lemmas.soft_graph's, slow and plain.

Not rings around a point cut by a cap, but means over circles around the root: k(d, t; a), the mean of h over the
samples at distance t from the root, for a point at distance d; U(d, t; a) = int_0^t f_r k, running sums over one grid
of midpoints. The alignment's density is scipy's noncentral F. For noise that a grid of a hundred angles resolves.
"""

import numpy as np
from scipy.special import betainc, betaln
from scipy.stats import ncf


def coordinate_tail(dim, z):
    """P(a coordinate of a uniform point of S^{dim-1} > z)."""
    z = np.clip(z, -1.0, 1.0)
    half = 0.5 * betainc((dim - 1) / 2, 0.5, 1.0 - z * z)
    return np.where(z >= 0.0, half, 1.0 - half)


def alignment_law(ambient, dim, noise, nodes, cut=1e-20):
    """a^2 = r F/(r F + D - r), F noncentral with r and D - r degrees of freedom and D/sigma^2."""

    def density(a):
        ratio = a * a / (1.0 - a * a) * (ambient - dim) / dim
        return np.nan_to_num(ncf.pdf(ratio, dim, ambient - dim, ambient / noise**2) * a / (1.0 - a * a) ** 2)

    grid = np.linspace(1e-4, 1.0 - 1e-7, 4001)
    kept = grid[density(grid) > cut * density(grid).max()]
    x, w = np.polynomial.legendre.leggauss(nodes)
    a = kept[0] + (kept[-1] - kept[0]) * (x + 1.0) / 2.0
    return a, w * density(a) / (w * density(a)).sum()


def two_sided(dim, ambient, noise, threshold, size, squared=False, grid=120, turns=30, nodes=24):
    """Two-sided descent for m = ``size`` points, r >= 3."""
    a, shares = alignment_law(ambient, dim, noise, nodes)
    table = np.linspace(0.0, np.pi, 3001)
    along = a[:, None] * a * np.cos(table)[:, None, None]
    room = np.sqrt((1.0 - a[:, None] ** 2) * (1.0 - a**2))
    edge = coordinate_tail(ambient - dim, (threshold - along) / room) @ shares
    none = coordinate_tail(ambient - dim, (along - threshold) / room) @ shares
    if squared:
        other = coordinate_tail(ambient - dim, (threshold + along) / room) @ shares
        edge, none = edge + other, none - other
    last, sheets = (np.pi / 2, 2.0) if squared else (np.pi, 1.0)
    step = last / grid
    d = (np.arange(grid) + 0.5) * step
    mass = sheets * step * np.sin(d) ** (dim - 2) * np.exp(-betaln((dim - 1) / 2, 0.5))
    turn = (np.arange(turns) + 0.5) * np.pi / turns
    weight = np.sin(turn) ** (dim - 3) / (np.sin(turn) ** (dim - 3)).sum()
    side = np.cos(d)[:, None, None] * np.cos(d)[:, None] + np.sin(d)[:, None, None] * np.sin(d)[:, None] * np.cos(turn)
    place = np.arccos(np.clip(side, -1.0, 1.0)) / table[1]
    low = np.minimum(place.astype(int), len(table) - 2)
    part = place - low

    def around(kernel):
        """k(d, t; a) times the samples at t, (a, d, t)."""
        read = [(weight * ((1.0 - part) * column[low] + part * column[low + 1])).sum(-1) for column in kernel.T]
        return np.array(read) * mass

    def up_to(samples):
        """Sums over t below the midpoints of a cell, half of it included."""
        return np.cumsum(samples, axis=-1) - 0.5 * samples

    with_edge, without = around(edge), around(none)
    own = np.arange(grid)
    within = up_to(with_edge)
    degree = with_edge.sum(-1).mean(-1)
    closer = within[:, own, own].T
    beyond = with_edge.sum(-1, keepdims=True) - within
    missed_beyond = (without.sum(-1, keepdims=True) - up_to(without))[:, own, own].T
    missed = np.stack([np.interp(d, table, column) for column in none.T], axis=-1)
    share = up_to(mass)
    one = (1.0 - closer) ** (size - 2)
    two = np.broadcast_to((1.0 - degree) ** (size - 2), one.shape).copy()
    for i in range(grid):
        far = np.where(own > i, mass, 0.5 * mass * (own == i))
        rest = np.maximum(share[:, None] - closer[i], 1e-300)[:, :, None]
        missing = missed_beyond[:, None, :]
        pairs = rest ** (size - 3) * np.expm1(np.minimum((size - 3) * np.log1p(missing / rest), 700.0))
        two[i] += (size - 2) * far @ (pairs @ shares)
        near = np.where(own < i, mass, 0.5 * mass * (own == i))
        gone = (within[:, i].T + (share[i] - share)[:, None])[:, :, None] + beyond[:, :, i].T[:, None, :]
        two[i] += (size - 2) * near @ (np.clip(1.0 - gone, 0.0, 1.0) ** (size - 3) @ shares)
    alone = (1.0 - degree) ** (size - 1) @ shares
    return float(alone + (size - 1) * mass @ ((missed * np.minimum(one, two)) @ shares))


def root_alone(dim, ambient, noise, threshold, size, nodes):
    """E (1 - Q)^{m-1}, to any depth of the alignment's tail: one integral, and many nodes."""
    a, shares = alignment_law(ambient, dim, noise, nodes, cut=1e-30)
    x, w = np.polynomial.legendre.leggauss(200)
    angle = np.pi * (x + 1.0) / 2.0
    weight = np.pi / 2.0 * w * np.sin(angle) ** (dim - 2) * np.exp(-betaln((dim - 1) / 2, 0.5))
    along = a[:, None] * a * np.cos(angle)[:, None, None]
    room = np.sqrt((1.0 - a[:, None] ** 2) * (1.0 - a**2))
    degree = weight @ (coordinate_tail(ambient - dim, (threshold - along) / room) @ shares)
    return float((1.0 - degree) ** (size - 1) @ shares)

"""How far a token strays from its clean cluster in one block, with probability: the row bound of Theorem 2f.

Row j mixes x_j with the average of its neighbours. Every bracket z_b = (1 - lambda) x_j + lambda x_b is split at the
clean point of x_b: Y_b = <u_b, z_b>, Z_b = z_b - Y_b u_b. The row *fails at slope T* when |sum_b X_b Z_b| >= T sum_b
X_b Y_b, X_b = ReLU(cos(x_j, x_b) - tau); a row without neighbours fails. Given x_j the summands are independent. With
Lambda(z) = E exp(z c), c a coordinate of a uniform direction, h uniform on a sphere of radius rho, and kappa the slope
of log Lambda(rho t) in t, for all rho, t > 0
    P(row j fails | x_j) <= e^{kappa t - log Lambda(rho t)} E_h prod_b E exp(X_b (<h, Z_b> - kappa T Y_b)):
no operator norm, no union over directions, and no price for weights that depend on the noise.

Proof: theory.md, section 2f.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaln, ndtr

from theory.lemmas.fusion_nodes import (
    FULL,
    THIN,
    WINDOW,
    Nodes,
    chi_nodes,
    coordinate_nodes,
    direction_nodes,
    normal_density,
    normal_nodes,
)
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, scaled_log_bessel
from theory.numerics.inputs import Numbers, require_count, require_mixing, require_range
from theory.numerics.precision import half_as_float64
from theory.numerics.quadrature import gauss_legendre

# Half-width of the window of angles, in standard deviations: what lies outside counts as failed.
ANGLE_WINDOW = 8.0
# Sectors of the half circle; angles at which the bound's parameters are chosen (the others interpolate).
SECTORS, CHOSEN = 6, 15
# Norms, in standard deviations, at which parameters are chosen.
NORM_STEPS = np.array([-2.5, 2.5])
# Nodes in a cell of angles.
FINE = 6


@dataclass(frozen=True)
class _Neighbours:
    """A neighbour's law given the row's point, on nodes: arrays (rows, nodes) but for ``empty`` and ``own``, (rows,).

    Attributes:
        weight: probability of the node; only neighbours with an edge have nodes.
        share: X.
        gain: X Y.
        noise: X times the part of lambda e_b in the row's plane, across the clean point.
        off: squared length of X times the part of lambda e_b off the plane, over twice its dimension.
        own: what the row keeps of its own point, (1 - lambda) |x_j - <u_b, x_j> u_b|.
        empty: probability of no edge.
        limit: M is finite, with room to spare, where rho^2 times this is below 1.
    """

    weight: np.ndarray
    share: np.ndarray
    gain: np.ndarray
    noise: np.ndarray
    off: np.ndarray
    own: np.ndarray
    empty: np.ndarray
    limit: float


class RowLaw:
    """The row bound at one noise level.

    Args:
        ambient_dim: D >= 3.
        noise_level: sigma, in NOISE_RANGE.
        threshold: tau in (0, 1).
        mixing: lambda in (0, 1].
        min_within_cos: smallest clean cosine inside a cluster, in (0, 1].
        nodes: of the integrals.

    Raises:
        ValueError: an argument outside its range.
    """

    @half_as_float64
    def __init__(
        self,
        ambient_dim: int,
        noise_level: float,
        threshold: float,
        mixing: float,
        min_within_cos: float = 1.0,
        nodes: Nodes = FULL,
    ) -> None:
        self.dim = require_count(ambient_dim, "ambient_dim", 3, LARGEST_DIM)
        require_range(noise_level, "noise_level", *NOISE_RANGE)
        require_range(threshold, "threshold", 0.0, 1.0, closed="neither")
        require_mixing(mixing)
        require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
        self.scale = float(noise_level) / np.sqrt(self.dim)
        self.threshold, self.mixing, self.within = float(threshold), float(mixing), float(min_within_cos)
        self._nodes = nodes
        self._place_rows()

    # --- the row's own point ------------------------------------------------------------------------------------------

    def _place_rows(self) -> None:
        """Angles between x_j and u_j on a grid, norms given the angle, and what a function on them integrates to."""
        s, dim = self.scale, self.dim
        noise = s * np.sqrt(dim)
        center, spread = np.arctan2(s * np.sqrt(dim - 1.0), 1.0), s / np.sqrt(1.0 + noise**2)
        low, high = max(center - ANGLE_WINDOW * spread, 0.0), min(center + ANGLE_WINDOW * spread, np.pi / 2.0 - 1e-9)
        cells = self._nodes.angles if self.within == 1.0 else self._nodes.angles // 4
        self._angles, self._center = np.linspace(low, high, cells + 1), center
        fine, width = gauss_legendre(self._angles[:-1], self._angles[1:], FINE)
        # Norms, nearly Gaussian given the angle, matter where the row keeps a share of its own point.
        steps, weights = normal_nodes(self._nodes.norms)
        self._steps = np.zeros(1) if self.mixing == 1.0 else steps
        norms = self._norms(fine, steps)
        exponent = (
            (dim - 1.0) * np.log(norms) + (dim - 2.0) * np.log(np.sin(fine))[..., None]
            - (norms**2 - 2.0 * norms * np.cos(fine)[..., None]) / (2.0 * s * s) + 0.5 * steps**2
        )  # fmt: skip
        density = np.exp(exponent - exponent.max()) * (weights * self._deviation(fine)[..., None]) * width[..., None]
        density /= density.sum()
        self._mass = density.sum(axis=-1, keepdims=True) if self.mixing == 1.0 else density

    def _norms(self, angles: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """|x_j| at so many standard deviations from its mode, given the angle, (..., steps)."""
        return np.maximum(self._mode(angles)[..., None] + self._deviation(angles)[..., None] * steps, 1e-12)

    def _mode(self, angles: np.ndarray) -> np.ndarray:
        cosine = np.cos(angles)
        return 0.5 * (cosine + np.sqrt(cosine**2 + 4.0 * (self.dim - 1.0) * self.scale**2))

    def _deviation(self, angles: np.ndarray) -> np.ndarray:
        return 1.0 / np.sqrt((self.dim - 1.0) / self._mode(angles) ** 2 + self.scale**-2)

    # --- its neighbours -----------------------------------------------------------------------------------------------

    def _neighbours(self, cosine: np.ndarray, norm: np.ndarray, nodes: tuple[int, int, int]) -> _Neighbours:
        """The law of a neighbour x_b, given <u_b, x_j>/|x_j| and |x_j|, arrays (rows,).

        In the plane of u_b and x_j the neighbour has coordinates along x_j and across it, both Gaussian, and its part
        off the plane has the length s chi_{D-2}. The edge needs cos > tau, which bounds the first from below.
        """
        s, lam, tau = self.scale, self.mixing, self.threshold
        count_along, count_across, count_off = nodes
        cosine, norm = cosine[:, None, None, None], norm[:, None, None, None]
        sine = np.sqrt(1.0 - cosine**2)
        steps, step_weights = normal_nodes(count_across)
        across = -sine + s * steps[:, None, None]
        off, off_weights = chi_nodes(self.dim - 2, count_off)
        off = s * off[:, None]
        kink = np.sqrt(across**2 + off**2) * tau / np.sqrt(1.0 - tau**2)
        top = cosine + 1.15 * WINDOW * s
        low = np.maximum(kink, cosine - 1.15 * WINDOW * s)
        along, along_weights = gauss_legendre(low[..., 0], np.broadcast_to(top, low.shape)[..., 0], count_along)
        weight = (
            along_weights * normal_density((along - cosine) / s) / s
            * step_weights[:, None, None] * off_weights[:, None]
        )  # fmt: skip
        share = np.maximum(along / np.sqrt(along**2 + across**2 + off**2) - tau, 0.0)
        own, side = cosine * along - sine * across, sine * along + cosine * across
        parts = (weight, share, share * ((1.0 - lam) * norm * cosine + lam * own), lam * share * side,
                 (lam * share * off) ** 2 / (2.0 * (self.dim - 2.0)))  # fmt: skip
        weight, share, gain, noise, spread = (
            np.broadcast_to(part, weight.shape).reshape(len(weight), -1) for part in parts
        )
        kept, empty = ((1.0 - lam) * norm * sine)[:, 0, 0, 0], np.clip(1.0 - weight.sum(axis=1), 0.0, 1.0)
        limit = 2.0 * (lam * (1.0 - tau) * s) ** 2 / (self.dim - 2.0)
        return _Neighbours(weight, share, gain, noise, spread, kept, empty, limit)

    # --- the bound ----------------------------------------------------------------------------------------------------

    @half_as_float64
    def failure(self, slope: Numbers, cluster_size: int) -> Numbers:
        """A bound on P(a row of a cluster of this size fails at ``slope``), in [0, 1]; elementwise in a list of slopes.

        Raises:
            ValueError: a slope not above 0, a cluster of fewer than 2.
        """
        require_range(slope, "slope", 0.0, np.inf, closed="neither")
        others = require_count(cluster_size, "cluster_size", 2) - 1
        slopes = np.atleast_1d(np.asarray(slope, dtype=float))
        bound: _Bound = (_Spread if self._isotropic else _Sectors)(others, self.dim)
        with np.errstate(all="ignore"):
            chosen = self._parameters(bound, slopes)
            found = np.array([self._mean(bound, each, chosen(i)) for i, each in enumerate(slopes)])
        return found if np.ndim(slope) else float(found[0])

    def typical_slope(self, cluster_size: int) -> float:
        """|sum X Z| / sum X Y of a row whose own point and neighbours are as they are on average: orients, bounds
        nothing.

        Raises:
            ValueError: a cluster of fewer than 2.
        """
        others = require_count(cluster_size, "cluster_size", 2) - 1
        middle = np.array([self._center])
        law = self._neighbours(np.cos(middle), self._norms(middle, np.zeros(1))[:, 0], self._nodes.neighbour)
        own, noise, gain, off = (
            float((law.weight * part).sum())
            for part in (law.own[:, None] * law.share, law.noise, law.gain, 2.0 * (self.dim - 2.0) * law.off)
        )
        # In a cone what the row keeps of its own point counts in full.
        apart, along = (own, noise) if self._isotropic else (0.0, own + noise)
        length = others * apart + np.sqrt((others * along) ** 2 + others * off)
        return float(length / max(others * gain, 1e-300))

    def _mean(self, bound: "_Bound", slope: float, parameters: Callable[[float], np.ndarray]) -> float:
        """The bound averaged over the row's own point."""
        logs = np.stack([self._given(step, bound, slope, parameters(step)) for step in self._steps], axis=-1)
        # A bound is used between two angles as the larger of theirs: where it rises like a step, half of a cell's mass
        # would be lost between a small value and a large one.
        logs = np.minimum(np.maximum(logs[:-1], logs[1:]), 0.0)
        outside = self._outside() + float(ndtr(-1.0 / self.scale))
        return float(min(1.0, (self._mass * np.exp(logs)[:, None]).sum() + outside))

    def _given(self, step: float, bound: "_Bound", slope: float, parameters: np.ndarray) -> np.ndarray:
        """Log bound given the row's angle and norm, (angles,)."""
        return self._others(self._angles, step).average(lambda law: bound.log_bound(law, slope, *parameters))

    def _outside(self) -> float:
        """A bound on the mass beyond the grid of angles, counted on both sides.

        With c the middle, f = s |g| cos(theta) - sin(theta)(1 + s Z) is s-Lipschitz in the noise, positive where the
        angle exceeds theta, and of mean at most -sin(theta - c)/cos(c).
        """
        width = min(self._angles[-1] - self._center, np.pi / 2.0)
        return float(2.0 * np.exp(-0.5 * (np.sin(width) / (self.scale * np.cos(self._center))) ** 2))

    def _parameters(self, bound: "_Bound", slopes: np.ndarray) -> Callable[[int], Callable[[float], np.ndarray]]:
        """The bound's parameters (2, ..., angles) of one slope by the norm's step, chosen at few angles."""
        angles = np.linspace(self._angles[0], self._angles[-1], CHOSEN)
        steps = np.zeros(1) if self.mixing == 1.0 else NORM_STEPS
        chosen = [bound.choose(self._others(angles, step, thin=True), slopes) for step in steps]
        every = [np.apply_along_axis(lambda v: np.interp(self._angles, angles, v), -1, each) for each in chosen]
        rise = (every[-1] - every[0]) / (steps[-1] - steps[0]) if len(steps) > 1 else np.zeros_like(every[0])
        return lambda place: lambda step: np.exp(every[0][:, place] + rise[:, place] * (step - steps[0]))

    def _others(self, angles: np.ndarray, step: float, thin: bool = False) -> "_Others":
        """The neighbours' laws given the row's angles and the norm at so many standard deviations.

        The other points of a cone lie at clean cosine >= a to u_j: at worst at a, and turned away from x_j by a
        direction's coordinate. Cosines go from the nearest possible one down; where noise has turned a clean point
        against x_j, which is counted for itself, it stands at 0.
        """
        cosine, norm = np.cos(angles), self._norms(angles, np.array([step]))[:, 0]
        nodes = THIN if thin else self._nodes
        if self.within == 1.0:
            return _Others((self._neighbours(cosine, norm, nodes.neighbour),))
        nearest = np.cos(np.maximum(angles - np.arccos(self.within), 0.0))
        level, turn = self.within * cosine, np.sqrt(1.0 - self.within**2) * np.sin(angles)
        steps, weights = coordinate_nodes(self.dim - 1, nodes.offsets)
        cosines = [nearest + (level - nearest) * place for place in np.arange(nodes.above) / nodes.above]
        cosines += [level, *(level - turn * offset for offset in steps)]
        laws = (self._neighbours(np.maximum(at, 0.0), norm, nodes.neighbour) for at in cosines)
        return _Others(tuple(laws), np.log([0.5, *weights]))

    @property
    def _isotropic(self) -> bool:
        """Whether nothing is known of the direction of sum X Z: in cones, and where no own point is kept."""
        return self.within < 1.0 or self.mixing == 1.0


@dataclass(frozen=True)
class _Others:
    """Laws of the cluster's other points, all of which have the same: one, or in a cone those of falling cosines, the
    last of which come with their log probabilities."""

    laws: tuple[_Neighbours, ...]
    log_weights: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def average(self, log_bound: Callable[[_Neighbours], np.ndarray]) -> np.ndarray:
        """Log mean of a bound, at each cosine the largest of those from the first cosine on: the bound need not fall
        with the cosine, and the clean points may be closer."""
        logs = np.maximum.accumulate(np.stack([log_bound(law) for law in self.laws]), axis=0)
        logs = logs[-len(self.log_weights) :]
        return np.logaddexp.reduce(self.log_weights.reshape(-1, *[1] * (logs.ndim - 1)) + logs, axis=0)


@dataclass(frozen=True)
class _Bound(ABC):
    """What both bounds share: a grid search for their two parameters, log(rho t) and log(t as a share)."""

    others: int
    dim: int

    @abstractmethod
    def choose(self, others: _Others, slopes: np.ndarray) -> np.ndarray:
        """Parameters (2, slopes, ..., rows)."""

    @abstractmethod
    def log_bound(self, law: _Neighbours, slope: Numbers, turn: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Log bound, (..., rows)."""

    def _search(self, shape: tuple[int, ...], value) -> np.ndarray:
        """The best of a grid, then of finer ones around it, elementwise: (2, *shape)."""
        best = np.stack([np.full(shape, np.log(self.dim) - 1.0), np.full(shape, -1.0)])
        for half, count in (((2.7, 1.5), 7), ((0.6, 0.33), 3), ((0.3, 0.16), 3)):
            grid = np.stack(np.meshgrid(*(np.linspace(-h, h, count) for h in half), indexing="ij")).reshape(2, -1)
            tried = np.stack([best + step.reshape(2, *[1] * len(shape)) for step in grid.T])
            values = np.stack([value(*np.exp(each)) for each in tried])
            best = np.take_along_axis(tried, np.argmin(values, axis=0)[None, None], axis=0)[0]
        return best


class _Spread(_Bound):
    """h uniform on a sphere of R^D: the noise may point anywhere; the row's own share counts in full against it."""

    def choose(self, others: _Others, slopes: np.ndarray) -> np.ndarray:
        """Parameters (2, slopes, rows)."""
        coarse, column = direction_nodes(self.dim, 2.0, 1.5), slopes[:, None]
        return self._search(
            (len(slopes), len(others.laws[0].empty)),
            lambda turn, share: others.average(lambda law: self.log_bound(law, column, turn, share, coarse)),
        )

    def log_bound(self, law: _Neighbours, slope: Numbers, turn: np.ndarray, share: np.ndarray, nodes=None):
        """log of e^{conjugate} E_h M(h)^{m-1}, (..., rows); infinite where it overflows or the mean row fails."""
        cosine, weights = direction_nodes(self.dim) if nodes is None else nodes
        gain = np.asarray(slope)[..., None] * law.gain - law.own[:, None] * law.share
        mean = self.others * (law.weight * gain).sum(axis=-1)
        rho, kappa, conjugate = _constants(turn, share * mean, law.limit, self.dim)
        base = law.weight * np.exp(-kappa[..., None] * gain)
        exponent = rho[..., None, None] * cosine[:, None] * law.noise[:, None, :]
        exponent += (rho[..., None, None] ** 2 * (1.0 - cosine**2)[:, None]) * law.off[:, None, :]
        total = law.empty[:, None] + (np.exp(exponent) @ base[..., None])[..., 0]
        value = conjugate + np.logaddexp.reduce(self.others * np.log(total) + weights, axis=-1)
        return np.where(np.isfinite(value) & (mean > 0.0), value, np.inf)


class _Sectors(_Bound):
    """Tight clusters: the plane of u and x_j is known, so that only the part off it may point anywhere.

    With a the part of sum X Z in the plane and b the length of the rest, |(a, b)| >= L puts a cos z + b sin z above
    L cos(half a sector) for the middle z of one of SECTORS sectors of the half circle.
    """

    def choose(self, others: _Others, slopes: np.ndarray) -> np.ndarray:
        """Parameters (2, slopes, sectors, rows)."""
        column = slopes[:, None, None]
        return self._search(
            (len(slopes), SECTORS, len(others.laws[0].empty)),
            lambda turn, share: others.average(lambda law: self._each(law, column, turn, share)),
        )

    def log_bound(self, law: _Neighbours, slope: Numbers, turn: np.ndarray, share: np.ndarray) -> np.ndarray:
        """log of the sum over the sectors of e^{conjugate} M^{m-1}, (rows,)."""
        return np.logaddexp.reduce(self._each(law, slope, turn, share), axis=-2)

    def _each(self, law: _Neighbours, slope: Numbers, turn: np.ndarray, share: np.ndarray) -> np.ndarray:
        half = 0.5 * np.pi / SECTORS
        middle = (2.0 * np.arange(SECTORS)[:, None] + 1.0) * half
        plane = law.own[:, None] * law.share + law.noise
        gain = np.asarray(slope)[..., None] * np.cos(half) * law.gain - np.cos(middle)[..., None] * plane
        mean = self.others * (law.weight * gain).sum(axis=-1)
        off = np.sin(middle)[..., None] ** 2 * law.off
        rho, kappa, conjugate = _constants(turn, share * mean, law.limit, self.dim - 2)
        total = law.empty + (law.weight * np.exp(rho[..., None] ** 2 * off - kappa[..., None] * gain)).sum(axis=-1)
        value = conjugate + self.others * np.log(total)
        return np.where(np.isfinite(value) & (mean > 0.0), value, np.inf)


def _constants(turn: np.ndarray, reach: np.ndarray, limit: float, dim: int) -> tuple[np.ndarray, ...]:
    """rho, kappa and the conjugate kappa t - log Lambda(rho t), from rho t (made smaller where M would not be finite)
    and t; Lambda(z) = E exp(z c), c a coordinate of a uniform direction in R^dim."""
    turn = np.minimum(turn, 0.95 * reach / np.sqrt(limit))
    order = 0.5 * dim - 1.0
    log_mean = gammaln(0.5 * dim) + turn + scaled_log_bessel(order, turn)
    # Lambda'/Lambda = I_{d/2}/I_{d/2-1}.
    ratio = 0.5 * turn * np.exp(scaled_log_bessel(order + 1.0, turn) - scaled_log_bessel(order, turn))
    return turn / reach, ratio * turn / reach, ratio * turn - log_mean

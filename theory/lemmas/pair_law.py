"""The exact law of the cosine of two noisy points: the quantity behind the Gaussian noise ceiling.

x_i = u_i + e_i and x_j = u_j + e_j with unit u_i, u_j at cosine c0 and independent noise e ~ N(0, sigma^2/D I_D).
Given the direction v of x_j with <u_i, v> = c, the cosine of x_i and v is at most a exactly when
    c + s Z <= a R / sqrt(1 - a^2),     s = sigma/sqrt(D),  Z ~ N(0, 1),  R^2 ~ s^2 chi'^2_{D-1}((1 - c^2)/s^2),
with Z and R independent; c itself has the same kind of law around u_j. Both integrals are smooth and are done by
Gauss-Legendre quadrature over windows that leave out less than 1e-30 of the mass.

Source: theory.md, section 2b (Gaussian noise).
"""

from functools import lru_cache

import numpy as np
from scipy.special import gammaln, ive, log_ndtr, ndtri_exp, xlogy

from theory.numerics.inputs import Numbers, require_count, require_range
from theory.numerics.precision import half_as_float64
from theory.numerics.quadrature import gauss_legendre

# Outside, angles or their differences have too few digits left in float64.
NOISE_RANGE = (1e-6, 1e6)
# Beyond, the norm's law is too narrow for its digits in float64.
LARGEST_DIM = 10**9
# Half-width of every window in standard deviations, and nodes across it: a Gaussian factor of width s then spans
# about four nodes, which Gauss-Legendre resolves to 1e-12 relative, tails included.
WINDOW = 13.0
ANGLE_NODES = 128
NORM_NODES = 96
# Cosines on the safe side stand this many standard deviations beyond their quantile, more than quadrature and search
# are off by; and this far (radians), the search's last step.
SAFE_SCORE, SAFE_ANGLE = 3e-9, 2e-12
# Order from which the uniform expansion of the Bessel function is accurate to 1e-8.
UNIFORM_ORDER = 20
# Below it, Hankel's expansion in this many terms is accurate to 1e-13 from this multiple of (order^2 + 10) on.
HANKEL_FROM, HANKEL_TERMS = 2.0, 12


@half_as_float64
def scaled_log_bessel(order: float, x: Numbers) -> Numbers:
    """log[ I_order(x) e^{-x} (x/2)^{-order} ], finite for x >= 0 and any order >= -1/2.

    Large order: Debye's uniform expansion (DLMF 10.41.3). Else, by size of x: power series, scipy, Hankel's expansion.
    """
    x = np.asarray(x, dtype=float)
    if order >= UNIFORM_ORDER:
        z = x / order
        root = np.sqrt(1.0 + z * z)
        p = 1.0 / root
        p2 = p * p
        u1 = p * (3.0 - 5.0 * p2) / 24.0
        u2 = p2 * (81.0 + p2 * (-462.0 + 385.0 * p2)) / 1152.0
        u3 = p * p2 * (30375.0 + p2 * (-369603.0 + p2 * (765765.0 - 425425.0 * p2))) / 414720.0
        u4 = p2 * p2 * (4465125.0 + p2 * (-94121676.0 + p2 * (349922430.0 + p2 * (-446185740.0 + 185910725.0 * p2))))
        series = u1 / order + u2 / order**2 + u3 / order**3 + u4 / (39813120.0 * order**4)
        exponent = order * (root - z) - order * np.log1p(root) + order * np.log(2.0 / order)
        return exponent - 0.5 * np.log(2.0 * np.pi * order * root) + np.log1p(series)
    small = x * x / 4.0 < 1e-3 * (order + 1.0)
    large = x > HANKEL_FROM * (order * order + 10.0)
    middle = ~(small | large)
    # Each formula sees only its own arguments: scipy's function is slow, and NaN from about 1e9 on.
    result = np.empty_like(x)
    result[small] = _power_series(order, x[small])
    result[large] = _hankel_series(order, x[large])
    result[middle] = np.log(ive(order, x[middle])) - order * np.log(x[middle] / 2.0)
    return result


def _power_series(order: float, x: np.ndarray) -> np.ndarray:
    quarter = x * x / 4.0
    term, series = np.ones_like(x), np.ones_like(x)
    for j in range(1, 6):
        term = term * quarter / (j * (order + j))
        series = series + term
    return -gammaln(order + 1.0) + np.log(series) - x


def _hankel_series(order: float, x: np.ndarray) -> np.ndarray:
    """DLMF 10.40.1."""
    term, series = np.ones_like(x), np.ones_like(x)
    for j in range(1, HANKEL_TERMS + 1):
        term = term * ((2.0 * j - 1.0) ** 2 - 4.0 * order**2) / (8.0 * j * x)
        series = series + term
    return np.log(series) - 0.5 * np.log(2.0 * np.pi * x) - order * np.log(x / 2.0)


@half_as_float64
def log_norm_density(norm: Numbers, mean_norm: Numbers, scale: float, dim: int) -> Numbers:
    """Log density of |m + s g| at ``norm``, for a vector m of length ``mean_norm`` and g standard normal in R^dim."""
    order = dim / 2.0 - 1.0
    x = norm * mean_norm / scale**2
    return (
        xlogy(dim - 1.0, norm)
        - (2.0 + 2.0 * order) * np.log(scale)
        - order * np.log(2.0)
        - (norm - mean_norm) ** 2 / (2.0 * scale**2)
        + scaled_log_bessel(order, x)
    )


def _norm_window(mean_norm: Numbers, scale: float, dim: int) -> tuple[Numbers, Numbers]:
    """Where |m + s g| lies but for 1e-30: it is a 1-Lipschitz function of g/s, so it concentrates within s."""
    center = np.sqrt(mean_norm**2 + scale**2 * dim)
    return np.maximum(center - WINDOW * scale, 0.0), center + WINDOW * scale


class PairLaw:
    """Tails and quantiles of cos(x_i, x_j) at one noise level.

    Args:
        ambient_dim: D, 2 to 1e9.
        noise_level: sigma, with E|e|^2 = sigma^2, in NOISE_RANGE.
        clean_cos: c0 = <u_i, u_j> in [-1, 1].
    """

    @half_as_float64
    def __init__(self, ambient_dim: int, noise_level: float, clean_cos: float) -> None:
        self.dim = require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
        require_range(noise_level, "noise_level", *NOISE_RANGE)
        require_range(clean_cos, "clean_cos", -1.0, 1.0)
        self.clean_cos = float(clean_cos)
        self.scale = float(noise_level) / np.sqrt(self.dim)
        self._angles, self._log_angle_weights = self._angle_law()
        self._cosines = np.cos(self._angles)

    def _angle_law(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and log weights of the angle between u_i and x_j: integrate x_j's density in polar coordinates."""
        s, c0, dim = self.scale, self.clean_cos, self.dim
        offset = np.sqrt(max(1.0 - c0 * c0, 0.0))
        typical_norm = np.sqrt(1.0 + s * s * dim)
        center = np.arctan2(np.sqrt(offset**2 + s * s * (dim - 1)), c0)
        # Noise that may reach the origin may turn a point by any angle.
        half = max(1.2 * WINDOW * s / typical_norm, np.arcsin(min(WINDOW * s / typical_norm, 1.0)))
        half = half if WINDOW * s < typical_norm else np.pi
        angles, weights = gauss_legendre(max(center - half, 0.0), min(center + half, np.pi), ANGLE_NODES)
        low, high = _norm_window(np.asarray(1.0), s, dim)
        norms, norm_weights = gauss_legendre(low, high, NORM_NODES)
        along = np.cos(angles)[:, None] * norms
        across = np.sin(angles)[:, None] * norms
        log_density = (
            -((along - c0) ** 2) / (2.0 * s * s) - np.log(np.sqrt(2.0 * np.pi) * s)
            + log_norm_density(across, np.asarray(offset), s, dim - 1) + np.log(norms)
        )  # fmt: skip
        peak = log_density.max()
        density = np.exp(log_density - peak) @ norm_weights
        with np.errstate(divide="ignore"):
            return angles, np.log(weights) + np.log(density) + peak

    @half_as_float64
    def log_tail(self, cosine: float, upper: bool) -> float:
        """log P(cos > cosine) if ``upper`` else log P(cos <= cosine), accurate to 1e-6 for tails down to 1e-40."""
        require_range(cosine, "cosine", -1.0, 1.0, closed="neither")
        return self._log_tail_beyond(float(np.arccos(cosine)), upper)

    def _log_tail_beyond(self, angle: float, upper: bool) -> float:
        """Integrate over R in two panels: where the step in R is (width s tan(angle)), and where it is flat at 1."""
        slope = 1.0 / np.tan(angle)
        slope = slope if abs(slope) > 1e-12 else 1e-12
        c, across = self._cosines, np.sin(self._angles)
        low, high = _norm_window(across, self.scale, self.dim - 1)
        edges = np.sort(np.stack([c - WINDOW * self.scale, c + WINDOW * self.scale]) / slope, axis=0)
        start, stop = np.clip(edges, low, high)
        flat = (low, start) if (slope > 0) == upper else (stop, high)
        parts = [gauss_legendre(start, stop, NORM_NODES), gauss_legendre(*flat, NORM_NODES)]
        norms, weights = (np.concatenate(part, axis=-1) for part in zip(*parts))
        steps = (slope * norms - c[:, None]) / self.scale
        with np.errstate(divide="ignore"):
            exponents = (
                log_ndtr(-steps if upper else steps)
                + log_norm_density(norms, across[:, None], self.scale, self.dim - 1)
                + np.log(weights)
                + self._log_angle_weights[:, None]
            )
        peak = exponents.max()
        if peak == -np.inf:
            return -np.inf
        return float(peak + np.log(np.exp(exponents - peak).sum()))

    @half_as_float64
    def tail(self, cosine: float, upper: bool) -> float:
        """P(cos > cosine) if ``upper`` else P(cos <= cosine)."""
        return float(np.exp(self.log_tail(cosine, upper)))

    @half_as_float64
    def quantile(self, log_probability: float, upper: bool) -> float:
        """The cosine whose upper (lower) tail has the given log probability.

        Secant steps on the normal score of the tail as a function of the angle, which is nearly a straight line.

        Raises:
            ValueError: a log probability outside (-inf, 0).
        """
        require_range(log_probability, "log_probability", -np.inf, 0.0, closed="neither")
        goal = float(ndtri_exp(log_probability))
        # The score rises with the angle for upper tails of the cosine and falls for lower ones.
        sign = 1.0 if upper else -1.0
        floor, ceiling = 1e-12, np.pi - 1e-12
        weights = np.exp(self._log_angle_weights)
        spread = _spread(self.dim, self.scale)
        center = np.arccos(np.clip(self.clean_cos / (1.0 + self.scale**2 * self.dim) * weights.sum(), -1.0, 1.0))

        def miss(angle: float) -> float:
            return float(ndtri_exp(min(self._log_tail_beyond(angle, upper), -1e-300))) - goal

        low, high = floor, ceiling
        angle = float(np.clip(center + sign * goal * spread, floor, ceiling))
        value, slope = miss(angle), sign / spread
        for _ in range(60):
            # Keep a bracket, so that a bad secant step falls back to bisection.
            if value * sign > 0:
                high = angle
            else:
                low = angle
            step = angle - value / slope
            if not low < step < high:
                step = 0.5 * (low + high)
            if abs(step - angle) < 1e-12:
                return float(np.cos(step))
            new_value = miss(step)
            slope = (new_value - value) / (step - angle) if new_value != value else sign / spread
            angle, value = step, new_value
            if abs(value) < 1e-10:
                return float(np.cos(angle))
        raise ArithmeticError(f"no quantile found at log probability {log_probability:g}")


# Sweeps ask for the same ceilings and floors cell after cell.
@lru_cache(maxsize=4096)
def pair_quantile(
    ambient_dim: int, noise_level: float, clean_cos: float, log_probability: float, *, upper: bool
) -> float:
    """``PairLaw(...).quantile(...)``, remembered."""
    return PairLaw(ambient_dim, noise_level, clean_cos).quantile(log_probability, upper)


def safe_quantile(
    ambient_dim: int, noise_level: float, clean_cos: float, log_probability: float, *, upper: bool
) -> float:
    """``pair_quantile`` rounded away from the pair, so that the tail beyond is no larger: what a guarantee is made of.
    Certified, not only rounded, by theory.rigorous."""
    found, dim = pair_quantile(ambient_dim, noise_level, clean_cos, log_probability, upper=upper), int(ambient_dim)
    turn = SAFE_SCORE * _spread(dim, float(noise_level) / np.sqrt(dim)) + SAFE_ANGLE
    turned = np.cos(np.clip(np.arccos(found) + (-turn if upper else turn), 0.0, np.pi))
    # The cosine itself is rounded, and near 1 and -1 its last digit is an angle of 1e-8.
    return float(np.clip(np.nextafter(turned, 2.0 if upper else -2.0), -1.0, 1.0))


def _spread(dim: int, scale: float) -> float:
    """About one standard deviation of a pair's angle."""
    return float(np.sqrt(max(2.0 * scale**2 / (1.0 + scale**2 * dim), 1e-30)))


@lru_cache(maxsize=4096)
def pair_log_tail(ambient_dim: int, noise_level: float, clean_cos: float, cosine: float, *, upper: bool) -> float:
    """``PairLaw(...).log_tail(...)``, remembered."""
    return PairLaw(ambient_dim, noise_level, clean_cos).log_tail(cosine, upper)

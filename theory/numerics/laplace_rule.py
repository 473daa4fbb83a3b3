"""Integrals over t > 0 of h exp(-b t h) times a mixture of decaying exponentials, by sums that err on a known side.

With t = e^u and steps s in u, a > 0:  s sum_k a t_k exp(-a t_k) = theta,  |theta - 1| <= eps = 2 sum_{k>=1} |Gamma(1 +
2 pi i k/s)|, whatever a and the offset of the grid are (Poisson summation: the integrand's Fourier transform is a Gamma
function). So for K(t) = E exp(-t X), X >= 0, the sum over all nodes of s h t exp(-b t h) K(t) is E h/(b h + X) up to
factors in [1 - eps, 1 + eps]. Nodes before the first add at most s h t_0/(e^s - 1), as K <= 1; those behind the last at
most K(t_last) times what the sum of s h t exp(-b t h) still lacks, as K falls. Proof: theory.md, section 6.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from theory.numerics.inputs import Numbers, require_range

# Largest argument of the Gamma function whose absolute value still counts: below 1e-300 behind it.
_LAST_TERM = 400.0


def trapezoid_error(step: float) -> float:
    """eps of a step s: 2 sum_{k>=1} |Gamma(1 + 2 pi i k/s)|, |Gamma(1 + iy)|^2 = pi y/sinh(pi y). 2.8e-5 at s = .75.

    Raises:
        ValueError: step outside (0, 2].
    """
    require_range(step, "step", 0.0, 2.0, closed="right")
    return _error(float(step))


@lru_cache(maxsize=16)
def _error(step: float) -> float:
    y = 2.0 * math.pi * np.arange(1, 1 + max(1, int(_LAST_TERM * step))) / step
    log_square = np.log(2.0 * math.pi * y) - math.pi * y - np.log1p(-np.exp(-2.0 * math.pi * y))
    return float(2.0 * np.exp(0.5 * log_square).sum())


@dataclass(frozen=True)
class LaplaceRule:
    """Nodes t_0 < ... < t_last with t_{k+1} = e^step t_k, and the bound eps on the error of all nodes together."""

    nodes: Float[np.ndarray, " Q"]
    step: float
    error: float

    @classmethod
    def spanning(cls, smallest: float, largest: float, total: float, step: float, loss: float) -> "LaplaceRule":
        """Nodes for h in [smallest, largest] and sums h + X up to ``total``; what lies before the first node is at most
        about ``loss`` of the result."""
        first = math.log(loss / max(total, largest))
        last = math.log(40.0 / smallest)
        count = max(2, math.ceil((last - first) / step) + 1)
        return cls(np.exp(first + step * np.arange(count)), step, trapezoid_error(step))

    def kernel(self, weights: Numbers, times: int = 1) -> np.ndarray:
        """s h t_k exp(-times t_k h), of each weight's shape and (Q,)."""
        product = np.asarray(weights)[..., None] * self.nodes
        return self.step * product * np.exp(-times * product)

    def before(self, weights: Numbers) -> Numbers:
        """At most what the nodes before the first would add, whatever K <= 1 is."""
        return np.asarray(weights) * (self.step * self.nodes[0] / math.expm1(self.step))

    def behind(self, kernel: np.ndarray, times: int = 1) -> Numbers:
        """At most what the nodes behind the last would add, over K(t_last)."""
        return np.maximum((1.0 + self.error) / times - kernel.sum(axis=-1), 0.0)

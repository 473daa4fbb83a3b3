"""The part of the noise sweep's audit that asks the theorems' own checks about planted layers, before anything runs.

Equiangular clusters of unequal sizes have every cosine of every layer in closed form. The checks must find that they
hold, must call a violation what is beyond a bound by a millionth of it, and must leave alone what just misses the
hypotheses. What the laws of noise say is worked out another way, by plain quadrature.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.special import ive, ndtr
from scipy.stats import ncx2

from synthetic.audit.formulas import (
    plain_cap,
    plain_contraction,
    plain_equiangular,
    plain_promise,
    plain_spread,
)
from synthetic.batches.noise import NoiseKind, add_noise
from theory.batches.trajectory import Trajectory
from theory.judging.verdicts import Verdict
from theory.lemmas.pair_law import PairLaw, scaled_log_bessel
from theory.noise_free import check_noise_free, spread_bound
from theory.numerics.quadrature import gauss_legendre
from theory.persistence import admits_threshold, check_persistence, persists

SIZES, WITHIN, BETWEEN, DEPTH = (6, 3, 2), 0.7, 0.3, 4
# As the control cells: mixing weights on either side of 1/2.
MIXINGS = (0.3, 0.8)
# By which part of itself a bound is exceeded, or missed.
STEP = 1e-6
# Errors of the quadrature that the pair law is held against, and of the Bessel functions.
LAW_ERROR, BESSEL_ERROR, NODES = 1e-5, 1e-7, 96


def theorem_complaints() -> list[str]:
    """Complaints about the theorems' checks and the laws of noise: sentences, none if all is well."""
    complaints = [*_hypotheses(), *_pair_law(), *_noise()]
    for mixing in MIXINGS:
        cap = float(plain_cap(np.array([WITHIN]), np.array([BETWEEN]), SIZES)[0])
        threshold = (cap + WITHIN) / 2.0
        complaints += _checked(
            "Theorem 2a", threshold, mixing,
            lambda layers, tau, mixing: check_persistence(layers, SIZES, tau, mixing, unit_inputs=True),
            {"a cross cosine beyond its cap": {"beta": (-1, cap * (1.0 + STEP))}},
        )  # fmt: skip
        complaints += _checked(
            "Theorem 1", threshold, mixing,
            lambda layers, tau, mixing: check_noise_free(layers, SIZES, tau, mixing), {},
        )  # fmt: skip
        for tau in (0.0, threshold):
            found = [spread_bound(WITHIN, SIZES, layer, tau, mixing) for layer in range(DEPTH + 1)]
            if not np.allclose(found, 1.0 - np.array(plain_promise(WITHIN, SIZES, tau, mixing, DEPTH)), rtol=1e-9):
                complaints.append(f"the spread that is promised at threshold {tau:.3g}, mixing {mixing:g} is {found}")
    return complaints


# --- planted layers ---------------------------------------------------------------------------------------------------


def sound_layers(mixing: float) -> Trajectory:
    """The equiangular clusters' layers, one trial."""
    alpha, beta = (values[:, None] for values in plain_equiangular(WITHIN, BETWEEN, SIZES, mixing, DEPTH))
    none = np.zeros(alpha.shape)
    return Trajectory(alpha, beta, none + 1.0, none + 1.0, none, none, none + 1.0, none, none)


def with_value(layers: Trajectory, changes: dict[str, tuple[int, float]]) -> Trajectory:
    """Name of an array -> (layer, what it is there)."""
    arrays = {name: getattr(layers, name).copy() for name in changes}
    for name, (layer, value) in changes.items():
        arrays[name][layer] = value
    return replace(layers, **arrays)


def slowest_layers(threshold: float, mixing: float, step: float) -> Trajectory:
    """Layers that fuse as slowly as 1b allows, with a spread beyond the last layer's bound by a share ``step``."""
    spread, alpha = plain_spread(WITHIN, SIZES), [WITHIN]
    for layer in range(DEPTH):
        spread *= plain_contraction(alpha[-1], SIZES, threshold, mixing) ** 2
        alpha.append(1.0 - spread * (1.0 + step if layer == DEPTH - 1 else 1.0 - STEP))
    return replace(sound_layers(mixing), alpha=np.array(alpha)[:, None])


def _checked(
    theorem: str,
    threshold: float,
    mixing: float,
    check: Callable[[Trajectory, float, float], Verdict],
    more: dict[str, dict[str, tuple[int, float]]],
) -> Iterator[str]:
    sound = sound_layers(mixing)
    # With so high a threshold the spread's bound shrinks so slowly that it allows this fall.
    fall = {"alpha": (2, float(sound.alpha[1, 0]) - STEP)}
    cases = {
        "sound layers": (sound, "HOLDS"),
        "layers that fuse as slowly as is allowed": (slowest_layers(threshold, mixing, -STEP), "HOLDS"),
        "a spread beyond its bound": (slowest_layers(threshold, mixing, STEP), "VIOLATED"),
        "a cosine that falls": (with_value(sound, fall), "VIOLATED"),
        "a false edge": (with_value(sound, {"false_edges": (-1, 1.0)}), "VIOLATED"),
        "mass that leaks": (with_value(sound, {"sharpness_error": (1, STEP)}), "VIOLATED"),
    } | {name: (with_value(sound, changes), "VIOLATED") for name, changes in more.items()}
    for name, (layers, expected) in cases.items():
        found = check(layers, threshold, mixing).status.value
        if found != expected:
            yield f"{theorem} says {found} about {name} at mixing {mixing:g}, not {expected}"


def _hypotheses() -> Iterator[str]:
    """Theorem 2a's, on either side of each."""
    cap = float(plain_cap(np.array([WITHIN]), np.array([BETWEEN]), SIZES)[0])
    thresholds = {cap - STEP: False, cap + STEP: True, WITHIN - STEP: True, WITHIN + STEP: False}
    layers = sound_layers(0.5)
    for tau, expected in thresholds.items():
        applicable = check_persistence(layers, SIZES, tau, 0.5, unit_inputs=True).applicable == 1
        if not applicable == bool(persists(WITHIN, BETWEEN, SIZES, tau)) == expected:
            yield f"Theorem 2a is said {'' if applicable else 'not '}to apply at threshold {tau:.9g}"
    limit = WITHIN * BETWEEN / cap
    found = admits_threshold(np.array([WITHIN, WITHIN, -STEP]), np.array([limit - STEP, limit + STEP, -1.0]), SIZES)
    if found.tolist() != [True, False, False]:
        yield f"batches on either side of Theorem 2a's hypotheses are said to satisfy them: {found.tolist()}"


# --- noise ------------------------------------------------------------------------------------------------------------


def plain_tail(dim: int, noise_level: float, clean: float, cosine: float) -> float:
    """P(cos(x_i, x_j) <= cosine): over the angle between u_i and the direction of x_j, P(cos(x_i, that direction) <=
    cosine), both by the squared norm s^2 chi'^2_{D-1} across a direction, as in theory.md 2b."""
    s = noise_level / np.sqrt(dim)

    def across(centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes (., NODES) and weights with density of |u + e across a direction| / s, u at these cosines to it."""
        offset = (1.0 - centers**2) / s**2
        middle, width = np.sqrt(offset + dim), 9.0
        norm, weight = gauss_legendre(np.maximum(middle - width, 0.0), middle + width, NODES)
        return norm, weight * 2.0 * norm * ncx2.pdf(norm**2, dim - 1, offset[:, None])

    total = np.sqrt(1.0 + noise_level**2)
    center, spread = np.arccos(clean / total), 12.0 * s / total
    angle, weight = gauss_legendre(max(center - spread, 1e-9), min(center + spread, np.pi - 1e-9), NODES)
    norm, mass = across(np.array([clean]))
    along = norm / np.tan(angle)[:, None] - clean / s
    density = (mass * norm * np.exp(-(along**2) / 2.0)).sum(axis=-1) / np.sqrt(2.0 * np.pi) / np.sin(angle) ** 2
    norm, mass = across(np.cos(angle))
    below = (mass * ndtr(norm * cosine / np.sqrt(1.0 - cosine**2) - np.cos(angle)[:, None] / s)).sum(axis=-1)
    return float(weight @ (density * below))


def _pair_law() -> Iterator[str]:
    """The law of a pair's cosine, in few and in many dimensions, and the Bessel functions that it is made of."""
    for dim, level, clean, cosine in ((11, 0.2, 0.9, 0.75), (64, 0.4, 0.0, -0.25)):
        found, expected = PairLaw(dim, level, clean).tail(cosine, upper=False), plain_tail(dim, level, clean, cosine)
        if not abs(found / expected - 1.0) <= LAW_ERROR:
            yield f"a pair of clean cosine {clean:g} is said to pass {cosine:g} with probability {found:.6g}, worked " \
                  f"out again {expected:.6g}"  # fmt: skip
    for order in (4.5, 30.5, 126.5):
        x = np.array([0.5, 1.0, 3.0]) * order
        expected = np.log(ive(order, x)) - order * np.log(x / 2.0)
        if not np.abs(scaled_log_bessel(order, x) - expected).max() <= BESSEL_ERROR:
            yield f"the Bessel function of order {order:g} is not scipy's"


def _noise() -> Iterator[str]:
    """Gaussian noise has E|e|^2 = sigma^2, bounded noise at most its level: 400 points in 16 dimensions."""
    points = np.zeros((1, 400, 16)) + np.eye(16)[0]
    labels = np.repeat((0, 1), 200)
    laws: tuple[tuple[NoiseKind, float, float], ...] = (
        ("gaussian", 0.91, 1.09), ("bounded", 0.8, 1.0), ("sphere", 1.0 - STEP, 1.0 + STEP)
    )  # fmt: skip
    for kind, low, high in laws:
        noise = add_noise(points, labels, 0.5, kind, [np.random.default_rng(0)]) - points
        square = float((noise**2).sum(axis=-1).mean()) / 0.25
        if not low <= square <= high:
            yield f"noise of kind {kind} has {square:.3g} of the square that it is said to have"

"""Noise: bounded, worst case and Gaussian, added to clean unit points (theory.md, section 2b)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from theory.affinity import cosine_gram, unit_points
from theory.batches.clusters import cluster_layout
from theory.numerics.inputs import require_range

NoiseKind = Literal["none", "bounded", "sphere", "worst", "gaussian"]


def add_noise(
    points: Float[np.ndarray, "trials n D"],
    labels: np.ndarray,
    noise_level: float,
    kind: NoiseKind,
    rngs: Sequence[np.random.Generator],
) -> Float[np.ndarray, "trials n D"]:
    """Observed points x = u + e.

    Args:
        points: clean unit points.
        labels: (n,), used by the worst case only.
        noise_level: eps in [0, 1) for bounded kinds, sigma >= 0 for Gaussian (E|e|^2 = sigma^2).
        kind: "none"; "bounded": uniform in the ball; "sphere": uniform on its surface; "worst": see
            ``worst_case_noise``; "gaussian".
        rngs: one generator a trial.

    Raises:
        ValueError: noise level out of range, unknown kind.
    """
    if kind not in ("none", "bounded", "sphere", "worst", "gaussian"):
        raise ValueError(f"kind: must be none, bounded, sphere, worst or gaussian, got {kind!r}")
    if kind == "gaussian":
        require_range(noise_level, "noise_level", 0.0, np.inf, closed="left")
    else:
        require_range(noise_level, "noise_level", 0.0, 1.0, closed="left")
    if kind == "none" or noise_level == 0.0:
        return points
    if kind == "worst":
        return np.stack([worst_case_noise(clean, labels, noise_level) for clean in points])
    n, dim = points.shape[-2:]
    draws = np.stack([rng.standard_normal((n, dim)) for rng in rngs])
    if kind == "gaussian":
        return points + draws * (noise_level / np.sqrt(dim))
    radii = np.ones((len(points), n, 1)) * noise_level
    if kind == "bounded":
        radii *= np.stack([rng.random((n, 1)) for rng in rngs]) ** (1.0 / dim)
    return points + radii * unit_points(draws)


def worst_case_noise(
    points: Float[np.ndarray, "n D"], labels: np.ndarray, noise_level: float
) -> Float[np.ndarray, "n D"]:
    """Noise of norm exactly eps that turns four (or three) points by arcsin(eps), the rest staying clean.

    The closest cross pair is turned towards each other and the widest within pair apart, so that
    beta(eps) = cos(theta_b - 2 phi) and alpha(eps) = cos(theta_w + 2 phi) are attained. Among ties the pairs are
    chosen disjoint; a point that both pairs share (a circle of three points) is turned for the cross pair, which
    serves both when the three lie on one circle. Where no disjoint pair is tied and the points do not lie on a circle,
    the cross bound is attained and the within bound only approached.
    """
    cluster_layout(labels, len(points))
    cosines = cosine_gram(points)
    same = np.asarray(labels)[:, None] == np.asarray(labels)[None, :]
    cross = ~same
    np.fill_diagonal(same, False)
    widest = np.argwhere(np.triu(same & (cosines <= cosines[same].min() + 1e-12)))
    closest = np.argwhere(np.triu(cross & (cosines >= cosines[cross].max() - 1e-12)))
    pair_within, pair_cross = _disjoint(widest, closest)
    moved = points.copy()
    _turn_pair(moved, points, pair_within, np.arcsin(noise_level), apart=True)
    _turn_pair(moved, points, pair_cross, np.arcsin(noise_level), apart=False)
    return moved


def _disjoint(widest: np.ndarray, closest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One widest and one closest pair that share no point, if ties allow it."""
    for pair in widest[:64]:
        free = ~np.isin(closest, pair).any(axis=1)
        if free.any():
            return pair, closest[free.argmax()]
    return widest[0], closest[0]


def _turn_pair(moved: np.ndarray, points: np.ndarray, pair: np.ndarray, turn: float, apart: bool) -> None:
    """Turn both points of a pair along their great circle by ``turn``, or until they meet (are opposite).

    x = cos(t) (u turned by t) is u + e with e orthogonal to x and |e| = sin(t).
    """
    u, v = points[pair[0]], points[pair[1]]
    along_u, along_v = v - (u @ v) * u, u - (u @ v) * v
    sine = np.linalg.norm(along_u)
    if sine < 1e-12:
        # Coincident or opposite points lie on many great circles; both must be turned along the same one.
        axis = np.eye(len(u))[np.abs(u).argmin()]
        along_u = axis - (axis @ u) * u
        along_v = -np.sign(u @ v) * along_u
    angle = np.arctan2(sine, u @ v)
    turn = min(turn, (np.pi - angle if apart else angle) / 2.0)
    for index, point, tangent in ((pair[0], u, along_u), (pair[1], v, along_v)):
        step = (-1.0 if apart else 1.0) * np.sin(turn) * tangent / np.linalg.norm(tangent)
        moved[index] = np.cos(turn) * (np.cos(turn) * point + step)

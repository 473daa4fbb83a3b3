"""Slow references for Theorems 3 and 4 and Proposition 5: plain loops in 50 digits, nothing shared with the code."""

from typing import NamedTuple

import mpmath
from mpmath import mpf

DIGITS = 50


class Layer(NamedTuple):
    """One layer of softmax attention, every mass by row."""

    alpha: mpf
    beta: mpf
    gamma: mpf
    mass: list


def dot(x, y):
    return mpmath.fsum(a * b for a, b in zip(x, y))


def unit(x):
    norm = mpmath.sqrt(dot(x, x))
    return [a / norm for a in x]


def softmax_layers(points, labels, kappa, mixing, depth, normalized):
    """Layers 0..depth, and the tokens of the last; inputs are made unit, later tokens where ``normalized``."""
    with mpmath.workdps(DIGITS):
        kappa, mixing = mpf(float(kappa)), mpf(float(mixing))
        tokens = [unit([mpf(float(v)) for v in x]) for x in points]
        layers, rows = [], range(len(labels))
        for layer in range(depth + 1):
            directions = [unit(x) for x in tokens]
            cosines = [[dot(x, y) for y in directions] for x in directions]
            weights = [[mpmath.exp(kappa * c) for c in row] for row in cosines]
            weights = [[w / mpmath.fsum(row) for w in row] for row in weights]
            within = [cosines[i][j] for i in rows for j in range(i) if labels[i] == labels[j]]
            cross = [cosines[i][j] for i in rows for j in range(i) if labels[i] != labels[j]]
            mass = [mpmath.fsum(weights[i][j] for j in rows if labels[i] == labels[j]) for i in rows]
            layers.append(Layer(min(within), max(cross), min(cross), mass))
            if layer < depth:
                fused = [[dot(row, column) for column in zip(*tokens)] for row in weights]
                tokens = [[(1 - mixing) * a + mixing * b for a, b in zip(x, y)] for x, y in zip(tokens, fused)]
                tokens = [unit(x) for x in tokens] if normalized else tokens
        return layers, tokens


def mass_floor(gap, kappa, size, batch):
    """Own weights e^(kappa alpha) against the others' e^(kappa beta)."""
    with mpmath.workdps(DIGITS):
        own, others = size * mpmath.exp(mpf(float(kappa)) * mpf(gap)), mpf(int(batch) - int(size))
        return own / (own + others)


def certified_layers(alpha, beta, gamma, kappa, smallest, batch, depth, mixing):
    """Theorem 3b's (alpha, beta, gamma), layer by layer; None from the first layer on about which nothing is said."""
    with mpmath.workdps(DIGITS):
        a, b, g = (mpf(float(v)) for v in (alpha, beta, gamma))
        mixing, layers = mpf(float(mixing)), [(a, b, g)]
        while len(layers) <= depth:
            lost = mixing * (1 - mass_floor(a - b, kappa, smallest, batch))
            kept = (1 - lost) * (1 - lost)
            floor = kept * a + (1 - kept) * g
            if floor <= 0:
                return layers + [None] * (depth + 1 - len(layers))
            t = kept * b + (1 - kept)
            b = min(t / floor, mpf(1)) if t >= 0 else t
            g = g if g >= 0 else max(g / floor, mpf(-1))
            a = floor
            layers.append((a, b, g))
        return layers


def spread_caps(gamma, kappa, depth, mixing, batch=None):
    """Theorem 3c's bounds on 1 - min C; ``batch`` for blocks that normalize."""
    with mpmath.workdps(DIGITS):
        gamma, kappa, mixing = mpf(float(gamma)), mpf(float(kappa)), mpf(float(mixing))
        spread = 1 - gamma
        if batch is None:
            rho = 1 - mixing * mpmath.exp(-kappa * spread)
            return [min(spread, spread / gamma * rho ** (2 * layer)) for layer in range(depth + 1)]
        caps = [spread]
        for _ in range(depth):
            e = mpmath.exp(-kappa * spread)
            # Two rows share at least e/n of every column; the own columns hold 1 - mixing more.
            shared = (2 * mixing * (1 - mixing) * e + mixing * mixing * e * e) / batch
            shorter = 1 - spread + spread / batch
            spread = min(spread * (1 - shared), spread * (1 - mixing * e) ** 2 / shorter)
            caps.append(spread)
        return caps


def block_layers(within, between, clusters, size, depth, weigh, mixing, self_weight=0):
    """(w, b, sharpness) of layers 0..depth by writing G and P out and multiplying P G P^T.

    ``weigh``: cosine -> raw affinity of another point. ``self_weight``: raw affinity to oneself.
    """
    with mpmath.workdps(DIGITS):
        n, mixing = clusters * size, mpf(float(mixing))
        w, b = mpf(float(within)), mpf(float(between))
        gram = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                gram[i, j] = 1 if i == j else w if i // size == j // size else b
        layers = []
        for _ in range(depth + 1):
            cosine = [[gram[i, j] / mpmath.sqrt(gram[i, i] * gram[j, j]) for j in range(n)] for i in range(n)]
            raw = [[mpf(self_weight) if i == j else weigh(cosine[i][j]) for j in range(n)] for i in range(n)]
            mass = [mpmath.fsum(row) for row in raw]
            own = mpmath.fsum(raw[0][:size])
            layers.append((cosine[0][1], cosine[0][size], own / mass[0] if mass[0] > 0 else mpf(0)))
            step = mpmath.matrix(n, n)
            for i in range(n):
                for j in range(n):
                    fused = raw[i][j] / mass[i] if mass[i] > 0 else mpf(i == j)
                    step[i, j] = (1 - mixing) * (i == j) + mixing * fused
            gram = step * gram * step.T
        return layers


def rectified(threshold=0, power=1):
    """ReLU(C - threshold)^power, for ``block_layers``."""
    return lambda c: max(c - mpf(float(threshold)), mpf(0)) ** mpf(float(power))


def exponential(kappa):
    """exp(kappa C), with self weight exp(kappa)."""
    return lambda c: mpmath.exp(mpf(float(kappa)) * c)


def binary_divergence(s):
    """The Jensen-Shannon divergence of (s, 1 - s) and (1, 0), term by term."""
    with mpmath.workdps(DIGITS):
        s = mpf(float(s))
        mine, ideal = (s, 1 - s), (mpf(1), mpf(0))
        middle = [(a + b) / 2 for a, b in zip(mine, ideal)]
        return mpmath.fsum(p * mpmath.log(p / c) / 2 for row in (mine, ideal) for p, c in zip(row, middle) if p > 0)

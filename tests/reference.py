"""Slow, obvious references: double loops and high precision, nothing shared with the code they test."""

import math
from collections import deque

import mpmath
import numpy as np


def cosine(x, y):
    return math.fsum(a * b for a, b in zip(x, y)) / (math.hypot(*x) * math.hypot(*y))


def extremes(points, labels):
    pairs = [(i, j) for i in range(len(points)) for j in range(i)]
    within = [cosine(points[i], points[j]) for i, j in pairs if labels[i] == labels[j]]
    cross = [cosine(points[i], points[j]) for i, j in pairs if labels[i] != labels[j]]
    return within, cross


def affinity(points, threshold, power=1, signed=True):
    n = len(points)
    rows = []
    for i in range(n):
        row = []
        for j in range(n):
            c = cosine(points[i], points[j])
            if i == j:
                row.append(0.0)
            elif signed:
                row.append(max(c - threshold, 0.0) ** power)
            else:
                row.append(abs(c) ** power if abs(c) > threshold else 0.0)
        mass = math.fsum(row)
        rows.append([v / mass if mass > 0 else 0.0 for v in row])
    return np.array(rows)


def components(edges):
    """Breadth-first search over an undirected boolean matrix."""
    unseen, count = set(range(len(edges))), 0
    while unseen:
        count += 1
        queue = deque([unseen.pop()])
        while queue:
            i = queue.popleft()
            for j in list(unseen):
                if edges[i][j] or edges[j][i]:
                    unseen.remove(j)
                    queue.append(j)
    return count


def pair_upper_tail(ambient_dim, noise_level, clean_cos, cosine_level, digits=80):
    """P(cos(x_i, x_j) > level) as a series of zonal harmonics, D >= 3: nothing but closed forms.

    A projected normal vector's degree-l harmonic shrinks by
        a_l = Gamma((l + D)/2)/Gamma(l + D/2) (1/(2 s^2))^(l/2) 1F1(l/2; l + D/2; -1/(2 s^2)),    s^2 = sigma^2/D,
    (Weber's integral of the von Mises-Fisher coefficients), two independent ones by a_l^2, and the cap's integral of a
    Gegenbauer polynomial is again one.
    """
    with mpmath.workdps(digits):
        dim, level, cos0 = mpmath.mpf(ambient_dim), mpmath.mpf(cosine_level), mpmath.mpf(clean_cos)
        inverse = dim / (2 * mpmath.mpf(noise_level) ** 2)
        order = (dim - 2) / 2
        cap = mpmath.gamma(order + 1) / (mpmath.sqrt(mpmath.pi) * mpmath.gamma(order + mpmath.mpf(1) / 2))
        cap *= (1 - level**2) ** (order + mpmath.mpf(1) / 2) / (2 * order + 1)
        total = mpmath.betainc((dim - 1) / 2, mpmath.mpf(1) / 2, 0, 1 - level**2, regularized=True) / 2
        total = total if level >= 0 else 1 - total

        def normalized_gegenbauer(index, t):
            previous, current, k = mpmath.mpf(1), t, 1
            yield previous
            while True:
                yield current
                previous, current = current, (2 * (k + index) * t * current - k * previous) / (k + 2 * index)
                k += 1

        at_clean, at_level = normalized_gegenbauer(order, cos0), normalized_gegenbauer(order + 1, level)
        next(at_clean)
        quiet, degree = 0, 1
        while quiet < 8:
            shrink = (
                mpmath.gamma((degree + dim) / 2) / mpmath.gamma(degree + dim / 2) * inverse ** (mpmath.mpf(degree) / 2)
                * mpmath.hyp1f1(mpmath.mpf(degree) / 2, degree + dim / 2, -inverse)
            )  # fmt: skip
            count = (2 * degree + dim - 2) / (dim - 2) * mpmath.binomial(degree + dim - 3, degree)
            term = count * shrink**2 * next(at_clean) * cap * next(at_level)
            total += term
            quiet = quiet + 1 if abs(term) < mpmath.mpf(10) ** (-30) else 0
            degree += 1
        return total

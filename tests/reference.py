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


def mean_affinity_jsd(affinity, labels, digits=50):
    """Mean of JSD(Y_i || T_i) over rows whose cluster has another point; a row of Y without mass counts ln 2."""
    with mpmath.workdps(digits):
        total, counted = mpmath.mpf(0), 0
        for i, row in enumerate(affinity):
            others = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
            if not others:
                continue
            counted += 1
            if not any(row):
                total += mpmath.log(2)
                continue
            for j, y in enumerate(row):
                y, t = mpmath.mpf(float(y)), mpmath.mpf(1) / len(others) if j in others else mpmath.mpf(0)
                middle = (y + t) / 2
                total += sum(p * mpmath.log(p / middle) / 2 for p in (y, t) if p > 0)
        return total / counted


def cap_measure(dim, angle, digits=40):
    """The density of the angle to a fixed point of S^{dim-1}, integrated."""
    with mpmath.workdps(digits):
        norm = mpmath.beta(mpmath.mpf(dim - 1) / 2, mpmath.mpf(1) / 2)
        return mpmath.quad(lambda p: mpmath.sin(p) ** (dim - 2), mpmath.linspace(0, mpmath.mpf(angle), 5)) / norm


def lens(dim, radius, distance, squared, digits=20):
    """lens_r(d) of theory.md 2c, its integral as it stands there, cut where the clipped argument reaches 1."""
    with mpmath.workdps(digits):
        radius, distance = mpmath.mpf(radius), mpmath.mpf(distance)
        norm = mpmath.beta(mpmath.mpf(dim - 1) / 2, mpmath.mpf(1) / 2)

        def cap(ratio):
            ratio = min(max(ratio, mpmath.mpf(-1)), mpmath.mpf(1))
            s = dim - 1
            if s == 2:
                return mpmath.acos(ratio) / mpmath.pi
            half = mpmath.betainc(mpmath.mpf(s - 1) / 2, 0.5, 0, 1 - ratio**2, regularized=True) / 2
            return half if ratio >= 0 else 1 - half

        def ring(p):
            share = cap(mpmath.tan(p / 2) / mpmath.tan(distance))
            if squared:
                share = 2 * (share + cap(mpmath.cot(p / 2) / mpmath.tan(distance)))
            return mpmath.sin(p) ** (dim - 2) * share / norm

        kinks = sorted({min(max(k, mpmath.mpf(0)), radius) for k in (2 * distance, mpmath.pi - 2 * distance)})
        return mpmath.quad(ring, [mpmath.mpf(0), *[k for k in kinks if 0 < k < radius], radius])


def circle_disconnection(size, radius, squared):
    """Stevens' sum in exact fractions of the float radius over a rational pi to 60 digits."""
    from fractions import Fraction

    with mpmath.workdps(60):
        pi = Fraction(int(mpmath.floor(mpmath.pi * 10**58)), 10**58)
    share = Fraction(radius) / (pi if squared else 2 * pi)
    total = sum(
        Fraction((-1) ** j * (j - 1) * math.comb(size, j)) * (1 - j * share) ** (size - 1)
        for j in range(2, size + 1)
        if j * share < 1
    )
    return float(total)

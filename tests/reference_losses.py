"""Slow, obvious references of the losses: double loops in high precision, nothing shared with the code they test."""

import mpmath

DIGITS = 40


def _numbers(rows):
    return [[mpmath.mpf(float(v)) for v in row] for row in rows]


def _dot(x, y):
    return mpmath.fsum(a * b for a, b in zip(x, y))


def _unit(rows):
    return [[v / mpmath.sqrt(_dot(row, row)) for v in row] for row in rows]


def nt_xent(view_a, view_b, temperature, normalize=True):
    """SimCLR's equation 1, pair by pair: l(a_k, b_k) and l(b_k, a_k), over 2N."""
    with mpmath.workdps(DIGITS):
        rows = _numbers([*view_a, *view_b])
        rows = _unit(rows) if normalize else rows
        n, total = len(view_a), mpmath.mpf(0)
        for k in range(n):
            for i, j in ((k, k + n), (k + n, k)):
                others = [mpmath.exp(_dot(rows[i], rows[a]) / temperature) for a in range(2 * n) if a != i]
                total -= mpmath.log(mpmath.exp(_dot(rows[i], rows[j]) / temperature) / mpmath.fsum(others))
        return float(total / (2 * n))


def supcon(features, labels, temperature, normalize=True):
    """Khosla et al.'s equation 2, over anchors that have positives."""
    with mpmath.workdps(DIGITS):
        rows = _numbers(features)
        rows = _unit(rows) if normalize else rows
        losses = []
        for i in range(len(rows)):
            weight = {a: mpmath.exp(_dot(rows[i], rows[a]) / temperature) for a in range(len(rows)) if a != i}
            positives = [p for p in weight if labels[p] == labels[i]]
            if positives:
                everyone = mpmath.fsum(weight.values())
                losses.append(-mpmath.fsum(mpmath.log(weight[p] / everyone) for p in positives) / len(positives))
        return float(mpmath.fsum(losses) / len(losses))


def read_affinity(cosines, readout, cut, temperature):
    """Rows of the affinity, from cosines (heads, n, n)."""

    def raw(head, i, j):
        c = float(head[i][j])
        if i == j:
            return 0.0
        if readout == "softmax":
            everyone = [mpmath.exp(mpmath.mpf(float(head[i][a])) / temperature) for a in range(len(head)) if a != i]
            return mpmath.exp(mpmath.mpf(c) / temperature) / mpmath.fsum(everyone)
        if readout == "squared":
            return c * c if abs(c) > cut else 0.0
        return max(c - cut, 0.0) ** {"squared_relu": 2, "relu": 1}[readout]

    with mpmath.workdps(DIGITS):
        n, rows = len(cosines[0]), []
        for i in range(n):
            row = [mpmath.fsum(raw(head, i, j) for head in cosines) / len(cosines) for j in range(n)]
            mass = mpmath.fsum(row)
            rows.append([float(v / mass) if mass > 0 else 0.0 for v in row])
        return rows


def divergence(affinity, labels, kind, smoothing):
    """kl_target or kl_affinity: mean over rows that have a partner, the second argument smoothed off the diagonal."""
    with mpmath.workdps(DIGITS):
        n, rows = len(labels), []
        for i in range(n):
            others = [j for j in range(n) if j != i]
            partners = [j for j in others if labels[j] == labels[i]]
            if not partners:
                continue
            target = {j: mpmath.mpf(j in partners) / len(partners) for j in others}
            row = {j: mpmath.mpf(float(affinity[i][j])) for j in others}
            if not any(row.values()):
                row = {j: mpmath.mpf(1) / (n - 1) for j in others}
            first, second = (target, row) if kind == "kl_target" else (row, target)
            mixed = {j: (1 - mpmath.mpf(smoothing)) * second[j] + mpmath.mpf(smoothing) / (n - 1) for j in others}
            rows.append(mpmath.fsum(first[j] * mpmath.log(first[j] / mixed[j]) for j in others if first[j] > 0))
        return float(mpmath.fsum(rows) / len(rows))


def symnsq_legacy(view_a, view_b, temperature):
    """Entry by entry, with the columns in the order of each half."""
    with mpmath.workdps(DIGITS):
        a, b, tiny = _unit(_numbers(view_a)), _unit(_numbers(view_b)), mpmath.mpf(10) ** -10
        n, total = len(a), mpmath.mpf(0)
        for i in range(2 * n):
            anchor, columns = (a[i], [*b, *a]) if i < n else (b[i - n], [*a, *b])
            squares = [(_dot(anchor, column) / temperature) ** 2 for column in columns]
            squares[i] = mpmath.mpf(0)
            mass = mpmath.fsum(squares) + tiny
            for j, square in enumerate(squares):
                y = min(max(square / mass, tiny), mpmath.mpf(1))
                t = mpmath.mpf(1) if i % n == j % n else tiny
                middle = (y + t) / 2
                total += t * mpmath.log(t / middle) + y * mpmath.log(y / middle)
        return float(total / (2 * n))

"""Theorem 2e's tails, enclosed: the incomplete beta function of a ball is a ball, so that nothing has to be summed.

Why it encloses: a threshold tau that is a float has T^2 = tau^2 - kappa^2 as a ball, and both tails fall in T.
Proof: theory.md, section 2h.
"""

from theory.rigorous.balls import Ball, Enclosure, enclosure, load_flint, settled


def coordinate_tail_ball(dim: int, cosine: Ball) -> Ball:
    """G_dim(t) = P(one coordinate of a uniform point of S^{dim-1} > t), for t in (-1, 1) and dim >= 2."""
    arb = load_flint().arb
    square, a, b = cosine * cosine, arb(dim - 1) / 2, arb(1) / 2
    if square * dim <= 1:
        # Close to the equator, where the incomplete beta function of 1 - t^2 would lose half of the digits.
        beyond = square.beta_lower(b, a, True) / 2
        return b - beyond if cosine >= 0 else b + beyond if cosine <= 0 else b + arb(0, beyond.abs_upper())
    half = ((1 - cosine) * (1 + cosine)).beta_lower(a, b, True) / 2
    if cosine >= 0:
        return half
    return 1 - half if cosine <= 0 else arb(0.5, 0.5)


def tail_constant_ball(complement_dim: int, excess: Ball) -> Ball:
    """C_d(t) of Theorem 2e, for d >= 3."""
    arb, dim = load_flint().arb, complement_dim
    room = (1 - excess) * (1 + excess)
    betas = _log_beta_half(arb(dim - 2) / 2) - _log_beta_half(arb(dim - 1) / 2)
    return (1 + room / ((dim - 1) * excess**2)) * betas.exp() / room.sqrt()


def _log_beta_half(a: Ball) -> Ball:
    """log B(a, 1/2), but for a constant."""
    return a.lgamma() - (a + load_flint().arb(1) / 2).lgamma()


def depth_failure(complement_dim: int, num_events: int, threshold: float, max_between_cos: float = 0.0) -> Enclosure:
    """Theorem 2e's union bound at a threshold: so many events, each with the smaller of its two tails.

    Args:
        complement_dim: d = D - r.
        num_events: layers times cross pairs.
        threshold: tau in (kappa, 1).
        max_between_cos: kappa in [0, 1).
    """
    arb, dim = load_flint().arb, int(complement_dim)

    def bound(bits: int) -> tuple[Ball]:
        squared = arb(threshold) ** 2 - arb(max_between_cos) ** 2
        tail = (-squared * dim / 2).exp()
        if max_between_cos == 0.0 and dim >= 3:
            excess = arb(threshold)
            tail = tail.min(tail_constant_ball(dim, excess) * coordinate_tail_ball(dim, excess))
        return (num_events * tail,)

    return enclosure(settled(bound)[0])

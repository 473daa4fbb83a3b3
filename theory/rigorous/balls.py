"""Ball arithmetic (Arb, by way of python-flint): a number is a midpoint and a radius that is sure to reach it.

python-flint is the extra ``[rigorous]``; nothing here or beside it imports it before an enclosure is asked for.
Float64 arguments are taken for the exact numbers that they are.
Source: theory.md, section 2h.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from theory.console.extras import why_missing

# Bits that every sum starts with, and beyond which it is given up; digits that an enclosure has to have.
FIRST_BITS, LAST_BITS, GOOD_BITS = 128, 1 << 15, 40

# A flint.arb, which a module that must not import flint cannot name.
Ball = Any


def load_flint() -> Any:
    """The module flint.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        import flint
    except ImportError as error:
        raise ImportError(why_missing("rigorous", "rigorous") or str(error)) from error
    return flint


@dataclass(frozen=True)
class Enclosure:
    """A number between two floats: proved.

    Attributes:
        low, high: its bounds, rounded outward.
    """

    low: float
    high: float


def enclosure(ball: Ball) -> Enclosure:
    """A ball as floats, rounded outward; all numbers where it has no bounds."""
    if not ball.is_finite():
        return Enclosure(-math.inf, math.inf)
    return Enclosure(_outward(ball.lower(), -1), _outward(ball.upper(), 1))


def _outward(point: Ball, side: int) -> float:
    """The float next to a number, on the side asked for."""
    arb, found = load_flint().arb, float(point)
    while math.isfinite(found) and not (arb(found) - point) * side >= 0:
        found = math.nextafter(found, side * math.inf)
    return found


@contextmanager
def working_bits(bits: int) -> Iterator[None]:
    """Balls made inside have midpoints of so many bits."""
    context = load_flint().ctx
    before = context.prec
    context.prec = bits
    try:
        yield
    finally:
        context.prec = before


def settled(compute: Callable[[int], tuple[Ball, ...]], good: int = GOOD_BITS) -> tuple[Ball, ...]:
    """Balls of ``good`` correct bits each: computed with ever more bits until they are.

    Raises:
        ArithmeticError: LAST_BITS do not suffice.
    """
    bits = FIRST_BITS
    while bits <= LAST_BITS:
        with working_bits(bits):
            balls = compute(bits)
            if all(ball.is_finite() and ball.rel_accuracy_bits() >= good for ball in balls):
                return balls
        bits *= 2
    raise ArithmeticError(f"rigorous: no enclosure of {good} bits within {LAST_BITS} bits of working precision")


def exceeds(ball: Ball, limit: float | Ball) -> bool:
    """Whether a ball is not proved to lie at or below ``limit``; True where it has no bounds."""
    return not ball <= load_flint().arb(limit)

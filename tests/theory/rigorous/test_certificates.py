"""Balls, certificates, and what is said without the extra."""

import math
import sys

import pytest
from flint import arb, ctx

from theory.batch_floor import connectivity_floor
from theory.depth_threshold import depth_threshold
from theory.noise_ceiling import gaussian_extremes, gaussian_separation
from theory.rigorous.balls import LAST_BITS, Enclosure, enclosure, exceeds, settled, working_bits
from theory.rigorous.certificates import LARGEST_MOVES, Certificate, certify


@pytest.mark.parametrize(
    "call",
    [
        lambda: depth_threshold(64, 8, 100, 3, 0.05, rigorous=True),
        lambda: gaussian_separation(64, 2, 8, 0.9, 0.0, 0.05, rigorous=True),
        lambda: gaussian_extremes(64, 2, 8, 0.9, 0.0, 0.05, 0.3, rigorous=True),
        lambda: connectivity_floor(2, 1.0, 0.02, rigorous=True),
        lambda: connectivity_floor(3, 1.0, 0.02, rigorous=True),
    ],
)
def test_without_the_extra_it_is_named(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"^rigorous: .*\[rigorous\]"):
        call()


def test_without_the_extra_the_default_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    assert 0 < gaussian_separation(64, 2, 8, 0.9, 0.0, 0.05) < 2


def test_floats_lie_outside():
    with working_bits(200):
        third = arb(1) / 3
        found = enclosure(third)
        assert arb(found.low) < third < arb(found.high)
        assert math.nextafter(found.low, 1.0) >= found.high - 1e-16
        assert enclosure(arb(0.5)) == Enclosure(0.5, 0.5)
        assert enclosure(arb(0) / 0) == Enclosure(-math.inf, math.inf)
        assert exceeds(third, 0.3)
        assert not exceeds(third, 0.4)
        assert exceeds(arb(0.4, 0.1), 0.4), "not proved"


def test_precision_comes_back():
    before = ctx.prec
    with pytest.raises(ZeroDivisionError), working_bits(777):
        raise ZeroDivisionError(ctx.prec)
    assert ctx.prec == before


def test_bits_grow_until_they_do():
    tried = []

    def cancels(bits):
        tried.append(bits)
        return ((arb(1) / 3 * arb(2) ** 300 + arb(2).sqrt()) - arb(1) / 3 * arb(2) ** 300,)

    (found,) = settled(cancels)
    assert float(found) == pytest.approx(2**0.5, rel=1e-12)
    assert tried == [128, 256, 512]
    with pytest.raises(ArithmeticError, match=f"within {LAST_BITS} bits"):
        settled(lambda bits: (arb(0, 1),))


def test_numbers_move_until_they_hold():
    held = certify(1.0, lambda x: Enclosure(x, x), 0.9, lambda x, moves: x - 0.01 * 2**moves)
    assert held == Certificate(1.0 - 0.16, 1.0, Enclosure(1.0 - 0.16, 1.0 - 0.16), 0.9, 4)
    assert held.holds
    assert held.moved_by == pytest.approx(0.16)
    lost = certify(1.0, lambda x: Enclosure(2.0, 2.0), 0.9, lambda x, moves: x)
    assert (lost.number, lost.holds, lost.moves) == (None, False, LARGEST_MOVES + 1)
    assert lost.moved_by == math.inf
    # An interval that only reaches beyond what is allowed proves nothing either.
    unsure = certify(1.0, lambda x: Enclosure(0.0, 0.91), 0.9, lambda x, moves: None)
    assert (unsure.number, unsure.holds, unsure.moves) == (None, False, 1)

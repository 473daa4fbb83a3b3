"""Theorem 2b's ceilings and cosines with enclosures."""

import numpy as np
import pytest
from flint import arb

from theory import noise_ceiling
from theory.batch_floor import connectivity_certificate, gaussian_floor_certificate
from theory.batches.clusters import pair_counts
from theory.depth_threshold import depth_certificate
from theory.fusion_ceiling import fusion_threshold
from theory.noise_ceiling import (
    ceiling_certificate,
    gaussian_extremes,
    gaussian_persistence,
    gaussian_separation,
    gaussian_threshold_separation,
)
from theory.rigorous.balls import Enclosure, working_bits
from theory.rigorous.ceilings import (
    Pairs,
    add,
    certify_bounded,
    certify_ceiling,
    certify_cosine,
    keeps_apart,
    tail_sum,
    times,
)

BATCH = (64, 3, (5, 9, 20), 0.8, 0.2, 0.05)
FUNCTIONS = {
    "separation": gaussian_separation,
    "threshold_separation": gaussian_threshold_separation,
    "persistence": gaussian_persistence,
}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("batch", [BATCH, (16, 2, 4, 0.6, -0.3, 0.2), (256, 8, 32, 1.0, 0.0, 0.01)])
def test_ceilings_need_no_move(kind, batch):
    certificate, default = ceiling_certificate(kind, *batch), FUNCTIONS[kind](*batch)
    assert certificate.holds
    assert (certificate.number, certificate.default, certificate.moves) == (default, default, 0)
    assert FUNCTIONS[kind](*batch, rigorous=True) == default
    assert certificate.failure.low > batch[-1] * (1 - 1e-5), "delta is used up"


@pytest.mark.usefixtures("as_users_call")
def test_a_ceiling_of_a_batch_that_is_not_separated_is_zero():
    lost = (64, 3, 5, 0.2, 0.8, 0.05)
    assert ceiling_certificate("separation", *lost) is None
    assert gaussian_separation(*lost, rigorous=True) == 0.0
    with pytest.raises(ValueError, match=r"^kind: must be one of separation"):
        ceiling_certificate("magic", *BATCH)


def planted(kind, factor, counts=(1.0, 1.0)):
    """The certificate of a ceiling that is ``factor`` times the right one, and of other numbers of pairs."""
    setting = noise_ceiling._setting(*BATCH)
    within, cross = (Pairs(int(c * p.count), p.clean_cos) for c, p in zip(counts, (setting.within, setting.cross)))
    default = FUNCTIONS[kind](*BATCH)
    return default, certify_ceiling(
        kind, factor * default, 64, within, cross, setting.sizes, 0.05, setting.beta, noise_ceiling.ROUND_DOWN
    )


@pytest.mark.parametrize("kind", ["separation", "persistence"])
def test_one_percent_too_much_noise_moves_down(kind):
    default, certificate = planted(kind, 1.01)
    assert certificate.holds
    assert certificate.moves > 10
    assert 0.98 * default < certificate.number <= default * (1 + 1e-6)


def test_dropped_factors_are_found_out():
    """Twice as many pairs as the ceiling was computed for: it has to move."""
    assert planted("separation", 1.0, (2.0, 1.0))[1].moves > 0
    assert planted("separation", 1.0, (1.0, 2.0))[1].moves > 0
    assert planted("separation", 1.0)[1].moves == 0


@pytest.mark.parametrize("noise", [0.25, 0.6, 3.0])
def test_extremes_need_no_move_and_leave_no_room(noise):
    alpha, beta = gaussian_extremes(*BATCH, noise)
    assert gaussian_extremes(*BATCH, noise, rigorous=True) == (alpha, beta)
    counts = pair_counts(np.array(BATCH[2]), 3)
    within, cross = Pairs(counts[0], 0.8), Pairs(counts[1], 0.2)
    assert tail_sum(64, noise, within, alpha, False).high <= 0.025
    assert tail_sum(64, noise, cross, beta, True).high <= 0.025
    assert tail_sum(64, noise, within, alpha + 1e-5, False).low > 0.025
    assert tail_sum(64, noise, cross, beta - 1e-5, True).low > 0.025
    assert gaussian_extremes(*BATCH, 0.0, rigorous=True) == (0.8, 0.2)


def test_extremes_that_use_up_more_than_half_of_delta_move(monkeypatch):
    quantile = noise_ceiling.safe_quantile

    def careless(*law, upper):
        return quantile(*law[:-1], law[-1] + np.log(1.5), upper=upper)

    alpha, beta = gaussian_extremes(*BATCH, 0.3)
    monkeypatch.setattr(noise_ceiling, "safe_quantile", careless)
    high, low = gaussian_extremes(*BATCH, 0.3)
    assert high > alpha
    assert low < beta
    moved = gaussian_extremes(*BATCH, 0.3, rigorous=True)
    assert moved[0] <= alpha + 1e-8
    assert moved[1] >= beta - 1e-8


def test_half_precision_is_widened():
    half = (64, 3, 5, np.float16(0.75), np.float16(0.25), np.float16(0.0625))
    full = (64, 3, 5, 0.75, 0.25, 0.0625)
    assert ceiling_certificate("separation", *half) == ceiling_certificate("separation", *full)
    assert depth_certificate(64, 3, 75, 2, np.float16(0.0625)) == depth_certificate(64, 3, 75, 2, 0.0625)
    radius, noise, delta = np.float16(1.25), np.float16(0.25), np.float16(0.0625)
    assert connectivity_certificate(2, radius, delta) == connectivity_certificate(2, 1.25, 0.0625)
    found = gaussian_floor_certificate(2, 64, 3, radius, noise, delta)
    assert found == gaussian_floor_certificate(2, 64, 3, 1.25, 0.25, 0.0625)
    assert found.holds


def test_a_cosine_that_is_off_moves_to_the_safe_side():
    cross = Pairs(500, 0.2)
    right = certify_cosine(64, 0.5, cross, 0.7, 0.025, upper=True)
    assert right.moves == 0
    moved = certify_cosine(64, 0.5, cross, 0.4, 0.025, upper=True)
    assert moved.moves > 20
    assert 0.4 < moved.number < 1.0
    moved = certify_cosine(64, 0.5, Pairs(100, 0.8), 0.9, 0.025, upper=False)
    assert -1.0 <= moved.number < 0.9


def test_beyond_one_there_are_no_cosines():
    pairs = Pairs(3, 0.5)
    assert tail_sum(8, 0.5, pairs, 1.0, upper=True) == Enclosure(0.0, 0.0)
    assert tail_sum(8, 0.5, pairs, -1.0, upper=False) == Enclosure(0.0, 0.0)
    assert tail_sum(8, 0.5, pairs, 1.0, upper=False).high == np.inf


def test_sums_are_rounded_outward():
    found = add(Enclosure(0.1, 0.1), Enclosure(0.2, 0.2))
    with working_bits(200):
        exact = arb(0.1) + arb(0.2)
        assert arb(found.low) < exact < arb(found.high)
        tripled = times(3, Enclosure(0.1, 0.1))
        assert arb(tripled.low) < 3 * arb(0.1) < arb(tripled.high)
    assert add(Enclosure(0.0, np.inf), Enclosure(0.0, 0.0)).high == np.inf


def test_theorem_2a_in_balls():
    """K = 2, sizes 4: alpha (alpha + (1 - alpha)/4) = .4375 at alpha = .6... at 1/2: .5 * .625."""
    with working_bits(128):
        assert keeps_apart(arb(0.5), arb(0.3125), (4, 4))
        assert not keeps_apart(arb(0.5), arb(0.3126), (4, 4))
        assert keeps_apart(arb(0.5), arb((0.625 * 0.55) ** 0.5 / 2 - 1e-12), (4, 10, 3))
        assert not keeps_apart(arb(0.5), arb((0.625 * 0.55) ** 0.5 / 2 + 1e-12), (4, 10, 3))
        assert not keeps_apart(arb(0), arb(-0.1), (4, 4))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_bounded_noise(kind):
    rng = np.random.default_rng(0)
    last = (8,) if kind == "persistence" else ()
    for within, between in np.sort(rng.uniform(0.0, [1.5, 3.1], (40, 2)), axis=1):
        default = getattr(noise_ceiling, f"bounded_{kind}")(within, between, *last)
        if default > 1e-6:
            assert certify_bounded(kind, default, within, between, 8).moves == 0
            moved = certify_bounded(kind, 1.01 * default, within, between, 8)
            assert moved.moves > 10
            assert 0.95 * default < moved.number <= default * (1 + 1e-6)


def test_threshold_of_the_fusion_ceiling():
    threshold = fusion_threshold(64, 8, 32, 0.05, 0.8)
    assert fusion_threshold(64, 8, 32, 0.05, 0.8, rigorous=True) == threshold
    cross = Pairs(28 * 32 * 32, 0.0)
    assert (
        tail_sum(64, 0.8, cross, threshold, True).high <= 0.025 < tail_sum(64, 0.8, cross, 0.99 * threshold, True).low
    )

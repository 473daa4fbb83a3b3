"""The audit's questions to the theorems' checks: sound checks answer as expected, every planted mistake is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from synthetic.audit import theorems as audit_theorems
from synthetic.audit.formulas import plain_contraction, plain_equiangular, plain_promise
from synthetic.audit.theorems import plain_tail, theorem_complaints
from synthetic.batches.noise import add_noise
from theory import noise_free, persistence
from theory.judging.verdicts import judge
from theory.lemmas.pair_law import PairLaw
from theory.noise_free import check_monotone, norm_floor_squared
from theory.persistence import cross_cap, norm_product, persists


def test_sound_checks_pass():
    assert theorem_complaints() == []


# --- what they are asked with -----------------------------------------------------------------------------------------


def test_equiangular_layers_are_theory_mds_example():
    alpha, beta = plain_equiangular(0.6, 0.35, (6, 6, 6), 0.5, 3)
    assert (alpha[3], beta[3]) == pytest.approx((0.997547, 0.523927), abs=5e-7)
    assert (alpha[0], beta[0]) == pytest.approx((0.6, 0.35), abs=1e-15)


def test_the_contraction_is_what_one_block_leaves_of_two_rows():
    """The overlap of two rows of P that give their neighbours equal shares, but the least to two of them."""
    for size, mixing in ((2, 0.3), (2, 0.8), (5, 0.3), (5, 0.8)):
        kappa = (0.7 - 0.4) / 0.6
        # Two rows whose neighbours all have weight kappa but one of weight 1: the other's neighbour, not one's own.
        given = mixing * kappa / (size - 2 + kappa)
        rows = np.full((2, size), given)
        rows[0, 0] = rows[1, 1] = 1.0 - mixing
        overlap = np.minimum(rows[0], rows[1]).sum()
        assert plain_contraction(0.7, (size,), 0.4, mixing) == pytest.approx(1.0 - overlap, abs=1e-15)
    assert plain_contraction(0.7, (2, 5), 0.4, 0.3) == plain_contraction(0.7, (5,), 0.4, 0.3)


def test_the_promise_begins_with_the_spread_over_nu_squared():
    first, second = plain_promise(0.7, (6, 3), 0.0, 0.5, 1)
    assert first == pytest.approx(1.0 - 0.3 / 0.75, abs=1e-15)
    assert second == pytest.approx(1.0 - 0.4 * plain_contraction(0.7, (6, 3), 0.0, 0.5) ** 2, abs=1e-15)


def test_the_plain_law_of_a_pair_by_simulation():
    rng = np.random.default_rng(0)
    clean = np.array([[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]])
    points = clean + rng.standard_normal((200_000, 2, 4)) * (0.5 / 2.0)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    cosines = (points[:, 0] * points[:, 1]).sum(-1)
    for cut in (0.2, 0.5, 0.8):
        assert plain_tail(4, 0.5, 0.6, cut) == pytest.approx((cosines <= cut).mean(), abs=5 * 0.5 / np.sqrt(200_000))


# --- planted mistakes -------------------------------------------------------------------------------------------------


def lenient(statement, measured, bound, applicable, *rest, **options):
    return judge(statement, measured, np.asarray(bound) * (1.0 + 1e-5), applicable, *rest, **options)


def against_the_first_layer(alpha, *rest):
    return check_monotone(np.stack([alpha[0], alpha.max(axis=0)]), *rest)


def blind_to_leaks(layers, *rest, **options):
    none = np.zeros_like(layers.false_edges)
    return persistence.check_persistence(replace(layers, false_edges=none, sharpness_error=none), *rest, **options)


def blind_to_edges_within(layers, *rest, **options):
    none = np.zeros_like(layers.false_edges)
    return noise_free.check_noise_free(replace(layers, false_edges=none, sharpness_error=none), *rest, **options)


def smallest_clusters(alpha, sizes):
    return norm_product(alpha, sorted(sizes)[:2])


def contraction_of_the_smallest(within, sizes, *rest):
    return true_contraction(within, np.array([min(sizes)]), *rest)


def louder_noise(points, labels, level, *rest):
    return add_noise(points, labels, 1.1 * level, *rest)


true_contraction, true_tail = noise_free._contraction, PairLaw.tail


@pytest.mark.parametrize(
    ("module", "name", "damaged", "said"),
    [
        (persistence, "judge", lenient, "Theorem 2a says HOLDS about a cross cosine beyond its cap"),
        (noise_free, "judge", lenient, "Theorem 1 says HOLDS about a spread beyond its bound"),
        (persistence, "check_monotone", against_the_first_layer, "Theorem 2a says HOLDS about a cosine that falls"),
        (noise_free, "check_monotone", against_the_first_layer, "Theorem 1 says HOLDS about a cosine that falls"),
        (audit_theorems, "check_persistence", blind_to_leaks, "Theorem 2a says HOLDS about a false edge"),
        (audit_theorems, "check_persistence", blind_to_leaks, "Theorem 2a says HOLDS about mass that leaks"),
        (audit_theorems, "check_noise_free", blind_to_edges_within, "Theorem 1 says HOLDS about mass that leaks"),
        (persistence, "norm_product", smallest_clusters, "is said to apply at threshold"),
        (persistence, "norm_product", lambda alpha, sizes: 0.9 * norm_product(alpha, sizes), "is said not to apply"),
        (persistence, "cross_cap", lambda *batch: 1.01 * cross_cap(*batch), "on either side of Theorem 2a's"),
        (audit_theorems, "persists", lambda *batch: ~persists(*batch), "is said to apply"),
        (noise_free, "_contraction", contraction_of_the_smallest, "fuse as slowly as is allowed"),
        (noise_free, "_contraction", lambda *block: 0.99 * true_contraction(*block), "the spread that is promised"),
        (noise_free, "norm_floor_squared", lambda a, m: norm_floor_squared(a, 1), "the spread that is promised"),
        (PairLaw, "tail", lambda self, *event, **side: 1.0001 * true_tail(self, *event, **side), "worked out again"),
        (audit_theorems, "scaled_log_bessel", lambda order, x: np.zeros(3), "the Bessel function of order 4.5"),
        (audit_theorems, "add_noise", louder_noise, "noise of kind gaussian"),
    ],
)
def test_a_check_that_is_wrong_is_noticed(monkeypatch, module, name, damaged, said):
    monkeypatch.setattr(module, name, damaged)
    assert said in "; ".join(theorem_complaints())

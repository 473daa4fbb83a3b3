"""What the trials of Propositions 6 to 9 measure, against plain enumeration, and the adversary's own two sides."""

import numpy as np
import pytest
import torch

from synthetic.batches.seeding import generator
from synthetic.trials.theorems import proposition_6, proposition_7, proposition_8
from tests.reference_batches import batches_with, expected_share, pool_weights
from theory.lemmas.drawn_rows import Sides, row_sides

pytestmark = pytest.mark.usefixtures("as_users_call")


def test_shares_of_random_pools_are_those_of_the_enumeration():
    kinds = set()
    for seed in range(12):
        cases = proposition_6.draw(generator(3, seed)).first(2)
        labels, n = cases["labels"], cases["batch_size"]
        kind = "balanced" if cases["balanced"] else "uniform"
        kinds.add((kind, cases["exponential"], cases["attend_self"]))
        measured = proposition_6.measure(cases, proposition_6.attend)
        for case, weight in enumerate(proposition_6.weights_of(cases)):
            h = pool_weights(cases["points"][case], weight.value, weight.bound * cases["attend_self"])
            expected = [expected_share(h[i], labels, i, n, kind) for i in range(len(labels))]
            np.testing.assert_allclose(measured[:, case], expected, atol=1e-9)
    assert {kind for kind, _, _ in kinds} == {"uniform", "balanced"}
    assert len(kinds) >= 5


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_the_adversarys_sides_are_the_theorys(present):
    """Written twice, they agree; and so do the two enumerations."""
    parameters = proposition_6.start_weights(torch.Generator().manual_seed(0), 6, (3, 3))
    h, own = proposition_6._row(parameters, (3, 3))
    for n in (2, 4, 6):
        lower, upper = proposition_6._sides(h, own, n, present)
        expected = proposition_6._expected(h, own, n, present)
        for row in range(6):
            weights = h[row].numpy()
            sides = row_sides(weights, own.numpy(), np.zeros(5, int), np.array([[n - 1]]), present)
            in_low, in_high, out_low, out_high, empty = np.array(sides).T
            found = Sides((in_low, in_high), (out_low, out_high), (empty, empty)).bracket()
            np.testing.assert_allclose((float(lower[row]), float(upper[row])), np.ravel(found), atol=1e-9)
            every = np.concatenate([[present], weights])
            labels = np.concatenate([[0], np.where(own.numpy(), 0, 1)])
            assert float(expected[row]) == pytest.approx(expected_share(every, labels, 0, n), abs=1e-12)


def test_lonely_shares_are_those_of_the_enumeration():
    cases = proposition_7.draw(generator(4, 0)).first(2)
    labels, k = cases["labels"], cases["neighbours"]
    measured = proposition_7.measure(cases, proposition_7.own_neighbours)
    for case in range(2):
        points, threshold = cases["points"][case], cases["threshold"][case]
        near = proposition_7.own_neighbours(points @ points.T, labels, threshold)
        for n in range(2, len(labels) + 1):
            rows = [
                np.mean([near[i, list(b)].sum() < k for b in batches_with(i, labels, n)]) for i in range(len(labels))
            ]
            assert measured[n - 2, case] == pytest.approx(np.mean(rows))


def test_samples_of_proposition_8_have_the_mean_they_are_held_against():
    """Without a margin the bounds are right on average: the truth is what samples scatter around."""
    for draw, measure in (
        (proposition_8.draw_rows, proposition_8.measure_rows),
        (proposition_8.draw_batches, proposition_8.measure_batches),
    ):
        excess = measure(draw(generator(6, 0)), proposition_8.mean_itself)
        assert abs(excess.mean()) < 4.0 * excess.std() / np.sqrt(len(excess)) + 1e-12
        assert excess.std() > 0.01

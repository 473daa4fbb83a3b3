"""Every part of a key makes a difference, and nothing else does."""

from itertools import product

import numpy as np
import pytest

from synthetic.batches import seeding


def test_every_part_of_the_key_makes_a_difference():
    """Of all keys with parts 0 to 2, no two give one number in common."""
    drawn = {key: seeding.generator(*key).random(4) for key in product(range(3), repeat=4)}
    assert len(np.unique(np.concatenate(list(drawn.values())))) == 4 * len(drawn)


def test_trials_are_keyed_one_by_one():
    """A trial draws from its own key (seed, cell, trial, stream), in whatever company."""
    for trials in ([0, 1, 2, 3], [3, 1], [2]):
        rngs = seeding.trial_generators(5, 7, trials, seeding.NOISE)
        expected = [seeding.generator(5, 7, trial, seeding.NOISE).random() for trial in trials]
        assert [rng.random() for rng in rngs] == expected
    assert seeding.POINTS != seeding.NOISE


def test_keys_are_not_negative():
    with pytest.raises(ValueError, match="seed: must be at least 0"):
        seeding.generator(0, -1)

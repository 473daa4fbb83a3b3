"""Randomness as an argument: every draw is keyed by (seed, cell, trial), so a trial is the same in any batch."""

from collections.abc import Iterable

import numpy as np

# Streams of one trial that must not depend on each other's length.
POINTS, NOISE = 0, 1
# The arrangement of the subspaces is drawn once an experiment, outside all cells.
ARRANGEMENT = 2**32 - 1


def generator(seed: int, *key: int) -> np.random.Generator:
    """An independent generator for (seed, *key).

    Raises:
        ValueError: a negative seed or key.
    """
    if seed < 0 or any(k < 0 for k in key):
        raise ValueError(f"seed: must be at least 0, got {(seed, *key)}")
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *key])))


def trial_generators(seed: int, cell: int, trials: Iterable[int], stream: int) -> list[np.random.Generator]:
    """One generator a trial: trial t of a cell draws the same numbers whichever trials it is batched with."""
    return [generator(seed, cell, trial, stream) for trial in trials]


def stream_of(rng: np.random.Generator) -> bytes:
    """What the generator will draw: equal for two generators exactly if their draws are."""
    return rng.bit_generator.state["state"]["state"].tobytes()

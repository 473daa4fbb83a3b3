"""Propositions 8 and 9 on trial: samples of populations whose true means are known, again and again."""

from functools import lru_cache, partial
from itertools import combinations

import numpy as np

from synthetic.trials.trial import Cases, Rate, Subject, Trial
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.certified_mean import divergence_floor, fixed_sequence
from theory.judging.statements import PROPOSITION_8, PROPOSITION_9
from theory.neighbour_floor import lonely_probabilities

DELTA, SAMPLES = 0.05, 200
NEW_ROWS, BANK, BATCH_SIZE = 24, 12, 5


def mean_itself(mean: float, count: int, delta: float) -> float:
    """Damaged: no margin at all."""
    return mean


def too_many_values(mean: float, count: int, delta: float) -> float:
    """Damaged: as from eight times as many values."""
    return divergence_floor(mean, 8 * count, delta)


DAMAGED_FLOORS = {each.__name__: each for each in (mean_itself, too_many_values)}


def _population(rng: np.random.Generator) -> np.ndarray:
    """Thirty unit rows around a few directions."""
    centers = rng.standard_normal((3, 3))
    return unit_points(rng.uniform(0.5, 3.0) * centers[rng.integers(0, 3, 30)] + rng.standard_normal((30, 3)))


# --- new rows ---------------------------------------------------------------------------------------------------------


def draw_rows(rng: np.random.Generator) -> Cases:
    """Samples of new rows of one population, against one stored bank; classes do not matter to what is measured."""
    population, bank = _population(rng), _population(rng)[:BANK]
    points = population[rng.integers(0, len(population), (SAMPLES, NEW_ROWS))]
    shared = {"labels": contiguous_labels((NEW_ROWS // 2,) * 2), "population": population, "bank": bank,
              "threshold": float(rng.uniform(0.3, 0.9))}  # fmt: skip
    return Cases({"points": points}, shared)


def accompanied(points: np.ndarray, cases: Cases) -> np.ndarray:
    """Each row's chance of a neighbour in a batch of it and BATCH_SIZE - 1 rows of the bank."""
    hits = np.count_nonzero(points @ cases["bank"].T > float(cases["threshold"]), axis=-1)
    return 1.0 - lonely_probabilities(hits.ravel(), BANK, BATCH_SIZE).reshape(hits.shape)


def measure_rows(cases: Cases, subject: Subject) -> np.ndarray:
    """The bound of every sample, and the truth."""
    values = accompanied(np.asarray(cases["points"]), cases)
    truth = accompanied(np.asarray(cases["population"]), cases).mean()
    return np.array([subject(float(mean), NEW_ROWS, DELTA) for mean in np.clip(values.mean(axis=1), 0.0, 1.0)]) - truth


# --- new batches ------------------------------------------------------------------------------------------------------


def draw_batches(rng: np.random.Generator) -> Cases:
    """Samples of rows of one population; of a batch of three the share of close pairs is measured."""
    population = _population(rng)
    points = population[rng.integers(0, len(population), (SAMPLES, NEW_ROWS))]
    shared = {"labels": contiguous_labels((NEW_ROWS // 2,) * 2), "population": population,
              "threshold": float(rng.uniform(0.0, 0.9))}  # fmt: skip
    return Cases({"points": points}, shared)


def measure_batches(cases: Cases, subject: Subject) -> np.ndarray:
    """The bound of every sample, from all its batches of three (whether any two rows are close), and the truth."""
    threshold, population = float(cases["threshold"]), np.asarray(cases["population"])
    triples = np.array(list(combinations(range(NEW_ROWS), 3)))
    close = np.asarray(cases["points"]) @ np.swapaxes(cases["points"], 1, 2) > threshold
    averages = _any_close(close, *triples.T).mean(axis=1)
    grid = np.stack(np.meshgrid(*[np.arange(len(population))] * 3, indexing="ij")).reshape(3, -1)
    truth = _any_close((population @ population.T > threshold)[None], *grid).mean()
    return np.array([subject(float(mean), NEW_ROWS // 3, DELTA) for mean in averages]) - truth


def _any_close(close: np.ndarray, i: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
    return close[:, i, j] | close[:, i, k] | close[:, j, k]


def too_high(_: Cases, excess: np.ndarray) -> np.ndarray:
    """A bound above the truth, beyond round-off."""
    return excess > 1e-12


# --- choosing ---------------------------------------------------------------------------------------------------------


def draw_candidates(rng: np.random.Generator) -> Cases:
    """Candidates of which the first few reach the target and the rest miss it, by little: so many that one by one some
    would be accepted."""
    count, good = int(rng.integers(20, 61)), int(rng.integers(0, 3))
    target = float(rng.uniform(0.4, 0.8))
    truth = np.where(np.arange(count) < good, target + 0.25 * (1.0 - target), target - 0.01)
    values = rng.random((SAMPLES, NEW_ROWS, count)) < truth
    return Cases({"values": values.astype(float)}, {"labels": contiguous_labels((NEW_ROWS // 2,) * 2), "truth": truth,
                                                    "target": target})  # fmt: skip


def one_after_the_other(floors: np.ndarray, target: float) -> np.ndarray:
    """Which candidates are accepted."""
    return np.arange(len(floors)) < fixed_sequence(floors, target)


def each_by_itself(floors: np.ndarray, target: float) -> np.ndarray:
    """Damaged: all whose bound reaches the target, whatever stands before them."""
    return floors >= target


def one_more(floors: np.ndarray, target: float) -> np.ndarray:
    """Damaged: the first that fails is accepted too."""
    return np.arange(len(floors)) <= fixed_sequence(floors, target)


def measure_choice(cases: Cases, subject: Subject) -> np.ndarray:
    """Whether a candidate that misses its target is accepted."""
    wrong = np.asarray(cases["truth"]) < float(cases["target"])
    found = []
    # Of few values there are few means.
    floor = lru_cache(partial(divergence_floor, count=NEW_ROWS, delta=DELTA))
    for values in np.asarray(cases["values"]):
        floors = np.array([floor(mean) for mean in values.mean(axis=0)])
        found.append(bool((subject(floors, float(cases["target"])) & wrong).any()))
    return np.array(found)


TRIALS = (
    Trial(
        PROPOSITION_8, "proposition_8_rows", ("points",), ("labels", "population", "bank", "threshold"), measure_rows,
        rate=Rate(DELTA, too_high), draw=draw_rows, subject=divergence_floor, damaged=DAMAGED_FLOORS, part="new rows",
    ),
    Trial(
        PROPOSITION_8, "proposition_8_batches", ("points",), ("labels", "population", "threshold"), measure_batches,
        rate=Rate(DELTA, too_high), draw=draw_batches, subject=divergence_floor, damaged={"mean_itself": mean_itself},
        part="new batches",
    ),
    Trial(
        PROPOSITION_9, "proposition_9", ("values",), ("labels", "truth", "target"), measure_choice,
        rate=Rate(DELTA, lambda cases, wrong: wrong), draw=draw_candidates, subject=one_after_the_other,
        damaged={each.__name__: each for each in (each_by_itself, one_more)},
    ),
)  # fmt: skip

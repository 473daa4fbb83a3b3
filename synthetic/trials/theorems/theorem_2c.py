"""Theorem 2c on trial: clusters that fill their subspaces, at their proved floor, through one block."""

import numpy as np

from synthetic.batches.noise import NoiseKind
from synthetic.trials.graphs import DELTA, filled_subspaces, graph_trial
from synthetic.trials.trial import Cases
from theory.batch_floor import bounded_connection, gaussian_connection, gaussian_floor
from theory.judging.statements import THEOREM_2C

LARGEST_CLUSTER = 120


def _draw(squared: bool):
    def draw(rng: np.random.Generator) -> Cases:
        """Any noise, at the floor that it leaves; floors of more than LARGEST_CLUSTER points are drawn again."""
        while True:
            clusters, dim, noisy = int(rng.integers(2, 4)), int(rng.integers(2, 4)), bool(rng.random() < 0.5)
            angle = float(np.radians(rng.choice((60.0, 75.0, 90.0))))
            ambient, share = (clusters + 1) * dim + int(rng.integers(0, 8)), float(rng.random())
            if noisy:
                level = 0.15 * share
                size = gaussian_floor(dim, ambient, clusters, angle, level, DELTA, squared) if level > 1e-6 else None
            else:
                level = 0.4 * share * float(np.sin(angle / 4.0))
                size = bounded_connection(angle, level, clusters, DELTA).floor(dim, squared)
            if size is not None and size <= LARGEST_CLUSTER:
                break
        if noisy:
            link = gaussian_connection(ambient, clusters, size, angle, level, DELTA, squared)
        else:
            link = bounded_connection(angle, level, clusters, DELTA)
        kinds: tuple[NoiseKind, ...] = ("gaussian",) if noisy else ("bounded", "sphere")
        return filled_subspaces(rng, dim, ambient, (size,) * clusters, angle, level, kinds, link.threshold)

    return draw


TRIALS = tuple(graph_trial(THEOREM_2C, kind, _draw) for kind in ("signed", "squared"))

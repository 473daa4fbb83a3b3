"""Theorem 2g on trial: clusters that fill their subspaces under Gaussian noise, at their soft floor."""

import numpy as np

from synthetic.trials.graphs import DELTA, filled_subspaces, graph_trial
from synthetic.trials.trial import Cases
from theory.batches.clusters import pair_counts
from theory.judging.statements import THEOREM_2G
from theory.soft_floor import cross_threshold, is_soft_guaranteed, soft_floor

LARGEST_CLUSTER = 80


def _draw(squared: bool):
    def draw(rng: np.random.Generator) -> Cases:
        """Orthogonal or oblique subspaces, noise that leaves a floor; now and then a cluster of half as many more."""
        while True:
            clusters, dim = int(rng.integers(2, 4)), int(rng.integers(2, 5))
            angle = float(np.radians(rng.choice((60.0, 75.0, 90.0))))
            ambient, level = (clusters + 1) * dim + int(rng.integers(0, 40)), float(rng.uniform(0.05, 0.6))
            place = dim, ambient, clusters
            size = soft_floor(*place, level, angle, DELTA, squared, largest=LARGEST_CLUSTER)
            if size is not None:
                break
        sizes = (size,) * clusters
        larger = (size + size // 2, *sizes[1:])
        if rng.random() < 0.3 and is_soft_guaranteed(*place, larger, level, angle, DELTA, squared):
            sizes = larger
        cross = pair_counts(np.array(sizes), clusters)[1]
        threshold = cross_threshold(ambient, cross, angle, level, DELTA, squared)
        return filled_subspaces(rng, dim, ambient, sizes, angle, level, ("gaussian",), threshold)

    return draw


TRIALS = tuple(graph_trial(THEOREM_2G, kind, _draw) for kind in ("signed", "squared"))

"""Theorem 2g on trial: clusters that fill their subspaces under Gaussian noise, at their soft floor."""

from functools import partial

import numpy as np

from synthetic.batches.geometry import Geometry
from synthetic.batches.noise import add_noise
from synthetic.measure.one_block import one_block
from synthetic.trials.theorems.theorem_2c import falls_apart, measure_graph, thresholds_that_are_wrong
from synthetic.trials.trial import Cases, Rate, Trial
from theory.affinity import unit_points
from theory.clusters import contiguous_labels, pair_counts
from theory.soft_floor import cross_threshold, is_soft_guaranteed, soft_floor
from theory.statements import THEOREM_2G

DELTA = 0.05
FEW_BATCHES, LARGEST_CLUSTER = 100, 80


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
        arrangement = {} if angle == np.pi / 2 else {"arrangement": "angle", "principal_angle": angle}
        geometry = Geometry(clusters, dim, clusters="uniform", **arrangement)
        labels = contiguous_labels(sizes)
        bases = geometry.bases(ambient, int(rng.integers(2**31)))
        clean = geometry.draw(bases, sizes, rng.spawn(FEW_BATCHES))
        points = unit_points(add_noise(clean, labels, level, "gaussian", rng.spawn(FEW_BATCHES)))
        return Cases({"points": points}, {"labels": labels, "threshold": threshold})

    return draw


def _trial(kind: str) -> Trial:
    squared = kind == "squared"
    return Trial(
        THEOREM_2G,
        f"theorem_2g_{kind}",
        ("points",),
        ("labels", "threshold"),
        measure_graph,
        rate=Rate(DELTA, falls_apart),
        draw=_draw(squared),
        subject=partial(one_block, squared=squared),
        damaged=thresholds_that_are_wrong(squared),
        part=kind,
    )


TRIALS = (_trial("signed"), _trial("squared"))

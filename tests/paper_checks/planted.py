"""Results of trainings that nobody ran: every number is planted."""

from functools import cache

import numpy as np

from paper_checks.papers import momenta
from paper_checks.trainings.transformations import TRANSFORMATIONS
from paper_checks.trainings.two_processes import GatherGradients


class Planted:
    """Tables as finished trainings have them, with accuracies from a function of (label, seed, features)."""

    def __init__(self, accuracy, noise=None):
        self.accuracy, self.noise = accuracy, noise or np.random.default_rng(0)
        self.table = cache(self.table)

    def draw(self):
        return float(self.noise.normal())

    def table(self, task, name):
        if isinstance(task, GatherGradients):
            ways = {"detached": -0.6, "differentiable": -15.0}
            return [{"seed": seed, "gather": way, "log10_error": error + 0.1 * self.draw()}
                    for seed in range(task.seeds) for way, error in ways.items()]  # fmt: skip
        label, seed, height = task.label, task.config.seed, (*task.config.view_sizes, 32.0)[0]
        if name == "results":
            return [{"features": f, "probe": p, "accuracy": (value := self.accuracy(label, seed, f)),
                     "validation_accuracy": value, "low": value, "high": value, "encoder_parameters": 10.0,
                     "head_parameters": 5.0} for f in "hz" for p in ("knn", "linear")]  # fmt: skip
        if name == "epochs":
            return [{"epoch": e + 1.0, "loss": 3.0 + 0.1 * self.draw(), "seconds": 1.0, "view_height": height,
                     **{m: 1.0 + 0.1 * self.draw() for m in (*momenta.MOMENTS, "gradient_norm")},
                     "gradient_fluctuation": 0.5 + 0.1 * self.draw()}
                    for e in range(task.config.epochs)]  # fmt: skip
        if name == "layers":
            return [{"epoch": e, "view_height": height, "part": part, "index": float(i),
                     "sharpness": 0.5 + 0.1 * self.draw(), "others_mass": 0.2 + 0.1 * self.draw()}
                    for e in (1.0, 2.0) for part in ("reading", "attention") for i in range(3)]  # fmt: skip
        if name == "scores":
            return [{"epoch": float(e), "from": 0.0, "to": 1.0, "positive": 3.0, "negative": 4.0} for e in range(3)]
        assert name == "transformations"
        return [{"transformation": t, "features": f, "accuracy": self.accuracy(t, seed, f)}
                for t in TRANSFORMATIONS for f in "hz"]  # fmt: skip

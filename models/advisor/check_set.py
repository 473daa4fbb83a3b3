"""Predictions measured on rows that they never saw: random batches of those rows, sent through plain attention."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.advisor.advice import Prediction
from models.advisor.batches import BatchMeans, draw_batches, measure_batches, measure_layers
from models.advisor.config import AdvisorConfig
from models.advisor.findings import Findings
from models.advisor.inputs.features import FeatureSet
from models.advisor.pool import Pool, pool_of
from models.advisor.prospective import Measured
from models.advisor.questions.strength import crossing, reach
from theory.batch_law import Weight

NOTHING = Measured(math.nan, math.nan)
# Times as many batches as the stacks were run on for the prediction.
MORE = 10


@dataclass(frozen=True)
class CheckSet:
    """New rows beside those that the predictions were made from.

    Attributes:
        findings, features: of the predictions; the means that are subtracted are theirs.
        new: the rows to measure.
        config: batches, depth, target and seed.
    """

    findings: Findings
    features: FeatureSet
    new: FeatureSet
    config: AdvisorConfig

    @property
    def size(self) -> int:
        """Rows of the new pool."""
        return self.pool(None).size

    def pool(self, strength: float | None) -> Pool:
        """The new rows, centered by the mean of the old ones."""
        center = None
        if self.findings.centered:
            center = pool_of(self.features, True, strength, seed=self.config.seed).center
        try:
            return pool_of(self.new, self.findings.centered, strength, center)
        except ValueError as error:
            raise ValueError(f"check: {error}") from error

    def measure(
        self, predictions: Sequence[Prediction], progress: Callable[[str], None] = lambda name: None
    ) -> list[Measured]:
        """One value a prediction, NaN where the new rows cannot tell: too few of them, or no such view.

        Raises:
            ValueError: rows of another width, or with labels where the old ones have none and the reverse; one equal to
                the mean that is subtracted.
        """
        _require_alike(self.features, self.new)
        known: dict[tuple[str, int, float | None], tuple[BatchMeans, BatchMeans]] = {}
        layers: dict[str, BatchMeans] = {}
        weights = dict(self.findings.weights)
        pools: dict[float | None, Pool] = {}

        def pool(strength: float | None) -> Pool:
            if strength not in pools:
                pools.clear()
                pools[strength] = self.pool(strength)
            return pools[strength]

        def batches(kind: str, n: int, strength: float | None) -> tuple[BatchMeans, BatchMeans] | None:
            if n > self.new_size or (strength is not None and strength not in self.new.strengths):
                return None
            if (kind, n, strength) not in known:
                progress(f"check, n = {n}" if strength is None else f"check, strength {strength:g}")
                rows = self._rows(pool(strength), n)
                known[kind, n, strength] = measure_batches(pool(strength), [weights[kind]], rows)
            return known[kind, n, strength]

        def one(prediction: Prediction) -> Measured:
            kind, at, n = prediction.curve, prediction.at, self.findings.batch_size
            if prediction.kind == "strength":
                every = [batches(kind, n, s) for s in self.findings.strengths]
                sharp = [found[0] for found in every if found is not None]
                return self._limit(sharp) if len(sharp) == len(every) else NOTHING
            if at is None:
                raise ValueError(f"predictions: {prediction.name} must say at what")
            if prediction.kind in ("sharpness", "isolated"):
                found = batches(kind, int(at), None)
                return NOTHING if found is None else _mean(found[prediction.kind == "isolated"], 0)
            if prediction.kind == "strength_sharpness":
                found = batches(kind, n, at)
                return NOTHING if found is None else _mean(found[0], 0)
            if n > self.new_size:
                return NOTHING
            if kind not in layers:
                progress(f"check, {kind} blocks")
                layers[kind] = self._layers(pool(None), weights[kind])
            return _mean(layers[kind], int(at))

        return [one(each) for each in predictions]

    @property
    def new_size(self) -> int:
        return self.new.num_rows * (2 if self.findings.paired else 1)

    def _rows(self, pool: Pool, n: int) -> np.ndarray:
        # Of all strengths the same rows.
        rng = np.random.default_rng([self.config.seed, 6, n])
        return draw_batches(pool, n, MORE * self.config.batches, rng)

    def _layers(self, pool: Pool, weight: Weight) -> BatchMeans:
        return measure_layers(pool, weight, self.config.depth, self._rows(pool, self.findings.batch_size))

    def _limit(self, means: list[BatchMeans]) -> Measured:
        """Where the new rows lose the target, and what the drawing of batches leaves uncertain of it."""
        strengths, target = self.findings.strengths, self.config.target
        excess = np.stack([each.values[0] for each in means]) - self.findings.depths[0].chance
        middle = excess.mean(-1)
        value = crossing(strengths, middle, target * middle[0])
        if math.isinf(value):
            return Measured(strengths[-1], 0.0)
        right = next(i for i, s in enumerate(strengths) if s >= value and i > 0)
        width = strengths[right] - strengths[right - 1]
        share = (value - strengths[right - 1]) / width
        gap = (1 - share) * excess[right - 1] + share * excess[right] - target * excess[0]
        error = float(gap.std(ddof=1) / math.sqrt(len(gap)))
        return Measured(value, reach(strengths, middle, target * middle[0], error))


def _mean(means: BatchMeans, place: int) -> Measured:
    return Measured(float(means.mean[place]), float(means.error[place]))


def _require_alike(features: FeatureSet, new: FeatureSet) -> None:
    if new.embeddings.shape[1] != features.embeddings.shape[1]:
        raise ValueError(
            f"check: its rows must have {features.embeddings.shape[1]} numbers, as those of the predictions, got "
            f"{new.embeddings.shape[1]}"
        )
    if (new.classes is None) != (features.classes is None):
        told = ("has none", "have some") if new.classes is None else ("has some", "have none")
        raise ValueError(f"check: {told[0]} of the labels that the rows of the predictions {told[1]}")

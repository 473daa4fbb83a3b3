"""Which threshold of ReLU attention, which temperature of softmax attention, and whether to center first.

Candidates are tried on the same random batches. Affinity sharpness alone would choose the attention that looks at the
nearest neighbor only, so a candidate must leave the median row enough effective neighbors, (sum h)^2/sum h^2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from models.advisor.batches import draw_batches, measure_batches, weigh
from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from theory.batch_law import Weight

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(19))
INVERSE_TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0, 30.0, 50.0, 100.0)
CANDIDATES = 64
# Standard errors by which sharpness must exceed chance: the best of many candidates is compared with it.
MARGIN = 4.0
EXPECTED_WITHIN = 1.96

AttentionKind = Literal["relu", "softmax"]
KINDS: dict[str, str] = {"relu": "threshold", "softmax": "inverse temperature"}


@dataclass(frozen=True)
class Choice:
    """Of one attention on one pool.

    Attributes:
        kind: "relu" or "softmax".
        centered: the pool was.
        value: threshold or inverse temperature; None where no candidate leaves enough effective neighbors.
        low, high: smallest and largest candidate that is not clearly worse (paired, 1.96 standard errors).
        sharpness, error: mean over the batches, and its standard error, sampling of the rows included.
        chance: affinity sharpness of uniform attention.
        neighbors: effective ones of the median row.
        rows: of curves.csv, one a candidate.
    """

    kind: str
    centered: bool
    value: float | None
    low: float | None
    high: float | None
    sharpness: float
    error: float
    chance: float
    neighbors: float
    rows: tuple[dict, ...]

    @property
    def above_chance(self) -> bool:
        """Whether the attention sees the classes at all."""
        return self.value is not None and self.sharpness - self.chance > MARGIN * self.error

    def weight(self) -> Weight:
        """The attention that is advised.

        Raises:
            ValueError: none is.
        """
        if self.value is None:
            raise ValueError(f"{self.kind}: no candidate leaves enough effective neighbors")
        return weight_of(self.kind, self.value)


def weight_of(kind: str, value: float) -> Weight:
    """ReLU with a threshold, or softmax without oneself."""
    return Weight("relu", threshold=value) if kind == "relu" else Weight("exponential", inverse_temperature=value)


def choose_attention(pool: Pool, batch_size: int, config: AdvisorConfig) -> tuple[Choice, Choice]:
    """The best candidate of either kind, on batches of the bank (smaller ones where it does not fill a batch)."""
    rng = np.random.default_rng([config.seed, 2])
    pool = pool.take(np.flatnonzero(pool.bank))
    size = min(batch_size, pool.size)
    rows = draw_batches(pool, size, CANDIDATES, rng)
    relu, softmax = (_choose(pool, rows, kind, values, config)
                     for kind, values in (("relu", THRESHOLDS), ("softmax", INVERSE_TEMPERATURES)))  # fmt: skip
    return relu, softmax


def _choose(pool: Pool, rows: np.ndarray, kind: str, values: tuple[float, ...], config: AdvisorConfig) -> Choice:
    measured, _ = measure_batches(pool, [weight_of(kind, value) for value in values], rows)
    neighbors = _effective_neighbors(pool, rows, kind, values)
    allowed = np.flatnonzero(neighbors >= config.effective_neighbors)
    errors = np.hypot(measured.error, measured.deviation / np.sqrt(pool.size))
    table = tuple(
        {"question": "attention", "curve": kind, "centered": pool.center is not None, "at": value,
         "value": float(measured.mean[i]), "low": float(measured.mean[i] - EXPECTED_WITHIN * errors[i]),
         "high": float(measured.mean[i] + EXPECTED_WITHIN * errors[i]), "neighbors": float(neighbors[i])}
        for i, value in enumerate(values)
    )  # fmt: skip
    chance = pool.chance_at(rows.shape[1])
    centered = pool.center is not None
    if not len(allowed):
        return Choice(kind, centered, None, None, None, float(measured.mean.max()), 0.0, chance,
                      float(neighbors.max()), table)  # fmt: skip
    best = int(allowed[np.argmax(measured.mean[allowed])])
    gaps = measured.values[best] - measured.values[allowed]
    doubt = gaps.mean(-1) <= EXPECTED_WITHIN * gaps.std(-1, ddof=1) / np.sqrt(gaps.shape[-1])
    close = [values[i] for i, near in zip(allowed, doubt) if near]
    return Choice(kind, centered, values[best], min(close), max(close), float(measured.mean[best]), float(errors[best]),
                  chance, float(neighbors[best]), table)  # fmt: skip


def _effective_neighbors(pool: Pool, rows: np.ndarray, kind: str, values: tuple[float, ...]) -> np.ndarray:
    """(sum h)^2/sum h^2 of the median row in its batch, one a candidate; 0 of a row without neighbors."""
    tokens = pool.points[torch.from_numpy(rows[:16])]
    cosines = (tokens @ tokens.mT).double()
    found = []
    for value in values:
        raw = weigh(weight_of(kind, value), cosines)
        squares = raw.square().sum(-1)
        found.append(float((raw.sum(-1).square() / torch.where(squares > 0, squares, 1.0)).median()))
    return np.array(found)

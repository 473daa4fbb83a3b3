"""What holds for new rows with probability 1 - delta: half of the rows, which nothing was chosen by, stand for them.

Everything that was chosen - the mean, whether to subtract it, threshold and temperature - comes from a random half of
the rows, the bank. Each of the others is one new row whose batch is filled from the bank (Proposition 8i), an
independent value in [0, 1]. Candidates are tested in an order fixed beforehand, each at level delta, up to the first
failure (Proposition 9).

So what is certified is a mean over new rows of the source that all rows were drawn from, independently of each other,
in batches of one such row and n - 1 rows of the bank as it is. No row of either half is left out for its class: a new
row of a class that the bank lacks counts with share 0, and a row of the bank that is alone in its class fills batches.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from models.advisor.config import AdvisorConfig
from models.advisor.pool import Pool
from models.advisor.questions.laws import row_laws
from models.tiled import row_tiles
from theory.batch_law import Weight
from theory.certified_mean import mean_floor
from theory.neighbour_floor import lonely_probabilities

# Ratio of one candidate batch to the next.
STEP = 1.05
TILE = 512


@dataclass(frozen=True)
class CertifiedFloor:
    """Of new rows in batches filled from a bank.

    Attributes:
        rows: the smallest batch that passed; None where the largest one failed.
        largest: the first candidate.
        tested, bank: how many rows stood for new ones, and how many filled their batches.
    """

    rows: int | None
    largest: int
    tested: int
    bank: int


@dataclass(frozen=True)
class CertifiedStrength:
    """Of new rows in batches filled from a bank.

    Attributes:
        kind: of attention, "relu" or "softmax".
        value: the largest embedded strength that passed; None where strength 0 failed.
        target: mean affinity sharpness that it had to have.
        tested, bank: as in CertifiedFloor.
    """

    kind: str
    value: float | None
    target: float
    tested: int
    bank: int


@dataclass(frozen=True)
class CertifiedSharpness:
    """Of new rows in batches filled from a bank.

    Attributes:
        kind: of attention, "relu" or "softmax".
        value: their mean affinity sharpness is at least this.
        tested, bank: as in CertifiedFloor.
    """

    kind: str
    value: float
    tested: int
    bank: int


def split(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the bank and of the others, of which only the first views are asked: their partners come with them."""
    others = np.flatnonzero(~pool.bank)
    return np.flatnonzero(pool.bank), others[others < pool.size // 2] if pool.paired else others


def certify_floor(pool: Pool, weight: Weight, config: AdvisorConfig) -> CertifiedFloor:
    """The smallest batch in which at most a share of new rows lacks a true neighbor."""
    bank, others = split(pool)
    hits = _hits(pool, weight.at_precision(pool.points.dtype).threshold, bank, others)
    size = found = len(bank) + 1
    best = None
    while found >= 2:
        alone = lonely_probabilities(hits, len(bank), found)
        if 1.0 - mean_floor(1.0 - alone, config.delta) > config.share:
            break
        best = found
        found = min(found - 1, int(found / STEP))
    return CertifiedFloor(best, size, len(others), len(bank))


def certify_sharpness(
    pool: Pool, kind: str, weight: Weight, batch_size: int, config: AdvisorConfig
) -> CertifiedSharpness:
    """What the mean affinity sharpness of new rows does not fall below."""
    bank, others = split(pool)
    value = mean_floor(lower_shares(pool, weight, batch_size, bank, others), config.delta)
    return CertifiedSharpness(kind, value, len(others), len(bank))


def certify_strength(
    pools: Sequence[Callable[[], Pool]],
    strengths: Sequence[float],
    kind: str,
    weight: Weight,
    batch_size: int,
    config: AdvisorConfig,
) -> CertifiedStrength:
    """The largest strength up to which new rows keep the target, strengths upward.

    The target is fixed by the bank alone, before the others are looked at: the share of what its own rows have in
    excess of chance at strength 0.
    """
    accepted, target, sizes = None, math.nan, (0, 0)
    for strength, make in zip(strengths, pools):
        pool = make()
        bank, others = split(pool)
        if math.isnan(target):
            chance = pool.take(bank).chance_at(batch_size)
            ideal = float(lower_shares(pool, weight, batch_size, bank, None).mean())
            target, sizes = chance + config.target * max(ideal - chance, 0.0), (len(others), len(bank))
        if mean_floor(lower_shares(pool, weight, batch_size, bank, others), config.delta) < target:
            break
        accepted = float(strength)
    return CertifiedStrength(kind, accepted, target, *sizes)


def _hits(pool: Pool, threshold: float, bank: np.ndarray, rows: np.ndarray) -> np.ndarray:
    classes, found = torch.from_numpy(pool.classes), []
    columns = torch.from_numpy(bank)
    for tile in row_tiles(len(rows), TILE):
        at = torch.from_numpy(rows[tile])
        above = pool.points[at] @ pool.points[columns].mT > threshold
        found.append((above & (classes[at, None] == classes[columns])).sum(1).numpy())
    return np.concatenate(found)


def lower_shares(
    pool: Pool, weight: Weight, batch_size: int, bank: np.ndarray, rows: np.ndarray | None
) -> Float[np.ndarray, " rows"]:
    """At most the expected in-class share of each row's weight in a batch with n - 1 rows of the bank: Proposition 6's
    lower side; with view pairs, whose partner is in every batch, its in-.

    Args:
        rows: none of the bank; None asks the bank's own rows, each left out of its batches.
    """
    if pool.paired:
        return _lower_of_pairs(pool, weight, batch_size, bank, bank if rows is None else rows)
    return row_laws(pool, (batch_size,), (weight,), rows, bank)[0].lower[0]


def _lower_of_pairs(
    pool: Pool, weight: Weight, batch_size: int, bank: np.ndarray, rows: np.ndarray
) -> Float[np.ndarray, " rows"]:
    columns, half, found = torch.from_numpy(bank), pool.size // 2, []
    inside = bool(np.isin(rows[0], bank))
    for tile in row_tiles(len(rows), TILE):
        at = torch.from_numpy(rows[tile])
        partner = (at + half) % pool.size
        h = weight.value((pool.points[at] @ pool.points[columns].mT).double().clamp_(-1.0, 1.0))
        others = torch.where((at[:, None] == columns) | (partner[:, None] == columns), 0.0, h).sum(-1)
        own = weight.value((pool.points[at] * pool.points[partner]).sum(-1).double().clamp_(-1.0, 1.0))
        mean = others * (batch_size - 2) / (len(bank) - 2 * inside)
        found.append((own / torch.where(own + mean > 0, own + mean, 1.0)).numpy())
    return np.clip(np.concatenate(found), 0.0, 1.0)

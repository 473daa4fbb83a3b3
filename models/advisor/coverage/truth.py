"""What is true of batches filled from a bank, by drawing them: nothing here knows Propositions 6 to 9."""

import numpy as np
import torch

from models.advisor.pool import Pool
from theory.batch_law import Weight

# Batches that every new row is put into.
DRAWS = 8


def sharpness_in_bank(
    pool: Pool, bank: np.ndarray, new: Pool, weight: Weight, batch_size: int, rng: np.random.Generator
) -> float:
    """Mean in-class share of the weight of new rows, each in batches whose other rows are drawn from the bank; of view
    pairs each comes with its partner, and the bank's rows come in pairs."""
    h, own = _beside_bank(pool, bank, new, weight)
    if not new.paired:
        columns = _draws(rng, len(h), len(bank), batch_size - 1)
        within, mass = _sums(h * own, columns), _sums(h, columns)
    else:
        half, pairs = len(h), len(bank) // 2
        columns = _draws(rng, half, pairs, batch_size // 2 - 1)
        within = _partner_weights(new, weight)[:, None]
        mass = within + _sums(h[:, :pairs] + h[:, pairs:], columns)
    return float((within / np.where(mass > 0, mass, 1.0)).mean())


def isolated_in_bank(
    pool: Pool, bank: np.ndarray, new: Pool, weight: Weight, batch_size: int, rng: np.random.Generator
) -> float:
    """Share of new rows without a row of their class above the threshold among those drawn from the bank."""
    h, own = _beside_bank(pool, bank, new, weight)
    columns = _draws(rng, len(h), len(bank), batch_size - 1)
    return float((_sums(((h > 0) & own).astype(float), columns) == 0).mean())


def _beside_bank(pool: Pool, bank: np.ndarray, new: Pool, weight: Weight) -> tuple[np.ndarray, np.ndarray]:
    """Weights of new rows (of view pairs the first views) on the bank's, and whether they share a class."""
    rows = new.size // 2 if new.paired else new.size
    cosines = (new.points[:rows] @ pool.points[torch.from_numpy(bank)].mT).double().clamp(-1.0, 1.0)
    own = new.classes[:rows, None] == pool.classes[None, bank]
    return weight.value(cosines).numpy(), own & (not new.paired)


def _partner_weights(new: Pool, weight: Weight) -> np.ndarray:
    half = new.size // 2
    cosines = (new.points[:half] * new.points[half:]).sum(-1).double().clamp(-1.0, 1.0)
    return weight.value(cosines).numpy()


def _draws(rng: np.random.Generator, rows: int, bank: int, count: int) -> np.ndarray:
    """(rows, DRAWS, count) columns, without repetition inside a batch."""
    return rng.random((rows, DRAWS, bank)).argsort(-1)[..., :count]


def _sums(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(rows, DRAWS) sums over the drawn columns."""
    return np.take_along_axis(values[:, None, :], columns, axis=-1).sum(-1)

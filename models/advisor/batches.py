"""Random batches of a pool, sent through attention in plain code: what the laws and predictions are held against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.advisor.pool import Pool
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from theory.batch_law import Weight

# Entries of the n x n matrices that are worked on together.
CHUNK = 2**22


@dataclass(frozen=True)
class BatchMeans:
    """One number a batch.

    Attributes:
        values: (..., batches).
        size: rows of a batch.
        pool_size: rows that they were drawn from.
    """

    values: Float[np.ndarray, "*kinds batches"]
    size: int
    pool_size: int

    @property
    def mean(self) -> np.ndarray:
        return self.values.mean(-1)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean, the pool given."""
        return self.values.std(-1, ddof=1) / np.sqrt(self.values.shape[-1])

    @property
    def deviation(self) -> np.ndarray:
        """A bound on the standard deviation of one row's influence: a mean over all batches of N independent rows is a
        U-statistic, and its variance at most n/N times that of one batch (Hoeffding 1948), of which batches of the same
        pool show the share 1 - n/N or less."""
        shown = max(1.0 - self.size / self.pool_size, 1.0 / self.pool_size)
        return self.values.std(-1, ddof=1) * np.sqrt(self.size / shown)


def draw_batches(pool: Pool, batch_size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of ``count`` random batches, (count, n), without repetition inside a batch; of view pairs whole pairs (n is
    then rounded down to an even number)."""
    if not pool.paired:
        return np.stack([rng.choice(pool.size, batch_size, replace=False) for _ in range(count)])
    half = pool.size // 2
    chosen = np.stack([rng.choice(half, batch_size // 2, replace=False) for _ in range(count)])
    return np.concatenate([chosen, chosen + half], axis=1)


def measure_batches(pool: Pool, weights: list[Weight], rows: np.ndarray) -> tuple[BatchMeans, BatchMeans]:
    """Mean affinity sharpness of every batch, (weights, batches), and its share of rows without a true neighbor; both
    count a row without neighbors as 0 sharp."""
    batches, n = rows.shape
    sharpness, isolated = np.empty((2, len(weights), batches))
    step = max(1, CHUNK // n**2)
    for start in range(0, batches, step):
        part = slice(start, min(start + step, batches))
        tokens = pool.points[torch.from_numpy(rows[part])]
        cosines = (tokens @ tokens.mT).double()
        own = _own(pool, rows[part])
        for k, weight in enumerate(weights):
            raw = weigh(weight, cosines)
            share, empty = _shares(raw, own)
            sharpness[k, part], isolated[k, part] = share.mean(-1), empty.double().mean(-1)
    return BatchMeans(sharpness, n, pool.size), BatchMeans(isolated, n, pool.size)


def measure_layers(pool: Pool, weight: Weight, depth: int, rows: np.ndarray) -> BatchMeans:
    """Mean affinity sharpness of every batch at layers 0..depth of the stack with this attention, (layers, batches);
    a row's weight on itself does not count."""
    batches, n = rows.shape
    values = np.empty((depth + 1, batches))
    step = max(1, CHUNK // n**2)
    for start in range(0, batches, step):
        part = slice(start, min(start + step, batches))
        own = _own(pool, rows[part])
        tokens = pool.points[torch.from_numpy(rows[part])].double()
        for layer, seen in enumerate(layers_of(weight, depth, tokens)):
            unit = seen / seen.norm(dim=-1, keepdim=True)
            values[layer, part] = _shares(weigh(weight, unit @ unit.mT), own)[0].mean(-1)
    return BatchMeans(values, n, pool.size)


def layers_of(weight: Weight, depth: int, tokens: Float[Tensor, "*trials n D"]) -> Iterator[Tensor]:
    """What each block of the stack with this attention sees, and what the last one leaves."""
    with torch.no_grad():
        if weight.kind == "relu":
            stack = AttentionStack(depth, weight.threshold, power=weight.power)
            block: Callable[[Tensor], Tensor] = stack.blocks[0]
        else:
            assert weight.inverse_temperature is not None
            block = SoftmaxStack(depth, weight.inverse_temperature).block
        yield tokens
        for _ in range(depth):
            tokens = block(tokens)
            yield tokens


def _own(pool: Pool, rows: np.ndarray) -> Tensor:
    classes = torch.from_numpy(pool.classes[rows])
    own = classes[:, :, None] == classes[:, None, :]
    torch.diagonal(own, dim1=-2, dim2=-1).fill_(False)
    return own


def weigh(weight: Weight, cosines: Float[Tensor, "*trials n n"]) -> Float[Tensor, "*trials n n"]:
    """h_ij of all pairs of a batch, 0 on the diagonal; not normalized."""
    raw = weight.value(cosines)
    torch.diagonal(raw, dim1=-2, dim2=-1).zero_()
    return raw


def _shares(raw: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    within, mass = (raw * own).sum(-1), raw.sum(-1)
    return within / torch.where(mass > 0, mass, 1.0), within == 0

"""Proposition 6's bracket of a pool's rows, or of new ones against it, for classes of any size.

``batch_laws`` takes two classes or more, of at least two rows each. Rows of many small classes, parts of a pool and
halves of it have classes of one row as well, and new rows may be of a class that the pool lacks. All of them count:
such a row of the pool stands in batches like every other one and takes weight from the rest, and a row without another
one of its class has share 0. Leaving either out would make rows look sharper than they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.advisor.pool import Pool
from models.tiled import row_tiles
from theory.affinity import unit_points
from theory.batch_law import Weight, batch_laws
from theory.lemmas.drawn_rows import Sides, missing_all, round_off

TILE = 512


@dataclass(frozen=True)
class RowLaw:
    """Of one weight.

    Attributes:
        lower, upper: bracket of each row's expected in-class share, (sizes, R).
        hits: other rows of its class that weigh more than 0, (R,).
    """

    lower: Float[np.ndarray, "sizes R"]
    upper: Float[np.ndarray, "sizes R"]
    hits: Int[np.ndarray, " R"]


def row_laws(
    pool: Pool,
    sizes: Sequence[int],
    weights: Sequence[Weight],
    rows: Int[np.ndarray, " R"] | None = None,
    bank: Int[np.ndarray, " B"] | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[RowLaw, ...]:
    """Brackets in batches of each of the sizes, one law a weight; not of view pairs.

    Args:
        sizes: of batches, n from 2 to the rows that they are drawn from.
        rows: that are asked about, none of the bank: each in batches of itself and n - 1 rows of the bank. None asks
            the bank's own rows, in batches of the bank.
        bank: rows that batches are drawn from; None is all of them.
        progress: called with the number of rows that are done.

    Raises:
        ValueError: a batch size out of range.
    """
    points, classes = _of(pool, bank)
    asked_points, asked = (points, classes) if rows is None else _of(pool, rows)
    counts = np.bincount(classes, minlength=int(asked.max()) + 1)
    apart = counts == 1
    if apart.sum() == 1:
        # Two classes then, so that their common label is none of one row.
        apart[np.where(counts > 1, counts, len(classes) + 1).argmin()] = True
    # To a row of any other class it is all the same which classes the rows beside its own are of.
    labels = np.where(apart[classes], len(counts), classes)
    lawful = ~apart[asked] & (counts[asked] > 1) & (len(np.unique(labels)) > 1)
    shape = (len(weights), len(sizes), len(asked))
    lower, upper, hits = np.zeros(shape), np.zeros(shape), np.zeros((len(weights), len(asked)), dtype=np.int64)
    if lawful.any():
        some = None if rows is None else (asked_points[torch.from_numpy(lawful)], asked[lawful])
        which = lawful if some is None else slice(None)
        laws = batch_laws(points, labels, tuple(sizes), weights, new_rows=some, progress=progress)
        for k, law in enumerate(laws):
            lower[k][:, lawful], upper[k][:, lawful] = law.lower[:, which], law.upper[:, which]
            hits[k, lawful] = (law.degree - law.cross_degree)[which]
    # Rows without another one of their class keep 0 on both sides.
    rest = np.flatnonzero(~lawful & (counts[asked] > (1 if rows is None else 0)))
    itself = rest if rows is None else None
    for k, weight in enumerate(weights if len(rest) else ()):
        found = _by_weights(points, classes, sizes, weight, asked_points[torch.from_numpy(rest)], asked[rest], itself)
        lower[k][:, rest], upper[k][:, rest], hits[k, rest] = found
    return tuple(RowLaw(*each) for each in zip(lower, upper, hits))


def _of(pool: Pool, rows: np.ndarray | None) -> tuple[Tensor, np.ndarray]:
    return (pool.points, pool.classes) if rows is None else (pool.points[torch.from_numpy(rows)], pool.classes[rows])


def _by_weights(
    points: Tensor,
    classes: np.ndarray,
    sizes: Sequence[int],
    weight: Weight,
    rows: Tensor,
    row_classes: np.ndarray,
    itself: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper sides and hits from every weight, without in+ and out+, whose place their caps take: a bracket of
    the same proposition, at most 1/(1 + effective neighbors of a batch) wide.

    Args:
        itself: which of the points each row is; None of new rows.
    """
    weight = weight.at_precision(points.dtype)
    pool = torch.from_numpy(unit_points(points.double().numpy()))
    count = len(classes) - (itself is not None)
    lower, upper = np.zeros((2, len(sizes), len(rows)))
    hits = np.zeros(len(rows), dtype=np.int64)
    for tile in row_tiles(len(rows), TILE):
        unit = torch.from_numpy(unit_points(rows[tile].double().numpy()))
        h = weight.value((unit @ pool.mT).clamp_(-1.0, 1.0)).numpy()
        if itself is not None:
            h[np.arange(len(h)), itself[tile]] = 0.0
        own = row_classes[tile, None] == classes
        mass = h.sum(axis=1, keepdims=True)
        degree, hits[tile] = np.count_nonzero(h, axis=1), np.count_nonzero(h * own, axis=1)
        for place, n in enumerate(sizes):
            apart = h + (n - 2) / max(count - 1, 1) * (mass - h)
            shares = (n - 1) / count * h / np.where(apart > 0, apart, 1.0)
            inside, outside = (shares * own).sum(axis=1), (shares * ~own).sum(axis=1)
            some = degree, hits[tile], degree - hits[tile]
            empty, no_own, no_other = (missing_all(np.array(count), each, np.array(n - 1)) for each in some)
            sides = Sides((inside, 1.0 - no_own), (outside, 1.0 - no_other), (empty, empty))
            lower[place, tile], upper[place, tile] = sides.bracket(round_off(count))
    return lower, upper, hits

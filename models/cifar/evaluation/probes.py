"""Probes: how much of the classes frozen features still hold, read by nearest neighbours or by a linear classifier.

kNN (Wu et al. 2018, arXiv 1805.01978, section 3.4): the k training rows of largest cosine s vote with weight exp(s/t).
Linear: multinomial logistic regression on features standardized by the training rows' mean and standard deviation.

Every choice (k and t, or the L2 weight) is made on validation rows that the probe was not fitted to; the probe is then
fitted again to training and validation rows together, and reads the test rows once.
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.logistic_regression import LinearFit, fit_linear
from models.losses.common import require_rows
from models.tiled import choose_tile_rows, row_tiles
from theory.affinity import unit_points
from theory.batches.clusters import index_among, index_labels
from theory.judging.rates import clopper_pearson
from theory.numerics.inputs import require_choice, require_count, require_number, require_range, require_values

ProbeKind = Literal["knn", "linear"]

# Unit vectors are rounded to multiples of 2^-26. A cosine is then a sum of whole multiples of 2^-52 whose partial sums
# stay below 2, which float64 adds without rounding: it does not depend on tiles, on the order of rows or on the device,
# and rows of one direction are exact ties.
GRID = 2.0**26
# Votes are counted in multiples of 2^-40, as whole numbers, so that their sum does not depend on its order.
VOTE_UNIT = 2.0**40
MOST_NEIGHBOURS = 2**20


@dataclass(frozen=True)
class ProbeConfig:
    """Which probe, and the candidates that the validation rows choose from; of equals the first one listed wins.

    Raises:
        ValueError: an unknown kind, no candidates, or one outside its range.
    """

    kind: ProbeKind = "knn"
    """knn, weighted nearest neighbours; linear, logistic regression."""
    neighbours: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    """k; those above the number of training rows are left out."""
    temperatures: tuple[float, ...] = (0.07, 0.1, 0.2, 0.5)
    """t, in units of the cosine."""
    l2_weights: tuple[float, ...] = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
    """Weight of |W|^2/2 beside the mean cross-entropy. Each fit starts from the one before: list strong ones first."""
    max_iterations: int = 5000
    """Of L-BFGS, for one weight."""

    def __post_init__(self) -> None:
        require_choice(self.kind, "kind", get_args(ProbeKind))
        for name in ("neighbours", "temperatures", "l2_weights"):
            require_values(getattr(self, name), name)
        for k in self.neighbours:
            require_count(k, "neighbours", 1)
        for name in ("temperatures", "l2_weights"):
            for value in getattr(self, name):
                require_number(value, name, 0.0, math.inf, closed="neither")
        require_count(self.max_iterations, "max_iterations", 1)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe says about the test rows."""

    kind: str
    """knn or linear."""
    accuracy: float
    """Share of test rows whose class is found; NaN without test rows, as are low and high."""
    low: float
    """Lower end of the 95 % Clopper-Pearson interval: test rows as independent draws, features and choices fixed."""
    high: float
    """Its upper end."""
    correct: int
    """Test rows whose class is found."""
    trials: int
    """Test rows."""
    chosen: dict[str, float]
    """k and temperature, or l2_weight."""
    validation_accuracy: float
    """Of the chosen candidate on the validation rows; the best of several, so it flatters."""
    left_out: tuple[str, ...] = ()
    """What the probe could not use, in words."""
    candidates: dict = field(default_factory=dict)
    """Validation accuracy of every candidate: (k, temperature), or the L2 weight."""
    right: Tensor | None = field(default=None, compare=False, repr=False)
    """Of each test row whether its class is found, (n,), bool, on the CPU; without test rows of each validation row."""


def probe(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    test: LabelledFeatures | None,
    config: ProbeConfig = ProbeConfig(),
) -> ProbeResult:
    """Choose on ``validation`` after fitting to ``train``, fit again to both together, and read ``test`` once.

    Zero rows have no direction: to kNN they are no neighbours, and among the validation and test rows it does not find
    their class. Candidates k above the number of neighbours are left out, and if none is left k is that number.

    Args:
        train, validation, test: disjoint parts, features of one width on one device. Classes of the validation and test
            rows must occur in ``train``. Without ``test`` a candidate is chosen, and nothing is read.

    Raises:
        ValueError: fewer than 2 classes in train, classes that train lacks, widths that differ, only zero rows (knn).
        ArithmeticError: logistic regression does not converge.
    """
    # Rows that choose nothing stand in for a part that is not there.
    tested, test = test is not None, validation if test is None else test
    train, validation, test, num_classes = _with_classes(train, validation, test)
    # Without test rows the validation rows are read, by what was fitted to others.
    parts = (train, validation) if tested else (train,)
    fitted = LabelledFeatures(torch.cat([p.features for p in parts]), torch.cat([p.labels for p in parts]))
    said: tuple[str, ...] = ()
    accuracies: dict
    if config.kind == "knn":
        said = _zero_rows(train, validation, test if tested else None)
        train, fitted = _with_direction(train, "train"), _with_direction(fitted, "train")
        config, clipped = _clipped(config, len(train.labels))
        said += clipped
        accuracies = _knn_accuracies(train, validation, config, num_classes)
        (k, temperature), accuracy = _best(accuracies)
        chosen = {"k": float(k), "temperature": temperature}
        found = _directed(test)
        scores = torch.full((len(found), num_classes), math.nan, dtype=torch.float64, device=found.device)
        if bool(found.any()):
            features = test.features[found]
            scores[found] = knn_scores(fitted.features, fitted.labels, features, k, temperature, num_classes)
    else:
        fits = _fit_candidates(train, config, num_classes)
        accuracies = {
            weight: _correct(fit.logits(validation.features), validation) / len(validation.labels)
            for weight, fit in fits.items()
        }
        weight, accuracy = _best(accuracies)
        chosen = {"l2_weight": weight}
        final = fits[weight]
        if tested:
            final = fit_linear(fitted, weight, num_classes, start=final, max_iterations=config.max_iterations)
        scores = final.logits(test.features)
    right = _right(scores, test).cpu()
    result = partial(ProbeResult, config.kind, chosen=chosen, validation_accuracy=accuracy, left_out=said,
                     candidates=accuracies, right=right)  # fmt: skip
    if not tested:
        return result(accuracy=math.nan, low=math.nan, high=math.nan, correct=0, trials=0)
    correct, trials = int(right.sum()), len(right)
    low, high = clopper_pearson(correct, trials)
    return result(accuracy=correct / trials, low=low, high=high, correct=correct, trials=trials)


def _fit_candidates(train: LabelledFeatures, config: ProbeConfig, num_classes: int) -> dict[float, LinearFit]:
    """A fit for each L2 weight, each begun from the one before; in float32, because all that is asked of them is which
    reads most validation rows, and in float64 where float32 does not converge."""
    fits: dict[float, LinearFit] = {}
    start = None
    for weight in config.l2_weights:
        fit = partial(fit_linear, train, weight, num_classes, start=start, max_iterations=config.max_iterations)
        try:
            start = fit(dtype=torch.float32)
        except ArithmeticError:
            start = fit(dtype=torch.float64)
        fits[weight] = start
    return fits


# --- nearest neighbours -----------------------------------------------------------------------------------------------


def knn_scores(
    train_features: Float[Tensor, "N d"],
    train_labels: Int[Tensor, " N"],
    features: Float[Tensor, "n d"],
    k: int,
    temperature: float,
    num_classes: int,
    *,
    tile_rows: int | None = None,
) -> Float[Tensor, "n classes"]:
    """Each class's share of the votes of the k training rows of largest cosine, weights exp(s/temperature); float64.

    A row's scores depend on that row and the training rows only, to the last bit. Of training rows at equal cosines the
    earlier one counts as nearer. Cosines are resolved to about 1e-8, which is what rounding leaves of float32 features.

    Args:
        features: rows to classify, not among the training rows (a row would be its own nearest neighbour).
        k: neighbours, in [1, N].
        temperature: in units of the cosine, positive.
        num_classes: labels lie in 0..num_classes-1.
        tile_rows: rows that are compared with all training rows at a time; None chooses.

    Raises:
        ValueError: NaN, zero vectors, empty sets, widths that differ, labels, k or temperature out of range.
    """
    train = LabelledFeatures(train_features, train_labels)
    require_number(temperature, "temperature", 0.0, math.inf, closed="neither")
    require_count(num_classes, "num_classes", 1)
    require_range(train.labels, "train_labels", 0, num_classes - 1)
    cosines, nearest = _neighbours(train.features, features, k, tile_rows)
    return _votes(cosines, train.labels.to(nearest.device)[nearest], temperature, num_classes)


def _neighbours(
    train: Float[Tensor, "N d"], features: Float[Tensor, "n d"], k: int, tile_rows: int | None = None
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """Cosines and training rows of the k nearest, nearest first, earlier rows first among equals: the k' < k nearest
    are the first k' of them."""
    if require_count(k, "k", 1) > min(len(train), MOST_NEIGHBOURS):
        raise ValueError(f"k: must lie in [1, {min(len(train), MOST_NEIGHBOURS)}], got {k} of {len(train)} rows")
    keys, queries = _on_grid(train, "train_features"), _on_grid(features, "features")
    if keys.shape[1] != queries.shape[1]:
        raise ValueError(f"features: must be as wide as train_features, {keys.shape[1]}, got {queries.shape[1]}")
    rows = choose_tile_rows(keys) if tile_rows is None else require_count(tile_rows, "tile_rows", 1)
    found = [_neighbours_of_tile(queries[tile] @ keys.mT, k) for tile in row_tiles(len(queries), rows)]
    cosines, nearest = (torch.cat(parts) for parts in zip(*found))
    return cosines / GRID**2, nearest


def _neighbours_of_tile(cosines: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # topk picks among equals as it likes, so only its smallest value is used.
    last = cosines.topk(k).values[:, -1:]
    above, tied = cosines > last, cosines == last
    places = k - above.sum(-1, keepdim=True)
    chosen = above | (tied & (tied.cumsum(-1, dtype=torch.int32) <= places))
    nearest = chosen.nonzero()[:, 1].view(-1, k)
    values, order = cosines.gather(1, nearest).sort(dim=-1, descending=True, stable=True)
    return values, nearest.gather(1, order)


def _on_grid(features: Tensor, name: str) -> Tensor:
    require_rows(features, name, minimum=1, nonzero=True)
    return (unit_points(features.double()) * GRID).round()


def _votes(
    cosines: Float[Tensor, "n k"], labels: Int[Tensor, "n k"], temperature: float, num_classes: int
) -> Float[Tensor, "n classes"]:
    # Relative to the nearest one, so that exp(1/t) cannot overflow.
    weights = ((cosines - cosines[:, :1]) / temperature).exp()
    votes = torch.zeros(len(cosines), num_classes, dtype=torch.int64, device=cosines.device)
    votes.scatter_add_(1, labels.long(), (weights * VOTE_UNIT).round().long())
    return votes.double() / votes.sum(-1, keepdim=True).double()


def _knn_accuracies(
    train: LabelledFeatures, validation: LabelledFeatures, config: ProbeConfig, num_classes: int
) -> dict[tuple[int, float], float]:
    count, validation = len(validation.labels), _with_direction(validation, "validation")
    cosines, nearest = _neighbours(train.features, validation.features, max(config.neighbours))
    labels = train.labels.to(nearest.device)[nearest]
    found = {}
    for k in config.neighbours:
        for temperature in config.temperatures:
            scores = _votes(cosines[:, :k].contiguous(), labels[:, :k], temperature, num_classes)
            found[k, temperature] = _correct(scores, validation) / count
    return found


def _directed(part: LabelledFeatures) -> Tensor:
    return (part.features != 0).any(-1)


def _with_direction(part: LabelledFeatures, name: str) -> LabelledFeatures:
    kept = _directed(part)
    if not bool(kept.any()):
        raise ValueError(f"{name} features: all rows are zero, which have no direction")
    return LabelledFeatures(part.features[kept], part.labels[kept.to(part.labels.device)])


def _zero_rows(train: LabelledFeatures, validation: LabelledFeatures, test: LabelledFeatures | None) -> tuple[str, ...]:
    said = []
    for part, name, what in ((train, "training", "are no neighbours"), (validation, "validation", "count as not found"),
                             (test, "test", "count as not found")):  # fmt: skip
        if part is None:
            continue
        zero = int((~_directed(part)).sum())
        if zero:
            said.append(f"{zero} of {len(part.labels)} {name} features are zero and {what}")
    return tuple(said)


def _clipped(config: ProbeConfig, rows: int) -> tuple[ProbeConfig, tuple[str, ...]]:
    """Candidates k that there are neighbours for, and in words which are left out."""
    most = min(rows, MOST_NEIGHBOURS)
    kept = tuple(k for k in config.neighbours if k <= most) or (most,)
    above = [k for k in config.neighbours if k > most]
    if not above:
        return config, ()
    said = f"k {', '.join(map(str, above))} left out: there are {rows} training rows"
    return replace(config, neighbours=kept), (said,)


# --- both -------------------------------------------------------------------------------------------------------------


def _with_classes(
    train: LabelledFeatures, validation: LabelledFeatures, test: LabelledFeatures
) -> tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures, int]:
    """The parts with their labels as 0..K-1, in the order of the labels' values, and K: tables have a column for every
    class that there is, whatever the labels' values are.

    Raises:
        ValueError: one class in train, a class that only another part has, features of different widths.
    """
    known, index = index_labels(train.labels, name="train labels")
    if len(known) < 2:
        raise ValueError(f"train labels: must hold at least 2 classes, all are {known[0]}")
    indices = [index]
    for part, name in ((validation, "validation"), (test, "test")):
        if part.features.shape[1] != train.features.shape[1]:
            width = train.features.shape[1]
            raise ValueError(f"{name} features: must be {width} wide as in train, got {part.features.shape[1]}")
        indices.append(index_among(known, part.labels, f"{name} labels", of="the classes of train"))
    device = train.labels.device
    train, validation, test = (
        LabelledFeatures(part.features, torch.from_numpy(index).to(device))
        for part, index in zip((train, validation, test), indices)
    )
    return train, validation, test, len(known)


def _right(scores: Tensor, part: LabelledFeatures) -> Tensor:
    """Whether a row's own class has the largest score; of equal scores the class of the smallest number is read, of NaN
    none."""
    return (scores.argmax(-1) == part.labels.to(scores.device)) & ~scores.isnan().any(-1)


def _correct(scores: Tensor, part: LabelledFeatures) -> int:
    """Rows of which that is so."""
    return int(_right(scores, part).sum())


def _best(accuracies: dict) -> tuple:
    """The candidate of largest accuracy, the first of equals, and its accuracy."""
    chosen = max(accuracies, key=accuracies.__getitem__)
    return chosen, accuracies[chosen]

"""Proposition 6 on trial: small pools of random rows, all batches of which are enumerated."""

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from synthetic.trials.ascent import Parameters, Sizes, Violation
from synthetic.trials.trial import Cases, Subject, Trial
from theory.affinity import normalize_rows, unit_points
from theory.batch_law import Weight, batch_laws
from theory.batches.clusters import contiguous_labels
from theory.judging.statements import POOL_SHARE, PROPOSITION_6, SELF_AT_THREE
from theory.judging.verdicts import Verdict, combine_parts, judge

POOLS_A_SHAPE = 200
SIZES: tuple[Sizes, ...] = ((3, 2), (3, 3))
# The bracket's own allowance for quadrature and round-off is a few 1e-11.
EQUAL = 1e-9
# Of means over batches, which may come out a little above 1.
ROUND_OFF = 1e-13


def draw(rng: np.random.Generator) -> Cases:
    """Pools of 4 to 6 rows in 2 or 3 classes, some with equal rows; one kind of weight, and batch size, for all."""
    sizes = ((2, 2), (3, 2), (4, 2), (3, 3), (2, 2, 2))[rng.integers(5)]
    labels = contiguous_labels(sizes)
    points = rng.standard_normal((POOLS_A_SHAPE, len(labels), 3))
    points += (4.0 * rng.random((POOLS_A_SHAPE, 1, 1))) * rng.standard_normal((POOLS_A_SHAPE, len(sizes), 3))[:, labels]
    twins = rng.random(POOLS_A_SHAPE) < 0.2
    points[twins, 1] = points[twins, 0]
    balanced = bool(len(set(sizes)) == 1 and rng.random() < 0.3)
    batch_size = len(sizes) * rng.integers(1, sizes[0] + 1) if balanced else rng.integers(2, len(labels) + 1)
    return Cases(
        {
            "points": unit_points(points),
            "threshold": rng.choice((0.0, 0.5, 0.9), POOLS_A_SHAPE),
            "power": rng.choice((0.5, 1.0, 2.0), POOLS_A_SHAPE),
            "inverse_temperature": 10.0 ** rng.uniform(-1.0, 1.7, POOLS_A_SHAPE),
        },
        {
            "labels": labels, "batch_size": int(batch_size), "exponential": int(rng.integers(2)),
            "attend_self": int(rng.integers(2)), "balanced": int(balanced),
        },
    )  # fmt: skip


def weights_of(cases: Cases) -> list[Weight]:
    """Each case's, with the cut that is applied in float64."""
    if cases["exponential"]:
        return [Weight("exponential", inverse_temperature=k) for k in cases["inverse_temperature"]]
    pairs = zip(cases["threshold"], cases["power"])
    return [Weight("relu", threshold, power).at_precision("float64") for threshold, power in pairs]


def attend(cosines: np.ndarray, weight: Weight, attend_self: bool) -> np.ndarray:
    """What a block makes of one batch's cosines (batches, n, n): affinities with rows of sum 1, or 0."""
    weights = weight.value(cosines)
    diagonal = np.eye(cosines.shape[-1], dtype=bool)
    return normalize_rows(np.where(diagonal, weight.bound * attend_self, weights))


def doubly_weighted(cosines: np.ndarray, weight: Weight, attend_self: bool) -> np.ndarray:
    """Damaged: weights squared."""
    return normalize_rows(attend(cosines, weight, attend_self) ** 2)


def rows_not_normalized(cosines: np.ndarray, weight: Weight, attend_self: bool) -> np.ndarray:
    """Damaged: weights as they are."""
    return np.where(np.eye(cosines.shape[-1], dtype=bool), weight.bound * attend_self, weight.value(cosines))


def self_mistaken(cosines: np.ndarray, weight: Weight, attend_self: bool) -> np.ndarray:
    """Damaged: rows attend to themselves where they should not, and the other way round."""
    return attend(cosines, weight, not attend_self)


def first_neighbour_lost(cosines: np.ndarray, weight: Weight, attend_self: bool) -> np.ndarray:
    """Damaged: nobody attends to a batch's first row."""
    affinity = attend(cosines, weight, attend_self)
    affinity[..., 0] = 0.0
    return normalize_rows(affinity)


def measure(cases: Cases, subject: Subject) -> np.ndarray:
    """Every row's mean in-class share over all batches that have it, (n, cases)."""
    labels, n = cases["labels"], int(cases["batch_size"])
    batches = np.array([b for b in combinations(range(len(labels)), n) if _is_drawn(cases, labels[list(b)])])
    member = np.stack([(batches == i).any(axis=1) for i in range(len(labels))])
    unit = np.asarray(cases["points"])
    same = labels[batches][:, :, None] == labels[batches][:, None, :]
    found = []
    for points, weight in zip(unit, weights_of(cases)):
        cosines = np.clip(points @ points.T, -1.0, 1.0)
        shares = (
            subject(cosines[batches[:, :, None], batches[:, None, :]], weight, bool(cases["attend_self"])) * same
        ).sum(-1)
        sums = np.bincount(batches.ravel(), weights=shares.ravel(), minlength=len(labels))
        found.append(sums / member.sum(axis=1))
    return np.array(found).T


def _is_drawn(cases: Cases, drawn: np.ndarray) -> bool:
    """Of balanced batches only those with as many rows of every class."""
    counts = np.bincount(drawn, minlength=len(np.unique(cases["labels"])))
    return not cases["balanced"] or len(set(counts)) == 1


def judge_bracket(cases: Cases, measured: np.ndarray) -> Verdict:
    """Both sides, their meeting where they have to, and how far apart they are."""
    n, total = int(cases["batch_size"]), len(cases["labels"])
    found = [
        batch_laws(points, cases["labels"], [n], [weight], attend_self=bool(cases["attend_self"]),
                   batches="balanced" if cases["balanced"] else "uniform", exact=True)[0]
        for points, weight in zip(np.asarray(cases["points"]), weights_of(cases))
    ]  # fmt: skip
    lower, upper = (np.array([getattr(law, side)[0] for law in found]).T for side in ("lower", "upper"))
    every = np.ones(lower.shape[1], dtype=bool)
    plain = every & (not cases["balanced"])
    meet = n in ((2, total) if cases["attend_self"] else (2, 3, total))
    effective = np.array([law.effective_neighbours for law in found]).T
    width = 1.0 / (1.0 + (n - 1) / (total - 1) * effective)
    return combine_parts(
        PROPOSITION_6.name,
        [
            judge("Proposition 6: lower side", lower, measured + ROUND_OFF, every, discrete=True),
            judge("Proposition 6: upper side", measured - ROUND_OFF, upper, every, discrete=True),
            judge("Proposition 6: equality", upper - lower, EQUAL, plain & meet, discrete=True),
            judge(
                "Proposition 6: width", upper - lower, width + EQUAL, plain & (not cases["attend_self"]), discrete=True
            ),
        ],
    )


# --- the adversary ----------------------------------------------------------------------------------------------------


def start_weights(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Logarithms of one row's weights, of many spreads: the proposition asks nothing else of them."""
    spread = torch.logspace(-0.5, 1.0, restarts, dtype=torch.float64)[:, None]
    return {"logits": spread * torch.randn(restarts, sum(sizes) - 1, generator=generator, dtype=torch.float64)}


def _row(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Weights of a row of the first cluster, the largest 1, (R, P), and which are of its own class."""
    logits = parameters["logits"]
    own = torch.arange(logits.shape[-1]) < sizes[0] - 1
    return torch.exp(logits - logits.amax(-1, keepdim=True)), own


def _expected(h: Tensor, own: Tensor, n: int, present: float = 0.0) -> Tensor:
    """By enumeration."""
    batches = torch.tensor(list(combinations(range(h.shape[-1]), n - 1)))
    drawn = h[:, batches]
    return ((present + (drawn * own[batches]).sum(-1)) / (present + drawn.sum(-1))).mean(-1)


def _sides(h: Tensor, own: Tensor, n: int, present: float = 0.0) -> tuple[Tensor, Tensor]:
    """The two sides, written a second time; weights are positive, so no batch is empty."""
    pool = h.shape[-1]
    chance, rest = (n - 1) / pool, (n - 2) / max(pool - 1, 1)
    step, eps = 0.35, 1.3e-11
    t = torch.exp(torch.arange(-78, 110, dtype=torch.float64) * step)
    decay = torch.exp(-h[..., None] * t)
    phi = (decay.sum(1, keepdim=True) - decay).clamp_min(0.0) / max(pool - 1, 1)

    def above(weight: Tensor, transform: Tensor) -> Tensor:
        kernel = step * weight[..., None] * t * torch.exp(-weight[..., None] * t)
        behind = (1.0 + eps - kernel.sum(-1)).clamp_min(0.0)
        before = weight * t[0]
        return ((kernel * transform).sum(-1) + before + transform[..., -1] * behind) / (1.0 - eps)

    low = chance * h / (h + present + rest * (h.sum(-1, keepdim=True) - h))
    high = chance * above(h, phi ** (n - 2) * torch.exp(-present * t))
    in_low, out_low = (low * own).sum(-1), (low * ~own).sum(-1)
    in_high, out_high = (high * own).sum(-1), (high * ~own).sum(-1)
    if present:
        in_low = in_low + present / (present + chance * h.sum(-1))
        in_high = in_high + above(torch.full_like(h[:, 0], present), decay.mean(1) ** (n - 1))
    return torch.maximum(in_low, 1.0 - out_high), torch.minimum(in_high, 1.0 - out_low)


def _outside(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """How far the expectation is outside of the two sides, for three rows and more, with and without self-attention."""
    h, own = _row(parameters, sizes)
    excess = []
    for n in range(3, sum(sizes) + 1):
        for present in (0.0, 1.0):
            (lower, upper), expected = _sides(h, own, n, present), _expected(h, own, n, present)
            excess += [lower - expected, expected - upper]
    return torch.ones_like(h[:, 0]), torch.stack(excess).amax(0) - 1e-11


def _too_wide(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Width over its bound."""
    h, own = _row(parameters, sizes)
    effective, pool = h.sum(-1) ** 2 / (h**2).sum(-1), h.shape[-1]
    excess = []
    for n in range(2, sum(sizes) + 1):
        lower, upper = _sides(h, own, n)
        excess.append(upper - lower - 1.0 / (1.0 + (n - 1) / pool * effective))
    return torch.ones_like(h[:, 0]), torch.stack(excess).amax(0)


def _apart_at_three(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    h, own = _row(parameters, sizes)
    lower, upper = _sides(h, own, 3, 1.0)
    return torch.ones_like(lower), upper - lower


def _other_than_the_pool(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
    h, own = _row(parameters, sizes)
    return torch.ones_like(h[:, 0]), (_expected(h, own, 2) - (h * own).sum(-1) / h.sum(-1)).abs()


TRIALS = (
    Trial(
        PROPOSITION_6,
        "proposition_6",
        ("points", "threshold", "power", "inverse_temperature"),
        ("labels", "batch_size", "exponential", "attend_self", "balanced"),
        measure,
        judge_bracket,
        draw=draw,
        subject=attend,
        violations=(
            Violation("Proposition 6: bracket", SIZES, start_weights, _outside),
            Violation("Proposition 6: width", SIZES, start_weights, _too_wide),
        ),
        killed=(
            Violation(SELF_AT_THREE.name, SIZES, start_weights, _apart_at_three),
            Violation(POOL_SHARE.name, SIZES, start_weights, _other_than_the_pool),
        ),
        damaged={
            each.__name__: each for each in (doubly_weighted, rows_not_normalized, self_mistaken, first_neighbour_lost)
        },
    ),
)

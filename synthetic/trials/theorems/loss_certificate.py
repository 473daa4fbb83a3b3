"""Theorem 4 on trial: affinities of batches and random rows, with the loss that is to certify their sharpness."""

import numpy as np
import torch
from torch import Tensor

from models.losses import affinity_jsd
from synthetic.trials import damaged
from synthetic.trials.ascent import SMALL_SIZES, Parameters, Sizes, Violation
from synthetic.trials.stacks import BATCHES_A_SHAPE, column_array, random_clusters
from synthetic.trials.trial import Cases, Subject, Trial
from theory.affinity import affinity_matrix, target_affinity
from theory.batches.clusters import contiguous_labels
from theory.judging.statements import EMPTY_ROW_HALF, THEOREM_4
from theory.judging.verdicts import Verdict
from theory.loss_certificate import LN2, check_certificate
from theory.measurements import affinity_sharpness

POWERS = (1.0, 1.5, 2.0, 3.0)


def draw(rng: np.random.Generator) -> Cases:
    """Affinities of batches, thresholded so that some rows are empty, and random rows."""
    points, sizes = random_clusters(rng)
    labels = contiguous_labels(sizes)
    if rng.random() < 0.5:
        affinity = affinity_matrix(points, column_array(0.95 * rng.random(BATCHES_A_SHAPE)), power=rng.choice(POWERS))
    else:
        raw = rng.gamma(10.0 ** rng.uniform(-1.5, 1.0), size=(BATCHES_A_SHAPE, len(labels), len(labels)))
        raw *= np.where(labels[:, None] == labels[None, :], 1.0, 10.0 ** rng.uniform(-4.0, 0.0))
        raw *= rng.random(raw.shape[:-1])[..., None] > 0.1
        mass = raw.sum(-1, keepdims=True)
        affinity = raw / np.where(mass > 0, mass, 1.0)
    return Cases({"affinity": affinity}, {"labels": labels})


def measure(cases: Cases, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """The loss of every affinity, and the sharpness of its rows (n, cases)."""
    affinity, labels = np.asarray(cases["affinity"]), cases["labels"]
    loss = subject(torch.from_numpy(affinity), torch.from_numpy(target_affinity(labels))).numpy()
    return loss, affinity_sharpness(affinity, labels).T


def judge(_: Cases, measured: tuple[np.ndarray, np.ndarray]) -> Verdict:
    """The certificate of every affinity."""
    return check_certificate(*measured)


# --- the adversary ----------------------------------------------------------------------------------------------------


def start_rows(generator: torch.Generator, restarts: int, sizes: Sizes) -> Parameters:
    """Logits of affinity rows, of many peakednesses, and of the share of a row that is left empty."""
    n = sum(sizes)
    scale = torch.logspace(-1.0, 1.0, restarts, dtype=torch.float64)[:, None, None]
    return {
        "logits": scale * torch.randn(restarts, n, n, generator=generator, dtype=torch.float64),
        "empty": torch.randn(restarts, n, generator=generator, dtype=torch.float64),
    }


def _binary(s: Tensor) -> Tensor:
    inner = torch.special.xlogy(s, 2 * s / (1 + s)) + (1 - s) * LN2 + torch.log(2 / (1 + s))
    return 0.5 * inner


def _rows(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Divergence and sharpness of every row, (R, n), and which rows are empty."""
    labels = torch.from_numpy(contiguous_labels(sizes))
    same = labels[:, None] == labels[None, :]
    same.fill_diagonal_(False)
    affinity = torch.softmax(parameters["logits"], dim=-1)
    target = (same / same.sum(-1, keepdim=True)).to(affinity.dtype)
    middle = 0.5 * (affinity + target)
    terms = torch.special.xlogy(affinity, affinity / middle) + torch.special.xlogy(target, target / middle)
    return 0.5 * terms.sum(-1), (affinity * same).sum(-1), parameters["empty"] > 1.0


def _certificate(empty_row: float):
    """binary(mean s) - loss, and binary(s_i) - JSD_i of the worst row; ``empty_row``: the divergence of empty rows."""

    def evaluate(parameters: Parameters, sizes: Sizes) -> tuple[Tensor, Tensor]:
        divergence, sharpness, empty = _rows(parameters, sizes)
        divergence = torch.where(empty, empty_row, divergence)
        sharpness = torch.where(empty, 0.0, sharpness)
        rows = (_binary(sharpness) - divergence).amax(-1)
        mean = _binary(sharpness.mean(-1)) - divergence.mean(-1)
        return torch.ones_like(mean), torch.maximum(rows, mean)

    return evaluate


TRIALS = (
    Trial(
        THEOREM_4,
        "theorem_4",
        ("affinity",),
        ("labels",),
        measure,
        judge,
        draw=draw,
        subject=affinity_jsd,
        violations=(Violation("Theorem 4: certificate", SMALL_SIZES, start_rows, _certificate(LN2)),),
        killed=(Violation(EMPTY_ROW_HALF.name, SMALL_SIZES, start_rows, _certificate(0.5 * LN2)),),
        damaged={
            "EmptyRowsAtHalf": damaged.empty_rows_at_half,
            "HalfTheDivergence": damaged.half_the_divergence,
        },
        stream=4,
    ),
)

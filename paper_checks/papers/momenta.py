"""Claims about MoCo's momentum (arXiv 2108.02982): steady scores (F1) and fluctuating gradients (F7)."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from paper_checks.claims import Claim, Finding, Reading, judged
from paper_checks.statistics.decisions import Contrast, against_zero
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import Arm
from paper_checks.trainings.moco_ways import FIRST_EPOCHS, LARGE, MAIN, MOMENTA_MAIN, TO_HIGH, Way
from paper_checks.trainings.reading import accuracies, mean, other_views, tasks_of

CORRELATION = "atanh of the correlation over momenta"
# Of a correlation that is 1 up to rounding.
MOST = 1.0 - 1e-9
MOMENTS = ("positive_mean", "positive_variance", "negative_mean", "negative_variance")
STEADINESS = "steadiness of scores and accuracy"
OTHER_VIEWS = (
    "Nothing is said: an earlier version measured scores of views of another size than the training's. Delete the "
    "trainings at all momenta (folders moco,...,measure_every=1,...) to measure them; F7 is read off them too."
)


def _moment_rows(results: Results, tier: Tier, momenta: dict[float, Arm]) -> list[dict]:
    rows = []
    for momentum, arm in momenta.items():
        accuracy = arm.values(results, tier)
        for seed, epochs in arm.tables(results, tier, "epochs").items():
            rows += [{"curve": f"momentum {momentum:g}", "seed": seed, "epoch": row["epoch"],
                      **{name: row[name] for name in (*MOMENTS, "gradient_norm")}, "accuracy": accuracy[seed]}
                     for row in epochs]  # fmt: skip
    return rows


def _histogram_rows(results: Results, tier: Tier, momenta: dict[float, Arm]) -> list[dict]:
    """Scores of the first seed after the first, a middle and the last epoch."""
    rows = []
    for momentum, arm in momenta.items():
        scores = arm.tables(results, tier, "scores")[0]
        epochs = sorted({row["epoch"] for row in scores})
        shown = {epochs[0], epochs[len(epochs) // 2], epochs[-1]}
        rows += [{"curve": f"momentum {momentum:g}", **row} for row in scores if row["epoch"] in shown]
    return rows


def _unrest(epochs: list[dict]) -> np.ndarray:
    """Mean absolute change from epoch to epoch of each moment of the scores, after the first epochs."""
    table = np.array([[row[name] for name in MOMENTS] for row in epochs[FIRST_EPOCHS:]])
    return np.abs(np.diff(table, axis=0)).mean(0)


def _judge_scores(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    momenta = way.momenta(tier)
    tables = {value: arm.tables(results, tier, "epochs") for value, arm in momenta.items()}
    if any(other_views(tier, momenta[value], rows) for value, each in tables.items() for rows in each.values()):
        # F7 reads other columns of the same trainings, which are as good as they were.
        return judged(OTHER_VIEWS, [against_zero(STEADINESS, CORRELATION, dict.fromkeys(tier.all_seeds, math.nan))])
    accuracy = {value: arm.values(results, tier) for value, arm in momenta.items()}
    agreement = {}
    for seed in tier.all_seeds:
        unrest = np.stack([_unrest(tables[value][seed]) for value in momenta])
        relative = (unrest / unrest.mean(0)).mean(1)
        agreement[seed] = -float(np.corrcoef(relative, [accuracy[value][seed] for value in momenta])[0, 1])
    # Correlations of four values are far from normal, and tests of their mean err twice as often as they say. Fisher's
    # transform of them is close.
    scores = {seed: float(np.arctanh(np.clip(value, -MOST, MOST))) for seed, value in agreement.items()}
    words = accuracies(results, tier, {f"momentum {value:g}": arm for value, arm in momenta.items()})
    contrast = against_zero(STEADINESS, CORRELATION, scores)
    ends = ", ".join(
        f"{value:g}: {mean({seed: table[-1]['negative_mean'] for seed, table in each.items()}):.2f}"
        for value, each in tables.items()
    )
    # Scores that have collapsed to 1 are steady too.
    found = f"{words}; correlation of steadiness and accuracy {mean(agreement):+.2f}. Mean score of negatives, at last"
    return judged(f"{found}, by momentum: {ends}.", [contrast],
                  moments=_moment_rows(results, tier, momenta),
                  histograms=_histogram_rows(results, tier, momenta))  # fmt: skip


def _fluctuation(epochs: list[dict]) -> float:
    """Of the gradient's norm from step to step, over its mean: mean over the epochs after the first."""
    if any("gradient_fluctuation" not in row for row in epochs):
        raise ValueError("epochs.csv: of an earlier version, without gradient_fluctuation; delete the trainings at all "
                         "momenta (folders moco,...,measure_every=1,...) to compute them again")  # fmt: skip
    return float(np.mean([row["gradient_fluctuation"] for row in epochs[FIRST_EPOCHS:]]))


def _mean_norms(results: Results, tier: Tier, arm: Arm) -> dict[int, float]:
    return {seed: float(np.mean([row["gradient_norm"] for row in epochs[FIRST_EPOCHS:]]))
            for seed, epochs in arm.tables(results, tier, "epochs").items()}  # fmt: skip


def _judge_gradients(results: Results, tier: Tier, way: Way = MAIN) -> Finding:
    momenta = way.momenta(tier)
    low, high = min(momenta), max(momenta)
    of = {value: {seed: _fluctuation(epochs) for seed, epochs in arm.tables(results, tier, "epochs").items()}
          for value, arm in momenta.items()}  # fmt: skip
    measure = "relative fluctuation of the gradient's norm"
    contrast = Contrast(f"momentum {low:g} over {high:g}", measure, of[low], of[high])
    words = ", ".join(f"{value:g}: {mean(each):.2f}" for value, each in of.items())
    size = ", ".join(f"{value:g}: {mean(_mean_norms(results, tier, arm)):.2f}" for value, arm in momenta.items())
    found = f"Fluctuation of the gradient's norm from step to step, over its mean, by momentum: {words}"
    return judged(f"{found}; mean norm: {size}.", [contrast], moments=_moment_rows(results, tier, momenta))


def _tasks(tier: Tier, way: Way = MAIN) -> list[Task]:
    return tasks_of(tier, *way.momenta(tier).values())


def _readings(judge: Callable[..., Finding]) -> tuple[Reading, ...]:
    return tuple(Reading(way.name, partial(_tasks, way=way), partial(judge, way=way)) for way in (TO_HIGH, LARGE))


CLAIMS = (
    Claim(
        "F1", "Feature transformation", "section 3, score distributions",
        "Momenta whose score distributions keep a steady mean and variance through training give better features.",
        "trend",
        "For every seed: the correlation, over momenta 0, .5, .9, .99, of accuracy (linear probe on h) and minus the "
        "mean change from epoch to epoch of the scores' means and variances (each relative to its mean over "
        "momenta), after the second epoch, in at least 8 epochs; its atanh above 0 over seeds.",
        _tasks, _judge_scores, labels=True,
        worth={CORRELATION: 0.1},
        why="over four momenta correlations scatter by more",
        main=MOMENTA_MAIN, readings=_readings(_judge_scores),
    ),
    Claim(
        "F7", "Feature transformation", "section 3, gradients",
        "At low momentum gradients fluctuate more.",
        "trend",
        "Of the gradient's norm, in every epoch after the second of at least 8: root mean square of its differences "
        "from step to step, over sqrt(2) and the mean, which leaves out what moves slowly; mean over these epochs, "
        "momentum 0 minus momentum .99; paired over seeds.",
        _tasks, _judge_gradients,
        worth={"relative fluctuation of the gradient's norm": 0.1},
        why="a tenth of the norm",
        main=MOMENTA_MAIN, readings=_readings(_judge_gradients),
    ),
)  # fmt: skip

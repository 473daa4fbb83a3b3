"""MoCo with feature transformation (arXiv 2108.02982): score distributions, harder positives, mixed negatives."""

import numpy as np

from paper_checks.arms import MOCO, Arm
from paper_checks.claims import Claim, Finding, judged
from paper_checks.reading import accuracies, accuracy_contrast, mean, points, tasks_of
from paper_checks.statistics.decisions import Contrast, against_zero
from paper_checks.tasks import Results
from paper_checks.tiers import Tier

# Scores are followed through training.
MOMENTA = {value: MOCO.with_(method__momentum=value, measure_every=1) for value in (0.0, 0.5, 0.9, 0.99)}
BOTH = MOCO.with_(method__name="moco_ft")
POSITIVES = BOTH.with_(method__negatives="none")
NEGATIVES = BOTH.with_(method__positives="none")
INTERPOLATED = POSITIVES.with_(method__positives="interpolate")
TRANSFORMED = {"neither": MOCO, "positives": POSITIVES, "negatives": NEGATIVES, "both": BOTH}
POSITIVE_BETAS = {value: POSITIVES.with_(method__positive_beta=value) for value in (0.2, 2.0, 8.0)}
NEGATIVE_BETAS = {value: NEGATIVES.with_(method__negative_beta=value) for value in (0.2, 1.6, 8.0)}
MOMENTS = ("positive_mean", "positive_variance", "negative_mean", "negative_variance")
# Scores of the first epochs move for every momentum, and say nothing about any.
FIRST_EPOCHS = 2


def _moment_rows(results: Results, tier: Tier) -> list[dict]:
    rows = []
    for momentum, arm in MOMENTA.items():
        accuracy = arm.values(results, tier)
        for seed, epochs in arm.tables(results, tier, "epochs").items():
            rows += [{"curve": f"momentum {momentum:g}", "seed": seed, "epoch": row["epoch"],
                      **{name: row[name] for name in (*MOMENTS, "gradient_norm")}, "accuracy": accuracy[seed]}
                     for row in epochs]  # fmt: skip
    return rows


def _histogram_rows(results: Results, tier: Tier) -> list[dict]:
    """Scores of the first seed after the first, a middle and the last epoch."""
    rows = []
    for momentum, arm in MOMENTA.items():
        scores = arm.tables(results, tier, "scores")[0]
        epochs = sorted({row["epoch"] for row in scores})
        shown = {epochs[0], epochs[len(epochs) // 2], epochs[-1]}
        rows += [{"curve": f"momentum {momentum:g}", **row} for row in scores if row["epoch"] in shown]
    return rows


def _unrest(epochs: list[dict]) -> np.ndarray:
    """Mean absolute change from epoch to epoch of each moment of the scores, after the first epochs."""
    table = np.array([[row[name] for name in MOMENTS] for row in epochs[FIRST_EPOCHS:]])
    return np.abs(np.diff(table, axis=0)).mean(0)


def _judge_scores(results: Results, tier: Tier) -> Finding:
    tables = {value: arm.tables(results, tier, "epochs") for value, arm in MOMENTA.items()}
    accuracy = {value: arm.values(results, tier) for value, arm in MOMENTA.items()}
    agreement = {}
    for seed in tier.all_seeds:
        unrest = np.stack([_unrest(tables[value][seed]) for value in MOMENTA])
        relative = (unrest / unrest.mean(0)).mean(1)
        agreement[seed] = -float(np.corrcoef(relative, [accuracy[value][seed] for value in MOMENTA])[0, 1])
    words = accuracies(results, tier, {f"momentum {value:g}": arm for value, arm in MOMENTA.items()})
    contrast = against_zero("steadiness of scores and accuracy", "correlation over momenta", agreement)
    ends = ", ".join(
        f"{value:g}: {mean({seed: table[-1]['negative_mean'] for seed, table in each.items()}):.2f}"
        for value, each in tables.items()
    )
    # Scores that have collapsed to 1 are steady too.
    found = f"{words}; correlation of steadiness and accuracy {mean(agreement):+.2f}. Mean score of negatives, at last"
    return judged(f"{found}, by momentum: {ends}.", [contrast],
                  moments=_moment_rows(results, tier), histograms=_histogram_rows(results, tier))  # fmt: skip


def _over_moco(results: Results, tier: Tier, arms: dict[str, Arm]) -> list[Contrast]:
    return [accuracy_contrast(results, tier, f"{name} over MoCo", arm, MOCO) for name, arm in arms.items()]


def _judge_transformed(results: Results, tier: Tier) -> Finding:
    arms = {name: arm for name, arm in TRANSFORMED.items() if arm != MOCO}
    return judged(f"Transformed: {accuracies(results, tier, TRANSFORMED)}.", _over_moco(results, tier, arms),
                  points=points(results, tier, TRANSFORMED, "transformed"))  # fmt: skip


def _judge_extrapolation(results: Results, tier: Tier) -> Finding:
    arms = {"extrapolated": POSITIVES, "MoCo": MOCO, "interpolated": INTERPOLATED}
    contrast = accuracy_contrast(results, tier, "positives: extrapolated over interpolated", POSITIVES, INTERPOLATED)
    return judged(f"{accuracies(results, tier, arms)}.", [contrast], points=points(results, tier, arms, "positives"))


def _judge_betas(results: Results, tier: Tier) -> Finding:
    arms = {f"{kind} Beta({value:g}, {value:g})": arm
            for kind, betas in (("positives", POSITIVE_BETAS), ("negatives", NEGATIVE_BETAS))
            for value, arm in betas.items()}  # fmt: skip
    rows = [*points(results, tier, POSITIVE_BETAS, "Beta parameter", "positives extrapolated"),
            *points(results, tier, NEGATIVE_BETAS, "Beta parameter", "negatives interpolated")]  # fmt: skip
    return judged(f"{accuracies(results, tier, {'MoCo': MOCO, **arms})}.", _over_moco(results, tier, arms), points=rows)


def _queues(tier: Tier) -> dict[str, dict[str, Arm]]:
    """Which queue -> its size -> arm."""
    arms = {"original": MOCO, "transformed": NEGATIVES, "union": NEGATIVES.with_(method__union=True)}
    return {name: {f"{tier.small_queue}": arm.with_(method__queue_size=tier.small_queue), "full": arm}
            for name, arm in arms.items()}  # fmt: skip


def _judge_queues(results: Results, tier: Tier) -> Finding:
    queues = _queues(tier)
    contrasts = [accuracy_contrast(results, tier, f"transformed over original queue, {size}",
                                   queues["transformed"][size], queues["original"][size])
                 for size in queues["original"]]  # fmt: skip
    rows = [row for name, arms in queues.items() for row in points(results, tier, arms, "queue", name)]
    words = "; ".join(f"{name} {accuracies(results, tier, arms)}" for name, arms in queues.items())
    return judged(f"Queues by size: {words}.", contrasts, points=rows)


def _starts(tier: Tier) -> dict[str, Arm]:
    half = tier.config.epochs // 2
    return {"from the start": BOTH, f"from epoch {half}": BOTH.with_(method__transform_from_epoch=half), "never": MOCO}


def _judge_starts(results: Results, tier: Tier) -> Finding:
    arms = _starts(tier)
    early, late, never = arms
    contrasts = [accuracy_contrast(results, tier, f"{early} over {late}", arms[early], arms[late]),
                 accuracy_contrast(results, tier, f"{late} over {never}", arms[late], arms[never])]  # fmt: skip
    rows = points(results, tier, arms, "features are transformed")
    return judged(f"{accuracies(results, tier, arms)}.", contrasts, points=rows)


def _fluctuation(epochs: list[dict]) -> float:
    """Standard deviation over mean of the gradient's norm, after the first epochs."""
    norms = np.array([row["gradient_norm"] for row in epochs[FIRST_EPOCHS:]])
    return float(norms.std() / norms.mean())


def _judge_gradients(results: Results, tier: Tier) -> Finding:
    low, high = min(MOMENTA), max(MOMENTA)
    of = {value: {seed: _fluctuation(epochs) for seed, epochs in arm.tables(results, tier, "epochs").items()}
          for value, arm in MOMENTA.items()}  # fmt: skip
    contrast = Contrast(
        f"momentum {low:g} over {high:g}", "relative fluctuation of the gradient's norm", of[low], of[high]
    )
    words = ", ".join(f"{value:g}: {mean(each):.2f}" for value, each in of.items())
    return judged(f"Standard deviation over mean of the gradient's norm, by momentum: {words}.", [contrast],
                  moments=_moment_rows(results, tier))  # fmt: skip


def _all_arms(*groups: dict) -> list[Arm]:
    return list(dict.fromkeys(arm for group in groups for arm in group.values()))


CLAIMS = (
    Claim(
        "F1", "Feature transformation", "section 3, score distributions",
        "Momenta whose score distributions keep a steady mean and variance through training give better features.",
        "trend",
        "For every seed: the correlation, over momenta 0, .5, .9, .99, of accuracy (linear probe on h) and minus the "
        "mean change from epoch to epoch of the scores' means and variances (each relative to its mean over "
        "momenta), after the second epoch; above 0 over seeds.",
        lambda tier: tasks_of(tier, *MOMENTA.values()), _judge_scores, labels=True,
        worth={"correlation over momenta": 0.1},
        why="over four momenta correlations scatter by more",
    ),
    Claim(
        "F2", "Feature transformation", "section 4, main ablation",
        "Extrapolating positives and interpolating negatives each improve MoCo, and so do both together.",
        "comparison",
        "Linear probe on h: each of the three minus MoCo; all, paired over seeds.",
        lambda tier: tasks_of(tier, *TRANSFORMED.values()), _judge_transformed, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
    ),
    Claim(
        "F3", "Feature transformation", "section 4.1",
        "Extrapolating positives, which makes them harder, is better than interpolating them, which makes them easier.",
        "comparison",
        "Linear probe on h: extrapolated minus interpolated positives, negatives as they are; paired over seeds.",
        lambda tier: tasks_of(tier, POSITIVES, MOCO, INTERPOLATED), _judge_extrapolation, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
    ),
    Claim(
        "F4", "Feature transformation", "section 4, Beta parameters",
        "The gain over MoCo does not hang on the parameter of the Beta distribution.",
        "comparison",
        "Linear probe on h: positives extrapolated with Beta(a, a), a = .2, 2, 8, and negatives interpolated with "
        "Beta(b, b), b = .2, 1.6, 8, each minus MoCo; all six, paired over seeds.",
        lambda tier: tasks_of(tier, *_all_arms(POSITIVE_BETAS, NEGATIVE_BETAS), MOCO), _judge_betas, labels=True,
        worth={"accuracy": 0.01},
        why="as F2, whose gain it is about",
    ),
    Claim(
        "F5", "Feature transformation", "section 4.2, queue",
        "A queue of interpolated negatives is better than the original one, at small and large size.",
        "comparison",
        "Linear probe on h: transformed minus original queue, at both sizes, paired over seeds. Their union is shown "
        "and does not decide: it has twice the negatives.",
        lambda tier: tasks_of(tier, *_all_arms(*_queues(tier).values())), _judge_queues, labels=True,
        worth={"accuracy": 0.01},
        why="as F2, whose negatives it is about",
    ),
    Claim(
        "F6", "Feature transformation", "section 4, when to start",
        "Features can be transformed from any epoch on, and the earlier the better.",
        "trend",
        "Linear probe on h: from the start minus from half-way, from half-way minus never; both, paired over seeds.",
        lambda tier: tasks_of(tier, *_starts(tier).values()), _judge_starts, labels=True,
        worth={"accuracy": 0.01},
        why="as F2",
    ),
    Claim(
        "F7", "Feature transformation", "section 3, gradients",
        "At low momentum gradients fluctuate more.",
        "trend",
        "Standard deviation over mean, over epochs after the second, of the gradient's norm: momentum 0 minus momentum "
        ".99; paired over seeds.",
        lambda tier: tasks_of(tier, *MOMENTA.values()), _judge_gradients,
        worth={"relative fluctuation of the gradient's norm": 0.1},
        why="a tenth of the mean norm",
    ),
)  # fmt: skip

"""TransFusion (arXiv 2403.18681) trained on images: blocks, accuracy, cost, intermediate supervision, other heads."""

import math
from collections.abc import Callable
from functools import partial

from paper_checks.claims import Claim, Finding, Reading, judged
from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import SIMCLR, Arm
from paper_checks.trainings.best_rates import all_rates, best_contrast, rate_rows, rate_tasks, rate_words
from paper_checks.trainings.collapsed import alive_contrast, collapse_words, known, stopped
from paper_checks.trainings.reading import (
    accuracies,
    block_rows,
    block_values,
    mean,
    points,
    step_contrasts,
    tasks_of,
)

TRANSFUSION = SIMCLR.with_(method__name="transfusion")
LABELLED = TRANSFUSION.with_(method__supervised=True)
SUPCON = SIMCLR.with_(method__name="supcon")
REST_OF_LABELS = {"TransFusion, labels": LABELLED, "SupCon": SUPCON}
REST_OF_PAIRS = {"TransFusion": TRANSFUSION, "SimCLR": SIMCLR}
REST_OF_HEADS = {"ReLUFormer": SIMCLR.with_(head__kind="reluformer"),
                 "BatchFormer": SIMCLR.with_(head__kind="batchformer")}  # fmt: skip
HEADS = {"TransFusion": TRANSFUSION, **REST_OF_HEADS}
SUPERVISIONS = {"labels": LABELLED, "view pairs": TRANSFUSION}


def _plain(arm: Arm) -> Arm:
    return arm.with_(method__readout="relu")


def _without(arm: Arm) -> Arm:
    return arm.with_(method__intermediate=0.0)


# What the paper leaves open of the method: reading -> how it changes TransFusion's arms.
Change = Callable[[Arm], Arm]
BEST, SAME = "each at its best learning rate", "all at the learning rate of the tier"
# At the rate that was tuned for SimCLR TransFusion may collapse (trainings/collapsed.py).
CHOSEN = f"{BEST} (quick tier without --readings: {SAME})"
BEST_OF: dict[str, Change] = {
    f"plain affinities, {BEST}": _plain,
    f"loss on the last block only, {BEST}": _without,
}


def _block_tasks(tier: Tier, change: Change = lambda arm: arm) -> list[Task]:
    return tasks_of(tier, *map(change, SUPERVISIONS.values()))


def _judge_blocks(results: Results, tier: Tier, change: Change = lambda arm: arm) -> Finding:
    contrasts, rows = [], []
    for name, each in SUPERVISIONS.items():
        arm = change(each)
        measured = block_values(results, tier, arm, "reading", "sharpness")
        still = stopped(results, tier, arm)
        # Where a block has no affinities they have no sharpness, and steps to it and from it say nothing.
        values = {seed: [math.nan if value == 0.0 or seed in still else value for value in blocks]
                  for seed, blocks in measured.items()}  # fmt: skip
        contrasts += step_contrasts(values, name, "affinity sharpness")
        rows += block_rows(values, name, "affinity sharpness")
    steps = {c.name: _known_gain(c) for c in contrasts}
    up = sum(step > 0.0 for step in steps.values())
    words = ", ".join(f"{name} {'unknown' if math.isnan(step) else f'{step:+.3f}'}" for name, step in steps.items())
    told = collapse_words(results, tier, {name: change(arm) for name, arm in SUPERVISIONS.items()})
    return judged(f"{up} of {len(contrasts)} steps go up on average: {words}.{told}", contrasts, blocks=rows)


def _judge_accuracy(results: Results, tier: Tier) -> Finding:
    contrasts = [
        alive_contrast(results, tier, "view pairs: TransFusion over SimCLR", TRANSFUSION, SIMCLR),
        alive_contrast(results, tier, "labels: TransFusion over SupCon", LABELLED, SUPCON),
    ]
    rows = points(results, tier, {**REST_OF_PAIRS, **REST_OF_LABELS}, "method")
    sizes = {row["value"]: row["head_parameters"] for row in rows}
    times = {name: sum(r["seconds"] for r in rows if r["value"] == name) / tier.seeds for name in sizes}
    cost = ", ".join(f"{name} {sizes[name]:,.0f} and {times[name]:.0f} s" for name in sizes)
    arms = {**REST_OF_PAIRS, **REST_OF_LABELS}
    found, told = accuracies(results, tier, arms), collapse_words(results, tier, arms)
    return judged(f"{found}. Parameters of the head and training time: {cost}.{told}", contrasts, points=rows)


Tasks = Callable[[Tier], list[Task]]
Judge = Callable[[Results, Tier], Finding]


def _best_of(pairs: dict[str, tuple[Arm, Arm]], faint: bool = False) -> tuple[Tasks, Judge]:
    """Tasks and judge of "the first is more accurate than the second", for all pairs, each at its best learning rate.

    Args:
        pairs: name -> TransFusion and what it is compared with.
        faint: whether what it is compared with has an affinity loss too.
    """
    arms = {arm: faint or i == 0 for pair in pairs.values() for i, arm in enumerate(pair)}

    def judge(results: Results, tier: Tier) -> Finding:
        contrasts = [best_contrast(results, tier, name, (first, True), (second, faint))
                     for name, (first, second) in pairs.items()]  # fmt: skip
        words = {arm.label(tier): (arm, small) for arm, small in arms.items()}
        told = f"{rate_words(results, tier, words)}. {_gradient_words(results, tier, pairs)}"
        collapses = collapse_words(results, tier, all_rates(tier, words))
        plain = [alive_contrast(results, tier, name, *pair) for name, pair in pairs.items()]
        moved = [_gain(best) - _gain(same) for best, same in zip(contrasts, plain)]
        worth = ", ".join("(unknown)" if math.isnan(each) else f"{100.0 * each:+.1f}" for each in moved)
        found = f"{told} Choosing rates moves the differences by {worth} points.{collapses}"
        return judged(found, contrasts, points=rate_rows(results, tier, words))

    return lambda tier: rate_tasks(tier, arms), judge


def _chosen(best: tuple[Tasks, Judge], same: tuple[Tasks, Judge]) -> tuple[Tasks, Judge]:
    """The main reading: in tiers that choose rates the first, in others the second."""
    return (lambda tier: (best if tier.chosen_rates else same)[0](tier),
            lambda results, tier: (best if tier.chosen_rates else same)[1](results, tier))  # fmt: skip


def _gain(contrast: Contrast) -> float:
    return mean(contrast.first) - mean(contrast.second)


def _known_gain(contrast: Contrast) -> float:
    """Over the seeds that have both values; NaN without any."""
    return mean(known(dict(enumerate(contrast.differences))))


def _gradient_words(results: Results, tier: Tier, pairs: dict[str, tuple[Arm, Arm]]) -> str:
    """Norms of gradients through training, at the tier's rate."""
    arms = dict.fromkeys(arm for pair in pairs.values() for arm in pair)

    def norm(arm: Arm) -> float:
        tables = arm.tables(results, tier, "epochs").values()
        return sum(sum(row["gradient_norm"] for row in rows) / len(rows) for rows in tables) / len(tables)

    return f"Mean norm of the gradient: {', '.join(f'{arm.label(tier)} {norm(arm):.2g}' for arm in arms)}."


def _accuracy_pairs(change: Change) -> dict[str, tuple[Arm, Arm]]:
    return {"view pairs: TransFusion over SimCLR": (change(TRANSFUSION), SIMCLR),
            "labels: TransFusion over SupCon": (change(LABELLED), SUPCON)}  # fmt: skip


def _head_pairs(change: Change) -> dict[str, tuple[Arm, Arm]]:
    return {f"TransFusion over {name}": (change(TRANSFUSION), arm) for name, arm in REST_OF_HEADS.items()}


def _supervision_tasks(tier: Tier, change: Change = lambda arm: arm) -> list[Task]:
    arms = [change(arm) for arm in SUPERVISIONS.values()]
    return tasks_of(tier, *(each for arm in arms for each in (arm, _without(arm))))


SUPERVISION_PAIRS = {
    f"{name}: on every block over last only": (arm, _without(arm)) for name, arm in SUPERVISIONS.items()
}


def _judge_supervision(results: Results, tier: Tier, change: Change = lambda arm: arm) -> Finding:
    contrasts, rows = [], []
    told: dict[str, Arm] = {}
    for name, each in SUPERVISIONS.items():
        arm = change(each)
        arms = {"every block": arm, "last block": _without(arm)}
        contrasts.append(alive_contrast(results, tier, f"{name}: on every block over last only", *arms.values()))
        told |= {f"{name}, loss on {where}": each for where, each in arms.items()}
        rows += points(results, tier, arms, "loss on", curve=name)
    words = accuracies(results, tier, told)
    return judged(f"{words}.{collapse_words(results, tier, told)}", contrasts, points=rows)


def _judge_heads(results: Results, tier: Tier) -> Finding:
    contrasts = [alive_contrast(results, tier, f"TransFusion over {name}", TRANSFUSION, arm)
                 for name, arm in HEADS.items() if name != "TransFusion"]  # fmt: skip
    words = f"{accuracies(results, tier, HEADS)}.{collapse_words(results, tier, HEADS)}"
    return judged(words, contrasts, points=points(results, tier, HEADS, "head"))


COLLAPSED = (
    "A difference says nothing if one of its trainings has collapsed: no gradient for an epoch, or after the last none "
    "of the affinities that the loss is on."
)
ACCURACY: tuple[Tasks, Judge] = (
    lambda tier: tasks_of(tier, *REST_OF_PAIRS.values(), *REST_OF_LABELS.values()), _judge_accuracy
)  # fmt: skip
COMPARED: tuple[Tasks, Judge] = (lambda tier: tasks_of(tier, *HEADS.values()), _judge_heads)
SUPERVISED: tuple[Tasks, Judge] = (_supervision_tasks, _judge_supervision)
CLAIMS = (
    Claim(
        "T4e", "TransFusion", "abstract; experiments",
        "Trained on image features, every block of TransFusion makes the affinity sharper than the block before.",
        "trend",
        "On two views of validation images, after training with labels and with view pairs: every block's mean "
        "affinity sharpness above that of the block before, paired over seeds; all steps. A row's other view is of its "
        "class. Where a block's affinities are all 0, or a training has had no gradient for an epoch, steps say "
        "nothing.",
        _block_tasks, _judge_blocks, labels=True,
        worth={"affinity sharpness": 0.01},
        why="a hundredth of a row's weight moves between classes",
        main="squared affinities, loss on every block",
        readings=tuple(
            Reading(name, partial(_block_tasks, change=change), partial(_judge_blocks, change=change))
            for name, change in (("plain affinities", _plain), ("loss on the last block only", _without))),
    ),
    Claim(
        "T8", "TransFusion", "abstract; experiments on real data",
        "TransFusion gives better accuracy downstream than SimCLR does without labels, and than SupCon does with them.",
        "comparison",
        "Linear probe on h, test images, the same encoder, views, optimiser and epochs, each method at the best of "
        "three learning rates, chosen on validation images (quick tier without --readings: all at the tier's); both "
        f"differences, paired over seeds. {COLLAPSED}",
        *_chosen(_best_of(_accuracy_pairs(lambda arm: arm)), ACCURACY), labels=True,
        worth={"accuracy": 0.01},
        why="methods that are called better differ by that much",
        main=f"squared affinities, loss on every block, {CHOSEN}",
        readings=(Reading(SAME, *ACCURACY),
                  *(Reading(name, *_best_of(_accuracy_pairs(change))) for name, change in BEST_OF.items())),
    ),
    Claim(
        "T9", "TransFusion", "training",
        "Putting the loss on every block's affinity, instead of the last one's alone, gives better features.",
        "comparison",
        "Linear probe on h with the loss on every block minus that on the last alone, with labels and with view pairs; "
        f"each at its best rate as in T8; both, paired over seeds. {COLLAPSED}",
        *_chosen(_best_of(SUPERVISION_PAIRS, faint=True), SUPERVISED), labels=True,
        worth={"accuracy": 0.01},
        why="as between methods: less does not pay for a term of the loss",
        main=f"squared affinities, {CHOSEN}",
        readings=(Reading(SAME, *SUPERVISED),
                  Reading(f"plain affinities, {SAME}", partial(_supervision_tasks, change=_plain),
                          partial(_judge_supervision, change=_plain))),
    ),
    Claim(
        "T10", "TransFusion", "comparison of heads",
        "TransFusion is better than attention over the batch without its truncation and affinity loss (ReLUFormer), "
        "and than a BatchFormer head.",
        "comparison",
        "Linear probe on h of TransFusion with its affinity loss minus that of ReLUFormer and of BatchFormer with "
        f"NT-Xent, without labels, each at its best rate as in T8; both, paired over seeds. {COLLAPSED}",
        *_chosen(_best_of(_head_pairs(lambda arm: arm)), COMPARED), labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
        main=f"squared affinities, loss on every block, {CHOSEN}",
        readings=(Reading(SAME, *COMPARED),
                  *(Reading(name, *_best_of(_head_pairs(change))) for name, change in BEST_OF.items())),
    ),
)  # fmt: skip

"""TransFusion (arXiv 2403.18681) trained on images: blocks, accuracy, cost, intermediate supervision, other heads."""

from paper_checks.arms import SIMCLR, Arm
from paper_checks.claims import Claim, Finding, judged
from paper_checks.reading import (
    accuracies,
    accuracy_contrast,
    block_rows,
    block_values,
    mean,
    points,
    step_contrasts,
    tasks_of,
)
from paper_checks.tasks import Results
from paper_checks.tiers import Tier

TRANSFUSION = SIMCLR.with_(method__name="transfusion")
LABELLED = TRANSFUSION.with_(method__supervised=True)
SUPCON = SIMCLR.with_(method__name="supcon")
REST_OF_LABELS = {"TransFusion, labels": LABELLED, "SupCon": SUPCON}
REST_OF_PAIRS = {"TransFusion": TRANSFUSION, "SimCLR": SIMCLR}
HEADS = {"TransFusion": TRANSFUSION,
         "ReLUFormer": SIMCLR.with_(head__kind="reluformer"),
         "BatchFormer": SIMCLR.with_(head__kind="batchformer")}  # fmt: skip
SUPERVISIONS = {"labels": LABELLED, "view pairs": TRANSFUSION}


def _judge_blocks(results: Results, tier: Tier) -> Finding:
    contrasts, rows = [], []
    for name, arm in SUPERVISIONS.items():
        values = block_values(results, tier, arm, "reading", "sharpness")
        contrasts += step_contrasts(values, name, "affinity sharpness")
        rows += block_rows(values, name, "affinity sharpness")
    up = sum(mean(c.first) > mean(c.second) for c in contrasts)
    words = ", ".join(f"{c.name} {mean(c.first) - mean(c.second):+.3f}" for c in contrasts)
    return judged(f"{up} of {len(contrasts)} steps go up on average: {words}.", contrasts, blocks=rows)


def _judge_accuracy(results: Results, tier: Tier) -> Finding:
    contrasts = [
        accuracy_contrast(results, tier, "view pairs: TransFusion over SimCLR", TRANSFUSION, SIMCLR),
        accuracy_contrast(results, tier, "labels: TransFusion over SupCon", LABELLED, SUPCON),
    ]
    rows = points(results, tier, {**REST_OF_PAIRS, **REST_OF_LABELS}, "method")
    sizes = {row["value"]: row["head_parameters"] for row in rows}
    times = {name: sum(r["seconds"] for r in rows if r["value"] == name) / tier.seeds for name in sizes}
    cost = ", ".join(f"{name} {sizes[name]:,.0f} and {times[name]:.0f} s" for name in sizes)
    found = accuracies(results, tier, {**REST_OF_PAIRS, **REST_OF_LABELS})
    return judged(f"{found}. Parameters of the head and training time: {cost}.", contrasts, points=rows)


def _without(arm: Arm) -> Arm:
    return arm.with_(method__intermediate=0.0)


def _judge_supervision(results: Results, tier: Tier) -> Finding:
    contrasts, rows = [], []
    for name, arm in SUPERVISIONS.items():
        contrasts.append(accuracy_contrast(results, tier, f"{name}: on every block over last only", arm, _without(arm)))
        arms = {"every block": arm, "last block": _without(arm)}
        rows += points(results, tier, arms, "loss on", curve=name)
    words = "; ".join(f"{c.name} {mean(c.first):.1%} against {mean(c.second):.1%}" for c in contrasts)
    return judged(f"{words}.", contrasts, points=rows)


def _judge_heads(results: Results, tier: Tier) -> Finding:
    contrasts = [accuracy_contrast(results, tier, f"TransFusion over {name}", TRANSFUSION, arm)
                 for name, arm in HEADS.items() if name != "TransFusion"]  # fmt: skip
    return judged(f"{accuracies(results, tier, HEADS)}.", contrasts, points=points(results, tier, HEADS, "head"))


CLAIMS = (
    Claim(
        "T4e", "TransFusion", "abstract; experiments",
        "Trained on image features, every block of TransFusion makes the affinity sharper than the block before.",
        "trend",
        "On two views of validation images, after training with labels and with view pairs: every block's mean "
        "affinity sharpness above that of the block before, paired over seeds; all steps.",
        lambda tier: tasks_of(tier, *SUPERVISIONS.values()), _judge_blocks, labels=True,
        worth={"affinity sharpness": 0.01},
        why="a hundredth of a row's weight moves between classes",
    ),
    Claim(
        "T8", "TransFusion", "abstract; experiments on real data",
        "TransFusion gives better accuracy downstream than SimCLR does without labels, and than SupCon does with them.",
        "comparison",
        "Linear probe on h, test images, the same encoder, views, optimiser and epochs; both differences, paired over "
        "seeds. Parameters and time are reported and do not decide.",
        lambda tier: tasks_of(tier, *REST_OF_PAIRS.values(), *REST_OF_LABELS.values()), _judge_accuracy, labels=True,
        worth={"accuracy": 0.01},
        why="methods that are called better differ by that much",
    ),
    Claim(
        "T9", "TransFusion", "training",
        "Putting the loss on every block's affinity, instead of the last one's alone, gives better features.",
        "comparison",
        "Linear probe on h with the loss on every block minus that on the last alone, with labels and with view pairs; "
        "both, paired over seeds.",
        lambda tier: tasks_of(tier, *(each for arm in SUPERVISIONS.values() for each in (arm, _without(arm)))),
        _judge_supervision, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods: less does not pay for a term of the loss",
    ),
    Claim(
        "T10", "TransFusion", "comparison of heads",
        "TransFusion is better than attention over the batch without its truncation and affinity loss (ReLUFormer), "
        "and than a BatchFormer head.",
        "comparison",
        "Linear probe on h of TransFusion with its affinity loss minus that of ReLUFormer and of BatchFormer with "
        "NT-Xent, without labels; both, paired over seeds.",
        lambda tier: tasks_of(tier, *HEADS.values()), _judge_heads, labels=True,
        worth={"accuracy": 0.01},
        why="as between methods",
    ),
)  # fmt: skip

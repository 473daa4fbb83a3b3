"""Deep Fusion (the revision of arXiv 2403.18681): a softmax transformer over the batch as projection head."""

from dataclasses import replace
from functools import lru_cache, partial

import torch

from models.encoders import build_encoder, feature_dim_of
from models.heads import HeadConfig, build_head, count_parameters
from paper_checks.claims import Claim, Finding, Reading, judged
from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import SIMCLR, Arm, changed, of_batch_size
from paper_checks.trainings.reading import (
    accuracies,
    accuracy_contrast,
    block_rows,
    block_values,
    mean,
    points,
    step_contrasts,
    tasks_of,
)

DEEP_FUSION = SIMCLR.with_(method__name="deepfusion")
# Rows of one view attend to each other, or rows of both views.
JOINT = DEEP_FUSION.with_(head__attention_scope="joint")
PER_VIEW_WORDS, JOINT_WORDS = "attention within each view", "joint attention over both views"
TEMPERATURES = (0.1, 2.0)
WEIGHT_DECAYS = (1e-4, 0.3)


def _heads(tier: Tier, fusion: Arm = DEEP_FUSION) -> dict[str, Arm]:
    """Deep Fusion, the usual MLP, and an MLP whose hidden units give it as many parameters as Deep Fusion."""
    return {"Deep Fusion": fusion, "MLP": SIMCLR, "MLP of its size": _same_size(tier.at(1))}


@lru_cache
def _same_size(tier: Tier) -> Arm:
    config = changed(tier.config, dict(DEEP_FUSION.changes))
    choice = config.head.resolve(config.method.name)
    # Only sizes are asked for: no weights are made.
    with torch.device("meta"):
        features = feature_dim_of(build_encoder(config.encoder))

        def size(head: HeadConfig) -> int:
            return count_parameters(build_head(head, features))

        wanted = size(choice)
        one, two = (size(replace(choice, kind="mlp", hidden_dim=units)) for units in (1, 2))
    units = 1 + max(0, round((wanted - one) / (two - one)))
    return SIMCLR.with_(head__hidden_dim=units)


def _judge_head(results: Results, tier: Tier, fusion: Arm = DEEP_FUSION) -> Finding:
    heads = _heads(tier, fusion)
    rows = points(results, tier, heads, "head")
    sizes = {row["value"]: row["head_parameters"] for row in rows}
    cost = ", ".join(f"{name} {size:,.0f}" for name, size in sizes.items())
    contrasts = [accuracy_contrast(results, tier, f"Deep Fusion over {name}", fusion, arm)
                 for name, arm in heads.items() if arm != fusion]  # fmt: skip
    return judged(f"{accuracies(results, tier, heads)}; parameters of the head: {cost}.", contrasts, points=rows)


def _judge_attention(results: Results, tier: Tier, fusion: Arm = DEEP_FUSION) -> Finding:
    values = block_values(results, tier, fusion, "attention", "others_mass")
    contrasts = step_contrasts(values, "attention inside the class", "attention mass")
    means = [mean({seed: each[i] for seed, each in values.items()}) for i in range(len(contrasts) + 1)]
    words = ", ".join(f"{value:.3f}" for value in means)
    found = "Of the attention that rows give to other images, the share of their own class, block by block"
    return judged(f"{found}: {words}.", contrasts,
                  blocks=block_rows(values, "Deep Fusion", "attention inside the class"))  # fmt: skip


def _factors(tier: Tier, fusion: Arm = DEEP_FUSION) -> dict[str, dict]:
    """Factor -> value -> arm, from the smallest to the largest."""
    return {
        "batch size": {size: of_batch_size(fusion, size, tier) for size in tier.batch_sizes},
        "temperature": {value: fusion.with_(method__temperature=value) for value in TEMPERATURES},
        "weight decay": {value: fusion.with_(optimiser__weight_decay=value) for value in WEIGHT_DECAYS},
    }


def _factor_tasks(tier: Tier, fusion: Arm = DEEP_FUSION) -> list[Task]:
    return tasks_of(tier, *(arm for arms in _factors(tier, fusion).values() for arm in arms.values()))


def _judge_sensitivity(results: Results, tier: Tier, fusion: Arm = DEEP_FUSION) -> Finding:
    contrasts, rows = [], []
    for factor, arms in _factors(tier, fusion).items():
        low, high = arms
        contrasts.append(Contrast(f"{factor} {low:g} against {high:g}", "accuracy", arms[low].values(results, tier),
                                  arms[high].values(results, tier), "differs"))  # fmt: skip
        rows += points(results, tier, {f"{factor} {value:g}": arm for value, arm in arms.items()}, "setting")
    words = "; ".join(f"{c.name}: {mean(c.first):.1%}, {mean(c.second):.1%}" for c in contrasts)
    return judged(f"{words}.", contrasts, points=rows)


CLAIMS = (
    Claim(
        "D1", "Deep Fusion", "main comparison",
        "With a transformer over the batch as projection head the encoder learns better features than with a "
        "feed-forward head, at equal budget.",
        "comparison",
        "Linear probe on h, NT-Xent with one temperature, the same encoder, views, optimiser and epochs: Deep Fusion "
        "minus an MLP with as many hidden units as features, and minus one with as many parameters as Deep Fusion; "
        "both, paired over seeds.",
        lambda tier: tasks_of(tier, *_heads(tier).values()), _judge_head, labels=True,
        worth={"accuracy": 0.01},
        why="less does not pay for a head of many times the parameters",
        main=PER_VIEW_WORDS,
        readings=(Reading(JOINT_WORDS, lambda tier: tasks_of(tier, *_heads(tier, JOINT).values()),
                          partial(_judge_head, fusion=JOINT)),),
    ),
    Claim(
        "D2", "Deep Fusion", "analysis of the layers",
        "Deeper layers of the head attend more to samples of the same class, although no labels were seen.",
        "trend",
        "On two views of validation images after training: of the attention that a row gives to other images, the "
        "share of its own class (weight on itself, or on its other view, is none), every block's above that of the "
        "block before, paired over seeds; all steps.",
        lambda tier: tasks_of(tier, DEEP_FUSION), _judge_attention, labels=True,
        worth={"attention mass": 0.01},
        why="a hundredth of a row's attention to others; chance gives a class of ten a tenth",
        main=PER_VIEW_WORDS,
        readings=(Reading(JOINT_WORDS, lambda tier: tasks_of(tier, JOINT), partial(_judge_attention, fusion=JOINT)),),
    ),
    Claim(
        "D3", "Deep Fusion", "ablations",
        "Results depend on batch size, temperature and weight decay.",
        "comparison",
        "Linear probe on h at a small and a large value of each, batch sizes with the learning rates of S4a; every "
        "difference away from 0, on whichever side, paired over seeds; all three. Nothing contradicts the claim; a "
        "factor may make no difference that matters.",
        _factor_tasks, _judge_sensitivity, labels=True,
        worth={"accuracy": 0.02},
        why="from one end of a wide range to the other: less need not be tuned",
        main=PER_VIEW_WORDS,
        readings=(Reading(JOINT_WORDS, partial(_factor_tasks, fusion=JOINT),
                          partial(_judge_sensitivity, fusion=JOINT)),),
    ),
)  # fmt: skip

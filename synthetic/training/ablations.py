"""The trainings of ``python -m synthetic.train_stack``: which arms there are, and what one differs in from the next."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from models.heads import AttentionScope, HeadConfig
from models.losses import OBJECTIVES, Objective, objective_from_name
from synthetic.training.batch_source import Supervision
from synthetic.training.training import Optimisation

Ablation = Literal["none", "loss", "learning_rate", "depth", "attention", "supervision"]
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DEPTHS = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: as tables and figures show it.
        columns: what else its rows say, beside the columns that every row has.
    """

    name: str
    head: HeadConfig
    objective: Objective
    supervision: Supervision
    optimisation: Optimisation
    columns: dict = field(default_factory=dict)


def build_variants(
    ablation: Ablation, head: HeadConfig, objective: Objective, supervision: Supervision, optimisation: Optimisation
) -> list[Variant]:
    """The arms of an ablation, around the given setting; "none" has that setting, and Deep Fusion without labels."""
    base = Variant("TransFusion", head, objective, supervision, optimisation)
    if ablation == "none":
        name = "TransFusion" if head.kind == "transfusion" else head.kind
        return [replace(base, name=name), _deep_fusion(base)]
    return list({"loss": _losses, "learning_rate": _learning_rates, "depth": _depths, "attention": _attentions,
                 "supervision": _supervisions}[ablation](base))  # fmt: skip


def _deep_fusion(base: Variant) -> Variant:
    return replace(
        base, name="Deep Fusion", head=replace(base.head, kind="deepfusion"), objective=objective_from_name("nt_xent"),
        supervision="views",
    )  # fmt: skip


def _over_rates(arm: Variant) -> Iterable[Variant]:
    for rate in LEARNING_RATES:
        yield replace(arm, optimisation=replace(arm.optimisation, learning_rate=rate))


def _losses(base: Variant) -> Iterable[Variant]:
    """Every loss at every learning rate, on one head without attention: its only reading is of its embeddings, so that
    all losses shape the same numbers. Two views, which every loss can use."""
    head = replace(base.head, kind="mlp")
    for name in OBJECTIVES:
        if name != "supcon":  # of two views it is nt_xent at another temperature
            arm = replace(base, name=name, head=head, objective=objective_from_name(name), supervision="views")
            yield from _over_rates(arm)
    warm = replace(base, name="nt_xent, temperature 0.1", head=head, supervision="views",
                   objective=objective_from_name("nt_xent", temperature=0.1))  # fmt: skip
    yield from _over_rates(warm)


def _learning_rates(base: Variant) -> Iterable[Variant]:
    for weight, name in ((0.0, "output only"), (1.0, "every block")):
        arm = replace(base, name=f"loss on {name}", objective=replace(base.objective, intermediate=weight))
        yield from _over_rates(arm)


def _depths(base: Variant) -> Iterable[Variant]:
    for weight, name in ((0.0, "output only"), (1.0, "every block")):
        for depth in DEPTHS:
            yield replace(base, name=f"loss on {name}", head=replace(base.head, depth=depth),
                          objective=replace(base.objective, intermediate=weight))  # fmt: skip


def _attentions(base: Variant) -> Iterable[Variant]:
    kinds: dict[str, dict] = {
        "TransFusion": {"kind": "transfusion"},
        "TransFusion, diagonal kept": {"kind": "transfusion", "keep_diagonal": True},
        "TransFusion, 4 heads": {"kind": "transfusion", "num_heads": 4},
        "TransFusion, no biases": {"kind": "transfusion", "attention_bias": False},
        "ReLUFormer": {"kind": "reluformer"},
        "Deep Fusion (softmax)": {"kind": "deepfusion"},
        "BatchFormer": {"kind": "batchformer"},
        "MLP": {"kind": "mlp"},
        "linear": {"kind": "linear"},
        "none": {"kind": "none"},
    }
    for name, changes in kinds.items():
        yield replace(base, name=name, head=replace(base.head, **changes))


def _supervisions(base: Variant) -> Iterable[Variant]:
    scopes: tuple[tuple[AttentionScope, str], ...] = (("per_view", "views apart"), ("joint", "views together"))
    for weight, where in ((0.0, "output"), (1.0, "every block")):
        objective = replace(base.objective, intermediate=weight)
        yield replace(base, name=f"labels, {where}", objective=objective, supervision="labels")
        for scope, seen in scopes:
            yield replace(base, name=f"views, {where}, {seen}", objective=objective, supervision="views",
                          head=replace(base.head, attention_scope=scope))  # fmt: skip

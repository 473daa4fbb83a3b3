"""Arms at their best learning rate: every seed trains all rates, chooses one on its validation images, and reads the
test images of that one.

Choosing is part of what is trained: a seed's three trainings and the choice among them are one draw of "the method, its
rate chosen on validation images", and its test accuracy is unbiased for that, since test images take no part in the
choice. Draws of different seeds are independent, so that paired differences are judged as any others are. What is
compared costs as many trainings for every arm.

An optimizer whose steps grow with the gradient (SGD) does next to nothing with a loss whose gradients are a hundred
times smaller. For such a loss the grid is of its scale: the rate times f and the weight decay over f are the very
trainings of the loss times f.
"""

from collections import Counter
from collections.abc import Mapping

from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import Arm
from paper_checks.trainings.collapsed import collapsed, known, without
from paper_checks.trainings.reading import mean, points, tasks_of

# Times the tier's rate. AdamW's steps do not depend on the scale of the loss.
FACTORS = (1 / 3, 1.0, 3.0)
# For SGD and a loss of gradients much smaller than NT-Xent's.
SCALES = (1.0, 30.0, 1000.0)


def rates(tier: Tier, arm: Arm, faint: bool = False) -> dict[float, Arm]:
    """Factor -> the arm with the tier's learning rate times it.

    Args:
        faint: whether its loss has gradients much smaller than NT-Xent's.
    """
    step = tier.config.optimiser
    scaled = faint and step.kind == "sgd"

    def at(factor: float) -> Arm:
        if factor == 1.0:
            return arm
        changed = arm.with_(optimiser__learning_rate=step.learning_rate * factor)
        return changed.with_(optimiser__weight_decay=step.weight_decay / factor) if scaled else changed

    return {factor: at(factor) for factor in (SCALES if scaled else FACTORS)}


def rate_tasks(tier: Tier, arms: Mapping[Arm, bool]) -> list[Task]:
    """The trainings of all rates of several arms.

    Args:
        arms: arm -> faint.
    """
    return tasks_of(tier, *(each for arm, faint in arms.items() for each in rates(tier, arm, faint).values()))


def chosen(results: Results, tier: Tier, arms: Mapping[float, Arm]) -> dict[int, float]:
    """By seed, the value (a factor, a temperature) whose arm is best on validation images: linear probe on h; of equals
    the first."""
    validation = {value: arm.values(results, tier, "validation_accuracy") for value, arm in arms.items()}
    return {seed: max(arms, key=lambda value: validation[value][seed]) for seed in tier.all_seeds}


def at_chosen(results: Results, tier: Tier, arms: Mapping[float, Arm]) -> dict[int, float]:
    """By seed, the test accuracy of the arm that is best on validation images; NaN where that one has collapsed. No
    second best stands in for it: the method would be compared at a rate that nobody chooses."""
    test = {value: without(arm.values(results, tier), collapsed(results, tier, arm)) for value, arm in arms.items()}
    return {seed: test[value][seed] for seed, value in chosen(results, tier, arms).items()}


def best_contrast(
    results: Results, tier: Tier, name: str, first: tuple[Arm, bool], second: tuple[Arm, bool]
) -> Contrast:
    """Whether the first arm is the more accurate, each at its best rate; arms with whether they are faint."""
    one, other = (at_chosen(results, tier, rates(tier, *each)) for each in (first, second))
    return Contrast(name, "accuracy", one, other)


def all_rates(tier: Tier, arms: Mapping[str, tuple[Arm, bool]]) -> dict[str, Arm]:
    """Every arm at every rate, as "SimCLR ×1/3".

    Args:
        arms: name -> arm, and whether it is faint.
    """
    return {f"{name} ×{_factor(value)}": each
            for name, arm in arms.items() for value, each in rates(tier, *arm).items()}  # fmt: skip


def rate_rows(results: Results, tier: Tier, arms: Mapping[str, tuple[Arm, bool]]) -> list[dict]:
    """Accuracy against the learning rate, for ablation curves: rows as of :func:`points`."""
    return [row for name, arm in arms.items()
            for row in points(results, tier, rates(tier, *arm), "learning rate over the tier's", name)]  # fmt: skip


def rate_words(results: Results, tier: Tier, arms: Mapping[str, tuple[Arm, bool]]) -> str:
    """What choosing comes to: "SimCLR 71.0% at its best rate (×1/3 2, ×1 3 of 5 seeds), 70.2% at the tier's". Of means
    over fewer seeds, those that have not collapsed, it says over how many. A rate at an end of the grid may not be the
    best that there is, which is said too."""
    words = []
    for name, (arm, faint) in arms.items():
        grid = rates(tier, arm, faint)
        found = Counter(chosen(results, tier, grid).values())
        told = ", ".join(f"×{_factor(value)} {found[value]}" for value in grid if found[value])
        at_end = found[min(grid)] + found[max(grid)]
        end = f", {at_end} at an end of the grid" if at_end else ""
        best = at_chosen(results, tier, grid)
        plain = without(arm.values(results, tier), collapsed(results, tier, arm))
        words.append(
            f"{name} {_told(best)} at its best rate ({told} of {tier.seeds} seeds{end}), {_told(plain)} at the tier's"
        )
    return "; ".join(words)


def _told(values: Mapping[int, float]) -> str:
    """ "71.0%", "71.0% over 3 seeds" where others are missing, "no value" where all are."""
    found = known(values)
    if not found:
        return "no value"
    return f"{mean(found):.1%}" + ("" if len(found) == len(values) else f" over {len(found)} seeds")


def _factor(value: float) -> str:
    return "1/3" if value == 1 / 3 else f"{value:g}"

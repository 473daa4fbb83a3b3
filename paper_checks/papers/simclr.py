"""SimCLR (arXiv 2002.05709): augmentations, head, loss, batch size, and what features keep."""

from itertools import combinations

import torch

from models.encoders import build_encoder, feature_dim_of
from paper_checks.claims import Claim, Finding, judged
from paper_checks.statistics.decisions import Contrast
from paper_checks.tasks import Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import SIMCLR, Arm, of_batch_size
from paper_checks.trainings.best_rates import at_chosen
from paper_checks.trainings.reading import accuracies, accuracy_contrast, mean, points, tasks_of
from paper_checks.trainings.transformations import TRANSFORMATIONS
from paper_checks.trainings.two_processes import GatherGradients, TwoProcessTraining

# What switches an augmentation on; all others are off.
AUGMENTATIONS: dict[str, dict] = {
    "crop": {"view__crop": True},
    "color": {"view__color_jitter": 0.5, "view__grayscale": 0.2},
    "blur": {"view__blur": 0.5},
    "noise": {"view__noise_level": 0.1},
}
NO_AUGMENTATION = SIMCLR.with_(view__crop=False, view__flip=False, view__color_jitter=0.0, view__grayscale=0.0)
HEADS = {"MLP": SIMCLR, "linear": SIMCLR.with_(head__kind="linear"), "none": SIMCLR.with_(head__kind="none")}
# One of them may be the tier's own.
NORMALIZED = {value: SIMCLR.with_(method__temperature=value) for value in (0.1, 0.5, 1.0)}
INNER_PRODUCTS = {value: SIMCLR.with_(method__normalize=False, method__temperature=value) for value in (0.5, 1.0, 10.0)}


def _composed(*names: str) -> Arm:
    changes = {name: value for each in names for name, value in AUGMENTATIONS[each].items()}
    return NO_AUGMENTATION.with_(**changes)


def _compositions(tier: Tier) -> dict[tuple[str, str], Arm]:
    """The diagonal (one augmentation) and all pairs, or of those what the claim is about."""
    names = tuple(AUGMENTATIONS) if tier.shown_arms else ("crop", "color")
    singles = {(name, name): _composed(name) for name in names}
    return singles | {pair: _composed(*pair) for pair in combinations(names, 2)}


def _judge_composition(results: Results, tier: Tier) -> Finding:
    both, crop, color = _composed("crop", "color"), _composed("crop"), _composed("color")
    contrasts = [accuracy_contrast(results, tier, "crop and color over crop", both, crop),
                 accuracy_contrast(results, tier, "crop and color over color", both, color)]  # fmt: skip
    arms = _compositions(tier)
    rows = [{"first": first, "second": second, "seed": seed, "accuracy": value}
            for (first, second), arm in arms.items()
            for seed, value in arm.values(results, tier).items()]  # fmt: skip
    found = f"{accuracies(results, tier, {'crop and color': both, 'crop': crop, 'color': color})}."
    if tier.shown_arms:
        best = max(arms, key=lambda pair: mean(arms[pair].values(results, tier)))
        found = f"{found[:-1]}; the best of all pairs is {' and '.join(dict.fromkeys(best))}."
    if tier.digits:
        found += " These images are gray: color jitter changes brightness and contrast only."
    return judged(found, contrasts, composition=rows)


def _judge_heads(results: Results, tier: Tier) -> Finding:
    h, z = (SIMCLR.values(results, tier, features=features) for features in "hz")
    contrasts = [
        accuracy_contrast(results, tier, "MLP over linear head", HEADS["MLP"], HEADS["linear"]),
        accuracy_contrast(results, tier, "linear head over none", HEADS["linear"], HEADS["none"]),
        Contrast("h over z, behind an MLP", "accuracy", h, z),
    ]
    words = accuracies(results, tier, HEADS)
    return judged(
        f"{words}; of the MLP h {mean(h):.1%}, z {mean(z):.1%}.", contrasts, points=points(results, tier, HEADS, "head")
    )


def _judge_loss(results: Results, tier: Tier) -> Finding:
    best = at_chosen(results, tier, NORMALIZED)
    others = at_chosen(results, tier, INNER_PRODUCTS)
    plain = NORMALIZED[1.0].values(results, tier)
    contrasts = [Contrast("cosines over inner products, each at its best temperature", "accuracy", best, others),
                 Contrast("cosines: best temperature over 1", "accuracy", best, plain)]  # fmt: skip
    rows = [*points(results, tier, NORMALIZED, "temperature", "cosines"),
            *points(results, tier, INNER_PRODUCTS, "temperature", "inner products")]  # fmt: skip
    curves = {"cosines": NORMALIZED, "inner products": INNER_PRODUCTS}
    corners = {f"{name} at {value:g}": arms[value] for name, arms in curves.items() for value in (0.5, 1.0)}
    square = accuracies(results, tier, corners)
    return judged(f"Two by two: {square}. At the temperature that validation prefers: cosines {mean(best):.1%}, inner "
                  f"products {mean(others):.1%}.", contrasts, points=rows)  # fmt: skip


def _sizes(tier: Tier) -> dict[int, Arm]:
    sizes = (tier.batch_sizes[0], tier.config.batch_size, tier.batch_sizes[1])
    return {size: of_batch_size(SIMCLR, size, tier) for size in sizes}


def _lengths(tier: Tier) -> dict[int, Arm]:
    return {epochs: SIMCLR.with_(epochs=epochs) for epochs in (tier.epochs[0], tier.config.epochs, tier.epochs[1])}


def _judge_growth(results: Results, tier: Tier, factor: str, arms: dict[int, Arm]) -> Finding:
    low, high = min(arms), max(arms)
    contrast = accuracy_contrast(results, tier, f"{factor} {high} over {low}", arms[high], arms[low])
    words = accuracies(results, tier, {str(value): arm for value, arm in arms.items()})
    return judged(f"{factor} {words}.", [contrast], points=points(results, tier, arms, factor))


def _judge_transformations(results: Results, tier: Tier) -> Finding:
    contrasts, words, rows = [], [], []
    tables = SIMCLR.tables(results, tier, "transformations")
    # A training asks images without color nothing about color; what counts is what all trainings asked.
    asked = [name for name in TRANSFORMATIONS if all(name in {r["transformation"] for r in t} for t in tables.values())]
    for name in asked:
        of = {kind: {seed: next(r["accuracy"] for r in table if (r["transformation"], r["features"]) == (name, kind))
                     for seed, table in tables.items()} for kind in "hz"}  # fmt: skip
        contrasts.append(Contrast(f"{name}: h over z", "accuracy", of["h"], of["z"]))
        words.append(f"{name} h {mean(of['h']):.1%}, z {mean(of['z']):.1%}")
        rows += [{"factor": "transformation", "value": name, "curve": kind, "arm": kind, "seed": seed, "accuracy": got}
                 for kind in "hz" for seed, got in of[kind].items()]  # fmt: skip
    return judged(f"{'; '.join(words)}. {_width_words(tier)}", contrasts, points=rows)


def _width_words(tier: Tier) -> str:
    config = tier.config
    # Only sizes are asked for: no weights are made.
    with torch.device("meta"):
        width = feature_dim_of(build_encoder(config.encoder))
    return f"h has {width} coordinates, z {config.head.resolve(config.method.name).out_dim}."


STATISTICS, LEAK = "global over local statistics", "loss: a leak through the statistics of each process"


def _small(tier: Tier) -> Arm:
    """One process, so that statistics are those of the batch."""
    return _sizes(tier)[tier.batch_sizes[0]]


def _two_process_trainings(tier: Tier) -> dict[int, TwoProcessTraining]:
    """By seed; each process normalizes its own rows."""
    return {each.config.seed: TwoProcessTraining.of(each) for each in _small(tier).trainings(tier)}


def _process_tasks(tier: Tier) -> list[Task]:
    if tier.device != "cpu":
        # The same statement about two processes, whatever device the trainings use.
        return [GatherGradients(tier.seeds)]
    return [GatherGradients(tier.seeds), *_two_process_trainings(tier).values(),
            *_small(tier).trainings(tier)]  # fmt: skip


def _judge_processes(results: Results, tier: Tier) -> Finding:
    rows = results.table(GatherGradients(tier.seeds), "gradients")
    errors = {way: {int(r["seed"]): r["log10_error"] for r in rows if r["gather"] == way}
              for way in ("detached", "differentiable")}  # fmt: skip
    contrasts = [Contrast("gradient's error: detached over differentiable gather", "log10 of relative error",
                          errors["detached"], errors["differentiable"])]  # fmt: skip
    words = "Relative error of the gradient: " + ", ".join(
        f"{10.0 ** mean(each):.0e} with a {way} gather" for way, each in errors.items()
    )
    if tier.device != "cpu":
        # The claim has two halves: nothing reproduces it where one of them is not measured.
        contrasts += [Contrast(STATISTICS, "accuracy", {}, {}), Contrast(LEAK, "nats", {}, {})]
        return judged(f"{words}. Statistics of batch normalization are compared on the CPU only.", contrasts)
    whole, halves = _small(tier), _two_process_trainings(tier)
    accuracy = whole.values(results, tier), {s: _linear(results.table(task, "results")) for s, task in halves.items()}
    local = {seed: results.table(task, "epochs")[-1]["loss"] for seed, task in halves.items()}
    shared = {seed: table[-1]["loss"] for seed, table in whole.tables(results, tier, "epochs").items()}
    # What separates these losses is the number of rows and of different images, too: none of them isolates a leak.
    contrasts += [Contrast(STATISTICS, "accuracy", *accuracy), Contrast(LEAK, "nats", {}, {})]
    words += (
        f"; batches of {tier.batch_sizes[0]}: accuracy {mean(accuracy[0]):.1%} with statistics of the batch, "
        f"{mean(accuracy[1]):.1%} with those of each process; loss {mean(shared):.3f} and {mean(local):.3f}, which "
        "does not tell a leak from statistics of fewer rows, so that the leak is not tested"
    )
    return judged(words + ".", contrasts)


def _linear(rows: list[dict]) -> float:
    return next(row["accuracy"] for row in rows if (row["features"], row["probe"]) == ("h", "linear"))


CLAIMS = (
    Claim(
        "S1", "SimCLR", "section 3.1, figure 5",
        "Composing random crops with color distortion gives better features than either alone.",
        "comparison",
        "Linear probe on h with nothing but these augmentations: both minus crop alone, both minus color alone; both "
        "differences, paired over seeds. The matrix of all pairs is shown in the gpu tier and does not decide.",
        lambda tier: tasks_of(tier, *_compositions(tier).values()), _judge_composition, labels=True,
        worth={"accuracy": 0.01},
        why="an augmentation is cheap, so that little is worth having",
    ),
    Claim(
        "S2", "SimCLR", "section 4.2, figure 8",
        "A nonlinear head is better than a linear one, that is better than none, and the features before the head are "
        "better than those behind it.",
        "comparison",
        "Linear probe on h: MLP minus linear, linear minus none; behind an MLP: h minus z; all three, paired over "
        "seeds.",
        lambda tier: tasks_of(tier, *HEADS.values()), _judge_heads, labels=True,
        worth={"accuracy": 0.01},
        why="a head is cheap, so that little is worth having",
    ),
    Claim(
        "S3", "SimCLR", "section 5.1, table 5",
        "Both matter: comparing cosines instead of inner products, and a temperature.",
        "comparison",
        "Linear probe on h, temperatures chosen on validation images: cosines (of .1, .5, 1) minus inner products "
        "(of .5, 1, 10); cosines at the chosen temperature minus cosines at 1; both, paired over seeds.",
        lambda tier: tasks_of(tier, *NORMALIZED.values(), *INNER_PRODUCTS.values()), _judge_loss, labels=True,
        worth={"accuracy": 0.01},
        why="a temperature costs nothing; where validation chooses 1 both arms are one training, so that there is no "
        "third answer",
        equivalence=False,
    ),
    Claim(
        "S4a", "SimCLR", "section 5.2, figure 9",
        "Larger batches give better features.",
        "trend",
        "Linear probe on h: largest minus smallest batch, for the same epochs and with learning rates that grow with "
        "the batch (linearly for SGD and LARS, by the square root for AdamW), paired over seeds.",
        lambda tier: tasks_of(tier, *_sizes(tier).values()),
        lambda results, tier: _judge_growth(results, tier, "batch size", _sizes(tier)), labels=True,
        worth={"accuracy": 0.02},
        why="from the smallest to the largest batch, a factor of sixteen: less is no trend",
    ),
    Claim(
        "S4b", "SimCLR", "section 5.2, figure 9",
        "Longer training gives better features.",
        "trend",
        "Linear probe on h: longest minus shortest training at the same batch, paired over seeds.",
        lambda tier: tasks_of(tier, *_lengths(tier).values()),
        lambda results, tier: _judge_growth(results, tier, "epochs", _lengths(tier)), labels=True,
        worth={"accuracy": 0.02},
        why="from the shortest to the longest training, which costs several times as much",
    ),
    Claim(
        "S5", "SimCLR", "section 4.2, table 3",
        "The features before the head know more than those behind it about how an image was transformed.",
        "comparison",
        "A linear probe names the transformation (rotation, brightness, noise; with color also hue and grayscale) of "
        "images it has not seen: h minus z; every transformation, paired over seeds. Of which widths h and z are is "
        "told: the paper's are equal, and the tiers cpu and gpu have a narrower z.",
        lambda tier: tasks_of(tier, SIMCLR), _judge_transformations,
        worth={"accuracy": 0.02},
        why="of a probe that has two to four ways to choose from",
    ),
    Claim(
        "S6", "SimCLR", "section 2.2 (global BN); MoCo, arXiv 1911.05722, section 3.3",
        "Across processes, statistics of batch normalization must be global, or they leak which samples belong "
        "together, and features must be gathered with their gradients.",
        "comparison",
        "Two processes, each with the loss of its own anchors against all rows: the gradient's error with a detached "
        "gather above that with a differentiable one; small batches: accuracy with global minus with local statistics; "
        "both, paired over seeds, the last on the CPU. A leak would lower the loss, and so do more rows and more "
        "different images: no arm here isolates it, so that the claim can be contradicted and not reproduced.",
        _process_tasks, _judge_processes, labels=True,
        worth={"log10 of relative error": 1.0, "accuracy": 0.01, "nats": 0.03},
        why="a factor of ten in a gradient's error; a point, as between methods; a hundredth of the loss of 3 nats",
    ),
)  # fmt: skip

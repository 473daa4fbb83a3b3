"""TransFusion (arXiv 2403.18681): whether every block sharpens, with identity weights and trained, and its loss."""

import math
from dataclasses import replace

from scipy.special import stdtrit

from paper_checks.claims import Claim, Finding, judged
from paper_checks.papers.transfusion_theory import (
    DELTA,
    difference_row,
    grid_rows,
    noise_runs,
    pictures,
    statuses,
    theorem_answer,
    verdict_rows,
)
from paper_checks.statistics.decisions import LEVEL, NO_EVIDENCE, Answer, Contrast, PValues, combined, student_tails
from paper_checks.tasks import Command, Results, Task
from paper_checks.tiers import Tier
from paper_checks.trainings.reading import block_rows, mean, step_contrasts

# Where the trained claim is decided: 2.4 times the proved separation ceiling, the noise of train_stack's ablations.
NOISE, BATCH = 1.34, 96
# Of trainings on synthetic batches, which are short.
FEWEST = 5
LOSS_MEASURE = "share of its best neighbour accuracy, mean over learning rates"
RIVALS = {"NT-Xent": "nt_xent", "KL(target || affinity)": "kl_target"}


def map_run(tier: Tier) -> Task:
    """One block on noisy batches over a map of mean cosines, and Proposition 5."""
    return Command("synthetic.sharpening_map", ("--quick",) if tier.quick_theory else ())


def trained_run(tier: Tier) -> Task:
    """TransFusion trained with labels and the affinity loss on every block. The quick tier leaves out noise levels and
    batch sizes that do not decide, but no steps: after a third of them the later blocks are still behind. A look at
    more seeds trains all of them again."""
    seeds = str(max(FEWEST, tier.seeds))
    if tier.quick_theory:
        return Command("synthetic.train_stack", ("--batch-sizes", str(BATCH), "--noise-levels", str(NOISE),
                                                 "--seeds", seeds, "--optimisation.evaluations", "2"))  # fmt: skip
    levels = ("0.39", "0.668", "1.11", str(NOISE), "1.56", "2.0")
    return Command("synthetic.train_stack", ("--noise-levels", *levels, "--seeds", seeds))


def loss_run(tier: Tier) -> Task:
    """Every loss at seven learning rates; in the quick tier with a quarter of the steps, half of the rows and, where no
    look follows, as few seeds as an ablation takes by itself (3)."""
    seeds = ("--seeds", str(max(FEWEST, tier.seeds)))
    if not tier.quick_theory:
        return Command("synthetic.train_stack", ("--ablation", "loss", *seeds))
    small = ("--batch-sizes", "48", "--optimisation.steps", "200", "--optimisation.evaluations", "0",
             "--optimisation.evaluation-batches", "20")  # fmt: skip
    more = seeds if tier.cap > FEWEST else ()
    return Command("synthetic.train_stack", ("--ablation", "loss", *small, *more))


def _changes(results: Results, task: Task, block: str, rows: list[dict]) -> list[dict]:
    """The change of sharpness through a block, one row a map point, with Student's 95 % interval over batches."""
    trials = int(results.settings(task)["trials"])
    found = []
    for row in rows:
        before, after = row[f"{block}_before"], row[f"{block}_after"]
        half = _quantile(LEVEL, trials) * row[f"{block}_error"]
        name = f"within {row['within']:.3g}, between {row['between']:.3g}: behind the block over in front"
        found.append(
            difference_row(name, "affinity sharpness", after, before, after - before - half, after - before + half)
        )
    return found


def _quantile(level: float, trials: int) -> float:
    return float(stdtrit(trials - 1, 0.5 + level / 2.0)) if trials > 1 else math.inf


def decide_changes(changes: list[dict], trials: int) -> Answer:
    """The rule of decisions.decide, for the points of the map: reproduced if all 95 % intervals lie above 0,
    contradicted if one at level 1 - 5 %/m, m being the number of points, lies below."""
    if changes and all(row["side"] == "above" for row in changes):
        return "reproduced"
    wider = _quantile(1.0 - (1.0 - LEVEL) / max(1, len(changes)), trials) / _quantile(LEVEL, trials)
    if any(row["difference"] + wider * (row["high"] - row["difference"]) < 0.0 for row in changes):
        return "contradicted"
    return "undecided"


def p_values_of(rows: list[dict], block: str, trials: int) -> PValues:
    """The same rule as p-values, from the rows of the map."""
    before, after, error = (f"{block}_{part}" for part in ("before", "after", "error"))
    tails = [student_tails(row[after] - row[before], row[error], trials) for row in rows]
    return combined(tails) if tails else NO_EVIDENCE


def _extremes(changes: list[dict]) -> list[dict]:
    """The largest fall and the largest rise."""
    ordered = sorted(changes, key=lambda row: row["difference"])
    return ordered if len(ordered) < 2 else [ordered[0], ordered[-1]]


def _counts(changes: list[dict]) -> str:
    sides = [row["side"] for row in changes]
    return f"up at {sides.count('above')}, down at {sides.count('below')} of {len(sides)} points of the map"


def _judge_map(results: Results, tier: Tier, block: str) -> tuple[Finding, list[dict], list[dict], list[dict]]:
    """A finding without words, and the changes that decide, those at all points of the map, and Proposition 5's
    verdicts."""
    task = map_run(tier)
    points = results.table(task, "map")
    trials = int(results.settings(task)["trials"])
    kept = [row for row in points if block == "plain" or row[f"{block}_model_after"] > row[f"{block}_model_before"]]
    deciding = _changes(results, task, block, kept)
    verdicts = verdict_rows(results, {"equiangular": task}, "Proposition 5")
    rows, drawn = [*_extremes(deciding), *verdicts], pictures(results, task, "sharpening_map")
    p_values = p_values_of(kept, block, trials)
    found = Finding(decide_changes(deciding, trials), "", rows, pictures=drawn, p_values=p_values)
    return found, deciding, _changes(results, task, block, points), verdicts


def _judge_plain(results: Results, tier: Tier) -> Finding:
    found, changes, _, verdicts = _judge_map(results, tier, "plain")
    sentence = (
        f"The affinity sharpness goes clearly {_counts(changes)}. Theory says that with identity weights a plain "
        f"block never sharpens ({statuses(verdicts)})."
    )
    return replace(found, sentence=sentence)


def _judge_squared(results: Results, tier: Tier) -> Finding:
    found, changes, everywhere, verdicts = _judge_map(results, tier, "squared")
    sentence = (
        f"Where the block model foresees it, sharpness goes clearly {_counts(changes)}; over the whole map it goes "
        f"{_counts(everywhere)} ({statuses(verdicts)})."
    )
    return replace(found, sentence=sentence)


def _judge_threshold(results: Results, tier: Tier) -> Finding:
    run = noise_runs(tier)["gaussian"]
    verdicts = verdict_rows(results, {"noise sweep": run}, "Theorem 2a", "Theorem 2b")
    cells = {r["cell"] for r in grid_rows(results, run) if r["recovery_guaranteed"] and not r["mapped"]}
    values = [r["sharpness_mean"] for r in results.table(run, "layers") if r["cell"] in cells]
    lowest = min(values, default=math.nan)
    rows = [{"contrast": "lowest mean sharpness of a block below the ceiling", "measure": "affinity sharpness",
             "cases": len(values), "measured": lowest, "bound": 1.0 - DELTA,
             "side": "below" if lowest < 1.0 - DELTA else "above" if values else "undecided"}]  # fmt: skip
    answer = theorem_answer(verdicts, len(verdicts) >= 2 and lowest >= 1.0 - DELTA)
    sentence = (
        f"{statuses(verdicts)}. At {len(cells)} noise levels and batch sizes below the ceiling the mean sharpness of "
        f"every block is at least {lowest:.4f}: there it is kept, and nothing is left to raise."
    )
    return Finding(answer, sentence, [*verdicts, *rows], pictures=pictures(results, run, "layers"))


def trained_blocks(results: Results, task: Task, noise: float) -> dict[int, list[float]]:
    """By seed, the sharpness of trained TransFusion's blocks at one noise level, on fresh batches."""
    cells = {r["cell"]: int(r["seed"]) for r in results.table(task, "trainings")
             if r["arm"] == "TransFusion" and r["batch_size"] == BATCH and r["noise_level"] == noise}  # fmt: skip
    history = [row for row in results.table(task, "history") if row["cell"] in cells]
    last = max((row["step"] for row in history), default=0)
    # A training that diverged stopped before the last step and has nothing there, which leaves the claim open.
    return {seed: [r["sharpness"] for r in sorted(history, key=lambda row: row["layer"])
                   if r["cell"] == cell and r["step"] == last]
            for cell, seed in cells.items()}  # fmt: skip


def _judge_trained(results: Results, tier: Tier) -> Finding:
    task = trained_run(tier)
    levels = sorted({row["noise_level"] for row in results.table(task, "trainings")})
    curves = {level: trained_blocks(results, task, level) for level in levels}
    if min((len(each) for each in curves.get(NOISE, {}).values()), default=0) < 2:
        words = f"At noise {NOISE:g} some training has no blocks to compare."
        drawn = pictures(results, task, "training_blocks")
        return Finding("undecided", words, [], pictures=drawn, p_values=NO_EVIDENCE)
    contrasts = step_contrasts(curves[NOISE], f"noise {NOISE:g}", "affinity sharpness")
    means = [mean(contrasts[0].second), *(mean(each.first) for each in contrasts)]
    sentence = f"Sharpness block by block at noise {NOISE:g}, n = {BATCH}: {', '.join(f'{v:.4f}' for v in means)}."
    others = []
    for level in levels:
        steps = step_contrasts(curves[level], "", "")
        up = sum(mean(each.first) > mean(each.second) for each in steps)
        others += [f"{up} of {len(steps)} at {level:g}"] if level != NOISE else []
    if others:
        sentence += f" Steps that go up on average at other noise levels: {', '.join(others)}."
    blocks = [row for level in levels for row in block_rows(curves[level], f"noise {level:g}", "affinity sharpness")]
    found = judged(sentence, contrasts, blocks=blocks)
    return replace(found, pictures=pictures(results, task, "training_blocks", "affinity_maps_transfusion"))


def kept_accuracy(rows: list[dict], arm: str) -> dict[int, float]:
    """By seed, the share of its best neighbour accuracy that a loss keeps, averaged over the learning rates; a training
    that diverged has 0."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["arm"] == arm:
            value = row["neighbour_accuracy"]
            found.setdefault(int(row["seed"]), []).append(0.0 if math.isnan(value) else value)
    return {
        seed: sum(values) / len(values) / max(values) if max(values) > 0.0 else 0.0 for seed, values in found.items()
    }


def near_best(rows: list[dict], arm: str, tolerance: float = 0.05) -> tuple[int, int]:
    """Learning rates at which the mean neighbour accuracy is within ``tolerance`` of the loss's best; of how many."""
    rates: dict[float, list[float]] = {}
    for row in rows:
        if row["arm"] == arm:
            value = row["neighbour_accuracy"]
            rates.setdefault(row["learning_rate"], []).append(0.0 if math.isnan(value) else value)
    means = [sum(values) / len(values) for values in rates.values()]
    return sum(value >= max(means) - tolerance for value in means), len(means)


def _judge_loss(results: Results, tier: Tier) -> Finding:
    task = loss_run(tier)
    rows = results.table(task, "trainings")
    kept = {arm: kept_accuracy(rows, arm) for arm in dict.fromkeys(row["arm"] for row in rows)}
    contrasts = [
        Contrast(f"JSD over {name}", LOSS_MEASURE, kept.get("jsd", {}), kept.get(arm, {}))
        for name, arm in RIVALS.items()
    ]
    words = [f"{arm} {mean(values):.3f} ({near_best(rows, arm)[0]})" for arm, values in kept.items()]
    rates = near_best(rows, "jsd")[1] if "jsd" in kept else 0
    sentence = (
        f"Share of its best accuracy that each loss keeps over {rates} learning rates, and how many of them come "
        f"within .05 of its best: {', '.join(words)}."
    )
    table = [{"arm": arm, "seed": seed, "kept": value} for arm in kept for seed, value in kept[arm].items()]
    found = judged(sentence, contrasts, losses=table)
    return replace(found, pictures=pictures(results, task, "ablation"))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "T4a", "TransFusion", "abstract; analysis of the blocks",
        "A block of plain ReLU attention with identity weights makes the affinity sharper than it was.",
        "comparison",
        "Noisy batches over a map of mean cosines inside and between clusters, one block without threshold. Reproduced "
        "if the change of the mean affinity sharpness lies above 0 at all points (Student's 95 % interval over "
        "batches), contradicted if it lies below 0 at one (level 1 - 5 %/m for m points). Proposition 5's verdict is "
        "reported and does not decide.",
        lambda tier: [map_run(tier)], _judge_plain,
        worth={"affinity sharpness": 0.01},
        why="a hundredth of a row's weight moves between the clusters; the unit only: batches decide, not seeds",
    ),
    Claim(
        "T4b", "TransFusion", "analysis of the blocks",
        "A block of squared affinities with identity weights makes the affinity sharper, as long as little of it leaks "
        "between clusters.",
        "comparison",
        "The same map, p = 2, at the points where the block model (Proposition 5) foresees a rise; decided as T4a. How "
        "many points of the whole map go up or down is reported and does not decide.",
        lambda tier: [map_run(tier)], _judge_squared,
        worth={"affinity sharpness": 0.01},
        why="a hundredth of a row's weight moves between the clusters; the unit only: batches decide, not seeds",
    ),
    Claim(
        "T4c", "TransFusion", "analysis of the blocks",
        "With a threshold ReLU attention keeps the affinity sharp at every block, below the noise ceiling.",
        "theorem",
        "Theorems 2a and 2b in the Gaussian noise sweep, with the threshold that theory recommends. Reproduced if both "
        "HOLD and, wherever recovery at every depth is guaranteed with probability .95, every block's mean affinity "
        "sharpness is .95 or more, as it then must. Contradicted if one is VIOLATED.",
        lambda tier: [noise_runs(tier)["gaussian"]], _judge_threshold,
    ),
    Claim(
        "T4d", "TransFusion", "abstract; experiments",
        "Trained with labels and the affinity loss on every block, every block makes the affinity sharper than the "
        "block before.",
        "trend",
        f"Six clusters on fixed subspaces, n = {BATCH}, noise {NOISE:g} (2.4 times the proved separation ceiling), 800 "
        "steps: the mean affinity sharpness on fresh batches of every block above that of the block before, paired "
        "over seeds; all steps. Other noise levels are reported and do not decide.",
        lambda tier: [trained_run(tier)], _judge_trained,
        worth={"affinity sharpness": 0.001},
        why="behind the first block a few hundredths are left to gain, for all others together",
    ),
    Claim(
        "T7", "TransFusion", "choice of the loss",
        "The Jensen-Shannon loss works over a wider range of learning rates than its alternatives do.",
        "comparison",
        "Two views, one MLP for all losses, seven learning rates over three decades. For every seed: the neighbour "
        "accuracy averaged over the rates, divided by the same loss's best. JSD above NT-Xent (temperature .5) and "
        "above KL(target || affinity), both, paired over seeds. Other losses, and the number of rates within .05 of a "
        "loss's best, are reported and do not decide.",
        lambda tier: [loss_run(tier)], _judge_loss,
        worth={LOSS_MEASURE: 0.01},
        why="a hundredth of the best accuracy, averaged over three decades of learning rates",
    ),
)  # fmt: skip

"""TransFusion (arXiv 2403.18681) on batches of known geometry: noise-free data, noise, batch size, over-fusion.

What the paper proves is held against this toolkit's theorems and their verdicts; verdict_rows and theorem_answer are
for every claim of that kind.
"""

import math
from pathlib import Path

from paper_checks.claims import Claim, Finding
from paper_checks.statistics.decisions import LEVEL, NO_EVIDENCE, Answer
from paper_checks.statistics.floor_tails import p_values_of_floors
from paper_checks.tasks import Command, Results, Task
from paper_checks.tiers import Tier
from theory.judging.verdicts import Status

# Recovery and separation count as success from here on, and as failure below the other.
DELTA = 0.05
# A sharpness of 1, but for the rounding of row sums; and how close to chance counts as chance.
EXACT, CLOSE = 1e-12, 0.01
RELU, PLAIN = "ReLU, threshold", "ReLU"


def noise_runs(tier: Tier) -> dict[str, Task]:
    """The noise sweep with Gaussian noise and with bounded noise that attains the bound. 100 batches a cell are enough
    for 0 successes to show a rate below 5 %; 50 are not."""
    small = ("--quick", "--trials", "100") if tier.quick_theory else ()
    return {noise: Command("synthetic.sweep_noise", (*small, "--noise", noise)) for noise in ("gaussian", "worst")}


def far_run(tier: Tier) -> Task:
    """The same batches under Gaussian noise well beyond what the sweep reaches, 1.5 times its largest ceiling, where
    small batches still succeed now and then."""
    small = ("--quick", "--trials", "100") if tier.quick_theory else ()
    return Command("synthetic.sweep_noise", (*small, "--noise-levels", "3"))


def batch_run(tier: Tier) -> Task:
    """The batch sweep without noise and at half of the noise that leaves no connection radius. Its --quick has no
    noise, and its default settings have floors below the sizes that it measures: right angles, squared, no noise."""
    size = ("60",) if tier.quick_theory else ("60", "45", "--trials", "1000")
    return Command("synthetic.sweep_batch", ("--subspace-dims", "2", "3", "--noise-shares", "0", "0.5", "--no-denoise",
                                             "--principal-angles-deg", *size))  # fmt: skip


def phase_run(tier: Tier) -> Task:
    """Recovery over noise and batch size."""
    return Command("synthetic.phase_diagram", ("--quick",) if tier.quick_theory else ())


def fusion_run(tier: Tier) -> Task:
    """ReLU and softmax attention, layer by layer."""
    return Command("synthetic.over_fusion", ("--quick",) if tier.quick_theory else ())


def verdict_rows(results: Results, tasks: dict[str, Task], *names: str) -> list[dict]:
    """The verdicts of some theorems in some runs, one row each; a part or variant of a theorem is one too.

    Args:
        tasks: by what the run is called.
        names: of theorems, as "Theorem 2b".

    Raises:
        ValueError: the verdicts are missing or damaged; names the file.
    """
    rows = []
    for where, task in tasks.items():
        try:
            for verdict in results.records(task, "verdicts"):
                statement = verdict["statement"]
                if any(statement == name or statement.startswith(f"{name} ") for name in names):
                    rows.append({"contrast": f"{statement}, {where}", "measure": verdict["detail"],
                                 "cases": verdict["applicable"], "measured": verdict["measured"],
                                 "bound": verdict["bound"], "side": str(Status(verdict["status"]))})  # fmt: skip
        except (TypeError, KeyError) as error:
            raise ValueError(f"{results.folder(task) / 'verdicts.json'}: holds no verdicts ({error!r})") from error
    return rows


def theorem_answer(rows: list[dict], seen: bool = True) -> Answer:
    """contradicted if a verdict is VIOLATED; reproduced if all hold and what else was asked for was seen."""
    found = [row["side"] for row in rows]
    if Status.VIOLATED in found:
        return "contradicted"
    return "reproduced" if found and seen and all(side == Status.HOLDS for side in found) else "undecided"


def statuses(rows: list[dict]) -> str:
    """The verdicts in words, with the cases that they are about."""
    return "; ".join(f"{row['contrast']}: {row['side']} in {row['cases']:,} cases" for row in rows)


def pictures(results: Results, task: Task, *names: str) -> tuple[Path, ...]:
    """Those figures of a task that were drawn."""
    return tuple(path for name in names if (path := results.folder(task) / f"{name}.png").exists())


def difference_row(name: str, measure: str, first: float, second: float, low: float, high: float) -> dict:
    """One comparison with the columns of decisions.contrast_row, of a run with one seed: its interval comes from the
    batches, not from seeds."""
    side = "above" if low > 0.0 else "below" if high < 0.0 else "undecided"
    return {"contrast": name, "measure": measure, "direction": "above", "seeds": 1, "first": first, "second": second,
            "difference": first - second, "low": low, "high": high, "side": side}  # fmt: skip


def _judge_noise_free(results: Results, tier: Tier) -> Finding:
    runs = noise_runs(tier)
    rows = verdict_rows(results, runs, "Theorem 1")
    sentence = f"{statuses(rows)}: every noise-free batch is separated and fuses as fast as proved, at every block."
    if theorem_answer(rows) != "reproduced":
        sentence = f"{statuses(rows)}."
    return Finding(theorem_answer(rows), sentence, rows, pictures=pictures(results, runs["gaussian"], "layers"))


def grid_rows(results: Results, task: Task) -> list[dict]:
    """The cells of a noise sweep's grid, without the control cells beside it."""
    return [row for row in results.table(task, "rows") if row.get("control", "no") == "no"]


def _judge_noise(results: Results, tier: Tier) -> Finding:
    runs = noise_runs(tier)
    rows = verdict_rows(results, runs, "Theorem 2b")
    safe, beyond = math.inf, []
    for task in runs.values():
        cells = grid_rows(results, task)
        safe = min([safe, *(row["separated_rate"] for row in cells if row["separation_guaranteed"])])
    for task in (far_run(tier), runs["worst"]):
        cells = [row for row in grid_rows(results, task) if not row["mapped"]]
        top = max((row["noise_level"] for row in cells), default=math.nan)
        beyond += [row["separated_high"] for row in cells if row["noise_level"] == top]
    highest = max(beyond, default=1.0)
    seen = math.isfinite(safe) and safe > 1.0 - DELTA and highest < DELTA
    sentence = (
        f"{statuses(rows)}. Up to the proved ceilings at least {safe:.1%} of the batches of every cell are separated; "
        f"at the largest noise the upper 95 % limit of that rate is {highest:.1%} or less."
    )
    figures = [path for task in runs.values() for path in pictures(results, task, "success_against_noise")]
    return Finding(theorem_answer(rows, seen), sentence, rows, pictures=tuple(figures))


def _floor_difference(name: str, first: dict, second: dict) -> dict:
    """Measured floors of two curves. The interval of the difference lies above 0 if and only if the first's 95 %
    interval lies above the second's."""
    low, high = first["measured_low"] - second["measured_high"], first["measured_high"] - second["measured_low"]
    return difference_row(name, "points a cluster", first["measured"], second["measured"], low, high)


def _curves(floors: list[dict], *fixed: str) -> dict[str, list[dict]]:
    """Curves that have these columns in common, by their values."""
    groups: dict[str, list[dict]] = {}
    units = {"subspace_dim": "r = {:g}", "principal_angle_deg": "{:g} degrees", "noise_level": "noise {:.3g}"}
    for row in floors:
        name = ", ".join(units.get(column, "{}").format(row[column]) for column in fixed)
        groups.setdefault(name, []).append(row)
    return groups


def noise_differences(floors: list[dict]) -> list[dict]:
    """For every kind of subspaces and affinity: the measured floor at the largest noise minus that at the smallest."""
    rows = []
    for name, group in _curves(floors, "subspace_dim", "principal_angle_deg", "affinity").items():
        low, high = (pick(group, key=lambda row: row["noise_level"]) for pick in (min, max))
        if high["noise_level"] > low["noise_level"]:
            levels = f"noise {high['noise_level']:.3g} over {low['noise_level']:.3g}"
            rows.append(_floor_difference(f"{name}: {levels}", high, low))
    return rows


def sign_pairs(floors: list[dict]) -> dict[str, tuple[dict, dict]]:
    """For every kind of subspaces and noise: the measured floor of signed affinities and that of squared ones."""
    found = {}
    for name, group in _curves(floors, "subspace_dim", "principal_angle_deg", "noise_level").items():
        kinds = {row["affinity"]: row for row in group}
        if len(kinds) == 2:
            found[f"{name}: signed over squared"] = (kinds["signed"], kinds["squared"])
    return found


def _floors_in_words(rows: list[dict]) -> str:
    return "; ".join(f"{row['contrast']}: {row['first']:.1f} against {row['second']:.1f}" for row in rows)


def _judge_batch(results: Results, tier: Tier) -> Finding:
    sweep, phase = batch_run(tier), phase_run(tier)
    verdicts = verdict_rows(results, {"batch sweep": sweep, "phase diagram": phase}, "Theorem 2c", "Theorem 2g")
    trend = noise_differences(results.table(sweep, "floors"))
    rising = sum(row["side"] == "above" for row in trend)
    answer = theorem_answer(verdicts, bool(trend) and rising == len(trend) and len(verdicts) >= 2)
    sentence = (
        f"{statuses(verdicts)}. The measured floor is clearly higher with noise in {rising} of {len(trend)} settings "
        f"(points a cluster for 95 % recovery; {_floors_in_words(trend)})."
    )
    figures = pictures(results, phase, "phase_diagram") + pictures(results, sweep, "recovery_against_batch_size")
    return Finding(answer, sentence, [*verdicts, *trend], pictures=figures)


def _judge_signs(results: Results, tier: Tier) -> Finding:
    sweep = batch_run(tier)
    pairs = sign_pairs(results.table(sweep, "floors"))
    rows = [_floor_difference(name, *pair) for name, pair in pairs.items()]
    sides = [row["side"] for row in rows]
    cells = results.table(sweep, "rows")

    def curve(floor: dict) -> list[dict]:
        return [cell for cell in cells if cell["group"] == floor["group"]]

    curves = [(curve(first), curve(second)) for first, second in pairs.values()]
    found = p_values_of_floors(curves, 1.0 - DELTA) if curves else NO_EVIDENCE
    answer: Answer = "reproduced" if sides and set(sides) == {"above"} else "undecided"
    if "below" in sides and found.contradicted is not None and 2.0 * found.contradicted <= 1.0 - LEVEL:
        answer = "contradicted"
    sentence = (
        f"Squared affinities need clearly fewer points in {sides.count('above')} of {len(rows)} settings, clearly more "
        f"in {sides.count('below')} (points a cluster for 95 % recovery; {_floors_in_words(rows)})."
    )
    return Finding(answer, sentence, rows, pictures=pictures(results, sweep, "floors"), p_values=found)


def _judge_fusion(results: Results, tier: Tier) -> Finding:
    task = fusion_run(tier)
    verdicts = verdict_rows(results, {"over-fusion": task}, "Theorem 2a", "Theorem 3", "Block model")
    depths, rows = results.table(task, "depths"), []
    last, worst, reached = 0, math.nan, []
    for curve in results.table(task, "curves"):
        if curve["batches"] != "noisy":
            continue
        layers = sorted((r for r in depths if r["cell"] == curve["cell"]), key=lambda row: row["layer"])
        final, chance = layers[-1], curve["chance"]
        last = max(last, int(final["layer"]))
        softmax = not math.isnan(curve["kappa"])
        if softmax:
            reached.append(final["sharpness_high"] <= chance + CLOSE)
        elif curve["name"] == RELU:
            # The mean over batches and rows reaches 1 only if all of them do.
            worst = min(layer["sharpness_mean"] for layer in layers)
        rows.append({"contrast": f"{curve['name']}, last layer", "measure": "affinity sharpness, 90 % of batches",
                     "measured": final["sharpness_mean"], "low": final["sharpness_low"],
                     "high": final["sharpness_high"], "bound": 1.0 if curve["name"] == RELU else chance,
                     "side": "at chance" if final["sharpness_high"] <= chance + CLOSE else "above chance"})  # fmt: skip
    seen = worst >= 1.0 - EXACT and bool(reached) and all(reached)
    plain = next((row["measured"] for row in rows if row["contrast"] == f"{PLAIN}, last layer"), math.nan)
    sentence = (
        f"{statuses(verdicts)}. Over {last} blocks thresholded ReLU keeps a mean sharpness of at least {worst:.4f}; "
        f"{sum(reached)} of {len(reached)} softmax stacks end at chance. It is the threshold that does it: plain ReLU "
        f"ends at {plain:.3f} on the same batches, whose clusters have positive cosines between them."
    )
    return Finding(
        theorem_answer(verdicts, seen), sentence, [*verdicts, *rows], pictures=pictures(results, task, "over_fusion")
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "T1", "TransFusion", "abstract; main theorems",
        "Without noise the clusters of a batch are told apart exactly, at every block.",
        "theorem",
        "This toolkit's Theorem 1 on noise-free batches in independent subspaces, in both noise sweeps: reproduced if "
        "it HOLDS, contradicted if it is VIOLATED, else undecided.",
        lambda tier: list(noise_runs(tier).values()), _judge_noise_free,
    ),
    Claim(
        "T2", "TransFusion", "abstract; main theorems",
        "There is a largest noise level (augmentation strength) up to which the clusters can be told apart.",
        "theorem",
        "Theorem 2b, for Gaussian noise and for bounded noise that attains the bound. Reproduced if it HOLDS in both, "
        "more than 95 % of the batches are separated in every cell up to the proved ceiling, and at the largest noise "
        "(Gaussian 3, bounded .96 or half as much again as the ceiling) the upper 95 % Clopper-Pearson limit of that "
        "rate is below 5 % for every dimension and batch size. Contradicted if it is VIOLATED.",
        lambda tier: [*noise_runs(tier).values(), far_run(tier)], _judge_noise,
    ),
    Claim(
        "T3", "TransFusion", "abstract; main theorems",
        "There is a smallest batch size from which on clusters are recovered, and it grows with the noise.",
        "theorem",
        "Theorem 2c, and 2g of Gaussian noise, in the batch sweep and in the phase diagram, the threshold being what "
        "the noise leaves. Reproduced if they HOLD wherever they apply, and for all subspaces and affinities the 95 % "
        "interval of the measured floor (points a cluster for 95 % recovery, from Clopper-Pearson limits) at half of "
        "the noise limit lies above that without noise. Contradicted if one is VIOLATED.",
        lambda tier: [batch_run(tier), phase_run(tier)], _judge_batch,
    ),
    Claim(
        "T5", "TransFusion", "abstract; design of the block",
        "Truncated affinities are exactly 0 between clusters, so that depth does not mix them; softmax never is, and "
        "over-fuses.",
        "theorem",
        "Theorems 2a and 3 and the block model on the same batches. Reproduced if all HOLD, thresholded ReLU has "
        "affinity sharpness 1 (to 1e-12, so no edge between clusters) in all batches at all layers, and the 95 % "
        "quantile over the batches of every softmax stack ends within .01 of chance. Contradicted if one is VIOLATED. "
        "ReLU without a threshold is reported and does not decide.",
        lambda tier: [fusion_run(tier)], _judge_fusion,
    ),
    Claim(
        "T6", "TransFusion", "choice of the affinity",
        "Squared affinities are more flexible: opposite samples of a subspace are neighbours too, so that smaller "
        "batches are enough.",
        "comparison",
        "Measured floors (points a cluster for 95 % recovery) in the batch sweep, signed against squared, for all "
        "subspaces and noise levels. Reproduced if the 95 % interval of signed lies above that of squared everywhere, "
        "contradicted if one at level 1 - 5 %/m lies below it somewhere, m being the number of settings.",
        lambda tier: [batch_run(tier)], _judge_signs,
        worth={"points a cluster": 1.0},
        why="the unit only: batches decide, not seeds",
    ),
)  # fmt: skip

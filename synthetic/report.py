"""From measured cells to rows, boundaries, verdicts, and the table that a sweep prints."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from synthetic.boundaries import falling_crossing
from synthetic.experiment import Cell, CellResult
from synthetic.grid import Ceilings
from theory.measurements import chance_sharpness
from theory.noise_free import spread_bound
from theory.persistence import cross_cap
from theory.statements import STATEMENTS, THEOREM_1, THEOREM_2A, THEOREM_2B
from theory.verdicts import Status, Verdict, clopper_pearson, combine_cells, judge_failure_rate

# Chance that a true bound is called violated somewhere in one sweep.
FALSE_ALARM = 1e-3
# What theory guarantees, and the outcome that must then be seen.
GUARANTEES = {"separation": "separated", "persistence": "admits_threshold", "recovery": "recovered"}
BATCHWISE = {"theorem_1": THEOREM_1.name, "theorem_2a": THEOREM_2A.name, "theorem_2b_bounded": THEOREM_2B.name}
CEILINGS = {"separation": "separation", "persistence": "persistence", "recovery": "persistence"}
CLOSE_TO_CEILING = 0.9
STORED = ("status", "measured", "bound", "margin", "relative_margin", "applicable", "where", "detail")


def summarize_cell(cell: Cell, result: CellResult, ceilings: Ceilings, recommended: bool) -> tuple[dict, list[dict]]:
    """A cell's row and its layers' rows; README.md, "The files of a run folder", explains the columns.

    Args:
        recommended: the threshold is the one that theory recommends, so that recovery is guaranteed with persistence.
    """
    trajectory = result.trajectory
    separates, persists = (False, False) if cell.mapped else ceilings.guarantees(cell.noise, cell.noise_level)
    row = {
        "cell": cell.index,
        "ambient_dim": cell.ambient_dim,
        "batch_size": cell.batch_size,
        "num_clusters": len(cell.sizes),
        "min_cluster_size": min(cell.sizes),
        "max_cluster_size": max(cell.sizes),
        "noise": cell.noise,
        "noise_level": cell.noise_level,
        "mapped": cell.mapped,
        "threshold": cell.threshold,
        "trials": cell.trials,
        "separation_ceiling": ceilings.separation,
        "persistence_ceiling": ceilings.persistence,
        "separation_guaranteed": separates,
        "persistence_guaranteed": persists,
        "recovery_guaranteed": persists and recommended,
    }
    outcomes = (trajectory.separated[0], result.admits_threshold, trajectory.recovered.all(axis=0))
    for name, success in zip(GUARANTEES.values(), outcomes):
        low, high = clopper_pearson(int(success.sum()), cell.trials)
        row |= {name: int(success.sum()), f"{name}_rate": float(success.mean()), f"{name}_low": low,
                f"{name}_high": high}  # fmt: skip
    for name in BATCHWISE:
        # A theorem that does not speak about this cell leaves its columns empty, its counts 0 and its index -1.
        verdict = result.verdicts.get(name)
        fields = asdict(verdict) if verdict else {"applicable": 0, "where": -1}
        row |= {f"{name}_{key}": fields.get(key, "") for key in STORED}
    return row, _layer_rows(cell, result)


def _layer_rows(cell: Cell, result: CellResult) -> list[dict]:
    trajectory = result.trajectory
    alpha, beta = float(trajectory.alpha[0].min()), float(trajectory.beta[0].max())
    has_rate = alpha > result.cut
    # The guarantees that hold for every batch of the cell at once, from its worst alpha and beta.
    cap = float(cross_cap(alpha, beta, cell.sizes)) if alpha > 0.0 else np.nan
    cap = cap if cap <= result.cut < alpha else np.nan
    chance = float(chance_sharpness(cell.labels).mean())
    largest = cell.sizes if cell.mixing > 0.5 else max(cell.sizes)
    rate_holds = has_rate and (cell.mapped or np.isfinite(cap))
    rows = []
    for layer in range(trajectory.num_layers):
        a, b = trajectory.alpha[layer], trajectory.beta[layer]
        rate = 1.0 - spread_bound(alpha, largest, layer, result.cut, cell.mixing) if rate_holds else np.nan
        rows.append({
            "cell": cell.index, "layer": layer,
            "alpha_mean": a.mean(), "alpha_min": a.min(), "beta_mean": b.mean(), "beta_max": b.max(),
            "integrity_mean": (a - b).mean(), "integrity_min": (a - b).min(),
            "sharpness_mean": trajectory.sharpness_mean[layer].mean(),
            "sharpness_min": trajectory.sharpness_min[layer].min(), "sharpness_chance": chance,
            "separated_rate": trajectory.separated[layer].mean(), "recovered_rate": trajectory.recovered[layer].mean(),
            "false_edges_mean": trajectory.false_edges[layer].mean(),
            "fragments_max": int(trajectory.fragments[layer].max()),
            "alpha_rate_bound": rate, "beta_cap": cap,
        })  # fmt: skip
    return rows


def summarize_boundaries(rows: list[dict], delta: float) -> list[dict]:
    """Measured boundary (noise at which the success rate falls through 1 - delta) against the ceiling, by group.

    Success rates are made monotone by isotonic regression and interpolated linearly between noise levels; the
    interval interpolates the Clopper-Pearson limits the same way. A boundary outside the levels is left empty.
    """
    boundaries = []
    for key in dict.fromkeys((r["ambient_dim"], r["batch_size"]) for r in rows):
        group = [r for r in rows if (r["ambient_dim"], r["batch_size"]) == key and not r["mapped"]]
        group.sort(key=lambda r: r["noise_level"])
        for ceiling in ("separation", "persistence"):
            outcome = GUARANTEES[ceiling]
            levels = np.array([r["noise_level"] for r in group])
            bound = group[0][f"{ceiling}_ceiling"]
            crossing = {}
            for column in ("rate", "low", "high"):
                rates = np.array([r[f"{outcome}_{column}"] for r in group])
                noise = falling_crossing(levels, rates, 1.0 - delta)
                crossing[column] = noise if np.isfinite(noise) else np.nan
            measured = crossing["rate"]
            boundaries.append({
                "ambient_dim": key[0], "batch_size": key[1], "ceiling": ceiling, "bound": bound,
                "measured": measured, "measured_low": crossing["low"], "measured_high": crossing["high"],
                "tightness": measured / bound if bound > 0.0 else np.nan,
            })  # fmt: skip
    return boundaries


def summarize_verdicts(rows: list[dict], delta: float) -> list[Verdict]:
    """One verdict a theorem, over all cells."""
    verdicts = []
    for name, statement in BATCHWISE.items():
        cells = [
            _stored_verdict(row, name, statement)
            for row in rows
            if isinstance(row[f"{name}_status"], str) and row[f"{name}_status"]
        ]
        if cells:
            verdicts.append(combine_cells(statement, cells))
    if any(row["noise"] == "gaussian" for row in rows):
        verdicts.append(_rate_verdict(rows, delta))
    return verdicts


def rate_cells(rows: Sequence[dict], delta: float) -> list[tuple[Verdict, dict, str]]:
    """Theorem 2b for Gaussian noise, cell by cell: in a guaranteed cell failures are no more frequent than delta.

    Returns (verdict, row, guarantee) for each, the guarantee one of GUARANTEES.
    """
    guaranteed = [(row, guarantee, outcome) for row in rows if row["noise"] == "gaussian"
                  for guarantee, outcome in GUARANTEES.items() if row[f"{guarantee}_guaranteed"]]  # fmt: skip
    cells = []
    for row, guarantee, outcome in guaranteed:
        name = f"{guarantee} at {_place(row)}"
        failed, trials = int(row["trials"]) - int(row[outcome]), int(row["trials"])
        verdict = judge_failure_rate(name, failed, trials, delta, 1.0 - FALSE_ALARM / len(guaranteed))
        cells.append((verdict, row, guarantee))
    return cells


def _rate_verdict(rows: Sequence[dict], delta: float) -> Verdict:
    """VIOLATED if any cell contradicts delta, UNDECIDED if any cell failed more often than delta without contradicting
    it; else the cells close to their ceiling, where failures are most likely, say together whether the trials confirm
    the bound. All guarantees of a cell hold on one event, so a cell counts once, with the one that failed most."""
    cells = rate_cells(rows, delta)
    violated = [verdict for verdict, _, _ in cells if verdict.status is Status.VIOLATED]
    if violated or not cells:
        return combine_cells(THEOREM_2B.name, violated)
    close = [(verdict, row) for verdict, row, name in cells
             if row["noise_level"] >= CLOSE_TO_CEILING * row[f"{CEILINGS[name]}_ceiling"]]  # fmt: skip
    counted: dict[int, Verdict] = {}
    for verdict, row in close or [(verdict, row) for verdict, row, _ in cells]:
        counted[row["cell"]] = max(counted.get(row["cell"], verdict), verdict, key=lambda v: v.measured)
    trials = sum(verdict.cases for verdict in counted.values())
    failures = round(sum(verdict.measured * verdict.cases for verdict in counted.values()))
    pooled = judge_failure_rate(THEOREM_2B.name, failures, trials, delta)
    worst = max((verdict for verdict, _, _ in cells), key=lambda verdict: verdict.measured)
    where = f"within {1 - CLOSE_TO_CEILING:.0%} of the ceilings" if close else "none close to a ceiling"
    detail = f"{pooled.detail} {where}; worst of {len(cells)} guarantees: {worst.measured:.1%} of {worst.statement}"
    status = pooled.status if worst.measured <= delta else Status.UNDECIDED
    return replace(pooled, status=status, detail=detail)


def _stored_verdict(row: dict, name: str, statement: str) -> Verdict:
    numbers = {key: float(row[f"{name}_{key}"]) for key in ("measured", "bound", "margin", "relative_margin")}
    place, detail = _place(row), row[f"{name}_detail"]
    return Verdict(
        statement, Status(row[f"{name}_status"]), **numbers, applicable=int(row[f"{name}_applicable"]),
        cases=int(row["trials"]), where=int(row[f"{name}_where"]),
        detail=f"{detail}; {place}" if isinstance(detail, str) and detail else place,
    )  # fmt: skip


def _place(row: dict) -> str:
    return f"D={row['ambient_dim']}, n={row['batch_size']}, noise {row['noise_level']:g}"


def print_report(rows: list[dict], boundaries: list[dict], verdicts: list[Verdict]) -> None:
    """The short table and one verdict line a theorem."""
    print(_table(rows, boundaries))
    print("\nVerdicts (statements and proofs are this toolkit's own)")
    for verdict in verdicts:
        statement = STATEMENTS.get(verdict.statement)
        print(f"  {verdict}" + (f"\n      {statement.title}" if statement else ""))


def _table(rows: list[dict], boundaries: list[dict]) -> str:
    """For each batch size the last guaranteed levels, the first beyond, and where success falls below 95 and 5 %."""
    tightness = {(b["ambient_dim"], b["batch_size"], b["ceiling"]): b["tightness"] for b in boundaries}
    lines = [
        "",
        "   D    n   noise   separated [95 % interval]    every depth   guaranteed        ceiling   tightness",
    ]
    for key in dict.fromkeys((r["ambient_dim"], r["batch_size"]) for r in rows):
        group = sorted(
            (r for r in rows if (r["ambient_dim"], r["batch_size"]) == key and not r["mapped"]),
            key=lambda r: r["noise_level"],
        )
        for i, row in _telling(group):
            sure = "every depth" if row["recovery_guaranteed"] else "one block" if row["separation_guaranteed"] else "-"
            end = f"{row['separation_ceiling']:9.3f}   {_number(tightness[(*key, 'separation')])}" if i == 0 else ""
            lines.append(
                f"{row['ambient_dim']:4d} {row['batch_size']:4d}  {row['noise_level']:6.3f}   "
                f"{row['separated_rate']:6.1%} [{row['separated_low']:6.1%}, {row['separated_high']:6.1%}]   "
                f"{row['recovered_rate']:9.1%}   {sure:<12} {end}".rstrip()
            )
    lines.append("separated: smallest within-cluster cosine > largest cross cosine; every depth: clusters recovered at "
                 "all layers;\nceiling: noise up to which separation is guaranteed; tightness: measured 95 % boundary "
                 "over ceiling, >= 1 where theory is right.")  # fmt: skip
    return "\n".join(lines)


def _telling(group: list[dict]) -> list[tuple[int, dict]]:
    """The rows worth printing, in order of noise."""
    picks = {
        max((i for i, r in enumerate(group) if r["persistence_guaranteed"]), default=None),
        max((i for i, r in enumerate(group) if r["separation_guaranteed"]), default=None),
        min((i for i, r in enumerate(group) if not r["separation_guaranteed"]), default=None),
        min((i for i, r in enumerate(group) if r["separated_rate"] < 0.95), default=None),
        min((i for i, r in enumerate(group) if r["separated_rate"] < 0.05), default=None),
    }
    return list(enumerate(group[i] for i in sorted(picks - {None})))


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "outside the grid"

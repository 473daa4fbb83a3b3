"""From measured cells to rows, boundaries, verdicts, and the table that a sweep prints."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from synthetic.batches.cell import Cell
from synthetic.measure.boundaries import falling_crossing
from synthetic.sweeps.noise_cells import CellResult
from synthetic.sweeps.noise_controls import PROVED_EVENT
from synthetic.sweeps.noise_fusion import FUSION
from synthetic.sweeps.noise_grid import Ceilings
from synthetic.trials.registry import trials
from synthetic.trials.trial import Trial
from theory.judging.rates import RateCell, clopper_pearson, judge_rates
from theory.judging.statements import THEOREM_2B, THEOREM_2F
from theory.judging.verdicts import Status, Verdict, combine_cells
from theory.measurements import chance_sharpness
from theory.noise_ceiling import within_extremes
from theory.noise_free import spread_bound
from theory.persistence import cross_cap
from theory.restart import certified_from_layer

# What theory guarantees, and the outcome that must then be seen.
GUARANTEES = {"separation": "separated", "persistence": "admits_threshold", "recovery": "recovered",
              "extremes": "within_extremes", "fusion": "repaired"}  # fmt: skip
CEILINGS = {"separation": "separation", "persistence": "persistence", "recovery": "persistence", "fusion": "fusion"}
# Ceilings whose boundaries are measured, and the rows they are measured on: the grid's, or those of this control.
BOUNDARIES = {"separation": "no", "persistence": "no", "fusion": FUSION}
# Which cells confirm Theorem 2b: those closest to their ceilings, and those on which its event fails most often.
AT_CEILING, EVENT = "at the ceilings", "on the batches that attain them"
STORED = ("status", "measured", "bound", "margin", "relative_margin", "applicable", "where", "detail")


def batchwise() -> list[Trial]:
    """The trials of statements that are checked batch by batch; each has columns of its own."""
    return [trial for trial in trials() if trial.on_cells is not None]


def summarize_cell(cell: Cell, result: CellResult, ceilings: Ceilings, recommended: bool) -> tuple[dict, list[dict]]:
    """A cell's row and its layers' rows; README.md, "The files of a run folder", explains the columns.

    Args:
        recommended: the threshold is the one that theory recommends, so that recovery is guaranteed with persistence.
    """
    trajectory = result.trajectory
    alpha, beta = trajectory.alpha[0], trajectory.beta[0]
    separates, persists = (False, False) if cell.mapped else ceilings.guarantees(cell.noise, cell.noise_level)
    extremes = cell.extremes or (np.nan, np.nan)
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
        "fusion_ceiling": ceilings.fusion,
        "separation_guaranteed": separates,
        "persistence_guaranteed": persists,
        "recovery_guaranteed": persists and recommended,
        # Without noise the cosines are those of the clean batch to rounding, which is no event to count.
        "extremes_guaranteed": cell.noise == "gaussian" and cell.noise_level > 0.0,
        "fusion_guaranteed": cell.control == FUSION and cell.noise_level == ceilings.fusion,
        "alpha_allowed": extremes[0],
        "beta_allowed": extremes[1],
        "control": cell.control or "no",
    }
    first = certified_from_layer(trajectory, cell.sizes, result.cut)
    outcomes = {
        "separated": trajectory.separated[0], "admits_threshold": result.admits_threshold,
        "recovered": trajectory.recovered.all(axis=0), "within_extremes": within_extremes(alpha, beta, extremes),
        "repaired": trajectory.recovered[1:].all(axis=0), "certified": first >= 0,
    }  # fmt: skip
    for name, success in outcomes.items():
        low, high = clopper_pearson(int(success.sum()), cell.trials)
        row |= {name: int(success.sum()), f"{name}_rate": float(success.mean()), f"{name}_low": low,
                f"{name}_high": high}  # fmt: skip
    for name in (trial.key for trial in batchwise()):
        # A theorem that does not speak about this cell leaves its columns empty, its counts 0 and its index -1.
        verdict = result.verdicts.get(name)
        fields = asdict(verdict) if verdict else {"applicable": 0, "where": -1}
        row |= {f"{name}_{key}": fields.get(key, "") for key in STORED}
    return row, _layer_rows(cell, result, first)


def _layer_rows(cell: Cell, result: CellResult, first: np.ndarray) -> list[dict]:
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
            "certified_rate": ((first >= 0) & (first <= layer)).mean(),
            "false_edges_mean": trajectory.false_edges[layer].mean(),
            "fragments_max": int(trajectory.fragments[layer].max()),
            "alpha_rate_bound": rate, "beta_cap": cap,
        })  # fmt: skip
    return rows


def grid_rows(rows: Sequence[dict]) -> list[dict]:
    """The noisy cells of the grid: neither Theorem 1's, nor controls."""
    return [row for row in rows if not row["mapped"] and row["control"] == "no"]


def summarize_boundaries(rows: list[dict], delta: float) -> list[dict]:
    """Measured boundary (noise at which the success rate falls through 1 - delta) against the ceiling, by group.

    Success rates are made monotone by isotonic regression and interpolated linearly between noise levels; the
    interval interpolates the Clopper-Pearson limits the same way. A boundary outside the levels is left empty.
    """
    boundaries = []
    for key in dict.fromkeys((r["ambient_dim"], r["batch_size"]) for r in grid_rows(rows)):
        for ceiling, control in BOUNDARIES.items():
            group = [r for r in rows if (r["ambient_dim"], r["batch_size"], r["control"]) == (*key, control)]
            group = sorted((r for r in group if not r["mapped"]), key=lambda r: r["noise_level"])
            if not group:
                continue
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
    for trial in batchwise():
        status = f"{trial.key}_status"
        cells = [
            _stored_verdict(row, trial.key, trial.statement.name)
            for row in rows
            if isinstance(row[status], str) and row[status]
        ]
        if cells:
            verdicts.append(combine_cells(trial.statement.name, cells))
    if any(row["noise"] == "gaussian" for row in rows):
        verdicts.append(judge_rates(THEOREM_2B.name, [cell for cell, _, _ in rate_cells(rows)], delta))
    if any(row["control"] == FUSION for row in rows):
        verdicts.append(judge_rates(THEOREM_2F.name, [cell for cell, _, _ in rate_cells(rows, fusion=True)], delta))
    return verdicts


def rate_cells(rows: Sequence[dict], fusion: bool = False) -> list[tuple[RateCell, dict, str]]:
    """What Theorem 2b (``fusion``: 2f) promises for Gaussian noise, cell by cell: (counts, row, guarantee), one of
    GUARANTEES each.

    The cells that confirm it: of each batch size and ceiling the guaranteed one closest to the ceiling, and the control
    on which the proved event itself fails almost as often as allowed.
    """
    closest: dict[tuple, float] = {}
    promises = [(row, name) for row, name in _promises(rows) if (name == "fusion") == fusion]
    for row, name in promises:
        if name in CEILINGS:
            closest[_group(row, name)] = max(closest.get(_group(row, name), 0.0), row["noise_level"])

    def pool(row: dict, name: str) -> str | None:
        if name == "extremes":
            return EVENT if row["control"] == PROVED_EVENT else None
        return AT_CEILING if row["noise_level"] == closest[_group(row, name)] else None

    return [
        (RateCell(f"at {_place(row)}", name, int(row["trials"]) - int(row[GUARANTEES[name]]), int(row["trials"]),
                  pool=pool(row, name)), row, name)
        for row, name in promises
    ]  # fmt: skip


def _promises(rows: Sequence[dict]) -> list[tuple[dict, str]]:
    return [(row, name) for row in rows if row["noise"] == "gaussian" and row["noise_level"] > 0.0
            for name in GUARANTEES if row[f"{name}_guaranteed"]]  # fmt: skip


def _group(row: dict, guarantee: str) -> tuple:
    return row["ambient_dim"], row["batch_size"], row["control"], guarantee


def _stored_verdict(row: dict, name: str, statement: str) -> Verdict:
    numbers = {key: float(row[f"{name}_{key}"]) for key in ("measured", "bound", "margin", "relative_margin")}
    place, detail = _place(row), row[f"{name}_detail"]
    return Verdict(
        statement, Status(row[f"{name}_status"]), **numbers, applicable=int(row[f"{name}_applicable"]),
        cases=int(row["trials"]), where=int(row[f"{name}_where"]),
        detail=f"{detail}; {place}" if isinstance(detail, str) and detail else place,
    )  # fmt: skip


def _place(row: dict) -> str:
    control = "" if row["control"] == "no" else f", control {row['control']}"
    return f"D={row['ambient_dim']}, n={row['batch_size']}, noise {row['noise_level']:g}{control}"


def print_report(rows: list[dict], boundaries: list[dict], verdicts: list[Verdict]) -> None:
    """The short table and one verdict line a theorem."""
    print(_table(rows, boundaries))
    print("\nVerdicts (statements and proofs are this toolkit's own)")
    titles = {trial.statement.name: trial.statement.headline for trial in trials()}
    for verdict in verdicts:
        title = titles.get(verdict.statement)
        print(f"  {verdict}" + (f"\n      {title}" if title else ""))


def print_audit(cells: Sequence[Cell], complaints: list[str]) -> None:
    """One line where all is well, else the complaints."""
    if complaints:
        count = f"{len(complaints)} complaint{'s' if len(complaints) > 1 else ''}"
        print(f"Audit: {count}; the run contradicts itself, believe none of it")
        for text in complaints[:20]:
            print(f"  {text}")
        return
    trials = sum(cell.trials for cell in cells)
    print(f"Audit: passed. {len(cells)} cells with {trials:,} distinct batches counted again; a batch, the threshold "
          f"and the bounds of each worked out anew.")  # fmt: skip


def _table(rows: list[dict], boundaries: list[dict]) -> str:
    """For each batch size the last guaranteed levels, the first beyond, and where success falls below 95 and 5 %."""
    tightness = {(b["ambient_dim"], b["batch_size"], b["ceiling"]): b["tightness"] for b in boundaries}
    lines = [
        "",
        "   D    n   noise   separated [95 % interval]    every depth   certified   guaranteed     ceiling   tightness",
    ]
    for key in dict.fromkeys((r["ambient_dim"], r["batch_size"]) for r in grid_rows(rows)):
        group = sorted(
            (r for r in grid_rows(rows) if (r["ambient_dim"], r["batch_size"]) == key), key=lambda r: r["noise_level"]
        )
        for i, row in _telling(group):
            sure = "every depth" if row["recovery_guaranteed"] else "one block" if row["separation_guaranteed"] else "-"
            end = f"{row['separation_ceiling']:9.3f}   {_number(tightness[(*key, 'separation')])}" if i == 0 else ""
            lines.append(_line(row, f"{row['recovered_rate']:9.1%} ", sure, end))
        lines += _fusion_lines(rows, key, tightness)
    lines += [
        "separated: smallest within-cluster cosine > largest cross cosine; every depth: clusters recovered at all",
        "layers; certified: at every depth from some layer on, by that layer's tokens (Theorem 2a'); ceiling: noise up",
        "to which separation is guaranteed; tightness: measured 95 % boundary over it, >= 1 if it is right.",
    ]
    return "\n".join(lines)


def _line(row: dict, success: str, sure: str, end: str) -> str:
    return (
        f"{row['ambient_dim']:4d} {row['batch_size']:4d}  {row['noise_level']:6.3f}   "
        f"{row['separated_rate']:6.1%} [{row['separated_low']:6.1%}, {row['separated_high']:6.1%}]   "
        f"{success}   {row['certified_rate']:9.1%}   {sure:<12} {end}".rstrip()
    )


def _fusion_lines(rows: list[dict], key: tuple[int, int], tightness: dict) -> list[str]:
    """The fusion ceiling and the first noise past it where less than 95 % are repaired."""
    cells = [r for r in rows if (r["ambient_dim"], r["batch_size"], r["control"]) == (*key, FUSION)]
    lines = []
    for i, row in enumerate(r for r in cells if r["fusion_guaranteed"] or r["repaired_rate"] < 0.95):
        end = f"{row['fusion_ceiling']:9.3f}   {_number(tightness[(*key, 'fusion')])}" if i == 0 else ""
        lines.append(_line(row, f"{row['repaired_rate']:9.1%}*", "from layer 1" if i == 0 else "-", end))
    return [*lines[:2], *(["      * at layers 1 to L, with the threshold of Theorem 2f"] if lines else [])]


def _telling(group: list[dict]) -> list[tuple[int, dict]]:
    """The rows worth printing, in order of noise."""
    picks = {
        max((i for i, r in enumerate(group) if r["persistence_guaranteed"]), default=None),
        max((i for i, r in enumerate(group) if r["separation_guaranteed"]), default=None),
        min((i for i, r in enumerate(group) if not r["separation_guaranteed"]), default=None),
        min((i for i, r in enumerate(group) if r["separated_rate"] < 0.95), default=None),
        min((i for i, r in enumerate(group) if r["separated_rate"] < 0.05), default=None),
    }
    return list(enumerate(group[i] for i in sorted(pick for pick in picks if pick is not None)))


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "outside the grid"

"""The noise sweep's audit of its rows: what a run says of itself, worked out a second time by other code.

A verdict is worth nothing if the batches are not what the row says they are, or the measurements are not those of the
stack. So every cell is looked at again, in the plainest way: one of its batches goes through the layers once more,
outcomes are counted anew, and rows are held against the cells that they are of. (What can be known before the run is
asked there: synthetic/audit/plan.py.) What does not agree is a complaint; a run with complaints ends with exit status
6, whatever its verdicts are.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import bdtr

from synthetic.audit.formulas import plain_cap, plain_promise
from synthetic.batches.cell import Cell
from synthetic.sweeps.noise_cells import CellResult
from synthetic.sweeps.noise_controls import PROVED_EVENT
from synthetic.sweeps.noise_fusion import FUSION
from synthetic.sweeps.noise_grid import Ceilings, SweepSettings
from synthetic.sweeps.noise_report import summarize_cell
from theory.judging.verdicts import Verdict
from theory.numerics.precision import ABSOLUTE_MARGIN

# Cosines of two computations agree to about 1e-14; what depends on which side of a cut a cosine lies is not compared
# where one is this close to it.
TOLERANCE = 1e-9
PLAIN = ("alpha", "beta", "sharpness_min", "sharpness_mean", "false_edges", "fragments", "axis_product")


# --- one cell ---------------------------------------------------------------------------------------------------------


def audited_rows(cell: Cell, result: CellResult, ceilings: Ceilings, recommended: bool) -> tuple[dict, list[dict]]:
    """A cell's row and its layers' rows (``summarize_cell``), with what the audit says of them in column "audit"."""
    row, layers = summarize_cell(cell, result, ceilings, recommended)
    return {**row, "audit": "; ".join(audit_cell(cell, result, row, layers)) or "passed"}, layers


def audit_cell(cell: Cell, result: CellResult, row: dict, layers: Sequence[dict]) -> list[str]:
    """Complaints about a measured cell: sentences, none if all is well."""
    trajectory = result.trajectory
    expected = (cell.depth + 1, cell.trials)
    complaints = [f"{name}: shape {getattr(trajectory, name).shape}, expected {expected}" for name in PLAIN
                  if getattr(trajectory, name).shape != expected]  # fmt: skip
    if [layer["layer"] for layer in layers] != list(range(cell.depth + 1)):
        complaints.append(f"{len(layers)} layers are kept, expected {cell.depth + 1}")
    # On lines there is one point and its opposite: without noise few batches are possible.
    few = cell.noise_level == 0.0 and cell.geometry.subspace_dim == 1 and cell.geometry.clusters != "equiangular"
    if result.distinct != cell.trials and not few:
        complaints.append(f"{result.distinct} of {cell.trials} batches are distinct")
    if complaints:
        return complaints
    trial = cell.index % cell.trials
    return [
        *_replayed(cell, result, trial), *_counted(cell, result, row), *_persistent(cell, result),
        *_promised(cell, result, layers),
    ]  # fmt: skip


def _replayed(cell: Cell, result: CellResult, trial: int) -> list[str]:
    """One trial through all layers again."""
    for layer, plain in enumerate(plain_layers(cell, trial)):
        if plain is None:
            return []
        for name in PLAIN:
            measured = float(getattr(result.trajectory, name)[layer, trial])
            if not abs(measured - plain[name]) <= TOLERANCE:
                return [f"trial {trial}, layer {layer}: {name} is {measured:.9g}, worked out again {plain[name]:.9g}"]
    return []


def plain_layers(cell: Cell, trial: int) -> Iterator[dict | None]:
    """Measurements of every layer of one trial, straight from theory.md's definitions (section 0); None, and no more,
    from where a cosine is too close to the cut to say on which side it lies."""
    matrix, condition = cell.query_key_map()
    cut = max(cell.threshold, 1e-10 * condition)
    x = cell.points([trial])[0]
    cluster = np.repeat(np.arange(len(cell.sizes)), cell.sizes)
    same = cluster[:, None] == cluster[None, :]
    cross = ~same
    np.fill_diagonal(same, False)
    for _ in range(cell.depth + 1):
        key = x if matrix is None else x @ matrix.T
        key = key / np.linalg.norm(key, axis=1, keepdims=True)
        cosine = key @ key.T
        off = np.where(same | cross, cosine, -1.0)
        # A cut of 1e-10 tells round-off from neighbours, and nothing is as close to it as to a cut in the middle.
        if np.abs(off - cut).min() < min(TOLERANCE, cut / 2.0):
            yield None
            return
        weight = np.where(off > cut, off - cut, 0.0)
        mass = weight.sum(axis=1)
        share = weight / np.where(mass > 0.0, mass, 1.0)[:, None]
        sharpness = (share * same).sum(axis=1)
        pieces = [connected_components(weight[np.ix_(rows, rows)] > 0.0)[0]
                  for rows in (np.flatnonzero(cluster == k) for k in range(len(cell.sizes)))]  # fmt: skip
        unit = [key[cluster == k] for k in range(len(cell.sizes))]
        heights = sorted(max(min(rows @ rows.sum(axis=0)) / np.linalg.norm(rows.sum(axis=0)), 0.0) for rows in unit)
        yield {
            "alpha": cosine[same].min(), "beta": cosine[cross].max(), "sharpness_min": sharpness.min(),
            "sharpness_mean": sharpness.mean(), "false_edges": (weight[cross] > 0.0).sum() / 2,
            "fragments": max(pieces), "axis_product": heights[0] * heights[1],
        }  # fmt: skip
        x = np.where(mass[:, None] > 0.0, (1.0 - cell.mixing) * x + cell.mixing * share @ x, x)


def _counted(cell: Cell, result: CellResult, row: dict) -> list[str]:
    """Outcomes counted again from alpha, beta and the graphs."""
    t = result.trajectory
    alpha, beta = t.alpha[0], t.beta[0]
    cap = plain_cap(alpha, beta, cell.sizes)
    clear = np.abs(np.where(np.isfinite(cap), cap, 1.0) - alpha) > TOLERANCE
    admits = (alpha > 0.0) & (cap < alpha)
    found = {
        "separated": (alpha > beta).sum(),
        "admits_threshold": (admits & clear).sum() + result.admits_threshold[~clear].sum(),
        "recovered": ((t.false_edges == 0) & (t.fragments == 1)).all(axis=0).sum(),
        "repaired": (np.maximum(t.false_edges, t.fragments - 1)[1:].max(axis=0) == 0).sum(),
    }
    if cell.extremes is not None:
        found["within_extremes"] = ((alpha >= cell.extremes[0]) & (beta <= cell.extremes[1])).sum()
    found["certified"] = _certified(cell, result)
    complaints = [
        f"{name} in {row[name]} trials, counted again {count}" for name, count in found.items() if row[name] != count
    ]
    if row["trials"] != len(alpha):
        complaints.append(f"{row['trials']} trials are said, {len(alpha)} were measured")
    return complaints


def _certified(cell: Cell, result: CellResult) -> int:
    """Batches with a layer that is certified by its cosines or its axes (theory.md 2f, 2a'), with a margin."""
    t, margin = result.trajectory, ABSOLUTE_MARGIN
    reached = [plain_cap(alpha, beta, cell.sizes) for alpha, beta in zip(t.alpha, t.beta)]
    axes = np.where(t.axis_product > 0.0, np.maximum(t.beta, 0.0) / np.maximum(t.axis_product, 1e-300), np.inf)
    return int(((np.minimum(reached, axes) < result.cut - margin) & (t.alpha > result.cut + margin)).any(axis=0).sum())


def _persistent(cell: Cell, result: CellResult) -> list[str]:
    """Theorem 2a held against its batches again: as many satisfy it, and none breaks it unsaid."""
    if cell.mapped or "theorem_2a" not in result.verdicts:
        return []
    t, cut, verdict = result.trajectory, result.cut, result.verdicts["theorem_2a"]
    alpha = t.alpha[0]
    cap = plain_cap(alpha, t.beta[0], cell.sizes)
    applies = (alpha > 0.0) & (cap + TOLERANCE < cut) & (cut < alpha - TOLERANCE)
    almost = (alpha > 0.0) & (cap - TOLERANCE <= cut) & (cut < alpha + TOLERANCE)
    kept = (t.false_edges == 0).all(0) & (t.fragments == 1).all(0) & (t.beta <= cap + TOLERANCE).all(0)
    complaints = []
    if (applies & ~kept).any() and verdict.status != "VIOLATED":
        complaints.append(f"Theorem 2a {verdict.status}, but {(applies & ~kept).sum()} batches break it")
    for wrong, batches in ((verdict.applicable < applies.sum(), applies), (verdict.applicable > almost.sum(), almost)):
        if wrong:
            complaints.append(f"Theorem 2a was held against {verdict.applicable} batches, {batches.sum()} satisfy it")
    return complaints


def _promised(cell: Cell, result: CellResult, layers: Sequence[dict]) -> list[str]:
    """What is promised of all batches of the cell at once follows from the worst of them, and is kept by all."""
    alpha, beta, cut = float(result.trajectory.alpha[0].min()), float(result.trajectory.beta[0].max()), result.cut
    cap = float(plain_cap(np.array([alpha]), np.array([beta]), cell.sizes)[0])
    stays = cap <= cut < alpha
    rates = cell.depth * [np.nan] + [np.nan]
    if alpha > cut and (cell.mapped or stays):
        rates = plain_promise(alpha, cell.sizes, cut, cell.mixing, cell.depth)
    complaints = []
    for layer, rate in zip(layers, rates):
        told, expected = (layer["alpha_rate_bound"], layer["beta_cap"]), (rate, cap if stays else np.nan)
        if not np.allclose(told, expected, rtol=0.0, atol=TOLERANCE, equal_nan=True):
            complaints.append(f"layer {layer['layer']}: {told} are promised, worked out again {expected}")
        if layer["alpha_min"] < rate - TOLERANCE:
            complaints.append(f"layer {layer['layer']}: alpha {layer['alpha_min']:.9g} is below {rate:.9g}, promised")
    return complaints[:1]


# --- the whole run ----------------------------------------------------------------------------------------------------


def audit_run(
    cells: Sequence[Cell],
    ceilings: Mapping[int, Ceilings],
    rows: Sequence[dict],
    settings: SweepSettings,
    rate: Verdict | None,
) -> list[str]:
    """Complaints about the rows of a run: those of its cells, and what only shows across cells.

    Args:
        ceilings: of every cell, by its index.
        rate: the verdict on Theorem 2b for Gaussian noise, if there is one.
    """
    complaints = [f"cell {row['cell']}: {row['audit']}" for row in rows if row["audit"] != "passed"]
    if sorted(int(row["cell"]) for row in rows) != [cell.index for cell in cells]:
        complaints.append(f"{len(rows)} cells are kept, expected {len(cells)}")
    by_index = {cell.index: cell for cell in cells}
    for row in (row for row in rows if row["cell"] in by_index):
        cell = by_index[row["cell"]]
        told = expected_of(cell, ceilings[cell.index], settings)
        complaints += [f"cell {cell.index}: {name} is {row[name]}, its batches have {value}"
                       for name, value in told.items() if row[name] != value]  # fmt: skip
        if row["separation_guaranteed"] and row["noise_level"] == 0.0 and row["separated"] != row["trials"]:
            complaints.append(f"cell {cell.index}: not every noise-free batch is separated")
    if rate is not None and rate.status == "HOLDS":
        complaints += _confirmed(rows, settings.delta)
    return complaints


def expected_of(cell: Cell, ceilings: Ceilings, settings: SweepSettings) -> dict:
    """Columns of a cell's row that its plan decides."""
    separates, persists = (False, False) if cell.mapped else ceilings.guarantees(cell.noise, cell.noise_level)
    told = {"noise_level": cell.noise_level, "threshold": cell.threshold, "trials": cell.trials,
            "batch_size": cell.batch_size, "ambient_dim": cell.ambient_dim, "mapped": cell.mapped,
            "control": cell.control or "no", "separation_ceiling": ceilings.separation,
            "persistence_ceiling": ceilings.persistence, "separation_guaranteed": separates,
            "persistence_guaranteed": persists,
            "recovery_guaranteed": persists and (settings.threshold is None or bool(cell.control)),
            "fusion_ceiling": ceilings.fusion,
            "fusion_guaranteed": cell.control == FUSION and cell.noise_level == ceilings.fusion,
            "extremes_guaranteed": cell.noise == "gaussian" and cell.noise_level > 0.0}  # fmt: skip
    return told if cell.extremes is None else told | dict(zip(("alpha_allowed", "beta_allowed"), cell.extremes))


def _confirmed(rows: Sequence[dict], delta: float) -> list[str]:
    """That HOLDS is what the counts say, by exact binomial probabilities: so few failures of the cells closest to their
    ceilings, and of the control of the proved event, were seen in at most 5 % of runs if the rate were delta."""
    failed: dict[str, dict[int, tuple[int, int]]] = {}
    for name, outcome in (("separation", "separated"), ("persistence", "admits_threshold"), ("recovery", "recovered")):
        last: dict[tuple, dict] = {}
        for row in rows:
            if row["noise"] == "gaussian" and row["noise_level"] > 0.0 and row[f"{name}_guaranteed"]:
                group = row["ambient_dim"], row["batch_size"], row["control"]
                last[group] = max(last.get(group, row), row, key=lambda r: r["noise_level"])
        for row in last.values():
            cells = failed.setdefault("cells at the ceilings", {})
            seen = row["trials"] - row[outcome]
            cells[row["cell"]] = max(cells.get(row["cell"], (0, 0)), (seen, row["trials"]))
    for row in (row for row in rows if row["control"] == PROVED_EVENT):
        failed["the proved event"] = {row["cell"]: (row["trials"] - row["within_extremes"], row["trials"])}
    sums = {name: np.sum(list(cells.values()), axis=0) for name, cells in failed.items()}
    return [f"Theorem 2b HOLDS, but {failures} failures in {trials} trials of {name} do not confirm {delta:g}"
            for name, (failures, trials) in sums.items() if not bdtr(failures, trials, delta) <= 0.05]  # fmt: skip

"""The noise sweep's audit: what a run says of itself, worked out a second time by other code.

A verdict is worth nothing if the batches are not what the row says they are, or the measurements are not those of the
stack. So every cell is looked at again, in the plainest way: one of its batches goes through the layers once more,
outcomes are counted anew, thresholds and bounds are held against theory.md's formulas written out here, and no two
batches of a run may share their random numbers. What does not agree is a complaint; a run with complaints ends with
exit status 6, whatever its verdicts are.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import bdtr, bdtrc

from synthetic import seeding
from synthetic.experiment import Cell, CellResult
from synthetic.grid import SweepSettings
from theory.pair_law import PairLaw
from theory.rates import RateCell, judge_rates
from theory.verdicts import Verdict

# Cosines of two computations agree to about 1e-14; what depends on which side of a cut a cosine lies is not compared
# where one is this close to it.
TOLERANCE = 1e-9
# Trials of every cell, besides the last, whose random numbers are held against those of all other cells.
STREAMS_A_CELL = 32
PLAIN = ("alpha", "beta", "sharpness_min", "sharpness_mean", "false_edges", "fragments")


# --- one cell ---------------------------------------------------------------------------------------------------------


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
    return [*_replayed(cell, result, trial), *_counted(cell, result, row)]


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
        yield {
            "alpha": cosine[same].min(), "beta": cosine[cross].max(), "sharpness_min": sharpness.min(),
            "sharpness_mean": sharpness.mean(), "false_edges": (weight[cross] > 0.0).sum() / 2,
            "fragments": max(pieces),
        }  # fmt: skip
        x = np.where(mass[:, None] > 0.0, (1.0 - cell.mixing) * x + cell.mixing * share @ x, x)


def _counted(cell: Cell, result: CellResult, row: dict) -> list[str]:
    """Outcomes and Theorem 2a counted again from alpha, beta and the graphs."""
    t, cut = result.trajectory, result.cut
    alpha, beta = t.alpha[0], t.beta[0]
    cap = plain_cap(alpha, beta, cell.sizes)
    clear = np.abs(np.where(np.isfinite(cap), cap, 1.0) - alpha) > TOLERANCE
    admits = (alpha > 0.0) & (cap < alpha)
    found = {
        "separated": (alpha > beta).sum(),
        "admits_threshold": (admits & clear).sum() + result.admits_threshold[~clear].sum(),
        "recovered": ((t.false_edges == 0) & (t.fragments == 1)).all(axis=0).sum(),
    }
    if cell.extremes is not None:
        found["within_extremes"] = ((alpha >= cell.extremes[0]) & (beta <= cell.extremes[1])).sum()
    complaints = [f"{name} in {row[name]} trials, counted again {count}" for name, count in found.items()
                  if row[name] != count]  # fmt: skip
    if row["trials"] != len(alpha):
        complaints.append(f"{row['trials']} trials are said, {len(alpha)} were measured")
    if not cell.mapped and "theorem_2a" in result.verdicts:
        applies = (alpha > 0.0) & (cap + TOLERANCE < cut) & (cut < alpha - TOLERANCE)
        kept = (t.false_edges == 0).all(0) & (t.fragments == 1).all(0) & (t.beta <= cap + TOLERANCE).all(0)
        verdict = result.verdicts["theorem_2a"]
        if (applies & ~kept).any() and verdict.status != "VIOLATED":
            complaints.append(f"Theorem 2a {verdict.status}, but {(applies & ~kept).sum()} batches break it")
        if verdict.applicable < applies.sum():
            complaints.append(f"Theorem 2a was held against {verdict.applicable} batches, {applies.sum()} satisfy it")
        almost = (alpha > 0.0) & (cap - TOLERANCE <= cut) & (cut < alpha + TOLERANCE)
        if verdict.applicable > almost.sum():
            complaints.append(f"Theorem 2a was held against {verdict.applicable} batches, {almost.sum()} satisfy it")
    return complaints


def plain_cap(alpha: np.ndarray, beta: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """beta+/(nu_(1) nu_(2)) of theory.md 2a, (trials,); infinite where alpha <= 0."""
    first, second = sorted(sizes)[-1], sorted(sizes)[-2]
    norm = np.sqrt(np.maximum(alpha + (1 - alpha) / first, 0.0) * np.maximum(alpha + (1 - alpha) / second, 0.0))
    return np.where(alpha > 0.0, np.maximum(beta, 0.0) / np.where(norm > 0.0, norm, 1.0), np.inf)


# --- the whole run ----------------------------------------------------------------------------------------------------


def audit_run(cells: Sequence[Cell], rows: Sequence[dict], settings: SweepSettings, rate: Verdict | None) -> list[str]:
    """Complaints about a run: those of its cells, and what only shows across cells.

    Args:
        rate: the verdict on Theorem 2b for Gaussian noise, if there is one.
    """
    complaints = [f"cell {row['cell']}: {row['audit']}" for row in rows if row["audit"] != "passed"]
    if sorted(int(row["cell"]) for row in rows) != [cell.index for cell in cells]:
        complaints.append(f"{len(rows)} cells are kept, expected {len(cells)}")
    complaints += _shared_streams(cells)
    by_index = {cell.index: cell for cell in cells}
    for row in (row for row in rows if row["cell"] in by_index):
        cell = by_index[row["cell"]]
        told = {"noise_level": cell.noise_level, "threshold": cell.threshold, "trials": cell.trials,
                "batch_size": cell.batch_size, "ambient_dim": cell.ambient_dim}  # fmt: skip
        complaints += [f"cell {cell.index}: {name} is {row[name]}, its batches have {value}"
                       for name, value in told.items() if row[name] != value]  # fmt: skip
        if cell.extremes is not None:
            complaints += [f"cell {cell.index}: {text}" for text in _bounds(cell, row, settings)]
    if rate is not None:
        complaints += _rule(settings.delta)
    if rate is not None and rate.status == "HOLDS":
        complaints += _confirmed(rows, settings.delta)
    return complaints


def _rule(delta: float) -> list[str]:
    """That the rule for rates turns where exact binomial probabilities say: planted counts on either side."""
    trials = int(np.ceil(200 / delta))
    failures = np.arange(trials + 1)
    unconfirmed = int(np.argmax(bdtr(failures, trials, delta) > 0.05))
    # One cell, which is its own pool: two tests share the chance of a false alarm.
    broken = int(np.argmax(bdtrc(failures - 1, trials, delta) <= 1e-3 / 2))
    planted = {unconfirmed - 1: "HOLDS", unconfirmed: "UNDECIDED", broken - 1: "UNDECIDED", broken: "VIOLATED"}
    found = {count: judge_rates("planted", [RateCell("here", "kept", count, trials, pool="planted")], delta).status
             for count in planted}  # fmt: skip
    return [f"the rule calls {count} failures in {trials} trials {found[count]}, not {expected}"
            for count, expected in planted.items() if found[count] != expected]  # fmt: skip


def _shared_streams(cells: Sequence[Cell]) -> list[str]:
    """No two batches share random numbers: looked at in the first trials of every cell and its last one. (That all
    batches of a cell differ is counted where they are measured.)"""
    streams: set[bytes] = set()
    count = 0
    for cell in cells:
        trials = sorted({*range(min(STREAMS_A_CELL, cell.trials)), cell.trials - 1})
        for rng in (rng for kind in cell.generators(trials) for rng in kind):
            streams.add(seeding.stream_of(rng))
            count += 1
    return [] if len(streams) == count else [f"{count - len(streams)} of {count} streams of random numbers are shared"]


def _bounds(cell: Cell, row: dict, settings: SweepSettings) -> list[str]:
    """What theory allows the cosines at this noise, the threshold that follows, and what is guaranteed."""
    alpha, beta = float(row["alpha_allowed"]), float(row["beta_allowed"])
    complaints = _allowed(cell, alpha, beta, settings.delta)
    cap = float(plain_cap(np.array([alpha]), np.array([beta]), cell.sizes)[0])
    middle = (cap + alpha) / 2 if cap < alpha else min((max(beta, 0.0) + max(alpha, beta, 0.0)) / 2, 0.999)
    if (settings.threshold is None or cell.control) and not abs(cell.threshold - middle) <= TOLERANCE:
        complaints.append(f"threshold is {cell.threshold:.9g}, worked out again {middle:.9g}")
    for name, kept in (("separation", alpha > beta), ("persistence", cap < alpha)):
        if row[f"{name}_guaranteed"] and not kept:
            complaints.append(f"{name} is guaranteed, but theory allows alpha {alpha:.9g} and beta {beta:.9g}")
    if row["separation_guaranteed"] and row["noise_level"] == 0.0 and row["separated"] != row["trials"]:
        complaints.append("not every noise-free batch is separated")
    return complaints


def _allowed(cell: Cell, alpha: float, beta: float, delta: float) -> list[str]:
    """Gaussian noise: each pair passes alpha (beta) with half of delta, shared out among the pairs of its kind."""
    within, between = (float(np.cos(angle)) for angle in cell.clean_angles)
    if cell.noise != "gaussian" or cell.noise_level == 0.0:
        turn = 2.0 * np.arcsin(cell.noise_level) if cell.noise != "gaussian" else 0.0
        expected = np.cos(min(np.pi, np.arccos(within) + turn)), np.cos(max(0.0, np.arccos(between) - turn))
        agree = np.abs(np.subtract((alpha, beta), expected)).max() <= TOLERANCE
        return [] if agree else [f"alpha {alpha:.9g} and beta {beta:.9g} are allowed, worked out again {expected}"]
    n = cell.batch_size
    inside = sum(size * (size - 1) // 2 for size in cell.sizes)
    pairs = {"alpha": (within, alpha, False, inside), "beta": (between, beta, True, n * (n - 1) // 2 - inside)}
    complaints = []
    for name, (clean, bound, upper, count) in pairs.items():
        spent = PairLaw(cell.ambient_dim, cell.noise_level, clean).tail(bound, upper) * count
        if not abs(spent / (delta / 2.0) - 1.0) <= 1e-4:
            complaints.append(f"{name}: its pairs use {spent:.4g} of delta, not {delta / 2.0:.4g}")
    return complaints


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
    for row in (row for row in rows if row["control"] == "proved event"):
        failed["the proved event"] = {row["cell"]: (row["trials"] - row["within_extremes"], row["trials"])}
    sums = {name: np.sum(list(cells.values()), axis=0) for name, cells in failed.items()}
    return [f"Theorem 2b HOLDS, but {failures} failures in {trials} trials of {name} do not confirm {delta:g}"
            for name, (failures, trials) in sums.items() if not bdtr(failures, trials, delta) <= 0.05]  # fmt: skip

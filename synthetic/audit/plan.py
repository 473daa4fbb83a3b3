"""The noise sweep's audit before the run: what can be known of its cells without measuring one.

Every cell's threshold and bounds are held against theory.md's formulas written out here, guarantees against what the
bounds allow, the cells against the settings, and no two batches may share their random numbers. The rules by which the
run will be judged are asked about planted numbers (synthetic/audit/rules.py). A plan with complaints is not run.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from synthetic.audit.formulas import plain_cap
from synthetic.audit.rows import TOLERANCE
from synthetic.audit.rules import rule_complaints
from synthetic.audit.theorems import theorem_complaints
from synthetic.batches import seeding
from synthetic.batches.cell import Cell
from synthetic.sweeps.noise_controls import PROVED_EVENT
from synthetic.sweeps.noise_fusion import FUSION
from synthetic.sweeps.noise_grid import Ceilings, SweepSettings
from theory.lemmas.pair_law import PairLaw

# Trials of every cell, besides the last, whose random numbers are held against those of all other cells.
STREAMS_A_CELL = 32
# Relative error of a tail probability, by which budgets may differ; and what is left of a ceiling's own equation there.
TAIL_ERROR, AT_CEILING = 1e-4, 1e-6


def audit_plan(cells: Sequence[Cell], ceilings: Mapping[int, Ceilings], settings: SweepSettings) -> list[str]:
    """Complaints about a run that has not begun: sentences, none if all is well.

    Args:
        cells: the grid, and the control cells behind it.
        ceilings: of every cell, by its index.
    """
    indices = [cell.index for cell in cells]
    if indices != list(range(len(cells))) or {*indices} != {*ceilings}:
        return [f"{len(cells)} cells are not numbered one by one, with their ceilings known"]
    complaints = [*_complete(cells, ceilings, settings), *_shared_streams(cells)]
    for cell in cells:
        complaints += [f"cell {cell.index}: {text}" for text in audit_bounds(cell, ceilings[cell.index], settings)]
    for cell in {(c.geometry, c.ambient_dim, c.sizes): c for c in cells}.values():
        complaints += [f"cell {cell.index}: {text}" for text in _drawn(cell)]
    return [*complaints, *theorem_complaints(), *rule_complaints(settings.delta)]


def _complete(cells: Sequence[Cell], ceilings: Mapping[int, Ceilings], settings: SweepSettings) -> Iterator[str]:
    """Every group has Theorem 1's cell, the levels asked for or its own ceilings, and as many trials as asked for."""
    for dim in settings.ambient_dims:
        for n in settings.batch_sizes:
            group = [c for c in cells if (c.control, c.ambient_dim, c.batch_size) == ("", dim, n)]
            levels = [cell.noise_level for cell in group if not cell.mapped]
            where = f"D={dim}, n={n}"
            if sum(cell.mapped for cell in group) != 1:
                yield f"{where}: there is not one cell of Theorem 1"
            if settings.noise_levels is not None and levels != [float(level) for level in settings.noise_levels]:
                yield f"{where}: noise levels are {levels}, asked for {list(settings.noise_levels)}"
            if settings.noise_levels is None and group:
                own = ceilings[group[0].index]
                yield from (f"{where}: no cell has the noise of the {name} ceiling {level:.6g}"
                            for name, level in (("separation", own.separation), ("persistence", own.persistence))
                            if level > 0.0 and not any(abs(x / level - 1.0) <= 0.002 for x in levels))  # fmt: skip
    grid = [cell for cell in cells if not cell.control]
    if {(cell.ambient_dim, cell.batch_size) for cell in grid} - {
        (dim, n) for dim in settings.ambient_dims for n in settings.batch_sizes
    }:
        yield "there are cells of dimensions or batch sizes that were not asked for"
    for cell in grid:
        told = {"trials": settings.trials, "depth": settings.depth, "mixing": settings.mixing, "seed": settings.seed}
        yield from (f"cell {cell.index}: {name} is {getattr(cell, name)}, asked for {value}"
                    for name, value in told.items() if getattr(cell, name) != value)  # fmt: skip
    events = [cell.trials for cell in cells if cell.control == PROVED_EVENT]
    expected = [settings.control_trials] if settings.controls and settings.noise == "gaussian" else []
    if events != expected:
        yield f"the control of the proved event has {events} trials, expected {expected}"
    fusion: dict[tuple, list[Cell]] = {}
    for cell in (cell for cell in cells if cell.control == FUSION):
        fusion.setdefault((cell.ambient_dim, cell.batch_size), []).append(cell)
    for (dim, n), group in fusion.items():
        if ceilings[group[0].index].fusion not in [cell.noise_level for cell in group]:
            yield f"D={dim}, n={n}: no cell has the noise of the fusion ceiling"
    if any(cell.control for cell in cells) != settings.controls:
        yield "control cells are not as asked for"


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


def _drawn(cell: Cell) -> Iterator[str]:
    """Clean batches are as their geometry says: cross cosines within their limit, the smallest cosine of every cone
    attained, all cosines of equiangular clusters equal."""
    geometry, within, between = cell.geometry, *(float(np.cos(angle)) for angle in cell.clean_angles)
    (points,) = geometry.draw(cell.bases, cell.sizes, cell.generators([0])[0])
    cosines, cluster = points @ points.T, np.repeat(np.arange(len(cell.sizes)), cell.sizes)
    cross = cosines[cluster[:, None] != cluster]
    if not cross.max() <= between + TOLERANCE:
        yield f"clean cross cosines reach {cross.max():.9g}, said to be at most {between:.9g}"
    smallest = [cosines[np.ix_(cluster == k, cluster == k)].min() for k in range(len(cell.sizes))]
    equiangular, cone = geometry.clusters == "equiangular", geometry.clusters == "cone"
    if (cone or equiangular) and not np.abs(np.subtract(smallest, within)).max() <= TOLERANCE:
        yield f"clean clusters have cosines from {min(smallest):.9g} to {max(smallest):.9g} on, said to be {within:.9g}"
    if equiangular:
        inside = cosines[(cluster[:, None] == cluster) & ~np.eye(len(cluster), dtype=bool)]
        if not (np.ptp(inside) <= TOLERANCE and np.ptp(cross) <= TOLERANCE):
            yield "equiangular clusters are not"


def audit_bounds(cell: Cell, ceilings: Ceilings, settings: SweepSettings) -> Iterator[str]:
    """What theory allows the cosines at this noise, the threshold that follows, and what is guaranteed."""
    if cell.mapped:
        yield from _oblique(cell)
        return
    if cell.extremes is None:
        yield "what theory allows its cosines is not known"
        return
    alpha, beta = cell.extremes
    yield from _allowed(cell, alpha, beta, settings.delta)
    cap = float(plain_cap(np.array([alpha]), np.array([beta]), cell.sizes)[0])
    middle = (cap + alpha) / 2 if cap < alpha else min((max(beta, 0.0) + max(alpha, beta, 0.0)) / 2, 0.999)
    expected = middle if settings.threshold is None or cell.control else settings.threshold
    # Theorem 2f takes what delta/2 allows the cross cosines.
    expected = max(beta, 1e-6) if cell.control == FUSION else expected
    if not abs(cell.threshold - expected) <= TOLERANCE:
        yield f"threshold is {cell.threshold:.9g}, worked out again {expected:.9g}"
    guaranteed = ceilings.guarantees(cell.noise, cell.noise_level)
    for name, promised, kept, room, ceiling in (
        ("separation", guaranteed[0], alpha > beta, alpha - beta, ceilings.separation),
        ("persistence", guaranteed[1], cap < alpha, alpha - cap, ceilings.persistence),
    ):
        if promised and not kept:
            yield f"{name} is guaranteed, but theory allows alpha {alpha:.9g} and beta {beta:.9g}"
        if cell.noise == "gaussian" and 0.0 < cell.noise_level == ceiling and room > AT_CEILING:
            yield f"noise is at the {name} ceiling, but theory allows {room:.3g} more"


def _oblique(cell: Cell) -> Iterator[str]:
    """Theorem 1's subspaces are not orthogonal, and its map takes each to coordinates of its own."""
    bases, (matrix, condition) = cell.bases, cell.query_key_map()
    side_by_side = np.concatenate(list(bases), axis=1)
    gram = side_by_side.T @ side_by_side
    if np.abs(gram - np.eye(len(gram))).max() <= TOLERANCE:
        yield "the subspaces of Theorem 1's cell are orthogonal"
    if np.abs(matrix @ side_by_side - np.eye(len(gram))).max() > TOLERANCE * condition:
        yield "the map of Theorem 1's cell does not take its subspaces apart"


def _allowed(cell: Cell, alpha: float, beta: float, delta: float) -> Iterator[str]:
    """Bounded noise turns each point by its arcsine; under Gaussian noise each pair passes alpha (beta) with half of
    delta, shared out among the pairs of its kind."""
    within, between = (float(np.cos(angle)) for angle in cell.clean_angles)
    if cell.noise != "gaussian" or cell.noise_level == 0.0:
        turn = 2.0 * np.arcsin(cell.noise_level) if cell.noise != "gaussian" else 0.0
        expected = np.cos(min(np.pi, np.arccos(within) + turn)), np.cos(max(0.0, np.arccos(between) - turn))
        if not np.abs(np.subtract((alpha, beta), expected)).max() <= TOLERANCE:
            yield f"alpha {alpha:.9g} and beta {beta:.9g} are allowed, worked out again {expected}"
        return
    n = cell.batch_size
    inside = sum(size * (size - 1) // 2 for size in cell.sizes)
    pairs = {"alpha": (within, alpha, False, inside), "beta": (between, beta, True, n * (n - 1) // 2 - inside)}
    for name, (clean, bound, upper, count) in pairs.items():
        spent = PairLaw(cell.ambient_dim, cell.noise_level, clean).tail(bound, upper) * count
        if not abs(spent / (delta / 2.0) - 1.0) <= TAIL_ERROR:
            yield f"{name}: its pairs use {spent:.4g} of delta, not {delta / 2.0:.4g}"

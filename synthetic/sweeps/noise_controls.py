"""Cells beside the noise sweep's grid, on which the theorems have no room: mistakes in a bound show here that the
batches of the grid, far from it as they are, never show.

    proved event        equiangular clusters under Gaussian noise: every pair has the clean cosine that Theorem 2b takes
                        for all, so that its event fails almost as often as delta allows. Many small batches.
    sharp cap           noise-free equiangular clusters of unequal sizes: cross cosines rise to Theorem 2a's cap.
    past persistence    noise-free equiangular clusters that miss 2a's hypotheses: any threshold leaks at some depth.
    unequal map         Theorem 1 on one large and one small cluster, where its rate needs the larger.
    unequal noise       noisy clusters of unequal sizes at the persistence ceiling.

The last four take mixing weights other than 1/2.
"""

from dataclasses import replace

from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, oblique
from synthetic.sweeps.noise_grid import Ceilings, ConeLaw, SweepSettings
from theory.noise_ceiling import recommended_threshold

PROVED_EVENT = "proved event"
AMBIENT_DIM = 16
# A batch of equiangular clusters is one shape in a random position: a few are as good as many.
FEW_TRIALS = 10


def control_cells(settings: SweepSettings, first_index: int) -> list[tuple[Cell, Ceilings]]:
    """The control cells of a sweep with their ceilings, numbered from ``first_index`` on."""
    pairs = [*_equiangular(settings), *_unequal(settings)]
    return [(replace(cell, index=first_index + i), ceilings) for i, (cell, ceilings) in enumerate(pairs)]


def _equiangular(settings: SweepSettings) -> list[tuple[Cell, Ceilings]]:
    def cell(name, within, between, sizes, level, dim, depth, mixing, trials) -> tuple[Cell, Ceilings]:
        geometry = Geometry(len(sizes), 1, clusters="equiangular", within_cos=within, between_cos=between)
        law = ConeLaw.of(geometry, dim, sizes, settings)
        # What is judged is the event and Theorem 2a: no ceiling is asked for.
        return _noisy(settings, name, geometry, law, level, depth, mixing, trials), Ceilings(0.0, 0.0)

    events = []
    if settings.noise == "gaussian":
        # The fewer dimensions, the more pairs depend on each other, and the further below delta lies the event's rate:
        # 4.6 % for 5 % (13,863 of 300,000 trials), which 80,000 trials tell apart in all but one of thousands of runs.
        events.append(cell(PROVED_EVENT, 0.9, 0.5, (5, 3, 2), 0.2, 11, 1, 0.5, settings.control_trials))
    depth, dim = settings.depth, AMBIENT_DIM
    return [
        *events,
        cell("sharp cap", 0.7, 0.3, (6, 3, 2), 0.0, dim, depth, 0.3, FEW_TRIALS),
        cell("past persistence", 0.6, 0.5, (4, 4), 0.0, dim, depth, 0.8, FEW_TRIALS),
    ]


def _unequal(settings: SweepSettings) -> list[tuple[Cell, Ceilings]]:
    geometry = Geometry(num_clusters=2, subspace_dim=3)
    mapped = Cell(0, AMBIENT_DIM, (20, 2), "none", 0.0, 0.0, True, oblique(geometry), settings.depth, 0.7,
                  settings.trials, settings.seed, control="unequal map")  # fmt: skip
    geometry = Geometry(num_clusters=3, subspace_dim=3)
    law = ConeLaw.of(geometry, AMBIENT_DIM, (12, 6, 3), settings)
    ceilings = law.ceilings(settings.noise)
    # Bounded noise is guaranteed strictly below its ceiling.
    level = ceilings.persistence * (1.0 if settings.noise == "gaussian" else 0.999)
    noisy = _noisy(settings, "unequal noise", geometry, law, level, settings.depth, 0.8, settings.trials)
    return [(mapped, Ceilings(0.0, 0.0)), (noisy, ceilings)]


def _noisy(
    settings: SweepSettings,
    name: str,
    geometry: Geometry,
    law: ConeLaw,
    level: float,
    depth: int,
    mixing: float,
    trials: int,
) -> Cell:
    """A cell with the threshold that theory recommends, whatever the grid's is."""
    dim, sizes, extremes = law.ambient_dim, law.sizes, law.extremes(settings.noise, level)
    return Cell(0, dim, sizes, settings.noise, level, recommended_threshold(*extremes, sizes), False, geometry, depth,
                mixing, trials, settings.seed, extremes, name)  # fmt: skip

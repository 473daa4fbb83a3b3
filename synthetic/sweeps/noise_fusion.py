"""Cells of the noise sweep at and past the fusion ceiling (Theorem 2f): noise that one block removes for good.

Theorem 2f speaks of a threshold of its own and of tokens that are never normalized, so that its cells stand beside the
grid, as controls do: each batch size at its fusion ceiling, where recovery at layers 1 to L is promised, and at higher
noise until it breaks down. Where the ceiling is not above the separation ceiling - wide cones of few points, small
mixing weights - there is nothing to show, and no cell.
"""

from collections.abc import Mapping
from dataclasses import replace

from synthetic.batches.cell import Cell
from synthetic.sweeps.noise_grid import Ceilings, ConeLaw, SweepSettings
from theory.fusion_ceiling import fusion_failure, fusion_threshold, gaussian_fusion

FUSION = "fusion"
# Noise of the cells over the ceiling.
STEPS = (1.0, 1.08, 1.16, 1.24, 1.32, 1.4, 1.5)


def fusion_cells(
    settings: SweepSettings, ceilings: Mapping[tuple[int, int], Ceilings], first_index: int
) -> list[tuple[Cell, Ceilings]]:
    """The cells of every group that has a fusion ceiling above separation, numbered from ``first_index`` on.

    Args:
        ceilings: the grid's, by (ambient_dim, batch_size).
    """
    if settings.noise != "gaussian" or settings.geometry.arrangement != "orthogonal":
        return []
    found: list[tuple[Cell, Ceilings]] = []
    for (dim, n), own in ceilings.items():
        law = ConeLaw.of(settings.geometry, dim, settings.geometry.sizes(n), settings)
        level = fusion_past_separation(law, settings, own.separation)
        if level > 0.0:
            found += [(_cell(settings, law, level * step), replace(own, fusion=level)) for step in STEPS]
    return [(replace(cell, index=first_index + i), own) for i, (cell, own) in enumerate(found)]


def fusion_past_separation(law: ConeLaw, settings: SweepSettings, separation: float) -> float:
    """The fusion ceiling of a stack of so many blocks, 0 where none is above the separation ceiling."""
    if law.min_within_cos <= 0.0 or separation <= 0.0:
        return 0.0
    clusters = law.ambient_dim, law.num_clusters, law.sizes, law.min_within_cos, law.delta
    # One look at the separation ceiling is much quicker than a search that ends below it.
    mixing, dim, depth = settings.mixing, settings.geometry.subspace_dim, settings.depth
    if not fusion_failure(*clusters, separation, mixing, subspace_dim=dim, depth=depth).total <= law.delta:
        return 0.0
    return gaussian_fusion(*clusters, mixing, subspace_dim=dim, depth=depth)


def _cell(settings: SweepSettings, law: ConeLaw, level: float) -> Cell:
    extremes = law.extremes("gaussian", level)
    tau = fusion_threshold(law.ambient_dim, law.num_clusters, law.sizes, law.delta, level)
    return Cell(0, law.ambient_dim, law.sizes, "gaussian", level, tau, False, settings.geometry,
                settings.depth, settings.mixing, settings.trials, settings.seed, extremes, FUSION,
                unit_inputs=False)  # fmt: skip

"""The noise sweep's grid: cells have the threshold of their own noise and batch size, groups their own ceilings."""

import pytest

from synthetic.batches.geometry import Geometry
from synthetic.sweeps.noise_grid import Ceilings, SweepSettings, build_cells
from theory.noise_ceiling import gaussian_extremes, gaussian_persistence, gaussian_separation, recommended_threshold

SETTINGS = SweepSettings(ambient_dims=(16,), batch_sizes=(12, 36), geometry=Geometry(num_clusters=3, subspace_dim=2))


def law(batch_size):
    return 16, 3, batch_size // 3, 0.9, 0.0, 0.05


@pytest.fixture(scope="module")
def grid():
    return build_cells(SETTINGS, num_levels=4)


def test_thresholds_are_those_of_the_cells_noise_and_sizes(grid):
    noisy = [cell for cell in grid[0] if not cell.mapped]
    for cell in noisy:
        allowed = gaussian_extremes(*law(cell.batch_size), cell.noise_level)
        assert cell.extremes == pytest.approx(allowed, abs=1e-12)
        assert cell.threshold == pytest.approx(recommended_threshold(*allowed, cell.sizes), abs=1e-12)
    assert len({cell.threshold for cell in noisy}) == len(noisy)


def test_every_group_is_looked_at_on_its_own_ceilings(grid):
    cells, ceilings = grid
    for size in SETTINGS.batch_sizes:
        own = Ceilings(gaussian_separation(*law(size)), gaussian_persistence(*law(size)))
        assert ceilings[16, size] == own
        group = [cell for cell in cells if cell.batch_size == size]
        assert [cell.mapped for cell in group] == [True] + [False] * (len(group) - 1)
        assert {own.separation, own.persistence} <= {cell.noise_level for cell in group}


def test_guarantees_end_at_the_ceilings():
    ceilings = Ceilings(separation=0.5, persistence=0.3)
    levels = (0.3, 0.31, 0.5, 0.51)
    assert [ceilings.guarantees("gaussian", level) for level in levels] == [
        (True, True), (True, False), (True, False), (False, False),
    ]  # fmt: skip
    # Bounded noise is guaranteed strictly below.
    assert [ceilings.guarantees("worst", level) for level in (0.29, *levels)] == [
        (True, True), (True, False), (True, False), (False, False), (False, False),
    ]  # fmt: skip

"""What a cell is made of: which batches it draws, through which stack they go, and what is asked of them."""

from dataclasses import replace

import numpy as np
import pytest

from synthetic.batches import cell, seeding
from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, oblique
from synthetic.sweeps import noise_cells
from synthetic.sweeps.failures import counterexample
from synthetic.sweeps.noise_cells import build_stack, run_cell
from theory.judging.verdicts import Status
from theory.measurements import pair_extremes
from theory.persistence import admits_threshold
from theory.subspaces import principal_angles, smallest_principal_angle

CELL = Cell(index=3, ambient_dim=12, sizes=(4, 3, 3), noise="gaussian", noise_level=0.3, threshold=0.3, mapped=False,
            geometry=Geometry(num_clusters=3, subspace_dim=2), depth=2, mixing=0.5, trials=7, seed=0)  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_a_cell_draws_every_trial_once(monkeypatch, chunk):
    monkeypatch.setattr(cell, "TRIAL_CHUNK_BYTES", chunk * 8 * CELL.batch_size * CELL.ambient_dim)
    parts = list(CELL.batches())
    assert max(map(len, parts)) == min(chunk, CELL.trials)
    batches = np.concatenate(parts)
    assert len(batches) == CELL.trials
    np.testing.assert_array_equal(batches, np.concatenate([CELL.points([trial]) for trial in range(CELL.trials)]))


def test_no_batch_is_drawn_twice():
    """Not in another trial, another cell, nor with another seed."""
    cells = [replace(CELL, index=index, seed=seed) for index in (3, 4) for seed in (0, 1)]
    batches = [batch.tobytes() for cell in cells for batch in np.concatenate(list(cell.batches()))]
    assert len(set(batches)) == len(cells) * CELL.trials


def test_noise_is_drawn_from_a_stream_of_its_own(monkeypatch):
    """Points and noise come from generators that have nothing in common."""
    taken = {}
    original = cell.add_noise

    def add_noise(points, labels, level, kind, rngs):
        taken["clean"], taken["noise"] = points, [rng.bit_generator.state["state"]["state"].tolist() for rng in rngs]
        return original(points, labels, level, kind, rngs)

    monkeypatch.setattr(cell, "add_noise", add_noise)
    CELL.points([5])
    for stream, same in ((seeding.NOISE, True), (seeding.POINTS, False)):
        (rng,) = seeding.trial_generators(CELL.seed, CELL.index, [5], stream)
        assert (rng.bit_generator.state["state"]["state"].tolist() == taken["noise"][0]) == same
    (rng,) = seeding.trial_generators(CELL.seed, CELL.index, [5], seeding.POINTS)
    np.testing.assert_array_equal(CELL.geometry.draw(CELL.bases, CELL.sizes, [rng]), taken["clean"])


def test_hypotheses_are_those_of_the_input():
    """Noise that some batches survive: layers behind the first are better than the input, and do not count."""
    cell = replace(CELL, noise_level=0.6, trials=40, depth=4)
    result = run_cell(cell)
    extremes = [pair_extremes(cell.points([trial])[0], cell.labels) for trial in range(cell.trials)]
    expected = np.array([admits_threshold(alpha, beta, cell.sizes) for alpha, beta in extremes])
    assert 0 < expected.sum() < cell.trials
    np.testing.assert_array_equal(result.admits_threshold, expected)
    trajectory = result.trajectory
    last = admits_threshold(trajectory.alpha[-1], trajectory.beta[-1], cell.sizes)
    assert (last != expected).any(), "the last layer would say the same: the test could not fail"
    assert trajectory.alpha.shape == (cell.depth + 1, cell.trials)


@pytest.mark.parametrize("mixing", [0.2, 0.5, 0.9])
def test_a_cell_is_judged_with_its_own_mixing(mixing):
    """Little mixing contracts slowly, as Theorem 1b knows; with another mixing its rate would be broken."""
    cell = replace(CELL, noise_level=0.1, mixing=mixing, depth=6)
    assert run_cell(cell).verdicts["theorem_2a"].status is Status.HOLDS
    clean = replace(cell, noise="none", noise_level=0.0, threshold=0.0, mapped=True, geometry=oblique(cell.geometry))
    assert run_cell(clean).verdicts["theorem_1"].status is Status.HOLDS


def test_the_stack_is_that_of_the_cell():
    cell = replace(CELL, depth=3, threshold=0.25, mixing=0.4)
    stack, cut = build_stack(cell, "cpu")
    assert (stack.depth, len(stack.blocks), stack.normalize, cut) == (3, 4, "input", 0.25)
    assert all((block.threshold, block.mixing) == (0.25, 0.4) for block in stack.blocks)
    assert build_stack(replace(cell, unit_inputs=False), "cpu")[0].normalize == "never"
    mapped = replace(cell, noise="none", noise_level=0.0, threshold=0.0, mapped=True, geometry=oblique(cell.geometry))
    matrix, condition = mapped.query_key_map()
    stack, cut = build_stack(mapped, "cpu")
    assert cut == pytest.approx(1e-10 * condition)
    np.testing.assert_array_equal(stack.blocks[0].query_key_map.numpy(), matrix)


@pytest.mark.parametrize("clusters", ["cone", "uniform", "equiangular"])
def test_the_first_theorem_is_tried_on_oblique_subspaces(clusters):
    """Orthogonal subspaces would need no map; here the map W is no isometry."""
    geometry = oblique(Geometry(num_clusters=3, subspace_dim=2, clusters=clusters))
    assert geometry.clusters == ("uniform" if clusters == "uniform" else "cone")
    cell = replace(CELL, noise="none", noise_level=0.0, threshold=0.0, mapped=True, geometry=geometry)
    assert smallest_principal_angle(cell.bases) < np.radians(80.0)
    matrix, condition = cell.query_key_map()
    assert condition > 1.1
    assert matrix.shape == (6, 12)


def test_the_clean_cross_cosine_is_that_of_the_closest_subspaces():
    geometry = Geometry(num_clusters=3, subspace_dim=2, arrangement="random")
    bases = geometry.bases(8, 0)
    cosines = [float(np.cos(principal_angles(a, b)[0])) for i, a in enumerate(bases) for b in bases[:i]]
    assert max(cosines) - min(cosines) > 0.05
    assert geometry.clean_cosines(bases) == pytest.approx((0.9, max(cosines)), abs=1e-12)


def test_the_batch_that_is_kept_is_the_one_that_failed(monkeypatch):
    verdict = replace(run_cell(CELL).verdicts["theorem_2a"], status=Status.VIOLATED, where=5)
    monkeypatch.setattr(noise_cells, "check_cell", lambda *arguments: {"theorem_2a": verdict})
    assert run_cell(CELL).suspects == {"theorem_2a": 5}
    kept = counterexample(CELL, "theorem_2a", 5)
    np.testing.assert_array_equal(kept.values["points"], np.concatenate(list(CELL.batches()))[5])

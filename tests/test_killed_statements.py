"""The counterexamples recorded in theory.md, number by number, without any search."""

import numpy as np
import pytest
import torch

from models.stack import AttentionStack
from synthetic.seeding import trial_generators
from synthetic.union_of_subspaces import equiangular_clusters
from tests.strategies import labels_of
from theory import statements
from theory.measurements import pair_extremes
from theory.noise_ceiling import bounded_extremes, bounded_separation, bounded_threshold_separation
from theory.noise_free import equiangular_threshold_interval, norm_floor_squared, spread_bound
from theory.persistence import threshold_interval

pytestmark = pytest.mark.theorems
DEGREE = np.pi / 180


def test_smallest_cluster():
    sizes = (20, 2)
    points = equiangular_clusters(0.9, 0.0, sizes, 24, trial_generators(0, 0, range(1), 0))
    spread = 1 - AttentionStack(3).measure(torch.from_numpy(points), labels_of(sizes)).alpha[-1, 0]
    assert spread == pytest.approx(1.25e-3, rel=0.01)
    assert spread_bound(0.9, min(sizes), 3) < 3e-11 < spread <= spread_bound(0.9, max(sizes), 3)


def test_threshold_at_b():
    sizes = (6, 6, 6)
    points = equiangular_clusters(0.6, 0.35, sizes, 20, trial_generators(0, 0, range(1), 0))
    false_edges = AttentionStack(4, 0.40).measure(torch.from_numpy(points), labels_of(sizes)).false_edges[:, 0]
    assert false_edges[0] == 0
    assert false_edges[1] > 0, "the second layer leaks"
    low, _ = equiangular_threshold_interval(0.6, 0.35, 6)
    assert 0.35 < 0.40 < low


def test_alpha_of_any_sign():
    points = np.array([[1.0, 0], [-1, 0], [0, 1], [0, 1], [0, 1]])
    alpha, beta = pair_extremes(points, np.array([0, 0, 1, 1, 1]))
    assert (alpha, beta) == (-1.0, 0.0)
    assert max(beta, 0.0) < alpha * norm_floor_squared(alpha, 3), "the false hypothesis is satisfied"
    assert threshold_interval(float(alpha), float(beta), 3) is None


def test_one_term_ceiling():
    theta_w, theta_b, phi = 60 * DEGREE, 150 * DEGREE, 20 * DEGREE
    assert np.sin(phi) < bounded_separation(theta_w, theta_b)
    assert bounded_extremes(theta_w, theta_b, float(np.sin(phi)))[0] < 0
    assert np.sin(phi) > bounded_threshold_separation(theta_w, theta_b)


def test_round_off_broke_noise_free_batches():
    """theory.md 0: without tau_num most noise-free batches with r = 6, m = 3 break, since a row often has no true
    neighbour; with it none does."""
    from synthetic.experiment import Cell, Geometry, oblique, run_cell

    geometry = oblique(Geometry(num_clusters=4, subspace_dim=6, clusters="uniform"))
    cell = Cell(0, 30, (3,) * 4, "none", 0.0, 0.0, True, geometry, 3, 0.5, 300, 0)
    assert run_cell(cell).trajectory.false_edges.max() == 0
    matrix, _ = cell.query_key_map()
    mapped = cell.points(range(300)) @ matrix.T
    unit = mapped / np.linalg.norm(mapped, axis=-1, keepdims=True)
    cosines = unit @ np.swapaxes(unit, -1, -2)
    cross = cell.labels[:, None] != cell.labels[None, :]
    broken = ((cosines > 0) & cross).any(axis=(-2, -1))
    assert broken.mean() > 0.8


def test_every_statement_says_where_it_is_proved():
    for statement in statements.STATEMENTS.values():
        module = __import__(f"theory.{statement.module}", fromlist=["x"])
        assert f"theory.md, section {statement.section}" in module.__doc__
        assert "this toolkit's statement" in module.__doc__
    assert {killed.mended_by for killed in statements.KILLED} <= set(statements.STATEMENTS)

"""The counterexamples recorded in theory.md, number by number, without any search."""

import numpy as np
import pytest
import torch

from models.losses import affinity_jsd
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic.batches.seeding import trial_generators
from synthetic.batches.union_of_subspaces import equiangular_clusters
from tests.reference_batches import expected_share
from tests.strategies import labels_of
from theory.affinity import affinity_matrix, target_affinity
from theory.block_model import sharpening_margin
from theory.depth_threshold import depth_threshold
from theory.judging import statements
from theory.lemmas.connectivity import circle_disconnection_probability, isolated_point_rate
from theory.lemmas.drawn_rows import Sides, row_sides
from theory.lemmas.soft_graph import soft_descent
from theory.loss_certificate import certified_sharpness
from theory.measurements import affinity_sharpness, pair_extremes
from theory.neighbour_floor import floor_of_hits, neighbour_floor, true_neighbours
from theory.noise_ceiling import bounded_extremes, bounded_separation, bounded_threshold_separation
from theory.noise_free import equiangular_threshold_interval, norm_floor_squared, spread_bound
from theory.persistence import persists, threshold_interval

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


@pytest.mark.parametrize("normalize", ["input", "every"])
def test_softmax_keeps(normalize):
    """Two clusters of two equal points, cross cosine 1/2, kappa = 1: s = 1/(1 + e^(-1/2)) = .622 falls at once."""
    points, labels = equiangular_clusters(1.0, 0.5, (2, 2), 8, trial_generators(0, 0, range(1), 0)), labels_of((2, 2))
    assert persists(1.0, 0.5, (2, 2), 0.75), "the hypotheses of Theorem 2a"
    sharp = AttentionStack(20, 0.75).measure(torch.from_numpy(points), labels)
    np.testing.assert_allclose(sharp.sharpness_min, 1.0, atol=1e-12)
    mass = SoftmaxStack(20, 1.0, 0.5, normalize=normalize).measure(torch.from_numpy(points), labels).mass_max[:, 0, 0]
    assert mass[0] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-14)
    # A share p = (1 - s)/2 comes from the other cluster: cos' = (q/2 + 2p(1-p))/(q + p(1-p)), q = p^2 + (1-p)^2.
    p = (1 - mass[0]) / 2
    q = p**2 + (1 - p) ** 2
    cosine = (q / 2 + 2 * p * (1 - p)) / (q + p * (1 - p))
    assert mass[1] == pytest.approx(1 / (1 + np.exp(cosine - 1)), abs=1e-14)
    assert np.all(np.diff(mass) < 0)
    assert mass[-1] == pytest.approx(0.5, abs=1e-3)


def test_empty_row_half():
    """All rows empty: the formula alone gives ln 2/2, which would certify .294; the sharpness is 0."""
    labels = labels_of((2, 2))
    affinity = affinity_matrix(np.eye(4), 0.5)
    assert not affinity.any()
    assert affinity_sharpness(affinity, labels).max() == 0.0
    assert certified_sharpness(np.log(2) / 2) == pytest.approx(0.294, abs=5e-4)
    loss = float(affinity_jsd(torch.from_numpy(affinity), torch.from_numpy(target_affinity(labels))))
    assert loss == pytest.approx(np.log(2), abs=1e-15)
    assert certified_sharpness(loss) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("within", "between"), [(0.9, 0.5), (0.5, 0.01), (0.2, 0.19), (0.99, 1e-3)])
@pytest.mark.parametrize("sizes", [(2, 2), (6, 6, 6)])
def test_always_sharpens(within, between, sizes):
    points = equiangular_clusters(within, between, sizes, 20, trial_generators(0, 0, range(1), 0))
    trajectory = AttentionStack(6).measure(torch.from_numpy(points), labels_of(sizes))
    n, m = sum(sizes), sizes[0]
    assert trajectory.sharpness_mean[0, 0] == pytest.approx(1 / (1 + (n - m) / (m - 1) * between / within), abs=1e-9)
    assert np.all(np.diff(trajectory.sharpness_mean[:, 0]) < 0)


def test_squared_sharpens():
    sizes = (16,) * 4
    points = equiangular_clusters(0.7, 0.01, sizes, 64, trial_generators(0, 0, range(1), 0))
    trajectory = AttentionStack(300, power=2.0).measure(torch.from_numpy(points), labels_of(sizes))
    leak = 1 - trajectory.sharpness_mean[:, 0]
    assert leak[0] == pytest.approx(1 / (1 + 15 / 48 * 70**2), abs=1e-9)
    assert leak[:3] == pytest.approx([6.53e-4, 6.46e-4, 6.61e-4], abs=5e-7)
    assert leak[-1] == pytest.approx(0.76, abs=0.005)
    assert sharpening_margin(0.7, 0.01, 4, 16, 2.0) > 0
    assert sharpening_margin(0.9, 0.01, 4, 16, 2.0) < 0, "it ends as w tends to 1"


def test_round_off_broke_noise_free_batches():
    """theory.md 0: without tau_num most noise-free batches with r = 6, m = 3 break, since a row often has no true
    neighbour; with it none does."""
    from synthetic.batches.cell import Cell
    from synthetic.batches.geometry import Geometry, oblique
    from synthetic.sweeps.noise_cells import run_cell

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


def test_any_noise():
    """Orthogonal subspaces, no Gaussian noise at all: one push that all points share."""
    points = np.eye(10)[[0, 0, 1, 1]] + 3.0 * np.eye(10)[9]
    layers = AttentionStack(2, 0.85, normalize="input").measure(torch.from_numpy(points[None]), labels_of((2, 2)))
    assert layers.beta[0, 0] == pytest.approx(0.9)
    assert layers.false_edges.min() == 4
    assert depth_threshold(1000, 2, 4, 2, 0.05) < 0.85


def test_isolated_points():
    assert isolated_point_rate(30, 2, 0.5) == pytest.approx(0.197, abs=5e-4)
    assert circle_disconnection_probability(30, 0.5) == pytest.approx(0.887, abs=5e-4)
    # Two-sided descent counts more than points alone: at sigma = 1e-4 the soft graph is that of the radius.
    bounds = soft_descent(2, 64, 1e-4, float(np.cos(0.5)))
    assert 30 * float((1.0 - bounds.degree) ** 29 @ bounds.shares) == pytest.approx(0.197, abs=5e-3)
    assert bounds.bound(30) > 0.887


def test_self_attention_at_three():
    """Four rows, weights .5 (own), 1 and 0 and itself 1: the three batches of three by hand."""
    expected = np.mean([(1 + 0.5) / 2.5, (1 + 0.5) / 1.5, 1 / 2])
    assert expected == pytest.approx(0.7)
    own, weights = np.array([True, False, False]), np.array([0.5, 1.0, 0.0])
    sides = row_sides(weights, own, np.zeros(3, dtype=int), np.array([[1], [2], [3]]), present=1.0)
    in_low, in_high, out_low, out_high, empty = np.array(sides).T
    lower, upper = Sides((in_low, in_high), (out_low, out_high), (empty, empty)).bracket()
    assert lower[1] == pytest.approx(0.7, abs=5e-5)
    assert upper[1] == pytest.approx(0.7037, abs=5e-5)
    assert (upper - lower)[[0, 2]].max() < 1e-9


def test_the_pools_share():
    weights, labels = np.array([0.0, 0.1, 1.0, 1.0]), np.array([0, 0, 1, 1])
    assert expected_share(weights, labels, 0, 2) == pytest.approx(1 / 3)
    assert weights[labels == 0].sum() / weights.sum() == pytest.approx(0.048, abs=5e-4)


def test_the_floor_from_the_mean_hits():
    points, labels = np.eye(4)[[0, 0, 0, 1, 2, 3]], labels_of((3, 3))
    hits = true_neighbours(points, labels, 0.5)
    assert hits.tolist() == [2, 2, 2, 0, 0, 0]
    assert neighbour_floor(points, labels, 0.5, 0.75, neighbours=2) == 5
    assert floor_of_hits(np.full(6, int(hits.mean())), 0.75, neighbours=2) is None


def test_every_statement_says_where_it_is_proved():
    for statement in statements.STATEMENTS.values():
        module = __import__(f"theory.{statement.module}", fromlist=["x"])
        assert f"theory.md, section {statement.section}" in module.__doc__
        assert "this toolkit's statement" in module.__doc__
    assert {killed.mended_by for killed in statements.KILLED} <= set(statements.STATEMENTS)


def test_a_headline_says_what_is_numerical():
    told = {name for name, each in statements.STATEMENTS.items() if each.headline != each.title}
    assert told == {"Theorem 2c", "Theorem 2c (denoising)", "Theorem 2f", "Theorem 2g"}
    assert statements.THEOREM_2G.headline.endswith("(numerical: the sums over the soft graph, within 1 %)")

"""Theorem 1 with another map than the one that its hypotheses ask for: noticed, or refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, oblique
from synthetic.sweeps.noise_cells import run_cell
from tests.strategies import labels_of
from theory.batches.trajectory import SoftmaxTrajectory, Trajectory
from theory.judging.verdicts import Status
from theory.noise_free import check_noise_free
from theory.subspaces import require_query_key_map

pytestmark = pytest.mark.theorems

CELL = Cell(0, 12, (5, 4, 4), "none", 0.0, 0.0, True, oblique(Geometry(num_clusters=3, subspace_dim=2)), 4, 0.5, 10, 0)
SIZES = CELL.sizes
ROTATION = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]


def another_arrangement():
    """The map of another batch's subspaces."""
    return replace(CELL, seed=1).query_key_map()[0]


def status_with(damage):
    def factory(*arguments, query_key_map, **options):
        return AttentionStack(*arguments, query_key_map=damage(query_key_map), **options)

    return run_cell(CELL, stack_factory=factory).verdicts["theorem_1"].status


def without(column):
    def damage(matrix):
        damaged = matrix.clone()
        damaged[:, column] = 0.0
        return damaged

    return damage


DAMAGES = {
    "rotated": lambda matrix: matrix @ torch.from_numpy(ROTATION),
    "another arrangement": lambda matrix: torch.from_numpy(another_arrangement()),
    "one column zero": without(3),
    "one entry of the wrong sign": lambda matrix: matrix * (1.0 - 2.0 * (matrix == matrix.max())),
    "transposed pseudoinverse": lambda matrix: torch.linalg.pinv(matrix).mT.contiguous(),
    "no map": lambda matrix: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_map_violates_theorem_1(damage):
    assert status_with(DAMAGES[damage]) is Status.VIOLATED


@pytest.mark.parametrize("factor", [1e-6, -3.0, 1e6])
def test_the_map_times_a_number_is_the_same_map(factor):
    """Cosines do not see it: no damage, and no violation."""
    assert status_with(lambda matrix: factor * matrix) is Status.HOLDS


def test_the_sound_map_holds():
    assert status_with(lambda matrix: matrix) is Status.HOLDS


# --- maps that are refused --------------------------------------------------------------------------------------------


def with_entry(value):
    matrix = np.eye(3, 4)
    matrix[1, 1] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (with_entry(np.nan), "query_key_map: contains NaN"),
        (with_entry(np.inf), "query_key_map: contains NaN or infinity"),
        (np.zeros((3, 4)), "query_key_map: must have full rank 3"),
        (with_entry(0.0), "query_key_map: must have full rank 3"),
        (np.ones((2, 4)), "query_key_map: must have full rank 2"),
        (1e300 * np.ones((2, 4)), "query_key_map: must have full rank 2"),
        (np.ones(4), "query_key_map: expected a floating matrix"),
        (np.eye(3, 4, dtype=int), "query_key_map: expected a floating matrix"),
    ],
)
def test_maps_that_cannot_tell_points_apart_are_refused(matrix, message, as_users_call):
    for refuse in (require_query_key_map, lambda m: AttentionStack(1, query_key_map=torch.from_numpy(m))):
        with pytest.raises(ValueError, match=message):
            refuse(matrix)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_maps_of_any_scale_are_accepted(scale):
    require_query_key_map(scale * np.eye(3, 4))
    require_query_key_map(torch.eye(3, 4, dtype=torch.bfloat16, requires_grad=True))


@pytest.mark.parametrize("normalize", ["never", "input"])
def test_points_that_the_map_takes_to_zero_are_refused(normalize):
    points = torch.eye(4, dtype=torch.float64)[None].repeat(2, 1, 1)
    points[1, 2] = torch.tensor([0.0, 0.0, 1e-17, 1.0])
    stack = AttentionStack(1, query_key_map=torch.eye(3, 4, dtype=torch.float64), normalize=normalize)
    with pytest.raises(ValueError, match=r"query_key_map: takes a point to zero .* \(0, 3\)"):
        stack.measure(points, labels_of((2, 2)))
    points[0, 3] = 1.0
    with pytest.raises(ValueError, match=r"query_key_map: takes a point to zero .* \(1, 2\)"):
        stack.measure(points, labels_of((2, 2)))
    with pytest.raises(ValueError, match="points: must be 4 wide"):
        stack(torch.ones(3, 5, dtype=torch.float64))


# --- points of extreme norms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200])
def test_normalised_stacks_see_directions_only(scale):
    points = np.random.default_rng(0).standard_normal((2, 6, 4))
    labels = labels_of((3, 3))
    for build in (lambda: AttentionStack(2, 0.1, normalize="input"), lambda: SoftmaxStack(2, 3.0)):
        expected, found = (build().measure(p, labels) for p in (points, scale * points))
        np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-12)
        np.testing.assert_allclose(found.beta, expected.beta, atol=1e-12)


@pytest.mark.parametrize(("scale", "dtype"), [(1e-200, torch.float64), (1e200, torch.float64), (1e-30, torch.float32)])
def test_tokens_whose_squares_are_lost_are_refused(scale, dtype):
    points = np.random.default_rng(0).standard_normal((1, 4, 3))
    points[0, 2] *= scale
    with pytest.raises(ValueError, match=r"points: tokens .* need a largest entry in \[.*\] .* at index \(0, 2\)"):
        AttentionStack(1, dtype=dtype).measure(points, labels_of((2, 2)))


# --- trajectories -----------------------------------------------------------------------------------------------------


def sound_trajectory():
    return AttentionStack(2, 0.1).measure(np.random.default_rng(0).standard_normal((3, 6, 4)), labels_of((3, 3)))


@pytest.mark.parametrize("name", ["alpha", "beta", "sharpness_min", "sharpness_mean", "sharpness_error"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_trajectory_of_nan_is_refused_when_it_is_made(name, value):
    sound = sound_trajectory()
    damaged = getattr(sound, name).copy()
    damaged[1, 2] = value
    with pytest.raises(ValueError, match=rf"^{name}: contains NaN or infinity, first at index \(1, 2\)"):
        replace(sound, **{name: damaged})


def test_parts_with_nan_do_not_become_a_trajectory():
    softmax = SoftmaxStack(2, 3.0).measure(np.random.default_rng(0).standard_normal((3, 6, 4)), labels_of((3, 3)))
    for sound in (sound_trajectory(), softmax):
        sound.alpha[0, 0] = np.nan
        with pytest.raises(ValueError, match=r"^alpha: contains NaN"):
            type(sound).join_trials([sound])
    assert {type(sound) for sound in (sound_trajectory(), softmax)} == {Trajectory, SoftmaxTrajectory}


def test_no_verdict_about_nan(monkeypatch):
    """Whatever a stack does, nothing comes out of it that Theorem 1 could hold of."""
    stack = AttentionStack(1, query_key_map=torch.eye(4, dtype=torch.float64))
    for block in stack.blocks:
        block.query_key_map.fill_(np.nan)
    with pytest.raises(ValueError, match=r"query_key_map|alpha"):
        check_noise_free(stack.measure(np.ones((1, 4, 4)), labels_of((2, 2))), (2, 2), 0.0, 0.5)

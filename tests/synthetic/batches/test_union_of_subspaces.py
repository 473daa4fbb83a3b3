import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic.batches import union_of_subspaces as us
from synthetic.batches.seeding import generator, trial_generators
from tests.strategies import labels_of
from theory.measurements import pair_extremes
from theory.subspaces import principal_angles, smallest_principal_angle


def rngs(count=4, cell=0):
    return trial_generators(3, cell, range(count), 0)


@pytest.mark.parametrize("arrangement", ["orthogonal", "random", "angle"])
def test_bases_are_orthonormal_and_arranged(arrangement):
    angle = 0.4 if arrangement == "angle" else None
    bases = us.subspace_bases(3, 12, 3, generator(0), arrangement, angle)
    np.testing.assert_allclose(np.swapaxes(bases, 1, 2) @ bases, np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    if arrangement == "orthogonal":
        assert smallest_principal_angle(bases) == pytest.approx(np.pi / 2)
    if arrangement == "angle":
        for i in range(3):
            for j in range(i):
                np.testing.assert_allclose(principal_angles(bases[i], bases[j]), 0.4, atol=1e-9)


def test_uniform_clusters_lie_in_their_subspaces_evenly():
    bases = us.subspace_bases(3, 10, 3, generator(1), "random")
    points = us.uniform_clusters(bases, (40, 30, 20), rngs(50))
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1.0)
    for k, rows in enumerate((slice(0, 40), slice(40, 70), slice(70, 90))):
        inside = points[:, rows] @ bases[k] @ bases[k].T
        np.testing.assert_allclose(inside, points[:, rows], atol=1e-12)
    # Uniform on the sphere of R^3: every coordinate is uniform on [-1, 1]; 2,000 points, five standard errors.
    coordinates = (points[:, :40] @ bases[0]).reshape(-1, 3)
    np.testing.assert_allclose(coordinates.mean(axis=0), 0.0, atol=5 * np.sqrt(1 / 3 / 2000))
    np.testing.assert_allclose((coordinates**2).mean(axis=0), 1 / 3, atol=5 * np.sqrt(4 / 45 / 2000))


@given(st.floats(-0.99, 1.0), st.integers(2, 4), st.sampled_from([(2, 2), (5, 3, 4), (9, 2)]))
def test_cones_attain_their_cosine_in_every_cluster(within, dim, sizes):
    bases = us.subspace_bases(len(sizes), dim * len(sizes) + 1, dim, generator(2), "random")
    points = us.cone_clusters(bases, sizes, within, rngs())
    stops = np.cumsum(sizes)
    for stop, size in zip(stops, sizes):
        rows = points[:, stop - size : stop]
        smallest = (rows @ np.swapaxes(rows, 1, 2)).min(axis=(1, 2))
        np.testing.assert_allclose(smallest, within, atol=1e-9)


def test_cones_around_given_centres():
    bases = us.subspace_bases(2, 6, 3, generator(3))
    centers = np.stack([bases[0][:, 0], bases[1][:, 2]])
    points = us.cone_clusters(bases, (6, 7), 0.8, rngs(), centers)
    labels = labels_of((6, 7))
    assert np.all((points * centers[labels]).sum(-1) >= np.cos(np.arccos(0.8) / 2) - 1e-12)
    with pytest.raises(ValueError, match="centers"):
        us.cone_clusters(bases, (6, 7), 0.8, rngs(), centers[::-1])


@pytest.mark.parametrize(
    ("within", "between", "sizes"),
    [(0.6, 0.35, (6, 6, 6)), ((0.9, 0.2), -0.3, (3, 5)), (1.0, 0.0, (4, 4)), (0.5, 0.5, (3, 3))],
)
def test_equiangular_clusters_are_exact(within, between, sizes):
    points = us.equiangular_clusters(within, between, sizes, 20, rngs())
    labels = labels_of(sizes)
    cosines = points @ np.swapaxes(points, 1, 2)
    expected = np.where(labels[:, None] == labels[None], np.broadcast_to(within, len(sizes))[labels][:, None], between)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(cosines, np.broadcast_to(expected, cosines.shape), atol=1e-13)


def test_circle_has_its_angles():
    points = us.circle_clusters(0.4, 1.1, (3, 4), 6, generator(4))
    alpha, beta = pair_extremes(points, labels_of((3, 4)))
    assert (float(alpha), float(beta)) == pytest.approx((np.cos(0.4), np.cos(1.1)))


def test_a_trial_does_not_depend_on_its_batch():
    bases = us.subspace_bases(2, 8, 3, generator(5))
    for draw in (lambda r: us.uniform_clusters(bases, (4, 5), r), lambda r: us.cone_clusters(bases, (4, 5), 0.7, r),
                 lambda r: us.equiangular_clusters(0.5, 0.1, (4, 5), 12, r)):  # fmt: skip
        together = draw(trial_generators(1, 2, range(5), 0))
        np.testing.assert_array_equal(draw(trial_generators(1, 2, [3], 0))[0], together[3])
        assert np.abs(draw(trial_generators(1, 3, [3], 0))[0] - together[3]).max() > 0.01
        assert np.abs(draw(trial_generators(2, 2, [3], 0))[0] - together[3]).max() > 0.01


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda b: us.subspace_bases(1, 8, 2, generator(0)), "num_subspaces"),
        (lambda b: us.subspace_bases(5, 8, 2, generator(0)), "ambient_dim: 5 independent subspaces of dimension 2"),
        (lambda b: us.subspace_bases(4, 8, 2, generator(0), "angle", 0.3), "ambient_dim"),
        (lambda b: us.subspace_bases(3, 8, 2, generator(0), "angle"), "principal_angle"),
        (lambda b: us.subspace_bases(3, 8, 2, generator(0), "twisted"), "arrangement"),
        (lambda b: us.uniform_clusters(b, (3, 1), rngs()), "cluster_sizes: every cluster"),
        (lambda b: us.uniform_clusters(b, (3, 3, 3), rngs()), "cluster_sizes: expected 2"),
        (lambda b: us.cone_clusters(b[:, :, :1], (3, 3), 0.9, rngs()), "subspace_dim"),
        (lambda b: us.cone_clusters(b, (3, 3), -1.0, rngs()), "min_within_cos"),
        (lambda b: us.equiangular_clusters(0.1, 0.9, (3, 3), 9, rngs()), "between: no unit vectors"),
        (lambda b: us.equiangular_clusters(0.5, 0.1, (3, 3), 4, rngs()), "ambient_dim: these clusters span 6"),
        (lambda b: us.equiangular_clusters(0.5, 0.1, (3,), 9, rngs()), "cluster_sizes"),
        (lambda b: us.circle_clusters(1.0, 3.0, (2, 2), 4, generator(0)), "theta_between"),
        (lambda b: generator(-1), "seed"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(us.subspace_bases(2, 8, 2, generator(0)))

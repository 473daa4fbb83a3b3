import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from theory.affinity import cosine_gram
from theory.subspaces import principal_angles, separating_map, smallest_principal_angle, subspace_affinity


def bases(count, ambient, dim, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((count, ambient, dim)))[0]


@pytest.mark.parametrize(("r", "s"), [(2, 2), (3, 2), (2, 4), (1, 1)])
def test_angles_agree_with_scipy(r, s):
    a, b = bases(1, 9, r)[0], bases(1, 9, s, seed=1)[0]
    expected = np.sort(subspace_angles(a, b))
    np.testing.assert_allclose(principal_angles(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(principal_angles(torch.from_numpy(a), torch.from_numpy(b)).numpy(), expected, atol=1e-12)
    assert subspace_affinity(a, b) == pytest.approx(np.sqrt(np.mean(np.cos(expected) ** 2)))


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.3, np.pi / 2])
def test_small_angles_keep_their_digits(angle):
    a = np.eye(4)[:, :2]
    b = np.stack([np.cos(angle) * np.eye(4)[0] + np.sin(angle) * np.eye(4)[2], np.eye(4)[3]], axis=1)
    assert principal_angles(a, b)[0] == pytest.approx(angle, rel=1e-9)
    assert smallest_principal_angle(np.stack([a, b])) == pytest.approx(angle, rel=1e-9)


def test_separating_map_separates_and_keeps_cosines():
    frames = bases(4, 14, 3)
    matrix, condition = separating_map(frames)
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(4), 5)
    points = np.einsum("ndr,nr->nd", frames[labels], rng.standard_normal((20, 3)))
    cosines, mapped = cosine_gram(points), cosine_gram(points @ matrix.T)
    same = labels[:, None] == labels[None, :]
    np.testing.assert_allclose(mapped[same], cosines[same], atol=1e-12)
    assert np.abs(mapped[~same]).max() < 1e-13 * condition
    assert condition == pytest.approx(np.linalg.cond(np.concatenate(frames, axis=1)))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: separating_map(bases(4, 10, 3)), "need ambient_dim >= 12"),
        (lambda: separating_map(np.stack([bases(1, 6, 2)[0]] * 2)), "not linearly independent"),
        (lambda: separating_map(2 * bases(2, 6, 2)), "bases: columns must be orthonormal"),
        (lambda: principal_angles(np.full((3, 1), np.nan), np.eye(3)[:, :1]), "basis_a: columns"),
        (lambda: smallest_principal_angle(bases(1, 6, 2)), "at least 2 subspaces"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call()

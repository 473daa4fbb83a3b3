"""Subspaces: principal angles, the affinity between subspaces, and the map that separates them (theory.md 1).

Half precision is computed and returned in float32. Bases whose columns it has rounded too far are refused as not
orthonormal; most in bfloat16 are.
"""

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from theory.batches.clusters import as_numpy
from theory.numerics.inputs import Array
from theory.numerics.precision import widen

# Singular values of [U_1 .. U_K] below this, relative to the largest, count as linear dependence.
RANK_TOLERANCE = 1e-10


def principal_angles(basis_a: Float[Array, "*trials D r"], basis_b: Float[Array, "*trials D s"]) -> Array:
    """Principal angles between two subspaces in radians, ascending, shape (*trials, min(r, s)).

    Accurate for small angles too: the sine where the cosine is near 1 (Bjorck and Golub 1973).

    Args:
        basis_a: orthonormal columns.
        basis_b: orthonormal columns.

    Raises:
        ValueError: columns that are not orthonormal.
    """
    basis_a, basis_b = widen(basis_a, "basis_a"), widen(basis_b, "basis_b")
    for name, basis in (("basis_a", basis_a), ("basis_b", basis_b)):
        _require_orthonormal(basis, name)
    xp = array_namespace(basis_a, basis_b)
    if basis_a.shape[-1] < basis_b.shape[-1]:
        basis_a, basis_b = basis_b, basis_a
    overlap = xp.matrix_transpose(basis_a) @ basis_b
    cosines = xp.clip(xp.linalg.svdvals(overlap), 0.0, 1.0)
    sines = xp.flip(xp.clip(xp.linalg.svdvals(basis_b - basis_a @ overlap), 0.0, 1.0), axis=-1)
    return xp.where(cosines**2 < 0.5, xp.acos(cosines), xp.asin(sines))


def smallest_principal_angle(bases: Float[Array, "*trials K D r"]) -> Array:
    """Smallest principal angle over all pairs of K subspaces, radians, shape (*trials,).

    Raises:
        ValueError: fewer than two subspaces.
    """
    xp = array_namespace(bases)
    count = bases.shape[-3]
    if count < 2:
        raise ValueError(f"bases: needs at least 2 subspaces, got {count}")
    pairs = [(k, j) for k in range(count) for j in range(k + 1, count)]
    angles = [principal_angles(bases[..., k, :, :], bases[..., j, :, :])[..., 0] for k, j in pairs]
    return xp.min(xp.stack(angles), axis=0)


def subspace_affinity(basis_a: Float[Array, "*trials D r"], basis_b: Float[Array, "*trials D s"]) -> Array:
    """Root mean square cosine of the principal angles, in [0, 1] (Soltanolkotabi and Candes 2012)."""
    angles = principal_angles(basis_a, basis_b)
    xp = array_namespace(angles)
    return xp.sqrt(xp.mean(xp.cos(angles) ** 2, axis=-1))


def separating_map(bases: Float[Array, "K D r"]) -> tuple[Float[Array, "Kr D"], float]:
    """W = pinv([U_1 .. U_K]) and its condition number: W maps S_k isometrically onto its own coordinates.

    Queries and keys W x then have cosine 0 across subspaces and keep the cosine inside one (Theorem 1).

    Args:
        bases: orthonormal columns, one basis a subspace; the subspaces may be oblique to each other.

    Raises:
        ValueError: columns not orthonormal, K r > D, or subspaces that are not linearly independent.
    """
    bases = widen(bases, "bases")
    _require_orthonormal(bases, "bases")
    xp = array_namespace(bases)
    count, ambient, dim = bases.shape
    if count * dim > ambient:
        raise ValueError(
            f"bases: {count} independent subspaces of dimension {dim} need ambient_dim >= {count * dim}, got {ambient}"
        )
    joint = xp.reshape(xp.permute_dims(bases, (1, 0, 2)), (ambient, count * dim))
    values = as_numpy(xp.linalg.svdvals(joint))
    if values[-1] < RANK_TOLERANCE * values[0]:
        raise ValueError(
            f"bases: the subspaces are not linearly independent "
            f"(smallest singular value {values[-1]:.1e} of {values[0]:.1e})"
        )
    return xp.linalg.pinv(joint), float(values[0] / values[-1])


def require_query_key_map(matrix: Array) -> None:
    """Refuse a map W (d, D) that cannot tell points apart as queries and keys W x.

    Raises:
        ValueError: another shape, NaN or infinity, or W of less than full rank min(d, D), a zero W included.
    """
    values = as_numpy(matrix)
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
        raise ValueError(f"query_key_map: expected a floating matrix (d, D), got {values.dtype} {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("query_key_map: contains NaN or infinity")
    # In units of the largest entry, so that squares neither overflow nor vanish.
    largest = float(np.abs(values).max())
    singular = np.linalg.svd(values.astype(np.float64) / largest, compute_uv=False) if largest > 0 else np.zeros(1)
    if not singular[-1] > RANK_TOLERANCE * singular[0]:
        raise ValueError(
            f"query_key_map: must have full rank {min(values.shape)}, its smallest singular value is "
            f"{singular[-1]:.1e} of {singular[0]:.1e} (in units of its largest entry)"
        )


def _require_orthonormal(basis: Array, name: str) -> None:
    gram = as_numpy(array_namespace(basis).matrix_transpose(basis) @ basis)
    error = np.abs(gram - np.eye(gram.shape[-1])).max() if np.isfinite(gram).all() else np.inf
    tolerance = 1e-8 if gram.dtype == np.float64 else 1e-3
    if not error <= tolerance:
        raise ValueError(f"{name}: columns must be orthonormal, U^T U differs from the identity by {error:.1e}")

"""What the losses share: the precision that they compute in, checks, labels, and when to work in row tiles."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.stack import CPU_DENSE_BYTES, GPU_DENSE_BYTES
from models.tiled import choose_tile_rows
from theory.clusters import index_labels
from theory.inputs import Array, require_count


def widen(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision as float32; float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def fits_dense(n: int, values: Tensor) -> bool:
    """Whether an n x n matrix in the dtype of ``values`` is small enough to be formed on their device."""
    limit = CPU_DENSE_BYTES if values.device.type == "cpu" else GPU_DENSE_BYTES
    return n * n * values.element_size() <= limit


def rows_of_tiles(keys: Float[Tensor, "n D"], tile_rows: int | None) -> int | None:
    """Rows of a tile, or None where the whole matrix is formed; the limits are those of models/stack.py.

    Raises:
        ValueError: tile_rows below 1.
    """
    if tile_rows is not None:
        return min(require_count(tile_rows, "tile_rows", 1), len(keys))
    return None if fits_dense(len(keys), keys) else choose_tile_rows(keys)


def require_rows(features: Tensor, name: str, minimum: int = 2) -> None:
    """Refuse anything but finite floating features (n, D) with at least ``minimum`` rows and one column.

    Raises:
        ValueError: names the argument and what is wrong.
    """
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (n, D) with D >= 1, got {tuple(features.shape)}")
    if not features.dtype.is_floating_point:
        raise ValueError(f"{name}: expected a floating dtype, got {features.dtype}")
    if len(features) < minimum:
        raise ValueError(f"{name}: must have at least {minimum} rows, got {len(features)}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"{name}: contains NaN or infinity")


def require_nonzero(features: Tensor, name: str) -> None:
    """Refuse zero vectors, which have no direction.

    Raises:
        ValueError: names the argument.
    """
    if not bool((features != 0).any(-1).all()):
        raise ValueError(f"{name}: contains a zero vector; it cannot be normalised")


def label_index(labels: Array, num_points: int | None, device: torch.device | str) -> Int[Tensor, " n"]:
    """Labels of any integer values as 0..K-1 on ``device``: their places among the sorted distinct ones.

    Args:
        labels: (num_points,), as ``theory.clusters.index_labels`` takes them.
        num_points: None where any number of them will do.

    Raises:
        ValueError: labels of another shape or type.
    """
    return torch.from_numpy(index_labels(labels, num_points)[1]).to(device)


def others_alike(index: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """How many other rows have the row's own label.

    Raises:
        ValueError: none has any, so that there is nothing to learn from.
    """
    counts = torch.bincount(index)[index] - 1
    if not bool((counts > 0).any()):
        raise ValueError("labels: some label must occur at least twice, every one occurs once")
    return counts

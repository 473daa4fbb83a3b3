"""What the losses share: the precision that they compute in, checks, labels, and when to work in row tiles.

Every loss of half-precision input (bfloat16, float16) is computed in float32, also under autocast, and returned in
float32; gradients come back in the input's dtype, rounded once.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from models.devices.transfer import upload
from models.devices.value_checks import values_are_checked
from models.losses.cluster_blocks import ClusterBlock, cluster_blocks
from models.stack import fits_dense
from models.tiled import choose_tile_rows
from theory.batches.clusters import ClusterLayout, group_rows, index_labels
from theory.numerics.inputs import Array, require_array, require_count
from theory.numerics.precision import widen

__all__ = [
    "BatchLabels", "as_matrix", "label_index", "labels_of_batch", "others_alike", "read_labels", "require_alike",
    "require_logits", "require_nonzero", "require_rows", "rows_of_tiles", "target_of_index", "widen",
]  # fmt: skip

FLOAT64_MAX = torch.finfo(torch.float64).max


def rows_of_tiles(keys: Float[Tensor, "n D"], tile_rows: int | None) -> int | None:
    """Rows of a tile, or None where the whole matrix is formed; the limits are those of models/stack.py.

    Raises:
        ValueError: tile_rows below 1.
    """
    if tile_rows is not None:
        return min(require_count(tile_rows, "tile_rows", 1), len(keys))
    return None if fits_dense(len(keys), keys) else choose_tile_rows(keys)


def require_rows(features: Tensor, name: str, minimum: int = 2, nonzero: bool = False) -> None:
    """Refuse anything but finite floating features (n, D) with at least ``minimum`` rows and one column; ``nonzero``
    refuses zero vectors too. Values are looked at where they are checked (models/devices/value_checks.py).

    Raises:
        ValueError: names the argument and what is wrong.
    """
    require_array(features, name)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (n, D) with D >= 1, got {tuple(features.shape)}")
    if not features.dtype.is_floating_point:
        raise ValueError(f"{name}: expected a floating dtype, got {features.dtype}")
    if len(features) < minimum:
        raise ValueError(f"{name}: must have at least {minimum} rows, got {len(features)}")
    if values_are_checked() and not bool(torch.isfinite(features).all()):
        raise ValueError(f"{name}: contains NaN or infinity")
    if nonzero:
        require_nonzero(features, name)


def require_alike(first: Tensor, second: Tensor, name: str, other: str) -> None:
    """Refuse a tensor of another shape than the first.

    Raises:
        ValueError: names both.
    """
    require_array(first, name)
    require_array(second, other)
    if first.shape != second.shape:
        raise ValueError(f"{other}: must have the shape of {name}, {tuple(first.shape)}, got {tuple(second.shape)}")


def require_nonzero(features: Tensor, name: str) -> None:
    """Refuse zero vectors, which have no direction, where values are checked.

    Raises:
        ValueError: names the argument.
    """
    if values_are_checked() and not bool((features != 0).any(-1).all()):
        raise ValueError(f"{name}: contains a zero vector; it cannot be normalized")


def require_logits(temperature: float, largest: float, terms: int, dtype: torch.dtype) -> None:
    """Refuse a temperature at which scores divided by it, sums of ``terms`` of them, or their gradients overflow.

    Args:
        temperature: positive.
        largest: bound on the scores' absolute values.
        terms: how many of them are added at most, over a row or over the rows.
        dtype: in which they are computed.

    Raises:
        ValueError: names the temperature.
    """
    # Differences of two scores are twice as large, their gradients go with 1/temperature, and a factor of 2 is left for
    # rounding. NaN fails the comparison.
    if not 4.0 * terms * max(largest, 1.0) <= min(torch.finfo(dtype).max * temperature, FLOAT64_MAX):
        raise ValueError(
            f"temperature: must be larger, scores of up to {largest:g} overflow in {dtype} when {terms} of them are "
            f"divided by {temperature:g} and added"
        )


def label_index(labels: Array, num_points: int | None, device: torch.device | str) -> Int[Tensor, " n"]:
    """Labels of any integer values as 0..K-1 on ``device``: their places among the sorted distinct ones.

    Args:
        labels: (num_points,), as ``theory.batches.clusters.index_labels`` takes them.
        num_points: None where any number of them will do.

    Raises:
        ValueError: labels of another shape or type.
    """
    return upload(torch.from_numpy(index_labels(labels, num_points)[1]), device)


@dataclass(frozen=True, eq=False)
class BatchLabels:
    """The labels of a batch, read once for all losses of it.

    Attributes:
        index: equal where the labels are, and below the number of rows.
        others: how many other rows have the row's own label. Some number is above 0.
        host: the same index on the host, if it is known there; whoever needs it otherwise downloads it, and waits.
        views: the rows are so many views of samples, all of one view before the next; None where that is not known.
    """

    index: Int64[Tensor, " n"]
    others: Int64[Tensor, " n"]
    host: np.ndarray | None = None
    views: int | None = None
    _targets: dict[torch.dtype, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.index)

    @staticmethod
    def of_views(num_samples: int, views: int, device: torch.device | str) -> "BatchLabels":
        """Which sample each row shows, all of one view before the next (``view_pair_labels``)."""
        samples = torch.arange(num_samples, device=device)
        others = torch.full((views * num_samples,), views - 1, device=device)
        return BatchLabels(samples.repeat(views), others, views=views)

    @staticmethod
    def of_classes(labels: Int[Tensor, " N"], views: int) -> "BatchLabels":
        """The classes of N samples, for the rows of two or more views; on the labels' device."""
        index = labels.long() if views == 1 else labels.long().repeat(views)
        ordered = index.sort().values
        first, last = (torch.searchsorted(ordered, index, right=right) for right in (False, True))
        return BatchLabels(first, last - first - 1)

    @cached_property
    def on_host(self) -> np.ndarray:
        """Labels 0..K-1, (n,)."""
        if self.views is not None:
            return np.tile(np.arange(len(self) // self.views), self.views)
        return index_labels(self.index)[1] if self.host is None else self.host

    @cached_property
    def layout(self) -> ClusterLayout:
        """Rows grouped by label."""
        return group_rows(self.on_host)

    @cached_property
    def blocks(self) -> tuple[ClusterBlock, ...]:
        """All pairs of rows that share a label, on the labels' device."""
        return cluster_blocks(self.layout, self.index.device)

    def anchor_weights(self, dtype: torch.dtype) -> Float[Tensor, " n"]:
        """What the mean over anchors, the rows with positives, multiplies each row with; 0 where there are none."""
        if self.views is not None:
            share = 1.0 / len(self) if self.views > 1 else 0.0
            return torch.full(self.index.shape, share, dtype=dtype, device=self.index.device)
        anchors = self.others > 0
        return anchors.to(dtype) / anchors.sum().clamp_min(1)

    def target(self, dtype: torch.dtype) -> Float[Tensor, "n n"]:
        """The ideal affinity (target_of_index), formed once."""
        if dtype not in self._targets:
            self._targets[dtype] = target_of_index(self.index, dtype)
        return self._targets[dtype]


def labels_of_batch(labels: Array | BatchLabels, num_points: int, device: torch.device | str) -> BatchLabels:
    """Labels of any integer values read once, on ``device``; those that have been read already pass.

    Raises:
        ValueError: labels of another shape or type, or none that occurs twice, so that there is nothing to learn from.
    """
    if isinstance(labels, BatchLabels):
        if len(labels) != num_points:
            raise ValueError(f"labels: expected integers of shape ({num_points},), got {len(labels)} of them")
        return labels
    read = read_labels(labels, num_points, device)
    if np.bincount(read.on_host).max() < 2:
        raise ValueError("labels: some label must occur at least twice, every one occurs once")
    return read


def read_labels(labels: Array, num_points: int, device: torch.device | str) -> BatchLabels:
    """Labels of any integer values, on ``device``.

    Raises:
        ValueError: labels of another shape or type.
    """
    index = index_labels(labels, num_points)[1]
    both = upload(torch.from_numpy(np.stack([index, np.bincount(index)[index] - 1])), device)
    return BatchLabels(both[0], both[1], index)


def others_alike(index: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """How many other rows have the row's own label.

    Raises:
        ValueError: none has any, so that there is nothing to learn from.
    """
    counts = torch.bincount(index)[index] - 1
    if not bool((counts > 0).any()):
        raise ValueError("labels: some label must occur at least twice, every one occurs once")
    return counts


def target_of_index(index: Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n n"]:
    """T_ij = 1/(n_k - 1) for i ~ j in cluster k, 0 elsewhere, from labels 0..K-1; a cluster of one has a zero row."""
    alike = index[:, None] == index
    alike.fill_diagonal_(False)
    wide = torch.promote_types(dtype, torch.float32)
    return (alike.to(wide) / alike.sum(-1, keepdim=True).clamp_min(1)).to(dtype)


def as_matrix(values: Array, name: str) -> Tensor:
    """Numbers of any real dtype, NumPy or torch, as a floating tensor: integers and booleans become float32, NumPy's
    extended precision float64. Nothing is lost otherwise, and half precision stays what it is.

    Raises:
        ValueError: complex numbers, or what is no number; names the argument.
    """
    if not isinstance(values, Tensor):
        array = np.ascontiguousarray(values)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected real numbers, got {array.dtype}")
        # torch knows neither extended precision nor the other byte order.
        wide = np.dtype(np.float32 if array.dtype.kind != "f" else f"=f{min(array.dtype.itemsize, 8)}")
        values = torch.as_tensor(array.astype(wide, copy=False))
    if values.dtype.is_complex:
        raise ValueError(f"{name}: expected real numbers, got {values.dtype}")
    return values if values.dtype.is_floating_point else values.to(torch.float32)

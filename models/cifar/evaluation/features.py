"""A whole set of images through a frozen encoder and head, and features with their classes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from models.devices.modes import evaluating
from models.devices.transfer import upload
from models.heads import Head
from models.losses.common import require_rows
from theory.batches.clusters import index_labels
from theory.numerics.inputs import require_count


@dataclass(frozen=True)
class LabelledFeatures:
    """Rows of one part of a data set.

    Raises:
        ValueError: no rows, features that are not finite and floating, labels that are not a tensor of integers, one a
            row.
    """

    features: Float[Tensor, "N d"]
    """Frozen features, one row an image."""
    labels: Int[Tensor, " N"]
    """Classes, integers of any type and values; on any device."""

    def __post_init__(self) -> None:
        require_rows(self.features, "features", minimum=1)
        index_labels(self.labels, len(self.features))
        if not isinstance(self.labels, Tensor):
            raise ValueError(f"labels: expected a tensor, got {type(self.labels).__name__}")


@torch.no_grad()
def encode_features(
    encoder: nn.Module,
    images: UInt8[Tensor, "N channels height width"],
    view: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device | str,
) -> Float[Tensor, "N d_h"]:
    """Features h of every image, in evaluation mode and without gradients; order is kept.

    Arguments are those of ``encode_set``, which takes them on to z.

    Raises:
        ValueError: images that are not uint8 of that shape, none, batch_size below 1, a view or an encoder that does
            not return one row an image.
    """
    _require_images(images)
    require_count(batch_size, "batch_size", 1)
    with evaluating(encoder):
        return torch.cat([_encode(encoder, view, upload(batch, device)) for batch in images.split(batch_size)])


@torch.no_grad()
def encode_set(
    encoder: nn.Module,
    head: Head,
    images: UInt8[Tensor, "N channels height width"],
    view: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """Features h and embeddings z of every image, in evaluation mode and without gradients; order is kept.

    A head that looks at one row at a time gives every image the same z in any order and batch, to rounding. A
    transductive one lets the rows of a batch look at each other: its batches are consecutive images, ``batch_size`` of
    them always; where it does not divide N the last batch reaches back to images that have had their turn, and keeps
    only the others' z.

    Args:
        encoder: images (b, channels, height, width) to features (b, d_h), on ``device``.
        head: on ``device``; its output is taken for one view.
        images: on any device; moved a batch at a time.
        view: from a uint8 batch on ``device`` to what the encoder reads. One that draws at random is called batch by
            batch, in order, so its draws depend on batch_size.
        batch_size: images at a time, at least 1; at most N for a transductive head.

    Returns:
        h (N, d_h) and z (N, d_z), on ``device``.

    Raises:
        ValueError: images that are not uint8 of that shape, none, a batch_size out of range, a view or an encoder that
            does not return one row an image.
    """
    _require_images(images)
    count = len(images)
    if require_count(batch_size, "batch_size", 1) > count and head.transductive:
        raise ValueError(f"batch_size: must lie in [1, {count}], the number of images, got {batch_size}")
    features = encode_features(encoder, images, view, batch_size, device)
    embeddings = []
    with evaluating(head):
        for start in range(0, count, batch_size):
            first = max(min(start, count - batch_size), 0) if head.transductive else start
            z = head(features[first : start + batch_size]).embeddings
            embeddings.append(z[start - first :])
    return {"h": features, "z": torch.cat(embeddings)}


def _require_images(images: Tensor) -> None:
    if images.dtype is not torch.uint8 or images.ndim != 4 or len(images) == 0:
        expected = "expected uint8 of shape (N, channels, height, width) with N >= 1"
        raise ValueError(f"images: {expected}, got {images.dtype} {tuple(images.shape)}")


def _encode(encoder: nn.Module, view: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    seen = view(batch)
    if len(seen) != len(batch):
        raise ValueError(f"view: must return one row an image, got {len(seen)} for {len(batch)}")
    features = encoder(seen)
    if features.ndim != 2 or len(features) != len(batch):
        raise ValueError(f"encoder: must return features ({len(batch)}, d_h), got {tuple(features.shape)}")
    return features

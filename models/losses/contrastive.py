"""Contrastive losses of features: NT-Xent (SimCLR, arXiv 2002.05709) and SupCon (Khosla et al., arXiv 2004.11362).

They are one formula with different labels. Of anchor i with positives P(i), the other rows with its label,

    loss_i = -1/|P(i)| sum_{p in P(i)} ln(exp(z_i.z_p/t) / sum_{a != i} exp(z_i.z_a/t)),

SupCon's L_out, averaged over the anchors that have a positive. In NT-Xent the label is the sample that a view shows.

Half precision is computed in float32, also under autocast. No pair is asked whether it is positive, and half of the
matrix is enough, as long as exponentials of cosines are ordinary numbers: temperatures from .046 on in float32, .0057
in float64. Otherwise, and for inner products, large batches are computed in row tiles.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.devices.functions import signed
from models.devices.value_checks import values_are_checked
from models.head_output import across, differentiable_norm, directions, unit_or_zero
from models.losses.common import (
    BatchLabels,
    labels_of_batch,
    require_alike,
    require_logits,
    require_nonzero,
    require_rows,
    rows_of_tiles,
    widen,
)
from models.losses.symmetric import Exponential, add_pull, row_sums
from models.tiled import row_tiles
from theory.numerics.inputs import Array, require_count, require_flag, require_number


def view_pair_labels(num_samples: int, views: int = 2, device: torch.device | str = "cpu") -> Int[Tensor, " n"]:
    """Labels 0..N-1, 0..N-1, ...: which sample each row shows, all of one view before the next; n = views N.

    Raises:
        ValueError: either count is below 1.
    """
    samples = torch.arange(require_count(num_samples, "num_samples", 1), device=device)
    return samples.repeat(require_count(views, "views", 1))


def nt_xent(
    view_a: Float[Tensor, "N D"],
    view_b: Float[Tensor, "N D"],
    temperature: float = 0.5,
    *,
    normalize: bool = True,
    tile_rows: int | None = None,
) -> Float[Tensor, ""]:
    """SimCLR's loss: the mean over all 2N rows of -ln of the partner's softmax weight among the 2N - 1 other rows.

    It is ln(2N - 1) where all rows are equal. Symmetric in the views. A batch of one sample has loss 0, whatever it is.

    Args:
        view_a, view_b: row i of both shows sample i.
        temperature: t > 0, in units of the inner product.
        normalize: compare cosines; False compares inner products.
        tile_rows: None chooses by the size of the batch; a number works in tiles of so many rows.

    Raises:
        ValueError: views of different or other shapes, without rows, with NaN or infinity, or (normalized) a zero
            vector; temperature not positive, or so small that the logits overflow; tile_rows below 1.
    """
    require_flag(normalize, "normalize")
    for view, name in ((view_a, "view_a"), (view_b, "view_b")):
        require_rows(view, name, 1, nonzero=normalize)
    require_alike(view_a, view_b, "view_a", "view_b")
    labels = BatchLabels.of_views(len(view_a), 2, view_a.device)
    return supcon(torch.cat([view_a, view_b]), labels, temperature, normalize=normalize, tile_rows=tile_rows)


def supcon(
    features: Float[Tensor, "n D"],
    labels: Array | BatchLabels,
    temperature: float = 0.1,
    *,
    normalize: bool = True,
    tile_rows: int | None = None,
) -> Float[Tensor, ""]:
    """Supervised contrastive loss, L_out of Khosla et al., over the anchors that have a positive.

    Memory is O(n (D + tile_rows)) forward and backward of large batches, O(n^2) of those whose matrices are small
    (limits as in models/stack.py), and where a backward pass is to be differentiated again (create_graph).

    Args:
        features: all views of all samples.
        labels: integers (n,), any values and order; NumPy or torch, on any device, or read already (labels_of_batch).
            A row whose label is its own alone is no anchor, but stays among the negatives.
        temperature: t > 0, in units of the inner product.
        normalize: compare cosines; False compares inner products.
        tile_rows: None chooses by the size of the batch; a number works in tiles of so many rows.

    Raises:
        ValueError: features of another shape, fewer than 2 rows, with NaN or infinity, or (normalized) a zero vector;
            labels of another shape or type, or no label that occurs twice; temperature not positive, or so small that
            the logits overflow; tile_rows below 1.
    """
    require_flag(normalize, "normalize")
    require_rows(features, "features")
    require_number(temperature, "temperature", 0.0, math.inf, closed="neither")
    labels = labels_of_batch(labels, len(features), features.device)
    with torch.autocast(features.device.type, enabled=False):
        keys = widen(features)
        if normalize:
            require_nonzero(features, "features")
        if normalize or values_are_checked():
            # |z_i.z_j| <= max |z|^2.
            largest = 1.0 if normalize else float(keys.detach().square().sum(-1).max())
            require_logits(temperature, largest, len(keys), keys.dtype)
        rows = rows_of_tiles(keys, tile_rows)
        if normalize and _is_mild(temperature, keys):
            own_rows = None if tile_rows is None else rows
            return _UnitContrast.apply(keys, labels, float(temperature), own_rows)[0]
        keys = unit_or_zero(keys) if normalize else keys
        if rows is None:
            return _dense_contrast(keys, labels, float(temperature))
        return _TiledContrast.apply(keys, labels, float(temperature), rows)


def _is_mild(temperature: float, keys: Float[Tensor, "n D"]) -> bool:
    """Whether exp(C/t) of all cosines C, their sums and the sums' inverses are ordinary numbers, so that nothing need
    be subtracted from the exponents. Of two rows alone the loss is to be exactly 0, which needs that."""
    return len(keys) > 2 and 2.0 / temperature <= 0.5 * math.log(torch.finfo(keys.dtype).max)


def _dense_contrast(keys: Tensor, labels: BatchLabels, temperature: float) -> Tensor:
    logits = keys @ keys.mT / temperature
    losses = _anchor_losses(logits, _positives(labels, slice(0, len(keys))), labels.others, 0)[0]
    # NaN times 0 shows.
    return (losses * labels.anchor_weights(keys.dtype)).sum()


def _positives(labels: BatchLabels, rows: slice) -> Tensor:
    """Which columns are positives of ``rows``, as booleans (rows, n)."""
    alike = labels.index[rows, None] == labels.index
    alike.diagonal(rows.start).fill_(False)
    return alike


def _anchor_losses(logits: Tensor, positives: Tensor, counts: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """loss_i of some rows, and ln sum_{a != i} exp(z_i.z_a/t); rows without positives count as the latter.

    Args:
        logits: (rows, n), z_i.z_a/t.
        counts: positives of each row.
        first: the first row's own column.
    """
    own = torch.zeros_like(positives)
    own.diagonal(first).fill_(True)
    log_sums = logits.masked_fill(own, -math.inf).logsumexp(-1)
    return log_sums - torch.where(positives, logits, 0.0).sum(-1) / counts.clamp_min(1), log_sums


def _slope_of_matrices(keys: Tensor, labels: BatchLabels, temperature: float, gradient: Tensor) -> Tensor:
    """``gradient`` times the loss's gradient by operations that can be differentiated again, from whole matrices."""
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    softmax = (keys @ keys.mT / temperature).masked_fill(own, -math.inf).softmax(-1)
    shares = _positives(labels, slice(0, len(keys))) / labels.others.clamp_min(1).to(keys.dtype)[:, None]
    weights = labels.anchor_weights(keys.dtype) * (gradient / temperature)
    slope = (softmax - shares) * weights[:, None]
    return (slope + slope.mT) @ keys


@signed
class _UnitContrast(torch.autograd.Function):
    """The mean over anchors from rows of any norms, where logits are mild: sums of exponentials by half of the matrix
    (symmetric.py), and positives by the sums over labels, so that nothing asks of a pair whether it is one.

    With s_i = sum_{a != i} exp(z_i.z_a/t), P_i the mean of anchor i's positives and w_i = 1/(t anchors) for anchors, 0
    otherwise, dz_i = sum_a exp(z_i.z_a/t) (w_i/s_i + w_a/s_a) z_a - 2 w_i P_i, as equal labels have equally many.

    ``apply`` returns the loss first, and then what the backward pass needs.
    """

    @staticmethod
    def setup_context(ctx, inputs, output):
        features, ctx.labels, ctx.temperature, ctx.tile_rows = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(features, *output[1:])

    @staticmethod
    def forward(features, labels, temperature, tile_rows):
        keys, norm = directions(features)
        sums, kept = row_sums(keys, Exponential(1.0 / temperature), tile_rows)
        scores = (keys * _mean_positives(keys, labels)).sum(1)
        losses = sums.log().sub_(scores, alpha=1.0 / temperature)
        # A logarithm may be rounded to less than one of its terms.
        loss = losses.mul_(labels.anchor_weights(keys.dtype)).sum().clamp_min_(0.0)
        return loss, keys, norm, sums, *kept

    @staticmethod
    def backward(ctx, gradient, *_):
        if gradient is None:
            return None, None, None, None
        features, keys, norm, sums, *kept = ctx.saved_tensors
        # The backward pass may run inside somebody's autocast.
        with torch.autocast(keys.device.type, enabled=False):
            if torch.is_grad_enabled():
                keys = unit_or_zero(features)
                d_keys = _slope_of_matrices(keys, ctx.labels, ctx.temperature, gradient)
                norm = differentiable_norm(features, keys)
            else:
                weights = ctx.labels.anchor_weights(keys.dtype) * (gradient / ctx.temperature)
                apart = _mean_positives(keys, ctx.labels).mul_((-2.0 * weights).unsqueeze(1))
                kernel = Exponential(1.0 / ctx.temperature)
                d_keys = add_pull(apart, keys, kernel, weights / sums, ctx.tile_rows, kept)
            return across(d_keys, keys, norm), None, None, None


def _mean_positives(keys: Float[Tensor, "n D"], labels: BatchLabels) -> Float[Tensor, "n D"]:
    """P_i, zero where there are none."""
    if labels.views == 2:
        return keys.roll(len(keys) // 2, 0)
    # Labels are places below n; of a row that is alone with its own nothing is left.
    alike = torch.zeros_like(keys).index_add_(0, labels.index, keys).index_select(0, labels.index)
    return alike.sub_(keys).div_(labels.others.clamp_min(1).unsqueeze(1))


class _TiledContrast(torch.autograd.Function):
    """The mean over anchors in row tiles. The forward pass keeps the keys and each row's log-sum, O(n D); the backward
    pass computes each tile again.

    With w_i = 1/(t anchors) for anchors and 0 otherwise, the slope in z_i.z_a is G_ia = w_i (softmax_ia - [a in
    P(i)]/|P(i)|), and dz = (G + G^T) z.
    """

    @staticmethod
    def forward(ctx, keys, labels, temperature, tile_rows):
        log_sums, total = torch.empty_like(keys[:, 0]), keys.new_zeros(())
        weights = labels.anchor_weights(keys.dtype)
        for rows in row_tiles(len(keys), tile_rows):
            logits = (keys[rows] @ keys.mT).div_(temperature)
            losses, log_sums[rows] = _anchor_losses(logits, _positives(labels, rows), labels.others[rows], rows.start)
            total += (losses * weights[rows]).sum()
        ctx.save_for_backward(keys, log_sums)
        ctx.labels, ctx.temperature, ctx.tile_rows = labels, temperature, tile_rows
        return total

    @staticmethod
    def backward(ctx, gradient):
        keys, log_sums = ctx.saved_tensors
        if torch.is_grad_enabled():
            with torch.autocast(keys.device.type, enabled=False):
                return _slope_of_matrices(keys, ctx.labels, ctx.temperature, gradient), None, None, None
        weights = ctx.labels.anchor_weights(keys.dtype) * (gradient / ctx.temperature)
        shares = 1.0 / ctx.labels.others.clamp_min(1).to(keys.dtype)
        d_keys = torch.zeros_like(keys)
        # The backward pass may run inside somebody's autocast.
        with torch.autocast(keys.device.type, enabled=False):
            for rows in row_tiles(len(keys), ctx.tile_rows):
                slope = (keys[rows] @ keys.mT).div_(ctx.temperature).sub_(log_sums[rows, None])
                slope.diagonal(rows.start).fill_(-math.inf)
                slope.exp_().sub_(_positives(ctx.labels, rows) * shares[rows, None]).mul_(weights[rows, None])
                d_keys[rows] += slope @ keys
                d_keys.addmm_(slope.mT, keys[rows])
        return d_keys, None, None, None

"""Feature transformation (Zhu et al. 2021, arXiv 2108.02982): harder positives and more varied negatives, made from the
features instead of the images.

Positives are moved apart along the line through them. With a weight l in [1, 2] a pair has

    z_q' = l z_q + (1 - l) z_k,    z_k' = l z_k + (1 - l) z_q,

and on unit features of score s = z_q.z_k the new score is s' = s + 2 l (1 - l)(1 - s) <= s, at worst 5 s - 4. Weights
in [0, 1] *inter*polate: s' >= s, easier positives, which the paper has for contrast. Negatives of the queue are mixed
with each other.

Weights are drawn by the caller: 1 + draw_beta(a, a, ...) to extrapolate, draw_beta(a, a, ...) to interpolate; one a
sample, or one a coordinate ("dimension-wise").

Results are not normalized again unless asked for: the identity above needs them as they are. Pass them on with
normalize=False then (models/momentum.py), or the transformation is partly undone. The authors' code has both, and the
command that it publishes does not normalize, so this is an option and no claim about it.
"""

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from models.devices.transfer import upload
from models.devices.value_checks import values_are_checked
from models.head_output import unit_or_zero
from models.losses.common import require_alike, require_rows, widen
from theory.numerics.inputs import require_array, require_count, require_flag, require_number, require_range
from theory.numerics.precision import numerical_threshold

# What an index may be.
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

Weights = Float[Tensor, "n"] | Float[Tensor, "n D"]


def extrapolate_positives(
    queries: Float[Tensor, "n D"], keys: Float[Tensor, "n D"], weights: Weights, *, normalize: bool = False
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
    """Queries and keys moved away from each other, their mean kept.

    Args:
        queries, keys: row i of both shows sample i; gradients pass to both.
        weights: l in [1, 2], one a row or one a coordinate; 1 changes nothing.
        normalize: divide the results by their norms.

    Raises:
        ValueError: other shapes, no rows, NaN or infinity, weights outside the range, or (normalized) a result of zero.
    """
    return _mix_positives(queries, keys, weights, 1.0, 2.0, normalize)


def interpolate_positives(
    queries: Float[Tensor, "n D"], keys: Float[Tensor, "n D"], weights: Weights, *, normalize: bool = False
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
    """Queries and keys moved towards each other: as extrapolate_positives, with weights in [0, 1]."""
    return _mix_positives(queries, keys, weights, 0.0, 1.0, normalize)


def interpolate_negatives(
    negatives: Float[Tensor, "n D"], weights: Weights, permutation: Integer[Tensor, "n"], *, normalize: bool = False
) -> Float[Tensor, "n D"]:
    """Every negative mixed with another: w z_i + (1 - w) z_p(i).

    Args:
        negatives: the rows of a queue.
        weights: w in [0, 1], one a row or one a coordinate; 1 changes nothing.
        permutation: p, each of 0..n-1 once; draw_partners makes one in which no row meets itself.
        normalize: divide the results by their norms.

    Raises:
        ValueError: other shapes, no rows, NaN or infinity, weights outside the range, no permutation, or (normalized)
            a result of zero.
    """
    require_flag(normalize, "normalize")
    require_rows(negatives, "negatives", minimum=1)
    weights = _columns(weights, negatives, 0.0, 1.0)
    count = len(negatives)
    require_array(permutation, "permutation")
    if tuple(permutation.shape) != (count,) or permutation.dtype not in WHOLE:
        found = f"{permutation.dtype} of shape {tuple(permutation.shape)}"
        raise ValueError(f"permutation: expected integers of shape ({count},), got {found}")
    # As an index, uint8 would be a mask, and narrower integers are refused.
    order = upload(permutation, negatives.device).long()
    if values_are_checked() and not torch.equal(order.sort().values, torch.arange(count, device=order.device)):
        raise ValueError(f"permutation: must hold each of 0..{count - 1} once")
    # Under autocast too: products of rows are not what autocast narrows.
    values = widen(negatives)
    return _finished(weights * values + (1.0 - weights) * values[order], "negatives", normalize)


def draw_beta(
    a: float, b: float, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "..."]:
    """Independent draws from Beta(a, b), in [0, 1], on the generator's device.

    Mean a / (a + b), variance a b / ((a + b)^2 (a + b + 1)).

    Args:
        a, b: both positive.
        shape: of the result.
        generator: the only source of randomness.
        dtype: of the result, floating; draws are made in float64.

    Raises:
        ValueError: a or b not positive or not finite; another dtype, in which draws would be zeros.
    """
    for value, name in ((a, "a"), (b, "b")):
        require_number(value, name, 0.0, float("inf"), closed="neither")
    numerical_threshold(dtype)
    logits = _log_gamma_draws(a, shape, generator) - _log_gamma_draws(b, shape, generator)
    return logits.sigmoid().to(dtype)


def draw_partners(count: int, generator: torch.Generator) -> Int[Tensor, "n"]:
    """A random permutation of 0..count-1 in which nothing stays in its place, on the generator's device: uniform among
    those that are one cycle. A plain random permutation leaves one row unmixed in the mean.

    Raises:
        ValueError: count below 2.
    """
    require_count(count, "count", 2)
    cycle = torch.randperm(count, generator=generator, device=generator.device)
    partners = torch.empty_like(cycle)
    partners[cycle] = cycle.roll(1)
    return partners


def _mix_positives(
    queries: Tensor, keys: Tensor, weights: Tensor, low: float, high: float, normalize: bool
) -> tuple[Tensor, Tensor]:
    require_flag(normalize, "normalize")
    require_rows(queries, "queries", minimum=1)
    require_rows(keys, "keys", minimum=1)
    require_alike(queries, keys, "queries", "keys")
    weights = _columns(weights, queries, low, high)
    queries, keys = widen(queries), widen(keys)
    new_queries = weights * queries + (1.0 - weights) * keys
    new_keys = weights * keys + (1.0 - weights) * queries
    return _finished(new_queries, "queries", normalize), _finished(new_keys, "keys", normalize)


def _columns(weights: Tensor, rows: Tensor, low: float, high: float) -> Tensor:
    """Weights as (n, 1) or (n, D), on the rows' device and in their precision."""
    require_array(weights, "weights")
    if not weights.dtype.is_floating_point:
        raise ValueError(f"weights: expected a floating dtype, got {weights.dtype}")
    if tuple(weights.shape) not in ((len(rows),), tuple(rows.shape)):
        expected = f"({len(rows)},) or {tuple(rows.shape)}"
        raise ValueError(f"weights: expected shape {expected}, got {tuple(weights.shape)}")
    if values_are_checked():
        # The extremes alone are compared on the host; NaN is both of them.
        require_range(torch.stack(torch.aminmax(weights)).double(), "weights", low, high)
    weights = upload(weights, rows.device).to(widen(rows).dtype)
    return weights[:, None] if weights.ndim == 1 else weights


def _finished(rows: Tensor, name: str, normalize: bool) -> Tensor:
    if not normalize:
        return rows
    if values_are_checked() and not bool((rows != 0).any(-1).all()):
        raise ValueError(f"{name}: some pair mixes to a zero vector; it cannot be normalized")
    return unit_or_zero(rows)


def _log_gamma_draws(shape_parameter: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """ln of draws from Gamma(a), in float64. Gamma(a) is Gamma(a + 1) U^(1/a) in distribution, and its logarithm does
    not underflow for small a, where draws themselves do."""
    full = torch.full(shape, shape_parameter + 1.0, dtype=torch.float64, device=generator.device)
    uniform = torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator)
    # 1 - U lies in (0, 1].
    return torch._standard_gamma(full, generator=generator).log() + (-uniform).log1p() / shape_parameter

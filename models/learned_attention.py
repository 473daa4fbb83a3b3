"""Learned attention over the batch: the cosine-ReLU blocks of TransFusion and the softmax blocks of Deep Fusion.

Tokens are the n rows of a batch. ``groups`` splits them into equal consecutive groups (views) that attend only within
themselves; 1 lets every row see every other. Where models/attention.py holds the weights that the theory prescribes,
these blocks learn theirs. Sources: TransFusion (arXiv 2403.18681); theory.md, section 0 with Lemma 0; Vaswani et al.
2017 for the encoder layer.

Weights are initialized from torch's default generator: seed it before building.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from models.head_output import Reading, unit_or_zero
from theory.numerics.inputs import require_count, require_number
from theory.numerics.precision import numerical_threshold


@dataclass(frozen=True)
class Mixed:
    """What one layer makes of its tokens.

    Attributes:
        tokens: (n, width), the layer's output.
        reading: the layer's own unit queries and keys over all n rows, whatever the groups; None for softmax layers,
            whose attention compares no cosines.
        weights: the attention applied, (heads, n, n), zero between groups; None unless a trace was asked for.
    """

    tokens: Float[Tensor, "n width"]
    reading: Reading | None = None
    weights: Float[Tensor, "heads n n"] | None = None


class CosineQueryKey(nn.Module):
    """Learned queries and keys of norm 1: all that a truncated block consists of, next to its LayerNorm.

    Keys start as a copy of the queries, so that an untrained block already compares similarity; from independent starts
    clusters that fill their subspaces are not learned at all in a few hundred steps.

    Projections and norms are computed outside of autocast, in float32 at least: training in bfloat16 then cuts the
    same cosines as evaluation in float32.

    Args:
        width: coordinates of a token, shared out among the heads.
        num_heads: divides width.
        bias: biases of queries and keys; opposite ones act as a threshold (Lemma 0).

    Raises:
        ValueError: width or num_heads below 1, or width not a multiple of num_heads.
    """

    def __init__(self, width: int, num_heads: int = 1, bias: bool = True) -> None:
        super().__init__()
        require_heads(width, num_heads)
        self.num_heads = num_heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.key.load_state_dict(self.query.state_dict())

    def forward(self, tokens: Float[Tensor, "n width"]) -> Reading:
        """Unit queries and keys of all rows; a row that is projected to zero stays zero."""
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.to(self.query.weight.dtype)
            return Reading(self._unit(self.query(tokens)), self._unit(self.key(tokens)))

    def _unit(self, projected: Float[Tensor, "n width"]) -> Float[Tensor, "heads n d"]:
        heads = split_heads(projected, self.num_heads)
        return unit_or_zero(heads.to(torch.promote_types(heads.dtype, torch.float32)))

    def cut(self) -> float:
        """The cosine up to which there is only round-off: that of the projections' dtype."""
        return numerical_threshold(self.query.weight.dtype)


class CosineReluAttention(nn.Module):
    """ReLU of cosines over the batch: A_ij = C_ij where C_ij > tau_num and j != i, rows divided by their sums.

    C_ij at or below the numerical threshold count as 0. Larger ones are taken whole, not lowered by the cut: a row's
    sum is then never smaller than the cut, and dividing by it stays harmless for gradients. A row without neighbours
    receives zero from that head (the output projection's bias still applies).

    Args:
        width, num_heads: as in CosineQueryKey.
        keep_diagonal: let a row be its own neighbour, with the cosine of its own query and key.
        bias: biases of all four projections.

    Raises:
        ValueError: as CosineQueryKey.
    """

    def __init__(self, width: int, num_heads: int = 1, keep_diagonal: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.keep_diagonal = keep_diagonal
        self.query_key = CosineQueryKey(width, num_heads, bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def reading(self, tokens: Float[Tensor, "n width"]) -> Reading:
        """Unit queries and keys of all rows."""
        return self.query_key(tokens)

    def weights(self, reading: Reading, groups: int = 1) -> Float[Tensor, "heads groups m m"]:
        """The attention of every group of m = n / groups rows; row sums are 1, or 0 without neighbours.

        Raises:
            ValueError: groups does not divide n.
        """
        queries, keys = split_groups(reading.queries, groups), split_groups(reading.keys, groups)
        with torch.autocast(queries.device.type, enabled=False):
            cosines = queries @ keys.mT
            if not self.keep_diagonal:
                # In place: a matrix product does not need its own result for its gradient.
                cosines.diagonal(dim1=-2, dim2=-1).fill_(0.0)
            affinity = F.threshold(cosines, self.query_key.cut(), 0.0)
            mass = affinity.sum(dim=-1, keepdim=True)
            return affinity / torch.where(mass > 0, mass, 1.0)

    def mix(
        self, tokens: Float[Tensor, "n width"], weights: Float[Tensor, "heads groups m m"]
    ) -> Float[Tensor, "n width"]:
        """The values of every row's neighbours, weighted, heads joined and projected."""
        values = split_groups(split_heads(self.value(tokens), self.num_heads), weights.shape[1])
        return self.output(join_heads(weights.to(values.dtype) @ values))

    def forward(self, tokens: Float[Tensor, "n width"], groups: int = 1) -> Float[Tensor, "n width"]:
        return self.mix(tokens, self.weights(self.reading(tokens), groups))


class TransFusionLayer(nn.Module):
    """h = LN(x); x' = h + attention(h): tokens are normalized at every block, which Lemma 0 asks for.

    Args:
        width, num_heads, keep_diagonal, bias: as in CosineReluAttention.
        feed_forward: hidden units of x'' = x' + FF(LN(x')); None leaves it out.
        dropout: in the feed-forward only.

    Raises:
        ValueError: as CosineReluAttention; feed_forward below 1; dropout outside [0, 1).
    """

    def __init__(
        self,
        width: int,
        num_heads: int = 1,
        *,
        keep_diagonal: bool = False,
        bias: bool = True,
        feed_forward: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = CosineReluAttention(width, num_heads, keep_diagonal, bias)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = None
        if feed_forward is not None:
            inner = gelu_feed_forward(width, feed_forward, dropout)
            self.feed_forward = nn.Sequential(nn.LayerNorm(width), inner, nn.Dropout(dropout))

    def forward(self, tokens: Float[Tensor, "n width"], groups: int = 1, trace: bool = False) -> Mixed:
        """The layer's tokens and reading; with ``trace`` its weights too.

        Raises:
            ValueError: groups does not divide n.
        """
        normalized = self.norm(tokens)
        reading = self.attention.reading(normalized)
        weights = self.attention.weights(reading, groups)
        mixed = normalized + self.attention.mix(normalized, weights)
        if self.feed_forward is not None:
            mixed = mixed + self.feed_forward(mixed)
        return Mixed(mixed, reading, block_diagonal(weights) if trace else None)


class DotProductAttention(nn.Module):
    """Multi-head scaled dot-product self-attention over the batch, with biases; every row also sees itself.

    Initialized as torch.nn.MultiheadAttention is. Adding a constant to a row of logits changes no softmax, so the
    gradient of the keys' bias is zero up to round-off.

    Args:
        width: coordinates of a token, shared out among the heads.
        num_heads: divides width.
        dropout: chance in [0, 1) that a weight is dropped in training.

    Raises:
        ValueError: width or num_heads below 1, width not a multiple of num_heads, dropout outside [0, 1).
    """

    def __init__(self, width: int, num_heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        require_heads(width, num_heads)
        require_number(dropout, "dropout", 0.0, 1.0, closed="left")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        for projection in (self.query, self.key, self.value):
            # Xavier for the three stacked: fan in width, fan out 3 width.
            nn.init.uniform_(projection.weight, -math.sqrt(6 / (4 * width)), math.sqrt(6 / (4 * width)))
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.zeros_(projection.bias)

    def forward(
        self, tokens: Float[Tensor, "n width"], groups: int = 1, trace: bool = False
    ) -> tuple[Float[Tensor, "n width"], Float[Tensor, "heads n n"] | None]:
        """Attention's output; with ``trace`` also its weights before dropout, otherwise in memory O(n).

        Raises:
            ValueError: groups does not divide n.
        """
        queries, keys, values = (
            split_groups(split_heads(projection(tokens), self.num_heads), groups)
            for projection in (self.query, self.key, self.value)
        )
        rate = self.dropout if self.training else 0.0
        if not trace:
            mixed = F.scaled_dot_product_attention(queries, keys, values, dropout_p=rate)
            return self.output(join_heads(mixed)), None
        logits = queries @ keys.mT / math.sqrt(queries.shape[-1])
        weights = torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        mixed = F.dropout(weights, rate).to(values.dtype) @ values
        return self.output(join_heads(mixed)), block_diagonal(weights)


class EncoderLayer(nn.Module):
    """A post-norm transformer encoder layer over the batch: x = LN(x + attention(x)); x = LN(x + FF(x)), with GELU.

    Equal to torch.nn.TransformerEncoderLayer(activation="gelu"), and able to return its weights.

    Args:
        width, num_heads: as in DotProductAttention.
        feed_forward: hidden units; None stands for 4 width.
        dropout: of the attention weights, inside the feed-forward and of both branches.

    Raises:
        ValueError: as DotProductAttention; feed_forward below 1.
    """

    def __init__(self, width: int, num_heads: int = 1, feed_forward: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = DotProductAttention(width, num_heads, dropout)
        self.feed_forward = gelu_feed_forward(width, 4 * width if feed_forward is None else feed_forward, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "n width"], groups: int = 1, trace: bool = False) -> Mixed:
        """The layer's tokens; with ``trace`` its weights too.

        Raises:
            ValueError: groups does not divide n.
        """
        attended, weights = self.attention(tokens, groups, trace)
        tokens = self.attention_norm(tokens + self.dropout(attended))
        tokens = self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens)))
        return Mixed(tokens, weights=weights)


def gelu_feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Linear, GELU, dropout, Linear.

    Raises:
        ValueError: hidden below 1, or dropout outside [0, 1).
    """
    require_count(hidden, "feed_forward", 1)
    require_number(dropout, "dropout", 0.0, 1.0, closed="left")
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))


def require_heads(width: int, num_heads: int, name: str = "width") -> None:
    """Refuse token widths that the heads cannot share evenly.

    Raises:
        ValueError: width or num_heads below 1, or width not a multiple of num_heads.
    """
    require_count(width, name, 1)
    require_count(num_heads, "num_heads", 1)
    if width % num_heads:
        raise ValueError(f"{name}: must be a multiple of num_heads = {num_heads}, got {width}")


def split_heads(tokens: Float[Tensor, "n width"], num_heads: int) -> Float[Tensor, "heads n d"]:
    """Every head's share of the coordinates."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(0, 1)


def split_groups(rows: Float[Tensor, "heads n d"], groups: int) -> Float[Tensor, "heads groups m d"]:
    """Equal consecutive groups of rows.

    Raises:
        ValueError: groups is below 1 or does not divide n.
    """
    if groups < 1 or rows.shape[1] % groups:
        raise ValueError(f"groups: must be a divisor of the n = {rows.shape[1]} rows, got {groups}")
    return rows.unflatten(1, (groups, rows.shape[1] // groups))


def join_heads(rows: Float[Tensor, "heads groups m d"]) -> Float[Tensor, "n width"]:
    """What split_heads and split_groups took apart."""
    return rows.flatten(1, 2).transpose(0, 1).flatten(1)


def block_diagonal(weights: Float[Tensor, "heads groups m m"]) -> Float[Tensor, "heads n n"]:
    """The groups' weights as one matrix a head, zero between groups."""
    return torch.stack([torch.block_diag(*groups) for groups in weights])

"""Projection heads: from backbone features (n, D) to what a loss reads (models/head_output.py).

Heads without attention look at one row at a time. Attention heads let the rows of a batch look at each other: cosine
and ReLU (TransFusion, arXiv 2403.18681), softmax (its revision, Deep Fusion), or softmax in training only (BatchFormer,
Hou et al. 2022). Features are checked for their shape, not for NaN, which would cost a pass over them and on a GPU a
wait for it.

Weights are initialized from torch's default generator: seed it before building.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.head_output import HeadOutput, Reading
from models.learned_attention import CosineQueryKey, EncoderLayer, TransFusionLayer, require_heads
from theory.numerics.inputs import (
    require_array,
    require_choice,
    require_count,
    require_flags,
    require_number,
)
from theory.numerics.limits import LARGEST_DEPTH, LARGEST_WEIGHTS, LARGEST_WIDTH

HeadKind = Literal["none", "linear", "mlp", "transfusion", "deepfusion", "reluformer", "batchformer"]
AttentionScope = Literal["joint", "per_view"]

# Attention heads that HeadConfig.num_heads = None stands for: one affinity to supervise a block where cosines are
# read off, several where they are not.
COSINE_HEADS = 1
SOFTMAX_HEADS = 4


@dataclass(frozen=True)
class HeadSettings:
    """Sizes of a projection head, whose kind may still be open."""

    kind: HeadKind | Literal["auto"] = "auto"
    out_dim: int = 64
    """Coordinates of an embedding. none keeps the features and transfusion its tokens (width): both ignore this."""
    hidden_dim: int | None = None
    """Hidden units of the mlp, also batchformer's; None takes as many as the features have."""
    batch_norm: bool = False
    """Batch normalization between the mlp's first Linear and its ReLU; training then needs at least 2 rows."""
    width: int = 64
    """Coordinates of a token in attention heads; batchformer's tokens are the features themselves."""
    depth: int = 3
    """Mixing blocks; transfusion adds its truncated block to them, batchformer always has one."""
    num_heads: int | None = None
    """Attention heads in a block; None takes 1 for transfusion and reluformer, 4 for deepfusion and batchformer."""
    keep_diagonal: bool = False
    """Let rows be their own neighbours in transfusion and reluformer."""
    attention_bias: bool = True
    """Biases of the attention of transfusion and reluformer; those of queries and keys can act as a threshold."""
    feed_forward: int | None = None
    """Hidden units of a block's feed-forward. None: no feed-forward in transfusion and reluformer, 4 width in
    deepfusion, as many as the features have in batchformer."""
    dropout: float = 0.0
    """In [0, 1): in softmax blocks and all feed-forwards, in training only."""
    attention_scope: AttentionScope = "per_view"
    """Who sees whom: per_view mixes the rows of one view only; joint mixes all views together. Joint attention can leak
    the answer: a row can look up its own partner and copy it, which makes the views agree without any help from the
    features. Losses compare rows across views in either case."""


@dataclass(frozen=True)
class HeadConfig(HeadSettings):
    """Which projection head, and its sizes.

    Raises:
        ValueError: an unknown choice, a count below 1, dropout outside [0, 1), width not a multiple of num_heads.
    """

    kind: HeadKind = "transfusion"
    """none, linear and mlp see one row at a time; transfusion and reluformer mix the batch by ReLU of cosines,
    deepfusion by softmax, batchformer by softmax in training only."""

    def __post_init__(self) -> None:
        require_flags(self)
        require_choice(self.kind, "kind", get_args(HeadKind))
        require_choice(self.attention_scope, "attention_scope", get_args(AttentionScope))
        for name in ("out_dim", "width"):
            require_count(getattr(self, name), name, 1, LARGEST_WIDTH)
        require_count(self.depth, "depth", 1, LARGEST_DEPTH)
        for name in ("hidden_dim", "num_heads", "feed_forward"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name, 1, LARGEST_WIDTH)
        weights = self.depth * self.width * (4 * self.width + 2 * (self.feed_forward or 0))
        if weights > LARGEST_WEIGHTS:
            raise ValueError(
                f"depth: {self.depth} blocks of width {self.width} have {weights:.2g} weights, at most "
                f"{LARGEST_WEIGHTS:.2g}"
            )
        require_number(self.dropout, "dropout", 0.0, 1.0, closed="left")
        if self.kind in ("transfusion", "reluformer", "deepfusion"):
            require_heads(self.width, self.attention_heads)

    @property
    def attention_heads(self) -> int:
        """num_heads, or what None stands for."""
        default = SOFTMAX_HEADS if self.kind in ("deepfusion", "batchformer") else COSINE_HEADS
        return default if self.num_heads is None else self.num_heads


class Head(nn.Module, ABC):
    """A projection head.

    Attributes:
        in_dim: D, coordinates of a feature.
        embedding_dim: d, coordinates of an embedding.
        transductive: whether a row's output depends on the rest of the batch at evaluation; if so, it is to be
            evaluated in batches of the size that it was trained with.
    """

    transductive: bool = False

    def __init__(self, config: HeadConfig, in_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.in_dim = require_count(in_dim, "in_dim", 1)
        self.embedding_dim = embedding_dim
        self.attention_scope = config.attention_scope

    def forward(self, features: Float[Tensor, "n D"], views: int = 1, trace: bool = False) -> HeadOutput:
        """Embeddings and readings of all rows.

        Args:
            features: (n, D), all of the first view, then all of the second, and so on; in the head's dtype, or any
                under autocast. Not checked for NaN.
            views: how many there are.
            trace: also return the weights that mixing blocks applied: n x n a head and block.

        Raises:
            ValueError: features of another shape, no rows, or views that do not divide n.
        """
        require_array(features, "features")
        if not features.dtype.is_floating_point:
            raise ValueError(f"features: expected a floating dtype, got {features.dtype}")
        if features.ndim != 2 or features.shape[1] != self.in_dim or features.shape[0] == 0:
            raise ValueError(f"features: expected shape (n, {self.in_dim}) with n >= 1, got {tuple(features.shape)}")
        if require_count(views, "views", 1) > features.shape[0] or features.shape[0] % views:
            raise ValueError(f"views: must divide the n = {features.shape[0]} rows of features, got {views}")
        return self.project(features, views if self.attention_scope == "per_view" else 1, trace)

    def embed(self, features: Float[Tensor, "n D"], views: int = 1) -> Float[Tensor, "n d"]:
        """The embeddings alone, for whoever has no use for readings: (n, ``embedding_dim``).

        Raises:
            ValueError: as ``forward``.
        """
        return self(features, views).embeddings

    @abstractmethod
    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        """``forward`` after its checks; attention stays inside each of ``groups`` equal consecutive groups."""


class NoHead(Head):
    """The features themselves."""

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, in_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        return HeadOutput.of_embeddings(features)


class LinearHead(Head):
    """One Linear."""

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.out_dim)
        self.projection = nn.Linear(in_dim, config.out_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        return HeadOutput.of_embeddings(self.projection(features))


class MLPHead(Head):
    """Linear, ReLU, Linear (SimCLR, arXiv 2002.05709), with batch normalization where asked for."""

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.out_dim)
        self.projection = _mlp(config, in_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        return HeadOutput.of_embeddings(self.projection(features))


class TransFusionHead(Head):
    """A Linear to ``width``, ``depth`` cosine-ReLU blocks, and a truncated block that stops at its affinity.

    Readings are the queries and keys of every block over all n rows, the truncated one's last: depth + 1 of them.
    Mixing keeps to its views, readings do not, because the loss compares across views. Embeddings are the normalized
    tokens that the truncated block reads.
    """

    transductive = True

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.width)
        self.input = nn.Linear(in_dim, config.width)
        self.layers = _cosine_layers(config)
        self.norm = nn.LayerNorm(config.width)
        self.query_key = CosineQueryKey(config.width, config.attention_heads, config.attention_bias)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        tokens, readings, attentions = self.input(features), [], []
        for layer in self.layers:
            mixed = layer(tokens, groups, trace)
            tokens = mixed.tokens
            readings.append(mixed.reading)
            attentions.append(mixed.weights)
        embeddings = self.norm(tokens)
        readings.append(self.query_key(embeddings))
        return HeadOutput(embeddings, tuple(readings), tuple(attentions) if trace else ())


class ReLUFormerHead(Head):
    """TransFusion's mixing blocks without its truncated block: a Linear follows, and only embeddings are read."""

    transductive = True

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.out_dim)
        self.input = nn.Linear(in_dim, config.width)
        self.layers = _cosine_layers(config)
        self.output = nn.Linear(config.width, config.out_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        tokens, attentions = self.input(features), []
        for layer in self.layers:
            mixed = layer(tokens, groups, trace)
            tokens = mixed.tokens
            attentions.append(mixed.weights)
        return HeadOutput.of_embeddings(self.output(tokens), tuple(attentions) if trace else ())


class DeepFusionHead(Head):
    """A Linear to ``width``, ``depth`` softmax encoder layers, and a Linear to the embeddings.

    Readings are the cosines of every layer's output, with the embeddings in place of the last: depth of them.
    """

    transductive = True

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.out_dim)
        self.input = nn.Linear(in_dim, config.width)
        self.layers = nn.ModuleList(
            EncoderLayer(config.width, config.attention_heads, config.feed_forward, config.dropout)
            for _ in range(config.depth)
        )
        self.output = nn.Linear(config.width, config.out_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        tokens, outputs, attentions = self.input(features), [], []
        for layer in self.layers:
            mixed = layer(tokens, groups, trace)
            tokens = mixed.tokens
            outputs.append(tokens)
            attentions.append(mixed.weights)
        outputs[-1] = self.output(tokens)
        readings = tuple(Reading.of_tokens(each) for each in outputs)
        return HeadOutput(outputs[-1], readings, tuple(attentions) if trace else ())


class BatchFormerHead(Head):
    """An mlp, and in training a second stream: the same mlp after one encoder layer over the batch.

    BatchFormer (Hou et al. 2022, arXiv 2203.01522): both streams share their projection and are trained alike, so at
    evaluation the encoder layer is dropped and every row stands for itself. The layer's weights, where a trace is asked
    for, are the second stream's.

    Raises:
        ValueError: in_dim is not a multiple of the attention heads.
    """

    def __init__(self, config: HeadConfig, in_dim: int) -> None:
        super().__init__(config, in_dim, config.out_dim)
        require_heads(in_dim, config.attention_heads, "in_dim")
        hidden = in_dim if config.feed_forward is None else config.feed_forward
        self.encoder = EncoderLayer(in_dim, config.attention_heads, hidden, config.dropout)
        self.projection = _mlp(config, in_dim)

    def project(self, features: Float[Tensor, "n D"], groups: int, trace: bool) -> HeadOutput:
        if not self.training:
            return HeadOutput.of_embeddings(self.projection(features))
        mixed = self.encoder(features, groups, trace)
        # Together, as one batch: batch normalization, where there is any, then sees both streams.
        plain, fused = self.projection(torch.cat([features, mixed.tokens])).chunk(2)
        second = HeadOutput.of_embeddings(fused, () if mixed.weights is None else (mixed.weights,))
        return HeadOutput(plain, (Reading.of_tokens(plain),), auxiliary=(second,))


HEADS: dict[str, Callable[[HeadConfig, int], Head]] = {
    "none": NoHead,
    "linear": LinearHead,
    "mlp": MLPHead,
    "transfusion": TransFusionHead,
    "deepfusion": DeepFusionHead,
    "reluformer": ReLUFormerHead,
    "batchformer": BatchFormerHead,
}


class TensorHead(nn.Module):
    """A head that returns its embeddings, a tensor as other modules do: ``nn.Sequential(encoder, TensorHead(head))``.

    What losses of affinities read of an attention head (its readings), and BatchFormer's second stream in training, are
    left out: train those on what the head itself returns.

    Attributes:
        head: the head; training it trains this.

    Args:
        views: into how many equal consecutive groups the rows fall, as Head.forward has it.

    Raises:
        ValueError: a head that is none, or no view.
    """

    def __init__(self, head: Head, views: int = 1) -> None:
        super().__init__()
        if not isinstance(head, Head):
            raise ValueError(f"head: expected one of build_head, got a {type(head).__name__}")
        self.head, self.views = head, require_count(views, "views", 1)

    def forward(self, features: Float[Tensor, "n D"]) -> Float[Tensor, "n d"]:
        """Embeddings of all rows; raises as Head.forward."""
        return self.head.embed(features, self.views)


def build_head(config: HeadConfig, in_dim: int) -> Head:
    """The head that a configuration describes, for features of ``in_dim`` coordinates; float32, on the CPU.

    Raises:
        ValueError: in_dim below 1, or (batchformer) not a multiple of the attention heads.
    """
    return HEADS[config.kind](config, in_dim)


def count_parameters(module: nn.Module) -> int:
    """Numbers that training can change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _mlp(config: HeadConfig, in_dim: int) -> nn.Sequential:
    hidden = in_dim if config.hidden_dim is None else config.hidden_dim
    # Batch normalization subtracts the mean, and with it any bias before it.
    layers: list[nn.Module] = [nn.Linear(in_dim, hidden, bias=not config.batch_norm)]
    layers += [nn.BatchNorm1d(hidden)] if config.batch_norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, config.out_dim))


def _cosine_layers(config: HeadConfig) -> nn.ModuleList:
    return nn.ModuleList(
        TransFusionLayer(
            config.width,
            config.attention_heads,
            keep_diagonal=config.keep_diagonal,
            bias=config.attention_bias,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
        )
        for _ in range(config.depth)
    )

"""What a projection head hands to a loss: embeddings, and the queries and keys that affinities are made of.

Keeping queries and keys instead of n x n matrices lets a loss choose how to read an affinity off them, and work in row
tiles; feature losses read the embeddings and pay for nothing else.

Both classes are nodes of torch's trees: torch.export and torch.func look through them at their tensors.
"""

from dataclasses import dataclass

import torch
import torch.export
from jaxtyping import Float
from torch import Tensor

from models.devices.functions import signed
from theory.numerics.precision import widen


def directions(rows: Float[Tensor, "*heads n d"]) -> tuple[Float[Tensor, "*heads n d"], Float[Tensor, "*heads n 1"]]:
    """Rows divided by their norms, without overflow or underflow on the way, and what ``across`` divides by: the norms,
    infinity for zero rows. Not for autograd, which ``unit_or_zero`` is for."""
    largest = rows.abs().amax(-1, keepdim=True)
    zero = largest == 0
    scaled = rows / largest.masked_fill(zero, 1.0)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / length.masked_fill(zero, 1.0), (largest * length).masked_fill(zero, torch.inf)


def across(
    gradient: Float[Tensor, "*heads n d"], unit: Float[Tensor, "*heads n d"], norm: Float[Tensor, "*heads n 1"]
) -> Float[Tensor, "*heads n d"]:
    """The gradient in rows from that in their directions: what is across the direction, over the norm."""
    return torch.addcmul(gradient, unit, (unit * gradient).sum(-1, keepdim=True), value=-1.0) / norm


def differentiable_norm(rows: Float[Tensor, "*heads n d"], unit: Float[Tensor, "*heads n d"]) -> Tensor:
    """The norms of ``directions`` as a function of both, for second derivatives: |x| = x.u, all terms positive."""
    norm = (rows * unit).sum(-1, keepdim=True)
    return norm.masked_fill(norm == 0, torch.inf)


@signed
class _Directions(torch.autograd.Function):
    """``directions`` under autograd. A backward pass that is to be differentiated (create_graph, torch.func) is made of
    operations that autograd knows, of the rows and of the result."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def forward(rows):
        return directions(rows)

    @staticmethod
    def backward(ctx, gradient, _):
        if gradient is None:
            return None
        rows, unit, norm = ctx.saved_tensors
        return across(gradient, unit, differentiable_norm(rows, unit) if torch.is_grad_enabled() else norm)


def unit_or_zero(rows: Float[Tensor, "*heads n d"]) -> Float[Tensor, "*heads n d"]:
    """Rows divided by their norms. A zero row has no direction: it stays zero, its cosines are 0, and it has no
    gradient (that of a norm is NaN or without bound there). NaN stays NaN. Half precision comes back as float32."""
    return _Directions.apply(widen(rows))[0]


@dataclass(frozen=True)
class Reading:
    """One block's unit queries and keys; its cosines are what its affinity is made of (theory.md, section 0).

    Attributes:
        queries, keys: (heads, n, d), rows of norm 1 or 0; the same tensor twice where a block compares its tokens
            directly.
    """

    queries: Float[Tensor, "heads n d"]
    keys: Float[Tensor, "heads n d"]

    def cosines(self) -> Float[Tensor, "heads n n"]:
        """C_ij of every head, the diagonal included."""
        return self.queries @ self.keys.mT

    @staticmethod
    def of_tokens(tokens: Float[Tensor, "n d"]) -> "Reading":
        """The cosines of the tokens themselves, as one head; of half precision in float32."""
        unit = unit_or_zero(tokens).unsqueeze(0)
        return Reading(unit, unit)


@dataclass(frozen=True)
class HeadOutput:
    """Output of a projection head for one batch of n rows (all views, one after the other).

    Attributes:
        embeddings: z, not normalized: what NT-Xent and SupCon read, and what probes evaluate.
        readings: one a supervised block, first to last; the last is the head's output affinity. Heads without
            attention have one, of their embeddings.
        attentions: the weights that every mixing block applied, (heads, n, n) each; only where a trace was asked for.
        auxiliary: further streams that the loss is averaged over (BatchFormer's second stream).
    """

    embeddings: Float[Tensor, "n d"]
    readings: tuple[Reading, ...]
    attentions: tuple[Float[Tensor, "heads n n"], ...] = ()
    auxiliary: tuple["HeadOutput", ...] = ()

    @staticmethod
    def of_embeddings(
        embeddings: Float[Tensor, "n d"], attentions: tuple[Float[Tensor, "heads n n"], ...] = ()
    ) -> "HeadOutput":
        """The output of a head whose only reading is of its embeddings, and what anybody's embeddings are taken for."""
        return HeadOutput(embeddings, (Reading.of_tokens(embeddings),), attentions)


# Nodes of torch's trees.
for _kind in (Reading, HeadOutput):
    torch.export.register_dataclass(_kind, serialized_type_name=f"{_kind.__module__}.{_kind.__name__}")

"""What a projection head hands to a loss: embeddings, and the queries and keys that affinities are made of.

Keeping queries and keys instead of n x n matrices lets a loss choose how to read an affinity off them, and work in row
tiles; feature losses read the embeddings and pay for nothing else.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """One block's unit queries and keys; its cosines are what its affinity is made of (theory.md, section 0).

    Attributes:
        queries, keys: (heads, n, d), rows of norm 1; the same tensor twice where a block compares its tokens directly.
    """

    queries: Float[Tensor, "heads n d"]
    keys: Float[Tensor, "heads n d"]

    def cosines(self) -> Float[Tensor, "heads n n"]:
        """C_ij of every head, the diagonal included."""
        return self.queries @ self.keys.mT

    @staticmethod
    def of_tokens(tokens: Float[Tensor, "n d"]) -> "Reading":
        """The cosines of the tokens themselves, as one head."""
        unit = torch.nn.functional.normalize(tokens, dim=-1).unsqueeze(0)
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

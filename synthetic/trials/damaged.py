"""Damaged blocks, stacks and losses, on which every trial has to notice what is wrong."""

from dataclasses import replace

import torch

from models.attention import TransFusionBlock
from models.losses import affinity_jsd
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from theory.numerics.precision import numerical_threshold


class DiagonalKept(TransFusionBlock):
    """A point attends to itself."""

    def affinity(self, attention):
        raw = attention.cosines.sub(attention.cut).relu_()
        return raw, raw.sum(dim=-1)


class ThresholdIgnored(TransFusionBlock):
    """Plain ReLU attention, whatever tau is."""

    def attend(self, points, tile=None):
        return replace(super().attend(points, tile), cut=numerical_threshold("float64"))


class RowsNotNormalized(TransFusionBlock):
    """Affinities are used as they are."""

    def affinity(self, attention):
        raw, mass = super().affinity(attention)
        return raw, torch.ones_like(mass)


class OneFalseEdge(TransFusionBlock):
    """A single spurious affinity, in one batch only."""

    def affinity(self, attention):
        raw, _ = super().affinity(attention)
        raw[0, 0, -1] = raw[0, -1, 0] = 1e-3
        return raw, raw.sum(dim=-1)


class ForgetsToMix(TransFusionBlock):
    """Tokens never move: nothing leaks, but nothing fuses either."""

    def mix(self, points, affinity, row_mass, tile=None):
        return points if tile is None else points[..., tile.rows, :]


class PushesApart(TransFusionBlock):
    """Tokens move away from their neighbours."""

    def mix(self, points, affinity, row_mass, tile=None):
        own = points if tile is None else points[..., tile.rows, :]
        return 2.0 * own - super().mix(points, affinity, row_mass, tile)


class PowerIgnored(TransFusionBlock):
    """Plain ReLU, whatever the power."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.power = 1.0


class DiagonalRemoved(SoftmaxStack):
    """A point does not attend to itself."""

    def weigh(self, cosines, inverse_temperature):
        weights, _ = super().weigh(cosines, inverse_temperature)
        weights.diagonal(dim1=-2, dim2=-1).fill_(0.0)
        return weights, weights.sum(dim=-1)


class TemperatureDoubled(SoftmaxStack):
    """Attention twice as peaked as said."""

    def weigh(self, cosines, inverse_temperature):
        return super().weigh(cosines, 2.0 * inverse_temperature)


class TemperatureHalved(SoftmaxStack):
    """Attention half as peaked as said."""

    def weigh(self, cosines, inverse_temperature):
        return super().weigh(cosines, 0.5 * inverse_temperature)


class WeightsNotNormalized(SoftmaxStack):
    """Exponentials are used as they are."""

    def weigh(self, cosines, inverse_temperature):
        weights, mass = super().weigh(cosines, inverse_temperature)
        return weights, torch.ones_like(mass)


class TokensNeverMove(SoftmaxStack):
    """Nothing fuses. Seen by 3c alone: the bounds of 3a and 3b allow clusters that stay where they are."""

    def _mix(self, tokens, weights, mass, mixing):
        return tokens


class ScatteredTokens(SoftmaxStack):
    """A block that pushes tokens apart in place of together."""

    def _mix(self, tokens, weights, mass, mixing):
        return super()._mix(tokens, weights, mass, -0.3 * mixing)


class OnePointSwapped(AttentionStack):
    """One point of the first batch is measured as if it were one of another cluster."""

    BATCHES = slice(1)

    def measure(self, points, labels):
        points = points.clone()
        points[self.BATCHES, 0] = points[self.BATCHES, -1]
        return super().measure(points, labels)


class OnePointOfAllSwapped(OnePointSwapped):
    """The same in every batch: what a rate has to show, of which one batch in twenty may fail anyway."""

    BATCHES = slice(None)


def empty_rows_at_half(affinity: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss with the formula's own ln 2/2 for rows without mass."""
    empty = (affinity.sum(-1) == 0).double().mean(-1)
    return affinity_jsd(affinity, target) - 0.5 * torch.log(torch.tensor(2.0, dtype=torch.float64)) * empty


def half_the_divergence(affinity: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss that forgets one of its two terms."""
    return 0.5 * affinity_jsd(affinity, target)


BLOCKS = {
    block.__name__: block
    for block in (
        DiagonalKept,
        ThresholdIgnored,
        RowsNotNormalized,
        OneFalseEdge,
        ForgetsToMix,
        PushesApart,
        PowerIgnored,
    )
}


def stacks(*names: str) -> dict[str, type[AttentionStack]]:
    """Stacks of damaged blocks, by the block's name."""
    return {name: type(name, (AttentionStack,), {"block_type": BLOCKS[name]}) for name in names}

"""Softmax attention over the batch in the form that Theorem 3 is about, and stacks of it.

S_ij = exp(kappa C_ij)/sum_l exp(kappa C_il), oneself included; x' = (1 - lambda) x + lambda S x. Source: theory.md,
section 3. Trained softmax attention (Deep Fusion) is in models/learned_attention.py.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.attention import one_or_one_a_trial, outside_autocast, require_trials
from models.environment import resolve_device
from models.stack import PlacedModule, computing_dtype, trial_chunks, unit_inputs, unit_tokens
from theory.batches.clusters import cluster_layout
from theory.batches.trajectory import SoftmaxTrajectory, measure_softmax_layer
from theory.numerics.inputs import require_count, require_mixing, require_points, require_range
from theory.numerics.limits import LARGEST_DEPTH
from theory.numerics.precision import widen
from theory.softmax_fusion import require_inverse_temperature

Normalize = Literal["input", "every"]


class SoftmaxStack(PlacedModule):
    """``depth`` softmax blocks over unit inputs; layer l is what block l sees, layer L what a reader would.

    Args:
        depth: L >= 1.
        inverse_temperature: kappa > 0, a number, a tensor of one, or a tensor (trials, 1, 1); finite in ``dtype``.
        mixing: lambda in (0, 1], likewise.
        normalize: "input" or "every" (Theorem 3b's blocks).
        device, dtype: where and in which precision the stack computes; float64 for verdicts. Half precision stands for
            float32, in which tokens and measurements are then computed and returned.

    Raises:
        ValueError: an argument out of range, a tensor of another shape, an unknown device, a dtype that is not
            floating.
    """

    inverse_temperature: Tensor
    mixing: Tensor

    def __init__(
        self,
        depth: int,
        inverse_temperature: Tensor | float,
        mixing: Tensor | float = 0.5,
        *,
        normalize: Normalize = "input",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if normalize not in ("input", "every"):
            raise ValueError(f"normalize: must be input or every, got {normalize!r}")
        require_inverse_temperature(inverse_temperature)
        require_mixing(mixing)
        self.depth, self.normalize = require_count(depth, "depth", 1, LARGEST_DEPTH), normalize
        self.device, self.dtype = resolve_device(device), computing_dtype(dtype)
        _require_finite(inverse_temperature, self.dtype)
        for name, value in (("inverse_temperature", inverse_temperature), ("mixing", mixing)):
            self.register_buffer(name, torch.as_tensor(one_or_one_a_trial(value, name), dtype=self.dtype))
        self.to(self.device)

    def _require_dtype(self, dtype: torch.dtype) -> None:
        if dtype != self.dtype:
            _require_finite(self.inverse_temperature, dtype)

    def weigh(
        self, cosines: Float[Tensor, "*trials n n"], inverse_temperature: Tensor
    ) -> tuple[Float[Tensor, "*trials n n"], Float[Tensor, "*trials n"]]:
        """exp(kappa C) over its largest entry of the row, which neither overflows nor leaves a row empty; row sums.

        The largest entry is 1 but for rounding, which a large kappa would blow up to zero or infinity.
        """
        weights = torch.exp(inverse_temperature * (cosines - cosines.detach().amax(dim=-1, keepdim=True)))
        return weights, weights.sum(dim=-1)

    def forward(self, points: Float[Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
        """Layer L's tokens; differentiable.

        Raises:
            ValueError: NaN, infinite or zero points; another number of trials than inverse_temperature or mixing are
                given for.
        """
        require_points(points)
        tokens = unit_inputs(points, self.device, self.dtype)
        for _ in range(self.depth):
            tokens = self.block(tokens)
        return tokens

    def block(self, tokens: Float[Tensor, "*trials n D"]) -> Float[Tensor, "*trials n D"]:
        """One block.

        Raises:
            ValueError: as ``forward``, of trials.
        """
        self._require_trials(tokens)
        tokens = widen(tokens)
        with outside_autocast(tokens.device):
            weights, mass = self.weigh(_cosines(tokens), self.inverse_temperature)
            return self._mix(tokens, weights, mass, self.mixing)

    def _require_trials(self, points: np.ndarray | Tensor) -> None:
        require_trials(self.inverse_temperature, "inverse_temperature", points)
        require_trials(self.mixing, "mixing", points)

    def _mix(self, tokens: Tensor, weights: Tensor, mass: Tensor, mixing: Tensor) -> Tensor:
        tokens = torch.lerp(tokens, (weights @ tokens) / mass.unsqueeze(-1), mixing)
        return unit_tokens(tokens) if self.normalize == "every" else tokens

    @torch.no_grad()
    def measure(self, points: Float[np.ndarray | Tensor, "trials n D"], labels: np.ndarray) -> SoftmaxTrajectory:
        """Every layer measured, in chunks of trials that keep the n x n matrices in cache.

        Raises:
            ValueError: NaN, infinite or zero points, bad labels; as ``forward``, of trials.
        """
        require_points(points)
        if points.ndim != 3:
            raise ValueError(f"points: expected shape (trials, n, D), got {tuple(points.shape)}")
        self._require_trials(points)
        layout = cluster_layout(labels, points.shape[-2])
        tokens = unit_inputs(points, self.device, self.dtype)
        with outside_autocast(self.device):
            return SoftmaxTrajectory.join_trials([self._measure_chunk(tokens, c, layout) for c in trial_chunks(tokens)])

    def _measure_chunk(self, tokens: Tensor, trials: slice, layout) -> SoftmaxTrajectory:
        tokens = tokens[trials]
        kappa, mixing = (v[trials] if v.shape[:1].numel() > 1 else v for v in (self.inverse_temperature, self.mixing))
        layers = []
        for layer in range(self.depth + 1):
            cosines = _cosines(tokens)
            weights, mass = self.weigh(cosines, kappa)
            layers.append(measure_softmax_layer(cosines, weights, mass, layout))
            if layer < self.depth:
                tokens = self._mix(tokens, weights, mass, mixing)
        return SoftmaxTrajectory.stack_layers(layers)


def _require_finite(inverse_temperature: Tensor | float, dtype: torch.dtype) -> None:
    """Refuse a kappa that is infinite in a dtype, although float64 may hold it."""
    kappa = torch.as_tensor(inverse_temperature, dtype=torch.float64)
    require_range(kappa, "inverse_temperature", 0.0, torch.finfo(dtype).max, closed="right")


def _cosines(tokens: Tensor) -> Tensor:
    unit = unit_tokens(tokens)
    return unit @ unit.mT

"""A scikit-learn transformer that sends rows through the stack with the advised parameters."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from models.advisor.advice import Advice
from theory.numerics.inputs import (
    Array,
    require_count,
    require_flag,
    require_mixing,
    require_number,
    require_threshold,
)
from theory.numerics.limits import LARGEST_DEPTH

# Rows this close are one row, which does not attend to itself.
SAME = 1.0 - 1e-12
# Entries of the matrix of weights that are held at a time.
CHUNK = 2**22


class AttentionTransformer(TransformerMixin, BaseEstimator):
    """Rows mixed with those rows of a bank, the ones it was fitted to, that they attend to, block after block.

    ``fit`` keeps up to ``bank_size`` rows and what they are at every layer of the stack; ``transform`` sends each row
    through the same blocks, where it attends to the bank's rows (not to copies of itself, where it is one of them). So
    the result for a row does not depend on the rows beside it, and rows of the bank become what the stack makes of
    them.

    Args:
        threshold: tau in [0, 1) of ReLU attention; used unless ``inverse_temperature`` is given.
        inverse_temperature: kappa > 0 of softmax attention, which counts the row itself; None for ReLU.
        depth: blocks, at least 1.
        mixing: lambda in (0, 1].
        center: subtract the mean of the rows that it is fitted to.
        bank_size: rows that are kept, at least 1.
        random_state: seed of the choice among more rows.

    As in all of scikit-learn parameters are checked by ``fit``, not where they are set.
    """

    def __init__(
        self,
        threshold: Any = 0.0,
        inverse_temperature: Any = None,
        depth: Any = 1,
        mixing: Any = 0.5,
        center: Any = True,
        bank_size: Any = 2048,
        random_state: Any = 0,
    ) -> None:
        self.threshold = threshold
        self.inverse_temperature = inverse_temperature
        self.depth = depth
        self.mixing = mixing
        self.center = center
        self.bank_size = bank_size
        self.random_state = random_state

    @classmethod
    def from_advice(cls, advice: Advice, **others: object) -> "AttentionTransformer":
        """With the advised attention, centering and depth (one block where none is advised).

        Raises:
            ValueError: the advice leaves the attention undecided.
        """
        if advice.attention is None:
            raise ValueError("advice: leaves the attention undecided, so there is no stack to run")
        advised = (
            {"threshold": advice.threshold} if advice.attention == "relu"
            else {"inverse_temperature": advice.inverse_temperature}
        )  # fmt: skip
        depth = 1 if advice.depth is None else max(1, advice.depth)
        return cls(**{**advised, "depth": depth, "center": advice.centered, **others})

    def fit(self, X: Array, y: object = None) -> "AttentionTransformer":
        """Keep the bank.

        Raises:
            ValueError: bad rows or parameters, named.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype=np.float64)
        self.center_ = X.mean(0) if self.center else np.zeros(X.shape[1])
        rows = X
        if len(X) > self.bank_size:
            rows = X[np.sort(np.random.default_rng(self.random_state).permutation(len(X))[: self.bank_size])]
        tokens = self._prepare(rows)
        layers = [tokens]
        away = _away(tokens, tokens)
        for _ in range(self.depth - 1):
            layers.append(self._block(layers[-1], layers[-1], away))
        self.bank_ = [layer.numpy() for layer in layers]
        return self

    def transform(self, X: Array) -> Float[np.ndarray, "n D"]:
        """Tokens after ``depth`` blocks, (n, D) float64; of unit length before the first one.

        Raises:
            ValueError: bad rows, or of another width.
            NotFittedError: before ``fit``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        bank = [torch.from_numpy(layer) for layer in self.bank_]
        tokens = self._prepare(X)
        step = max(1, CHUNK // len(bank[0]))
        return torch.cat([self._through(part, bank) for part in tokens.split(step)]).numpy()

    def _through(self, tokens: Tensor, bank: list[Tensor]) -> Tensor:
        away = _away(tokens, bank[0])
        for layer in bank:
            tokens = self._block(tokens, layer, away)
        return tokens

    def _block(self, tokens: Tensor, bank: Tensor, away: Tensor) -> Tensor:
        cosines = _unit(tokens) @ _unit(bank).mT
        if self.inverse_temperature is None:
            weights, itself = (cosines - self.threshold).clamp(min=0.0) * away, 0.0
        else:
            weights, itself = (self.inverse_temperature * (cosines - 1.0)).exp() * away, 1.0
        mass = weights.sum(-1, keepdim=True) + itself
        attended = (weights @ bank + itself * tokens) / torch.where(mass > 0, mass, 1.0)
        mixed = (1.0 - self.mixing) * tokens + self.mixing * attended
        return torch.where(mass > 0, mixed, tokens)

    def _prepare(self, rows: np.ndarray) -> Tensor:
        """Unit vectors; a row at the center has no direction, and stays zero."""
        return _unit(torch.from_numpy(rows - self.center_))

    def _check_parameters(self) -> None:
        require_threshold(self.threshold)
        if self.inverse_temperature is not None:
            require_number(self.inverse_temperature, "inverse_temperature", 0.0, 700.0, closed="right")
        require_flag(self.center, "center")
        require_count(self.depth, "depth", 1, LARGEST_DEPTH)
        require_mixing(self.mixing)
        require_count(self.bank_size, "bank_size", 1)
        require_count(self.random_state, "random_state", 0)


def _away(tokens: Tensor, bank: Tensor) -> Tensor:
    """Where a row of the bank is no copy of the token."""
    return tokens @ bank.mT < SAME


def _unit(tokens: Tensor) -> Tensor:
    norms = tokens.norm(dim=-1, keepdim=True)
    return tokens / torch.where(norms > 0, norms, 1.0)

"""The stack that cells and counterexamples run."""

from collections.abc import Callable

import numpy as np
import torch

from models.stack import AttentionStack
from theory.precision import numerical_threshold

StackFactory = Callable[..., AttentionStack]


def build_stack(
    depth: int,
    threshold: float,
    mixing: float,
    query_key_map: np.ndarray | None,
    condition: float,
    device: str | torch.device,
    stack_factory: StackFactory = AttentionStack,
) -> tuple[AttentionStack, float]:
    """The stack that cells and counterexamples run, in float64, and the threshold it applies: max(tau, tau_num)."""
    stack = stack_factory(
        depth, threshold, mixing, condition=condition, normalize="input", device=device,
        query_key_map=None if query_key_map is None else torch.from_numpy(query_key_map),
    )  # fmt: skip
    return stack, max(threshold, numerical_threshold("float64", condition))

"""Gradient ascent against a statement: free parameters, a hypothesis to respect, and a violation to maximize.

Everything works on a batch of restarts (R, ...) in float64 and is differentiable. Bounds are written a second time
here, in torch, so that a slip in theory/ does not hide itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_ROUNDS, LARGEST_STEPS

Parameters = dict[str, Tensor]
Sizes = tuple[int, ...]
MANY_SIZES: tuple[Sizes, ...] = ((2, 2), (3, 2), (20, 2), (5, 4, 2), (6, 6, 6))
SMALL_SIZES: tuple[Sizes, ...] = ((2, 2), (3, 2), (3, 3, 2))


@dataclass(frozen=True)
class Violation:
    """One way to break a statement.

    Attributes:
        name: how it is reported.
        sizes: cluster sizes to try.
        start: (generator, restarts, sizes) -> parameters to ascend from.
        evaluate: (parameters, sizes) -> (slack, violation), each (R,): the hypothesis holds where slack > 0, and the
            statement is broken where violation > 0 besides.
        values: (parameters, sizes) -> the values of the first restart's case, where a violation is one that the
            statement's own check can settle in high precision.
    """

    name: str
    sizes: tuple[Sizes, ...]
    start: Callable[[torch.Generator, int, Sizes], Parameters]
    evaluate: Callable[[Parameters, Sizes], tuple[Tensor, Tensor]]
    values: Callable[[Parameters, Sizes], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Attack:
    """The best of all restarts.

    Attributes:
        violation: what was maximized.
        closest: the largest among restarts that respect the hypothesis (negative: never violated), -inf if none.
        sizes: cluster sizes of that restart.
        parameters: its parameters.
        inside: restarts that ended inside the hypothesis, of ``restarts``.
    """

    violation: Violation
    closest: float
    sizes: Sizes
    parameters: dict[str, np.ndarray]
    inside: int
    restarts: int

    def values(self) -> dict[str, Any] | None:
        """The case that it ended at, if its violation is made of cases."""
        if self.violation.values is None:
            return None
        parameters = {name: torch.from_numpy(value)[None] for name, value in self.parameters.items()}
        return self.violation.values(parameters, self.sizes)


def attack(violation: Violation, restarts: int = 48, steps: int = 200, seed: int = 0, rate: float = 0.05) -> Attack:
    """Adam on violation - penalty for leaving the hypothesis, all restarts of one size at once.

    The best point of the whole ascent counts, not the last.

    Raises:
        ValueError: fewer than one restart or step.
    """
    require_count(restarts, "restarts", 1, LARGEST_ROUNDS)
    require_count(steps, "steps", 1, LARGEST_STEPS)
    best = Attack(violation, -np.inf, violation.sizes[0], {}, 0, 0)
    for sizes in violation.sizes:
        generator = torch.Generator().manual_seed(seed)
        parameters = {k: v.requires_grad_() for k, v in violation.start(generator, restarts, sizes).items()}
        optimizer = torch.optim.Adam(parameters.values(), lr=rate)
        inside = torch.zeros(restarts, dtype=torch.bool)
        for _ in range(steps):
            slack, excess = violation.evaluate(parameters, sizes)
            valid = (slack > 0.0) & torch.isfinite(excess)
            inside |= valid
            reached = torch.where(valid, excess, -torch.inf).detach()
            where = int(reached.argmax())
            if reached[where].item() > best.closest:
                kept = {k: v[where].detach().numpy().copy() for k, v in parameters.items()}
                best = replace(best, closest=reached[where].item(), sizes=sizes, parameters=kept)
            objective = torch.where(torch.isfinite(excess), excess, 0.0) + 10.0 * slack.clamp_max(0.0)
            optimizer.zero_grad()
            (-objective.sum()).backward()
            for value in parameters.values():
                if value.grad is not None:
                    value.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimizer.step()
        best = replace(best, inside=best.inside + int(inside.sum()), restarts=best.restarts + restarts)
    return best

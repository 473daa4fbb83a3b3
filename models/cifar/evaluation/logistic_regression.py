"""Logistic regression on frozen features: the linear probe's classifier.

Multinomial, on features standardized by the training rows' mean and standard deviation, fitted by full-batch L-BFGS
along the features' principal axes.
"""

import math
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models.cifar.evaluation.features import LabelledFeatures
from models.losses.common import require_rows
from theory.numerics.inputs import require_count, require_number, require_range

# The largest entry of the gradient at which a fit counts as converged, ten times above where rounding stops line
# searches.
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}
# Steps that L-BFGS remembers.
HISTORY = 20
# The optimizer skips a curvature pair whose product is below 1e-10, whatever the objective's size; steps towards the
# minimum of a mean come to that. It is given the objective times this.
OBJECTIVE_SCALE = 1e4


@dataclass(frozen=True)
class LinearFit:
    """A linear classifier of standardized features: logits = ((x - center) / scale) weight^T + bias."""

    weight: Float[Tensor, "classes d"]
    """In units of a feature's standard deviation; of the dtype that it was searched in, as the bias is."""
    bias: Float[Tensor, " classes"]
    """Not penalized."""
    center: Float[Tensor, " d"]
    """Mean of the training rows, float64."""
    scale: Float[Tensor, " d"]
    """Their standard deviation (over N), float64; 1 where a feature is constant."""
    gradient: float
    """Largest absolute entry of the objective's gradient at the fit."""

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """One score a class; the largest is the class that is read.

        Raises:
            ValueError: features that are not finite and floating, or of another width.
        """
        require_rows(features, "features", minimum=1)
        if features.shape[1] != len(self.center):
            raise ValueError(f"features: must be {len(self.center)} wide as in training, got {features.shape[1]}")
        points = _standardize(features, self.center, self.scale).to(self.weight.dtype)
        return points @ self.weight.mT + self.bias


def fit_linear(
    train: LabelledFeatures,
    l2_weight: float,
    num_classes: int,
    *,
    start: LinearFit | None = None,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
    max_iterations: int = 5000,
) -> LinearFit:
    """Minimize mean cross-entropy + l2_weight |W|^2/2 over W and the bias by full-batch L-BFGS, until no entry of the
    gradient exceeds ``tolerance``.

    The objective is convex with one minimum (up to a constant that all biases share), so ``start`` moves the fit within
    the tolerance only. It is that of scikit-learn's LogisticRegression with C = 1/(N l2_weight).

    Args:
        l2_weight: positive.
        num_classes: labels lie in 0..num_classes-1.
        start: a fit to begin from, else zeros.
        dtype: float64, or float32, which takes a quarter of the time and converges less far. Features are
            standardized in float64 either way.
        tolerance: positive; None takes that of the dtype.
        max_iterations: of L-BFGS.

    Raises:
        ValueError: an argument out of range.
        ArithmeticError: not converged; names the gradient that is left.
    """
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype: must be one of torch.float64, torch.float32, got {dtype}")
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    require_number(tolerance, "tolerance", 0.0, math.inf, closed="neither")
    require_number(l2_weight, "l2_weight", 0.0, math.inf, closed="neither")
    require_count(num_classes, "num_classes", 2)
    require_count(max_iterations, "max_iterations", 1)
    require_range(train.labels, "labels", 0, num_classes - 1)
    values = train.features.double()
    center, scale = values.mean(0), values.std(0, correction=0)
    # Not by scale == 0: the mean of equal numbers is rounded, and a spread of round-off would be blown up to 1.
    scale = torch.where((values == values[0]).all(0), 1.0, scale)
    points, labels = _standardize(values, center, scale).to(dtype), train.labels.to(values.device).long()
    weight = torch.zeros(num_classes, points.shape[1], dtype=dtype, device=points.device)
    bias = torch.zeros(num_classes, dtype=dtype, device=points.device)
    if start is not None:
        weight.copy_(start.weight)
        bias.copy_(start.bias)
    gradient = _minimize(points, labels, weight, bias, l2_weight, tolerance, max_iterations)
    if not gradient <= tolerance:
        raise ArithmeticError(
            f"linear probe: the gradient is {gradient:.3g} after at most {max_iterations} iterations at "
            f"l2_weight {l2_weight:g}, tolerance {tolerance:g}"
        )
    return LinearFit(weight, bias, center, scale, gradient)


def _minimize(
    points: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, l2_weight: float, tolerance: float, iterations: int
) -> float:
    """Move ``weight`` and ``bias`` in place; returns the largest absolute entry of the gradient there.

    The search is for X with weight = (X scale) axes^T, where the columns of axes are the principal axes of the points
    and scale makes the objective about equally curved along all of them: by ``curvature`` times the variance, plus
    the penalty. Features whose variances differ by orders of magnitude then cost no more steps than others.
    """
    count, classes = len(points), len(bias)
    curvature = (classes - 1) / classes**2
    variances, axes = torch.linalg.eigh(points.mT @ points / count)
    scale = torch.cat([(curvature * variances.clamp_min(0.0) + l2_weight).rsqrt(), bias.new_tensor([curvature**-0.5])])
    inputs = torch.cat([points @ axes, torch.ones_like(points[:, :1])], 1) * scale
    penalty = l2_weight * scale.square()
    penalty[-1] = 0.0
    search = torch.cat([weight @ axes, bias[:, None]], 1) / scale
    rows, left = torch.arange(count, device=points.device), math.inf

    def objective() -> Tensor:
        nonlocal left
        log_shares = (inputs @ search.mT).log_softmax(-1)
        loss = F.nll_loss(log_shares, labels) + 0.5 * (search.square() * penalty).sum()
        excess = log_shares.exp_()
        excess[rows, labels] -= 1.0
        gradient = excess.mT @ inputs / count + search * penalty
        by_axis = gradient / scale
        left = max(float((by_axis[:, :-1] @ axes.mT).abs().max()), float(by_axis[:, -1].abs().max()))
        if left <= tolerance:
            raise _ConvergedError
        search.grad = gradient * OBJECTIVE_SCALE
        return loss * OBJECTIVE_SCALE

    optimizer = torch.optim.LBFGS(
        [search], max_iter=iterations, max_eval=3 * iterations, tolerance_grad=0.0, tolerance_change=0.0,
        history_size=HISTORY, line_search_fn="strong_wolfe",
    )  # fmt: skip
    # The optimizer knows the gradient with respect to X only, so it is left where the one that matters is small.
    with suppress(_ConvergedError):
        optimizer.step(objective)
        objective()
    found = search.detach() * scale
    weight.copy_(found[:, :-1] @ axes.mT)
    bias.copy_(found[:, -1])
    return left


class _ConvergedError(Exception):
    """The gradient is small enough."""


def _standardize(features: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    return (features.to(center.dtype) - center) / scale

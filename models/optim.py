"""Optimizers and their schedule: SGD, AdamW, and LARS (You et al., arXiv 1708.03888) by the rule that SimCLR trains by.

LARS gives every weight a step in proportion to its own norm. With gradient g, weight decay d and learning rate r,

    u = g + d w,    v <- m v + r eta |w|/|u| u,    w <- w - v,

where eta |w|/|u| is 1 if either norm is zero. Momentum comes after the scaling by r, so a change of the schedule does
not rescale past steps. Biases and parameters of normalization are neither decayed nor adapted: v <- m v + r g.

All parameters take their step together (torch's fused and foreach kernels), and none of it waits for a GPU. An
optimizer's attribute ``found_inf``, a number on the device, is the switch by which torch.amp.GradScaler skips a step:
where it is not 0, weights and state stay as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final, get_args

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from theory.numerics.inputs import (
    require_choice,
    require_count,
    require_flag,
    require_flags,
    require_number,
    require_range,
)
from theory.numerics.limits import LARGEST_EPOCHS, LARGEST_RATE

# What torch's operations on many tensors take, and return.
Tensors: TypeAlias = list[Tensor] | tuple[Tensor, ...]

OptimizerKind = Literal["sgd", "adamw", "lars"]
Schedule = Literal["cosine", "constant"]

# eta: SimCLR's trust coefficient.
TRUST_COEFFICIENT = 0.001
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its schedule.

    Raises:
        ValueError: an unknown choice, learning_rate not positive, momentum outside [0, 1), weight_decay or
            warmup_epochs negative, nesterov without momentum or with adamw.
    """

    kind: OptimizerKind = "sgd"
    """sgd, adamw, or lars as in SimCLR."""
    learning_rate: float = 0.06
    """The peak, as it is: not scaled by the batch size. Usual sizes are 0.03 to 0.5 for sgd, 0.001 for adamw, 1 for
    lars."""
    momentum: float = 0.9
    """In [0, 1); adamw takes it as its first beta."""
    weight_decay: float = 5e-4
    """At least 0; biases and parameters of normalization have none. adamw multiplies it by the learning rate only."""
    warmup_epochs: int = 1
    """Epochs in which the learning rate rises linearly to its peak; at most all."""
    schedule: Schedule = "cosine"
    """After the warm-up: cosine falls to zero at the end, constant stays."""
    nesterov: bool = False
    """Of sgd and lars: look ahead by one step of momentum."""

    def __post_init__(self) -> None:
        require_choice(self.kind, "kind", get_args(OptimizerKind))
        require_choice(self.schedule, "schedule", get_args(Schedule))
        require_flags(self)
        require_number(self.learning_rate, "learning_rate", 0.0, LARGEST_RATE, closed="neither")
        require_number(self.momentum, "momentum", 0.0, 1.0, closed="left")
        require_number(self.weight_decay, "weight_decay", 0.0, LARGEST_RATE, closed="left")
        require_count(self.warmup_epochs, "warmup_epochs", 0, LARGEST_EPOCHS)
        if self.nesterov and self.kind == "adamw":
            raise ValueError("nesterov: goes with sgd and lars only, not with adamw")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: needs a momentum above 0")


@final
class Lars(torch.optim.Optimizer):
    """SimCLR's LARS (module docstring). A group of parameters with ``"adapt": False`` is not adapted.

    Args:
        params: parameters, or groups of them (parameter_groups).
        lr: the learning rate r.
        momentum: m, in [0, 1).
        weight_decay: d, at least 0.
        eta: the trust coefficient.
        nesterov: step by m v + r eta |w|/|u| u instead of v.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = TRUST_COEFFICIENT,
        nesterov: bool = False,
    ) -> None:
        require_flag(nesterov, "nesterov")
        require_number(lr, "lr", 0.0, LARGEST_RATE, closed="left")
        require_number(momentum, "momentum", 0.0, 1.0, closed="left")
        require_number(weight_decay, "weight_decay", 0.0, LARGEST_RATE, closed="left")
        require_number(eta, "eta", 0.0, LARGEST_RATE, closed="neither")
        group = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "nesterov": nesterov}
        super().__init__(params, group | {"adapt": True})
        # GradScaler then hands over its scale and its verdict instead of waiting for it.
        self._step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are.

        Args:
            closure: computes the loss again, with gradients, and returns it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_of(weights, group)
        return loss

    def _step_of(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        skipped, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        gradients: Tensors = [weight.grad for weight in weights if weight.grad is not None]
        if scale is not None:
            gradients = torch._foreach_div(gradients, scale)
        updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            sizes, slopes = (torch.stack(torch._foreach_norm(each)) for each in (weights, updates))
            # Chosen on the device: asking the host for it would wait for the GPU.
            trust = torch.where((sizes > 0) & (slopes > 0), group["eta"] * sizes / slopes, 1.0)
            torch._foreach_mul_(updates, list(trust.unbind()))
        torch._foreach_mul_(updates, group["lr"])
        for weight in weights:
            if "velocity" not in self.state[weight]:
                self.state[weight]["velocity"] = torch.zeros_like(weight)
        velocities = [self.state[weight]["velocity"] for weight in weights]
        moved: Tensors = torch._foreach_mul(velocities, group["momentum"])
        torch._foreach_add_(moved, updates)
        steps: Tensors = torch._foreach_add(updates, moved, alpha=group["momentum"]) if group["nesterov"] else moved
        if skipped is not None:
            # Products would keep what is not finite.
            stays = skipped != 0
            steps = [torch.where(stays, 0.0, step) for step in steps]
            moved = [torch.where(stays, old, new) for old, new in zip(velocities, moved)]
        torch._foreach_sub_(weights, steps)
        torch._foreach_copy_(velocities, moved)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters of a module in two groups, each once, in the module's order; empty groups are left out.

    Biases, scalars and other vectors, and whatever belongs to a normalization, have weight decay 0 and are not adapted
    by LARS; other optimizers ignore "adapt".

    Raises:
        ValueError: weight_decay negative, or no parameter that can be trained.
    """
    require_number(weight_decay, "weight_decay", 0.0, LARGEST_RATE, closed="left")
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    seen: set[int] = set()
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            # Parts that share a parameter name it twice.
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                (plain if parameter.ndim <= 1 or isinstance(part, NORMS) else decayed).append(parameter)
    if not seen:
        raise ValueError("module: has no parameter that can be trained")
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "adapt": True},
        {"params": plain, "weight_decay": 0.0, "adapt": False},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a module's trainable parameters (parameter_groups); its learning rate is the peak.

    Where the parameters lie, and in which order of memory (channels_last), must be final: momentum is laid out as they
    are, and fused kernels go through both in the order of memory, whatever the strides say.

    Raises:
        ValueError: no parameter that can be trained.
    """
    groups = parameter_groups(module, config.weight_decay)
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999), fused=True)
    rate, momentum, nesterov = config.learning_rate, config.momentum, config.nesterov
    if config.kind == "lars":
        return Lars(groups, lr=rate, momentum=momentum, nesterov=nesterov)
    sgd = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov, fused=True)
    if config.momentum > 0.0:
        # torch leaves the memory as it is where the very first step is skipped.
        for weight in (each for group in sgd.param_groups for each in group["params"]):
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


def restore_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Load a stored state, which may be of an optimizer that took parameters one by one, or of parameters in another
    order of memory: how steps are computed is this optimizer's own business. What is stored is left as it is.

    Raises:
        ValueError: other groups of parameters.
        KeyError: no state of an optimizer.
    """
    kernels = [
        {name: group[name] for name in ("fused", "foreach") if name in group} for group in optimizer.param_groups
    ]
    groups = stored["param_groups"]
    if len(groups) != len(kernels):
        raise ValueError(f"stored: expected {len(kernels)} groups of parameters, got {len(groups)}")
    optimizer.load_state_dict({**stored, "param_groups": [group | own for group, own in zip(groups, kernels)]})
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                # Fused kernels read both in the order of memory; a state in another one would be of other entries.
                like = weight if value.shape == weight.shape else value
                state[name] = torch.empty_like(like, dtype=value.dtype, device=value.device).copy_(value)


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float, schedule: Schedule = "cosine") -> float:
    """The learning rate of a step.

    Warm-up: peak (step + 1) / warmup_steps, so that the first step already learns and the last one is at the peak.
    Then, with u = (step - warmup_steps) / (total_steps - warmup_steps), peak (1 + cos(pi u)) / 2, or the peak itself.

    Args:
        step: 0 for the first; total_steps, after the last, gives the schedule's end.
        total_steps: at least 1.
        warmup_steps: from 0 to total_steps.
        peak: at least 0.
        schedule: cosine or constant.

    Raises:
        ValueError: a value outside its range.
    """
    require_choice(schedule, "schedule", get_args(Schedule))
    require_count(total_steps, "total_steps", 1)
    require_count(warmup_steps, "warmup_steps", 0)
    require_count(step, "step", 0)
    require_range(warmup_steps, "warmup_steps", 0, total_steps)
    require_range(step, "step", 0, total_steps)
    require_number(peak, "peak", 0.0, LARGEST_RATE, closed="left")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant" or warmup_steps == total_steps:
        return peak
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The learning rate of every group of parameters, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = value


def gradient_norm(module: nn.Module) -> Float64[Tensor, ""]:
    """Euclidean norm of all gradients of a module's parameters, taken together; those without one are left out.

    It lies on the gradients' device, and nobody waits for it.

    Raises:
        ValueError: no parameter has a gradient.
    """
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if not gradients:
        raise ValueError("module: no parameter has a gradient; a backward pass must come first")
    return torch.stack(torch._foreach_norm(gradients, dtype=torch.float64)).norm()

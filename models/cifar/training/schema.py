"""What a checkpoint may hold: every field's type, shape and range. Whatever else a file holds is refused by name.

Two steps, because tensors can only be held against networks once the configuration beside them has been read:
``check_plain`` for what needs no network, ``check_networks`` for weights, optimizer and loss scale.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.cifar.data.fingerprint import check_fingerprint
from models.cifar.training.config import TrainConfig

TABLES = ("epochs", "layers", "scores", "left_out")
LARGEST_COUNT = 2**53
LARGEST_PROCESSES, LARGEST_EPOCH = 2**16, 2**31
LONGEST_TEXT, LONGEST_TABLE, MOST_COLUMNS, MOST_TENSORS = 2**16, 2**24, 2**10, 2**16
# Networks are built to be held against the file: no setting of it may make that take more than a moment.
LARGEST_WIDTH, LARGEST_DEPTH = 2**16, 2**10
LARGEST_QUEUE = 2**26
DEEPEST = 6
# What an optimizer keeps of a weight: name -> (a scalar instead of the weight's shape, smallest value).
OPTIMIZER_STATE: dict[str, dict[str, tuple[bool, float]]] = {
    "adamw": {"step": (True, 0.0), "exp_avg": (False, -math.inf), "exp_avg_sq": (False, 0.0)},
    "sgd": {"momentum_buffer": (False, -math.inf)},
    "lars": {"velocity": (False, -math.inf)},
}
# Which of torch's kernels take the steps.
KERNELS = ("fused", "foreach")
# Buffers that cannot be negative, by how their names end.
NOT_NEGATIVE = ("running_var", "num_batches_tracked", "_extra_state")


def check_plain(stored: dict, where: str) -> None:
    """Everything but the values of tensors: types, and the ranges of numbers, words and tables.

    Raises:
        ValueError: names ``where`` and the field.
    """
    for name, check in PLAIN.items():
        check(stored[name], f"{where}: {name}")
    rows = [row.get("epoch") for row in stored["epochs"]]
    if rows != list(range(1, stored["epoch"] + 1)):
        raise ValueError(f"{where}: epochs: must have one row for each of the {stored['epoch']} epochs, in order")
    for name in TABLES[1:]:
        for row in stored[name]:
            if type(row.get("epoch")) is not int or not 1 <= row["epoch"] <= stored["epoch"]:
                raise ValueError(f"{where}: {name}: a row's epoch must lie in [1, {stored['epoch']}]")


def _count(low: int, high: int) -> Callable[[object, str], None]:
    def check(value: object, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{where}: must be a whole number in [{low}, {high}], got {_shown(value)}")

    return check


def _check_settings(value: object, where: str, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise ValueError(f"{where}: is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for name, each in value.items():
            _check_text(name, f"{where}: a name")
            _check_settings(each, f"{where}.{name}", depth + 1)
    elif isinstance(value, list) and len(value) <= MOST_COLUMNS:
        for each in value:
            _check_settings(each, where, depth + 1)
    else:
        _check_scalar(value, where, finite=True)


def _check_scalar(value: object, where: str, finite: bool = False) -> None:
    if isinstance(value, str):
        _check_text(value, where)
    elif value is not None and type(value) not in (bool, int, float):
        raise ValueError(f"{where}: must be a number, text or nothing, got {_shown(value)}")
    elif type(value) is int and abs(value) > LARGEST_COUNT:
        raise ValueError(f"{where}: must lie in [-2^53, 2^53], got {_shown(value)}")
    elif type(value) is float and finite and not math.isfinite(value):
        raise ValueError(f"{where}: must be finite, got {value}")


def _check_text(value: object, where: str) -> None:
    if type(value) is not str or len(value) > LONGEST_TEXT:
        raise ValueError(f"{where}: must be text of at most {LONGEST_TEXT} characters, got {_shown(value)}")


def _check_table(value: object, where: str) -> None:
    if type(value) is not list or len(value) > LONGEST_TABLE:
        raise ValueError(f"{where}: must be a list of at most {LONGEST_TABLE} rows, got {_shown(value)}")
    for number, row in enumerate(value):
        if type(row) is not dict or len(row) > MOST_COLUMNS:
            raise ValueError(f"{where}: row {number} must have at most {MOST_COLUMNS} named cells, got {_shown(row)}")
        for name, cell in row.items():
            _check_text(name, f"{where}: row {number}")
            _check_scalar(cell, f"{where}: row {number}: {name}")


def check_init(value: object, where: str) -> dict:
    """What a training has started from (initial.py).

    Raises:
        ValueError: names ``where`` and the field.
    """
    fields = {"checkpoint", "sha256", "epoch", "taken", "left", "data"}
    if type(value) is not dict or set(value) != fields:
        raise ValueError(f"{where}: must have exactly {', '.join(sorted(fields))}")
    _check_settings(value, where)
    for name in ("checkpoint", "sha256"):
        _check_text(value[name], f"{where}.{name}")
    _count(0, LARGEST_EPOCH)(value["epoch"], f"{where}.epoch")
    for name in ("taken", "left"):
        if type(value[name]) is not list or not all(type(each) is str for each in value[name]):
            raise ValueError(f"{where}.{name}: must be a list of names")
    if value["data"] is not None:
        _check_text(value["data"], f"{where}.data")
    return value


def _check_optional(check: Callable[[object, str], Any]) -> Callable[[object, str], None]:
    return lambda value, where: None if value is None else check(value, where)


def _check_learner(value: object, where: str) -> None:
    if not isinstance(value, dict) or len(value) > MOST_TENSORS:
        raise ValueError(f"{where}: must be tensors by name, got {_shown(value)}")
    for name, tensor in value.items():
        _check_text(name, f"{where}: a name")
        _check_tensor(tensor, f"{where}.{name}")


def _check_optimiser(value: object, where: str) -> None:
    if type(value) is not dict or set(value) != {"state", "param_groups"}:
        raise ValueError(f"{where}: must have exactly state and param_groups")
    if type(value["state"]) is not dict or len(value["state"]) > MOST_TENSORS:
        raise ValueError(f"{where}.state: must be tables by number, got {_shown(value['state'])}")
    for key, kept in value["state"].items():
        if type(key) is not int or type(kept) is not dict or len(kept) > MOST_COLUMNS:
            raise ValueError(f"{where}.state: must be tables by number, got {_shown(kept)} of {_shown(key)}")
        for name, tensor in kept.items():
            _check_text(name, f"{where}.state.{key}")
            _check_tensor(tensor, f"{where}.state.{key}.{name}")
    groups = value["param_groups"]
    if type(groups) is not list or len(groups) > MOST_COLUMNS:
        raise ValueError(f"{where}.param_groups: must be a list, got {_shown(groups)}")
    for group in groups:
        if type(group) is not dict or len(group) > MOST_COLUMNS:
            raise ValueError(f"{where}.param_groups: must be settings by name, got {_shown(group)}")
        for name, each in group.items():
            if type(each) not in (list, tuple):
                _check_scalar(each, f"{where}.param_groups.{name}")
            elif len(each) > MOST_TENSORS or not all(type(number) in (int, float) for number in each):
                raise ValueError(f"{where}.param_groups.{name}: must be numbers")


def _check_tensor(value: object, where: str) -> None:
    if type(value) is not Tensor and type(value) is not nn.Parameter:
        raise ValueError(f"{where}: must be a tensor, got {_shown(value)}")
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        raise ValueError(f"{where}: must be a dense tensor, got {value.layout} on {value.device.type}")
    if value.dtype.is_complex:
        raise ValueError(f"{where}: must be of real numbers, got {value.dtype}")
    # A view of one stored number may claim any size.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{where}: claims shape {tuple(value.shape)} of fewer stored numbers")


PLAIN: dict[str, Callable[[object, str], Any]] = {
    "config": _check_settings,
    "processes": _count(1, LARGEST_PROCESSES),
    "epoch": _count(0, LARGEST_EPOCH),
    "data": _check_optional(check_fingerprint),
    "place": _check_optional(_check_text),
    "init": _check_optional(check_init),
    "scaler": _check_settings,
    "learner": _check_learner,
    "optimiser": _check_optimiser,
    **dict.fromkeys(TABLES, _check_table),
}


def check_sizes(config: TrainConfig, where: str) -> None:
    """Refuse settings of networks that are too large to be built for a comparison.

    Raises:
        ValueError: names ``where`` and the setting.
    """
    limits = {f"head.{name}": LARGEST_WIDTH for name in ("out_dim", "hidden_dim", "width", "feed_forward")}
    limits |= {"head.depth": LARGEST_DEPTH, "head.num_heads": LARGEST_DEPTH, "encoder.width": LARGEST_WIDTH}
    limits |= {"method.queue_size": LARGEST_QUEUE}
    for name, most in limits.items():
        group, _, setting = name.partition(".")
        value = getattr(getattr(config, group), setting, None)
        if value is not None and value > most:
            raise ValueError(f"{where}: config.{name}: must be at most {most} in a checkpoint, got {value}")


def check_weights(stored: dict, expected: dict[str, Tensor], where: str) -> None:
    """Weights and buffers against those of the networks that the configuration describes, which may be on ``meta``.

    Raises:
        ValueError: names ``where`` and the tensor: missing, unknown, of another type or shape, not finite, negative.
    """
    unlike = sorted(set(expected) ^ set(stored["learner"]))
    if unlike:
        told = f"{'misses' if unlike[0] in expected else 'has unknown'} {unlike[0]}"
        raise ValueError(f"{where}: learner: {told}; its networks are not those of its configuration")
    for name, like in expected.items():
        low = 0.0 if name.endswith(NOT_NEGATIVE) else -math.inf
        _check_values(stored["learner"][name], like.dtype, tuple(like.shape), low, f"{where}: learner.{name}")


def check_optimizer(stored: dict, config: TrainConfig, optimizer: torch.optim.Optimizer, where: str) -> None:
    """The optimizer's state against a new one of the same networks.

    Raises:
        ValueError: names ``where`` and the field.
    """
    where = f"{where}: optimiser"
    fresh, groups = optimizer.state_dict()["param_groups"], stored["optimiser"]["param_groups"]
    if len(groups) != len(fresh):
        raise ValueError(f"{where}.param_groups: must be {len(fresh)}, got {len(groups)}")
    for group, like in zip(groups, fresh):
        if set(group) != set(like):
            raise ValueError(f"{where}.param_groups: must have exactly {', '.join(like)}, got {', '.join(group)}")
        for name, value in like.items():
            if name in KERNELS:
                # How steps are computed is the new optimizer's own business (models.optim.restore_optimizer).
                continue
            if name == "lr":
                peak, rate = config.optimiser.learning_rate, group[name]
                if type(rate) not in (int, float) or not 0.0 <= rate <= peak:
                    raise ValueError(f"{where}.param_groups.lr: must lie in [0, {peak:g}], got {_shown(rate)}")
            elif group[name] != value or type(group[name]) is not type(value):
                raise ValueError(f"{where}.param_groups.{name}: must be {value}, got {_shown(group[name])}")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kinds = OPTIMIZER_STATE[config.optimiser.kind]
    for number, kept in stored["optimiser"]["state"].items():
        if not 0 <= number < len(weights):
            raise ValueError(f"{where}.state: has unknown {number}")
        if kept and set(kept) != set(kinds):
            raise ValueError(f"{where}.state.{number}: must have exactly {', '.join(kinds)}, got {', '.join(kept)}")
        for name, tensor in kept.items():
            scalar, low = kinds[name]
            shape = () if scalar else tuple(weights[number].shape)
            _check_values(tensor, weights[number].dtype, shape, low, f"{where}.state.{number}.{name}")


def check_scaler(stored: dict, scaler: torch.amp.GradScaler, where: str) -> None:
    """The loss scale of fp16 against a new one.

    Raises:
        ValueError: names ``where`` and the field.
    """
    fresh, found = scaler.state_dict(), stored["scaler"]
    if not isinstance(found, dict) or set(found) != set(fresh):
        raise ValueError(f"{where}: scaler: must have exactly {', '.join(fresh) or 'nothing'}")
    for name, value in found.items():
        low = 0 if name == "_growth_tracker" else 2.0**-64
        if type(value) not in (int, float) or not low <= value <= 2.0**64:
            raise ValueError(f"{where}: scaler.{name}: must lie in [{low:g}, 2^64], got {_shown(value)}")


def _check_values(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...], low: float, where: str) -> None:
    if tensor.dtype != dtype:
        raise ValueError(f"{where}: must be {dtype}, got {tensor.dtype}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{where}: must have shape {shape}, got {tuple(tensor.shape)}")
    if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{where}: contains NaN or infinity")
    if low > -math.inf and bool((tensor < low).any()):
        raise ValueError(f"{where}: must be at least {low:g}, got {tensor.min().item():g}")


def _shown(value: object) -> str:
    """A value as a message can show it, whatever its size."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**30 else "a larger number"
    return repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"

"""The pretend accelerator itself.

A ``PretendTensor`` claims the device "meta", which has a guard in every build of torch, so that autograd accepts it,
and holds a CPU tensor that does the work. ``PretendDevice`` is the mode in which such tensors live: it turns factories
and transfers that name the device into pretend tensors, refuses what a real device refuses, and logs what it waits for.

What it takes a real device to do, by the example of CUDA:

- Tensors of two devices do not mix, except that a 0-d tensor of the CPU goes with any, as a number would.
- Whatever ends in a number, a truth value or a shape that depends on values waits; ATen tags these operations.
- A download waits. An upload waits too, unless it is non_blocking.
- A generator of the CPU cannot draw on the device.

Not modelled: streams, pinned memory, autocast's narrowing (inside, autocast is a name without effect), other dtypes
than the CPU's, and what a kernel costs.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any, ClassVar
from unittest.mock import patch

import torch
import torch.optim.optimizer as optimizer
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from models import environment
from tests.stand_in.events import Log

DEVICE = torch.device("meta")
aten = torch.ops.aten

WAITING_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPIES = {aten._to_copy.default, aten.copy_.default}
# Tagged as if their shape depended on values, which is so for boolean indices only.
ASKED = INDEXING | COPIES
# From Python's own numbers to a tensor, which torch leaves empty on the meta device.
FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor}
# Refused to wrappers by torch itself.
TO_HOST = {Tensor.tolist, Tensor.numpy, Tensor.__array__}


class PretendTensor(torch.Tensor):
    """A tensor that claims DEVICE and holds a CPU tensor, ``inner``."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self, **_options: Any) -> str:
        return f"PretendTensor({self.inner!r})"

    def __deepcopy__(self, memo: dict) -> Tensor:
        copy = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        memo[id(self)] = copy
        return copy

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise RuntimeError(f"{func}: a pretend tensor works inside its PretendDevice only")


class PretendGenerator(torch.Generator):
    """A generator that claims DEVICE, with the draws of one of the CPU's."""

    # Operations are handed another object for the same generator.
    known: ClassVar[set[int]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.known.add(self._cdata)

    def __del__(self) -> None:
        self.known.discard(self._cdata)

    @property
    def device(self) -> torch.device:
        return DEVICE


class PretendDevice(TorchDispatchMode):
    """``with PretendDevice() as log:`` DEVICE is an accelerator inside, and ``log`` says what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()

    def __enter__(self) -> Log:
        self._around = ExitStack()
        for context in _patches():
            self._around.enter_context(context)
        self._around.enter_context(_Constructors())
        super().__enter__()
        return self.log

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._around.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors([*args, *kwargs.values()])
        pretended = any(isinstance(each, PretendTensor) for each in given)
        target = kwargs.get("device")
        if not pretended and (target is None or torch.device(target) != DEVICE):
            _require_own_generator(func, kwargs, False)
            return func(*args, **kwargs)
        self.log.operations[func.__name__.partition(".")[0]] += 1
        if func in ASKED:
            _COSTS[func](self.log, func, args, kwargs)
        else:
            if WAITING_TAGS & set(func.tags) and _waits(func, args, kwargs):
                self.log.add("wait", str(func))
            if pretended:
                _require_one_device(func, given)
        on_device = pretended if target is None else torch.device(target) == DEVICE
        _require_own_generator(func, kwargs, on_device)
        return _compute(func, args, kwargs, on_device)


def _compute(func: Any, args: tuple, kwargs: dict, on_device: bool) -> Any:
    """On the CPU; results are pretend tensors, and an argument that was written to is itself."""
    owners: dict[int, Tensor] = {}

    def unwrap(value: Any) -> Any:
        if isinstance(value, PretendTensor):
            owners[id(value.inner)] = value
            return value.inner
        return torch.device("cpu") if isinstance(value, torch.device) and value == DEVICE else value

    if func is aten._to_copy.default and "device" not in kwargs and not on_device:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain_args, plain_kwargs = _map(unwrap, args), _map(unwrap, kwargs)
    if func is aten.copy_.default and _same_places(*plain_args[:2]):
        return args[0]
    before = {key: owner.inner.shape for key, owner in owners.items()}
    found = func(*plain_args, **plain_kwargs)
    for key, owner in owners.items():
        if owner.inner.shape != before[key]:
            raise RuntimeError(
                f"{func}: changed the shape of a pretend tensor, which keeps the one that it was made with"
            )

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in owners:
            return owners[id(value)]
        return PretendTensor(value) if on_device else value

    if func is aten.copy_.default:
        return args[0]
    return _map(wrap, found)


def _same_places(first: Tensor, second: Tensor) -> bool:
    """Whether both are the same numbers in memory, but for strides of dimensions of length 1: a product that is written
    to ``out`` is copied to itself, which torch leaves out where it sees one tensor, and here sees two wrappers."""

    def places(each: Tensor) -> tuple:
        return each.data_ptr(), each.dtype, each.shape, [s for s, n in zip(each.stride(), each.shape) if n > 1]

    return places(first) == places(second)


def _require_one_device(func: Any, given: list[Tensor]) -> None:
    for each in given:
        if not isinstance(each, PretendTensor) and each.ndim > 0:
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, but found at least two, {DEVICE} and "
                f"{each.device} (of shape {tuple(each.shape)})"
            )


def _require_own_generator(func: Any, kwargs: dict, on_device: bool) -> None:
    generator = kwargs.get("generator")
    if generator is None:
        return
    of_device = generator._cdata in PretendGenerator.known
    if of_device != on_device:
        places = [DEVICE if each else torch.device("cpu") for each in (on_device, of_device)]
        raise RuntimeError(f"{func}: expected a generator of {places[0]}, got one of {places[1]}")


def _waits(func: Any, args: tuple, kwargs: dict) -> bool:
    if func is aten.repeat_interleave.Tensor:
        return kwargs.get("output_size") is None
    return True


def _cost_of_copy(log: Log, func: Any, args: tuple, kwargs: dict) -> None:
    if func is aten.copy_.default:
        to, source = args[0], args[1]
        here, there = isinstance(source, PretendTensor), isinstance(to, PretendTensor)
        asynchronous = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
        number = source.ndim == 0
    else:
        source, target = args[0], kwargs.get("device")
        here = isinstance(source, PretendTensor)
        there = here if target is None else torch.device(target) == DEVICE
        asynchronous, number = kwargs.get("non_blocking", False), False
    if here and not there:
        log.add("wait", str(func))
    elif there and not here and not (number and source.device.type == "cpu" and _wrapped(source)):
        log.add("upload" if asynchronous else "blocking upload", str(func))


def _wrapped(source: Tensor) -> bool:
    """Numbers of Python reach copies as 0-d tensors; on a real device they are a kernel's argument."""
    return source.dtype in (torch.float64, torch.int64, torch.bool)


def _cost_of_indexing(log: Log, func: Any, args: tuple, kwargs: dict) -> None:
    indices = [each for each in args[1] if each is not None]
    for index in indices:
        if not isinstance(index, PretendTensor) and isinstance(args[0], PretendTensor):
            log.add("blocking upload", str(func))
        if index.dtype in (torch.bool, torch.uint8):
            log.add("wait", str(func))
    others = [args[0], *args[2:3]]
    _require_one_device(func, [each for each in others if isinstance(each, Tensor)])
    if not isinstance(args[0], PretendTensor) and any(isinstance(index, PretendTensor) for index in indices):
        raise RuntimeError(f"{func}: indices should be either on cpu or on the device of the indexed tensor (cpu)")


_COSTS = {func: _cost_of_indexing for func in INDEXING} | {func: _cost_of_copy for func in COPIES}


def _tensors(values: Any) -> list[Tensor]:
    """All tensors among an operation's arguments, which are nested in lists at most."""
    found: list[Tensor] = []
    for each in values:
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, list | tuple):
            found += _tensors(each)
    return found


def _map(change: Callable, values: Any) -> Any:
    """What torch.utils._pytree.tree_map does, for what operations take and return; a third of a step's time less."""
    kind = type(values)
    if kind is tuple or kind is list:
        return kind([_map(change, each) for each in values])
    if kind is dict:
        return {name: _map(change, each) for name, each in values.items()}
    return change(values)


class _Constructors(TorchFunctionMode):
    """Tensors made of Python's numbers: made on the CPU and uploaded."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in TO_HOST and isinstance(args[0], PretendTensor):
            if func is not Tensor.tolist:
                raise TypeError(f"can't convert {DEVICE} device type tensor to numpy; use Tensor.cpu() first")
            return args[0].cpu().tolist()
        if func not in FROM_NUMBERS:
            return func(*args, **kwargs)
        wanted, maker, values = kwargs.get("device"), func, args
        if func is Tensor.new_tensor:
            wanted, maker, values = wanted or args[0].device, torch.tensor, args[1:]
            kwargs.setdefault("dtype", args[0].dtype)
        if wanted is None or torch.device(wanted) != DEVICE:
            return func(*args, **kwargs)
        kwargs.pop("device", None)
        if isinstance(values[0], PretendTensor):
            return values[0].to(kwargs.get("dtype") or values[0].dtype)
        return maker(*values, **kwargs).to(DEVICE)


def _patches() -> list[Any]:
    """What torch and ours would do for a device of theirs."""
    true_autocast, true_fused = torch.autocast, optimizer._get_fused_kernels_supported_devices
    true_resolve = environment.resolve_device

    def resolve_device(device: Any) -> torch.device:
        return DEVICE if torch.device(device) == DEVICE else true_resolve(device)

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == DEVICE.type else true_autocast(device_type, *args, **kwargs)

    # Some modules are objects of their own making.
    named = [(each, getattr(each, "__dict__", {}).get("resolve_device")) for each in list(sys.modules.values())]
    importers = [module for module, function in named if function is true_resolve]
    return [
        *(patch.object(each, "resolve_device", resolve_device) for each in importers),
        patch.object(torch, "autocast", autocast),
        patch.object(optimizer, "_get_fused_kernels_supported_devices", lambda: [*true_fused(), DEVICE.type]),
    ]

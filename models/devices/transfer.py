"""Tensors of the host on their way to a device, without a wait on either side."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
# Where a transfer takes its turn by itself; on the device without memory there is nothing to wait for.
AHEAD = ("cuda", "meta")


def moved(module: Module, device: torch.device | str, memory_format: torch.memory_format) -> Module:
    """The module itself, now on ``device``, its kernels in that order of memory."""
    return module.to(device, memory_format=memory_format)  # type: ignore[call-overload]  # torch's stub has no such word


def upload(values: Tensor, device: torch.device | str) -> Tensor:
    """The values on ``device``; themselves where they are there already.

    A plain ``to`` holds the host up until a GPU has done all that was asked of it before. From pinned memory, which
    torch keeps until the copy is done, the transfer takes its turn on the device instead. Towards the host it must be
    waited for: who reads the values next does not ask the device whether they have arrived.
    """
    device = torch.device(device)
    if values.device == device:
        return values
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=device.type in AHEAD)


def upload_together(values: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Many tensors in one transfer of each of their dtypes."""
    found: list[Tensor] = list(values)
    for dtype in {each.dtype for each in values}:
        places = [place for place, each in enumerate(values) if each.dtype == dtype]
        flat = upload(torch.cat([values[place].flatten() for place in places]), device)
        for place, part in zip(places, flat.split([values[place].numel() for place in places])):
            found[place] = part.view(values[place].shape)
    return found

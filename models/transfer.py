"""Tensors of the host on their way to a device, without a wait on either side."""

import torch
from torch import Tensor


def upload(values: Tensor, device: torch.device | str) -> Tensor:
    """The values on ``device``; themselves where they are there already.

    A plain ``to`` holds the host up until a GPU has done all that was asked of it before. From pinned memory, which
    torch keeps until the copy is done, the transfer takes its turn on the device instead.
    """
    device = torch.device(device)
    if values.device == device:
        return values
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)

"""Functions of one's own for autograd, called often."""

import inspect
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=type[torch.autograd.Function])


def signed(function: Function) -> Function:
    """The function, whose ``forward`` keeps its signature. Of those with a ``setup_context`` torch asks for it in every
    call, and it takes as long to be found out as a loss of a few hundred rows takes for a sum."""
    vars(function.forward)["__signature__"] = inspect.signature(function.forward)
    return function

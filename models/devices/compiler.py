"""torch.compile, and what it needs of the machine before a training begins."""

import os
import shutil
import sys
import warnings
from importlib.util import find_spec

import torch
from torch import nn

# Who turns a graph into code.
BACKEND = "inductor"


def compile_in_place(module: nn.Module) -> None:
    """Have ``module(...)`` run compiled, from the second call on; its parameters, and what is stored, are the same."""
    # Told of functions that keep what they have found, line by line; what they find does not change here.
    warnings.filterwarnings("ignore", message=r"(?s).*functools\.lru_cache", category=UserWarning)
    module.compile(backend=BACKEND)


def require_compiler(name: str, device: torch.device) -> None:
    """Refuse a setting that compiles where nothing can.

    Args:
        name: of the setting, for the error.

    Raises:
        ValueError: no C++ compiler for code on the CPU, no triton for code on a GPU.
    """
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise ValueError(f"{name}: torch.compile needs the package triton for {device}; leave it out")
        return
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"{name}: torch.compile needs a C++ compiler, and there is no {compiler} here; install one, name one by "
            "the environment variable CXX, or leave it out"
        )

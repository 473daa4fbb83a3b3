"""What tests of backends run in other processes. These import this module, so it imports little."""

import importlib
import os
import signal

import torch

from models.stack import AttentionStack


def dask_command(name, arguments):
    """The command ``dask worker``, say, in silence."""
    import dask

    program = importlib.import_module(f"distributed.cli.dask_{name}")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    # With the default of 3 a deadly task would have to be watched killing four workers.
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        program.main(arguments)


def double(number):
    return 2 * number


def number_of_threads(_):
    return torch.get_num_threads()


def refuse(number):
    raise ValueError(f"task {number}")


def deadly_stack(threshold_of_death, depth, threshold, *arguments, **options):
    """A stack, or the end of the process that asks for one with that threshold."""
    if threshold == threshold_of_death:
        os.kill(os.getpid(), signal.SIGKILL)
    return AttentionStack(depth, threshold, *arguments, **options)

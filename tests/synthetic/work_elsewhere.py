"""What tests of backends run in other processes. These import this module, so it imports little."""

import os
import signal

import torch

from models.stack import AttentionStack


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

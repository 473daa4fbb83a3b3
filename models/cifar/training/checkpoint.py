"""Checkpoints: everything that a training needs to go on as if it had not stopped, in one file, whole or not at all."""

import errno
import os
from pathlib import Path

import torch

from theory.numerics.whole_files import replacing

CHECKPOINT = "checkpoint.pt"
# What a checkpoint holds; anything else is refused.
KEYS = {"config", "processes", "epoch", "learner", "optimiser", "scaler", "epochs", "layers", "scores"}


def save_checkpoint(path: Path, state: dict) -> None:
    """Write tensors, numbers and words; the file that was there stays until the new one is whole.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # torch reports a full disk in words of its own.
            raise OSError(errno.EIO, f"could not be written whole ({error})", str(path)) from error
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read a checkpoint; only tensors, numbers, words and their lists are unpickled.

    Raises:
        ValueError: no such file, a damaged one, or one that holds something else.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such checkpoint") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path}: is a folder; give the {CHECKPOINT} inside it") from error
    except Exception as error:  # what is no checkpoint can end torch's reader in any exception
        raise ValueError(f"{path}: not a checkpoint, or a damaged one ({type(error).__name__})") from error
    if not isinstance(state, dict) or set(state) != KEYS:
        raise ValueError(f"{path}: not a checkpoint of this version of the trainer")
    return state

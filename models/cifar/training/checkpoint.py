"""Checkpoints: everything that a training needs to go on as if it had not stopped, in one file, whole or not at all.

A file is what ``torch.save`` makes of a dictionary (FIELDS), and ``torch.load(path, weights_only=True)`` reads it. Its
field ``sha256`` is a checksum over the content of all others: a file in which something was changed, be it one bit, is
refused, or holds what it held. A file is data: only tensors, numbers, words and their lists are read, each of its type
and in its range (schema.py), and nothing is ever written to a path that it names.
"""

import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.cifar.training.schema import TABLES, check_plain
from theory.numerics.whole_files import replacing

CHECKPOINT = "checkpoint.pt"
# Earlier versions had no more than these, and no checksum.
FIRST_FIELDS = {"config", "processes", "epoch", "learner", "optimiser", "scaler", "epochs", "layers", "scores"}
# data: the images' fingerprint; place: where relative paths began; init: what the weights started from.
LATER_FIELDS: dict[str, object] = {"data": None, "place": None, "init": None, "left_out": []}
FIELDS = FIRST_FIELDS | set(LATER_FIELDS)
DIGEST = "sha256"
# Of a file, of the part that is unpickled (tables and names), and of the files inside.
LARGEST_FILE, LARGEST_PICKLE, MOST_MEMBERS = 2**36, 2**28, 2**18
# Tensors may share stored numbers, but not so many that a small file is large to read.
MOST_SHARING = 4


def save_checkpoint(path: Path, state: dict) -> None:
    """Write tensors, numbers and words with their checksum; the file that was there stays until the new one is whole.

    Args:
        state: FIELDS.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save({**state, DIGEST: digest(state)}, file)
        except RuntimeError as error:
            # torch reports a full disk in words of its own.
            raise OSError(errno.EIO, f"could not be written whole ({error})", str(path)) from error
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint, on the CPU: FIELDS, checked as far as that needs no networks, and the checksum as ``sha256``.

    Of files of earlier versions, which have none, those of the archive's members are checked; ``data``, ``place`` and
    ``init`` are None.

    Raises:
        ValueError: no such file, a damaged one, or one that holds something else; named.
    """
    _check_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint can end torch's reader in any exception
        raise ValueError(f"{path}: not a checkpoint, or a damaged one ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: it holds a {type(state).__name__}")
    old = set(state) == FIRST_FIELDS
    if not old and set(state) != FIELDS | {DIGEST}:
        unlike = ", ".join(sorted(map(str, set(state) ^ (FIELDS | {DIGEST})))[:8])
        raise ValueError(f"{path}: not a checkpoint of this version of the trainer; missing or unknown: {unlike}")
    kept = None if old else state.pop(DIGEST)
    state = {**LATER_FIELDS, **state}
    check_plain(state, str(path))
    _check_bytes(state, path)
    found = digest(state)
    if old:
        _check_members(path)
    elif kept != found:
        raise ValueError(f"{path}: damaged: its content does not have the checksum that it was stored with")
    return {**state, DIGEST: found}


def _check_file(path: Path) -> None:
    """Sizes, before anything is read into memory."""
    try:
        size = os.path.getsize(path)
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; give the {CHECKPOINT} inside it")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{path}: there is no such checkpoint") from error
    if size > LARGEST_FILE:
        raise ValueError(f"{path}: must have at most {LARGEST_FILE} bytes, has {size}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # damaged archives end Python's reader in many ways
        raise ValueError(f"{path}: not a checkpoint, or a damaged one ({type(error).__name__})") from error
    if any(each.compress_type != zipfile.ZIP_STORED for each in members):
        raise ValueError(f"{path}: not a checkpoint: its members are compressed")
    if len(members) > MOST_MEMBERS or sum(each.file_size for each in members) > size:
        raise ValueError(f"{path}: not a checkpoint: its members claim more than its {size} bytes")
    for each in members:
        if each.filename.endswith(".pkl") and each.file_size > LARGEST_PICKLE:
            raise ValueError(f"{path}: its tables must have at most {LARGEST_PICKLE} bytes, have {each.file_size}")


def _check_bytes(state: dict, path: Path) -> None:
    total = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    if total > MOST_SHARING * os.path.getsize(path):
        raise ValueError(f"{path}: its tensors claim {total} bytes, far more than the file has")


def _tensors(state: dict) -> list[Tensor]:
    kept = (tensor for each in state["optimiser"]["state"].values() for tensor in each.values())
    return [*state["learner"].values(), *kept]


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except Exception as error:  # as above
            raise ValueError(f"{path}: not a checkpoint, or a damaged one ({type(error).__name__})") from error
    if damaged is not None:
        raise ValueError(f"{path}: damaged: {damaged} does not have the checksum that it was stored with")


def digest(state: dict) -> str:
    """SHA-256 over the content of FIELDS: names, order, types and values of everything, every bit of every tensor."""
    found = hashlib.sha256()
    plain = {name: state[name] for name in ("config", "processes", "epoch", "data", "place", "init", "scaler", *TABLES)}
    found.update(json.dumps(plain).encode())
    found.update(json.dumps(state["optimiser"]["param_groups"]).encode())
    for name, tensor in state["learner"].items():
        _feed(found, ["learner", name], tensor)
    for number, kept in state["optimiser"]["state"].items():
        for name, tensor in kept.items():
            _feed(found, ["optimiser", number, name], tensor)
    return found.hexdigest()


def _feed(found: Any, place: list, tensor: Tensor) -> None:
    values = tensor.detach().cpu().contiguous()
    # The place ends where the numbers begin: its length is not, but what it says of their number is.
    found.update(json.dumps([place, str(values.dtype), list(values.shape)]).encode())
    found.update(values.reshape(-1).view(torch.uint8).numpy())

"""Weights that a training starts from: those of a checkpoint, to fine-tune it or to go on with another schedule."""

import sys
from pathlib import Path

import torch
from torch import nn

from models.cifar.methods.learners import Learner, MomentumLearner
from models.cifar.methods.processes import rank
from models.cifar.training.checkpoint import CHECKPOINT, DIGEST, load_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.schema import check_init
from models.cifar.training.state import Trained, TrainState, load_trained, new_learner
from models.momentum import MomentumCopy
from models.run_folder import differing
from theory.numerics.whole_files import read_json, to_plain, write_json

INIT_FILE = "init.json"


def initialize(state: TrainState, folder: Path, init: Path | None, resume: bool) -> None:
    """Start from a checkpoint's encoder, and from its head where all of its shapes agree; keep in init.json what was
    taken. Optimizer, queue and schedule start anew. A training that goes on keeps what it has started from.

    Args:
        folder: of the run.
        init: the checkpoint; None starts from new weights.
        resume: the run there goes on.

    Raises:
        ValueError: not a checkpoint, another encoder, or a run that has started from other weights.
    """
    kept = folder / INIT_FILE
    if state.epoch > 0:
        _require_same(state.init, init, folder)
        return
    if resume and kept.exists():
        # Stopped before the first checkpoint.
        record = check_init(read_json(kept), str(kept))
        if init is None:
            raise ValueError(
                f"--resume {folder}: the run there starts from {record['checkpoint']}; give it with --init"
            )
        _require_same(record, init, folder)
    if init is None:
        return
    found = load_trained(init, state.device, state.config.encoder.factory)
    _require_alike(found, state.learner, state.config, init)
    state.learner.encoder.load_state_dict(found.learner.encoder.state_dict())
    taken, left = ["encoder"], ["optimizer", "schedule"]
    shapes = [_shapes(learner.head) for learner in (found.learner, state.learner)]
    if shapes[0] and shapes[0] == shapes[1]:
        state.learner.head.load_state_dict(found.learner.head.state_dict())
        taken.append("head")
    elif shapes[0]:
        left.append(f"head ({found.config.own_head.kind}, now {state.config.own_head.kind}, or other sizes)")
    if isinstance(state.learner, MomentumLearner):
        for copy, module in zip(state.learner.copies, (state.learner.encoder, state.learner.head)):
            assert isinstance(copy, MomentumCopy)
            copy.module.load_state_dict(module.state_dict())
        left.append("queue")
    state.init = {"checkpoint": str(init), "sha256": found.digest, "epoch": found.epoch, "taken": taken, "left": left,
                  "data": None if found.data is None else found.data["sha256"]}  # fmt: skip
    if rank() == 0:
        write_json(kept, state.init)
        told = f"taken are {' and '.join(taken)}; new are {', '.join(left)}"
        print(f"--init {init}, after {found.epoch} epochs: {told}", file=sys.stderr)


def require_encoder(init: Path, config: TrainConfig) -> None:
    """Whether a training may start from a checkpoint, asked before it has a folder.

    Raises:
        ValueError: not a checkpoint, or one with another encoder.
    """
    found = load_trained(init, torch.device("cpu"), config.encoder.factory)
    _require_alike(found, new_learner(config), config, init)


def _require_alike(found: Trained, own: Learner, config: TrainConfig, init: Path) -> None:
    if _shapes(found.learner.encoder) != _shapes(own.encoder):
        values = differing(to_plain(found.config.encoder), to_plain(config.encoder))
        told = ", ".join(f"encoder.{name} {one} (now {other})" for name, (one, other) in values.items())
        raise ValueError(f"--init {init}: its encoder is another one: {told}")


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _require_same(kept: dict | None, init: Path | None, folder: Path) -> None:
    if init is None:
        return
    if kept is None:
        raise ValueError(
            f"--init {init}: the run in {folder} started from new weights, and goes on from its {CHECKPOINT}"
        )
    # By content: a checkpoint may have been moved.
    if load_checkpoint(init)[DIGEST] != kept["sha256"]:
        raise ValueError(f"--init {init}: the run in {folder} started from {kept['checkpoint']}, of other content")

"""The state of a training: made anew or from its checkpoint, and stored again.

Everything that is drawn is keyed by (seed, stream, epoch, step), so that a training that was killed goes on from its
last epoch to the same weights, bit by bit on a CPU.
"""

from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path

import torch
from torch import Tensor

from models.cifar.methods.learners import Learner, build_learner
from models.cifar.methods.processes import rank, world_size
from models.cifar.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import config_from, differences
from models.optim import build_optimizer, restore_optimizer
from theory.numerics.whole_files import to_plain, write_table

# Streams of draws that must not depend on each other.
Stream = IntEnum("Stream", "INITIALIZATION ORDER FIRST_VIEW SECOND_VIEW METHOD GLOBAL", start=0)
TABLES = ("epochs", "layers", "scores")


@dataclass
class TrainState:
    """A training under way.

    Attributes:
        diverged: a number on the device, not 0 from the first loss or gradient on that is not finite; None before the
            first step.
        epoch: epochs done.
        epochs, layers, scores: rows of the tables that the run folder keeps.
    """

    config: TrainConfig
    device: torch.device
    learner: Learner
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    diverged: Tensor | None = None
    epoch: int = 0
    epochs: list[dict] = field(default_factory=list)
    layers: list[dict] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)


def generator_of(config: TrainConfig, stream: int, epoch: int = 0, step: int = 0) -> torch.Generator:
    """An independent CPU generator for (seed, stream, epoch, step)."""
    key = 0
    # A polynomial in distinct small numbers, then one scrambling draw: neighbours must not give similar streams.
    for part in (config.seed, stream, epoch, step):
        key = (key * 1_000_003 + part + 1) % (2**63 - 25)
    scrambled = torch.randint(2**62, (), generator=torch.Generator().manual_seed(key))
    return torch.Generator().manual_seed(int(scrambled))


def new_learner(config: TrainConfig) -> Learner:
    """The networks of a configuration before any training, on the CPU.

    Raises:
        ValueError: settings that do not fit each other.
    """
    return build_learner(config.method, config.encoder, config.own_head, generator_of(config, Stream.INITIALIZATION))


def start(config: TrainConfig, device: torch.device, resume_from: Path | None = None) -> TrainState:
    """Networks and optimizer, new or, if there is one, from the checkpoint in a folder.

    Raises:
        ValueError: settings that do not fit, or a checkpoint that is damaged or of another configuration.
    """
    learner = new_learner(config).to(device, memory_format=config.memory_format)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    state = TrainState(config, device, learner, build_optimizer(config.optimiser, learner.trained), scaler)
    if resume_from is not None and (resume_from / CHECKPOINT).exists():
        _restore(state, resume_from / CHECKPOINT)
    return state


def _restore(state: TrainState, path: Path) -> None:
    stored = load_checkpoint(path, state.device)
    names = differences(stored["config"], state.config, f"--resume {path}")
    if names:
        raise ValueError(f"--resume {path}: the training there has another {', '.join(names)}")
    if stored["processes"] != world_size():
        found = f"{stored['processes']} processes, now {world_size()}"
        raise ValueError(f"--resume {path}: the training there ran in {found}")
    try:
        state.learner.load_state_dict(stored["learner"])
        restore_optimizer(state.optimizer, stored["optimiser"])
        state.scaler.load_state_dict(stored["scaler"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(f"--resume {path}: its networks are not those of this configuration") from error
    state.epoch = stored["epoch"]
    for table in TABLES:
        setattr(state, table, stored[table])


def load_learner(path: Path, device: torch.device) -> tuple[TrainConfig, Learner]:
    """Configuration and trained networks of a checkpoint.

    Raises:
        ValueError: not a checkpoint, a damaged one, or one of an earlier version.
    """
    stored = load_checkpoint(path, device)
    config = config_from(TrainConfig, stored["config"], str(path))
    learner = new_learner(config)
    try:
        learner.load_state_dict(stored["learner"])
    except RuntimeError as error:
        raise ValueError(f"{path}: its networks are not those of its configuration") from error
    return config, learner.to(device)


def store(state: TrainState, folder: Path, name: str = CHECKPOINT) -> None:
    """The checkpoint, then the tables; process 0 only."""
    if rank() != 0:
        return
    content = {
        "config": to_plain(asdict(state.config)),
        "processes": world_size(),
        "epoch": state.epoch,
        "learner": state.learner.state_dict(),
        "optimiser": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }
    save_checkpoint(folder / name, content | {table: getattr(state, table) for table in TABLES})
    write_tables(state, folder)


def write_tables(state: TrainState, folder: Path) -> None:
    """What has been measured so far; process 0 only."""
    for table in TABLES:
        if getattr(state, table) and rank() == 0:
            write_table(folder / f"{table}.csv", getattr(state, table))

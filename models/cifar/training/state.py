"""The state of a training: made anew or from its checkpoint, and stored again.

Everything that is drawn is keyed by (seed, stream, epoch, step), so that a training that was killed goes on from its
last epoch to the same weights, bit by bit on a CPU.
"""

import os
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path

import torch
from torch import Tensor

from models.cifar.data.fingerprint import fingerprint_differences, read_fingerprint
from models.cifar.methods.learners import Learner, build_learner
from models.cifar.methods.processes import rank, world_size
from models.cifar.training.checkpoint import CHECKPOINT, DIGEST, load_checkpoint, save_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import config_from, refusals
from models.cifar.training.schema import TABLES, check_optimizer, check_scaler, check_sizes, check_weights
from models.devices.transfer import moved
from models.foreign.encoder_factory import require_consent
from models.optim import build_optimizer, restore_optimizer
from theory.numerics.whole_files import to_plain, write_table

# Streams of draws that must not depend on each other.
Stream = IntEnum("Stream", "INITIALIZATION ORDER FIRST_VIEW SECOND_VIEW METHOD GLOBAL", start=0)


@dataclass
class TrainState:
    """A training under way.

    Attributes:
        data: fingerprint of the images; None where nothing is to be stored.
        init: what the weights started from, where that is a checkpoint (initial.py).
        diverged: a number on the device, not 0 from the first loss or gradient on that is not finite; None before the
            first step.
        epoch: epochs done.
        epochs, layers, scores, left_out: rows of the tables that the run folder keeps.
    """

    config: TrainConfig
    device: torch.device
    learner: Learner
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    data: dict | None = None
    init: dict | None = None
    diverged: Tensor | None = None
    epoch: int = 0
    epochs: list[dict] = field(default_factory=list)
    layers: list[dict] = field(default_factory=list)
    scores: list[dict] = field(default_factory=list)
    left_out: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds for those who do not train on.

    Attributes:
        data: fingerprint of the images; None in checkpoints of earlier versions.
        place: folder where the training ran, which relative paths began in; None as ``data``.
        digest: checksum of the whole content.
        epoch: epochs done.
    """

    config: TrainConfig
    learner: Learner
    data: dict | None
    place: str | None
    digest: str
    epoch: int

    @property
    def unfinished(self) -> str:
        """Which epoch it is of, in words; nothing where that is the last."""
        return "" if self.epoch == self.config.epochs else f"after epoch {self.epoch} of {self.config.epochs}"


def generator_of(config: TrainConfig, stream: int, epoch: int = 0, step: int = 0) -> torch.Generator:
    """An independent CPU generator for (seed, stream, epoch, step)."""
    key = 0
    # A polynomial in distinct small numbers, then one scrambling draw: neighbours must not give similar streams.
    for part in (config.seed, stream, epoch, step):
        key = (key * 1_000_003 + part + 1) % (2**63 - 25)
    scrambled = torch.randint(2**62, (), generator=torch.Generator().manual_seed(key), device="cpu")
    return torch.Generator().manual_seed(int(scrambled))


def new_learner(config: TrainConfig) -> Learner:
    """The networks of a configuration before any training, on the CPU. The encoder's factory, if it names one, is run.

    Raises:
        ValueError: settings that do not fit each other, or a factory that cannot be used.
    """
    generator = generator_of(config, Stream.INITIALIZATION)
    return build_learner(config.method, config.encoder, config.own_head, generator, config.data.image_size)


def start(
    config: TrainConfig, device: torch.device, resume_from: Path | None = None, data: dict | None = None
) -> TrainState:
    """Networks and optimizer, new or, if there is one, from the checkpoint in a folder.

    Args:
        data: fingerprint of the images that are trained on, which must be those of the checkpoint.

    Raises:
        ValueError: settings that do not fit, or a checkpoint that is damaged, of another configuration or of other
            images; says both values, and what differs.
    """
    learner = moved(new_learner(config), device, config.memory_format)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    optimizer = build_optimizer(config.optimiser, learner.trained)
    state = TrainState(config, device, learner, optimizer, scaler, data)
    if resume_from is not None:
        refuse_other_images(resume_from, data)
        if (resume_from / CHECKPOINT).exists():
            _restore(state, resume_from / CHECKPOINT)
    return state


def refuse_other_images(folder: Path, data: dict | None) -> None:
    """Hold a run folder's fingerprint, if it keeps one, against images.

    Raises:
        ValueError: says what differs; a damaged fingerprint.
    """
    told = other_images(read_fingerprint(folder), data)
    if told:
        raise ValueError(f"--resume {folder}: the images are not those of the run: {told}")


def other_images(kept: dict | None, found: dict | None) -> str:
    """What the images of a training (first) have against others, in words; nothing where they are the same, or where
    one of both is not known."""
    return "" if kept is None or found is None else "; ".join(fingerprint_differences(kept, found))


def _restore(state: TrainState, path: Path) -> None:
    stored, where = load_checkpoint(path), f"--resume {path}"
    told = refusals(stored["config"], state.config, where)
    if told:
        raise ValueError(f"{where}: the training there has another {', '.join(told)}")
    if stored["processes"] != world_size():
        found = f"{stored['processes']} processes, now {world_size()}"
        raise ValueError(f"{where}: the training there ran in {found}")
    images = other_images(stored["data"], state.data)
    if images:
        raise ValueError(f"{where}: the images are not those of the training there: {images}")
    if stored["data"] is None and state.data is not None:
        # Which images are held out is drawn by their content now: what it trained on would be validated with.
        earlier = "is of an earlier version, which held out other images for validation"
        raise ValueError(f"{where}: {earlier}; --init {path} starts a new run from its weights")
    check_weights(stored, state.learner.state_dict(), where)
    check_optimizer(stored, state.config, state.optimizer, where)
    check_scaler(stored, state.scaler, where)
    if stored["epoch"] > state.config.epochs:
        raise ValueError(f"{where}: epoch: must be at most the {state.config.epochs} epochs, got {stored['epoch']}")
    state.learner.load_state_dict(stored["learner"])
    restore_optimizer(state.optimizer, stored["optimiser"])
    state.scaler.load_state_dict(stored["scaler"])
    for name in ("epoch", "init", *TABLES):
        setattr(state, name, stored[name])


def load_trained(path: Path, device: torch.device, factory: str | None = None) -> Trained:
    """Configuration, trained networks and origin of a checkpoint. Its size is known before any network is built.

    Args:
        factory: the encoder's, where the training had one (EncoderConfig.factory): its code is run if it is named here
            as in the file, and no code because a file names it.

    Raises:
        ValueError: not a checkpoint, a damaged one, or one of an earlier version; another factory than is named; a
            field that is not what it should be, named.
    """
    stored = load_checkpoint(path)
    try:
        config = config_from(TrainConfig, stored["config"], str(path))
    except ValueError as error:
        told = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {told}") from error
    require_consent(config.encoder.factory, factory, str(path))
    check_sizes(config, str(path))
    if factory is None:
        # Shapes alone: what the settings claim must be in the file before memory is spent on it.
        with torch.device("meta"):
            check_weights(stored, new_learner(config).state_dict(), str(path))
    learner = new_learner(config)
    if factory is not None:
        # Anybody's code need not run without numbers.
        check_weights(stored, learner.state_dict(), str(path))
    learner.load_state_dict(stored["learner"])
    return Trained(config, learner.to(device), *(stored[name] for name in ("data", "place", DIGEST, "epoch")))


def store(state: TrainState, folder: Path, name: str = CHECKPOINT) -> None:
    """The checkpoint, then the tables; process 0 only."""
    if rank() != 0:
        return
    # From the device once, for the checksum and the file. What the optimizer keeps is its own until it is copied.
    optimiser = state.optimizer.state_dict()
    optimiser["state"] = {number: _on_host(kept) for number, kept in optimiser["state"].items()}
    content = {
        "config": to_plain(asdict(state.config)),
        "processes": world_size(),
        "epoch": state.epoch,
        "data": state.data,
        "place": _here(),
        "init": state.init,
        "learner": _on_host(state.learner.state_dict()),
        "optimiser": optimiser,
        "scaler": state.scaler.state_dict(),
    }
    save_checkpoint(folder / name, content | {table: getattr(state, table) for table in TABLES})
    write_tables(state, folder)


def _on_host(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy with its tensors on the CPU."""
    moved = values.copy()
    for name, tensor in values.items():
        moved[name] = tensor.cpu()
    return moved


def _here() -> str | None:
    """The folder in which relative paths begin; None where it has been deleted under the process."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def write_tables(state: TrainState, folder: Path) -> None:
    """What has been measured so far; process 0 only."""
    for table in TABLES:
        if getattr(state, table) and rank() == 0:
            write_table(folder / f"{table}.csv", getattr(state, table))

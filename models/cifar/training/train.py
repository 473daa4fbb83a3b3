"""The training loop: batches of two views, the method's loss, a step, and what is measured after every epoch.

Images stay on the device as bytes; views are made there. Everything that is drawn is keyed by (seed, epoch, step), so
that a training that was killed goes on from its last epoch to the same weights, bit by bit on a CPU.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.views import make_view
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.evaluation.measure import gradient_norm
from models.cifar.methods.gradient_cache import cached_backward
from models.cifar.methods.learners import LARGEST_QUEUE, Batch, Learner, build_learner
from models.cifar.methods.processes import everywhere, rank, world_size
from models.cifar.methods.settings import MomentumContrast
from models.cifar.training.checkpoint import NAME, load_checkpoint, save_checkpoint
from models.cifar.training.checks import require_no_idle
from models.cifar.training.config import TrainConfig
from models.cifar.training.stored_config import differences
from models.optim import build_optimiser, learning_rate, set_learning_rate
from theory.whole_files import to_plain, write_table

# Streams of draws that must not depend on each other.
INITIALISATION, ORDER, FIRST_VIEW, SECOND_VIEW, METHOD, GLOBAL = range(6)
TABLES = ("epochs", "layers", "scores")


class DivergedError(ArithmeticError):
    """The loss is no longer finite; the state is kept for inspection."""


@dataclass
class TrainState:
    """A training under way.

    Attributes:
        epoch: epochs done.
        epochs, layers, scores: rows of the tables that the run folder keeps.
    """

    learner: Learner
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
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
    head = config.head.resolve(config.method.name)
    return build_learner(config.method, config.encoder, head, generator_of(config, INITIALISATION))


def start(config: TrainConfig, device: torch.device, folder: Path | None, resume: bool) -> TrainState:
    """Networks and optimiser, new or from the folder's checkpoint.

    Raises:
        ValueError: settings that do not fit, or a checkpoint that is damaged or of another configuration.
    """
    learner = new_learner(config)
    learner = learner.to(device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    state = TrainState(learner, build_optimiser(config.optimiser, _trained(learner)), scaler)
    if resume and folder is not None and (folder / NAME).exists():
        _restore(state, load_checkpoint(folder / NAME, device), config, folder / NAME)
    return state


def check(config: TrainConfig, splits: Splits, device: torch.device) -> TrainConfig:
    """The configuration with what it left to the data filled in, before anything is written.

    Raises:
        ValueError: settings that do not fit each other, the images or the device, or that nothing reads; named.
    """
    require_no_idle(config)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda, measurements need float64, got {device}")
    if config.precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision: fp16 needs a GPU, not {device}; bf16 works on both")
    if config.precision == "bf16" and device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        # Convolutions fall back to code that is not vectorised: twelve times slower, measured with a small encoder.
        warnings.warn("precision: bf16 on a processor without AVX-512 is many times slower than float32", stacklevel=2)
    if config.batch_size > len(splits.train):
        raise ValueError(
            f"batch_size: must not exceed the {len(splits.train)} training images, got {config.batch_size}"
        )
    if config.batch_size % world_size():
        raise ValueError(f"batch_size: must be a multiple of the {world_size()} processes, got {config.batch_size}")
    if config.chunk is not None and world_size() > 1:
        raise ValueError("chunk: goes with one process only")
    if isinstance(config.method, MomentumContrast) and config.method.queue_size is None:
        size = max(1, min(LARGEST_QUEUE, len(splits.train) // 2))
        config = replace(config, method=replace(config.method, queue_size=size))
    new_learner(config)
    return config


def _trained(learner: Learner) -> nn.ModuleList:
    return nn.ModuleList([learner.encoder, learner.head])


def _restore(state: TrainState, stored: dict, config: TrainConfig, path: Path) -> None:
    names = differences(stored["config"], config, f"--resume {path}")
    if names:
        raise ValueError(f"--resume {path}: the training there has another {', '.join(names)}")
    if stored["processes"] != world_size():
        found = f"{stored['processes']} processes, now {world_size()}"
        raise ValueError(f"--resume {path}: the training there ran in {found}")
    try:
        state.learner.load_state_dict(stored["learner"])
        state.optimiser.load_state_dict(stored["optimiser"])
        state.scaler.load_state_dict(stored["scaler"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(f"--resume {path}: its networks are not those of this configuration") from error
    state.epoch = stored["epoch"]
    for table in TABLES:
        setattr(state, table, stored[table])


def store(state: TrainState, config: TrainConfig, folder: Path, name: str = NAME) -> None:
    """The checkpoint, then the tables; process 0 only."""
    if rank() != 0:
        return
    tables = {table: getattr(state, table) for table in TABLES}
    save_checkpoint(folder / name, {
        "config": to_plain(asdict(config)), "processes": world_size(), "epoch": state.epoch,
        "learner": state.learner.state_dict(),
        "optimiser": state.optimiser.state_dict(), "scaler": state.scaler.state_dict(), **tables,
    })  # fmt: skip
    _write_tables(state, folder)


def _write_tables(state: TrainState, folder: Path) -> None:
    for table in TABLES:
        if getattr(state, table) and rank() == 0:
            write_table(folder / f"{table}.csv", getattr(state, table))


def fit(
    config: TrainConfig,
    splits: Splits,
    device: torch.device,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> TrainState:
    """Train to the last epoch, with a checkpoint and a line in the tables after each.

    Args:
        folder: exists; of this run.
        resume: go on from its checkpoint, if there is one.
        on_epoch: called with the epoch's row of epochs.csv.

    Raises:
        ValueError: a batch larger than the training images, settings that do not fit each other.
        DivergedError: the loss is not finite; the state is in diverged.pt.
        OSError: a file could not be written.
    """
    config = check(config, splits, device)
    train = splits.train.to(device)
    state = start(config, device, folder, resume)
    # A run that was killed between its checkpoint and its tables has them again.
    _write_tables(state, folder)
    network: nn.Module = state.learner
    if config.compile:
        state.learner.encoder.compile()
    if world_size() > 1:
        if device.type == "cuda":
            _synchronise_batch_norm(state.learner)
        # Not every loss reads all of every head: NT-Xent leaves TransFusion's truncated block alone.
        simple = config.head.resolve(config.method.name).kind in ("none", "linear", "mlp")
        network = DistributedDataParallel(state.learner, find_unused_parameters=not simple)
    steps = len(train) // config.batch_size
    while state.epoch < config.epochs:
        row = _train_epoch(config, state, network, train, steps, device, folder)
        state.epoch += 1
        state.epochs.append(row)
        # Stored before it is measured: whatever happens there, the epoch is kept.
        store(state, config, folder)
        if state.epoch % config.measure_every == 0 or state.epoch == config.epochs:
            _measure(config, state, splits, device, row)
            store(state, config, folder)
        on_epoch(row)
    return state


def _measure(config: TrainConfig, state: TrainState, splits: Splits, device: torch.device, row: dict) -> None:
    """Add the epoch's measurements to its row and to the other tables; say so where features cannot be measured."""
    try:
        found = measure_epoch(config, state.learner, splits, device, state.epoch)
    except ValueError as error:
        print(f"epoch {state.epoch} is not measured: {error}", file=sys.stderr)
        return
    row |= found.columns
    state.layers += found.layers
    state.scores += found.scores


def _synchronise_batch_norm(learner: Learner) -> None:
    """Statistics over the global batch, in the momentum copy too."""
    learner.encoder = nn.SyncBatchNorm.convert_sync_batchnorm(learner.encoder)
    for i, copy in enumerate(getattr(learner, "copies", ())):
        learner.copies[i] = nn.SyncBatchNorm.convert_sync_batchnorm(copy)


def _train_epoch(
    config: TrainConfig, state: TrainState, network: nn.Module, train: ImageSet, steps: int, device: torch.device,
    folder: Path,
) -> dict:  # fmt: skip
    """One pass over the images; the epoch's row."""
    state.learner.train()
    warm = config.optimiser.warmup_epochs * steps
    losses, norms, begun = [], [], time.perf_counter()
    bar = tqdm(total=steps * config.batch_size, disable=None if rank() == 0 else True, unit="image", leave=False,
               desc=f"epoch {state.epoch + 1}/{config.epochs}")  # fmt: skip
    # Dropout draws from torch's own generator, which is put back afterwards.
    with bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator_of(config, GLOBAL, state.epoch).initial_seed())
        for step, index in enumerate(_order(config, state.epoch, len(train), steps)):
            rate = learning_rate(state.epoch * steps + step, config.epochs * steps, warm,
                                 config.optimiser.learning_rate, config.optimiser.schedule)  # fmt: skip
            set_learning_rate(state.optimiser, rate)
            batch = make_batch(config, train, index.to(device), state.epoch, step)
            loss = training_step(config, state, network, batch, norms)
            if not math.isfinite(loss):
                store(state, config, folder, "diverged.pt")
                raise DivergedError(
                    f"the loss is not finite at epoch {state.epoch + 1}, step {step + 1}; the state is in "
                    f"{folder / 'diverged.pt'}; try a smaller learning_rate"
                )
            losses.append(loss)
            bar.update(config.batch_size)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
    seconds = time.perf_counter() - begun
    return {
        "epoch": state.epoch + 1, "loss": sum(losses) / len(losses), "learning_rate": rate,
        "gradient_norm": _mean_of_finite(norms), "seconds": seconds,
        "views_per_second": 2 * steps * config.batch_size / seconds,
    }  # fmt: skip


def _mean_of_finite(values: list[float]) -> float:
    """Steps that fp16 skips have infinite gradients."""
    kept = [value for value in values if math.isfinite(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _order(config: TrainConfig, epoch: int, count: int, steps: int) -> Iterator[Tensor]:
    """Indices of every step's images, this process's share; images that fill no batch wait for another epoch."""
    order = torch.randperm(count, generator=generator_of(config, ORDER, epoch))
    for batch in order[: steps * config.batch_size].split(config.batch_size):
        yield batch.chunk(world_size())[rank()]


def make_batch(config: TrainConfig, train: ImageSet, index: Tensor, epoch: int, step: int) -> Batch:
    """Two views of some images. With several processes each draws its own."""
    place = step * world_size() + rank()
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    images = train.images[index].contiguous(memory_format=layout)
    views = [
        make_view(images, config.view, generator_of(config, stream, epoch, place))
        for stream in (FIRST_VIEW, SECOND_VIEW)
    ]
    # Transformed queues must be the same in all processes.
    return Batch(*views, train.labels[index], epoch, generator_of(config, METHOD, epoch, step))


def training_step(
    config: TrainConfig, state: TrainState, network: nn.Module, batch: Batch, norms: list[float]
) -> float:
    """Forward, backward, step; the loss. NaN, in all processes, where it is not finite: no weight is changed then."""
    state.optimiser.zero_grad(set_to_none=True)
    device = batch.first.device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.precision)
    autocast = nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
    try:
        if config.chunk is None:
            with autocast:
                loss = network(batch)
        else:
            scale = state.scaler.scale(torch.ones((), device=device)).item()
            with autocast:
                images, loss_of = state.learner.prepare(batch)
                chunks = images.split(config.chunk)
                loss = cached_backward(state.learner.encoder, chunks, lambda h: scale * loss_of(h)) / scale
        finite = bool(torch.isfinite(loss))
    except ValueError:
        # Losses refuse features that are not finite, which is how a training ends that has diverged.
        if _features_are_finite(state.learner, batch):
            raise
        finite = False
    if not everywhere(finite, device):
        return math.nan
    if config.chunk is None:
        state.scaler.scale(loss).backward()
    value = loss.item()
    state.scaler.unscale_(state.optimiser)
    norms.append(gradient_norm(_trained(state.learner)))
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.learner.after_step()
    return value


@torch.no_grad()
def _features_are_finite(learner: Learner, batch: Batch) -> bool:
    output = learner.head(learner.encoder(batch.first))
    return all(bool(torch.isfinite(each).all()) for each in (output.embeddings, *learner.parameters()))

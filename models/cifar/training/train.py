"""The training loop: batches of two views, the method's loss, a step, and what is measured after every epoch.

Images stay on the device as bytes; views are made there.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.views import make_views
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.evaluation.strengths import critical_columns
from models.cifar.methods.gradient_cache import cached_backward
from models.cifar.methods.learners import Batch, Learner
from models.cifar.methods.processes import everywhere, rank, world_size
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import Stream, TrainState, generator_of, start, store, write_tables
from models.optim import gradient_norm, learning_rate, set_learning_rate


class DivergedError(ArithmeticError):
    """The loss is no longer finite; the state is kept for inspection."""


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
    state = start(config, device, folder if resume else None)
    # A run that was killed between its checkpoint and its tables has them again.
    write_tables(state, folder)
    network = _trainable(state)
    while state.epoch < config.epochs:
        row = _train_epoch(state, network, train, folder)
        state.epoch += 1
        state.epochs.append(row)
        # Stored before it is measured: whatever happens there, the epoch is kept.
        store(state, folder)
        if state.epoch % config.measure_every == 0 or state.epoch == config.epochs:
            _measure(state, splits, row)
            store(state, folder)
        if config.advise_every and (state.epoch % config.advise_every == 0 or state.epoch == config.epochs):
            _advise(state, splits, row)
            store(state, folder)
        on_epoch(row)
    return state


def _trainable(state: TrainState) -> nn.Module:
    """The learner as it is to be called: compiled, and with several processes wrapped."""
    if state.config.compile:
        state.learner.encoder.compile()
    if world_size() == 1:
        return state.learner
    if state.device.type == "cuda":
        _synchronize_batch_norm(state.learner)
    # Not every loss reads all of every head: NT-Xent leaves TransFusion's truncated block alone.
    simple = state.config.own_head.kind in ("none", "linear", "mlp")
    return DistributedDataParallel(state.learner, find_unused_parameters=not simple)


def _synchronize_batch_norm(learner: Learner) -> None:
    """Statistics over the global batch, in the momentum copy too."""
    learner.encoder = nn.SyncBatchNorm.convert_sync_batchnorm(learner.encoder)
    for i, copy in enumerate(getattr(learner, "copies", ())):
        learner.copies[i] = nn.SyncBatchNorm.convert_sync_batchnorm(copy)


def _train_epoch(state: TrainState, network: nn.Module, train: ImageSet, folder: Path) -> dict:
    """One pass over the images; the epoch's row."""
    config, device, steps = state.config, state.device, len(train) // state.config.batch_size
    state.learner.train()
    warm = config.optimiser.warmup_epochs * steps
    losses, norms, begun = [], [], time.perf_counter()
    title, quiet = f"epoch {state.epoch + 1}/{config.epochs}", None if rank() == 0 else True
    bar = tqdm(total=steps * config.batch_size, desc=title, disable=quiet, unit="image", leave=False)
    # Dropout draws from torch's own generator, which is put back afterwards.
    with bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator_of(config, Stream.GLOBAL, state.epoch).initial_seed())
        for step, index in enumerate(_order(config, state.epoch, len(train), steps)):
            place, peak = state.epoch * steps + step, config.optimiser.learning_rate
            rate = learning_rate(place, config.epochs * steps, warm, peak, config.optimiser.schedule)
            set_learning_rate(state.optimizer, rate)
            batch = make_batch(config, train, index.to(device), state.epoch, step)
            loss = training_step(state, network, batch, norms)
            if not math.isfinite(loss):
                store(state, folder, "diverged.pt")
                raise DivergedError(
                    f"the loss is not finite at epoch {state.epoch + 1}, step {step + 1}; the state is in "
                    f"{folder / 'diverged.pt'}; try a smaller learning_rate"
                )
            losses.append(loss)
            bar.update(config.batch_size)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
    seconds = time.perf_counter() - begun
    return {
        "epoch": state.epoch + 1,
        "loss": sum(losses) / len(losses),
        "learning_rate": rate,
        "gradient_norm": _mean_of_finite(norms),
        "seconds": seconds,
        "views_per_second": 2 * steps * config.batch_size / seconds,
    }


def _order(config: TrainConfig, epoch: int, count: int, steps: int) -> Iterator[Tensor]:
    """Indices of every step's images, this process's share; images that fill no batch wait for another epoch."""
    order = torch.randperm(count, generator=generator_of(config, Stream.ORDER, epoch))
    for batch in order[: steps * config.batch_size].split(config.batch_size):
        yield batch.chunk(world_size())[rank()]


def make_batch(config: TrainConfig, train: ImageSet, index: Tensor, epoch: int, step: int) -> Batch:
    """Two views of some images. With several processes each draws its own."""
    place = step * world_size() + rank()
    images = train.images[index].contiguous(memory_format=config.memory_format)
    streams = [generator_of(config, stream, epoch, place) for stream in (Stream.FIRST_VIEW, Stream.SECOND_VIEW)]
    views = make_views(images, config.view, streams)
    # Transformed queues must be the same in all processes.
    return Batch(*views, train.labels[index], epoch, generator_of(config, Stream.METHOD, epoch, step))


def training_step(state: TrainState, network: nn.Module, batch: Batch, norms: list[float]) -> float:
    """Forward, backward, step; the loss. NaN, in all processes, where it is not finite: no weight is changed then."""
    config, learner, device = state.config, state.learner, batch.first.device
    state.optimizer.zero_grad(set_to_none=True)
    try:
        if config.chunk is None:
            with config.autocast(device):
                loss = network(batch)
        else:
            scale = state.scaler.scale(torch.ones((), device=device)).item()
            with config.autocast(device):
                images, loss_of = learner.prepare(batch)
                chunks = images.split(config.chunk)
                loss = cached_backward(learner.encoder, chunks, lambda h: scale * loss_of(h)) / scale
        finite = bool(torch.isfinite(loss))
    except ValueError:
        # Losses refuse features that are not finite, which is how a training ends that has diverged.
        if _features_are_finite(learner, batch):
            raise
        finite = False
    if not everywhere(finite, device):
        return math.nan
    if config.chunk is None:
        state.scaler.scale(loss).backward()
    value = loss.item()
    state.scaler.unscale_(state.optimizer)
    norms.append(gradient_norm(learner.trained))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    learner.after_step()
    return value


@torch.no_grad()
def _features_are_finite(learner: Learner, batch: Batch) -> bool:
    output = learner.head(learner.encoder(batch.first))
    return all(bool(torch.isfinite(each).all()) for each in (output.embeddings, *learner.parameters()))


def _mean_of_finite(values: list[float]) -> float:
    """Steps that fp16 skips have infinite gradients."""
    kept = [value for value in values if math.isfinite(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _measure(state: TrainState, splits: Splits, row: dict) -> None:
    """Add the epoch's measurements to its row and to the other tables; say so where features cannot be measured."""
    config = state.config
    try:
        found = measure_epoch(
            state.learner, splits, config.view, state.device, state.epoch, config.batch_size, config.measure_images
        )
    except ValueError as error:
        print(f"epoch {state.epoch} is not measured: {error}", file=sys.stderr)
        return
    row |= found.columns
    state.layers += found.layers
    state.scores += found.scores


def _advise(state: TrainState, splits: Splits, row: dict) -> None:
    """Add the strength in use and the critical one to the epoch's row, in process 0, which keeps it; say so where these
    features have none."""
    if rank() != 0:
        return
    config, begun = state.config, time.perf_counter()
    row["strength"] = config.view.strength
    try:
        row |= critical_columns(
            state.learner.encoder, splits.validation, config.view, config.advise_strengths, config.batch_size,
            state.device, config.measure_images,
        )  # fmt: skip
    except ValueError as error:
        print(f"epoch {state.epoch} has no critical strength: {error}", file=sys.stderr)
    else:
        if math.isnan(row["critical_low"]):
            why = "ReLU attention does not see the classes; more validation images may show them (validation_share)"
            print(f"epoch {state.epoch} has no critical strength: {why}", file=sys.stderr)
    row["advise_seconds"] = time.perf_counter() - begun

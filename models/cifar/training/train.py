"""The training loop: batches of two views, the method's loss, a step, and what is measured after every epoch.

Images stay on the device as bytes; views are made there. A step waits for nothing that the device computes: its loss
and gradient norm stay there until READ_EVERY steps are read together (models/README.md says what that means for a
training that diverges).
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from models.cifar.data.fingerprint import FINGERPRINT_FILE, fingerprint
from models.cifar.data.images import ImageSet, Splits
from models.cifar.data.views import make_views
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.evaluation.strengths import critical_columns
from models.cifar.methods.gradient_cache import cached_backward
from models.cifar.methods.learners import Batch, Learner, MomentumLearner
from models.cifar.methods.processes import everywhere, largest_of_all, range_of_all, rank, world_size
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.initial import initialize
from models.cifar.training.state import Stream, TrainState, generator_of, start, store, write_tables
from models.devices.compiler import compile_in_place
from models.devices.transfer import upload
from models.devices.value_checks import values_trusted
from models.optim import gradient_norm, learning_rate, set_learning_rate
from theory.numerics.whole_files import write_json

# Columns of an epoch's row before anything is measured.
TRAINED = {"epoch", "loss", "learning_rate", "gradient_norm", "gradient_fluctuation", "seconds", "views_per_second"}
# Steps between two looks at the losses, each of which waits for the device.
READ_EVERY = 32


class DivergedError(ArithmeticError):
    """The loss is no longer finite; the state is kept for inspection."""


class Step(NamedTuple):
    """What a training step leaves on the device."""

    loss: Tensor
    gradient_norm: Tensor


class Reading(NamedTuple):
    """A step's numbers, once they have been read."""

    loss: float
    gradient_norm: float


def fit(
    config: TrainConfig,
    splits: Splits,
    device: torch.device,
    folder: Path,
    resume: bool = False,
    on_epoch: Callable[[dict], None] = lambda row: None,
    init: Path | None = None,
    data: dict | None = None,
    checkpoints: bool = True,
) -> TrainState:
    """Train to the last epoch, with a checkpoint and a line in the tables after each.

    Args:
        folder: exists; of this run. It keeps the images' fingerprint.
        resume: go on from its checkpoint, if there is one.
        on_epoch: called with the epoch's row of epochs.csv.
        init: a checkpoint whose weights the training starts from (initial.py).
        data: fingerprint of the images, where it is known; None works it out.
        checkpoints: without them nothing can go on; of a short training they take a tenth of the time.

    Raises:
        ValueError: a batch larger than the training images, settings that do not fit each other; other images than the
            run's, says what differs; a checkpoint that cannot be used, or that not all processes see.
        DivergedError: the loss is not finite; the state is in diverged.pt.
        OSError: a file could not be written.
    """
    config = check(config, splits, device)
    data = data or fingerprint(splits)
    state = start(config, device, folder if resume else None, data)
    initialize(state, folder, init, resume)
    first, last = range_of_all(state.epoch, device)
    if first < last:
        # They would wait for each other for hours.
        raise ValueError(
            f"--resume {folder}: some processes found the run after epoch {last} there, others after epoch {first}: "
            "with several machines it must be a folder that all of them see"
        )
    if rank() == 0:
        write_json(folder / FINGERPRINT_FILE, data)
    train = splits.train.to(device)
    keep = partial(store if checkpoints else write_tables, state, folder)
    # A run that was killed between its checkpoint and its tables has them again.
    write_tables(state, folder)
    network = _trainable(state)
    if state.epochs:
        # A run that was killed between an epoch's checkpoint and its measurement has that too.
        _complete(state, splits, keep)
    while state.epoch < config.epochs:
        row = _train_epoch(state, network, train, folder)
        state.epoch += 1
        state.epochs.append(row)
        # Stored before it is measured: whatever happens there, the epoch is kept.
        keep()
        _complete(state, splits, keep)
        on_epoch(row)
    return state


def _complete(state: TrainState, splits: Splits, keep: Callable[[], None]) -> None:
    """Measure the last epoch, and ask the advisor about it, where that is due and not done yet; keep what is found."""
    config, row = state.config, state.epochs[-1]
    measured = state.epoch % config.measure_every == 0 or state.epoch == config.epochs
    if measured and not {*row} - TRAINED:
        _measure(state, splits, row)
        keep()
    asked = config.advise_every and (state.epoch % config.advise_every == 0 or state.epoch == config.epochs)
    if asked and "advise_seconds" not in row:
        _advise(state, splits, row)
        keep()


def compile_networks(config: TrainConfig, learner: Learner) -> None:
    """Compile what the settings say: the whole loss, the encoder alone, or nothing."""
    if config.compile_step:
        compile_in_place(learner)
    elif config.compile:
        compile_in_place(learner.encoder)


def _trainable(state: TrainState) -> nn.Module:
    """The learner as it is to be called: compiled, and with several processes wrapped."""
    compile_networks(state.config, state.learner)
    if world_size() == 1:
        return state.learner
    if state.device.type == "cuda":
        _synchronize_batch_norm(state.learner)
    # Not every loss reads all of every head: NT-Xent leaves TransFusion's truncated block alone.
    simple = state.config.own_head.kind in ("none", "linear", "mlp")
    return DistributedDataParallel(state.learner, find_unused_parameters=not simple)


def _synchronize_batch_norm(learner: Learner) -> None:
    """Statistics over the global batch, in the momentum copies too, which must normalize as what they are copies of.

    The head of a MomentumLearner sees the process's rows only; those of other methods see all, gathered."""
    learner.encoder = nn.SyncBatchNorm.convert_sync_batchnorm(learner.encoder)
    if isinstance(learner, MomentumLearner):
        learner.head = nn.SyncBatchNorm.convert_sync_batchnorm(learner.head)
        for i, copy in enumerate(learner.copies):
            learner.copies[i] = nn.SyncBatchNorm.convert_sync_batchnorm(copy)


def _train_epoch(state: TrainState, network: nn.Module, train: ImageSet, folder: Path) -> dict:
    """One pass over the images; the epoch's row."""
    config, device, steps = state.config, state.device, len(train) // state.config.batch_size
    state.learner.train()
    warm = config.optimiser.warmup_epochs * steps
    readings: list[Reading] = []
    unread: list[Step] = []
    begun = time.perf_counter()
    title, quiet = f"epoch {state.epoch + 1}/{config.epochs}", None if rank() == 0 else True
    bar = tqdm(total=steps * config.batch_size, desc=title, disable=quiet, unit="image", leave=False)
    # Dropout draws from torch's own generator, which is put back afterwards.
    with bar, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator_of(config, Stream.GLOBAL, state.epoch).initial_seed())
        for step, (index, second) in enumerate(_order(config, state.epoch, len(train), steps, device)):
            place, peak = state.epoch * steps + step, config.optimiser.learning_rate
            rate = learning_rate(place, config.epochs * steps, warm, peak, config.optimiser.schedule)
            set_learning_rate(state.optimizer, rate)
            batch = make_batch(config, train, index, state.epoch, step, second)
            unread.append(training_step(state, network, batch))
            if len(unread) == READ_EVERY or step == steps - 1:
                readings += _read(state, unread, len(readings), folder)
                unread = []
                bar.set_postfix(loss=f"{readings[-1].loss:.4f}", refresh=False)
            bar.update(config.batch_size)
    seconds = time.perf_counter() - begun
    norms = [reading.gradient_norm for reading in readings]
    return {
        "epoch": state.epoch + 1,
        "loss": sum(reading.loss for reading in readings) / len(readings),
        "learning_rate": rate,
        "gradient_norm": _mean_of_finite(norms),
        "gradient_fluctuation": relative_fluctuation(norms),
        "seconds": seconds,
        "views_per_second": 2 * steps * config.batch_size / seconds,
    }


def _read(state: TrainState, unread: list[Step], done: int, folder: Path) -> list[Reading]:
    """What steps have left on the device, in the one wait that there is for it.

    Raises:
        DivergedError: something is not finite.
    """
    numbers = torch.stack([each.double() for step in unread for each in step]).tolist()
    found = [Reading(*pair) for pair in zip(numbers[::2], numbers[1::2])]
    for step, reading in enumerate(found, start=done + 1):
        # fp16 skips steps whose gradients overflow, and makes the loss's scale smaller.
        bad = [name for name, value in zip(("loss", "gradient"), reading) if not math.isfinite(value)]
        if bad and (bad[0] == "loss" or not state.scaler.is_enabled()):
            store(state, folder, "diverged.pt")
            raise DivergedError(
                f"the {bad[0]} is not finite at epoch {state.epoch + 1}, step {step}; the state is in "
                f"{folder / 'diverged.pt'}, with the weights from before that step; try a smaller learning_rate"
            )
    return found


def _order(
    config: TrainConfig, epoch: int, count: int, steps: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Indices of every step's images, this process's share, and of those that its second views are of, if others;
    images that fill no batch wait for another epoch."""
    exchanged = config.exchange_views and world_size() > 1
    order = torch.randperm(count, generator=generator_of(config, Stream.ORDER, epoch))
    order = upload(order, device)
    for batch in order[: steps * config.batch_size].split(config.batch_size):
        shares = batch.chunk(world_size())
        yield shares[rank()], shares[(rank() + 1) % world_size()] if exchanged else None


def make_batch(
    config: TrainConfig, train: ImageSet, index: Tensor, epoch: int, step: int, second: Tensor | None = None
) -> Batch:
    """Two views of some images. With several processes each draws its own.

    Args:
        index: of the images.
        second: of the next process's, whose second views this one takes in the place of its own; drawn as there.
    """
    place = step * world_size() + rank()
    streams = [generator_of(config, stream, epoch, place) for stream in (Stream.FIRST_VIEW, Stream.SECOND_VIEW)]
    if second is None:
        first, other = _views(config, train, index, epoch, streams)
    else:
        place = step * world_size() + (rank() + 1) % world_size()
        there = generator_of(config, Stream.SECOND_VIEW, epoch, place)
        (first,) = _views(config, train, index, epoch, streams[:1])
        (other,) = _views(config, train, second, epoch, [there])
    # One for all processes: they transform one queue, and each takes its part of what is drawn for pairs.
    generator = generator_of(config, Stream.METHOD, epoch, step)
    return Batch(first, other, train.labels[index], epoch, generator, exchanged=second is not None)


def _views(
    config: TrainConfig, train: ImageSet, index: Tensor, epoch: int, streams: list[torch.Generator]
) -> tuple[Tensor, ...]:
    images = train.images[index].contiguous(memory_format=config.memory_format)
    return make_views(images, config.view, streams, config.view_shape(epoch, *images.shape[2:]))


def training_step(state: TrainState, network: nn.Module, batch: Batch) -> Step:
    """Forward, backward, step. From the first loss or gradient on that is not finite, in whatever process, no weight
    changes any more; all of that happens on the device, and nobody waits for it."""
    config, learner, device = state.config, state.learner, batch.first.device
    if state.diverged is None:
        state.diverged = torch.zeros((), device=device)
    state.optimizer.zero_grad(set_to_none=True)
    with values_trusted(not config.check_values):
        loss = _forward(state, network, batch)
        if config.check_values and not everywhere(bool(torch.isfinite(loss)), device):
            state.diverged.fill_(1.0)
            return Step(loss.detach(), torch.full((), math.nan, device=device))
        if config.chunk is None:
            _scaled(state, loss).backward()
            loss = loss.detach()
        state.scaler.unscale_(state.optimizer)
        norm = gradient_norm(learner.trained)
        # What is finite is 0 times itself.
        bad = (loss * 0.0 != 0.0) if state.scaler.is_enabled() else (loss * 0.0 + norm * 0.0 != 0.0)
        largest_of_all(torch.maximum(state.diverged, bad.to(state.diverged.dtype), out=state.diverged))
        if not state.scaler.is_enabled():
            # As torch's GradScaler hands over its own.
            state.optimizer.found_inf = state.diverged  # type: ignore[attr-defined]  # torch's stub leaves it out
        state.scaler.step(state.optimizer)
        state.scaler.update()
        learner.after_step()
    return Step(loss, norm)


def _forward(state: TrainState, network: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """The loss; of a batch in chunks without a graph, because gradients are then where they belong already."""
    config, learner, device = state.config, state.learner, batch.first.device
    try:
        with config.autocast(device):
            if config.chunk is None:
                return network(batch)
            images, loss_of = learner.prepare(batch)
            scale = state.scaler.scale(torch.ones((), device=device))
            chunks = images.split(config.chunk)
            return cached_backward(learner.encoder, chunks, lambda h: _scaled(state, loss_of(h))) / scale
    except ValueError:
        # Losses refuse features that are not finite, which is how a training ends that has diverged.
        if not config.check_values or _features_are_finite(learner, batch):
            raise
        return torch.full((), math.nan, device=device)


def _scaled(state: TrainState, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The loss times the scaler's scale: in fp16 NaN once diverged, so that the scaler skips every step."""
    if not state.scaler.is_enabled():
        return loss
    assert state.diverged is not None
    lost = (state.diverged > 0) | (loss.detach() * 0.0 != 0.0)
    return state.scaler.scale(loss * torch.where(lost, math.nan, 1.0))


@torch.no_grad()
def _features_are_finite(learner: Learner, batch: Batch) -> bool:
    output = learner.head(learner.encoder(batch.first))
    return all(bool(torch.isfinite(each).all()) for each in (output.embeddings, *learner.parameters()))


def relative_fluctuation(values: Sequence[float]) -> float:
    """How far values stray from one to the next, over their mean: the root mean square of successive differences, over
    sqrt(2), which is the relative standard deviation of values that are drawn independently, and leaves out what moves
    slowly (J. von Neumann et al., Ann. Math. Stat. 12, 1941).

    Values that are not finite are left out; NaN with fewer than two of them, or with mean 0.
    """
    found = [value for value in values if math.isfinite(value)]
    mean = _mean_of_finite(found)
    if len(found) < 2 or mean == 0.0:
        return math.nan
    squares = [(later - earlier) ** 2 for earlier, later in pairwise(found)]
    return math.sqrt(0.5 * sum(squares) / len(squares)) / mean


def _mean_of_finite(values: list[float]) -> float:
    """Steps that fp16 skips have infinite gradients."""
    kept = [value for value in values if math.isfinite(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _measure(state: TrainState, splits: Splits, row: dict) -> None:
    """Add the epoch's measurements to its row and to the other tables; say what is left out, once until it changes."""
    config = state.config
    found = measure_epoch(
        state.learner, splits, config.view, state.device, state.epoch, config.batch_size, config.measure_images,
        config.monitor, _latest_shape(state, splits),
    )  # fmt: skip
    row |= found.columns
    state.layers += found.layers
    state.scores += found.scores
    _say(state, found.left_out)


def _latest_shape(state: TrainState, splits: Splits) -> tuple[int, int]:
    """Height and width of the views of the epoch that is over."""
    return state.config.view_shape(state.epoch - 1, *splits.train.images.shape[2:])


def _say(state: TrainState, left_out: list[dict]) -> None:
    """Keep what is left out, and print what was not said of its quantity the last time."""
    latest = {row["quantity"]: row["epoch"] for row in state.left_out}
    said = {(row["quantity"], row["why"]) for row in state.left_out if row["epoch"] == latest[row["quantity"]]}
    for row in left_out:
        if (row["quantity"], row["why"]) not in said and rank() == 0:
            print(f"epoch {row['epoch']}: {row['quantity']}: {row['why']}", file=sys.stderr)
    state.left_out += left_out


def _advise(state: TrainState, splits: Splits, row: dict) -> None:
    """Add the strength in use and the critical one to the epoch's row, in process 0, which keeps it; say so where these
    features have none."""
    if rank() != 0:
        return
    config, begun = state.config, time.perf_counter()
    row["strength"] = config.view.strength
    said: list[str] = []
    try:
        columns, said = critical_columns(
            state.learner.encoder, splits.validation, config.view, config.advise_strengths, config.batch_size,
            state.device, config.measure_images, _latest_shape(state, splits),
        )  # fmt: skip
        row |= columns
    except ValueError as error:
        print(f"epoch {state.epoch} has no critical strength: {error}", file=sys.stderr)
    else:
        if math.isnan(row["critical_low"]):
            why = "ReLU attention does not see the classes; more validation images may show them (validation_share)"
            print(f"epoch {state.epoch} has no critical strength: {why}", file=sys.stderr)
    _say(state, [{"epoch": state.epoch, "quantity": "critical strength", "why": why} for why in said])
    row["advise_seconds"] = time.perf_counter() - begun

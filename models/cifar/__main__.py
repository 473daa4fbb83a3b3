"""Contrastive learning on real images: train, evaluate, draw.

    python -m models.cifar                                        SimCLR on scikit-learn's digits, a minute or two
    python -m models.cifar --method.name transfusion              or supcon, moco, moco_ft, deepfusion
    python -m models.cifar --method.name moco_ft --help           the options of one of them; others are refused
    python -m models.cifar --data.dataset PATH                    an image folder, or an archive of one
    python -m models.cifar --data.dataset cifar10 --encoder.kind resnet18 --precision bf16 --device cuda
    python -m models.cifar --out runs/a --resume                  continue a run that was stopped
    torchrun --nproc-per-node 2 -m models.cifar --out runs/b      several processes: one loss over the whole batch

Exit status: 0 done, 2 bad arguments, images or an unusable folder, 3 results could not be written, 5 the loss is no
longer finite (the state is kept), 70 a crash, 130 interrupted, 143 terminated. Finished epochs are kept.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

import torch

from models.cifar.data.images import load_images
from models.cifar.evaluate import evaluate, print_results
from models.cifar.methods.processes import first_process_first, join_group, leave_group, rank
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import differences, parse_training
from models.cifar.training.train import DivergedError, fit
from models.commands import BAD_ARGUMENTS, DIVERGED, NOT_WRITTEN, exit_status
from models.environment import environment
from models.stack import resolve_device
from theory.whole_files import PART, write_json, write_table


@dataclass(frozen=True)
class CifarRun(TrainConfig):
    """Command line of the trainer: what is trained, and where and how."""

    device: str = "cpu"
    """Where: cpu, cuda, cuda:1. With torchrun, cpu or cuda."""
    out: Path | None = None
    """Run folder; by default runs/METHOD-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out after its last finished epoch."""
    figures: bool = True
    """Draw the figures (PNG and PDF) into the run folder."""
    tensorboard: bool = False
    """Also log every epoch for TensorBoard, into the run folder; needs the extra [tensorboard]."""


def config_of(options: CifarRun) -> TrainConfig:
    """The part of a command line that the weights depend on."""
    return TrainConfig(**{each.name: getattr(options, each.name) for each in fields(TrainConfig)})


def open_folder(options: CifarRun, config: TrainConfig, device: torch.device) -> Path:
    """The run folder, made if need be, with config.json, and environment.json of every start.

    Raises:
        ValueError: a folder that is in use, or no such run where one is to be continued.
    """
    folder = options.out or Path("runs") / f"{options.method.name}-{datetime.now():%Y%m%d-%H%M%S}"
    history = []
    if options.resume:
        history = _require_same_run(options.out, config)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {folder}: exists and is not an empty folder; choose another, or use --resume")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".*{PART}"):
        leftover.unlink()
    if not options.resume:
        write_json(folder / "config.json", asdict(config))
    write_json(folder / "environment.json", {"runs": [*history, environment(device)]})
    return folder


def _require_same_run(folder: Path | None, config: TrainConfig) -> list[dict]:
    """The earlier starts of the run that is to be continued."""
    if folder is None:
        raise ValueError("--resume: give the run folder to continue with --out")
    stored = {}
    for name in ("config", "environment"):
        try:
            stored[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--resume {folder}: has no whole {name}.json, so there is no run to continue") from error
    names = differences(stored["config"], config, f"--resume {folder}")
    if names:
        raise ValueError(f"--resume {folder}: the run there has another {', '.join(names)}")
    return list(stored["environment"].get("runs", []))


def run(options: CifarRun) -> int:
    """Train, evaluate, draw; returns the exit status.

    Raises:
        ValueError: images, settings or a folder that cannot be used.
        DivergedError: the loss is not finite.
        OSError: a file could not be written.
    """
    device = _device(options.device)
    join_group(device)
    try:
        config = config_of(options)
        with first_process_first():
            # Which decodes and caches the images.
            splits = load_images(config.data)
        config = check(config, splits, device)
        if rank() > 0:
            fit(config, splits, device, options.out or Path(), options.resume)
            return 0
        with _tensorboard(options) as writer_in:
            folder = open_folder(options, config, device)
            print(f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test "
                  f"images; results in {folder}", flush=True)  # fmt: skip
            log = writer_in(folder)

            def on_epoch(row: dict) -> None:
                knn = row.get("knn", math.nan)
                print(f"epoch {row['epoch']}/{config.epochs}: loss {row['loss']:.4f}, kNN {knn:.1%}, "
                      f"{row['views_per_second']:,.0f} views/s", flush=True)  # fmt: skip
                log(row)

            try:
                state = fit(config, splits, device, folder, options.resume, on_epoch)
            except KeyboardInterrupt:
                print(f"\nfinished epochs are kept, continue with the same command and --out {folder} --resume",
                      file=sys.stderr)  # fmt: skip
                raise
        rows = evaluate(config, state.learner, splits, device)
        write_table(folder / "results.csv", rows)
        print_results(rows)
        return draw(folder) if options.figures else 0
    finally:
        leave_group()


def draw(folder: Path) -> int:
    """Figures are another room's business: they read the folder, and never run a model."""
    status = subprocess.run([sys.executable, "-m", "figures", str(folder)], check=False).returncode
    if status:
        print(f"error: the figures were not drawn; try again with python -m figures {folder}", file=sys.stderr)
    return NOT_WRITTEN if status else 0


@contextmanager
def _tensorboard(options: CifarRun) -> Iterator[Callable[[Path], Callable[[dict], None]]]:
    """From a run folder to what logs an epoch's row there; nothing unless asked for.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    if not options.tensorboard:
        yield lambda folder: lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard: needs the extra [tensorboard]") from error
    with ExitStack() as stack:

        def log_in(folder: Path) -> Callable[[dict], None]:
            writer = stack.enter_context(SummaryWriter(str(folder / "tensorboard")))
            return lambda row: [writer.add_scalar(name, value, row["epoch"]) for name, value in row.items()] and None

        yield log_in


def _device(name: str) -> torch.device:
    """The device of this process.

    Raises:
        ValueError: unknown or absent; under torchrun anything but cpu and cuda.
    """
    if "RANK" not in os.environ:
        return resolve_device(name)
    if name not in ("cpu", "cuda") or "LOCAL_RANK" not in os.environ:
        raise ValueError(f"device: must be cpu or cuda under torchrun, got {name}")
    device = resolve_device(name if name == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        lambda: run(parse_training(CifarRun, arguments, "python -m models.cifar", __doc__)),
        {DivergedError: DIVERGED, torch.OutOfMemoryError: BAD_ARGUMENTS},
    )


if __name__ == "__main__":
    sys.exit(main())

"""Contrastive learning on real images: train, evaluate, draw.

    python -m models.cifar                                        SimCLR on scikit-learn's digits, a minute or two
    python -m models.cifar --method.name transfusion              or supcon, moco, moco_ft, deepfusion
    python -m models.cifar --data.dataset PATH                    an image folder, or an archive of one
    python -m models.cifar --data.dataset cifar10 --encoder.kind resnet18 --precision bf16 --device cuda
    python -m models.cifar --out runs/a --resume                  continue a run that was stopped
    torchrun --nproc-per-node 2 -m models.cifar --out runs/b      several processes: one loss over the whole batch

Exit status: 0 done, 2 bad arguments, images or an unusable folder, 3 results could not be written, 5 the loss is no
longer finite (the state is kept), 130 interrupted. Finished epochs are kept.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

import torch
import torch.distributed as dist
import tyro

from models.cifar.config import TrainConfig
from models.cifar.data import load_images
from models.cifar.evaluate import evaluate, print_results
from models.cifar.train import DivergedError, fit
from models.commands import DIVERGED, exit_status
from models.environment import environment
from models.stack import resolve_device
from theory.whole_files import write_json, write_table


@dataclass(frozen=True)
class CifarRun(TrainConfig):
    """Command line of the trainer: what is trained, and where and how."""

    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps. With torchrun, cpu or cuda."""
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


def open_folder(options: CifarRun, device: torch.device) -> Path:
    """The run folder, made if need be, with config.json and environment.json.

    Raises:
        ValueError: a folder that is in use, or none where one is to be continued.
    """
    if options.resume and options.out is None:
        raise ValueError("--resume: give the run folder to continue with --out")
    folder = options.out or Path("runs") / f"{options.method.name}-{datetime.now():%Y%m%d-%H%M%S}"
    if not options.resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"--out {folder}: exists and is not an empty folder; choose another, or continue it (--resume)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", asdict(config_of(options)))
    write_json(folder / "environment.json", {"runs": [environment(device)]})
    return folder


def run(options: CifarRun) -> int:
    """Train, evaluate, draw; returns the exit status.

    Raises:
        ValueError: images, settings or a folder that cannot be used.
        DivergedError: the loss is not finite.
        OSError: a file could not be written.
    """
    rank = _join_group(options.device)
    device = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}" if rank is not None and options.device == "cuda"
                            else options.device)  # fmt: skip
    try:
        config = config_of(options)
        if rank not in (None, 0):
            # Process 0 decodes and caches the images.
            dist.barrier()
        splits = load_images(config.data)
        if rank == 0:
            dist.barrier()
        if rank not in (None, 0):
            fit(config, splits, device, options.out or Path(), options.resume)
            return 0
        folder = open_folder(options, device)
        print(f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test images; "
              f"results in {folder}", flush=True)  # fmt: skip
        with _tensorboard(folder if options.tensorboard else None) as log:
            state = fit(config, splits, device, folder, options.resume, log)
        rows = evaluate(config, state.learner, splits, device)
        write_table(folder / "results.csv", rows)
        print_results(rows)
        if options.figures:
            # Figures are another room's business: they read the folder, and never run a model.
            subprocess.run([sys.executable, "-m", "figures", str(folder)], check=False)
        return 0
    finally:
        if rank is not None:
            dist.destroy_process_group()


@contextmanager
def _tensorboard(folder: Path | None) -> Iterator[Callable[[dict], None]]:
    """Something that logs the numbers of an epoch's row; nothing without a folder."""
    if folder is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard: needs the extra [tensorboard]") from error
    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def log(row: dict) -> None:
            for name, value in row.items():
                writer.add_scalar(name, value, row["epoch"])

        yield log


def _join_group(device: str) -> int | None:
    """This process's rank under torchrun, None without it."""
    if "RANK" not in os.environ:
        return None
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return dist.get_rank()


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        lambda: run(tyro.cli(CifarRun, args=arguments, prog="python -m models.cifar", description=__doc__)),
        {DivergedError: DIVERGED},
    )


if __name__ == "__main__":
    sys.exit(main())

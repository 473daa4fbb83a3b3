"""Contrastive learning on real images: train, evaluate, draw.

    python -m models.cifar                                        SimCLR on scikit-learn's digits, a minute or two
    python -m models.cifar --method.name transfusion              or supcon, moco, moco_ft, deepfusion
    python -m models.cifar --method.name moco_ft --help           the options of one of them; others are refused
    python -m models.cifar --data.dataset PATH                    an image folder, or an archive of one
    python -m models.cifar --recipe fast --data.dataset cifar10   ten minutes on two CPU cores
    python -m models.cifar --data.dataset cifar10 --encoder.kind resnet18 --precision bf16 --device cuda
    python -m models.cifar --encoder.factory my_encoders:vit      an encoder of yours: a function that returns a module
    python -m models.cifar --out runs/a --resume                  continue a run that was stopped
    python -m models.cifar --init runs/a/checkpoint.pt            start from its weights: fine-tune, or another schedule
    torchrun --nproc-per-node 2 -m models.cifar --out runs/b      several processes: one loss over the whole batch

Exit status: as in all commands (--help), never 1; 5 the loss is no longer finite. Finished epochs are kept.
"""

import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from models.cifar.data.fingerprint import fingerprint, read_fingerprint
from models.cifar.data.images import load_images
from models.cifar.evaluate import evaluate, print_results
from models.cifar.methods.processes import device_of_process, first_process_first, join_group, leave_group, rank
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.initial import require_encoder
from models.cifar.training.read_config import parse_training, refusals
from models.cifar.training.recipes import RecipeName
from models.cifar.training.results import RESULTS, date_results
from models.cifar.training.state import other_images
from models.cifar.training.train import DivergedError, fit
from models.commands import DIVERGED, draw, exit_status, help_text, words_of
from models.run_folder import open_run_folder
from theory.console.extras import require_extra
from theory.numerics.whole_files import write_json, write_table


@dataclass(frozen=True)
class CifarRun(TrainConfig):
    """Command line of the trainer: what is trained, and where and how."""

    recipe: RecipeName = "auto"
    """What settings are that are not said. auto: digits for scikit-learn's digits, else plain, the defaults of the
    settings. fast: for CIFAR-10 on two CPU cores, ten minutes (models/cifar/README.md)."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1. With torchrun, cpu or cuda."""
    out: Path | None = None
    """Run folder; by default runs/METHOD-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out after its last finished epoch. More epochs than it was started with go on where the
    schedule is constant and all views have one size; other images than the run's are refused."""
    init: Path | None = None
    """A checkpoint whose encoder the training starts from, and whose head where its shapes agree; optimizer, queue and
    schedule start anew. What was taken is kept in init.json."""
    accept_other_version: bool = False
    """With --resume: go on with a run of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""
    figures: bool = True
    """Draw the figures (PNG and PDF) into the run folder."""
    tensorboard: bool = False
    """Also log every epoch for TensorBoard, into the run folder; needs the extra [tensorboard]."""


def run(options: CifarRun) -> int:
    """Train, evaluate, draw; returns the exit status.

    Raises:
        ValueError: images, settings or a folder that cannot be used.
        DivergedError: the loss is not finite.
        OSError: a file could not be written.
    """
    device = device_of_process(options.device)
    join_group(device)
    held = ExitStack()
    try:
        config = TrainConfig(**{each.name: getattr(options, each.name) for each in fields(TrainConfig)})
        with first_process_first():
            # Which decodes and caches the images.
            splits = load_images(config.data)
        config = check(config, splits, device)
        if rank() > 0:
            fit(config, splits, device, options.out or Path(), options.resume, init=options.init)
            return 0
        writer_in = _tensorboard() if options.tensorboard else None
        if options.init is not None and not options.resume:
            require_encoder(options.init, config)
        data = fingerprint(splits)
        other = partial(_other_run, options, data)
        folder = held.enter_context(
            open_run_folder(config.method.name, options.out, options.resume, config, device, other=other,
                            accept_other_version=options.accept_other_version)
        )  # fmt: skip
        write_json(folder / "data.json", splits.report)
        if splits.report is not None:
            print("\n".join(splits.report.lines()))
        print(f"{data['name']}, SHA-256 {data['sha256'][:8]}; results in {folder}", flush=True)
        with nullcontext() if writer_in is None else writer_in(str(folder / "tensorboard")) as writer:

            def on_epoch(row: dict) -> None:
                measured = f"kNN {row['knn']:.1%}, " if "knn" in row else ""
                words = f"loss {row['loss']:.4f}, {measured}{row['views_per_second']:,.0f} views/s"
                print(f"epoch {row['epoch']}/{config.epochs}: {words}", flush=True)
                if writer is not None:
                    for name, value in row.items():
                        writer.add_scalar(name, value, row["epoch"])

            try:
                state = fit(config, splits, device, folder, options.resume, on_epoch, options.init, data)
            except KeyboardInterrupt:
                again = f"continue with the same command and --out {folder} --resume"
                print(f"\nfinished epochs are kept, {again}", file=sys.stderr)
                raise
        if options.resume:
            # Perhaps of more epochs than the run was started with.
            date_results(folder, config.epochs)
            write_json(folder / "config.json", config)
        rows = evaluate(config, state.learner, splits, device, data, epoch=state.epoch)
        write_table(folder / RESULTS, rows)
        print_results(rows)
        return draw(folder) if options.figures else 0
    finally:
        held.close()
        leave_group()


def _other_run(options: CifarRun, data: dict, stored: dict, config: dict) -> list[str]:
    """What makes the run in --out another one: settings, or else images."""
    told = refusals(stored, config, f"--resume {options.out}")
    if not told and options.out is not None:
        images = other_images(read_fingerprint(options.out), data)
        told = [f"set of images: {images}"] if images else []
    return told


def _tensorboard() -> type:
    """TensorBoard's writer.

    Raises:
        ValueError: it is not installed.
    """
    require_extra("tensorboard", "--tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        lambda: run(
            parse_training(CifarRun, words_of(arguments), "python -m models.cifar", help_text(__doc__), recipes=True)
        ),
        {DivergedError: DIVERGED},
    )


if __name__ == "__main__":
    sys.exit(main())

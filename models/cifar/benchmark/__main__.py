"""How fast the trainer is, and with --peers also the losses and the stack, as ratios measured in one run.

    python -m models.cifar.benchmark
    python -m models.cifar.benchmark --encoder.kind resnet18 --batch-size 512 --device cuda --precision bf16
    python -m models.cifar.benchmark --peers        a quarter of an hour on one core

Ways to do a step on the same images take turns: the bare encoder (forward and backward on views that are already there,
nothing else), the trainer's own step (views, encoder, head, loss, optimizer), and the bare encoder behind the pipeline
that one would write at first, a DataLoader over images that Pillow augments one by one. Ratios are taken round by
round. Pillow's views are the same whatever --view says, and --view-sizes is refused: all views have --image-size.

With --peers: NT-Xent, SupCon and the affinity loss, forward and backward, against pytorch-metric-learning (pip install
'.[peers]') and against the n x n matrices that one would write. A peer is timed once its value and gradients are found
to be ours, and where its memory is there. And the stack at small shapes against bare matrix products. Tables and a
figure go to a run folder.

Exit status: as in all commands (--help), 1 where a peer computes something else.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from models.cifar.benchmark import losses, pipelines, stacks
from models.cifar.benchmark.peers import LossName, library_left_out
from models.cifar.data.images import LARGEST_SIZE, SMALLEST_SIZE
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import parse_training
from models.commands import CHECK_FAILED, DONE, draw, exit_status, help_text, words_of
from models.devices.processor import processor_name
from models.environment import require_float64, resolve_device
from models.run_folder import open_run_folder
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_ROUNDS
from theory.numerics.whole_files import write_table


@dataclass(frozen=True)
class BenchmarkOptions(TrainConfig):
    """Command line of the benchmark: a training's settings, of which the data are replaced by random images."""

    device: str = "cpu"
    """Where: cpu, cuda, cuda:1."""
    rounds: int = 7
    """Rounds, in each of which everything has its turn; medians are reported."""
    image_size: int = 32
    """Height and width of the random images."""
    peers: bool = False
    """Losses and stack against what a user would take instead, too."""
    losses: tuple[LossName, ...] = ("nt_xent", "supcon", "affinity")
    """Of --peers: which losses."""
    sizes: tuple[int, ...] = (256, 1024, 4096, 8192, 16384)
    """Of --peers: rows n of a loss's batch, even."""
    dim: int = 128
    """Of --peers: coordinates of an embedding."""
    out: Path | None = None
    """Of --peers: run folder; by default one in runs/."""
    figures: bool = True
    """Of --peers: draw the ratios into the run folder."""


def run(options: BenchmarkOptions) -> int:
    """Measure, print and, with peers, store.

    Raises:
        ValueError: bad options, an unknown device, a folder that cannot be used.
        OSError: results cannot be written.
    """
    require_count(options.rounds, "rounds", 1, LARGEST_ROUNDS)
    require_count(options.image_size, "image_size", SMALLEST_SIZE, LARGEST_SIZE)
    losses.check_sizes(options.sizes, options.dim)
    pipelines.require_full_views(options)
    device = resolve_device(options.device)
    require_float64(device)
    say = partial(print, flush=True)
    if not options.peers:
        _pipelines(options, device, say)
        return DONE
    settings = {"losses": options.losses, "sizes": options.sizes, "dim": options.dim, "rounds": options.rounds,
                "device": str(device), "peers": library_left_out() is None, "training": asdict(options)}  # fmt: skip
    with open_run_folder("peers", options.out, False, settings, device) as folder:
        say(_told(options, device))
        found = _losses(options, device, folder, say)
        say(stacks.HEADING)
        rows = stacks.compare_stacks(options.rounds, device)
        say("\n".join(map(stacks.line_of, rows)))
        write_table(folder / "peer_stacks.csv", rows)
        write_table(folder / "pipelines.csv", _pipelines(options, device, say))
        status = draw(folder) if options.figures else DONE
    return CHECK_FAILED if any(row["status"] == "refused" for row in found) else status


def _told(options: TrainConfig, device: torch.device) -> str:
    """What the numbers depend on."""
    where = processor_name() if device.type == "cpu" else f"{device}, {processor_name()}"
    return f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _losses(options: BenchmarkOptions, device: torch.device, folder: Path, say: partial) -> list[dict]:
    say(f"losses forward and backward, float32, D = {options.dim}, median [min, max] of {options.rounds} rounds")
    if (why := library_left_out()) is not None:
        say(why)
    say(losses.HEADING)
    rows = []
    for row in losses.compare_losses(options.losses, options.sizes, options.dim, options.rounds, device, say):
        rows.append(row)
        write_table(folder / "peer_losses.csv", rows)
        if row["status"] == "timed":
            say(losses.line_of(row))
    return rows


def _pipelines(options: BenchmarkOptions, device: torch.device, say: partial) -> list[dict]:
    encoder = options.encoder.factory or options.encoder.kind
    say(
        f"{options.method.name}, {encoder}, batch {options.batch_size}, {options.precision}, {_told(options, device)}, "
        f"median [min, max] of {options.rounds} rounds"
    )
    rows = pipelines.compare_pipelines(options, options.image_size, options.rounds, device)
    say(pipelines.HEADING)
    say("\n".join(map(pipelines.line_of, rows)))
    say(pipelines.PILLOW_WORDS)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    prog = "python -m models.cifar.benchmark"
    return exit_status(lambda: run(parse_training(BenchmarkOptions, words_of(arguments), prog, help_text(__doc__))))


if __name__ == "__main__":
    sys.exit(main())

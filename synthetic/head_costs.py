"""What a head costs: its parameters, and the time of a training step against the batch size.

    python -m synthetic.head_costs                           a quarter of a minute on two cores
    python -m synthetic.head_costs --device cuda             on a GPU
    python -m synthetic.head_costs --batch-sizes 256 1024    other batch sizes

A step is forward, loss and backward in float32 on given features, TransFusion with the affinity loss on every block,
all others with NT-Xent. Heads take turns, so that a noisy machine slows them alike; ratios to the MLP head are taken
round by round.

Exit status: as in all commands (--help), never 1.
"""

import sys
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict, dataclass, replace
from typing import get_args

import torch
from tqdm import tqdm

from models.devices.timing import in_turn
from models.heads import HeadConfig, HeadKind, build_head, count_parameters
from models.losses import objective_from_name, view_pair_labels
from models.stack import resolve_device
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import RunRecorder, Tables
from synthetic.runs.statuses import command
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_BATCH, LARGEST_DEPTH, LARGEST_ROUNDS, LARGEST_WIDTH

COSTS = Tables("costs", None)
REFERENCE = "mlp"


@dataclass(frozen=True)
class CostSettings:
    """What is timed."""

    batch_sizes: tuple[int, ...] = (64, 256, 1024, 2048)
    """Rows n, two views; even numbers."""
    feature_dim: int = 128
    """D, coordinates of a feature; a multiple of 4."""
    width: int = 64
    """Coordinates of a token and of an embedding."""
    depth: int = 3
    """Mixing blocks of attention heads."""
    rounds: int = 7
    """Rounds, in each of which every head has its turn; medians are reported."""
    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        for size in self.batch_sizes:
            if require_count(size, "batch_sizes", 4, LARGEST_BATCH) % 2:
                raise ValueError(f"batch_sizes: must be even, got {size}")
        for name in ("feature_dim", "width"):
            require_count(getattr(self, name), name, 1, LARGEST_WIDTH)
        require_count(self.depth, "depth", 1, LARGEST_DEPTH)
        require_count(self.rounds, "rounds", 1, LARGEST_ROUNDS)


@dataclass(frozen=True)
class HeadCosts(RunOptions, CostSettings):
    """Command line of the head costs."""


def make_step(kind: HeadKind, n: int, settings: CostSettings, device: torch.device) -> tuple[Callable[[], None], int]:
    """One training step of a head on fixed features, and the head's parameters."""
    config = HeadConfig(kind=kind, width=settings.width, out_dim=settings.width, depth=settings.depth)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = build_head(config, settings.feature_dim).to(device)
        features = torch.randn(n, settings.feature_dim).to(device).requires_grad_()
    objective = (
        objective_from_name("jsd", intermediate=1.0) if kind == "transfusion" else objective_from_name("nt_xent")
    )
    labels = view_pair_labels(n // 2, 2, device)

    def step() -> None:
        head.zero_grad(set_to_none=True)
        features.grad = None
        objective(head(features, views=2), labels).backward()

    return step, count_parameters(head)


def cost_rows(settings: CostSettings, device: torch.device, finished: Set[int] = frozenset()) -> Iterator[dict]:
    """costs.csv: one row a head and batch size, but for cells that are ``finished``."""
    kinds = get_args(HeadKind)
    for place, n in enumerate(tqdm(settings.batch_sizes, disable=None, unit="batch size")):
        missing = {cell: kind for cell, kind in enumerate(kinds, place * len(kinds)) if cell not in finished}
        if not missing:
            continue
        made = {kind: make_step(kind, n, settings, device) for kind in kinds}
        times = in_turn({kind: step for kind, (step, _) in made.items()}, settings.rounds, device)
        for cell, kind in missing.items():
            ratio, _ = times[kind].over(times[REFERENCE])
            yield {
                "cell": cell, "head": kind, "batch_size": n, "parameters": made[kind][1],
                "milliseconds": times[kind].milliseconds, "ratio": ratio.median,
                "ratio_low": ratio.low, "ratio_high": ratio.high,
            }  # fmt: skip


def run(options: HeadCosts) -> int:
    """Time, print and return the exit status.

    Raises:
        ValueError: bad settings, an unknown device, an unusable run folder.
        OSError: a file could not be written.
    """
    settings = settings_of(options, CostSettings)
    device, out = resolve_device(settings.device), options.folder("costs")
    make_step("batchformer", min(settings.batch_sizes), replace(settings, depth=1), device)
    recorder = RunRecorder(out, asdict(settings), options.resume, device, COSTS, options.accept_other_version)
    for row in cost_rows(settings, device, recorder.finished):
        recorder.add(row)
    print(
        f"D = {settings.feature_dim}, width {settings.width}, depth {settings.depth}, two views, float32, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {settings.rounds} rounds"
    )
    print("head          parameters" + "".join(f"{f'n = {n}':>27}" for n in settings.batch_sizes))
    for kind in get_args(HeadKind):
        own = [row for row in recorder.rows if row["head"] == kind]
        cells = [
            f"{r['milliseconds']:8.2f} ms {r['ratio']:5.2f} [{r['ratio_low']:.2f}, {r['ratio_high']:.2f}]" for r in own
        ]
        print(f"{kind:<12} {own[0]['parameters']:11,d}" + "".join(f"{cell:>27}" for cell in cells))
    print(f"a step's time, and its ratio to the {REFERENCE} head's, round by round: median [min, max]")
    return finish(out, [], options.figures)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, HeadCosts, arguments, "python -m synthetic.head_costs", __doc__)


if __name__ == "__main__":
    sys.exit(main())

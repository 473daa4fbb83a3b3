"""Losses forward and backward, against their peers: values first, then times in turn, then memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from models.cifar.benchmark.peers import (
    CLASSES,
    LIBRARY,
    TOLERANCE,
    Contest,
    Loss,
    LossName,
    contests,
    disagreement,
    library_left_out,
    value_and_gradients,
)
from models.cifar.data.limits import available_memory
from models.devices.timing import Spread, in_turn, peak_bytes
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_WIDTH

# Larger matrices than these no machine has memory for, so that nothing but our own loss would be timed.
LARGEST_SIZE = 2**18
# Of the memory that is free; the rest is for whatever else runs.
SHARE = 0.8


def check_sizes(sizes: Sequence[int], dim: int) -> None:
    """Refuse batch sizes that cannot be timed.

    Raises:
        ValueError: no size, one that is odd or out of range, a dim out of range.
    """
    if not sizes:
        raise ValueError("sizes: give at least one value")
    for n in sizes:
        if require_count(n, "sizes", 2 * CLASSES, LARGEST_SIZE) % 2:
            raise ValueError(f"sizes: must be even, two views a sample, got {n}")
    require_count(dim, "dim", 1, LARGEST_WIDTH)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a GPU, or on this machine; where the system does not tell, what it has at all."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = available_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if free is None else free


def compare_losses(
    names: Sequence[LossName],
    sizes: Sequence[int],
    dim: int,
    rounds: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[dict]:
    """One row for every loss of ``names``, peer and size, in float32; ``status`` says what became of it: timed,
    skipped (memory), refused (it computes something else), absent (not installed).

    Ratios are the peer's time or memory over ours, so that 2 means that ours is twice as fast, or needs half.
    """
    for contest in contests():
        if contest.name not in names:
            continue
        yield from _rows_of(contest, sizes, dim, rounds, device, say)
        if contest.name != "affinity" and (why := library_left_out()) is not None:
            for n in sizes:
                yield _row(contest, LIBRARY, n, dim, "absent", why)


def _rows_of(
    contest: Contest, sizes: Sequence[int], dim: int, rounds: int, device: torch.device, say: Callable[[str], None]
) -> Iterator[dict]:
    for n in sorted(sizes):
        inputs = contest.inputs(n, dim, device)
        going: dict[str, Loss] = {}
        peaks: dict[str, int] = {}
        ours, peaks["ours"] = _run_once(contest.ours, inputs, device)
        for name, peer in contest.peers.items():
            needed, free = peer.bytes_of(n), SHARE * free_bytes(device)
            if needed > free:
                why = (f"{contest.name}, n = {n}: {name} would need about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} "
                       "are free: skipped")  # fmt: skip
                say(why)
                yield _row(contest, name, n, dim, "skipped", why)
                continue
            theirs, peaks[name] = _run_once(peer.loss, inputs, device)
            off = disagreement(ours, theirs)
            if off <= TOLERANCE:
                going[name] = peer.loss
                continue
            why = (f"{contest.name}, n = {n}: {name} computes something else, off by {off:.1e} of the largest entry "
                   f"({TOLERANCE:.0e} is rounding): refused")  # fmt: skip
            say(why)
            yield _row(contest, name, n, dim, "refused", why)
        everybody = {"ours": contest.ours, **going}
        times = in_turn({name: partial(value_and_gradients, loss, *inputs) for name, loss in everybody.items()},
                        rounds, device)  # fmt: skip
        mine = times["ours"]
        for name in going:
            wall, cpu = times[name].over(mine)
            yield _row(contest, name, n, dim, "timed") | {
                "ours_ms": mine.milliseconds, "peer_ms": times[name].milliseconds,
                "ratio": wall.median, "ratio_min": wall.low, "ratio_max": wall.high, "cpu_ratio": cpu.median,
                "ours_mib": peaks["ours"] / 2**20, "peer_mib": peaks[name] / 2**20,
                "memory_ratio": peaks[name] / max(1, peaks["ours"]),
            }  # fmt: skip


def _run_once(
    loss: Loss, inputs: tuple[tuple[Tensor, ...], tuple[Tensor, ...]], device: torch.device
) -> tuple[tuple[Tensor, ...], int]:
    """Value and gradients, and the bytes that they needed."""
    found: list[tuple[Tensor, ...]] = []
    peak = peak_bytes(lambda: found.append(value_and_gradients(loss, *inputs)), device)
    return found[0], peak


def _row(contest: Contest, peer: str, n: int, dim: int, status: str, note: str = "") -> dict:
    return {"loss": contest.name, "peer": peer, "n": n, "dim": dim, "status": status, "note": note}


def line_of(row: dict) -> str:
    """A row as it is printed."""
    start = f"{row['loss']:<9} {row['n']:>6}  {row['peer']:<24}"
    if row["status"] != "timed":
        return f"{start} {row['status']}"
    spread = Spread(row["ratio"], row["ratio_min"], row["ratio_max"])
    return (
        f"{start} {row['ours_ms']:9.2f} ms {row['peer_ms']:9.2f} ms  {spread!s:<22} {row['cpu_ratio']:6.2f}   "
        f"{row['ours_mib']:8.1f} {row['peer_mib']:8.1f} MiB {row['memory_ratio']:6.1f}"
    )


HEADING = (
    "loss           n  peer                          ours         peer    times as fast            by CPU    "
    "    ours     peer    less memory"
)

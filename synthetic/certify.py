"""Proved means proved: the final inequality of every kind of ceiling, floor and threshold, with every number enclosed.

    python -m synthetic.certify                               a grid of numbers, half a minute on one core
    python -m synthetic.certify --quick                       one of each kind, a few seconds
    python -m synthetic.certify --kinds separation depth_threshold

The default numbers rest on float64 quadrature and root finding. Here each is put into the inequality that its theorem
proves, in ball arithmetic (the extra [rigorous]): the failure probability lies inside the interval of the table, and
its upper end must not exceed delta. A number that fails moves to the safe side until it holds, and the table says how
far.

What stays numerical (theory.md, section 2h): two-step descent (2c, r >= 3), the soft graph (2g), and rows and layer 1
of the fusion ceiling (2f).

Exit status: 1 a default number had to move; others as in all commands (--help).
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthetic.runs.options import RunOptions
from synthetic.runs.records import CELLS_ALONE, RunRecorder
from synthetic.runs.statuses import command
from theory import noise_ceiling
from theory.batch_floor import bounded_connection, connectivity_certificate, gaussian_floor_certificate
from theory.batches.clusters import pair_counts
from theory.console.extras import require_extra
from theory.depth_threshold import cross_pairs, depth_certificate
from theory.fusion_ceiling import fusion_threshold
from theory.judging.verdicts import Verdict, judge
from theory.noise_ceiling import ceiling_certificate, gaussian_extremes
from theory.numerics.commands import CHECK_FAILED, DONE
from theory.numerics.inputs import require_choice, sizes_of_clusters
from theory.numerics.whole_files import write_json
from theory.rigorous.ceilings import Ceiling, Pairs, certify_bounded, certify_cosine
from theory.rigorous.certificates import Certificate
from theory.rigorous.floors import certify_bounded_connection

TIGHT, CONE = {"min_within_cos": 1.0, "max_between_cos": 0.0}, {"min_within_cos": 0.9, "max_between_cos": 0.0}
CLOSE, OBTUSE = {"min_within_cos": 0.8, "max_between_cos": 0.2}, {"min_within_cos": 0.6, "max_between_cos": -0.3}
BATCHES: tuple[dict, ...] = (
    {"ambient_dim": 64, "num_clusters": 8, "cluster_size": 32, **CONE},
    {"ambient_dim": 256, "num_clusters": 8, "cluster_size": 32, **TIGHT},
    {"ambient_dim": 64, "num_clusters": 3, "cluster_size": (5, 9, 20), **CLOSE},
    {"ambient_dim": 16, "num_clusters": 2, "cluster_size": 4, **OBTUSE},
    {"ambient_dim": 1024, "num_clusters": 8, "cluster_size": 128, **TIGHT},
    {"ambient_dim": 4096, "num_clusters": 16, "cluster_size": 1024, **CONE},
)
RIGHT = float(np.pi / 2)
CEILINGS: tuple[Ceiling, ...] = ("separation", "threshold_separation", "persistence")


@dataclass(frozen=True)
class Case:
    """A number of the grid: what finds and proves it, and for what."""

    kind: str
    certificate: Callable[..., Certificate | None]
    arguments: dict


def grid() -> list[Case]:
    """All numbers, the first of each kind the quickest."""
    cases = []
    for kind in CEILINGS:
        cases += [Case(kind, partial(ceiling_certificate, kind), {**batch, "delta": 0.05}) for batch in BATCHES]
    for noise, batch in zip((0.4, 0.9, 0.3, 0.5, 1.4, 2.0), BATCHES):
        for side, name in enumerate(("alpha", "beta")):
            cases.append(Case(name, partial(_extreme, side), {**batch, "delta": 0.05, "noise_level": noise}))
    for dim, inside, pairs, depth, kappa, squared in (
        (64, 8, 28_672, 6, 0.0, False), (256, 8, 28_672, 12, 0.0, False), (64, 3, 10**6, 4, 0.3, False),
        (12, 3, 300, 0, 0.0, True), (5, 2, 20, 1, 0.0, False), (10**6, 10, 10**9, 100, 0.0, False),
        (1024, 32, 10**40, 12, 0.0, True), (64, 8, 28_672, 6, 0.5, True),
    ):  # fmt: skip
        cases.append(Case("depth_threshold", depth_certificate, {
            "ambient_dim": dim, "subspace_dim": inside, "num_cross_pairs": pairs, "depth": depth, "delta": 0.05,
            "max_between_cos": kappa, "squared": squared}))  # fmt: skip
    for dim, clusters, size, noise in ((64, 8, 32, 0.8), (256, 8, 128, 1.3), (256, 4, 10_000, 1.3)):
        cases.append(Case("fusion_threshold", _fusion_threshold, {
            "ambient_dim": dim, "num_clusters": clusters, "cluster_size": size, "delta": 0.05, "noise_level": noise,
        }))  # fmt: skip
    for kind in CEILINGS:
        for within, between in ((0.0, RIGHT), (0.3, 1.4), (1.047, 2.618)):
            cases.append(Case(f"bounded_{kind}", partial(_bounded, kind), {
                "theta_within": within, "theta_between": between, "max_cluster_size": 8}))  # fmt: skip
    for noise, angle in ((0.0, RIGHT), (0.1, RIGHT), (0.2, 1.2)):
        cases.append(Case("bounded_connection", _connection, {
            "min_principal_angle": angle, "noise_level": noise, "num_clusters": 3, "delta": 0.05}))  # fmt: skip
    for inside, degrees, delta, squared in (
        (2, 60, 0.02, False), (2, 10, 1e-4, False), (2, 60, 0.02, True), (2, 25, 0.01, True), (3, 60, 0.02, False),
        (3, 20, 0.01, False), (4, 45, 1e-3, False), (8, 60, 0.01, False), (16, 70, 0.01, False), (3, 45, 0.01, True),
        (5, 50, 0.01, True), (8, 60, 0.01, True),
    ):  # fmt: skip
        cases.append(Case("connectivity_floor", connectivity_certificate, {
            "subspace_dim": inside, "radius": float(np.radians(degrees)), "delta": delta, "squared": squared,
            "method": "exact" if inside == 2 else "one_step"}))  # fmt: skip
    for inside, dim, clusters, noise, delta, squared in (
        (2, 64, 3, 0.3, 0.05, False), (2, 64, 3, 0.3, 0.05, True), (2, 256, 8, 0.5, 0.01, False),
        (3, 64, 3, 0.3, 0.05, False), (3, 64, 3, 0.0, 0.05, False), (4, 128, 4, 0.3, 0.01, False),
        (3, 64, 2, 0.3, 0.05, True),
    ):  # fmt: skip
        cases.append(Case("gaussian_floor", gaussian_floor_certificate, {
            "subspace_dim": inside, "ambient_dim": dim, "num_clusters": clusters, "min_principal_angle": RIGHT,
            "noise_level": noise, "delta": delta, "squared": squared}))  # fmt: skip
    return cases


def _extreme(side: int, **batch: Any) -> Certificate:
    """alpha(sigma) (side 0) or beta(sigma) (1) of Theorem 2b."""
    count, sizes = sizes_of_clusters(batch["num_clusters"], batch["cluster_size"])
    clean = batch["max_between_cos" if side else "min_within_cos"]
    return certify_cosine(
        batch["ambient_dim"], batch["noise_level"], Pairs(pair_counts(sizes, count)[side], clean),
        gaussian_extremes(**batch)[side], batch["delta"] / 2.0, upper=side == 1,
    )  # fmt: skip


def _fusion_threshold(**batch: Any) -> Certificate:
    """tau of Theorem 2f."""
    pairs = Pairs(cross_pairs(batch["num_clusters"], batch["cluster_size"]), 0.0)
    return certify_cosine(
        batch["ambient_dim"], batch["noise_level"], pairs, fusion_threshold(**batch), batch["delta"] / 2.0, upper=True
    )


def _bounded(kind: Ceiling, theta_within: float, theta_between: float, max_cluster_size: int) -> Certificate:
    """eps of Theorem 2b: its failure probability is 0 or not known."""
    last = (max_cluster_size,) if kind == "persistence" else ()
    default = getattr(noise_ceiling, f"bounded_{kind}")(theta_within, theta_between, *last)
    return certify_bounded(kind, default, theta_within, theta_between, max_cluster_size)


def _connection(min_principal_angle: float, noise_level: float, num_clusters: int, delta: float) -> Certificate:
    """The radius of Theorem 2c under bounded noise."""
    link = bounded_connection(min_principal_angle, noise_level, num_clusters, delta)
    return certify_bounded_connection(link.radius, min_principal_angle, noise_level, link.threshold)


@dataclass(frozen=True)
class CertifyOptions:
    """Command line of the certificates."""

    kinds: tuple[str, ...] = ()
    """Kinds of numbers, by default all (the first column of the table)."""
    quick: bool = False
    """The first number of each kind only."""
    out: Path | None = None
    """Run folder; by default runs/certify-DATE-TIME. Must be new or empty."""


def certify_case(cell: int, case: Case) -> dict:
    """The row of one number."""
    start = time.perf_counter()
    found = case.certificate(**case.arguments)
    if found is None:
        raise ArithmeticError(f"{case.kind}: there is nothing to certify at {case.arguments}")
    return {
        "cell": cell, "kind": case.kind, **_said(case.arguments), "default": found.default, "certified": found.number,
        "moves": found.moves, "moved_by": found.moved_by, "failure_low": found.failure.low,
        "failure_high": found.failure.high, "allowed": found.allowed, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def judge_numbers(rows: Sequence[dict]) -> Verdict:
    """Whether all default numbers are certified as they are: none of them had to move."""
    return judge("Section 2h: default numbers", [row["moves"] for row in rows], 0.0, True, discrete=True)


def _said(arguments: dict) -> dict:
    """Arguments as a table can hold them."""
    return {"arguments": " ".join(f"{name}={value}".replace(" ", "") for name, value in arguments.items())}


def run(options: CertifyOptions) -> int:
    """Certify the grid, print and store it; returns the exit status.

    Raises:
        ValueError: bad options, or the extra is not installed.
    """
    require_extra("rigorous", "certify")
    cases = grid()
    names = tuple(dict.fromkeys(case.kind for case in cases))
    for kind in options.kinds:
        require_choice(kind, "kinds", names)
    cases = [case for case in cases if case.kind in (options.kinds or names)]
    if options.quick:
        cases = [next(case for case in cases if case.kind == kind) for kind in dict.fromkeys(c.kind for c in cases)]
    settings = {name: value for name, value in asdict(options).items() if name != "out"}
    folder = RunOptions(out=options.out).folder("certify")
    recorder = RunRecorder(folder, settings, False, torch.device("cpu"), CELLS_ALONE)
    print("kind                              number  failure probability, enclosed                  delta  moved   s")
    for cell, case in enumerate(tqdm(cases, disable=None, unit="number")):
        row = certify_case(cell, case)
        recorder.add(row)
        number = "none" if row["certified"] is None else f"{row['certified']:.10g}"
        print(
            f"{row['kind']:<27} {number:>13}  [{row['failure_low']:.12g}, {row['failure_high']:.12g}]".ljust(83)
            + f" {row['allowed']:<7.4g} {row['moved_by']:<6.2g} {row['seconds']:.2f}  {row['arguments']}",
            flush=True,
        )
    moved = [row for row in recorder.rows if row["certified"] != row["default"]]
    total = sum(row["seconds"] for row in recorder.rows)
    print(f"{len(recorder.rows) - len(moved)} of {len(recorder.rows)} default numbers are certified, in {total:.1f} s")
    write_json(folder / "verdicts.json", [judge_numbers(recorder.rows)])
    print(f"Rows: {recorder.rows_path}")
    return CHECK_FAILED if moved else DONE


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, CertifyOptions, arguments, "python -m synthetic.certify", __doc__)


if __name__ == "__main__":
    sys.exit(main())

"""One table of several runs: what each reaches, averaged over seeds.

    python -m models.cifar.compare runs/simclr-0 runs/simclr-1 runs/moco-0 runs/moco-1
    python -m models.cifar.compare runs/* --out comparison.csv
    python -m models.cifar.compare runs/fast-* runs/plain-* --names fast plain --curves comparison

Runs that differ in nothing but the seed are one row: mean over seeds, and in brackets the smallest lower and the
largest upper end of their 95 % intervals. They must have the same settings, images (by their fingerprint, wherever they
lie) and weights to start from; whatever differs between rows stands below the table, and in columns of the CSV. Runs of
earlier versions, which kept no fingerprint, are a row each. A run that is given twice is refused, and so are two of one
row with the same seed, and tables that were edited; versions and devices that differ within a row stand below the
table. Baselines of the same images (raw pixels, the untrained encoder) stand there once, with the rows that they belong
to; runs of earlier versions have none.

Exit status: as in all commands (--help), never 1.
"""

import csv
import io
import json
import math
import re
import sys
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import torch
import tyro

from models.cifar.data.fingerprint import read_fingerprint
from models.cifar.evaluation.baselines import BASELINE_NAMES, BASELINES
from models.cifar.training.config import TrainConfig
from models.cifar.training.initial import INIT_FILE
from models.cifar.training.read_config import WITHOUT_EFFECT
from models.cifar.training.results import disagreement
from models.commands import command, draw
from models.environment import VERSIONS
from models.run_folder import ENVIRONMENT, open_run_folder, with_defaults
from theory.numerics.manifest import require_unchanged
from theory.numerics.whole_files import read_json, write_table

PROBES = ("knn", "linear")
COLUMNS = tuple((features, probe) for features in ("h", "z") for probe in PROBES)
BASELINE_COLUMNS = tuple((features, probe) for features in BASELINES for probe in PROBES)
# Columns that every row has; the others are settings in which rows differ.
MEASURED = {"name", "seeds", "encoder_parameters", "head_parameters", "seconds"} | {
    f"{features}_{probe}{end}" for features, probe in (*COLUMNS, *BASELINE_COLUMNS) for end in ("", "_low", "_high")
}


@dataclass(frozen=True)
class CompareOptions:
    """Command line of the comparison."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path | None = None
    """Also write the table, as CSV, to this file."""
    names: tuple[str, ...] = ()
    """What rows are called instead of by their method, in the order of the table."""
    curves: Path | None = None
    """Also draw accuracy against minutes, into this folder, which must be new or empty."""


@dataclass(frozen=True)
class FinishedRun:
    """What is read of a run.

    Attributes:
        config: settings.
        data: fingerprint of the images; None where an earlier version kept none.
        init: SHA-256 of the checkpoint that it started from, or None.
        results, epochs: rows of these tables.
        starts: what it was made with, each time that it was started; none where that is not kept.
    """

    folder: Path
    config: dict
    data: dict | None
    init: str | None
    results: list[dict]
    epochs: list[dict]
    starts: list[dict]


def read_run(folder: Path) -> FinishedRun:
    """A finished run.

    Raises:
        ValueError: a file is missing, edited or damaged, or results are of other images than the run's, or of an epoch
            that is not its last; names it.
    """
    tables = []
    try:
        config = read_json(folder / "config.json")
        for name in ("results", "epochs"):
            path = folder / f"{name}.csv"
            text = require_unchanged(path, path.read_bytes()).decode()
            tables.append(list(csv.DictReader(io.StringIO(text, newline=""))))
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: missing; {folder} is not a finished run") from error
    except (UnicodeDecodeError, csv.Error, NotADirectoryError) as error:
        raise ValueError(f"{folder}: not a run folder, or a damaged one ({error})") from error
    found = {(r.get("features"), r.get("probe")) for r in tables[0]}
    # Trainings of paper_checks are read by the linear probe alone.
    needed = {(features, "linear") for features in ("h", "z")}
    if not needed <= found <= {*COLUMNS, *BASELINE_COLUMNS} or "method" not in config:
        raise ValueError(f"{folder}: results.csv or config.json is not that of a finished run")
    # Settings that came later are as by default; of methods each has its own.
    config = {**with_defaults(config, TrainConfig()), "method": config["method"]}
    told = disagreement(config, tables[1], tables[0])
    if told:
        raise ValueError(f"{folder}: {told}: the run is not finished, or was not evaluated again after more epochs")
    data = read_fingerprint(folder)
    init = read_json(folder / INIT_FILE).get("sha256") if (folder / INIT_FILE).exists() else None
    for row in tables[0]:
        if data is not None and row.get("data_sha256", data["sha256"]) != data["sha256"]:
            raise ValueError(f"{folder}: results.csv is of other images than the run's fingerprint")
    starts = read_json(folder / ENVIRONMENT).get("runs") if (folder / ENVIRONMENT).exists() else []
    if not isinstance(starts, list) or not all(isinstance(each, dict) for each in starts):
        raise ValueError(f"{folder / ENVIRONMENT}: has no list of runs")
    return FinishedRun(folder, config, data, init, tables[0], tables[1], starts)


def name_of(config: dict) -> str:
    """A method's name in tables."""
    method = config["method"]
    name = f"{method['name']}, labels" if method["name"] == "transfusion" and method["supervised"] else method["name"]
    return name if config["head"]["kind"] == "auto" else f"{name}, head {config['head']['kind']}"


def grouped(folders: tuple[Path, ...]) -> list[list[FinishedRun]]:
    """Runs that differ in their seed alone, together.

    Raises:
        ValueError: as ``read_run``; no folders; a folder, or a seed of one group, that is given twice: its weight would
            be that of two, and intervals over seeds too narrow.
    """
    if not folders:
        raise ValueError("folders: give at least one run folder")
    groups: dict[str, dict[int, FinishedRun]] = {}
    places: set[Path] = set()
    for folder in folders:
        if folder.resolve() in places:
            raise ValueError(f"folders: {folder} is given twice")
        places.add(folder.resolve())
        found = read_run(folder)
        group, seed = groups.setdefault(json.dumps(distinguishing(found), sort_keys=True), {}), found.config["seed"]
        if seed in group:
            others = f"{group[seed].folder} and {folder} are runs of the same settings and images"
            raise ValueError(f"folders: {others} with the same seed, {seed}; give one of them")
        group[seed] = found
    return [list(group.values()) for group in groups.values()]


def compare(folders: tuple[Path, ...]) -> list[dict]:
    """One row a group of runs that differ in their seed alone, with the baselines of those that have any (else NaN).
    Settings in which rows differ are columns of all rows, by their dotted names; a setting that a row does not have is
    empty there.

    Raises:
        ValueError: as ``read_run``; no folders.
    """
    return table_of(grouped(folders))


def table_of(groups: list[list[FinishedRun]]) -> list[dict]:
    """``compare`` of runs that are grouped already."""
    rows, settings = [_row(runs) for runs in groups], [distinguishing(runs[0]) for runs in groups]
    for name in dict.fromkeys(name for each in settings for name in each):
        values = [each.get(name) for each in settings]
        if any(value != values[0] for value in values):
            for row, runs, value in zip(rows, groups, values):
                row[name] = f"{runs[0].data['name']} {value}" if name == "images" and runs[0].data else value
    return rows


def distinguishing(run: FinishedRun) -> dict[str, object]:
    """What makes a run another one, by dotted names: settings but for the seed, where images lie and what has no effect
    on a training; which images; what it started from."""
    settings = _flat(run.config)
    for name in ("seed", *WITHOUT_EFFECT):
        settings.pop(name, None)
    if run.data is None:
        # Nothing says that two of these have seen the same images.
        return settings | {"images": f"not known, in {run.folder}", "init": run.init}
    settings.pop("data.dataset", None)
    return settings | {"images": run.data["sha256"], "init": run.init}


def _flat(settings: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _row(runs: list[FinishedRun]) -> dict:
    results = runs[0].results
    row: dict = {
        "name": name_of(runs[0].config),
        "seeds": len(runs),
        "encoder_parameters": int(results[0]["encoder_parameters"]),
        "head_parameters": int(results[0]["head_parameters"]),
        "seconds": sum(float(e["seconds"]) for run in runs for e in run.epochs) / len(runs),
    }
    for features, probe in (*COLUMNS, *BASELINE_COLUMNS):
        found = [r for run in runs for r in run.results if (r["features"], r["probe"]) == (features, probe)]
        # A cell without a number is empty, and runs of earlier versions have no baselines.
        accuracies, lows, highs = ([float(r[name] or "nan") for r in found] for name in ("accuracy", "low", "high"))
        row[f"{features}_{probe}"] = sum(accuracies) / len(found) if found else math.nan
        row |= {f"{features}_{probe}_low": min(lows, default=math.nan)}
        row |= {f"{features}_{probe}_high": max(highs, default=math.nan)}
    return row


def version_lines(groups: list[list[FinishedRun]]) -> list[str]:
    """What runs of one row were made with, where that is not the same: versions of code and libraries, and devices."""
    lines = []
    for number, runs in enumerate(groups, start=1):
        for name in (*VERSIONS, "device"):
            words: dict[str, str] = {}
            where: dict[str, list[str]] = {}
            for run in runs:
                for value, told in {_made_with(start, name): None for start in run.starts}:
                    words.setdefault(value, told)
                    where.setdefault(value, []).append(str(run.folder))
            if len(where) > 1:
                values = "; ".join(f"{words[value]} in {', '.join(folders)}" for value, folders in where.items())
                lines.append(f"row {number}, {name}: {values}")
    return lines


def _made_with(start: dict, name: str) -> tuple[str, str]:
    """A version, and how people know it: code by its commit, though many a commit leaves the code as it was."""
    # Torch counts without its accelerator.
    value = str(start.get(name) or "not known").split("+")[0]
    if name != "code" or not start.get("commit"):
        return value, value[:20] if name == "code" else value
    commit = str(start["commit"])
    return (value if start.get(name) else commit), f"commit {commit[:10]}" + " with changes" * bool(
        start.get("uncommitted_changes")
    )


def baseline_lines(rows: list[dict]) -> list[str]:
    """Each baseline once, with the numbers of the rows of ``compare`` that it belongs to: rows of the same images,
    normalization and seeds share the pixels, and those of the same encoder too the untrained one."""
    lines: dict[tuple[str, str], list[str]] = {}
    for number, row in enumerate(rows, start=1):
        for kind in BASELINES:
            names = [f"{kind}_{probe}" for probe in PROBES]
            if not all(math.isnan(row[name]) for name in names):
                cells = "  ".join(f"{_cell(row, name):<20}" for name in names)
                lines.setdefault((kind, cells), []).append(str(number))
    places = {kind: place for place, kind in enumerate(BASELINES)}
    found = sorted(lines.items(), key=lambda item: places[item[0][0]])
    return [f"{BASELINE_NAMES[kind]:<18} {f'(of {_shared(numbers)})':<20} {cells}" for (kind, cells), numbers in found]


def _shared(numbers: list[str]) -> str:
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def learning_rows(groups: list[list[FinishedRun]], names: list[str]) -> list[dict]:
    """Accuracy of kNN on validation images after every epoch that it was measured, and the minutes of training until
    then, measurements apart. One row a run and epoch; ``chance`` is that of classes that are equally frequent."""
    rows = []
    for name, runs in zip(names, groups):
        for run in runs:
            chance = 1.0 / len(run.data["class_names"]) if run.data else math.nan
            minutes = accumulate(float(epoch["seconds"]) / 60.0 for epoch in run.epochs)
            rows += [{"name": name, "run": str(run.folder), "epoch": int(epoch["epoch"]), "minutes": so_far,
                      "knn": float(epoch["knn"]), "chance": chance}
                     for epoch, so_far in zip(run.epochs, minutes)
                     if epoch.get("knn") and not math.isnan(float(epoch["knn"]))]  # fmt: skip
    return rows


def draw_learning(options: CompareOptions, rows: list[dict]) -> int:
    """The folder with its table and figure; returns what drawing leaves of the exit status.

    Raises:
        ValueError: nothing was measured; a folder that cannot be used.
        OSError: a file could not be written.
    """
    if not rows:
        raise ValueError("--curves: none of the runs has measured kNN accuracy after an epoch")
    settings = {"folders": [str(folder) for folder in options.folders], "names": list(options.names)}
    with open_run_folder("comparison", options.curves, False, settings, torch.device("cpu")) as folder:
        write_table(folder / "learning.csv", rows)
        return draw(folder)


def _cell(row: dict, name: str) -> str:
    if math.isnan(row[name]):
        return "not measured"
    return f"{row[name]:.1%} [{row[f'{name}_low']:.1%}, {row[f'{name}_high']:.1%}]"


def _shown(value: object) -> str:
    """A setting in the terminal; of hashes the beginning, the whole of which the CSV has."""
    return "-" if value is None else re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1", str(value))


def run(options: CompareOptions) -> int:
    """Print and store.

    Raises:
        ValueError: folders that are no finished runs.
        OSError: the table could not be written.
    """
    groups = grouped(options.folders)
    rows = table_of(groups)
    if options.names and (len(options.names) != len(rows) or len(set(options.names)) != len(rows)):
        raise ValueError(f"--names: must be {len(rows)} different names, one a row, got {len(options.names)}")
    for row, name in zip(rows, options.names):
        row["name"] = name
    titles = "  ".join(f"{f'{features}, {probe}':^20}" for features, probe in COLUMNS)
    print(f"   method                 seeds  head parameters  seconds  {titles}")
    for number, row in enumerate(rows, start=1):
        cells = "  ".join(f"{_cell(row, f'{features}_{probe}'):<20}" for features, probe in COLUMNS)
        numbers = f"{row['seeds']:5d} {row['head_parameters']:16,d} {row['seconds']:8.0f}"
        print(f"{number:<2} {row['name']:<22} {numbers}  {cells}")
    baselines = baseline_lines(rows)
    if baselines:
        print(f"\nbaselines{'':<30} {'  '.join(f'{probe:^20}' for probe in PROBES)}")
    for line in baselines:
        print(line.rstrip())
    differing = [name for name in rows[0] if name not in MEASURED]
    if differing:
        print("\nrows differ in:")
    for name in differing:
        values = ", ".join(f"{number}: {_shown(row[name])}" for number, row in enumerate(rows, start=1))
        print(f"  {name}  {values}")
    versions = version_lines(groups)
    if versions:
        print("\nruns of one row were made with different versions:")
    for line in versions:
        print(f"  {line}")
    if options.out is not None:
        write_table(options.out, rows)
    if options.curves is not None:
        names = [row["name"] for row in rows]
        # Rows of one method are told apart by their numbers in the table.
        told = [name if names.count(name) == 1 else f"{number} {name}" for number, name in enumerate(names, start=1)]
        return draw_learning(options, learning_rows(groups, told))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, CompareOptions, arguments, "python -m models.cifar.compare", __doc__)


if __name__ == "__main__":
    sys.exit(main())

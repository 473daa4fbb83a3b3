"""One table of several runs: what each reaches, averaged over seeds.

    python -m models.cifar.compare runs/simclr-0 runs/simclr-1 runs/moco-0 runs/moco-1
    python -m models.cifar.compare runs/* --out comparison.csv

Runs whose configurations differ in nothing but the seed are one row: mean over seeds, and in brackets the smallest
lower and the largest upper end of their 95 % intervals.

Exit status: as in all commands (--help), never 1.
"""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.commands import command
from theory.numerics.whole_files import read_json, write_table

COLUMNS = (("h", "knn"), ("h", "linear"), ("z", "knn"), ("z", "linear"))


@dataclass(frozen=True)
class CompareOptions:
    """Command line of the comparison."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path | None = None
    """Also write the table, as CSV, to this file."""


def read_run(folder: Path) -> tuple[dict, list[dict], list[dict]]:
    """Configuration, results and epochs of a finished run.

    Raises:
        ValueError: a file is missing or damaged; names it.
    """
    tables = []
    try:
        config = read_json(folder / "config.json")
        for name in ("results", "epochs"):
            with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
                tables.append(list(csv.DictReader(file)))
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: missing; {folder} is not a finished run") from error
    except (UnicodeDecodeError, csv.Error, NotADirectoryError) as error:
        raise ValueError(f"{folder}: not a run folder, or a damaged one ({error})") from error
    if {(r.get("features"), r.get("probe")) for r in tables[0]} != set(COLUMNS) or "method" not in config:
        raise ValueError(f"{folder}: results.csv or config.json is not that of a finished run")
    return config, *tables


def name_of(config: dict) -> str:
    """A method's name in tables."""
    method = config["method"]
    name = f"{method['name']}, labels" if method["name"] == "transfusion" and method["supervised"] else method["name"]
    return name if config["head"]["kind"] == "auto" else f"{name}, head {config['head']['kind']}"


def compare(folders: tuple[Path, ...]) -> list[dict]:
    """One row a configuration.

    Raises:
        ValueError: as ``read_run``; no folders.
    """
    if not folders:
        raise ValueError("folders: give at least one")
    groups: dict[str, list[tuple[dict, list[dict], list[dict]]]] = {}
    for folder in folders:
        found = read_run(folder)
        key = json.dumps(_same_but_for_seed(found[0]), sort_keys=True)
        groups.setdefault(key, []).append(found)
    return [_row(runs) for runs in groups.values()]


def _same_but_for_seed(config: dict) -> dict:
    """The configuration without its seed, and with images named by their file alone, wherever they lie."""
    data = {**config["data"], "root": None, "dataset": Path(config["data"]["dataset"]).name}
    return {name: value for name, value in config.items() if name != "seed"} | {"data": data}


def _row(runs: list[tuple[dict, list[dict], list[dict]]]) -> dict:
    config, results, _ = runs[0]
    row: dict = {
        "name": name_of(config),
        "seeds": len({each["seed"] for each, _, _ in runs}),
        "encoder_parameters": int(results[0]["encoder_parameters"]),
        "head_parameters": int(results[0]["head_parameters"]),
        "seconds": sum(float(e["seconds"]) for _, _, epochs in runs for e in epochs) / len(runs),
    }
    for features, probe in COLUMNS:
        found = [r for _, rows, _ in runs for r in rows if (r["features"], r["probe"]) == (features, probe)]
        # A cell without a number is empty.
        accuracies, lows, highs = ([float(r[name] or "nan") for r in found] for name in ("accuracy", "low", "high"))
        row[f"{features}_{probe}"] = sum(accuracies) / len(found)
        row |= {f"{features}_{probe}_low": min(lows), f"{features}_{probe}_high": max(highs)}
    return row


def run(options: CompareOptions) -> int:
    """Print and store.

    Raises:
        ValueError: folders that are no finished runs.
        OSError: the table could not be written.
    """
    rows = compare(options.folders)
    titles = "  ".join(f"{f'{features}, {probe}':^20}" for features, probe in COLUMNS)
    print(f"method                 seeds  head parameters  seconds  {titles}")
    for row in rows:
        cells = (f"{row[f'{f}_{p}']:.1%} [{row[f'{f}_{p}_low']:.1%}, {row[f'{f}_{p}_high']:.1%}]" for f, p in COLUMNS)
        numbers = f"{row['seeds']:5d} {row['head_parameters']:16,d} {row['seconds']:8.0f}"
        print(f"{row['name']:<22} {numbers}  {'  '.join(f'{cell:<20}' for cell in cells)}")
    if options.out is not None:
        write_table(options.out, rows)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, CompareOptions, arguments, "python -m models.cifar.compare", __doc__)


if __name__ == "__main__":
    sys.exit(main())

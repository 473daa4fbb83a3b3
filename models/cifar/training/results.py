"""results.csv: what probes have measured of a finished run, and how it is told from one that is not finished.

A run may be stopped, evaluated before its end, or go on with more epochs: that results.csv is there says of none of
them that it is of the last epoch. So its rows name the epoch, and are held against config.json and epochs.csv.
"""

import csv
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

from models.cifar.training.checkpoint import CHECKPOINT
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import differences
from models.cifar.training.state import Trained
from theory.numerics.whole_files import read_json, write_table

RESULTS = "results.csv"


def disagreement(config: Mapping, epochs: list[dict], results: list[dict]) -> str:
    """In what a run's tables are not those of its last epoch, in words; nothing where they are. Tables of earlier
    versions name no epoch of their results, and are believed where nothing else contradicts them.

    Args:
        config: of config.json.
        epochs, results: rows of these tables, with numbers or their words.
    """
    last, said = config.get("epochs"), {_number(row.get("epoch")) for row in results}
    trained = [_number(row.get("epoch")) for row in epochs]
    end = trained[-1] if trained else None
    if end is None or end != last:
        found = "has no epoch" if end is None else f"ends with epoch {end:g}"
        return f"epochs.csv {found}, and config.json says {last} epochs"
    others = [epoch for epoch in said if epoch is not None and epoch != last]
    if others:
        return f"{RESULTS} is of epoch {min(others):g}, and config.json says {last} epochs"
    return ""


def _number(value: object) -> float | None:
    """What a cell says; None where it is empty, and where there is none."""
    try:
        found = math.nan if value in (None, "") else float(str(value))
    except ValueError:
        return -1.0
    return None if math.isnan(found) else found


def date_results(folder: Path, epochs: int) -> None:
    """Have results that name no epoch name that of config.json, where it is about to be given other epochs: under these
    they would pass for those of the last one until they are replaced.

    Raises:
        DamagedFileError: config.json is not what was written.
        OSError: results could not be written.
    """
    before = read_json(folder / "config.json").get("epochs")
    try:
        rows = list(csv.DictReader(io.StringIO((folder / RESULTS).read_text(encoding="utf-8"), newline="")))
    except (FileNotFoundError, UnicodeDecodeError, csv.Error):
        # What cannot be read passes for nothing.
        return
    if before != epochs and rows and "epoch" not in rows[0]:
        write_table(folder / RESULTS, [row | {"epoch": before} for row in rows])


def results_path(checkpoint: Path, trained: Trained, data: dict) -> Path:
    """Where a checkpoint's results go: results.csv for those of a finished run on the training's images, else a file of
    their own, which says on which images and after which epoch.

    Args:
        checkpoint: its file.
        data: fingerprint of the images.

    Raises:
        ValueError: there are results of other images under that name; config.json beside the checkpoint is damaged.
    """
    folder = checkpoint.parent
    own = trained.data is not None and trained.data["sha256"] == data["sha256"]
    name = re.sub(r"[^\w.-]+", "_", data["name"])[:40]
    images = "" if own else f"-{name}-{data['sha256'][:8]}"
    if trained.unfinished or not _is_run(folder, trained.config):
        # diverged.pt has other weights than checkpoint.pt after the same epoch.
        images += f"-{checkpoint.stem}" * (checkpoint.name != CHECKPOINT) + f"-epoch-{trained.epoch}"
    path = folder / f"results{images}.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            there = {row.get("data_sha256") for row in csv.DictReader(file)}
    except FileNotFoundError:
        return path
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of results ({error}); it is not overwritten") from error
    if there - {None, "", data["sha256"]}:
        raise ValueError(f"{path}: has results on other images, which are not overwritten; move it away")
    return path


def _is_run(folder: Path, config: TrainConfig) -> bool:
    """Whether a checkpoint of this configuration is of the run in the folder, as long as it is now; a folder without
    settings is anybody's."""
    path = folder / "config.json"
    return not path.exists() or not differences(read_json(path), config, str(path))

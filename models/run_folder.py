"""The folder of a run: new, or that of a run which goes on; with its settings, and the environment of every start."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import torch

from models.environment import environment
from theory.numerics.whole_files import PART, DamagedFileError, read_json, to_plain, write_json


def differing(first: dict, second: dict, prefix: str = "") -> dict[str, tuple]:
    """Settings in which two configurations differ: dotted name -> (value in first, value in second), in their order."""
    found = {}
    for name in {**second, **first}:
        one, other = first.get(name), second.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= differing(one, other, f"{prefix}{name}.")
        elif one != other:
            found[f"{prefix}{name}"] = (one, other)
    return found


def open_run_folder(
    name: str,
    path: Path | None,
    resume: bool,
    config: object,
    device: torch.device,
    file: str = "config.json",
    other: Callable[[dict, dict], Sequence[str]] = lambda stored, config: sorted(differing(stored, config)),
) -> Path:
    """The folder, made if need be, with the settings and, in environment.json, this start after the earlier ones.

    Args:
        name, path: where; without a path in runs/NAME-DATE-TIME.
        resume: go on with the run that is there.
        config: what the results depend on.
        file: that keeps it.
        other: names of the settings that make the stored run (its settings first) another one.

    Raises:
        ValueError: a folder that is in use, or no such run where one is to be continued.
        OSError: not writable.
    """
    folder = path or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    config = to_plain(config)
    history: list[dict] = []
    if resume and path is None:
        raise ValueError("--resume: give the run folder to continue with --out")
    if resume:
        try:
            stored, history = read_json(folder / file), read_json(folder / "environment.json").get("runs")
            if not isinstance(history, list):
                raise DamagedFileError(f"{folder / 'environment.json'}: has no list of runs")
        except DamagedFileError as error:
            raise DamagedFileError(f"--resume: {error}; there is no run to continue") from error
        names, values = other(stored, config), differing(stored, config)
        if names:
            told = (f"{n} {values[n][0]} (now {values[n][1]})" if n in values else n for n in names)
            raise ValueError(f"--resume {folder}: the run there has another {', '.join(told)}")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"--out {folder}: exists and is not an empty folder; choose another, or --resume it where the command can"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".*{PART}"):
        leftover.unlink()
    if not resume:
        write_json(folder / file, config)
    write_json(folder / "environment.json", {"runs": [*history, environment(device)]})
    return folder

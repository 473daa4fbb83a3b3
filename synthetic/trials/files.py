"""Counterexamples on disk: a case that contradicted its statement, with all that is needed to see it again."""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthetic.trials.registry import trial_of
from synthetic.trials.trial import Trial
from theory.batches.clusters import cluster_layout
from theory.judging.verdicts import Verdict
from theory.numerics.inputs import require_points
from theory.numerics.whole_files import write_whole

# Where a case was drawn, and what files of earlier versions held besides what their statement needs.
ORIGIN = {"seed", "cell", "trial"}
EARLIER = {"query_key_map", "condition", "clean_angles", "noise_level", "extremes", "threshold", "mixing", "depth"}


@dataclass(frozen=True)
class Counterexample:
    """One case of a trial.

    Attributes:
        trial: whose statement it contradicts.
        values: name -> number or array, all that the trial needs.
        origin: seed, cell and trial that drew it, where known.
    """

    trial: Trial
    values: Mapping[str, Any]
    origin: Mapping[str, int] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write an .npz, whole or not at all."""
        kept = {name: self.values[name] for name in self.trial.needs}
        kept = {name: np.empty((0, 0)) if value is None else value for name, value in kept.items()}
        write_values(path, {"statement": self.trial.key, **kept, **self.origin})

    @staticmethod
    def load(path: Path) -> "Counterexample":
        """Read an .npz; nothing in it is unpickled.

        Raises:
            ValueError: not such a file, damaged, of a statement that is not registered, or with contents that make no
                batch.
        """
        fields = read_values(path)
        key = fields.pop("statement", None)
        if not isinstance(key, str):
            raise not_a_counterexample(path)
        try:
            trial = trial_of(key)
        except ValueError as error:
            raise ValueError(f"--replay {path}: {error}") from error
        fields = {**trial.defaults, **fields}
        if not trial.needs <= set(fields) <= trial.needs | ORIGIN | EARLIER:
            raise not_a_counterexample(path)
        if "points" in fields:
            require_points(fields["points"])
        column = fields["points" if "points" in fields else trial.each[0]]
        if not np.ndim(column):
            raise not_a_counterexample(path)
        cluster_layout(fields["labels"], len(column))
        values = {name: fields[name] for name in trial.needs}
        return Counterexample(trial, values, {name: fields[name] for name in ORIGIN & set(fields)})

    def replay(self, device: str | torch.device = "cpu") -> Verdict:
        """Measure the case again and check the statement again."""
        return self.trial.check(self.trial.cases_of(self.values, str(device)))


# Something that is told of a trial's case that contradicts it.
Keep = Callable[[Trial, Mapping[str, Any]], None]


def keeper(folder: Path | None) -> Keep:
    """Something that saves every case it is given into ``folder``, numbered; None: forgets them."""
    counts: dict[str, int] = {}

    def keep(trial: Trial, values: Mapping[str, Any]) -> None:
        counts[trial.key] = counts.get(trial.key, -1) + 1
        if folder is not None:
            Counterexample(trial, values).save(folder / f"counterexample-{trial.key}-{counts[trial.key]}.npz")

    return keep


def write_values(path: Path, values: Mapping[str, object]) -> None:
    """Numbers, words and arrays as an .npz, by name, whole or not at all; ``read_values`` reads them."""
    buffer = io.BytesIO()
    # Any: the arrays' names could be those of savez's own options, as far as its types know.
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in values.items()}
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def read_values(path: Path) -> dict[str, Any]:
    """Numbers, words and arrays of an .npz, by name; nothing in it is unpickled.

    Raises:
        ValueError: no such file, or no whole .npz.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] if data[name].ndim else data[name].item() for name in data.files}
    except FileNotFoundError as error:
        raise ValueError(f"--replay {path}: there is no such file") from error
    except (ValueError, TypeError, AttributeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        # NumPy's own words would recommend to unpickle the file.
        raise not_a_counterexample(path) from error


def not_a_counterexample(path: Path) -> ValueError:
    """What is said of files that hold something else."""
    return ValueError(f"--replay {path}: not a counterexample file, or a damaged one")

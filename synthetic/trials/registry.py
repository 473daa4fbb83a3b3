"""Which theorems are on trial. The only place that knows; everything else iterates.

A statement of your own: write a file that makes a ``Trial`` and calls ``register`` (synthetic/trials/example.py is one)
and name it with ``--statements FILE``.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from synthetic.trials.theorems import (
    block_model,
    loss_certificate,
    theorem_1,
    theorem_2a,
    theorem_2b,
    theorem_2c,
    theorem_2e,
    theorem_2f,
    theorem_2g,
    theorem_3,
)
from synthetic.trials.trial import Trial

_TRIALS: dict[str, Trial] = {}
_LOADED: set[Path] = set()


def register(trial: Trial) -> Trial:
    """Put a statement on trial, in every search, attack, replay and sweep from now on.

    Raises:
        ValueError: its key is taken.
    """
    if trial.key in _TRIALS:
        raise ValueError(f"key: {trial.key!r} is registered already")
    _TRIALS[trial.key] = trial
    return trial


def trials() -> tuple[Trial, ...]:
    """All registered trials, in the order of theory.md, a user's own last."""
    return tuple(_TRIALS.values())


def trial_of(key: str) -> Trial:
    """The trial of that key.

    Raises:
        ValueError: there is none.
    """
    if key not in _TRIALS:
        raise ValueError(f"unknown statement {key!r}")
    return _TRIALS[key]


def load_statements(paths: Iterable[Path]) -> None:
    """Run files that register statements, each once.

    Raises:
        ValueError: no such file, one that fails, or that registers nothing.
    """
    for path in (Path(path).resolve() for path in paths):
        if path in _LOADED:
            continue
        before = len(_TRIALS)
        try:
            spec = importlib.util.spec_from_file_location(path.stem, path)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as error:
            raise ValueError(f"--statements {path}: {type(error).__name__}: {error}") from error
        if len(_TRIALS) == before:
            raise ValueError(f"--statements {path}: registers nothing; it has to call register(Trial(...))")
        _LOADED.add(path)


for _module in (
    theorem_1,
    theorem_2a,
    theorem_2b,
    theorem_2c,
    theorem_2e,
    theorem_2f,
    theorem_2g,
    theorem_3,
    loss_certificate,
    block_model,
):
    for _trial in _module.TRIALS:
        register(_trial)

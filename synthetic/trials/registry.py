"""Which theorems are on trial: every file in theorems/. Everything else iterates over them.

A statement of your own: write a file that makes a ``Trial`` and calls ``register`` (synthetic/trials/example.py is one)
and name it with ``--statements FILE``.
"""

import hashlib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from pathlib import Path

from synthetic.trials import theorems
from synthetic.trials.trial import Trial
from theory.judging.statements import STATEMENTS

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


def statement_files(paths: Iterable[Path]) -> dict[str, str]:
    """What a run keeps of such files: name -> SHA-256, so that it does not go on with others.

    Raises:
        ValueError: two of one name.
        OSError: one that cannot be read.
    """
    paths = [Path(path) for path in paths]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    if len(found) < len(paths):
        raise ValueError("--statements: needs files of different names, for a run keeps what each was")
    return found


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
            if spec is None or spec.loader is None:
                raise ImportError("must be a Python file, NAME.py")
            module = importlib.util.module_from_spec(spec)
            # Its imports of the toolkit mean this very copy, by whatever name it was loaded (contrastive_theory.py).
            vars(module)["__builtins__"] = __builtins__
            spec.loader.exec_module(module)
        except Exception as error:
            raise ValueError(f"--statements {path}: {type(error).__name__}: {error}") from error
        if len(_TRIALS) == before:
            raise ValueError(f"--statements {path}: registers nothing; it has to call register(Trial(...))")
        _LOADED.add(path)


def _own_trials() -> list[Trial]:
    """TRIALS of every file in theorems/, in the order of theory.md."""
    names = [f"{theorems.__name__}.{each.name}" for each in pkgutil.iter_modules(theorems.__path__)]
    found = [trial for name in names for trial in importlib.import_module(name).TRIALS]
    order = list(STATEMENTS)
    return sorted(found, key=lambda trial: order.index(trial.statement.name))


for _trial in _own_trials():
    register(_trial)

"""Configurations back from the plain numbers and words that config.json and checkpoints hold."""

import typing
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from models.cifar.methods.settings import MethodConfig, method_of, settings_of
from models.cifar.training.config import TrainConfig
from theory.whole_files import to_plain

# Where images are kept and whether code is compiled do not matter to a training.
WITHOUT_EFFECT = ("data.root", "compile")


def config_from(kind: type, values: Any, where: str = "configuration") -> Any:
    """A configuration from its values, which may be anything that a file can hold.

    Args:
        where: they were read, for messages.

    Raises:
        ValueError: fields that the configuration does not have, or values out of range; a method that is stored with
            the settings of all methods, as earlier versions of the trainer did.
    """
    if kind is MethodConfig:
        return _method_from(values, where)
    if not isinstance(values, dict):
        raise ValueError(f"{where}: its configuration is no table of settings")
    hints = typing.get_type_hints(kind)
    unknown = set(values) - {each.name for each in fields(kind)}
    if unknown:
        raise ValueError(f"{where}: its configuration has unknown {', '.join(sorted(unknown))}")
    return kind(**{name: _value(hints[name], value, where) for name, value in values.items()})


def differences(stored: Any, config: TrainConfig, where: str = "configuration") -> list[str]:
    """Dotted names of the settings in which a stored configuration is another one; of another method, its name alone.

    Raises:
        ValueError: as ``config_from``.
    """
    names = _differing(to_plain(asdict(config_from(TrainConfig, stored, where))), to_plain(asdict(config)))
    if "method.name" in names:
        names = [name for name in names if name == "method.name" or not name.startswith("method.")]
    return [name for name in names if name not in WITHOUT_EFFECT]


def _differing(first: dict, second: dict, prefix: str = "") -> list[str]:
    names = []
    for name in sorted({*first, *second}):
        one, other = first.get(name), second.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            names += _differing(one, other, f"{prefix}{name}.")
        elif one != other:
            names.append(f"{prefix}{name}")
    return names


def _method_from(values: dict, where: str) -> MethodConfig:
    name = str(values.get("name"))
    unknown = set(values) - {"name", *settings_of(name)}
    if unknown:
        raise ValueError(
            f"{where}: its method {name} has unknown {', '.join(sorted(unknown))}; earlier versions of the trainer "
            "kept the settings of all methods, and this one does not guess which of them were meant: train again"
        )
    return method_of(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) or (hint,)
    nested = next((each for each in options if is_dataclass(each)), None)
    if isinstance(value, dict) and nested is not None:
        return config_from(nested, value, where)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and Path in options:
        return Path(value)
    return value

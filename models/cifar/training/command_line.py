"""Command lines whose options are a training's settings: --method.name says which settings a method has."""

import sys
from typing import TypeVar

import tyro

from models.cifar.methods.settings import METHODS, settings_of
from models.cifar.training.config import TrainConfig

Options = TypeVar("Options", bound=TrainConfig)
PREFIX = "--method."


def parse_training(kind: type[Options], arguments: list[str] | None, prog: str, description: str | None) -> Options:
    """Options with the settings of the method that is named among them.

    Args:
        kind: a training's configuration, and what a command adds to it.
        arguments: None takes those of the process.

    Raises:
        ValueError: an unknown method, or a setting that another method has.
    """
    words = sys.argv[1:] if arguments is None else arguments
    default = kind()
    name = _method_name(words, default.method.name)
    known = settings_of(name)
    for word in words:
        option = word.partition("=")[0]
        setting = option.removeprefix(PREFIX).removeprefix("no-").replace("-", "_")
        if option.startswith(PREFIX) and setting not in ("name", *known):
            raise ValueError(f"{option}: is no setting of {name}, which has {', '.join(known)}")
    if name != default.method.name:
        default = kind(method=METHODS[name]())
    return tyro.cli(kind, args=words, prog=prog, description=description, default=default)


def _method_name(words: list[str], default: str) -> str:
    """The last one that is named, as for any option.

    Raises:
        ValueError: an unknown one.
    """
    name, option = default, f"{PREFIX}name"
    for word, following in zip(words, [*words[1:], ""]):
        if word == option:
            name = following
        elif word.startswith(f"{option}="):
            name = word.partition("=")[2]
    if name not in METHODS:
        raise ValueError(f"{option}: must be one of {', '.join(METHODS)}, got {name!r}")
    return name

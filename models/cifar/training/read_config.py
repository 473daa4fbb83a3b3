"""A training's settings read from words: those of a command line, or of config.json and checkpoints."""

import sys
import types
import typing
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from models.cifar.methods.settings import METHODS, MethodConfig, in_place_of, method_of, setting_names
from models.cifar.training.config import TrainConfig
from models.cifar.training.recipes import recipe
from models.encoders import EncoderConfig
from models.run_folder import differing
from theory.console.typed import as_typed
from theory.numerics.whole_files import to_plain

# Where images are kept, whether code is compiled and who looks for NaN do not matter to a training.
WITHOUT_EFFECT = ("data.root", "compile", "compile_step", "check_values")
PREFIX = "--method."
# What earlier versions called a method's setting -> its name now, and what its values are now.
RENAMED: dict[str, dict[str, tuple[str, dict]]] = {
    "moco_ft": {"dimension_wise": ("weights", {True: "coordinate", False: "row"})},
}
Options = TypeVar("Options", bound=TrainConfig)


def parse_training(
    kind: type[Options],
    arguments: list[str] | None,
    prog: str,
    description: str | None,
    *,
    recipes: bool = False,
) -> Options:
    """Options with the settings of the method that is named among them.

    Args:
        kind: a training's configuration, and what a command adds to it.
        arguments: None takes those of the process.
        recipes: what is not said is as the recipe has it that --recipe names, or auto; else as ``kind`` has it.

    Raises:
        ValueError: an unknown method or recipe, or a setting that another method has.
    """
    words = sys.argv[1:] if arguments is None else arguments
    default = kind()
    if recipes:
        dataset = _last(words, "--data.dataset", default.data.dataset)
        named = _last(words, "--recipe", "auto")
        usual = recipe(named, dataset)
        default = replace(default, **{each.name: getattr(usual, each.name) for each in fields(TrainConfig)})
        if _last(words, "--encoder.factory", "None") != "None":
            # A recipe's encoder is another one.
            default = replace(default, encoder=EncoderConfig())
        elif _last(words, "--encoder.kind", default.encoder.kind) != default.encoder.kind:
            # Another kind may leave a smaller map, without so many parts.
            default = replace(default, encoder=replace(default.encoder, pool_size=None))
    name = _method_name(words, default.method.name)
    known = setting_names(name)
    for word in words:
        option = word.partition("=")[0]
        setting = option.removeprefix(PREFIX).removeprefix("no-").replace("-", "_")
        if option.startswith(PREFIX) and setting not in ("name", *known):
            raise ValueError(f"{option}: is no setting of {name}, which has {', '.join(known)}")
    if name != default.method.name:
        default = replace(default, method=in_place_of(default.method, name))
    return tyro.cli(kind, args=words, prog=as_typed(prog), description=description, default=default)


def _method_name(words: list[str], default: str) -> str:
    """The one that is named.

    Raises:
        ValueError: an unknown one.
    """
    option = f"{PREFIX}name"
    name = _last(words, option, default)
    if name not in METHODS:
        raise ValueError(f"{option}: must be one of {', '.join(METHODS)}, got {name!r}")
    return name


def _last(words: list[str], option: str, default: str) -> str:
    """What an option is given: the last time, as for any option."""
    value = default
    for word, following in zip(words, [*words[1:], ""]):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def config_from(kind: type, values: Any, where: str = "configuration") -> Any:
    """A configuration from its values, which may be anything that a file can hold.

    Args:
        where: they were read, for messages.

    Raises:
        ValueError: fields that the configuration does not have, values of another type or out of range; a method that
            is stored with the settings of all methods, as earlier versions of the trainer did.
    """
    if kind is MethodConfig:
        return _method_from(values, where)
    if not isinstance(values, dict):
        raise ValueError(f"{where}: its configuration is no table of settings")
    hints = typing.get_type_hints(kind)
    unknown = set(values) - {each.name for each in fields(kind)}
    if unknown:
        raise ValueError(f"{where}: its configuration has unknown {', '.join(sorted(unknown))}")
    return kind(**{name: _value(hints[name], value, where, name) for name, value in values.items()})


def differences(stored: Any, config: TrainConfig | dict, where: str = "configuration") -> list[str]:
    """Dotted names of the settings in which a stored configuration is another one; of another method, its name alone.

    Raises:
        ValueError: as ``config_from``.
    """
    names = sorted(differing(to_plain(config_from(TrainConfig, stored, where)), to_plain(config)))
    if "method.name" in names:
        names = [name for name in names if name == "method.name" or not name.startswith("method.")]
    return [name for name in names if name not in WITHOUT_EFFECT]


def refusals(stored: Any, config: TrainConfig | dict, where: str = "configuration") -> list[str]:
    """What makes a stored training another one, with the values of both: "epochs 2 (now 3)". More epochs are the same
    training, gone on with, where the learning rate and the size of the views stay: another schedule, and several sizes,
    are spread over the epochs, and of more of them those that were trained would have been others.

    Raises:
        ValueError: as ``config_from``.
    """
    before, now = to_plain(config_from(TrainConfig, stored, where)), to_plain(config)
    names, values = differences(stored, config, where), differing(before, now)
    longer, sizes = before["epochs"] < now["epochs"], before["view_sizes"]
    several = len(set(sizes)) > 1
    if "epochs" in names and before["optimiser"]["schedule"] == "constant" and longer and not several:
        names.remove("epochs")
    told = []
    for name in names:
        why = ""
        if name == "epochs" and not longer:
            why = "; a training can only be given more"
        elif name == "epochs":
            schedule = before["optimiser"]["schedule"]
            spread = [f"the {schedule} schedule is"] * (schedule != "constant")
            spread += [f"the view sizes {' '.join(map(str, sizes))} are"] * several
            why = f"; {' and '.join(spread)} of these epochs: --init CHECKPOINT starts a new one from the weights"
        told.append(f"{name} {values[name][0]} (now {values[name][1]}{why})")
    return told


def _method_from(values: Any, where: str) -> MethodConfig:
    if not isinstance(values, dict):
        raise ValueError(f"{where}: method: must be settings by name")
    name = str(values.get("name"))
    values = _renamed(name, values, where)
    unknown = set(values) - {"name", *setting_names(name)}
    if unknown:
        raise ValueError(
            f"{where}: its method {name} has unknown {', '.join(sorted(unknown))}; earlier versions of the trainer "
            "kept the settings of all methods, and this one does not guess which of them were meant: train again"
        )
    hints = typing.get_type_hints(METHODS[name])
    return method_of(**{each: _value(hints[each], value, where, f"method.{each}") for each, value in values.items()})


def _renamed(name: str, values: dict, where: str) -> dict:
    """The settings of a method under their names of now.

    Raises:
        ValueError: both an earlier name and that of now, or an earlier value that cannot be.
    """
    found = dict(values)
    for before, (now, meaning) in RENAMED.get(name, {}).items():
        if before not in found:
            continue
        value = found.pop(before)
        if now in found:
            raise ValueError(f"{where}: method.{before}: is method.{now}, which is given too")
        if type(value) is not bool or value not in meaning:
            raise ValueError(f"{where}: method.{before}: cannot be {value!r:.60}")
        found[now] = meaning[value]
    return found


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    nested = next((each for each in options if isinstance(each, type) and is_dataclass(each)), None)
    if isinstance(value, dict) and nested is not None:
        return config_from(nested, value, where)
    if isinstance(value, list):
        value = tuple(value)
    if not any(_fits(each, value) for each in options):
        raise ValueError(f"{where}: {name}: cannot be {value!r:.60}")
    return Path(value) if isinstance(value, str) and Path in options else value


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _fits(hint: Any, value: Any) -> bool:
    """Is a value, as JSON can hold it, of a type that settings have? True and False are no numbers."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in parts and type(value) is str
    if origin is tuple:
        inner = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is Ellipsis else parts
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, inner, value))
    if hint is float:
        return type(value) in (int, float)
    if hint is Path:
        return isinstance(value, (str, Path))
    return type(value) is hint

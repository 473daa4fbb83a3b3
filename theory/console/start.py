"""What each room of the toolkit asks when it is imported: are the others the toolkit's, and by which name is it known?

The rooms have common names, and the folder that Python is started in comes first on its path: a ``models`` of somebody
else's hides ours. Where any code of ours still runs, that is said, with the way out. Rooms load this file by its place,
since ``theory`` may be what is hidden, so it imports nothing of ours before it has looked.
"""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

# The one name that nobody else has; contrastive_theory.py.
PACKAGE, PROGRAM = "contrastive_theory", "contrastive-theory"
# Each room, and those that it may import.
BELOW = {
    "theory": (),
    "models": ("theory",),
    "figures": ("theory",),
    "synthetic": ("theory", "models", "figures"),
    "paper_checks": ("theory", "models", "figures", "synthetic"),
}
# As in theory.numerics.commands, which may be hidden.
BAD_ARGUMENTS = 2


def subcommand(module: str) -> str:
    """What ``python -m MODULE`` is called as a subcommand: without its room, with hyphens."""
    room, _, rest = module.partition(".")
    return (rest or room).replace(".", "-").replace("_", "-")


def start(name: str, paths: Sequence[str]) -> None:
    """Called by a room while it is imported, and by packages in it that are commands.

    Args:
        name: the package's ``__name__``.
        paths: its ``__path__``.

    Raises:
        ImportError: a room is hidden, or the toolkit is loaded under its other name already.
        SystemExit: the same, no such command, or one whose libraries are not installed, where ``python -m`` runs a
            command (status 2).
    """
    parts = name.split(".")
    long_name = parts[0] == PACKAGE
    room, *inner = parts[1:] if long_name else parts
    root = os.path.abspath(paths[0])
    for _ in (room, *inner):
        root = os.path.dirname(root)
    module = _command_asked_for(root) or _command_running(root)
    if long_name:
        why = _not_by_module(module) if module is not None and module.startswith(f"{PACKAGE}.") else None
    else:
        why = _loaded_twice(room, root) or _hidden(room, bool(inner), root, module)
    if why is not None:
        if module is None:
            raise ImportError(why)
        print(f"error: {why}", file=sys.stderr)
        raise SystemExit(BAD_ARGUMENTS)
    if not long_name and not inner and room != "theory":
        from theory.console.extras import missing_for
        from theory.numerics.commands import guard_start

        if module is not None and (why := missing_for(module)) is not None:
            print(f"error: {why}", file=sys.stderr)
            raise SystemExit(BAD_ARGUMENTS)
        guard_start(name, list(paths))


def _command_asked_for(root: str) -> str | None:
    """What ``python -m`` was given, while Python looks for it, if it is the toolkit's."""
    if sys.argv[:1] != ["-m"]:
        return None
    given = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    module = given[-1].removeprefix("-m") if given else ""
    if module.startswith(f"{PACKAGE}."):
        return module
    path = os.path.join(root, *module.split("."))
    return module if module.partition(".")[0] in BELOW and any(map(os.path.exists, (path, f"{path}.py"))) else None


def _command_running(root: str) -> str | None:
    """The toolkit's command that ``python -m`` runs already."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name.partition(".")[0] not in BELOW:
        return None
    if not _same(os.path.commonpath([root, spec.origin or os.sep]), root):
        return None
    return spec.name.removesuffix(".__main__")


def _not_by_module(module: str) -> str:
    name = subcommand(module.partition(".")[2])
    way = f"run `{PROGRAM} {name} ...` or `python -m {PACKAGE} {name} ...`"
    return f"python -m {module}: is no command under this name; {way}"


def _loaded_twice(room: str, root: str) -> str | None:
    """Two copies of one module know nothing of each other: no isinstance, no registry would hold."""
    other = sys.modules.get(f"{PACKAGE}.{room}")
    if other is None or not _same(other.__path__[0], os.path.join(root, room)):
        return None
    why = "a process knows the toolkit by one name, so import it by that one"
    return f"{room}: is loaded as {PACKAGE}.{room} already; {why}"


def _hidden(room: str, from_inside: bool, root: str, module: str | None) -> str | None:
    # A finder of an editable install knows models.cifar also where models itself is somebody else's.
    own = [room] if from_inside else [module.partition(".")[0]] if module is not None else []
    for other in dict.fromkeys((*own, *BELOW[room])):
        place = None if other == room and not from_inside else _place(other)
        if place is None or _same(place, os.path.join(root, other)):
            continue
        words = f"{place} hides the toolkit's package {other}, which is {os.path.join(root, other)}"
        if module is None:
            return f"{words}: import {PACKAGE}.{room}, which nothing hides, instead of {room}"
        cwd = f", or `python -P -m {module} ...`, which leaves this folder out" if _in_cwd(place) else ""
        return f"{words}: run `{PROGRAM} {subcommand(module)} ...`, which nothing hides{cwd}"
    return None


def _place(name: str) -> str | None:
    """Folder of a package, or file of a module, that an import would give; None for none."""
    try:
        spec = find_spec(name)
    except ValueError:
        # Loaded by hand, without a spec.
        return getattr(sys.modules[name], "__file__", None) or name
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return next(iter(spec.submodule_search_locations), None)
    return spec.origin


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _in_cwd(place: str) -> bool:
    return _same(os.path.dirname(os.path.abspath(place)), os.curdir)

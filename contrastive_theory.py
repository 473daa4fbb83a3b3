"""The toolkit under one name that nobody else has, and its console command.

    from contrastive_theory.models.losses import Objective      beside a ``models`` of your own
    contrastive-theory sweep-noise --quick                       in any folder
    python -m contrastive_theory sweep-noise --quick             the same

The packages theory, models, figures, synthetic and paper_checks have names that other projects have too, and of two
packages of one name Python finds one. Under this name they are found by their place, beside this file, and what they
import of each other is taken from here as well: the import statement of a module asks the ``__import__`` among the
module's own builtins, and theirs puts this name before a room's. The files are the same, and so is their bytecode.

Weighed against it: a second kind of wheel, whose imports are rewritten when it is built. That needs every user to build
and to know it, misses the name of a module in a string, and leaves what is installed from the repository as breakable
as before. A finder alone cannot do it: it does not know who imports. And the rooms cannot be given away as aliases of
one module, because then ``sys.modules["models"]`` would be ours, in the user's own program.

A process knows the toolkit by one name: importing it by the other as well is refused, since two copies of a module know
nothing of each other.
"""

import builtins
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "contrastive_theory"
ROOT = Path(__file__).resolve().parent
ROOMS = ("theory", "models", "figures", "synthetic", "paper_checks")
# A module with a path, if an empty one, can have modules below it; the finder says where they are.
__path__: list[str] = []


class Finder(MetaPathFinder):
    """Finds contrastive_theory.ROOM beside this file, and what is below in the room."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The same file as by its short name, with a loader that knows the long one.

        Raises:
            ImportError: the room is loaded by its short name already.
        """
        above, _, name = fullname.rpartition(".")
        if above == NAME and name in ROOMS:
            path = [str(ROOT)]
            _require_one_name(name)
        elif not above.startswith(f"{NAME}."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path)
        return spec


class Loader(SourceFileLoader):
    """Runs a module with builtins whose ``__import__`` finds the rooms under this name."""

    def exec_module(self, module: ModuleType) -> None:
        """As every loader does."""
        vars(module)["__builtins__"] = _BUILTINS
        super().exec_module(module)


def _import(
    name: str,
    globals: dict[str, Any] | None = None,
    locals: dict[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """``__import__``, for which the rooms have long names."""
    room = name.partition(".")[0]
    if level or room not in ROOMS:
        return builtins.__import__(name, globals, locals, fromlist, level)
    found = builtins.__import__(f"{NAME}.{name}", globals, locals, fromlist)
    # `import a.b` binds a: here the room, where Python gives the topmost package.
    return found if fromlist else sys.modules[f"{NAME}.{room}"]


_BUILTINS = {**vars(builtins), "__import__": _import}


def _require_one_name(room: str) -> None:
    loaded = sys.modules.get(room)
    for path in getattr(loaded, "__path__", ()):
        if Path(path).resolve() == ROOT / room:
            raise ImportError(
                f"{NAME}.{room}: is loaded as {room} already; a process knows the toolkit by one name, so import it by "
                "that one"
            )


def main(arguments: list[str] | None = None) -> int:
    """The console command; see theory/console/dispatch.py.

    Args:
        arguments: None takes those of the process.
    """
    return import_module(f"{NAME}.theory.console.dispatch").main(arguments)


def _run() -> int:
    """Run as a file or with ``python -m``: what is imported by the name must be this file, here and in processes that
    are started from here."""
    found = find_spec(NAME)
    if found is None or Path(found.origin or "").resolve() != Path(__file__).resolve():
        sys.path.insert(0, str(ROOT))
    return import_module(NAME).main()


if __name__ == NAME:
    sys.meta_path.insert(0, Finder())
elif __name__ == "__main__":
    sys.exit(_run())

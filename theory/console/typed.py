"""How commands are called by those who type them: ``contrastive-theory sweep-noise`` where the toolkit was loaded by
its own name, ``python -m synthetic.sweep_noise`` where its rooms were."""

import re
import sys
from pathlib import Path

from theory.console.start import PACKAGE, PROGRAM, subcommand
from theory.console.table import MODULES

_BY_MODULE = re.compile(rf"python -m ({'|'.join(sorted(map(re.escape, MODULES), key=len, reverse=True))})(?![\w.])")


def program() -> str | None:
    """The console command as it was started; None where commands are modules."""
    if not __name__.startswith(f"{PACKAGE}."):
        return None
    return f"python -m {PACKAGE}" if Path(sys.argv[0]).name == f"{PACKAGE}.py" else PROGRAM


def as_typed(text: str) -> str:
    """A text in which every ``python -m MODULE`` is called as it would be typed here."""
    name = program()
    return text if name is None else _BY_MODULE.sub(lambda found: f"{name} {subcommand(found[1])}", text)

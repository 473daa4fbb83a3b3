"""Processes that a command starts never run a file of the folder that the user is in.

Python puts that folder first on a new process's path, where a ``figures.py`` of the user's would be run instead of
ours, end well, and leave nothing drawn. Those that libraries start leave it out too (theory.numerics.commands).
"""

import sys

from theory.console.start import PACKAGE, subcommand
from theory.console.table import MODULES, ROOT


def command_words(module: str, *arguments: str) -> list[str]:
    """The words that run one of the toolkit's commands, this very copy of it, in a process of its own; a module that is
    none of them is looked for where Python looks, the current folder apart."""
    if module not in MODULES:
        return [sys.executable, "-P", "-m", module, *arguments]
    return [sys.executable, "-P", str(ROOT / f"{PACKAGE}.py"), subcommand(module), *arguments]

"""Redraw the figures of a run folder, without computing anything again.

    python -m figures RUN_FOLDER

Exit status: as in all commands (--help), never 1.
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from figures.drawing import draw_to_files
from theory.console.typed import as_typed
from theory.numerics.commands import exit_status, statuses_in_words


def redraw(folder: Annotated[Path, tyro.conf.Positional]) -> int:
    """Redraw the figures of a run folder, without computing anything again.

    Args:
        folder: A folder that a sweep wrote, with config.json and its tables.
    """
    # Matplotlib takes a second to import, and may fail to: then that has a status too.
    draw_to_files()
    from figures.catalogue import draw_all

    drawn = draw_all(folder)
    print("\n".join(str(path) for path in drawn) or f"{folder}: no table to draw from")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    text, prog = f"{as_typed(__doc__)}\n{statuses_in_words()}", as_typed("python -m figures")
    return exit_status(lambda: tyro.cli(redraw, args=arguments, prog=prog, description=text))


if __name__ == "__main__":
    sys.exit(main())

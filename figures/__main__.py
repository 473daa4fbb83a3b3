"""Redraw the figures of a run folder, without computing anything again.

python -m figures RUN_FOLDER
"""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from figures.catalogue import draw_all
from figures.run_folder import DamagedFileError


def redraw(folder: Annotated[Path, tyro.conf.Positional]) -> int:
    """Redraw the figures of a run folder, without computing anything again.

    Args:
        folder: A folder that a sweep wrote, with config.json and its tables.
    """
    try:
        drawn = draw_all(folder)
    except DamagedFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write figures: {error}", file=sys.stderr)
        return 3
    print("\n".join(str(path) for path in drawn) or f"{folder}: no table to draw from")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return tyro.cli(redraw, args=arguments, prog="python -m figures")


if __name__ == "__main__":
    sys.exit(main())

"""Figures at the end of a run: what goes wrong with them cannot harm its results, and has a status of its own."""

import os
import sys
import traceback
from pathlib import Path
from unittest import mock

from theory.console.typed import as_typed
from theory.numerics.commands import CRASHED, DONE, status_of_error, status_of_figures


def draw_to_files() -> None:
    """Files are drawn, never windows: as commands do, unless somebody in this process uses Matplotlib already."""
    if "matplotlib" in sys.modules:
        return
    # A backend that a notebook has set for its own processes need not be installed here, and would be refused by the
    # import itself.
    with mock.patch.dict(os.environ, {"MPLBACKEND": "Agg"}):
        import matplotlib

        matplotlib.use("Agg")


def draw_whole(folder: Path) -> tuple[list[Path], int]:
    """Draw the figures of a run folder whose tables are whole.

    Returns:
        the pictures, and the exit status that this leaves; what went wrong is told on stderr.
    """
    try:
        # Matplotlib takes a second to import, which worker processes and refused commands are spared.
        draw_to_files()
        from figures.catalogue import draw_all

        return draw_all(folder), DONE
    except Exception as error:
        if status_of_error(error) == CRASHED:
            traceback.print_exc()
        again = as_typed("python -m figures")
        print(f"error: the figures were not drawn; try again with {again} {folder}: {error}", file=sys.stderr)
        return [], status_of_figures(error)


def draw_and_tell(folder: Path) -> int:
    """Draw the figures of a run folder and print their names; returns the exit status that this leaves."""
    drawn, status = draw_whole(folder)
    if status == DONE:
        print("Figures: " + ", ".join(str(path) for path in drawn), flush=True)
    return status

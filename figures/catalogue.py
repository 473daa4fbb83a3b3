"""The figures of a run folder: which there are, and how they are drawn and written."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures import layers, noise_bounds, tightness
from figures.run_folder import RunFolder, read_run_folder

STYLE = Path(__file__).with_name("paper.mplstyle")

# name -> (the tables it needs, how it is drawn)
FIGURES: dict[str, tuple[tuple[str, ...], Callable[[RunFolder], Figure]]] = {
    "success_against_noise": (("rows",), noise_bounds.draw),
    "layers": (("rows", "layers"), layers.draw),
    "tightness": (("boundaries",), tightness.draw),
    "tightness_grid": (("tightness",), tightness.draw_grid),
}


def draw_all(path: Path) -> list[Path]:
    """Draw every figure that the run folder has the tables for, as PNG and PDF; returns the PNG paths.

    Raises:
        DamagedFileError: the folder or a table is not what it should be.
        OSError: a figure could not be written.
    """
    run = read_run_folder(path)
    drawn = []
    with plt.style.context(STYLE):
        for name, (tables, draw) in FIGURES.items():
            if not all(table in run.tables for table in tables):
                continue
            figure = draw(run)
            for suffix in (".pdf", ".png"):
                _write(figure, run.path / f"{name}{suffix}")
            plt.close(figure)
            drawn.append(run.path / f"{name}.png")
    return drawn


def _write(figure: Figure, path: Path) -> None:
    """Whole or not at all: under a temporary name first."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format=path.suffix[1:])
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

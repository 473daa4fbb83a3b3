"""The figures of a run folder: which there are, and how they are drawn and written."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures import batch_floor, layers, noise_bounds, over_fusion, phase, sharpening, tightness
from figures.run_folder import DamagedFileError, RunFolder, read_run_folder
from theory.whole_files import replacing

STYLE = Path(__file__).with_name("paper.mplstyle")

# name -> (the tables it needs, how it is drawn)
FIGURES: dict[str, tuple[tuple[str, ...], Callable[[RunFolder], Figure]]] = {
    "success_against_noise": (("rows", "layers"), noise_bounds.draw),
    "layers": (("rows", "layers"), layers.draw),
    "tightness": (("boundaries",), tightness.draw),
    "tightness_grid": (("tightness",), tightness.draw_grid),
    "recovery_against_batch_size": (("rows", "floors"), batch_floor.draw),
    "floors": (("floors",), batch_floor.draw_floors),
    "denoising": (("denoising",), batch_floor.draw_denoising),
    "phase_diagram": (("rows", "squares", "outline"), phase.draw),
    "over_fusion": (("curves", "depths"), over_fusion.draw),
    "sharpening_map": (("map", "boundary"), sharpening.draw),
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
            try:
                figure = draw(run)
            except (KeyError, TypeError, IndexError) as error:
                needed = ", ".join(["config.json", *(f"{table}.csv" for table in tables)])
                raise DamagedFileError(
                    f"{run.path}: {name} cannot be drawn from {needed}: {error!r} is missing or not what it should be"
                ) from error
            for suffix in (".pdf", ".png"):
                with replacing(run.path / f"{name}{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix[1:])
            plt.close(figure)
            drawn.append(run.path / f"{name}.png")
    return drawn

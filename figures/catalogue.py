"""The figures of a run folder: which there are, and how they are drawn and written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures import advisor
from figures.claims import contrasts, curves, forest, limits, scores
from figures.run_folder import DamagedFileError, RunFolder, read_run_folder
from figures.sweeps import (
    batch_floor,
    large_batches,
    layers,
    noise_bounds,
    over_fusion,
    phase,
    sharpening,
    slack,
    tightness,
    trials,
)
from figures.trainings import ablations, affinity_maps, head_costs, images, learning_speed, peers, training
from figures.words import DESCRIPTION, seen
from theory.numerics.whole_files import replacing

STYLE = Path(__file__).with_name("paper.mplstyle")

# name -> (the tables it needs, how it is drawn; None where the run is of another kind)
FIGURES: dict[str, tuple[tuple[str, ...], Callable[[RunFolder], Figure | None]]] = {
    "success_against_noise": (("rows", "layers"), noise_bounds.draw),
    "layers": (("rows", "layers"), layers.draw),
    "tightness": (("boundaries",), tightness.draw),
    "tightness_grid": (("tightness",), tightness.draw_grid),
    "slack": (("slack",), slack.draw),
    "recovery_against_batch_size": (("rows", "floors"), batch_floor.draw),
    "floors": (("floors",), batch_floor.draw_floors),
    "denoising": (("denoising",), batch_floor.draw_denoising),
    "phase_diagram": (("rows", "squares", "outline"), phase.draw),
    "over_fusion": (("curves", "depths"), over_fusion.draw),
    "sharpening_map": (("map", "boundary"), sharpening.draw),
    "training_breakdown": (("trainings", "ideal", "breakdowns"), training.draw_breakdown),
    "training_blocks": (("trainings", "history", "ideal"), training.draw_blocks),
    "ablation": (("trainings",), ablations.draw),
    "image_curves": (("epochs",), images.draw_curves),
    "image_scores": (("epochs", "scores"), images.draw_scores),
    "image_layers": (("epochs", "layers"), images.draw_layers),
    "learning_speed": (("learning",), learning_speed.draw),
    "large_batches": (("memory", "slopes"), large_batches.draw),
    "head_costs": (("costs",), head_costs.draw),
    "peers": (("peer_losses",), peers.draw),
    "advice": (("curves",), advisor.draw),
    "advice_checked": (("checked",), advisor.draw_checked),
    "trials": (("trials", "attacks"), trials.draw),
    "claim_contrasts": (("contrasts",), contrasts.draw),
    "claim_curves": (("points",), curves.draw_curves),
    "claim_composition": (("composition",), curves.draw_composition),
    "claim_histograms": (("histograms",), scores.draw_histograms),
    "claim_moments": (("moments",), scores.draw_moments),
    "claim_blocks": (("blocks",), curves.draw_blocks),
    "claim_forest": (("forest",), forest.draw),
    "claim_turns": (("limit_levels", "limit_turns"), limits.draw_turns),
    "claim_floor": (("floor_levels", "floor_values"), limits.draw_floor),
    **{
        f"affinity_maps_{head}": (("trainings", f"maps_{head}"), partial(affinity_maps.draw, table=f"maps_{head}"))
        for head in ("transfusion", "deepfusion")
    },
}


def draw_all(path: Path) -> list[Path]:
    """Draw every figure that the run folder has the tables for, as PNG and PDF; returns the PNG paths.

    What is seen in a figure goes with it: as the description of the PNG, as the subject of the PDF.

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
            except (KeyError, TypeError, IndexError, ValueError) as error:
                needed = ", ".join(["config.json", *(f"{table}.csv" for table in tables)])
                raise DamagedFileError(
                    f"{run.path}: {name} cannot be drawn from {needed}: {error!r} is missing or not what it should be"
                ) from error
            if figure is None:
                continue
            words = seen(figure)
            for suffix, keyword in ((".pdf", "Subject"), (".png", DESCRIPTION)):
                with replacing(run.path / f"{name}{suffix}") as temporary:
                    figure.savefig(temporary, format=suffix[1:], metadata={keyword: words})
            plt.close(figure)
            drawn.append(run.path / f"{name}.png")
    return drawn

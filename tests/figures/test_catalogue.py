"""The battery is complete: every figure of every module has a case that reads it back."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import figures
from figures import catalogue, drawing
from figures.catalogue import FIGURES
from figures.run_folder import RunFolder
from theory.numerics.commands import LIMIT_REACHED, NOT_DRAWN, OUT_OF_MEMORY

# Modules that draw nothing of their own.
OTHERS = {"__main__", "catalogue", "claims.style", "drawing", "legend_names", "looks", "readings", "run_folder",
          "ticks", "trainings.diverged", "words"}  # fmt: skip


def cases() -> list[Callable]:
    """The tests that are cases of a figure."""
    modules = [importlib.import_module(f"tests.figures.{file.stem}")
               for file in sorted(Path(__file__).parent.glob("test_*_figures.py"))]  # fmt: skip
    return [test for module in modules for name, test in vars(module).items()
            if name.startswith("test_") and hasattr(test, "figure")]  # fmt: skip


def test_every_figure_has_a_case():
    assert {test.figure for test in cases()} == set(FIGURES)


def test_a_case_draws_the_figure_that_it_names():
    for test in cases():
        assert "draw" in inspect.signature(test).parameters, test
        assert "draw(" in inspect.getsource(test), test


def test_every_module_and_every_drawing_is_in_the_catalogue():
    functions = [getattr(draw, "func", draw) for _, draw in FIGURES.values()]
    known = {(function.__module__, function.__name__) for function in functions}
    found = pkgutil.walk_packages(figures.__path__, "figures.")
    modules = {module.name.removeprefix("figures.") for module in found if not module.ispkg}
    assert modules >= OTHERS
    for name in modules - OTHERS:
        own = drawings(importlib.import_module(f"figures.{name}"))
        assert own, f"{name} draws nothing from a run folder"
        missing = [each for each in own if (f"figures.{name}", each) not in known]
        assert not missing, f"{name}: {missing} are not in the catalogue"


def drawings(module) -> list[str]:
    """Names of a module's functions that make a figure of a run folder."""
    found = []
    for name, each in vars(module).items():
        if name.startswith("draw") and inspect.isfunction(each) and each.__module__ == module.__name__:
            signature = inspect.signature(each)
            first = next(iter(signature.parameters.values())).annotation
            if first is RunFolder and "Figure" in str(signature.return_annotation):
                found.append(name)
    return found


# --- at the end of a run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("rows.csv: no numbers"), NOT_DRAWN), (OSError(28, "No space left on device"), NOT_DRAWN),
     (ZeroDivisionError(), NOT_DRAWN), (MemoryError(), OUT_OF_MEMORY), (OSError(24, "Too many open files"),
                                                                        LIMIT_REACHED)],
)  # fmt: skip
def test_figures_that_fail_at_the_end_leave_results_and_have_a_status(monkeypatch, tmp_path, capsys, error, status):
    def fails(folder):
        raise error

    monkeypatch.setattr(catalogue, "draw_all", fails)
    assert drawing.draw_and_tell(tmp_path) == status
    said = capsys.readouterr().err
    assert f"try again with python -m figures {tmp_path}" in said
    assert ("Traceback" in said) == isinstance(error, ZeroDivisionError)
    monkeypatch.setattr(catalogue, "draw_all", lambda folder: [folder / "a.png"])
    assert drawing.draw_and_tell(tmp_path) == 0
    assert capsys.readouterr().out == f"Figures: {tmp_path / 'a.png'}\n"


def test_a_notebooks_backend_that_is_not_installed_here_draws_with_agg():
    code = "from figures.drawing import draw_to_files; draw_to_files(); import os, matplotlib, figures.catalogue; "
    code += "print(matplotlib.get_backend(), os.environ['MPLBACKEND'])"
    backend = "module://matplotlib_inline_that_is_not.here"
    environment = {**os.environ, "MPLBACKEND": backend}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["agg", backend] or found.stdout.split() == ["Agg", backend]


# A figure of each family, and all of them.
@pytest.mark.parametrize(
    "module", ["figures.catalogue", pytest.param("figures.sweeps.noise_bounds", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "chosen", ["import matplotlib; matplotlib.use('svg')", "import os; os.environ['MPLBACKEND'] = 'svg'"]
)
def test_a_notebooks_own_backend_is_left_alone(module, chosen):
    code = f"{chosen}; import {module}, matplotlib; print(matplotlib.get_backend())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["svg"]


def test_a_notebooks_own_backend_is_left_alone_where_it_draws():
    """What a command does at its end, called by somebody who draws already."""
    code = "import matplotlib; matplotlib.use('svg'); from figures.drawing import draw_to_files; draw_to_files(); "
    code += "print(matplotlib.get_backend())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["svg"]

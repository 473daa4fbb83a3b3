"""The battery is complete: every figure of every module has a case that reads it back."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import figures
from figures.catalogue import FIGURES
from figures.run_folder import RunFolder

# Modules that draw nothing of their own.
OTHERS = {"__main__", "catalogue", "run_folder", "ticks"}


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

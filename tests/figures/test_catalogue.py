"""The battery is complete: every figure of every module has a case that reads it back."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import figures
from figures.catalogue import FIGURES
from figures.run_folder import RunFolder

# Modules that draw nothing of their own.
OTHERS = {"__main__", "catalogue", "run_folder", "ticks"}


def cases() -> dict[str, list[str]]:
    """Figure -> the tests that are cases of it."""
    found: dict[str, list[str]] = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.figures.{file.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_") and hasattr(test, "figure"):
                found.setdefault(test.figure, []).append(name)
    return found


def test_every_figure_has_a_case():
    assert set(cases()) == set(FIGURES)


def test_a_case_reads_the_figure_that_it_names():
    """A case that never draws proves nothing."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.figures.{file.stem}")
        for name, test in vars(module).items():
            if name.startswith("test_") and hasattr(test, "figure"):
                assert "draw" in inspect.signature(test).parameters, name
                assert "draw(" in inspect.getsource(test), name


def test_every_module_and_every_drawing_is_in_the_catalogue():
    drawn = {inspect.unwrap(getattr(draw, "func", draw)) for _, draw in FIGURES.values()}
    modules = {module.name for module in pkgutil.iter_modules(figures.__path__)}
    assert modules >= OTHERS
    for name in modules - OTHERS:
        module = importlib.import_module(f"figures.{name}")
        own = {inspect.unwrap(each) for key, each in vars(module).items()
               if key.startswith("draw") and inspect.isfunction(each) and _first_type(each) is RunFolder
               and inspect.signature(each).return_annotation is not inspect.Signature.empty}  # fmt: skip
        own = {each for each in own if "Figure" in str(inspect.signature(each).return_annotation)}
        assert own, f"{name} draws nothing from a run folder"
        assert own <= drawn, f"{name}: {own - drawn} are not in the catalogue"


def _first_type(function) -> object:
    return next(iter(inspect.signature(function).parameters.values())).annotation

"""Every test that is skipped where there is no GPU has a twin on the pretend accelerator, and is listed here."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Where the marks are that skip: tests/stand_in/twins.py puts a device that pretends beside each of them.
MARKS = "stand_in/twins.py"
# file -> its tests that run on the stand-in everywhere, and on a GPU where there is one.
TWINS = {
    "models/cifar/benchmark/test_on_a_device.py": {
        "test_the_command_on_an_accelerator",
        "test_losses_and_stacks_on_an_accelerator",
    },
    "models/cifar/data/test_views.py": {"test_on_an_accelerator", "test_parameters_drawn_on_an_accelerator"},
    "models/cifar/methods/test_gradient_cache.py": {"test_dropout_on_an_accelerator_is_replayed"},
    "models/cifar/training/test_on_a_device.py": {"test_a_training_with_all_that_it_measures"},
    "models/losses/test_affinity.py": {"test_an_accelerator_agrees_with_the_cpu"},
    "models/losses/test_contrastive.py": {"test_an_accelerator_agrees_with_the_cpu"},
    "models/test_stack.py": {"test_an_accelerator_agrees_with_the_cpu"},
    "models/test_tiled.py": {"test_an_accelerator_agrees_with_the_cpu"},
    "paper_checks/trainings/test_on_a_device.py": {"test_a_training_of_the_gpu_tier"},
    "synthetic/test_large_batches.py": {"test_all_of_it_computes_on_an_accelerator"},
}


def twins_of(source: str) -> set[str]:
    """Test functions that go over ACCELERATORS."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and any("ACCELERATORS" in ast.unparse(mark) for mark in node.decorator_list)
    }


def asks_for_a_gpu(source: str) -> list[int]:
    """Lines that ask whether there is a GPU, as whatever skips a test does."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node).startswith(("torch.cuda.is_available", "torch.cuda.device_count", "cuda.is_available"))
    ]


def files() -> dict[str, str]:
    found = {path.relative_to(TESTS).as_posix(): path.read_text() for path in TESTS.rglob("*.py")}
    return {name: source for name, source in found.items() if name not in (MARKS, Path(__file__).name)}


def test_no_test_is_skipped_without_a_twin():
    assert {name: lines for name, source in files().items() if (lines := asks_for_a_gpu(source))} == {}


def test_the_table_is_complete():
    assert {name: twins for name, source in files().items() if (twins := twins_of(source))} == TWINS


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("@pytest.mark.skipif(not torch.cuda.is_available(), reason='')\ndef test_a():\n    pass", [1]),
        ("def test_a():\n    if torch.cuda.device_count() == 0:\n        pytest.skip('')", [2]),
        ("from torch import cuda\nNONE = not cuda.is_available()", [2]),
        ("@pytest.mark.parametrize('kind', ACCELERATORS)\ndef test_a(kind):\n    pass", []),
    ],
)
def test_what_skips_is_found(source, lines):
    assert asks_for_a_gpu(source) == lines
    assert twins_of(source) == (set() if lines else {"test_a"})

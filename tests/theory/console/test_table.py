"""The table of commands cannot fall behind the modules that are commands."""

import re

import pytest

import contrastive_theory
from tests.theory.console.folders import ROOT
from theory.console import start
from theory.console.start import subcommand
from theory.console.table import COMMANDS, MODULES, import_name, source_of, summary
from theory.numerics.commands import BAD_ARGUMENTS

ROOMS = ("models", "synthetic", "figures", "paper_checks", "theory")


def commands_of_files(root):
    """Modules that do something when they are run, as ``python -m`` takes them."""
    paths = [path for room in ROOMS for path in (root / room).rglob("*.py")
             if re.search(r'^if __name__ == "__main__":', path.read_text(), re.MULTILINE)]  # fmt: skip
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__main__") for path in paths}


def test_every_command_is_in_the_table_once():
    assert commands_of_files(ROOT) == set(MODULES)
    assert len(MODULES) == len(set(MODULES)) == len(COMMANDS)


def test_a_command_that_the_table_lacks_is_found_out(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "new.py").write_text('if __name__ == "__main__":\n    pass\n')
    assert commands_of_files(tmp_path) == {"models.new"}


@pytest.mark.parametrize(
    ("module", "name"),
    [("synthetic.sweep_noise", "sweep-noise"), ("models.cifar", "cifar"), ("models.cifar.compare", "cifar-compare"),
     ("figures", "figures"), ("paper_checks", "paper-checks")],
)  # fmt: skip
def test_the_name_of_a_subcommand_follows_from_the_module(module, name):
    assert subcommand(module) == name
    assert COMMANDS[name] == module


@pytest.mark.parametrize("module", MODULES)
def test_each_says_in_its_docstring_what_it_does(module):
    assert source_of(module).is_file()
    assert 20 < len(summary(module)) < 200
    assert summary(module)[-1] in ".?"
    assert "\n" not in summary(module)


def test_what_is_imported_to_run_one():
    assert import_name("models.cifar") == "models.cifar.__main__"
    assert import_name("models.cifar.compare") == "models.cifar.compare"


def test_what_stands_in_two_places_because_rooms_may_be_hidden_agrees():
    assert start.BAD_ARGUMENTS == BAD_ARGUMENTS
    assert contrastive_theory.NAME == start.PACKAGE
    assert set(contrastive_theory.ROOMS) == set(start.BELOW) == set(ROOMS)

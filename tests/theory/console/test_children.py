"""Processes that a command starts never run a file of the folder that one is in."""

import os
import subprocess
import sys

from models.commands import draw
from synthetic import head_costs
from tests.theory.console.folders import ROOT, plant, python, ran
from theory.console.children import command_words
from theory.numerics.commands import DONE, SAFE_PATH, exit_status

SMALL = ["--batch-sizes", "4", "--feature-dim", "4", "--width", "4", "--depth", "1", "--rounds", "1", "--no-figures"]


def test_figures_are_drawn_by_the_toolkit_and_not_by_a_file_of_that_name(tmp_path, monkeypatch):
    plant(tmp_path, "figures.py", "theory", "tyro.py", "pandas.py")
    # The planted files do run where nothing is done about it.
    assert python(tmp_path, "-m", "figures", "run").returncode == 0
    assert ran(tmp_path) == ["figures.py"]
    (tmp_path / "RAN-figures.py").unlink()
    monkeypatch.chdir(tmp_path)
    assert head_costs.main([*SMALL, "--out", "run"]) == DONE
    assert not [*tmp_path.glob("run/*.png")]
    assert draw(tmp_path / "run") == DONE
    assert ran(tmp_path) == []
    assert [path.name for path in tmp_path.glob("run/*.png")] == ["head_costs.png"]


def test_what_libraries_start_leaves_the_folder_out_too(tmp_path, monkeypatch):
    plant(tmp_path, "planted.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SAFE_PATH, raising=False)

    def starts() -> int:
        words = [sys.executable, "-c", "import planted"]
        return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode

    assert starts() == 0
    assert ran(tmp_path) == ["planted.py"]
    (tmp_path / "RAN-planted.py").unlink()
    assert exit_status(lambda: starts() and 5) == 5
    assert ran(tmp_path) == []
    assert SAFE_PATH not in os.environ
    monkeypatch.setenv(SAFE_PATH, "yes")
    assert exit_status(lambda: 0) == 0
    assert os.environ[SAFE_PATH] == "yes"


def test_a_command_of_this_very_copy_is_started():
    words = command_words("models.cifar.compare", "a", "b")
    assert words == [sys.executable, "-P", str(ROOT / "contrastive_theory.py"), "cifar-compare", "a", "b"]

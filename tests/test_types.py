"""Types: mypy finds nothing in what pyproject.toml lists, and its file says to users' checkers that there are types."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())

PLANTED = """
from theory.noise_free import spread_bound

def bound() -> str:
    return spread_bound(0.9, 8, depth="3")
"""


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.4.0", reason="shapes are other types to an earlier NumPy")
def test_types_are_right(tmp_path):
    """And a wrong call of somebody else's is noticed, so that silence says something."""
    planted = tmp_path / "planted.py"
    planted.write_text(PLANTED)
    command = ("-m", "mypy", "--cache-dir", "/dev/null", *CONFIG["tool"]["mypy"]["files"], str(planted))
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    found = [line for line in result.stdout.splitlines() if ": error: " in line]
    assert sorted(line.rpartition("[")[2] for line in found) == ["arg-type]", "return-value]"], result.stdout
    assert all(line.startswith(str(planted)) for line in found), result.stdout


@pytest.mark.parametrize("room", ["theory", "synthetic", "models", "figures", "paper_checks"])
def test_types_are_checked_and_installed(room):
    assert room in CONFIG["tool"]["mypy"]["files"]
    assert (ROOT / room / "py.typed").exists()
    assert "py.typed" in CONFIG["tool"]["setuptools"]["package-data"]["*"]

"""What is packed and what it asks for: the source distribution is the repository, every library has a lower bound."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from tests.lowest_versions import constraints, lower_bounds

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Not of the project: what git leaves out, and its own files.
IGNORED = ("__pycache__", "*.egg-info", ".hypothesis", "*_cache", "build", "dist", "runs", ".git*", ".venv", "*.pyc")


def test_the_source_distribution_is_the_whole_repository(tmp_path):
    """So that what is downloaded can be tested, and read as on the web."""
    pytest.importorskip("setuptools", "77")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*IGNORED))
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert {"theory/theory.md", "constraints.txt", "tests/conftest.py", "figures/gallery/README.md", ".ci/run"} <= files
    code = f"import setuptools.build_meta as build; build.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sorted(files - names) == []


def test_every_library_has_one_lower_bound():
    found = lower_bounds(PROJECT)
    assert {"numpy", "torch", "scikit-learn", "jinja2", "distributed", "pytest"} <= {*found}
    pins = (ROOT / "constraints.txt").read_text()
    lines = constraints(PROJECT, pins)
    assert f"numpy=={found['numpy']}" in lines
    assert {*pins.split()} <= {*lines}, "a pin stands"
    assert len(lines) == len({line.partition("==")[0] for line in lines})


@pytest.mark.parametrize(
    ("dependencies", "extra"),
    [(["numpy"], []), (["numpy<3"], []), (["numpy>=1.26,<3"], []), (["numpy>=1.26"], ["numpy>=2.0"])],
)
def test_a_library_without_a_lower_bound_is_noticed(dependencies, extra):
    project = {"name": "own", "dependencies": dependencies, "optional-dependencies": {"more": [*extra, "own[most]"]}}
    with pytest.raises(ValueError, match="expected one lower bound"):
        lower_bounds(project)

"""A base install, and what its commands say of libraries that belong to an extra."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.theory.console.folders import ROOT, python
from theory.console import dispatch, extras
from theory.console.extras import EXTRAS, NEEDED, missing_for, require_extra
from theory.console.table import COMMANDS
from theory.numerics.commands import BAD_ARGUMENTS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WAY_OUT = "pip install 'contrastive-theory-toolkit[{}]'"
# What a base install lacks; Pillow comes with Matplotlib.
BASE = ("sklearn", "jinja2", "distributed", "dask", "pyarrow", "flint", "tensorboard", "kornia")


def named(requirements):
    return {re.match(r"[\w-]+", each)[0].lower() for each in requirements}


def without(folder, *libraries):
    """Environment of a process in which these libraries are not installed."""
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({libraries}))")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_are_those_of_the_project(extra):
    """No more and no less than is looked for, and none of it in the base."""
    known = packages_distributions()
    brought = {known.get(library, [library])[0].lower() for library in EXTRAS[extra]}
    assert named(PROJECT["optional-dependencies"][extra]) == brought
    assert not brought & named(PROJECT["dependencies"])


def test_the_tests_have_what_they_test():
    (own,) = [each for each in PROJECT["optional-dependencies"]["test"] if each.startswith(PROJECT["name"])]
    # Stood in for by modules of a test's own.
    assert {*EXTRAS} - {"parquet", "tensorboard"} == {*own.partition("[")[2].rstrip("]").split(",")}


def test_what_needs_an_extra_is_a_command():
    assert {*NEEDED} <= {*COMMANDS.values()}


@pytest.mark.parametrize(
    ("module", "library", "asked"),
    [("models.cifar", "sklearn", "images"), ("models.cifar.embed", "PIL", "images"),
     ("models.advisor.coverage", "sklearn", "images"), ("paper_checks", "jinja2", "images,report"),
     ("synthetic.certify", "flint", "rigorous")],
)  # fmt: skip
def test_a_command_names_the_extra_that_it_lacks_before_it_begins(monkeypatch, capsys, module, library, asked):
    name = next(each for each, found in COMMANDS.items() if found == module)
    assert missing_for(module) is None
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(dispatch, "run", lambda *_: pytest.fail("it began"))
    assert dispatch.main([name, "--no-such-option"]) == BAD_ARGUMENTS
    said = capsys.readouterr().err
    assert f"needs {library}; {WAY_OUT.format(asked)}" in said
    assert len(said.splitlines()) == 1


def test_python_m_says_the_same(tmp_path):
    found = python(tmp_path, "-m", "models.cifar.evaluate", "X", **without(tmp_path, "sklearn"))
    assert found.returncode == BAD_ARGUMENTS
    assert found.stderr.startswith("error: python -m models.cifar.evaluate: needs sklearn; " + WAY_OUT.format("images"))
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_demonstration_says_the_same(tmp_path):
    found = python(tmp_path, "-m", "models.advisor", "--demo", **without(tmp_path, "sklearn"))
    assert found.returncode == BAD_ARGUMENTS
    assert f"error: --demo: needs sklearn; {WAY_OUT.format('images')}" in found.stderr
    assert not (tmp_path / "runs").exists()


def test_what_is_there_is_not_asked_for(monkeypatch):
    require_extra("report", "x")
    monkeypatch.setitem(extras.EXTRAS, "report", ("no_such_library",))
    with pytest.raises(ValueError, match=r"^x: needs no_such_library; .*toolkit\[report\]"):
        require_extra("report", "x")


def test_a_base_install_loads_all_else(tmp_path):
    """Every module but those of the commands that say what they need, and what is loaded by option."""
    spared = ("models.cifar", "models.advisor.coverage", "models.advisor.estimator", "synthetic.runs.dask_cluster")
    files = (path.relative_to(ROOT) for room in ("theory", "synthetic", "models", "figures")
             for path in (ROOT / room).rglob("*.py"))  # fmt: skip
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    asked = sorted(module for module in modules if not f"{module}.".startswith(tuple(f"{each}." for each in spared)))
    assert len(asked) > 200
    code = f"from importlib import import_module\nfor each in {asked}: import_module(each)"
    found = python(tmp_path, "-c", code, **without(tmp_path, *BASE))
    assert (found.returncode, found.stderr) == (0, "")

"""The toolkit under the name contrastive_theory, beside packages of the user's that have its rooms' names."""

import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.theory.console.folders import ROOT, plant, python, ran

# Every form of an import, in modules and in functions; each names the module that it finds.
FORMS = {
    "from theory.deep.leaf import NAME as found": "contrastive_theory.theory.deep.leaf",
    "from theory.deep import leaf; found = leaf.NAME": "contrastive_theory.theory.deep.leaf",
    "from theory import deep; found = deep.__name__": "contrastive_theory.theory.deep",
    "import theory; found = theory.__name__": "contrastive_theory.theory",
    "import theory.deep.leaf; found = theory.deep.leaf.NAME": "contrastive_theory.theory.deep.leaf",
    "import theory.deep.leaf as short; found = short.NAME": "contrastive_theory.theory.deep.leaf",
    "from .beside import NAME as found": "contrastive_theory.models.beside",
    "from . import beside; found = beside.NAME": "contrastive_theory.models.beside",
    "from theory.deep.leaf import *; found = NAME": "contrastive_theory.theory.deep.leaf",
    "import json, theory.deep as short; found = short.__name__": "contrastive_theory.theory.deep",
}


def test_every_form_of_an_import_means_the_toolkit_in_it_and_the_users_elsewhere(tmp_path):
    """A toolkit of a few lines, and a user with packages of the same names."""
    own, installed = tmp_path / "own", tmp_path / "installed"
    for folder in ("theory/deep", "models"):
        (installed / folder).mkdir(parents=True)
    for package in ("theory", "theory/deep", "models"):
        (installed / package / "__init__.py").touch()
    for module in ("theory/deep/leaf.py", "models/beside.py"):
        (installed / module).write_text("NAME = __name__\nclass Kept: pass\n")
    shutil.copy(ROOT / "contrastive_theory.py", installed)
    own.mkdir()
    plant(own, "models", "theory")
    for number, (form, _) in enumerate(FORMS.items()):
        (installed / "models" / f"form_{number}.py").write_text(f"{form}\n")
        if "*" not in form:
            text = f"def later():\n    {form}\n    return found\n"
            (installed / "models" / f"later_{number}.py").write_text(text)
    code = f"""
import importlib, pickle, sys
for number, (form, name) in enumerate({FORMS}.items()):
    module = importlib.import_module(f"contrastive_theory.models.form_{{number}}")
    assert module.found == name, (form, module.found)
    if "*" not in form:
        module = importlib.import_module(f"contrastive_theory.models.later_{{number}}")
        assert module.later() == name, (form, module.later())
assert not {{"theory", "models"}} & {{*sys.modules}}
import models, theory.deep.leaf as leaf_of_nobody
"""
    found = python(own, "-c", code, PYTHONPATH=str(installed))
    assert found.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'theory.deep'"
    assert ran(own) == ["models", "theory"], "the user's program gets its own"
    code = "import pickle; import contrastive_theory.models.beside as m; print(pickle.dumps(m.Kept))"
    assert "contrastive_theory.models.beside" in python(own, "-c", code, PYTHONPATH=str(installed)).stdout
    # The bytecode is that of the short name.
    assert [*installed.rglob("beside*.pyc")] == [*installed.glob("models/__pycache__/beside*.pyc")]
    same = "import sys; sys.path.insert(0, sys.argv[1]); import models.beside as m; print(m.NAME)"
    assert python(tmp_path, "-c", same, str(installed), PYTHONPATH="").stdout == "models.beside\n"


ALL = f"""
import importlib, sys
from pathlib import Path
import models
from contrastive_theory.models.heads import HeadConfig, build_head
from contrastive_theory.models.head_output import HeadOutput
import torch
assert isinstance(build_head(HeadConfig("mlp", out_dim=4), in_dim=4)(torch.ones(4, 4), views=2), HeadOutput)
root, count = Path({str(ROOT)!r}), 0
for room in ("theory", "models", "figures", "synthetic", "paper_checks"):
    for path in sorted((root / room).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] not in ("__init__", "example") and parts[1] != "rigorous":
            importlib.import_module(".".join(["contrastive_theory", *parts]))
            count += 1
rooms = {"theory", "models", "figures", "synthetic", "paper_checks"}
own = [name for name in sys.modules if name.split(".")[0] in rooms]
print(count > 200, own, models.__file__)
"""


def test_every_module_loads_beside_the_users_and_none_by_its_short_name(tmp_path):
    plant(tmp_path, "models", "figures", "theory", "synthetic", "paper_checks")
    found = python(tmp_path, "-c", ALL)
    assert found.stderr == ""
    assert found.stdout == f"True ['models'] {tmp_path / 'models' / '__init__.py'}\n"
    assert ran(tmp_path) == ["models"]


@pytest.mark.parametrize(
    ("first", "then"),
    [("theory.console", "contrastive_theory.theory"), ("contrastive_theory.theory.console", "theory")],
)
def test_a_process_knows_the_toolkit_by_one_name(tmp_path, first, then):
    """Of two copies of a module neither would know the other's classes."""
    found = python(tmp_path, "-c", f"import {first}, {then}")
    one, other = sorted(("theory", "contrastive_theory.theory"), key=lambda name: name != then)
    assert found.stderr.splitlines()[-1] == (
        f"ImportError: {one}: is loaded as {other} already; a process knows the toolkit by one name, so import it by "
        "that one"
    )


def test_what_is_not_there_is_missed_by_its_name(tmp_path):
    for name in ("contrastive_theory.nothing", "contrastive_theory.tests", "contrastive_theory.theory.nothing"):
        found = python(tmp_path, "-c", f"import {name}")
        assert found.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named {name!r}"


def test_python_m_by_the_long_name_says_how(tmp_path):
    found = python(tmp_path, "-m", "contrastive_theory.models.cifar.compare")
    assert found.returncode == 2
    assert found.stderr == (
        "error: python -m contrastive_theory.models.cifar.compare: is no command under this name; run "
        "`contrastive-theory cifar-compare ...` or `python -m contrastive_theory cifar-compare ...`\n"
    )


STATEMENTS = ROOT / "synthetic" / "trials" / "example.py"
SMALL = ["--ambient-dims", "12", "--batch-sizes", "9", "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2",
         "--trials", "5", "--depth", "2", "--noise-levels", "0.2", "--no-controls"]  # fmt: skip


@pytest.mark.slow
def test_installed_from_a_wheel_the_main_job_runs_beside_the_users_packages(tmp_path):
    """In processes, with a file of the user's own statements, and figures drawn."""
    pytest.importorskip("setuptools", "77")
    source, own = tmp_path / "source", tmp_path / "own"
    for part in ("theory", "models", "figures", "synthetic", "paper_checks"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("contrastive_theory.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source)
    code = f"import setuptools.build_meta as build; build.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    fresh = tmp_path / "fresh" / "bin"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([fresh / "python", *install], check=True, capture_output=True)
    # Libraries, without what else is installed beside them: folders of a .pth are no place for more of them.
    [packages] = (tmp_path / "fresh").glob("lib/*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    shutil.rmtree(source)
    own.mkdir()
    plant(own, "models", "figures.py", "theory", "synthetic", "tests", "tyro.py", "joblib.py")
    words = [fresh / "contrastive-theory", "sweep-noise", *SMALL, "--statements", STATEMENTS, "--out", "run",
             "--backend", "loky", "--jobs", "2"]  # fmt: skip
    how = {"cwd": own, "capture_output": True, "text": True, "check": False, "env": {"OMP_NUM_THREADS": "1"}}
    found = subprocess.run(words, **how)
    assert found.returncode == 0, found.stderr
    assert "Closer at every block: HOLDS" in found.stdout
    assert "Audit: passed" in found.stdout
    assert [*own.glob("run/*.png")]
    assert ran(own) == []
    library = "import models; from contrastive_theory.models.losses import Objective; print(Objective.__module__)"
    found = subprocess.run([fresh / "python", "-c", library], **how)
    assert found.stdout == "contrastive_theory.models.losses.objectives\n"
    assert ran(own) == ["models"]

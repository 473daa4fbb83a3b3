"""The house rules that a machine can check."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [p for p in ROOT.rglob("*.py") if not {".venv", "build"} & set(p.relative_to(ROOT).parts)]


def run(*command):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)


def test_imports_run_one_way():
    result = run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


# Imports that the contracts forbid, each planted in a module of its own.
FORBIDDEN = {
    "theory.sneaky": "torch",
    "models.cifar.data.sneaky": "models.cifar.methods.settings",
    "models.cifar.methods.sneaky": "models.cifar.evaluation.features",
    "models.cifar.evaluation.sneaky": "models.cifar.training.config",
    "models.cifar.training.sneaky": "models.cifar.evaluate",
    "models.advisor.inputs.sneaky": "models.cifar.data.images",
    "models.advisor.questions.sneaky": "models.advisor.findings",
    "models.heads": "models.cifar.data.views",
    "paper_checks.statistics.sneaky": "paper_checks.tasks",
}


def test_imports_against_the_current_are_noticed(tmp_path):
    """The contracts themselves are tested: each import that one forbids must break it."""
    for name in ("theory", "models", "figures", "synthetic", "paper_checks", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for module, imported in FORBIDDEN.items():
        with open(tmp_path / f"{module.replace('.', '/')}.py", "a") as file:
            file.write(f"import {imported}\n")
    program = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as lint; lint()"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    for module, imported in FORBIDDEN.items():
        assert f"{module} -> {imported}" in result.stdout, result.stdout


def test_style():
    result = run("-m", "ruff", "check", ".")
    assert result.returncode == 0, result.stdout
    result = run("-m", "ruff", "format", "--check", ".")
    assert result.returncode == 0, result.stdout


def test_files_stay_one_idea():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert len(lengths) > 200
    assert not {path: length for path, length in lengths.items() if length > 400}


def test_rooms_stay_small():
    """Except the table of contents: at the top of theory/ stands every definition and every theorem, a file each."""
    theory = (path for path in (ROOT / "theory").iterdir() if path.is_dir())
    tops = (*(ROOT / top for top in ("figures", "models", "paper_checks", "synthetic")), *theory)
    files = (path for top in tops for path in top.rglob("*.py"))
    rooms = Counter(path.parent for path in files if path.name != "__init__.py")
    assert len(rooms) > 7
    assert {str(room): count for room, count in rooms.items() if count > 14} == {}


def imports_of(path):
    """Modules, and names in modules, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def test_every_module_is_imported_by_a_test():
    seen = set().union(*(imports_of(path) for path in SOURCES if path.relative_to(ROOT).parts[0] == "tests"))
    for package in ("models/losses",):
        # What a package offers stands in a module of its own.
        offered = {name.rpartition(".")[::2] for name in imports_of(ROOT / package / "__init__.py")}
        seen |= {module for module, name in offered if f"{package.replace('/', '.')}.{name}" in seen}
    for room in ("theory", "models", "figures", "synthetic", "paper_checks"):
        files = [path.relative_to(ROOT) for path in (ROOT / room).rglob("*.py")
                 if path.name not in ("__init__.py", "example.py")]  # fmt: skip
        assert len(files) > 15
        missing = [file for file in files if ".".join(file.with_suffix("").parts) not in seen]
        assert missing == [], room


def test_every_room_is_installed():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES if path.name == "__init__.py"}
    packages = [name for name in found if any(fnmatch(name, pattern) for pattern in patterns)]
    rooms = {path.parent.relative_to(ROOT) for path in SOURCES if path.name == "__init__.py"}
    assert {".".join(room.parts) for room in rooms if room.parts[0] != "tests"} == set(packages)


def test_readme_keeps_its_two_promises():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^    (pip install .*)$", text, flags=re.MULTILINE)
    assert len(commands) == 2


def test_the_version_is_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version

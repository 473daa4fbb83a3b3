"""Folders of a user whose own packages have the rooms' names, and what is run in them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CONSOLE = str(ROOT / "contrastive_theory.py")


def plant(folder: Path, *names: str) -> Path:
    """Packages, and modules where a name ends in .py, that leave RAN-NAME there when anybody runs them."""
    for name in names:
        path = folder / name
        if not name.endswith(".py"):
            path.mkdir()
            path /= "__init__.py"
        path.write_text(f"open({str(folder / f'RAN-{name}')!r}, 'w').close()\n")
    return folder


def ran(folder: Path) -> list[str]:
    """Which of the planted were run."""
    return sorted(path.name.removeprefix("RAN-") for path in folder.glob("RAN-*"))


def python(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """Python in a folder, with the toolkit on its path, after what comes first there by itself."""
    names = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=kept | names, capture_output=True, text=True,
                          check=False, timeout=300)  # fmt: skip

"""Synthetic batches with known geometry, the experiments that run them, and their command lines."""

import runpy
from pathlib import Path

# By its place: a package named theory of somebody else's may come first.
_START = Path(__path__[0]).with_name("theory") / "console" / "start.py"
runpy.run_path(str(_START))["start"](__name__, __path__)

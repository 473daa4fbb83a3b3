"""Checks of the papers' claims, one claim a check. No claim has a check yet."""

import runpy
from pathlib import Path

# By its place: a package named theory of somebody else's may come first.
_START = Path(__path__[0]).with_name("theory") / "console" / "start.py"
runpy.run_path(str(_START))["start"](__name__, __path__)

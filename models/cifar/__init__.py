"""The trainer on real images: images and views (data/), methods (methods/), the loop (training/), and what is measured
of what was learned (evaluation/)."""

import runpy
from pathlib import Path

_START = Path(__path__[0]).parents[1] / "theory" / "console" / "start.py"
runpy.run_path(str(_START))["start"](__name__, __path__)

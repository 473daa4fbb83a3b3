"""The CIFAR trainer: real images (data.py), their augmented views (views.py), and probes of what was learned."""

import runpy
from pathlib import Path

_START = Path(__path__[0]).parents[1] / "theory" / "console" / "start.py"
runpy.run_path(str(_START))["start"](__name__, __path__)

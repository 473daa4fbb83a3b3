"""What a run is made with: the device, versions, commit."""

import hashlib
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import scipy
import torch

from theory.console.typed import program

# What rows may depend on, beside the settings; python and the hardware are told, and not held against a resumed run.
VERSIONS = ("code", "numpy", "scipy", "torch")
# figures/ only draws what others have computed.
ROOMS = ("theory", "models", "synthetic", "paper_checks")
FLOAT64 = "measurements need float64"


def resolve_device(device: str | torch.device) -> torch.device:
    """A torch device that exists here.

    Raises:
        ValueError: unknown or absent; names those that are there.
    """
    available = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    available += ["mps"] if torch.backends.mps.is_available() else []
    try:
        found = torch.device(device)
        # A processor has no numbers, though torch takes cpu:99 for it.
        usable = found.type != "meta" and (found.type != "cpu" or found.index in (None, 0))
        torch.empty(0, device=found)
    # What torch raises for the devices of builds that are not this one depends on the device.
    except Exception as error:
        if "out of memory" in str(error):
            raise
        raise ValueError(f"device: must be one of {', '.join(available)}, got {str(device)!r}") from error
    if not usable:
        raise ValueError(f"device: must be one of {', '.join(available)}, got {str(device)!r}")
    return found


def require_float64(device: torch.device) -> None:
    """Refuse a device that has no numbers of 64 bits, as Apple's has none, before anything is computed there.

    Raises:
        ValueError: it is mps.
    """
    if device.type == "mps":
        raise ValueError(f"device: must be cpu or cuda, {FLOAT64}, got {device}")


def environment(device: torch.device) -> dict:
    """Versions, commit and hardware of this run."""

    commit, changed = commit_of(Path(__file__))
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [*(program() or f"python -m {_module_name()}").split(), *sys.argv[1:]],
        "commit": commit,
        "uncommitted_changes": changed,
        "code": code_digest(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device} ({platform.machine()})",
        "threads": torch.get_num_threads(),
    }


def commit_of(file: Path) -> tuple[str | None, bool | None]:
    """The commit that a source file is of, and whether its repository has changes that are in no commit.

    Returns:
        None twice where git knows of none: without git, and where the file is installed inside a repository that does
        not track it, which is somebody else's project.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(file.parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    if git("ls-files", "--error-unmatch", "--", file.name) is None:
        return None, None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD"), None if changed is None else bool(changed)


@cache
def code_digest(root: Path = Path(__file__).parents[1]) -> str:
    """SHA-256 of all source files that results may depend on, names included: the version of the code where there is no
    git too. As it was when this process first asked."""
    found = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def other_versions(before: dict, now: dict) -> dict[str, tuple]:
    """The versions that differ between two starts: name -> (before, now). Torch counts without its accelerator."""

    def told(start: dict, name: str) -> object:
        return str(start[name]).split("+")[0] if name in start else None

    return {name: found for name in VERSIONS
            for found in [(told(before, name), told(now, name))] if found[0] != found[1]}  # fmt: skip


def _module_name() -> str:
    """The module that was started with ``python -m``; the script's name otherwise."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).stem if spec is None else spec.name.removesuffix(".__main__")

"""The lowest versions that pyproject.toml allows, as constraints for pip.

    python -m tests.lowest_versions constraints.txt > lowest.txt

Of a library that the given file pins, its pin stands: another version of torch is gigabytes of libraries for GPUs.
"""

import argparse
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lower_bounds(project: dict) -> dict[str, str]:
    """Library -> the lowest version of it that the dependencies, or those of an extra, allow.

    Raises:
        ValueError: one has no lower bound, or two; extras of the project itself have none.
    """
    groups = (project["dependencies"], *project["optional-dependencies"].values())
    found: dict[str, str] = {}
    for requirement in (each for group in groups for each in group):
        name, _, bound = re.fullmatch(r"([\w-]+)(\[[\w,-]+\])?(.*)", requirement).groups()
        if name == project["name"] and not bound:
            continue
        version = re.fullmatch(r">=([\d.]+)", bound)
        if version is None or found.setdefault(name, version[1]) != version[1]:
            raise ValueError(f"{requirement}: expected one lower bound, and the same wherever {name} is named")
    return found


def constraints(project: dict, pins: str) -> list[str]:
    """A line for every library: its pin, or its lowest version."""
    pinned = dict(line.split("==") for line in pins.split())
    return [f"{name}=={version}" for name, version in (lower_bounds(project) | pinned).items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.lowest_versions", description=__doc__)
    parser.add_argument("pins", nargs="?", type=argparse.FileType("r"), help="a file of lines LIBRARY==VERSION")
    pins = parser.parse_args().pins
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    print("\n".join(constraints(read, pins.read() if pins else "")))

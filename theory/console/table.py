"""The table of commands: the modules that ``python -m`` runs, and the subcommand that each is.

Everything else follows from the module: its name as a subcommand, and its line of help, which is the first paragraph of
its docstring, read without importing it.
"""

import ast
from functools import cache
from pathlib import Path

from theory.console.start import subcommand

ROOT = Path(__file__).parents[2]
# In the order in which help shows them: theory, own embeddings, images, papers, and what all leave.
MODULES = (
    "synthetic.sweep_noise",
    "synthetic.sweep_batch",
    "synthetic.phase_diagram",
    "synthetic.sharpening_map",
    "synthetic.over_fusion",
    "synthetic.train_stack",
    "synthetic.head_costs",
    "synthetic.tightness",
    "synthetic.certify",
    "synthetic.adversary",
    "synthetic.large_batches",
    "synthetic.benchmark",
    "models.advisor",
    "models.advisor.coverage",
    "models.cifar",
    "models.cifar.evaluate",
    "models.cifar.embed",
    "models.cifar.compare",
    "models.cifar.prospective",
    "models.cifar.benchmark",
    "paper_checks",
    "figures",
    "synthetic.verify",
)
COMMANDS = {subcommand(module): module for module in MODULES}


def source_of(module: str) -> Path:
    """The file that runs as this command."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def summary(module: str) -> str:
    """What a command does, in the first paragraph of its docstring."""
    text = ast.get_docstring(ast.parse(source_of(module).read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def import_name(module: str) -> str:
    """What to import to run a command by its ``main``, under the name by which the toolkit was loaded."""
    above = __name__.removesuffix("theory.console.table")
    return f"{above}{module}" + (".__main__" if source_of(module).name == "__main__.py" else "")

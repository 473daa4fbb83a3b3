"""What CONTRIBUTING.md promises: for each thing that can be added, a test that fails until all pieces are there."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from models.cifar.data.archives import ARCHIVES
from models.cifar.methods.settings import METHODS, MethodName
from models.losses import objectives
from paper_checks.catalogue import all_claims
from synthetic.trials.registry import trials
from tests.models.losses.test_objectives import EXPECTED
from tests.mutants.catalogue import BUGS
from theory.judging import statements
from theory.judging.statements import STATEMENTS

ROOT = Path(__file__).parents[1]
TABLE, PROOFS = (ROOT / "theory/README.md").read_text(), (ROOT / "theory/theory.md").read_text()
IMAGES = (ROOT / "models/README.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests/theory").rglob("test_*.py"))
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def missing_of_statement(statement, tried):
    """Pieces that a theorem lacks."""
    module = ROOT / "theory" / f"{statement.module}.py"
    source = module.read_text() if module.exists() else ""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    own = [trial for trial in tried if trial.statement is statement]
    pieces = {
        "a section of theory.md": re.search(rf"^##+ {statement.section}\b", PROOFS, re.MULTILINE),
        "its module": source,
        "a docstring that says where the proof is": f"section {statement.section}" in docstring,
        "a place among the statements": STATEMENTS.get(statement.name) is statement,
        "a trial": own or statement is statements.DENOISING,
        "random cases": all(trial.draw for trial in own),
        "negative controls": all(trial.damaged for trial in own),
        "a line in the table of theorems": f"({statement.module}.py)" in TABLE,
        "tests": re.search(rf"from theory(\.{statement.module} import| import .*\b{statement.module}\b)", TESTS),
        "planted bugs": [bug for bug in BUGS if bug.path == f"theory/{statement.module}.py"],
    }
    return [name for name, there in pieces.items() if not there]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_theorem_has_all_its_pieces(name):
    assert missing_of_statement(STATEMENTS[name], trials()) == []


def test_a_theorem_without_its_pieces_is_told_so():
    mock = replace(statements.THEOREM_2A, name="Theorem 9", section="9", module="nowhere")
    assert missing_of_statement(mock, trials()) == [
        "a section of theory.md", "its module", "a docstring that says where the proof is",
        "a place among the statements", "a trial", "a line in the table of theorems", "tests", "planted bugs",
    ]  # fmt: skip
    bare = [replace(trial, damaged={}, draw=None) for trial in trials()]
    assert missing_of_statement(statements.THEOREM_2A, bare) == ["random cases", "negative controls"]


def missing_of_loss(kind, named, temperatures, expected):
    """Pieces that a kind of objective lacks."""
    own = [name for name, objective in named.items() if objective.kind == kind]
    pieces = {
        "a default temperature": kind in temperatures,
        "a named objective": own,
        "its value in plain code": all(name in expected for name in own),
        "planted bugs": any(bug.path.startswith("models/losses/") for bug in BUGS),
    }
    return [name for name, there in pieces.items() if not there]


def test_a_loss_has_all_its_pieces():
    known = objectives.OBJECTIVES, objectives.TEMPERATURES, EXPECTED
    for kind in objectives.get_args(objectives.ObjectiveKind):
        assert missing_of_loss(kind, *known) == []
    assert missing_of_loss("mock", *known) == ["a default temperature", "a named objective"]
    named = {"jsd": objectives.Objective()}
    assert missing_of_loss("affinity", named, {"affinity": 0.1}, {}) == ["its value in plain code"]


def test_a_method_has_all_its_pieces():
    """A configuration, a name on the command line, and an oracle that the trainer has to match."""
    oracles = (ROOT / "tests/models/cifar/test_oracles.py").read_text()
    assert set(METHODS) == set(objectives.get_args(MethodName))
    missing = [name for name, kind in METHODS.items() if f"config({kind.__name__}(" not in oracles]
    assert missing == [], "methods without an oracle"


def test_a_claim_has_all_its_pieces():
    claims = all_claims()
    assert len(claims) >= 31
    for claim in claims.values():
        assert claim.wording, claim.id
        assert claim.place, claim.id
        assert len(claim.rule.split()) > 5, f"{claim.id}: a rule that a reader can apply"
        # The conjectures' rule was registered without one.
        if claim.kind != "theorem" and claim.id not in ("L1", "L2"):
            assert claim.worth, f"{claim.id}: the smallest effect worth deciding"
            assert claim.why, f"{claim.id}: and why"
    families = {path.stem for path in (ROOT / "paper_checks/papers").glob("*.py")} - {"__init__"}
    catalogue = (ROOT / "paper_checks/catalogue.py").read_text()
    assert all(f"{family}.CLAIMS" in catalogue for family in families)


def test_a_data_set_has_all_its_pieces():
    for name, archive in ARCHIVES.items():
        assert dict(archive.checksums).get("sha256"), f"{name}: a checksum that nobody can forge"
        assert archive.url.startswith("https://"), name
        assert name in IMAGES, f"{name}: models/README.md names it"


def test_the_page_names_files_that_are_there():
    for quoted in re.findall(r"`((?:tests|theory|models|synthetic|paper_checks|figures)/[\w/.]+)`", TEXT):
        if not re.search(r"NAME|FAMILY", quoted):
            assert (ROOT / quoted).exists(), quoted

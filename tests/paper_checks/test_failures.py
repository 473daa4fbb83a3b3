"""A crash is no result: what ends without one is failed and computed again, and a violation that was found is not."""

import ast
import importlib
import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from paper_checks import __main__ as command
from paper_checks import catalogue, execution, tiers
from paper_checks.claims import Claim, Finding
from paper_checks.papers.transfusion_theory import theorem_answer, verdict_rows
from paper_checks.statistics.decisions import NO_EVIDENCE
from paper_checks.tasks import VERDICTS, Command, Results, TaskFailedError, carry_out, missing
from synthetic.integrity.folders import look_at
from synthetic.runs.backends import BackendOptions, WorkersLostError
from tests.command_lines import status_of
from theory.numerics.manifest import adopt

ROOT = Path(__file__).parents[2]
# A command as Command runs them: what it does is what the file beside it says, so that a test can mend it.
PLANTED = """
import json, os, signal, sys
from pathlib import Path

folder, does = Path(sys.argv[-1]), (Path(__file__).parent / "does").read_text()
(folder / "rows.csv").write_text("value\\n1.0\\n")
print("the last line that it said", file=sys.stderr, flush=True)
if does == "raises":
    raise ZeroDivisionError("planted")
if does == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
what, status = does.split(", exits ")
verdict = {"statement": "Theorem 1", "status": what, "applicable": 3, "measured": 1.0, "bound": 2.0, "detail": ""}
text = json.dumps([verdict])
if what == "half a file":
    text = text[:30]
if what != "half":
    (folder / "verdicts.json").write_text(text)
sys.exit(int(status))
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A function that says what the planted command does from now on."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "planted_command.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{ROOT}")
    return (place / "does").write_text


TASK = Command("planted_command")


@pytest.mark.parametrize(("does", "says"), [
    ("raises", r"status 1 and left no whole verdicts\.json(?s:.*)Traceback(?s:.*)ZeroDivisionError: planted$"),
    ("killed", r"ended by SIGKILL, perhaps because memory ran out\nthe last line that it said$"),
    ("half, exits 1", r"status 1 and left no whole verdicts\.json"),
    ("half a file, exits 1", r"status 1 and left no whole verdicts\.json \(JSONDecodeError\)"),
    ("half, exits 0", r"status 0 and left no whole verdicts\.json"),
    ("HOLDS, exits 1", "status 1, but its verdicts are HOLDS"),
    ("VIOLATED, exits 0", "status 0, but its verdicts are VIOLATED"),
    ("VIOLATED, exits 70", "ended with status 70"),
    ("VIOLATED, exits 4", "ended with status 4"),
    ("FINE, exits 0", r"left no whole verdicts\.json \(ValueError\)"),
])  # fmt: skip
def test_what_is_no_result_is_a_failure_and_missing(planted, tmp_path, does, says):
    planted(does)
    with pytest.raises(TaskFailedError, match=f"^python -m planted_command: .*{says}"):
        carry_out(TASK, tmp_path / "tasks")
    assert missing([TASK], tmp_path / "tasks") == [TASK]


@pytest.mark.parametrize("does", ["VIOLATED, exits 1", "HOLDS, exits 0", "UNDECIDED, exits 0"])
def test_a_result_is_one(planted, tmp_path, does):
    planted(does)
    carry_out(TASK, tmp_path)
    assert missing([TASK], tmp_path) == []
    assert Results(tmp_path).records(TASK, "verdicts")[0]["status"] == does.split(",")[0]
    # As a run of an earlier version may have left it, which took every exit status 1 for a result.
    (tmp_path / TASK.name / VERDICTS).unlink()
    assert missing([TASK], tmp_path) == [TASK]


def of_verdicts(name, task):
    def judge(results, tier):
        rows = verdict_rows(results, {"planted": task}, "Theorem 1")
        return Finding(theorem_answer(rows), "It was looked at.", rows)

    return Claim(name, "TransFusion", "here", f"Claim {name}.", "theorem", "Its verdict.", lambda tier: [task], judge)


@pytest.fixture
def claims(monkeypatch):
    """Two claims: one of the planted command, one that needs nothing and whose judge can be broken."""
    mood = {"broken": False}

    def judge(results, tier):
        if mood["broken"]:
            raise KeyError("a column that is not there")
        return Finding("undecided", "It was looked at.", [], p_values=NO_EVIDENCE)

    found = {"T1": of_verdicts("T1", TASK),
             "S1": Claim("S1", "SimCLR", "here", "Claim S1.", "trend", "None.", lambda tier: [], judge)}  # fmt: skip
    monkeypatch.setattr(command, "all_claims", lambda: found)
    return mood


def run(tmp_path, *more):
    return status_of(command.main, ["--out", str(tmp_path / "run"), "--jobs", "1", *more])


def answer_of(tmp_path, name):
    return json.loads((tmp_path / "run" / "claims" / name / "config.json").read_text())["answer"]


@pytest.mark.parametrize("does", ["raises", "killed", "half, exits 1"])
def test_a_crash_fails_its_claim_alone_and_is_repeated(planted, claims, tmp_path, capsys, does):
    planted(does)
    assert run(tmp_path) == 4
    printed, error = capsys.readouterr()
    assert "T1  not run (failed)  Nothing is said: 1 of the 1 tasks that it needs failed." in printed
    assert "2 claims: 0 reproduced, 0 contradicted, 1 undecided, 1 not run (failed)" in printed
    assert "1 of 1 tasks failed" in error
    assert "--resume" in error
    assert "the last line that it said" in error
    assert [answer_of(tmp_path, name) for name in ("T1", "S1")] == ["failed", "undecided"]
    for name in ("report.md", "report.html"):
        text = (tmp_path / "run" / name).read_text()
        assert "not run (failed)" in text
        assert "the last line that it said" in text
    assert run(tmp_path, "--check", "--resume") == 4, "and not 1, that of a theorem that does not hold"
    planted("VIOLATED, exits 1")
    assert run(tmp_path, "--resume") == 0
    assert answer_of(tmp_path, "T1") == "contradicted"
    planted("raises")
    assert run(tmp_path, "--check", "--resume") == 1, "what is done is not repeated"
    assert "(failed)" not in (tmp_path / "run" / "report.md").read_text()


def test_a_judge_that_crashes_fails_its_claim_alone(planted, claims, tmp_path, capsys):
    planted("HOLDS, exits 0")
    claims["broken"] = True
    assert run(tmp_path) == 4
    assert [answer_of(tmp_path, name) for name in ("T1", "S1")] == ["reproduced", "failed"]
    assert "KeyError" in (tmp_path / "run" / "report.md").read_text()
    claims["broken"] = False
    assert run(tmp_path, "--resume") == 0
    folder = tmp_path / "run"
    assert look_at(folder).words == "whole, finished: the papers' claims, 2 rows; so are 4 folders in it"
    path = folder / "claims" / "S1" / "config.json"
    path.write_text(path.read_text().replace("undecided", "reproduced"))
    adopt(path.parent)
    assert "results.csv: S1 is undecided, and its own folder says reproduced" in look_at(folder).words
    (folder / "tasks" / TASK.name / "verdicts.json").write_text("[]")
    assert f"tasks/{TASK.name}: verdicts.json: " in look_at(folder).words
    assert run(tmp_path, "--resume") == 2


@dataclass(frozen=True)
class Written:
    """A task that ends well, and leaves its file or does not."""

    name: str
    writes: bool = True
    alone: bool = False
    leaves: tuple[str, ...] = ("rows.csv",)

    def run(self, folder):
        if self.writes:
            (folder / "rows.csv").write_text("value\n1.0\n")


def test_a_worker_that_is_killed_and_a_task_that_leaves_nothing_are_failures(tmp_path, capsys, monkeypatch):
    class Killed:
        """A backend whose second worker dies."""

        def map(self, function, tasks):
            yield 0, function(tasks[0])
            raise WorkersLostError("a worker process died")

    monkeypatch.setattr(execution, "open_backend", lambda options, device: nullcontext(Killed()))
    tasks = [Written("a"), Written("b"), Written("c"), Written("d", alone=True), Written("e", writes=False, alone=True)]
    failures = execution.carry_out_all(tasks, tmp_path, BackendOptions(), torch.device("cpu"))
    lost = "a worker process died"
    assert failures == {"b": f"b: {lost}", "c": f"c: {lost}", "e": "e: ended without rows.csv"}
    assert missing(tasks, tmp_path) == [task for task in tasks if task.name in failures]
    error = capsys.readouterr().err
    assert all(why in error for why in failures.values())


def modules_of_commands():
    tasks = [task for tier in tiers.TIERS.values() for claim in catalogue.all_claims().values()
             for task in claim.tasks(tier) if isinstance(task, Command)]  # fmt: skip
    return sorted({task.module for task in tasks})


@pytest.mark.parametrize("name", modules_of_commands())
def test_verdicts_are_the_last_that_a_command_writes(name):
    """So that a folder that has them has everything; figures alone come later."""
    source = Path(importlib.import_module(name).__file__).read_text()
    (body,) = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef) and each.name == "run"]
    writes = [call for call in ast.walk(body) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
              and call.func.id.startswith(("write_", "save_"))]  # fmt: skip
    last = max(writes, key=lambda call: call.lineno)
    assert "verdicts.json" in ast.unparse(last)

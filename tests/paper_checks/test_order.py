"""In which order tasks are computed, and which of them beside each other."""

import os
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch

from paper_checks import __main__ as command
from paper_checks import execution, tasks
from paper_checks.catalogue import all_claims
from paper_checks.claims import Claim
from paper_checks.papers import simclr
from paper_checks.tasks import Command
from paper_checks.tiers import CPU, QUICK
from synthetic.runs.backends import BackendOptions

# Ends well once a second of its kind runs beside it, and not within a minute else.
MEETING = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
Path(sys.argv[2], "verdicts.json").write_text('[{"status": "HOLDS"}]')
(folder / sys.argv[3]).touch()
end = time.monotonic() + 60
while len(list(folder.iterdir())) < 2:
    if time.monotonic() > end:
        sys.exit(70)
    time.sleep(0.01)
"""
# Says its number, and never ends by itself.
ENDLESS = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"


@dataclass(frozen=True)
class Numbered:
    """A task of no content."""

    name: str
    alone: bool = False


def claim_of(name, *needed):
    return Claim(name, "SimCLR", "", "", "trend", "", lambda tier: [Numbered(each) for each in needed], None)


def test_claims_that_need_least_beside_what_is_there_come_first():
    claims = [claim_of("A", "a", "b", "c"), claim_of("B", "a", "b", "c", "d"), claim_of("C", "e", "f")]
    # C needs two tasks, A three, and B one more when A is done.
    assert "".join(task.name for task in execution.in_order(claims, QUICK)) == "efabcd"


@pytest.mark.parametrize("tier", [QUICK, CPU], ids=lambda tier: tier.name)
def test_the_order_has_every_task_once(tier):
    claims = command.asked_claims(None, tier)
    assert {claim.id for claim in claims} == set(all_claims()) - {"L1", "L2"}
    ordered = execution.in_order(claims, tier)
    assert len(ordered) == len(set(ordered))
    assert set(ordered) == {task for claim in claims for task in claim.tasks(tier)}


@dataclass(frozen=True)
class Noted:
    """A task that is over at once."""

    name: str
    alone: bool
    leaves: tuple[str, ...] = ()

    def run(self, folder):
        pass


def test_tasks_with_processes_of_their_own_keep_their_place(tmp_path, monkeypatch):
    """Of a run whose time is over claims that need them would else have no answer; without a limit they go first."""
    begun = []
    monkeypatch.setattr(execution, "_attempt", lambda task, root, until: begun.append(task.name))
    given = [Noted("a", False), Noted("b", True), Noted("c", False), Noted("d", True)]
    execution.carry_out_all(given, tmp_path, BackendOptions(), torch.device("cpu"), time.time() + 60.0)
    execution.carry_out_all(given, tmp_path, BackendOptions(), torch.device("cpu"))
    assert "".join(begun) == "abcd" + "bdac"


def test_of_one_claim_they_come_last():
    claim = replace(claim_of("A"), tasks=lambda tier: [Noted("b", True), Noted("a", False), Noted("c", False)])
    assert "".join(task.name for task in execution.in_order([claim], QUICK)) == "acb"


def test_arms_that_decide_nothing_are_trained_where_they_are_shown():
    assert set(simclr._compositions(QUICK)) == {("crop", "crop"), ("color", "color"), ("crop", "color")}
    shown = simclr._compositions(replace(QUICK, shown_arms=True))
    assert len(shown) == 10
    assert simclr._compositions(QUICK).items() <= shown.items()


def commands(monkeypatch, tmp_path, script):
    seen = tmp_path / "seen"
    seen.mkdir()

    def words(module, *arguments):
        return [sys.executable, "-c", script, str(seen), arguments[-1], module]

    monkeypatch.setattr(tasks, "command_words", words)
    return [Command("first"), Command("second")], seen


def test_commands_run_beside_each_other(monkeypatch, tmp_path):
    both, _ = commands(monkeypatch, tmp_path, MEETING)
    done = dict(execution._beside_each_other(both, lambda task: tasks.carry_out(task, tmp_path / "tasks"), 2))
    assert done == dict.fromkeys(both)
    assert tasks.missing(both, tmp_path / "tasks") == []


def test_commands_that_run_end_with_the_run(monkeypatch, tmp_path):
    both, seen = commands(monkeypatch, tmp_path, ENDLESS)

    def attempt(task):
        if task is both[1]:
            end = time.monotonic() + 60
            while not any(seen.iterdir()) and time.monotonic() < end:
                time.sleep(0.01)
            raise KeyboardInterrupt
        tasks.carry_out(task, tmp_path / "tasks")

    with pytest.raises(KeyboardInterrupt):
        list(execution._beside_each_other(both, attempt, 2))
    (number,) = (int(path.name) for path in seen.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert tasks.missing(both, tmp_path / "tasks") == both

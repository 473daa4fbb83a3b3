"""Which seeds come next: planted arms with known differences, looks that are shared, runs in pieces, and failures."""

import csv
import json
import math
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from paper_checks import __main__ as command
from paper_checks import execution, study, tiers
from paper_checks.catalogue import all_claims
from paper_checks.claims import Claim, Finding, judged
from paper_checks.stages import costs, expected_seconds, next_step, plan_of, state_of
from paper_checks.statistics.decisions import NO_EVIDENCE, Contrast
from paper_checks.tasks import TASK, Command, Results, carry_out
from paper_checks.tiers import QUICK
from tests.command_lines import status_of
from theory.numerics.whole_files import read_json, write_json, write_table

TIER = replace(QUICK, seeds=5, cap=20)


@dataclass(frozen=True)
class Number:
    """A training that is over at once: of its arm's mean and deviation. Some fail, as a file in the folder says."""

    label: str
    seed: int
    mean: float
    deviation: float
    alone: bool = True
    leaves: tuple[str, ...] = ("value.csv",)

    @property
    def name(self):
        return f"{self.label}-seed{self.seed}"

    def run(self, folder):
        if (folder.parent.parent / "breaks").exists() and self.seed >= 5:
            raise RuntimeError("planted")
        noise = np.random.default_rng([self.seed, *self.label.encode()]).normal()
        write_table(folder / "value.csv", [{"value": self.mean + self.deviation * noise}])


@dataclass(frozen=True)
class Arm:
    label: str
    mean: float = 0.0
    deviation: float = 1.0

    def tasks(self, tier):
        return [Number(self.label, seed, self.mean, self.deviation) for seed in tier.all_seeds]

    def values(self, results, tier):
        return {task.seed: results.table(task, "value")[0]["value"] for task in self.tasks(tier)}


def comparison(name, first, second, worth=1.0):
    def judge(results, tier):
        values = (arm.values(results, tier) for arm in (first, second))
        return judged("Compared.", [Contrast(f"{first.label} over {second.label}", "units", *values)])

    def tasks(tier):
        return [*first.tasks(tier), *second.tasks(tier)]

    return Claim(name, "SimCLR", "here", f"Claim {name}.", "comparison", "Its rule.", tasks, judge,
                 worth={"units": worth}, why="Planted.")  # fmt: skip


BASE = Arm("base", 0.0, 0.3)
BETTER, SAME = comparison("S1", Arm("better", 9.0, 0.3), BASE), comparison("S2", Arm("same", 0.0, 0.6), BASE)
NOISY = comparison("S3", Arm("noisy", 0.0, 4.0), BASE)


def run_tasks(tasks, root):
    for task in tasks:
        if not (root / task.name).exists():
            carry_out(task, root)


def state(claim, root, tier=TIER, failures=None):
    return state_of(claim, tier, Results(root), failures or {})


def test_looks_go_on_until_a_claim_is_decided(tmp_path):
    assert state(NOISY, tmp_path).finding.answer == "pending"
    assert state(NOISY, tmp_path).finding.p_values == NO_EVIDENCE
    for claim in (BETTER, SAME, NOISY):
        run_tasks(claim.tasks(TIER), tmp_path)
    found = {claim.id: state(claim, tmp_path) for claim in (BETTER, SAME, NOISY)}
    assert [each.plan for each in found.values()] == [(5, 10, 20)] * 3
    assert [each.taken for each in found.values()] == [1, 1, 1]
    assert found["S1"].finding.answer == "reproduced"
    assert found["S3"].finding.answer == "undecided"
    run_tasks(NOISY.tasks(TIER.at(20)), tmp_path)
    later = state(NOISY, tmp_path)
    assert (later.taken, len(later.finding.rows), later.finding.rows[0]["seeds"]) == (3, 1, 20)
    # The base has 20 seeds now, and the better arm 5: nothing is asked of a claim that is decided.
    run_tasks(BETTER.tasks(TIER.at(10)), tmp_path)
    assert (state(BETTER, tmp_path).taken, state(BETTER, tmp_path).finding.rows[0]["seeds"]) == (1, 5)


def test_p_values_have_the_share_of_their_look(tmp_path):
    run_tasks(NOISY.tasks(TIER), tmp_path)
    one_look = NOISY.look(Results(tmp_path), TIER).p_values
    found = state(NOISY, tmp_path).finding.p_values
    assert found.same == pytest.approx(min(1.0, 7.0 * one_look.same))
    assert found.reproduced == pytest.approx(min(1.0, 7.0 * one_look.reproduced))
    wide, narrow = state(NOISY, tmp_path).finding.rows[0], NOISY.look(Results(tmp_path), TIER).rows[0]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_the_next_look_is_the_one_that_promises_most(tmp_path):
    """Same chances: the cheaper one; same cost: the likelier one; and what failed is not tried again."""
    near, far = comparison("S4", Arm("near", 1.2, 0.8), BASE), NOISY
    for claim in (near, far):
        run_tasks(claim.tasks(TIER), tmp_path)
    states = [state(claim, tmp_path) for claim in (far, near)]
    assert [each.finding.answer for each in states] == ["undecided", "undecided"]
    step = next_step(states, TIER, Results(tmp_path))
    assert (step.claim.id, step.seeds, len(step.tasks)) == ("S4", 10, 10)
    assert step.chance > next_step(states[:1], TIER, Results(tmp_path)).chance
    failures = {step.tasks[0].name: "it broke"}
    assert next_step(states, TIER, Results(tmp_path), failures).claim.id == "S3"
    assert next_step([states[1]], TIER, Results(tmp_path), failures) is None
    for task in far.tasks(TIER):
        record = read_json(tmp_path / task.name / TASK)
        write_json(tmp_path / task.name / TASK, {**record, "seconds": 1e6 if task.label == "noisy" else 2.0})
    assert next_step(states, TIER, Results(tmp_path)).claim.id == "S4"
    assert next_step([], TIER, Results(tmp_path)) is None


def test_no_look_is_taken_that_no_seed_can_decide(tmp_path):
    """A missing value of one seed is missing at all later looks: fifteen seeds more were trained for nothing."""
    alone = comparison("S5", Arm("lost", math.nan, 0.3), BASE)
    run_tasks(alone.tasks(TIER), tmp_path)
    found = state(alone, tmp_path)
    assert (found.finding.answer, found.taken) == ("undecided", 1)
    assert next_step([found], TIER, Results(tmp_path)) is None
    # Nor for a finding without differences, as of blocks of which one training has none.
    empty = replace(NOISY, judge=lambda results, tier: Finding("undecided", "", [], p_values=NO_EVIDENCE))
    run_tasks(empty.tasks(TIER), tmp_path)
    assert state(empty, tmp_path).taken == 1
    assert next_step([state(empty, tmp_path)], TIER, Results(tmp_path)) is None


def test_a_missing_value_beside_a_clear_difference_leaves_looks_to_come(tmp_path):
    """One difference below 0 contradicts a claim, whatever the others are."""

    def judge(results, tier):
        lost = {seed: math.nan for seed in tier.all_seeds}
        values = [arm.values(results, tier) for arm in (BASE, Arm("higher", 0.4, 0.3))]
        return judged(
            "Compared.", [Contrast("base over higher", "units", *values), Contrast("no", "units", lost, lost)]
        )

    claim = replace(comparison("S5", BASE, Arm("higher", 0.4, 0.3), worth=0.01), judge=judge)
    run_tasks(claim.tasks(TIER), tmp_path)
    found = state(claim, tmp_path)
    assert (found.finding.answer, found.finding.rows[0]["difference"] < -0.1) == ("undecided", True)
    assert next_step([found], TIER, Results(tmp_path)).seeds == 10


def test_times_are_expected_by_arm_and_divided_among_claims(tmp_path):
    for claim in (BETTER, SAME):
        run_tasks(claim.tasks(TIER), tmp_path)
    for path in tmp_path.glob("*/task.json"):
        seconds = {"base": 6.0, "better": 10.0, "same": 1.0}[path.parent.name.split("-")[0]]
        write_json(path, {**read_json(path), "seconds": seconds})
    results = Results(tmp_path)
    states = [state(claim, tmp_path) for claim in (BETTER, SAME)]
    assert costs(states, results) == {"S1": (80.0, 65.0), "S2": (35.0, 20.0)}
    tasks = [Number("better", 9, 9.0, 0.3), Number("base", 9, 0.0, 0.3), Number("other", 9, 0.0, 0.3)]
    assert expected_seconds(tasks, states[0].tasks, results) == 10.0 + 6.0 + 8.0
    # One task of five seeds, and one of ten in its place.
    five, ten = (Command("synthetic.train_stack", ("--seeds", seeds)) for seeds in ("5", "10"))
    assert expected_seconds([ten], [five], SimpleNamespace(seconds=lambda task: 500.0)) == 1000.0
    assert costs([state(NOISY, tmp_path)], results) == {"S3": (0.0, 0.0)}


def test_failures_of_a_first_and_of_a_later_look(tmp_path):
    tasks = NOISY.tasks(TIER)
    first = state(NOISY, tmp_path, failures={tasks[0].name: "it broke"})
    assert (first.finding.answer, first.failures) == ("failed", ("it broke",))
    assert "1 of the 10 tasks" in first.finding.sentence
    run_tasks(tasks, tmp_path)
    later = state(NOISY, tmp_path, failures={"noisy-seed6": "it broke"})
    assert (later.finding.answer, later.taken, later.failures) == ("undecided", 1, ("it broke",))
    broken = replace(NOISY, judge=lambda results, tier: 1 / 0)
    assert state(broken, tmp_path).finding.answer == "failed"
    assert "ZeroDivisionError" in state(broken, tmp_path).failures[0]


def test_a_later_look_that_cannot_be_judged_leaves_the_earlier_one(tmp_path):
    def judge(results, tier):
        return NOISY.judge(results, tier) if tier.seeds == 5 else 1 / 0

    claim = replace(NOISY, judge=judge)
    run_tasks(claim.tasks(TIER), tmp_path)
    before = state(claim, tmp_path)
    run_tasks(claim.tasks(TIER.at(10)), tmp_path)
    after = state(claim, tmp_path)
    assert (after.finding, after.taken, before.failures) == (before.finding, 1, ())
    assert "ZeroDivisionError" in after.failures[0]
    assert next_step([after], TIER, Results(tmp_path)) is None, "its tasks are there: it would be asked for forever"


def test_claims_with_seeds_of_their_own_and_theorems_have_one_look():
    tier = replace(QUICK, cap=6)
    plans = {name: plan_of(claim, tier) for name, claim in all_claims().items()}
    once = {name for name, plan in plans.items() if plan == (5,)}
    assert once == {"T1", "T2", "T3", "T4a", "T4b", "T4c", "T5", "T6", "L1", "L2"}
    assert all(plan == (5, 6) for name, plan in plans.items() if name not in once)
    assert {plan_of(claim, QUICK) for claim in all_claims().values()} == {(5,)}, "no longer than before"


def test_every_claim_says_what_is_worth_deciding_and_why():
    for claim in all_claims().values():
        registered = claim.id in ("L1", "L2")
        assert bool(claim.worth) == bool(claim.why) == (claim.kind != "theorem" and not registered), claim.id
        assert all(size > 0.0 for size in claim.worth.values())
        if registered:
            # Its rule was registered without a third answer.
            values = {seed: 0.0001 * seed for seed in range(5)}
            found = replace(claim, judge=lambda results, tier, v=values: judged("", [Contrast("", "", v, v)]))
            assert found.look(None, QUICK).answer == "undecided"


def test_a_measure_without_a_worth_is_an_error():
    claim = replace(
        NOISY, worth={"others": 1.0}, judge=lambda results, tier: judged("", [Contrast("", "units", {}, {})])
    )
    with pytest.raises(KeyError, match="units"):
        claim.look(None, TIER)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on planted claims, and what its report says: claim -> (answer, seeds)."""
    monkeypatch.setitem(tiers.TIERS, "quick", TIER)
    monkeypatch.setattr(command, "all_claims", lambda: {claim.id: claim for claim in (BETTER, SAME, NOISY)})
    # Figures of claims take seconds, and others draw them.
    monkeypatch.setattr("figures.catalogue.draw_all", lambda path: [])
    reports = []
    written = study.write_report

    def note(entries, meta, folder, overview=None):
        reports.append({entry.claim.id: (entry.finding.answer, entry.taken) for entry in entries})
        written(entries, meta, folder, overview)
        go.after_report()

    monkeypatch.setattr(study, "write_report", note)

    def go(*more, resume=False):
        words = ["--out", str(tmp_path / "run"), "--jobs", "1", *more, *(["--resume"] if resume else [])]
        return status_of(command.main, words)

    go.reports, go.folder, go.after_report = reports, tmp_path / "run", lambda: None
    return go


def seeds_on_disk(folder):
    return {
        label: len(list((folder / "tasks").glob(f"{label}-seed*"))) for label in ("base", "better", "same", "noisy")
    }


def test_seeds_are_added_for_what_is_undecided_and_for_nothing_else(run, capsys):
    assert run() == 0
    assert run.reports[0] == {"S1": ("reproduced", 1), "S2": ("undecided", 1), "S3": ("undecided", 1)}
    assert run.reports[-1] == {"S1": ("reproduced", 1), "S2": ("no difference", 2), "S3": ("undecided", 3)}
    assert [report["S2"][1] for report in run.reports] == [1, 2, 2, 2], "the likelier one first, a report after each"
    assert seeds_on_disk(run.folder) == {"base": 20, "better": 5, "same": 10, "noisy": 20}
    printed = capsys.readouterr().out
    assert "S2 is undecided: 10 seeds, 10 tasks to do" in printed
    assert "S2  no difference that matters" in printed
    text = (run.folder / "report.md").read_text()
    for words in ("planned with 5, 10, 20 seeds; 2 taken; this is number 2, whose intervals have level 98.57 %",
                  "Seeds: 5; for claims that are undecided 10, 20", "1 (units); Planted.",
                  "seeds decide with probability 80%", "where claims that share a training divide its time",
                  "does not matter"):  # fmt: skip
        assert words in text, words
    with open(run.folder / "results.csv", newline="") as file:
        rows = {row["claim"]: row for row in csv.DictReader(file)}
    assert [rows[name]["inside"] for name in ("S1", "S2", "S3")] == ["False", "True", "False"]
    assert [rows[name]["seeds"] for name in ("S1", "S2", "S3")] == ["5", "10", "20"]
    before = len(run.reports)
    assert run(resume=True) == 0
    assert run.reports[before:] == [run.reports[before - 1]], "nothing is left to do"


def test_a_run_in_pieces_comes_to_the_same(run, monkeypatch, capsys):
    """Time is over at once, then after the first stage, then never."""
    assert run("--hours", "1e-9") == 0
    assert {answer for answer, _ in run.reports[-1].values()} == {"pending"}
    assert "--hours 1e-09 are over; finished tasks are kept" in capsys.readouterr().out
    assert "not yet run" in (run.folder / "report.html").read_text()
    clock = SimpleNamespace(late=0.0)
    clock.time = lambda: time.time() + clock.late
    for module in (command, execution):
        monkeypatch.setattr(module, "time", clock)
    run.after_report = lambda: setattr(clock, "late", 7200.0)
    assert run("--hours", "1", resume=True) == 0
    assert run.reports[-1] == {"S1": ("reproduced", 1), "S2": ("undecided", 1), "S3": ("undecided", 1)}
    assert "looks with 10, 20 seeds are to come (--resume)" in (run.folder / "report.md").read_text().lower()
    assert run(resume=True) == 0
    assert run.reports[-1] == {"S1": ("reproduced", 1), "S2": ("no difference", 2), "S3": ("undecided", 3)}


def test_when_time_runs_out_some_claims_are_whole(run, monkeypatch):
    """Not all of them half: ten tasks are those of the first claim."""
    now, asked = time.time(), []

    def clock():
        asked.append(1)
        # The first is asked when the run begins, then one before each task.
        return now + (7200.0 if len(asked) > 11 else 0.0)

    for module in (command, execution):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=clock))
    assert run("--hours", "1") == 0
    assert run.reports == [{"S1": ("reproduced", 1), "S2": ("pending", 0), "S3": ("pending", 0)}]
    assert seeds_on_disk(run.folder) == {"base": 5, "better": 5, "same": 0, "noisy": 0}


def test_a_cap_is_kept_and_one_below_the_first_stage_refused(run, capsys, tmp_path):
    assert run("--cap", "4") == 2
    assert "--cap: must be a whole number of at least 5" in capsys.readouterr().err
    assert run("--hours", "0") == 2
    assert "hours: must lie in (0, 8766]" in capsys.readouterr().err
    assert not run.folder.exists()
    assert run("--cap", "5") == 0
    assert run.reports[-1]["S3"] == ("undecided", 1)
    assert run("--cap", "10", resume=True) == 2
    assert "another cap 5 (now 10)" in capsys.readouterr().err
    # As an earlier version wrote it, whose only look was that of the first stage.
    stored = json.loads((run.folder / "tier.json").read_text())
    del stored["cap"]
    # And trainings had no such setting.
    assert stored["config"].pop("exchange_views") is False
    write_json(run.folder / "tier.json", stored)
    assert run("--cap", "5", resume=True) == 0
    write_json(run.folder / "tier.json", {**stored, "config": {**stored["config"], "exchange_views": True}})
    assert run("--cap", "5", resume=True) == 2
    assert "another config.exchange_views True (now False)" in capsys.readouterr().err


def test_a_later_look_that_fails_leaves_the_answer_and_is_said(run, capsys):
    run.after_report = (run.folder / "breaks").touch
    assert run() == 4
    assert run.reports[-1] == {"S1": ("reproduced", 1), "S2": ("undecided", 1), "S3": ("undecided", 1)}
    assert "tasks failed; finished tasks are kept" in capsys.readouterr().err
    assert "RuntimeError: planted" in (run.folder / "report.md").read_text()
    (run.folder / "breaks").unlink()
    run.after_report = lambda: None
    assert run(resume=True) == 0
    assert run.reports[-1]["S2"] == ("no difference", 2)


def test_a_finding_of_batches_has_its_unit():
    row = {"contrast": "c", "measure": "units", "difference": 3.0, "low": 2.0, "high": 4.0}
    claim = replace(NOISY, judge=lambda results, tier: Finding("reproduced", "", [row, {"contrast": "v"}]))
    assert claim.look(None, TIER).rows == [{**row, "worth": 1.0}, {"contrast": "v"}]


def test_tiers_of_processors_ask_what_papers_claim_unless_others_are_named():
    def asked(only, tier):
        return {claim.id for claim in command.asked_claims(only, tier)}

    assert asked(None, QUICK) == set(all_claims()) - {"L1", "L2"}
    assert asked(None, tiers.CPU) == asked(None, QUICK)
    assert asked(None, tiers.GPU) == set(all_claims())
    assert asked("L1,T1", QUICK) == {"L1", "T1"}

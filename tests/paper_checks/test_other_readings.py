"""Other readings of a claim: planted arms with known differences, their share of the error rate, order, and report."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from paper_checks import __main__ as command
from paper_checks import tiers
from paper_checks.catalogue import all_claims
from paper_checks.claims import Finding, Reading
from paper_checks.other_readings import next_reading, reading_names, reading_states
from paper_checks.report.entries import Entry, ReadingEntry
from paper_checks.report.other_readings import fooled, holds_words
from paper_checks.statistics.decisions import PValues, combined, student_tails
from paper_checks.statistics.sequential import first_decision, looks
from paper_checks.tasks import Results
from paper_checks.tiers import CPU, GPU, QUICK
from paper_checks.trainings import best_rates
from tests.command_lines import status_of
from tests.paper_checks.report.test_report import Page
from tests.paper_checks.test_stages import BASE, TIER, Arm, comparison, run_tasks, state
from theory.numerics.whole_files import read_json, write_json

TIER = replace(TIER, readings=True)
BETTER, WORSE, SAME = Arm("better", 9.0, 0.3), Arm("worse", -9.0, 0.3), Arm("same", 0.0, 0.3)


def read(name, first, second=BASE):
    other = comparison("S1", first, second)
    return Reading(name, other.tasks, other.judge)


def with_readings(claim, *readings):
    return replace(claim, main="as it is", readings=readings)


CLAIM = with_readings(comparison("S1", BETTER, BASE), read("for better", BETTER), read("for worse", WORSE),
                      read("for nothing", Arm("none", 0.0, 3.0)))  # fmt: skip


def states(claim, root, tier=TIER, failures=None):
    return reading_states(claim, tier, Results(root), failures or {})


def test_a_reading_whose_arms_differ_is_decided_and_one_of_equal_arms_is_not(tmp_path):
    assert [each.finding.answer for each in states(CLAIM, tmp_path)] == ["pending"] * 3
    for each in CLAIM.readings:
        run_tasks(each.tasks(TIER), tmp_path)
    found = states(CLAIM, tmp_path)
    assert [each.finding.answer for each in found] == ["reproduced", "contradicted", "undecided"]
    assert [each.claim.main for each in found] == ["for better", "for worse", "for nothing"]
    assert {each.claim.id for each in found} == {"S1"}
    assert states(CLAIM, tmp_path, replace(TIER, readings=False)) == ()


def test_readings_share_an_error_rate_and_leave_the_claims_own_alone(tmp_path):
    for each in CLAIM.readings:
        run_tasks(each.tasks(TIER), tmp_path)
    own, found = state(CLAIM, tmp_path), states(CLAIM, tmp_path)
    assert own.finding == state(replace(CLAIM, main="", readings=()), tmp_path).finding
    for each, reading in zip(found, CLAIM.readings):
        alone = state(CLAIM.read_as(reading), tmp_path)
        assert each.share == pytest.approx(alone.share / 3.0) == pytest.approx(1.0 / 21.0)
        for name in ("reproduced", "contradicted", "same"):
            once, shared = (getattr(one.finding.p_values, name) for one in (alone, each))
            assert shared == pytest.approx(min(1.0, 3.0 * once))
        narrow, wide = alone.finding.rows[0], each.finding.rows[0]
        assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_what_is_clear_alone_may_be_open_among_many(tmp_path):
    """p = .014 of a hypothesis at 2.5 %: decided by itself, and not as one of two."""
    values = {seed: value for seed, value in enumerate((0.5, 0.3, 0.9, 1.3, 2.2))}
    tail = student_tails(np.mean(list(values.values())), np.std(list(values.values()), ddof=1) / np.sqrt(5), 5)[0]
    assert 0.0125 < tail < 0.025
    assert PValues(tail, 1.0).answer == "reproduced"
    assert PValues(tail, 1.0).at_share(0.5).answer == "undecided"
    assert PValues(0.3, None, 0.9).at_share(0.5) == PValues(0.6, None, 1.0)


def test_wrong_readings_are_as_rare_as_stated():
    """Four readings that share an arm, three looks: how often one of them is decided for a side, of arms that do not
    differ, or called "no difference" where all matter. Largest for differences that are independent; here they are
    not."""
    rng, plan, runs = np.random.default_rng(7), looks(5, 20), 400
    wrong = {"side": 0, "same": 0}
    for kind, truth in (("side", 0.0), ("same", 1.0)):
        for _ in range(runs):
            base = rng.normal(size=20)
            wrong[kind] += any(_wrong(truth + rng.normal(size=20) - base, plan, kind) for _ in range(4))
    # At 5 % each; the binomial distribution exceeds 36 of 400 less than once in 1,000 times.
    assert all(count <= 36 for count in wrong.values()), wrong


def _wrong(differences, plan, kind):
    found = []
    for seeds in plan:
        own = differences[:seeds]
        error = own.std(ddof=1) / np.sqrt(seeds)
        tails = student_tails(own.mean(), error, seeds)
        inside = max(student_tails(own.mean() + 1.0, error, seeds)[0], student_tails(own.mean() - 1.0, error, seeds)[1])
        found.append(replace(combined([tails]), same=inside).at_share(0.25))
    answer = first_decision(found, plan)[1]
    return answer == "no difference" if kind == "same" else answer in ("reproduced", "contradicted")


def test_readings_come_last_first_looks_before_further_ones(tmp_path):
    """First looks of the claim that takes least; then seeds where a decision is likely, and no others."""
    quick = with_readings(comparison("S2", SAME, BASE), read("a near one", Arm("near", 1.2, 0.6)),
                          read("hopeless", Arm("hopeless", 0.0, 9.0)))  # fmt: skip
    for claim in (CLAIM, quick):
        run_tasks(claim.tasks(TIER), tmp_path)
    results = Results(tmp_path)

    def step():
        mains = {claim.id: state(claim, tmp_path) for claim in (CLAIM, quick)}
        found = {claim.id: states(claim, tmp_path) for claim in (CLAIM, quick)}
        return next_reading(found, mains, TIER, results, {})

    for path in tmp_path.glob("*/task.json"):
        write_json(path, {**read_json(path), "seconds": 100.0 if path.parent.name.startswith("better") else 1.0})
    first = step()
    assert (first.claim.id, first.seeds, first.readings, len(first.tasks)) == ("S2", 5, 2, 10)
    run_tasks(first.tasks, tmp_path)
    second = step()
    # One of its readings has its tasks already.
    assert (second.claim.id, second.readings, len(second.tasks)) == ("S1", 2, 10)
    run_tasks(second.tasks, tmp_path)
    third = step()
    assert (third.claim.main, third.seeds, third.readings) == ("a near one", 10, 0)
    assert third.chance >= 0.5
    run_tasks(third.tasks, tmp_path)
    while (more := step()) is not None:
        assert more.claim.main != "hopeless"
        run_tasks(more.tasks, tmp_path)
    found = {each.claim.main: each for each in states(quick, tmp_path)}
    assert (found["a near one"].finding.answer, found["hopeless"].finding.answer) == ("reproduced", "undecided")
    assert found["hopeless"].taken == 1


def test_what_failed_is_not_tried_again_and_what_is_settled_stays(tmp_path):
    mains = {"S1": state(CLAIM, tmp_path)}
    failures = {task.name: "it broke" for task in CLAIM.readings[1].tasks(TIER) if task.label == "worse"}
    found = states(CLAIM, tmp_path, failures=failures)
    assert [each.finding.answer for each in found] == ["pending", "failed", "pending"]
    step = next_reading({"S1": found}, mains, TIER, Results(tmp_path), failures)
    assert {task.label for task in step.tasks} == {"base", "better", "none"}
    run_tasks(step.tasks, tmp_path)
    later = reading_states(CLAIM, TIER, Results(tmp_path), failures, found)
    assert [each.finding.answer for each in later] == ["reproduced", "failed", "undecided"]
    again = reading_states(CLAIM, TIER, Results(tmp_path), failures, later)
    assert again[0] is later[0]


def test_readings_have_names_of_their_own():
    claim = comparison("S1", BETTER, BASE)
    for main, names in (("", ["a"]), ("a", ["a"]), ("a", ["b", "b"])):
        with pytest.raises(ValueError, match=r"^S1: readings need names of their own"):
            replace(claim, main=main, readings=tuple(read(name, BETTER) for name in names))


def finding(answer, p_value=1e-4):
    return Finding(answer, "Planted.", [], p_values=PValues(p_value if answer == "reproduced" else 1.0, 1.0))


def entry(own, *answers, labels=True, p_value=1e-4):
    claim = replace(CLAIM, labels=labels)
    others = tuple(ReadingEntry(each.name, finding(answer, p_value)) for each, answer in zip(claim.readings, answers))
    return Entry(claim, finding(own), (), "", "", readings=others)


def test_a_line_says_under_which_readings_a_claim_holds():
    assert holds_words(entry("reproduced", "contradicted", "undecided", "reproduced")) == (
        "Holds under: main reading; for nothing. Not under: for better. Open: for worse."
    )
    assert holds_words(entry("undecided", "no difference", "pending", "failed")) == (
        "Holds under: none. Not under: none. No difference that matters under: for better. Open: main reading. "
        "Not run (failed): for nothing. Not yet run: for worse."
    )
    assert holds_words(entry("reproduced")) == "", "nothing was asked"


def test_no_reading_is_reproduced_with_shuffled_classes_unnoticed():
    options = SimpleNamespace(check=True, control="shuffled_labels")
    by_chance = entry("undecided", "undecided", "reproduced", "undecided", p_value=0.02)
    assert fooled([by_chance]) == [], "one of three at 2.5 % each"
    assert command._status([by_chance], options) == 0
    found = entry("undecided", "undecided", "reproduced", "undecided")
    assert fooled([found]) == ["S1 (for worse)"]
    assert command._status([found], options) == 1
    assert command._status([found], SimpleNamespace(check=True, control="none")) == 0
    unlabelled = entry("undecided", "undecided", "reproduced", "undecided", labels=False)
    assert fooled([unlabelled]) == []
    assert command._status([unlabelled], options) == 0
    assert command._status([entry("undecided", "failed")], options) == 4


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on planted claims, and what is left in its folder."""
    plain = comparison("S2", SAME, BASE)
    monkeypatch.setitem(tiers.TIERS, "quick", replace(TIER, cap=5, readings=False))
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": CLAIM, "S2": plain})
    monkeypatch.setattr("figures.catalogue.draw_all", lambda path: [])

    def go(*more):
        return status_of(command.main, ["--out", str(tmp_path / "run"), "--jobs", "1", *more])

    go.folder = tmp_path / "run"
    return go


def test_the_report_has_every_reading(run, capsys):
    assert run("--readings") == 0
    printed = capsys.readouterr().out
    assert "S1 in 2 other readings: 5 seeds, 10 tasks to do" in printed
    line = "Holds under: main reading; for better. Not under: for worse. Open: for nothing."
    for name in ("report.md", "report.html"):
        text = (run.folder / name).read_text()
        assert text.count(line) == 2, "in the table of verdicts, and with the claim"
        for words in ("as it is (main reading); 3 other readings below, by the same rule", "98.33 %", "for worse",
                      "with 1/3 of another 5 % of error each"):  # fmt: skip
            assert words in text, words
    assert line in printed
    page = Page((run.folder / "report.html").read_text())
    assert page.open == []
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    with open(run.folder / "readings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["claim"], row["reading"], row["answer"], row["level"]) for row in rows] == [
        ("S1", "main reading", "reproduced", "95 %"),
        ("S1", "for better", "reproduced", "98.33 %"),
        ("S1", "for worse", "contradicted", "98.33 %"),
        ("S1", "for nothing", "undecided", "98.33 %"),
    ]
    assert (run.folder / "claims" / "S1-readings" / "contrasts.csv").exists()
    with open(run.folder / "results.csv", newline="") as file:
        assert [row["claim"] for row in csv.DictReader(file)] == ["S1", "S2"], "Holm's family is as without"
    assert {path.name.split("-")[0] for path in (run.folder / "tasks").iterdir()} == {
        "base", "better", "same", "worse", "none"}  # fmt: skip


def test_why_a_reading_is_not_answered_is_said(run, monkeypatch, capsys):
    """Exit status 4, and no word of what had failed."""

    def broken(results, tier):
        raise RuntimeError("planted")

    failing = replace(CLAIM, readings=(replace(CLAIM.readings[0], judge=broken), *CLAIM.readings[1:]))
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": failing})
    assert run("--readings") == 4
    assert "Not run (failed): for better." in capsys.readouterr().out
    for name in ("report.md", "report.html"):
        text = (run.folder / name).read_text()
        assert "for better:" in text
        assert "RuntimeError: planted" in text


def test_a_run_without_readings_says_so_and_is_not_gone_on_with_others(run, capsys):
    assert run() == 0
    assert (
        "as it is (main reading); 3 other readings not asked for (--readings)" in (run.folder / "report.md").read_text()
    )
    assert not (run.folder / "readings.csv").exists()
    assert run("--readings", "--resume") == 2
    assert "another set of readings, none, which is settled before a run" in capsys.readouterr().err
    # As an earlier version wrote it, which knew no readings.
    stored = read_json(run.folder / "tier.json")
    del stored["readings"]
    write_json(run.folder / "tier.json", stored)
    assert run("--resume") == 0
    assert run("--readings", "--main-only") == 2
    assert "readings: cannot be asked for with --main-only" in capsys.readouterr().err


def test_readings_are_settled_before_a_run(run, capsys, monkeypatch):
    assert run("--readings") == 0
    fewer = replace(CLAIM, readings=CLAIM.readings[:2])
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": fewer, "S2": comparison("S2", SAME, BASE)})
    assert run("--readings", "--resume") == 2
    assert "another set of readings, S1: for better, for worse, for nothing, which is" in capsys.readouterr().err


def test_the_readings_are_those_that_were_registered():
    text = (Path(command.__file__).parent / "registered" / "readings.md").read_text()
    lines = [line for line in text.split("## The readings")[1].splitlines() if line.startswith("| ")][2:]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert table == [[claim.id, claim.main, "; ".join(each.name for each in claim.readings)]
                     for claim in all_claims().values() if claim.readings]  # fmt: skip
    for factors in ("1/3, 1 and 3 times", "1, 30 and 1000 times"):
        assert factors in " ".join(text.split())
    assert (best_rates.FACTORS, best_rates.SCALES) == ((1 / 3, 1.0, 3.0), (1.0, 30.0, 1000.0))


def test_tiers_have_them_or_not():
    claims = list(all_claims().values())
    assert [tier.readings for tier in (QUICK, CPU, GPU)] == [False, True, True]
    assert reading_names(claims, QUICK) == {}
    names = reading_names(claims, CPU)
    assert set(names) == {"T4e", "T8", "T9", "T10", "D1", "D2", "D3", "F1", "F2", "F3", "F4", "F5", "F6", "F7"}
    assert tiers.tier_of("quick", None, None, None, "none", readings=True).readings
    assert not tiers.tier_of("cpu", "pictures.zip", None, None, "none", readings=False).readings
    assert [tier.chosen_rates for tier in (QUICK, CPU, GPU)] == [False, True, True]
    for readings in (None, False, True):
        assert tiers.tier_of("quick", None, None, None, "none", readings=readings).chosen_rates == bool(readings)
        assert tiers.tier_of("cpu", "pictures.zip", None, None, "none", readings=readings).chosen_rates

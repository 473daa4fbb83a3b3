"""What the report says of a claim's design, cost and outlook."""

import math
from dataclasses import replace

import pytest

from paper_checks.report.entries import LABELS, SIGNS, share_of
from paper_checks.report.tables import number_tables
from paper_checks.report.words import (
    answer_words,
    cost_words,
    looks_words,
    minutes_words,
    outlook_words,
    used_seeds,
    worth_words,
)
from paper_checks.statistics.decisions import Answer, Contrast, contrast_rows
from paper_checks.statistics.power import seeds_to_decide
from tests.paper_checks.report.test_report import VERDICT, accuracy_row, entry


def measured(differences, answer="undecided", worth=0.01, plan=(), **others):
    """An entry with one contrast of accuracies."""
    zeros = dict.fromkeys(range(len(differences)), 0.0)
    contrast = Contrast("a over b", "accuracy", dict(enumerate(differences)), zeros, worth=worth)
    made = entry("S1", answer, contrast_rows([contrast]))
    named = {"accuracy": worth} if worth else {}
    return replace(made, claim=replace(made.claim, worth=named, why="It is."), plan=plan,
                   finding=replace(made.finding, contrasts=(contrast,)), **others)  # fmt: skip


def test_every_answer_has_a_sign_and_a_label_that_is_no_other():
    answers = Answer.__args__
    assert set(SIGNS) == set(answers)
    assert len({LABELS.get(answer, answer) for answer in answers}) == len(set(SIGNS.values())) == len(answers)


def test_an_answer_says_how_much_of_a_claim_makes_no_difference():
    inside, other = {**accuracy_row(), "inside": True}, {**accuracy_row(), "inside": False}
    assert answer_words(entry("S1", "no difference", [inside])) == "no difference that matters"
    assert answer_words(entry("S1", "no difference", [inside, other, other])) == "no difference that matters in 1 of 3"
    assert answer_words(entry("S1", "reproduced", [inside, other])) == "reproduced"
    cells = [table.rows[0][2] for table in (number_tables([{**inside, "side": side}])[0]
                                            for side in ("undecided", "above"))]  # fmt: skip
    assert cells == ["does not matter", "claimed side, does not matter"]


def test_what_is_worth_deciding_is_said_in_its_unit():
    claim = replace(entry().claim, worth={"accuracy": 0.02, "nats": 0.03}, why="So it is.")
    assert worth_words(claim) == "2 points of accuracy, 0.03 (nats); So it is."
    assert worth_words(replace(claim, worth={"accuracy": 0.01})) == "1 point of accuracy; So it is."
    assert worth_words(entry().claim) == ""


def test_looks_and_their_level():
    found = measured([0.0, 0.01, 0.02], plan=(3, 6, 12), taken=2, look=1)
    assert share_of(found) == pytest.approx(2 / 7)
    assert looks_words(found) == (
        "planned with 3, 6, 12 seeds; 2 taken; this is number 2, whose intervals have level 98.57 %, so that all looks "
        "together have 95 %"
    )
    assert looks_words(measured([0.0, 0.01], plan=(5,))) == looks_words(entry()) == ""
    assert looks_words(replace(found, taken=0)) == ""
    assert share_of(entry()) == 1.0


def test_the_outlook_names_the_seeds_that_would_decide():
    found = measured([0.0, 0.01, 0.02], plan=(3, 6, 12), taken=1)
    seeds = seeds_to_decide(0.01, 0.01, 1, 0.5)
    assert outlook_words(found) == (
        f"Looks with 6, 12 seeds are to come (--resume); at the measured deviations about {seeds} seeds decide with "
        "probability 80% if every difference is none or as large as matters; what lies between takes more."
    )
    assert "to come" not in outlook_words(replace(found, taken=3))
    assert "about " in outlook_words(measured([0.03, 0.031, 0.03], "reproduced"))
    assert "more than 10,000 seeds" in outlook_words(measured([-20.0, 20.0, 0.0]))
    assert outlook_words(replace(found, finding=measured([math.nan, 0.1]).finding)) == (
        "Nothing that is computed here: without the values that are missing more seeds decide nothing."
    )
    assert "an unknown number of seeds" in outlook_words(measured([math.nan, 0.1]))
    assert outlook_words(measured([0.0, 0.1], worth=None)) == "Its rule was registered with so many seeds and no more."
    assert outlook_words(entry("T1", rows=[VERDICT], kind="theorem")) == ""
    assert outlook_words(entry("T6", rows=[accuracy_row()])) == "", "batches decide"
    assert outlook_words(measured([0.0, 0.1], "failed")) == outlook_words(measured([0.0, 0.1], "pending")) == ""


def test_cost_and_columns():
    found = replace(entry(), seconds=750.0, own_seconds=65.0)
    assert cost_words(found) == "12 min 30 s of computing; 1 min 5 s where claims that share a training divide its time"
    assert cost_words(entry()) == cost_words(replace(found, taken=0)) == ""
    assert [minutes_words(value) for value in (0.0, 65.0, 750.0, math.nan)] == ["0.0", "1.1", "12", "–"]
    assert used_seeds([{"seeds": 5}, {"seeds": 10.0}, {}]) == "5 or 10"
    assert used_seeds([VERDICT]) == "–"

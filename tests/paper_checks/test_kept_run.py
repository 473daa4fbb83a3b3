"""Kept runs: which of their answers stand over all claims, from the tables that are kept and nothing else."""

import csv
from pathlib import Path

import pytest
from scipy import stats

from figures.run_folder import read_table
from paper_checks.statistics.decisions import PValues, combined, student_tails
from paper_checks.statistics.family import standings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "paper_checks" / "quick_tier"
# T4a's map has 86 points of 5 batches each, of which the table has the largest fall and the largest rise.
MAP_POINTS, MAP_BATCHES = 86, 5
# The table has only two of T4b's points and the 95 % limits of T6's floors: all that is known is that they are decided.
KNOWN_TO_BE_DECIDED = PValues(0.025, 1.0)
HELD_BACK = ("T4b", "T6")


def tails(row, count):
    """From the difference and its 95 % interval."""
    half = 0.5 * (row["high"] - row["low"])
    return student_tails(row["difference"], half / stats.t.ppf(0.975, count - 1), count)


def of_claim(name, rows):
    """Its p-values, or upper bounds of them."""
    if name in HELD_BACK:
        return KNOWN_TO_BE_DECIDED
    if name == "T4a":
        return PValues(1.0, MAP_POINTS * min(tails(row, MAP_BATCHES)[1] for row in rows))
    found = [tails(row, int(row["seeds"])) for row in rows]
    if rows[0]["direction"] == "differs":
        return PValues(max(2.0 * min(each) for each in found), None)
    return combined(found)


def differences(path):
    """By claim, the differences of trends and comparisons."""
    claims = {}
    for row in read_table(path).to_dict("records"):
        if row["kind"] != "theorem" and row["difference"] == row["difference"]:
            claims.setdefault(row["claim"], []).append(row)
    return claims


def test_the_kept_table_is_what_the_kept_results_say():
    claims = differences(FOLDER / "results.csv")
    found = {name: (rows[0]["answer"], of_claim(name, rows)) for name, rows in claims.items()}
    assert len(found) == 26
    for name, (answer, values) in found.items():
        assert (values.claim <= 0.05) == (answer != "undecided"), f"{name}: the intervals say what the answer says"
    with open(FOLDER / "over_all_claims.csv", newline="") as file:
        kept = {row["claim"]: row for row in csv.DictReader(file)}
    assert list(kept) == list(found)
    for name, standing in standings(found).items():
        row = kept[name]
        assert row["answer"] == found[name][0]
        if name in HELD_BACK:
            assert (row["p_value"], row["p_over_all_claims"], row["stands_over_all_claims"]) == ("", "", "")
        else:
            assert float(row["p_value"]) == pytest.approx(standing.p_value, rel=1e-6)
            assert float(row["p_over_all_claims"]) == pytest.approx(standing.adjusted, rel=1e-6)
            assert row["stands_over_all_claims"] == str(standing.stands)
    assert [name for name, row in kept.items() if row["stands_over_all_claims"] == "True"] == ["T4a", "S4b", "F1", "F7"]


def test_the_limits_on_digits_are_undecided_by_their_kept_intervals():
    path = ROOT / "figures" / "gallery" / "limits_digits.csv"
    claims = differences(path)
    assert {name: len(rows) for name, rows in claims.items()} == {"L1": 4, "L2": 2}
    found = {name: (rows[0]["answer"], of_claim(name, rows)) for name, rows in claims.items()}
    for name, standing in standings(found).items():
        assert found[name][0] == "undecided"
        assert found[name][1].claim > 0.05
        for row in claims[name]:
            assert row["p_value"] == pytest.approx(standing.p_value, rel=1e-6)
            assert row["p_over_all_claims"] == pytest.approx(standing.adjusted, rel=1e-6)


def test_on_cifar_10_no_answer_of_a_training_stands():
    """Whatever the p-values of the claims on synthetic batches are: 0 is the most that they can do for the others."""
    claims = differences(ROOT / "figures" / "gallery" / "claims_cifar10.csv")
    synthetic = ("T4a", "T4b", "T6")
    found = {name: (rows[0]["answer"], PValues(0.0, 1.0) if name in synthetic else of_claim(name, rows))
             for name, rows in claims.items()}  # fmt: skip
    trained = [name for name in found if name not in synthetic]
    assert sum(found[name][0] != "undecided" for name in trained) == 6
    assert not any(standings(found)[name].stands for name in trained)

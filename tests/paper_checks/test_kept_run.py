"""Kept runs: which of their answers stand over all claims, from the tables that are kept and nothing else."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from scipy import stats

from figures.run_folder import read_table
from paper_checks.catalogue import all_claims
from paper_checks.report.entries import LABELS
from paper_checks.statistics.decisions import PValues, combined, student_tails
from paper_checks.statistics.family import standings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kept:
    """A kept run: its folder, and what its report says.

    Attributes:
        looks: seeds -> share of the error rate, of claims that are looked at more than once.
        standing: over all claims.
        undecided: claims.
    """

    folder: str
    looks: dict[int, Fraction]
    standing: list[str]
    undecided: list[str]


QUICK = Kept(
    "quick_tier", {3: Fraction(1), 5: Fraction(1)}, ["T4a", "T4b", "T4e", "T6"],
    ["T7", "T8", "T9", "D2", "D3", "S1", "S2", "S3", "S4a", "S5", "S6", "F1", "F2", "F3", "F4", "F5", "F6"],
)  # fmt: skip
CPU = Kept(
    "cpu_tier", {5: Fraction(1, 7), 10: Fraction(2, 7), 20: Fraction(4, 7)},
    ["T4a", "T4b", "T4e", "T6", "T8", "T10", "D2", "S1", "S5", "F2", "F4", "F6"], ["T9", "D3", "S2", "S3", "S6", "F1"],
)  # fmt: skip


def tails(row, count):
    """From the difference and its 95 % interval."""
    half = 0.5 * (row["high"] - row["low"])
    return student_tails(row["difference"], half / stats.t.ppf(0.975, count - 1), count)


def of_claim(rows):
    """Its p-values, without a third answer."""
    found = [tails(row, int(row["seeds"])) for row in rows]
    if rows[0]["direction"] == "differs":
        return PValues(max(2.0 * min(each) for each in found), None)
    return combined(found)


def differences(path):
    """By claim, the differences of trends and comparisons; of collapsed trainings they are missing."""
    claims = {}
    for row in read_table(path).to_dict("records"):
        if row["kind"] != "theorem" and isinstance(row["contrast"], str):
            claims.setdefault(row["claim"], []).append(row)
    return claims


def by_seeds(claim, rows):
    """Answer -> its p-value at 5 %: Student's t of the differences, by the rules as they are worded."""
    ups, downs, insides = [], [], []
    for row in rows:
        n = int(row["seeds"])
        if row["difference"] != row["difference"]:
            ups, downs, insides = [*ups, 1.0], [*downs, 1.0], [*insides, 1.0]
            continue
        error = row["deviation"] / n**0.5
        up, down = (stats.t.sf(sign * row["difference"] / error, n - 1) for sign in (1, -1))
        low, high = (stats.t.sf((row["worth"] + sign * row["difference"]) / error, n - 1) for sign in (1, -1))
        ups.append(up)
        downs.append(down)
        insides.append(max(low, high))
    count = len(rows)
    if rows[0]["direction"] == "differs":
        found = {"reproduced": max(2.0 * min(pair) for pair in zip(ups, downs))}
    else:
        # One-sided, each at half of 5 %; the other side by Bonferroni.
        found = {"reproduced": 2.0 * max(ups), "contradicted": 2.0 * count * min(downs)}
    if claim.equivalence:
        found["no difference"] = 2.0 * count * min(insides)
    return {answer: min(1.0, value) for answer, value in found.items()}


@pytest.mark.parametrize("kept", [QUICK, CPU], ids=lambda kept: kept.folder)
def test_the_kept_results_say_what_their_differences_say(kept):
    claims, words = differences(ROOT / "paper_checks" / kept.folder / "results.csv"), all_claims()
    assert len(claims) == 26
    # One look, at batches instead of seeds; the tables have no deviations to derive them from.
    decided_by_batches = ("T4a", "T4b", "T6")
    for name, rows in claims.items():
        answer, p_value, over_all = (rows[0][key] for key in ("answer", "p_value", "p_over_all_claims"))
        assert (p_value <= 0.05) == (answer != "undecided"), name
        assert p_value <= over_all <= 1.0
        assert rows[0]["stands_over_all_claims"] == (answer != "undecided" and over_all <= 0.05)
        if name not in decided_by_batches:
            found, share = by_seeds(words[name], rows), kept.looks[int(rows[0]["seeds"])]
            expected = min(1.0, (found[answer] if answer in found else min(found.values())) / share)
            if share == min(kept.looks.values()):
                assert p_value == pytest.approx(expected, rel=1e-3), name
            else:
                # Over its looks; of the earlier ones a table keeps no differences.
                assert p_value <= expected * (1 + 1e-3), name
                assert answer == "undecided" or expected <= 0.05, name
            # Holm's largest factor: two hypotheses a claim.
            assert over_all <= min(1.0, 26 * p_value) * (1 + 1e-12), name
    assert [name for name, rows in claims.items() if rows[0]["stands_over_all_claims"]] == kept.standing
    assert [name for name, rows in claims.items() if rows[0]["answer"] == "undecided"] == kept.undecided


def test_the_page_has_the_answers_of_the_cpu_tier():
    """By claim, as its table is kept: answer, whether it stands, seeds and minutes."""
    kept = read_table(ROOT / "paper_checks" / CPU.folder / "results.csv").groupby("claim", sort=False)
    lines = [line.strip("| ").split(" | ") for line in (ROOT / "paper_checks" / "README.md").read_text().splitlines()
             if re.match(r"\| [TDSF]\d+[a-e]? \| ", line)]  # fmt: skip
    page = {cells[0]: cells[1:] for cells in lines if len(cells) == 6}
    assert list(page) == list(kept.groups) == [name for name in all_claims() if name not in ("L1", "L2")]
    for name, rows in kept:
        answer, stands, found, seeds, minutes = (cell.strip() for cell in page[name])
        first = rows.iloc[0]
        assert answer == LABELS.get(first["answer"], first["answer"]), name
        assert (stands == "stands") == (first["stands_over_all_claims"] is True), name
        assert minutes == f"{first['minutes']:.0f}", name
        if seeds.isdecimal():
            assert int(seeds) == rows["seeds"].max(), name
        for number in rows.loc[rows["measure"] == "accuracy", "difference"].dropna():
            assert f"{100.0 * number:+.1f} [".replace("+0.", "+.").replace("-0.", "-.") in found, name


def test_the_limits_on_digits_are_undecided_by_their_kept_intervals():
    path = ROOT / "figures" / "gallery" / "limits_digits.csv"
    claims = differences(path)
    assert {name: len(rows) for name, rows in claims.items()} == {"L1": 4, "L2": 2}
    found = {name: (rows[0]["answer"], of_claim(rows)) for name, rows in claims.items()}
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
    found = {name: (rows[0]["answer"], PValues(0.0, 1.0) if name in synthetic else of_claim(rows))
             for name, rows in claims.items()}  # fmt: skip
    trained = [name for name in found if name not in synthetic]
    assert sum(found[name][0] != "undecided" for name in trained) == 6
    assert not any(standings(found)[name].stands for name in trained)

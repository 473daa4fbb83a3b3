"""The overview of a report: rows in units of what matters, from this run's results and from kept ones, and in words."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from figures.catalogue import draw_all
from figures.run_folder import read_table
from paper_checks.catalogue import all_claims
from paper_checks.report.forest import forest_rows, forest_words
from paper_checks.report.pages import write_report
from paper_checks.statistics.decisions import Contrast, contrast_rows
from tests.paper_checks.report.test_report import META, VERDICT, Page, claim, entry
from theory.numerics.whole_files import write_json, write_table

ROOT = Path(__file__).parents[3]


def row(name, answer="undecided", worth=0.5, difference=1.0, **others):
    return {"claim": name, "answer": answer, "contrast": f"of {name}", "measure": "units", "difference": difference,
            "low": difference - 0.25, "high": difference + 0.5, "worth": worth, **others}  # fmt: skip


CLAIMS = {name: replace(claim(name), worth={"units": 0.25}) for name in ("S1", "S2", "S3", "T1")}


def test_rows_are_in_units_of_what_matters():
    found = forest_rows([row("S1"), row("S1", difference=-1.0, low=math.nan)], CLAIMS)
    assert [(each["effect"], each["high"]) for each in found] == [(2.0, 3.0), (-2.0, -1.0)]
    assert found[0]["low"] == 1.5
    assert math.isnan(found[1]["low"])


@pytest.mark.parametrize("worth", [math.nan, None])
def test_results_of_earlier_versions_take_what_the_claim_names(worth):
    kept = {key: value for key, value in row("S1", worth=worth).items() if key != "worth" or worth is not None}
    assert forest_rows([kept], CLAIMS)[0]["effect"] == 4.0


def test_a_claim_without_differences_has_one_row_for_its_answer():
    verdicts = [{"claim": "T1", "answer": "reproduced", "contrast": "Theorem 1", "difference": math.nan}] * 2
    mixed = [{"claim": "S2", "answer": "undecided", "contrast": "Theorem 2"}, row("S2"), {**row("S2"), "worth": 2.0}]
    found = forest_rows([*verdicts, *mixed, {"claim": "S3", "answer": "pending"}], CLAIMS)
    assert [(each["claim"], each["contrast"]) for each in found] == [("T1", ""), ("S2", "of S2"), ("S2", "of S2"),
                                                                     ("S3", "")]  # fmt: skip


def test_words_say_what_is_seen():
    small = [row("S2", "no difference", difference=difference) for difference in (-0.1, 0.2)]
    rows = forest_rows([row("S1", "reproduced"), *small, {"claim": "T1", "answer": "pending"}], CLAIMS)
    assert forest_words(rows) == (
        "Forest plot: 3 differences of 2 claims with their intervals, in units of the smallest effect worth deciding; "
        "the band from −1 to 1, where differences do not matter, is shaded, and the claimed side is on the right. "
        "reproduced (1): S1 at +2.0. no difference that matters (1): S2 from −0.2 to +0.4. without differences in such "
        "units: T1 not yet run."
    )


def test_words_say_which_claims_have_no_side():
    rows = forest_rows([row("S1", direction="above"), row("S3", direction="differs")], CLAIMS)
    assert "and the claimed side is on the right, of S3 (†) on either side. undecided (2)" in forest_words(rows)


@pytest.mark.parametrize("path", ["paper_checks/quick_tier/results.csv", "figures/gallery/claims_cifar10.csv"])
def test_kept_results_are_still_readable(path, tmp_path):
    kept = read_table(ROOT / path).to_dict("records")
    rows = forest_rows(kept, all_claims())
    assert {each["claim"] for each in rows} == {each["claim"] for each in kept}
    drawn = {each["claim"] for each in rows if each["contrast"]}
    # In another measure than today's nobody has said what matters.
    today = {name: claim.worth for name, claim in all_claims().items()}
    assert drawn == {each["claim"] for each in kept if each["kind"] != "theorem"
                     and each["difference"] == each["difference"]
                     and (each["measure"] in today[each["claim"]] or each.get("worth", math.nan) > 0.0)}  # fmt: skip
    assert len(drawn) >= 20
    by_hand = next(each for each in kept if each["claim"] == "S4b" and each["difference"] == each["difference"])
    assert next(each for each in rows if each["claim"] == "S4b")["effect"] == pytest.approx(
        by_hand["difference"] / 0.02
    )
    write_table(tmp_path / "forest.csv", rows)
    write_json(tmp_path / "config.json", {"tier": "quick"})
    if "quick" in path:
        assert [each.name for each in draw_all(tmp_path)] == ["claim_forest.png"]


def test_the_figure_is_on_top_with_words_for_who_does_not_see_it(tmp_path):
    values = {seed: 0.8 + 0.001 * seed for seed in range(5)}
    rows = contrast_rows([Contrast("MLP over linear", "accuracy", values, dict.fromkeys(values, 0.77), worth=0.01)])
    write_table(tmp_path / "forest.csv", forest_rows([{"claim": "S1", "answer": "reproduced", **rows[0]}], CLAIMS))
    write_json(tmp_path / "config.json", {"tier": "quick"})
    (picture,) = draw_all(tmp_path)
    write_report([entry("S1", rows=rows), entry("T1", rows=[VERDICT], kind="theorem")], META, tmp_path, picture)
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    (image,) = page.all("img")
    assert image["alt"].startswith("Forest plot: 1 differences of 1 claims")
    assert "reproduced (1): S1 at +3.2" in image["alt"]
    text = (tmp_path / "report.html").read_text()
    assert text.index("<img") < text.index('<table class="verdicts">')
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.index("![Forest plot: 1 differences") < markdown.index("| id | answer |")
    shown = markdown.split("](<")[1].split(">)")[0]
    assert (tmp_path / shown).exists()

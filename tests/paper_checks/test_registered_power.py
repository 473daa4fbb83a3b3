"""What was registered about smallest effects, looks and seeds, against the code; the file came before the runs."""

import json
import re
from pathlib import Path

import pytest

from figures.run_folder import read_table
from paper_checks.catalogue import all_claims
from paper_checks.statistics.power import seeds_of_claim
from paper_checks.statistics.sequential import looks, shares
from paper_checks.tiers import TIERS

FOLDER = Path(__file__).parents[2] / "paper_checks" / "registered"
TEXT = (FOLDER / "power.md").read_text()


def cells(heading):
    """The rows of the table below a heading."""
    lines = TEXT.split(f"## {heading}")[1].split("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]


def test_the_smallest_effects_are_those_that_were_registered():
    registered = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL).group(1))
    assert registered == {name: dict(claim.worth) for name, claim in all_claims().items() if claim.worth}


def test_the_looks_are_those_that_were_registered():
    found = {row[0]: (int(row[1]), int(row[2].split()[0]), row[3], row[4]) for row in cells("Looks")}
    assert set(found) == set(TIERS)
    for name, (first, cap, plan, portions) in found.items():
        tier = TIERS[name]
        assert (tier.seeds, tier.cap) == (first, cap)
        assert looks(first, cap) == tuple(map(int, plan.split(", ")))
        ends = [word.split("/") for word in portions.split(", ")] if portions != "all" else [["1", "1"]]
        assert shares(looks(first, cap)) == pytest.approx([int(a) / int(b) for a, b in ends])


def test_the_seeds_that_decide_are_those_of_the_pilot():
    pilot = {}
    for row in read_table(FOLDER / "pilot_digits.csv").to_dict("records"):
        # Of F1 the pilot measured the correlation itself; as much of its atanh is worth deciding.
        (worth,) = {each for measure, each in all_claims()[row["claim"]].worth.items()
                    if measure.removeprefix("atanh of the ") == row["measure"]}  # fmt: skip
        pilot.setdefault(row["claim"], []).append({**row, "worth": worth})
    table = cells("Seeds that decide, from a pilot")
    assert [row[0] for row in table] == list(pilot)
    for name, contrasts, noise, once, several in table:
        rows = pilot[name]
        assert len(rows) == int(contrasts)
        assert max(row["deviation"] / row["worth"] for row in rows) == pytest.approx(float(noise), abs=0.006)
        third = all_claims()[name].equivalence
        found = tuple(seeds_of_claim(rows, share, third) for share in (1.0, 0.5))
        assert found == (int(once), int(several))

"""Numbers of the gallery's page against the tables that are kept beside it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

GALLERY = Path(__file__).parents[2] / "figures" / "gallery"
TEXT = (GALLERY / "README.md").read_text(encoding="utf-8")
# Of "not earlier (later) than the crossing, but for .15".
MARGIN = 0.15


def apart_by(first, later):
    """Mean over seeds of turn minus crossing and its 95 % interval, out of the rows of "not earlier" and "not later".

    A seed gives E + margin and margin - E, or 0 and 0 where both places are censored at one level, so that E is 0
    there: each such seed is missing in the sum of both rows, and nothing else is.
    """
    count = int(later["seeds"])
    missing = count - (first["difference"] + later["difference"]) * count / (2.0 * MARGIN)
    assert missing == pytest.approx(round(missing), abs=1e-9), "seeds that are cut on one side alone"
    known = count - round(missing)
    factor = stdtrit(count - 1, 0.975) / count**0.5
    squares = ((later["high"] - later["low"]) / 2.0 / factor) ** 2 * (count - 1) + count * later["difference"] ** 2
    total = count * later["difference"]
    mean = (known * MARGIN - total) / count
    of_gaps = squares - 2.0 * MARGIN * total + known * MARGIN**2
    half = factor * np.sqrt((of_gaps - count * mean**2) / (count - 1))
    return mean, mean - half, mean + half


@pytest.mark.parametrize("name", ["digits", "cifar"])
def test_how_far_a_turn_is_from_its_crossing(name):
    rows = pd.read_csv(GALLERY / f"limits_{name}.csv")
    rows = rows[rows["claim"] == "L1"]
    part = TEXT.partition(f"[limits_{name}.csv]")[2]
    for method in ("SimCLR", "TransFusion"):
        first, later = (rows[rows["contrast"].str.startswith(f"{method}: accuracy turns not {what}")].iloc[0]
                        for what in ("earlier", "later"))  # fmt: skip
        told = re.search(rf"\| {method} \|.*\| ([^|]*) \|\n", part)[1]
        values = [float(each) for each in re.findall(r"[-+]?\.\d+", told)]
        np.testing.assert_allclose(values, apart_by(first, later), atol=0.0051)


def test_how_far_intervals_reach():
    rows = pd.read_csv(GALLERY / "claims_cifar10.csv")
    rows = rows[(rows["measure"] == "accuracy") & rows["low"].notna()]
    told = re.search(r"reach (\S+) to (\S+) points to either side, half of them (\S+) to (\S+):", TEXT)
    half = 50.0 * (rows["high"] - rows["low"])
    np.testing.assert_allclose([float(each) for each in told.groups()], half.quantile([0, 1, 0.25, 0.75]), atol=0.05)
    undecided = rows["answer"] == "undecided"
    smaller = 100.0 * rows["difference"].abs() < half
    assert smaller[undecided].mean() > 0.75


def test_the_losses_peak_where_their_table_says():
    best = dict(re.findall(r"^\| ([\w, .]+?) \| [\d.]+, [\d.]+ \| \d of 7[^|]*\| ([\d.]+),", TEXT, re.MULTILINE))
    assert len(best) == 10
    (words,) = re.findall(r"!\[([^]]*)\]\(loss_ablation\.png\)", TEXT)
    names = {"kl_affinity": "kl_affinity", "jsd_softmax": "jsd_softmax", "the legacy loss": "symnsq_legacy",
             "NT-Xent without normalization": "nt_xent_unnormalized",
             "NT-Xent at temperature .1": "nt_xent, temperature 0.1"}  # fmt: skip
    for name, row in names.items():
        told = re.search(rf"{name}(?: peaks)? at (\.\d+)", words)
        assert float(told[1]) == float(best[row]), name
    for name in ("jsd", "jsd_relu", "jsd_squared", "nt_xent"):
        assert float(best[name]) >= 0.95, name

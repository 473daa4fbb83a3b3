"""What the figures of the advice show, against the tables that they are drawn from."""

import numpy as np
import pandas as pd

from figures import advisor
from tests.figures.battery import Draws, case, lowest_middle_highest
from tests.figures.reading import bands, bars, curves, horizontals, legend, named

# question -> places, in an order that no figure may rely on.
ASKED = {"batch_size": [64, 8, 16], "isolated": [8, 64, 16], "strength": [0.5, 0.0, 1.0], "depth": [2, 0, 1, 3]}
LABELS = {"batch_size": "batch size n", "isolated": "batch size n", "strength": "augmentation strength",
          "depth": "layer"}  # fmt: skip


def advice_tables(draws, asked=ASKED):
    """Curves of both attentions (of shares without a neighbor ReLU's alone), and what was measured at their points."""
    rows, checked = [], []
    for question, places in asked.items():
        for kind in ("relu", "softmax") if question != "isolated" else ("relu",):
            low, value, high = lowest_middle_highest(draws, len(places))
            for i, at in enumerate(places):
                chance = np.nan if question == "isolated" else 0.1
                rows.append({"question": question, "curve": kind, "at": at, "value": value[i], "low": low[i],
                             "high": high[i], "chance": chance})  # fmt: skip
                checked.append(
                    {
                        "kind": advisor.MEASURED[question],
                        "curve": kind,
                        "at": at,
                        "value": value[i],
                        "low": low[i],
                        "high": high[i],
                        "measured": draws(1)[0],
                        "status": "CONFIRMED",
                    }
                )
    rows.append({"question": "attention", "curve": "relu", "at": 0.3, "value": 0.2, "low": 0.1, "high": 0.3})
    checked.append({"kind": "strength", "curve": "relu", "at": np.nan, "value": 0.6, "low": 0.5, "high": 0.7,
                    "measured": 0.65, "status": "CONFIRMED"})  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(checked)


@case("advice")
def test_a_panel_for_every_question(draw):
    table, checked = advice_tables(Draws(3))
    figure = draw({"share": 0.07}, curves=table, checked=checked)
    names = legend(figure)
    assert list(names) == ["ReLU attention", "softmax attention", "95 % for rows drawn anew", "chance",
                           "share allowed", "measured on rows kept aside"]  # fmt: skip
    assert len(figure.axes) == 4
    for ax, (question, places) in zip(figure.axes, ASKED.items()):
        assert ax.get_xlabel() == LABELS[question]
        kinds = ["relu"] if question == "isolated" else ["relu", "softmax"]
        drawn = curves(ax)
        lines = [c for c in drawn if c.look.marker == "."]
        markers = [c for c in drawn if c.look.marker == "o"]
        assert len(bands(ax)) == len(lines) == len(markers) == len(kinds)
        for kind, line, marker, band in zip(kinds, lines, markers, bands(ax)):
            part = table[(table["question"] == question) & (table["curve"] == kind)].sort_values("at")
            np.testing.assert_array_equal([line.x, line.y], [part["at"], part["value"]])
            np.testing.assert_array_equal(band[:3], [part["at"], part["low"], part["high"]])
            found = checked[(checked["kind"] == advisor.MEASURED[question]) & (checked["curve"] == kind)]
            np.testing.assert_array_equal([marker.x, marker.y], [found["at"], found["measured"]])
            expected = names["ReLU attention" if kind == "relu" else "softmax attention"].color
            assert line.look.color == marker.look.color == band[3] == expected
        chance = [c for c in drawn if c.look == names["chance"]]
        if question == "isolated":
            assert [height for height, _ in horizontals(ax)] == [0.07]
            assert not chance
        else:
            assert not horizontals(ax)
            np.testing.assert_array_equal(chance[0].x, sorted(places))
            assert set(chance[0].y) == {0.1}
    assert [ax.get_xscale() for ax in figure.axes] == ["log", "log", "linear", "linear"]


@case("advice")
def test_only_what_was_asked_and_nothing_that_was_not_measured(draw):
    table, _ = advice_tables(Draws(4), {"depth": ASKED["depth"]})
    figure = draw({"share": 0.07}, curves=table)
    assert len(figure.axes) == 1
    assert list(legend(figure)) == ["ReLU attention", "softmax attention", "95 % for rows drawn anew", "chance"]
    assert draw({"share": 0.07}, curves=table[table["question"] == "attention"]) is None
    assert draw({}, curves=pd.DataFrame({"cell": [0], "batches": ["noisy"]})) is None, "over-fusion's curves"


@case("advice_checked")
def test_measured_over_predicted(draw):
    _, checked = advice_tables(Draws(5))
    checked.loc[2, "status"] = "CONTRADICTED"
    checked.loc[5, "measured"] = np.nan
    checked.loc[1, ["value", "high"]] = [0.9, 5.0]
    figure = draw({}, checked=checked)
    (ax,) = figure.axes
    seen = checked[checked["measured"].notna()]
    assert ax.get_title() == f"{len(seen) - 1} of {len(seen)} predictions inside their intervals"
    diagonal = curves(ax)[0]
    np.testing.assert_array_equal(diagonal.x, diagonal.y)
    found = bars(ax, "x")
    assert len(found) == 5
    assert len({each.look for each in found}) == 5, "told apart by color and marker"
    right = ax.get_xlim()[1]
    for kind, each in zip(seen["kind"].drop_duplicates(), found):
        part = seen[seen["kind"] == kind]
        np.testing.assert_array_equal([each.x, each.y], [part["value"], part["measured"]])
        np.testing.assert_allclose([each.low, each.high], [part["low"], part["high"].clip(upper=right)])
    wrong = named(ax)["contradicted"]
    np.testing.assert_array_equal([wrong.x, wrong.y], [[checked["value"][2]], [checked["measured"][2]]])
    assert draw({}, checked=checked.assign(measured=np.nan)) is None


def test_kinds_and_panels_fit_together():
    assert set(advisor.MEASURED) == set(advisor.PANELS)
    assert set(advisor.MEASURED.values()) == set(advisor.KINDS) - {"strength"}

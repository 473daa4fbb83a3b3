"""What the forest plot of all claims shows, against the table that it is drawn from."""

import numpy as np
import pandas as pd

from figures.claims import forest
from figures.run_folder import RunFolder
from tests.figures.battery import case
from tests.figures.reading import curves, heights, legend, ticks, verticals, widths

COLUMNS = ["claim", "wording", "answer", "contrast", "direction", "effect", "low", "high"]
ROWS = [
    ("S1", "One is better than another, in so many words that nobody reads them", "reproduced", "a", "above",
     4.7, 3.1, 6.2),
    ("T1", "A theorem.", "reproduced", None, None, np.nan, np.nan, np.nan),
    ("S2", "Two of them.", "contradicted", "b", "above", -31.0, -44.0, -18.0),
    ("S2", "Two of them.", "contradicted", "c", "above", 0.4, -0.7, 1.5),
    ("S3", "Some depend.", "no difference", "d", "differs", -0.1, -0.6, 0.4),
    ("S4", "Nobody knows.", "undecided", "e", "above", 0.9, np.nan, np.nan),
    ("S5", "Still to come.", "pending", None, None, np.nan, np.nan, np.nan),
]  # fmt: skip
LABELS = {"reproduced": "reproduced", "contradicted": "contradicted", "no difference": "no difference that matters",
          "undecided": "undecided"}  # fmt: skip


@case("claim_forest")
def test_every_difference_is_at_its_place_in_the_color_of_its_answer(draw):
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    figure = draw({"tier": "quick"}, forest=table)
    (ax,) = figure.axes
    names = legend(figure)
    assert names.pop("does not matter") == "#ebebeb"
    assert list(names) == list(LABELS.values())
    assert len({look.color for look in names.values()}) == len({look.marker for look in names.values()}) == 4
    places = ticks(ax, "y")
    assert [name.split()[0] for name in places] == ["S1", "S2", "S3", "S4"]
    assert next(iter(places)).endswith("…")
    assert [name for name in places if "†" in name] == ["S3 †  Some depend."], "which is claimed on either side"
    assert ax.get_xlabel().endswith("; claimed side right (†: either)")
    assert (np.diff(heights(ax, np.array(list(places.values())))) < 0).all(), "the first one is at the top"
    drawn, before = curves(ax), -1.0
    for claim, _, answer, _, _, effect, low, high in ROWS:
        if np.isnan(effect):
            continue
        look = names[LABELS[answer]]
        if np.isfinite(low):
            interval = drawn.pop(0)
            assert interval.look.color == look.color
            np.testing.assert_array_equal(interval.x, [low, high])
        mark = drawn.pop(0)
        assert (mark.look.color, mark.look.marker) == (look.color, look.marker)
        assert mark.x[0] == effect
        assert not np.isfinite(low) or set(interval.y) == {mark.y[0]}
        assert mark.y[0] > before, "one below the other"
        before = mark.y[0]
        nearest = min(places, key=lambda name, y=mark.y[0]: abs(places[name] - y))
        assert nearest.split()[0] == claim
    assert not drawn
    assert [x for x, _ in verticals(ax)] == [0.0]
    band = ax.patches[0].get_window_extent().transformed(ax.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [-1.0, 1.0], atol=1e-9)
    assert (np.diff(widths(ax, np.array([-40.0, -1.0, 0.0, 1.0, 5.0]))) > 0).all(), "the claimed side is on the right"
    assert set(ticks(ax, "x")) == {"0", *(f"{sign}{size}" for sign in "−+" for size in (1, 2, 5)), "−10", "−20"}
    assert figure.legends[0].get_title().get_text() == "Without such differences: reproduced: T1; pending: S5"
    assert figure.get_suptitle() == "All differences with their intervals (4 claims, tier quick)"


@case("claim_forest")
def test_where_no_claim_is_of_either_side_none_is_marked(draw):
    table = pd.DataFrame([row for row in ROWS if row[4] != "differs"], columns=COLUMNS)
    (ax,) = draw({"tier": "quick"}, forest=table).axes
    assert not any("†" in name for name in ticks(ax, "y"))
    assert ax.get_xlabel().endswith("; claimed side on the right")


def test_without_differences_there_is_no_figure(tmp_path):
    table = pd.DataFrame([ROWS[1]], columns=COLUMNS)
    assert forest.draw(RunFolder(tmp_path, {"tier": "quick"}, {"forest": table})) is None

"""Predictions are fixed and hashed before anything is measured, and each verdict follows the rule that was written."""

import math

import numpy as np
import pytest

from models.advisor.advice import Prediction, Status
from models.advisor.prospective import Measured, as_rows, judge, read_predictions, summary, write_predictions
from theory.numerics.whole_files import DamagedFileError


def prediction(value=0.5, slack=(0.0, 0.0), error=0.0, deviation=1.0, rows=100):
    return Prediction("sharpness, relu, n = 8", "sharpness", "relu", 8, value, *slack, error, deviation, rows)


def test_what_was_written_is_read_again_unless_it_was_changed(tmp_path):
    given = [prediction(), prediction(0.25, (0.1, 0.2), 0.3, 0.4)]
    digest = write_predictions(tmp_path, given)
    assert (tmp_path / "predictions.sha256").read_text().startswith(digest)
    assert read_predictions(tmp_path) == tuple(given)
    path = tmp_path / "predictions.json"
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(DamagedFileError, match="the predictions were changed"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.sha256").unlink()
    with pytest.raises(DamagedFileError, match="the predictions were changed"):
        read_predictions(tmp_path)


def test_the_interval_adds_up_what_is_uncertain():
    """error .03, rows .04 (2/sqrt(1/...)): deviation^2 (1/N + 1/N') = .0016, measurement .12: .13 in all."""
    (found,) = judge([prediction(0.5, (0.01, 0.02), 0.03, 0.4, 200)], [Measured(0.5, 0.12)], 200)
    assert found.low == pytest.approx(0.49 - 1.959964 * 0.13, abs=1e-6)
    assert found.high == pytest.approx(0.52 + 1.959964 * 0.13, abs=1e-6)
    assert (found.wide_low, found.wide_high) == (found.low, found.high), "one prediction alone"


@pytest.mark.parametrize(
    ("measured", "status"),
    [(0.5, Status.CONFIRMED), (0.69, Status.CONFIRMED), (0.31, Status.CONFIRMED), (0.72, Status.UNDECIDED),
     (0.28, Status.UNDECIDED), (0.85, Status.CONTRADICTED), (0.1, Status.CONTRADICTED), (math.nan, Status.UNDECIDED)],
)  # fmt: skip
def test_verdicts(measured, status):
    """Standard error .1: 1.96 of them for this prediction alone, 3.02 for all twenty."""
    given = [prediction(deviation=math.sqrt(0.5))] * 20
    found = judge(given, [Measured(measured, 0.0)] + [Measured(0.5, 0.0)] * 19, 100)
    assert found[0].wide_high == pytest.approx(0.5 + 3.0233 * 0.1, abs=1e-3)
    assert found[0].status is status
    assert {each.status for each in found[1:]} == {Status.CONFIRMED}
    counts = summary(found)
    assert counts[status.value.lower()] == 1 + 19 * (status is Status.CONFIRMED)
    assert counts["predictions"] == 20


def test_of_predictions_that_hold_one_in_twenty_is_outside_and_none_contradicted():
    rng = np.random.default_rng(0)
    outside = contradicted = 0
    for _ in range(200):
        measured = [Measured(0.5 + 0.1 * rng.normal(), 0.0) for _ in range(20)]
        found = judge([prediction(deviation=math.sqrt(0.5))] * 20, measured, 100)
        outside += sum(each.status is not Status.CONFIRMED for each in found)
        contradicted += any(each.status is Status.CONTRADICTED for each in found)
    assert 150 <= outside <= 250, "5 % of 4,000"
    assert contradicted <= 20, "5 % of 200 checks"


def test_errors_are_summed_up():
    found = judge([prediction()] * 3, [Measured(0.5, 0), Measured(0.7, 0), Measured(0.6, 0)], 100)
    assert summary(found)["median_error"] == pytest.approx(0.1)
    assert summary(found)["worst_error"] == pytest.approx(0.2)
    assert math.isnan(summary([])["median_error"])
    assert [row["measured"] for row in as_rows(found)] == [0.5, 0.7, 0.6]
    assert as_rows(found)[0]["status"] == "CONFIRMED"


def test_every_prediction_is_measured():
    with pytest.raises(ValueError, match="expected 2 values, one a prediction, got 1"):
        judge([prediction()] * 2, [Measured(0.5, 0.0)], 10)

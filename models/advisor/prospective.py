"""Predictions are written down and hashed before the rows that they are about are read; then each gets its verdict."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from scipy.special import ndtri

from models.advisor.advice import Checked, Prediction, Status
from theory.numerics.whole_files import DamagedFileError, read_json, write_json, write_whole

CONFIDENCE = 0.95
RULE = (
    "A measured value is expected within slack_low below and slack_high above the predicted one, and z standard errors "
    "beside, of variance error^2 + deviation^2 (1/rows + 1/rows of the check set) + measurement error^2. CONFIRMED: "
    "inside with z of 95 % for this prediction alone. CONTRADICTED: outside with z of 95 % for all predictions "
    "together (Bonferroni). UNDECIDED: between."
)


class Measured(NamedTuple):
    """A value of the check set and its standard error, that set given."""

    value: float
    error: float


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> str:
    """predictions.json and, in predictions.sha256, its hash, which is returned.

    Raises:
        OSError: not writable.
    """
    path = folder / "predictions.json"
    write_json(path, {"rule": RULE, "predictions": [asdict(each) for each in predictions]})
    digest = _digest(path)
    write_whole(folder / "predictions.sha256", f"{digest}  predictions.json\n")
    return digest


def read_predictions(folder: Path) -> tuple[Prediction, ...]:
    """What was written down.

    Raises:
        DamagedFileError: missing, or not what was hashed.
    """
    path, hashed = folder / "predictions.json", folder / "predictions.sha256"
    content = read_json(path)
    if not hashed.is_file() or hashed.read_text(encoding="utf-8").split()[:1] != [_digest(path)]:
        raise DamagedFileError(f"{path}: is not what {hashed.name} was made of; the predictions were changed")
    try:
        return tuple(Prediction(**each) for each in content["predictions"])
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"{path}: holds no predictions ({error})") from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judge(predictions: Sequence[Prediction], measured: Sequence[Measured], num_new: int) -> tuple[Checked, ...]:
    """Every prediction beside its measurement, by RULE.

    Args:
        measured: one a prediction; NaN where there was nothing to measure, which is UNDECIDED.
        num_new: rows behind the measurements.

    Raises:
        ValueError: another number of measurements.
    """
    if len(predictions) != len(measured):
        raise ValueError(f"measured: expected {len(predictions)} values, one a prediction, got {len(measured)}")
    alone = float(ndtri(0.5 + CONFIDENCE / 2))
    together = float(ndtri(1.0 - (1.0 - CONFIDENCE) / (2 * max(len(predictions), 1))))
    return tuple(_judge_one(p, m, num_new, alone, together) for p, m in zip(predictions, measured))


def _judge_one(prediction: Prediction, measured: Measured, num_new: int, alone: float, together: float) -> Checked:
    error = math.sqrt(
        prediction.error**2 + prediction.deviation**2 * (1 / prediction.rows + 1 / num_new) + measured.error**2
    )
    lowest, highest = prediction.value - prediction.slack_low, prediction.value + prediction.slack_high
    low, high = lowest - alone * error, highest + alone * error
    wide_low, wide_high = lowest - together * error, highest + together * error
    if low <= measured.value <= high:
        status = Status.CONFIRMED
    elif measured.value < wide_low or measured.value > wide_high:
        status = Status.CONTRADICTED
    else:
        # Also where nothing could be measured.
        status = Status.UNDECIDED
    return Checked(prediction, measured.value, low, high, wide_low, wide_high, status)


def summary(checked: Sequence[Checked]) -> dict:
    """Counts of the verdicts, the median and the worst error.

    Returns:
        predictions, confirmed, contradicted, undecided, median_error, worst_error (NaN without measurements).
    """
    errors = sorted(abs(each.measured - each.prediction.value) for each in checked if not math.isnan(each.measured))
    counts = {status.value.lower(): sum(each.status is status for each in checked)
              for status in (Status.CONFIRMED, Status.CONTRADICTED, Status.UNDECIDED)}  # fmt: skip
    middle = errors[len(errors) // 2] if errors else math.nan
    return {"predictions": len(checked), **counts, "median_error": middle,
            "worst_error": errors[-1] if errors else math.nan}  # fmt: skip


def as_rows(checked: Sequence[Checked]) -> list[dict]:
    """Rows of checked.csv, in the order of the predictions."""
    return [
        {**asdict(each.prediction), "measured": each.measured, "low": each.low, "high": each.high,
         "wide_low": each.wide_low, "wide_high": each.wide_high, "status": each.status.value}
        for each in checked
    ]  # fmt: skip

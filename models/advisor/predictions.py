"""What the findings say about rows not yet seen, as numbers that can turn out wrong; and the same as rows of curves."""

import math
from collections.abc import Iterator

from models.advisor.advice import Prediction
from models.advisor.findings import Findings
from models.advisor.questions.curves import SizePoint
from models.advisor.questions.depth import DepthCurve

Z = 1.96


def predictions_of(findings: Findings) -> Iterator[Prediction]:
    """Affinity sharpness and isolated share at every batch size, at every strength and layer, and limits."""
    for point in findings.sizes:
        yield _of_bracket(point, "sharpness", f"n = {point.batch_size}", point.batch_size)
        if point.kind == "relu" and not findings.paired:
            yield Prediction(f"rows without a true neighbor, n = {point.batch_size}", "isolated", "relu",
                             point.batch_size, point.isolated, 0.0, 0.0, 0.0, point.isolated_deviation,
                             point.rows)  # fmt: skip
    for strength, points in zip(findings.strengths, findings.by_strength):
        for point in points:
            yield _of_bracket(point, "strength_sharpness", f"strength {strength:g}", strength)
    for limit in findings.limits:
        if math.isfinite(limit.value):
            high = limit.high if math.isfinite(limit.high) else limit.last
            yield Prediction(f"largest strength, {limit.kind}", "strength", limit.kind, None, limit.value,
                             limit.value - limit.low, max(high - limit.value, 0.0), 0.0, limit.deviation,
                             limit.rows)  # fmt: skip
    for curve in findings.depths:
        # Layer 0 is the batch itself, which the batch sizes tell more exactly.
        for layer in range(1, len(curve.means)):
            yield Prediction(f"affinity sharpness, {curve.kind}, layer {layer}", "depth", curve.kind, layer,
                             curve.means[layer], 0.0, 0.0, curve.errors[layer], curve.deviations[layer],
                             findings.pool_size)  # fmt: skip


def _of_bracket(point: SizePoint, kind: str, where: str, at: float) -> Prediction:
    half = (point.high - point.low) / 2
    name = f"affinity sharpness, {point.kind}, {where}"
    return Prediction(name, kind, point.kind, at, point.middle, half, half, 0.0, point.deviation, point.rows)


def curve_rows(findings: Findings) -> Iterator[dict]:
    """Rows of curves.csv: question, curve, centered, at, value, and low, high, in which rows drawn anew are expected to
    lie (95 %)."""
    for choices in findings.choices:
        for choice in choices:
            yield from choice.rows
    for point in findings.sizes:
        chance = 1.0 / (point.batch_size - 1) if findings.paired else findings.geometry[0].chance
        yield _bracket_row(findings, point, "batch_size", point.batch_size, chance)
        if point.kind == "relu" and not findings.paired:
            error = Z * point.isolated_deviation / math.sqrt(point.rows)
            yield _row(findings, "isolated", "relu", point.batch_size, point.isolated, point.isolated - error,
                       point.isolated + error, math.nan)  # fmt: skip
    chances = {curve.kind: curve.chance for curve in findings.depths}
    for strength, points in zip(findings.strengths, findings.by_strength):
        for point in points:
            yield _bracket_row(findings, point, "strength", strength, chances[point.kind])
    for curve in findings.depths:
        for layer, value in enumerate(curve.means):
            error = Z * _total_error(curve, layer, findings.pool_size)
            yield _row(findings, "depth", curve.kind, layer, value, value - error, value + error, curve.chance)


def _total_error(curve: DepthCurve, layer: int, rows: int) -> float:
    return math.hypot(curve.errors[layer], curve.deviations[layer] / math.sqrt(rows))


def _bracket_row(findings: Findings, point: SizePoint, question: str, at: float, chance: float) -> dict:
    error = Z * point.deviation / math.sqrt(point.rows)
    return _row(findings, question, point.kind, at, point.middle, point.low - error, point.high + error, chance)


def _row(
    findings: Findings, question: str, curve: str, at: float, value: float, low: float, high: float, chance: float
) -> dict:
    return {"question": question, "curve": curve, "centered": findings.centered, "at": at, "value": value,
            "low": max(low, 0.0), "high": min(high, 1.0), "chance": chance}  # fmt: skip

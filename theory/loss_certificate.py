"""Theorem 4 (this toolkit's statement): the affinity loss certifies affinity sharpness.

Statement. Let the loss be the mean over rows of JSD(Y_i || T_i), T_ij = 1/(n_k - 1) for i ~ j and 0 elsewhere, with
natural logarithms, values in [0, ln 2], ln 2 for a row of Y without mass, rows of clusters of one left out. With
binary(s) = (1/2)[s ln(2s/(1+s)) + (1-s) ln 2 + ln(2/(1+s))] and s_i = sum_{j ~ i} Y_ij,
    JSD_i >= binary(s_i),    s_i >= binary^-1(JSD_i),    mean s >= binary^-1(loss),
and of one row the loss over n rows says s_i >= binary^-1(min(ln 2, n loss)).

Hypotheses: rows of Y sum to 1 or are empty; s_i leaves the row's own entry out (Y may have a diagonal: it counts as
mass outside).
Proof: theory.md, section 4. Equality: rows that are even over their own cluster.
"""

import numpy as np
from scipy.special import xlogy

from theory.judging.statements import THEOREM_4
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.numerics.inputs import Numbers, as_floats, require_count, require_range
from theory.numerics.precision import UNIT_SUM_TOLERANCE, rounding_tolerance

LN2 = float(np.log(2.0))
# Halvings of an interval of length 1 until neighbouring float64 numbers are left.
BISECTIONS = 60


def binary_divergence(sharpness: Numbers) -> np.ndarray | float:
    """binary(s): the JSD of (s, 1 - s) and (1, 0); ln 2 at s = 0, 0 at s = 1, decreasing and convex.

    Args:
        sharpness: s in [0, 1], any shape.

    Raises:
        ValueError: s outside [0, 1] or NaN.
    """
    require_range(sharpness, "sharpness", 0.0, 1.0)
    return _binary(as_floats(sharpness, "sharpness"))


def _binary(s: Numbers) -> np.ndarray | float:
    """Unchecked, for the many halvings of its inverse."""
    # ln(2s/(1+s)) as log1p keeps the digits that matter close to s = 1, and is -inf close to 0.
    close = np.maximum(s, 0.5)
    own = np.where(s < 0.5, xlogy(s, 2.0 * s / (1.0 + s)), s * np.log1p((close - 1.0) / (1.0 + close)))
    return 0.5 * (own + (1.0 - s) * LN2 + np.log1p((1.0 - s) / (1.0 + s)))


def certified_sharpness(jsd: Numbers) -> np.ndarray | float:
    """binary^-1: the affinity sharpness that a divergence of ``jsd`` guarantees, to rounding.

    Args:
        jsd: in [0, ln 2], any shape: of one row (then of that row's s_i) or the mean over rows (then of the mean).
            NumPy, torch in any precision (a loss with its gradient too) or plain numbers. What rounding puts outside
            counts as 0 or ln 2: up to UNIT_SUM_TOLERANCE of its dtype, and of float32 for plain numbers and float64,
            which do not tell whether they were computed in float32 (``loss.item()``, a column of a table).

    Returns:
        s of the same shape in float64, a float for a number.

    Raises:
        ValueError: outside [0, ln 2] by more than rounding, or NaN.
    """
    value = _divergences(jsd, "jsd")
    low, high = np.zeros_like(value), np.ones_like(value)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        # binary is decreasing: where it is still above the value, the true s is larger.
        above = _binary(middle) >= value
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return float(low) if low.ndim == 0 else low


def certified_row_sharpness(loss: Numbers, num_rows: int) -> np.ndarray | float:
    """What the mean loss over ``num_rows`` rows guarantees for every single one: binary^-1(min(ln 2, n loss)).

    Args:
        loss: as in ``certified_sharpness``.

    Raises:
        ValueError: a loss outside [0, ln 2] by more than rounding, fewer than one row.
    """
    count = require_count(num_rows, "num_rows", 1)
    return certified_sharpness(np.minimum(_divergences(loss, "loss") * float(count), LN2))


def _divergences(values: Numbers, name: str) -> np.ndarray:
    """Divergences as float64 in [0, ln 2], rounding forgiven."""
    tolerance = max(rounding_tolerance(values), UNIT_SUM_TOLERANCE["float32"])
    require_range(values, name, -tolerance, LN2 + tolerance)
    return np.asarray(np.clip(as_floats(values, name), 0.0, LN2))


def check_certificate(loss: Numbers, sharpness: Numbers) -> Verdict:
    """Theorem 4 on measured batches: 1 - s never exceeds what the loss certifies, for the mean and for every row.

    Both are taken to be as exact as their dtype: in float32 a loss stands for any up to UNIT_SUM_TOLERANCE above it, so
    hand over what was computed in float32 as float32.

    Args:
        loss: (trials,), the mean divergence over the rows of each batch. NumPy or torch, gradients and all.
        sharpness: (rows, trials), affinity sharpness of every row that the mean is over.

    Raises:
        ValueError: NaN, values out of range, shapes that do not fit.
    """
    exactness, row_exactness = rounding_tolerance(loss), rounding_tolerance(sharpness)
    require_range(loss, "loss", -exactness, LN2 + exactness)
    require_range(sharpness, "sharpness", -row_exactness, 1.0 + row_exactness)
    losses, rows = np.atleast_1d(as_floats(loss, "loss")), as_floats(sharpness, "sharpness")
    if losses.ndim != 1 or rows.ndim != 2 or rows.shape[1] != len(losses) or len(rows) == 0:
        raise ValueError(f"sharpness: expected shape (rows, trials) for a loss {losses.shape}, got {rows.shape}")
    largest = np.clip(losses + exactness, 0.0, LN2)
    mean_cap = 1.0 - certified_sharpness(largest)
    row_cap = 1.0 - certified_row_sharpness(largest, len(rows))
    return combine_parts(
        THEOREM_4.name,
        [
            # Of evenly sharp rows mean and bound agree: what is left is the rounding of a mean.
            # A loss that certifies sharpness 0 says nothing.
            judge(f"{THEOREM_4.name}: mean", 1.0 - rows.mean(axis=0), mean_cap + row_exactness, mean_cap < 1.0,
                  discrete=True),
            judge(f"{THEOREM_4.name}: every row", 1.0 - rows, row_cap + row_exactness, row_cap < 1.0, discrete=True),
        ],
    )  # fmt: skip

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

from theory.inputs import Numbers, require_count, require_range
from theory.precision import ABSOLUTE_MARGIN, half_as_float64
from theory.statements import THEOREM_4
from theory.verdicts import Verdict, combine_parts, judge

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
    s = np.asarray(sharpness, dtype=float)
    # ln(2s/(1+s)) as log1p keeps the digits that matter close to s = 1, and is -inf close to 0.
    close = np.maximum(s, 0.5)
    own = np.where(s < 0.5, xlogy(s, 2.0 * s / (1.0 + s)), s * np.log1p((close - 1.0) / (1.0 + close)))
    return 0.5 * (own + (1.0 - s) * LN2 + np.log1p((1.0 - s) / (1.0 + s)))


def certified_sharpness(jsd: Numbers) -> np.ndarray | float:
    """binary^-1: the affinity sharpness that a divergence of ``jsd`` guarantees, to rounding.

    Args:
        jsd: in [0, ln 2], any shape: of one row (then of that row's s_i) or the mean over rows (then of the mean).

    Returns:
        s of the same shape, a float for a number.

    Raises:
        ValueError: outside [0, ln 2] by more than rounding, or NaN.
    """
    require_range(jsd, "jsd", -ABSOLUTE_MARGIN, LN2 + ABSOLUTE_MARGIN)
    value = np.clip(np.asarray(jsd, dtype=float), 0.0, LN2)
    low, high = np.zeros_like(value), np.ones_like(value)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        # binary is decreasing: where it is still above the value, the true s is larger.
        above = binary_divergence(middle) >= value
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return float(low) if np.ndim(jsd) == 0 else low


def certified_row_sharpness(loss: Numbers, num_rows: int) -> np.ndarray | float:
    """What the mean loss over ``num_rows`` rows guarantees for every single one: binary^-1(min(ln 2, n loss)).

    Raises:
        ValueError: a loss outside [0, ln 2], fewer than one row.
    """
    require_range(loss, "loss", -ABSOLUTE_MARGIN, LN2 + ABSOLUTE_MARGIN)
    count = require_count(num_rows, "num_rows", 1)
    return certified_sharpness(np.clip(np.multiply(loss, count), 0.0, LN2))


@half_as_float64
def check_certificate(loss: np.ndarray, sharpness: np.ndarray) -> Verdict:
    """Theorem 4 on measured batches: 1 - s never exceeds what the loss certifies, for the mean and for every row.

    Args:
        loss: (trials,), the mean divergence over the rows of each batch.
        sharpness: (rows, trials), affinity sharpness of every row that the mean is over.

    Raises:
        ValueError: NaN, or values out of range.
    """
    require_range(sharpness, "sharpness", -ABSOLUTE_MARGIN, 1.0 + ABSOLUTE_MARGIN)
    rows = sharpness.shape[0]
    everywhere = np.ones(sharpness.shape[1], dtype=bool)
    mean_cap = 1.0 - certified_sharpness(loss)
    row_cap = 1.0 - certified_row_sharpness(loss, rows)
    return combine_parts(
        THEOREM_4.name,
        [
            # Of evenly sharp rows mean and bound agree: what is left is the rounding of a mean.
            judge(f"{THEOREM_4.name}: mean", 1.0 - sharpness.mean(axis=0), mean_cap + ABSOLUTE_MARGIN, everywhere,
                  discrete=True),
            judge(f"{THEOREM_4.name}: every row", 1.0 - sharpness, row_cap + ABSOLUTE_MARGIN, everywhere,
                  discrete=True),
        ],
    )  # fmt: skip

"""Bugs in the affinity loss, in the precision and range that losses compute in, and in how labels are read."""

from tests.mutants.bugs import bugs_in

AFFINITY_LOSS = (
    *bugs_in("models/losses/jsd.py", "models/losses/affinity models/losses/affinity_dtypes models/losses/objectives",
             ("empty_rows_by_the_formula", "torch.where(affinity.sum(-1) == 0, LN2, rows)",
              "torch.where(affinity.sum(-1) == 0, 0.5 * LN2, rows)"),
             ("mean_with_the_lonely_rows", "(rows * counted).sum(-1) / counted.sum().clamp_min(1)", "rows.mean(-1)"),
             ("slope_of_the_target", "2.0 * affinity / torch.where(affinity > 0, affinity + target, 1.0)",
              "2.0 * target / torch.where(affinity > 0, affinity + target, 1.0)")),
    *bugs_in("models/losses/jsd.py", "models/losses/affinity_dtypes",
             ("divergence_above_ln_2", "values.clamp(0.0, CAPS[values.dtype])", "values.clamp_min(0.0)"),
             ("divergence_below_0", "values.clamp(0.0, CAPS", "values.clamp(-1.0, CAPS"),
             ("ln_2_rounded_up", "float(np.nextafter(np.float32(LN2), np.float32(0.0)))", "float(np.float32(LN2))")),
    *bugs_in("models/losses/tiled_jsd.py",
             "models/losses/affinity models/losses/second_derivatives models/losses/objectives",
             ("mass_outside_forgotten", "0.5 * (inside + LN2 * self.outside)", "0.5 * inside"),
             ("slope_of_the_outside_forgotten", ".add_(self.outside, alpha=0.5 * LN2)", ""),
             ("nobody_is_counted", "(rows * there).sum()", "rows.sum()"),
             ("void_of_the_diagonal_alone", "self.block.members.shape[-1] - self.block.sizes + 1",
              "0 * self.block.sizes + 1"),
             ("power_not_differentiated", "ctx.power / _counted(ctx.labels) / inside.mass",
              "1.0 / _counted(ctx.labels) / inside.mass")),
    *bugs_in("models/losses/tiled_jsd.py", "models/losses/second_derivatives",
             ("second_derivatives_forgotten", "if torch.is_grad_enabled():", "if False:"),
             ("second_derivatives_of_another_power", "torch.where(logits > 0, logits, 1.0) ** (power - 1.0)",
              "torch.where(logits > 0, logits, 1.0) ** 1.0")),
)  # fmt: skip

INFO_NCE = bugs_in(
    "models/losses/info_nce.py", "models/losses/info_nce half_precision",
    ("positive_left_out_of_its_sum", "logits.logsumexp(1)", "logits[:, 1:].logsumexp(1)"),
    ("info_nce_in_half_precision", "[widen(positives)[:, None], widen(negatives)]", "[positives[:, None], negatives]"),
)  # fmt: skip

PRECISION = (
    *bugs_in("models/losses/affinity.py", "models/losses/affinity_dtypes half_precision",
             ("points_not_widened", 'points = widen(points, "points")', "points = points * 1"),
             ("sums_checked_in_their_own_precision", "UNIT_SUM_TOLERANCE[dtype_name(matrix.dtype)]",
              "UNIT_SUM_TOLERANCE[dtype_name(wide.dtype)]")),
    *bugs_in("models/losses/common.py", "models/losses/temperatures",
             ("overflow_of_logits_unchecked", "min(torch.finfo(dtype).max * temperature, FLOAT64_MAX)", "FLOAT64_MAX"),
             ("overflow_of_sums_unchecked", "4.0 * terms * max(largest, 1.0)", "1.0 * max(largest, 1.0)")),
)  # fmt: skip

# Which rows are in order is found from places among sorted labels: differences of labels are formed nowhere.
LABELS = (
    *bugs_in("theory/batches/clusters.py", "theory/measurements labels",
             ("labels_sorted_backwards", "np.argsort(self.order)", "np.asarray(self.order)"),
             ("labels_taken_for_sorted", "order = None if in_order else",
              "order = None if in_order or len(index) > 12 else")),
    *bugs_in("theory/batches/clusters.py", "labels theory/measurements",
             ("labels_compared_as_float64", "np.unique(values, return_inverse=True)",
              "np.unique(values.astype(np.float64), return_inverse=True)"),
             ("labels_in_reversed_order", "found, index.reshape(-1).astype(np.int64, copy=False)",
              "found, (len(found) - 1 - index.reshape(-1)).astype(np.int64, copy=False)"),
             ("labels_of_two_types_compared_as_float64", 'np.result_type(values, own).kind in "iub"', "True")),
)  # fmt: skip

BUGS = (*AFFINITY_LOSS, *INFO_NCE, *PRECISION, *LABELS)

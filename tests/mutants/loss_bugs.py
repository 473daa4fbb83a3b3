"""Bugs in the affinity loss and in how labels are read."""

from tests.mutants.bugs import bugs_in

AFFINITY_LOSS = bugs_in(
    "models/losses/affinity.py", "models/losses/affinity models/losses/objectives",
    ("mass_outside_forgotten", "0.5 * (inside + LN2 * outside)", "0.5 * inside"),
    ("empty_rows_by_the_formula", "torch.where(affinity.sum(-1) > 0, rows, LN2)",
     "torch.where(affinity.sum(-1) > 0, rows, 0.5 * LN2)"),
    ("mean_with_the_lonely_rows", "rows, 0.0).sum(-1) / counted.sum()", "rows, 0.0).mean(-1)"),
    ("slope_of_the_outside_forgotten", "(slope * affinity).sum(-1, keepdim=True) + 0.5 * LN2 * outside",
     "(slope * affinity).sum(-1, keepdim=True)"),
    ("power_not_differentiated", "scale * power / safe[s.local]", "scale / safe[s.local]"),
)  # fmt: skip

LABELS = bugs_in(
    "theory/clusters.py", "theory/measurements theory/affinity",
    ("labels_sorted_backwards", "np.argsort(self.order)", "np.asarray(self.order)"),
    ("labels_taken_for_sorted", 'order = None if in_order else', 'order = None if in_order or len(values) > 12 else'),
)  # fmt: skip

BUGS = (*AFFINITY_LOSS, *LABELS)

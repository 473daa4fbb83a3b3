"""Bugs in Theorem 2a' (restart) and Theorem 2f (row bound, fusion ceiling)."""

from tests.mutants.bugs import bugs_in

RESTART = bugs_in(
    "theory/restart.py", "theory/restart",
    ("within_product_alone", "least = np.minimum(geometry.within_product, geometry.norm_min)",
     "least = geometry.within_product"),
    ("kept_share_of_the_shortest_token", "least / geometry.norm_max", "least / geometry.norm_min"),
    ("any_threshold_below_the_cosines", "(kept - tau > ABSOLUTE_MARGIN) & (tau - cap > ABSOLUTE_MARGIN)",
     "kept - tau > ABSOLUTE_MARGIN"),
    ("first_layer_is_the_last", "held.argmax(axis=0), -1)", "0 * held.argmax(axis=0), -1)"),
)  # fmt: skip

AXES = bugs_in(
    "theory/batches/trajectory.py", "theory/restart models/stack",
    ("axis_of_the_two_highest_clusters", "axis=0)[:2]", "axis=0)[-2:]"),
    ("axis_height_once", "return low * next_low", "return low"),
)  # fmt: skip

ROWS = bugs_in(
    "theory/lemmas/fusion_rows.py", "theory/lemmas/fusion_rows",
    ("conjugate_without_its_mean", "ratio * turn - log_mean", "ratio * turn - 2.0 * log_mean"),
    ("slope_of_another_dimension", "scaled_log_bessel(order + 1.0, turn) - scaled_log_bessel(order, turn)",
     "scaled_log_bessel(order + 2.0, turn) - scaled_log_bessel(order, turn)"),
    ("off_plane_variance_halved", "(lam * share * off) ** 2 / (2.0 * (self.dim - 2.0))",
     "(lam * share * off) ** 2 / (4.0 * (self.dim - 2.0))"),
    ("own_point_kept_by_lambda", "kept, empty = ((1.0 - lam) * norm * sine)", "kept, empty = (lam * norm * sine)"),
    ("edges_above_half_the_threshold", "along**2 + across**2 + off**2) - tau, 0.0)",
     "along**2 + across**2 + off**2) - 0.5 * tau, 0.0)"),
    ("empty_rows_pass", "np.clip(1.0 - weight.sum(axis=1), 0.0, 1.0)", "0.0 * weight.sum(axis=1)"),
    ("sectors_from_one_side", "law.gain - np.cos(middle)[..., None] * plane",
     "law.gain + np.abs(np.cos(middle)[..., None]) * plane"),
    ("own_share_not_taken_off", "law.gain - law.own[:, None]", "law.gain + law.own[:, None]"),
    ("steps_lose_half_a_cell", "np.maximum(logs[:-1], logs[1:])", "np.minimum(logs[:-1], logs[1:])"),
    ("cones_turn_towards_the_row", "*(level - turn * offset for", "*(level + turn * offset for"),
)  # fmt: skip

CEILING = bugs_in(
    "theory/fusion_ceiling.py", "theory/fusion_ceiling",
    ("whole_angle_for_one_row", "phi = 0.5 * (np.arccos(tau)", "phi = (np.arccos(tau)"),
    ("clusters_paired_with_themselves", "np.fill_diagonal(clusters, copies * (copies - 1.0))",
     "np.fill_diagonal(clusters, copies * copies)"),
    ("cross_pairs_counted_twice", "min(1.0, 0.5 * (clusters", "min(1.0, (clusters"),
    ("tail_of_the_aligned_part", "np.sqrt(aligned)", "np.sqrt(1.0 - aligned)"),
    ("turned_pairs_once_a_point", "size * size for copies, size", "size for copies, size"),
    ("later_layers_free", "layers += (setting.depth - 1) * _cross", "layers += 0.0 * _cross"),
    ("ceiling_of_the_threshold_with_all_of_delta", "np.log(self.delta / (2 * self.cross_pairs))",
     "np.log(self.delta / self.cross_pairs)"),
)  # fmt: skip

BATCHES = bugs_in(
    "theory/fusion_ceiling.py", "theory/fusion_batches",
    ("batch_range_not_asked_in_full", "low = settle(proved, first", "low = settle(likely, first"),
    ("batch_range_one_too_large", "(low, -high)", "(low, 1 - high)"),
    ("batch_range_of_half_the_budget", "float(noise_level), nodes).total <= delta",
     "float(noise_level), nodes).total <= 0.6 * delta"),
)  # fmt: skip

BUGS = (*RESTART, *AXES, *ROWS, *CEILING, *BATCHES)

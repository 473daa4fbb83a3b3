"""Bugs in theory/: bounds, hypotheses, measurements. Verdicts and the batch floor have lists of their own."""

from tests.mutants.bugs import SWEEP, bugs_in

NOISE_CEILING = bugs_in(
    "theory/noise_ceiling.py", "theory/noise_ceiling synthetic/sweep_noise",
    ("delta_not_split_between_kinds", "np.log(self.delta / (2 * pairs.count))", "np.log(self.delta / pairs.count)",
     SWEEP),
    ("quantiles_swapped", "setting.within, False), (setting.between_cos, setting.cross, True)",
     "setting.within, True), (setting.between_cos, setting.cross, False)", SWEEP),
    ("threshold_far_below_the_interval", "(interval[0] + interval[1]) / 2.0", "(interval[0] + interval[1]) / 4.0",
     SWEEP),
    ("gaussian_ceiling_rounded_up", "xtol=1e-9) - ROUND_DOWN", "xtol=1e-9) + 0.05", SWEEP),
    ("bounded_noise_turns_once", "turn = 2.0 * np.arcsin(noise_level)", "turn = np.arcsin(noise_level)"),
    ("bounded_separation_over_two", "max(theta_between - theta_within, 0.0) / 4.0",
     "max(theta_between - theta_within, 0.0) / 2.0"),
    ("bounded_threshold_condition_doubled", "/ 4.0, (np.pi / 2.0 - theta_within) / 2.0)",
     "/ 4.0, np.pi / 2.0 - theta_within)"),
    ("nu_dropped_from_bounded_persistence", "float(alpha * norm_product(max(alpha, 0.0), max_cluster_size) - ",
     "float(alpha - "),
    ("bounded_check_lenient", "worst_beta + 1e-12", "worst_beta + 1e-1"),
)  # fmt: skip

CERTIFIED_COSINES = bugs_in(
    "theory/noise_ceiling.py", "theory/rigorous/ceilings",
    ("cosines_certified_for_all_of_delta", "cosine, setting.delta / 2.0, upper=upper)",
     "cosine, setting.delta, upper=upper)"),
)  # fmt: skip

ALPHA_NEEDED = bugs_in(
    "theory/rigorous/ceilings.py", "theory/noise_ceiling theory/rigorous/ceilings",
    ("nu_dropped_from_persistence_ceiling", "a * norm_product(a, cluster_sizes)", "a", SWEEP),
    ("separating_threshold_may_be_negative", "        return max(beta, 0.0)", "        return beta"),
)  # fmt: skip

PROVED_EVENT = bugs_in(
    "theory/noise_ceiling.py", "synthetic/audit/rows",
    ("event_of_one_kind_of_pair", "(alpha >= extremes[0]) & (beta", "(alpha >= extremes[0]) | (beta", SWEEP),
)  # fmt: skip

PAIR_COUNTS = bugs_in(
    "theory/batches/clusters.py", "theory/noise_ceiling synthetic/audit/rows",
    ("cross_pairs_halved", "return within, n * (n - 1) // 2 - within",
     "return within, (n * (n - 1) // 2 - within) // 2", SWEEP),
    ("within_pairs_once_a_point", "sum(size * (size - 1) // 2 for size in every)", "sum(size - 1 for size in every)",
     SWEEP),
)  # fmt: skip

PERSISTENCE = bugs_in(
    "theory/persistence.py", "theory/persistence synthetic/sweep_noise",
    ("smallest_for_largest_cluster", "np.sort(as_sizes(cluster_sizes, \"cluster_sizes\"))[::-1]",
     "np.sort(as_sizes(cluster_sizes, \"cluster_sizes\"))", SWEEP),
    ("smallest_for_second_largest_cluster", "int(sizes[min(1, len(sizes) - 1)])", "int(sizes[-1])", SWEEP),
    ("nu_dropped_from_cross_cap", "np.maximum(beta, 0.0) / norm_product(alpha, cluster_sizes)",
     "np.maximum(beta, 0.0) / 1.0", SWEEP),
    ("nu_dropped_from_persists", "(cross_cap(positive, beta, cluster_sizes) <= threshold)",
     "(np.maximum(beta, 0.0) <= threshold)", SWEEP),
    ("nu_dropped_from_admits_threshold", "(cross_cap(positive, beta, cluster_sizes) < alpha)",
     "(np.maximum(beta, 0.0) < alpha)", SWEEP),
    ("persistence_cap_doubled", "cap = np.maximum(low, floor)", "cap = np.maximum(2.0 * low, floor)", SWEEP),
    ("leaks_do_not_count", "np.where(trajectory.false_edges > 0, np.inf, trajectory.sharpness_error)",
     "np.where(trajectory.false_edges > 0, 0.0, 0.0 * trajectory.sharpness_error)", SWEEP),
)  # fmt: skip

NOISE_FREE = bugs_in(
    "theory/noise_free.py", "theory/noise_free theory/persistence",
    ("nu_squared_with_one_point_less", "(1 - within) / cluster_size", "(1 - within) / (cluster_size - 1)", SWEEP),
    ("contraction_counts_a_neighbour_too_many", "mixing * (size - 2) * weight", "mixing * (size - 1) * weight", SWEEP),
    ("contraction_forgets_the_own_share", "2 * np.minimum(1 - mixing, mixing * weight)", "2 * mixing * weight", SWEEP),
    ("contraction_cubed", "bounds.append(bounds[-1] * rho * rho)", "bounds.append(bounds[-1] * rho * rho * rho)",
     SWEEP),
    ("spread_of_the_smallest_cluster", "largest = int(sizes.max())", "largest = int(sizes.min())", SWEEP),
    ("a_priori_spread_of_the_smallest_cluster", "(within, int(sizes.max()))", "(within, int(sizes.min()))", SWEEP),
    ("a_priori_spread_contracts_once_more", "(np.float64(alpha), sizes, threshold, mixing)) ** 2",
     "(np.float64(alpha), sizes, threshold, mixing)) ** 3", SWEEP),
    ("closed_form_decays_half_as_fast", "mixing / (sizes - 1.0)) ** (2.0 * layer)", "mixing / (sizes - 1.0)) ** layer"),
    ("alpha_compared_with_the_first_layer", "np.maximum(1.0 - alpha[:-1], SPREAD_FLOOR)",
     "np.maximum(1.0 - alpha[:1], SPREAD_FLOOR)", SWEEP),
)  # fmt: skip

PAIR_LAW = bugs_in(
    "theory/lemmas/pair_law.py", "theory/lemmas/pair_law theory/noise_ceiling",
    ("one_dimension_too_many_in_the_pair_law", "float(noise_level) / np.sqrt(self.dim)",
     "float(noise_level) / np.sqrt(self.dim + 1)", SWEEP),
    ("radius_has_one_dimension_too_many", "across[:, None], self.scale, self.dim - 1)",
     "across[:, None], self.scale, self.dim)", SWEEP),
    ("angle_has_one_dimension_too_many", "np.asarray(offset), s, dim - 1)", "np.asarray(offset), s, dim)", SWEEP),
    ("bessel_correction_of_the_wrong_sign", "p * (3.0 - 5.0 * p2) / 24.0", "p * (3.0 + 5.0 * p2) / 24.0", SWEEP),
    ("quantile_rounded_to_the_pair", "np.nextafter(turned, 2.0 if upper else -2.0)", "turned"),
    ("power_series_off_by_one", "term * quarter / (j * (order + j))", "term * quarter / (j * (order + j + 1))"),
)  # fmt: skip

MEASUREMENTS = bugs_in(
    "theory/measurements.py", "theory/measurements models/stack models/tiled",
    ("extremes_miss_the_last_cluster", "rows, rows], axis=(-2, -1)) for rows in layout.slices]",
     "rows, rows], axis=(-2, -1)) for rows in layout.slices[:-1]]", SWEEP),
    ("extremes_of_the_wrong_cluster", "xp.min(cosines[..., rows, rows], axis=(-2, -1))",
     "xp.min(cosines[..., layout.slices[0], layout.slices[0]], axis=(-2, -1))", SWEEP),
    ("cross_blocks_miss_a_point", "matrix[..., rows, rows.stop :]", "matrix[..., rows, rows.stop + 1 :]", SWEEP),
    ("tiled_extremes_miss_a_point", "xp.max(cosines[..., own:], axis=(-2, -1))",
     "xp.max(cosines[..., own + 1 :], axis=(-2, -1))"),
    ("cross_quantile_from_below", "_quantile(xp.concat(cross, axis=-1), 1.0 - level)",
     "_quantile(xp.concat(cross, axis=-1), level)"),
    ("chance_without_the_own_point", "(size / n if include_self", "(size / (n - 1) if include_self"),
    ("components_of_one_direction", "edges | xp.matrix_transpose(edges) |", "edges |"),
    ("cross_edges_of_one_direction", "(above > 0) | (below > 0)", "(above > 0)"),
)  # fmt: skip

TRAJECTORY = bugs_in(
    "theory/batches/trajectory.py", "models/stack models/softmax_stack models/tiled",
    ("recovered_with_false_edges", "(self.false_edges == 0) & (self.fragments == 1)",
     "(self.false_edges == 0) | (self.fragments == 1)", SWEEP),
    ("separated_although_not_quite", "return self.alpha > self.beta", "return self.alpha > self.beta - 0.05", SWEEP),
    ("thin_clusters_taken_for_complete", "np.flatnonzero(~(alpha > cuts))", "np.flatnonzero(~(alpha > cuts - 0.05))",
     SWEEP),
    ("largest_for_smallest_sharpness", "xp.min(sharpness, axis=-1)", "xp.max(sharpness, axis=-1)", SWEEP),
    ("softmax_gamma_is_the_largest", "for value in (alpha, beta, -negated))", "for value in (alpha, beta, beta))"),
)  # fmt: skip

TILED_MEASUREMENTS = bugs_in(
    "theory/batches/tiled_measurements.py", "models/tiled",
    ("tiles_miss_a_point", "slice(s.own.stop, self._layout.num_points)\n",
     "slice(s.own.stop + 1, self._layout.num_points)\n"),
    ("damage_to_one_side_does_not_count", "max(int(above), int(below))", "min(int(above), int(below))"),
    ("thin_clusters_by_their_worst_row", "~(np.maximum.reduceat(self.lowest, starts) > self.cut)",
     "np.maximum.reduceat(self.lowest, starts) < 0.0"),
    ("squares_read_from_one_side", "self._lowest[rows] = xp.minimum(self._lowest[rows],",
     "self._lowest[rows] = xp.minimum(self._lowest[rows] * (axis == -1),"),
    ("squares_are_no_mirrors", "return columns.start >= rows.stop", "return columns.start > rows.stop"),
)  # fmt: skip

SUBSPACES = bugs_in(
    "theory/subspaces.py", "theory/subspaces",
    ("small_angles_by_arccos", "xp.where(cosines**2 < 0.5,", "xp.where(cosines**2 < 2.0,"),
    ("subspace_affinity_not_squared", "xp.mean(xp.cos(angles) ** 2", "xp.mean(xp.cos(angles)"),
    ("transpose_for_pseudoinverse", "xp.linalg.pinv(joint)", "xp.matrix_transpose(joint)", SWEEP),
)  # fmt: skip

AFFINITY = bugs_in(
    "theory/affinity.py", "theory/affinity models/stack",
    ("threshold_replaced_by_round_off", "max(float(threshold), floor)", "min(float(threshold), floor)", SWEEP),
    ("unsigned_affinity_shifted", "size**power, xp.zeros_like(size))", "(size - cut) ** power, xp.zeros_like(size))"),
    ("target_keeps_its_diagonal", "np.fill_diagonal(positives, False)", "np.fill_diagonal(positives, True)"),
)  # fmt: skip

BLOCK_MODEL = bugs_in(
    "theory/block_model.py", "theory/block_model",
    ("contrast_of_the_other_clusters", "weight * clusters * size * outer", "weight * (clusters - 1) * size * outer"),
    ("threshold_term_of_a_point_too_many", "(size - 1) * gain)", "size * gain)"),
    ("leak_grows_by_the_wrong_factor", "leak = a_b * (1 + mu_contrast)", "leak = a_b * (1 - mu_contrast)"),
    ("norms_not_restored", "norm = shared + (1 - 1 / size) * inner", "norm = shared + inner"),
    ("rising_sharpness_not_checked", "-np.sign(margin) * change", "np.minimum(-np.sign(margin), 0.0) * change"),
)  # fmt: skip

SOFTMAX_FUSION = bugs_in(
    "theory/softmax_fusion.py", "theory/softmax_fusion models/softmax_stack",
    ("kept_share_not_squared", "p = (1.0 - eta) ** 2", "p = 1.0 - eta"),
    ("spread_without_gamma", "rho ** (2 * layer) / gamma)", "rho ** (2 * layer))"),
    ("overlap_not_over_n", "+ (mixing * e) ** 2) / count", "+ (mixing * e) ** 2)"),
    ("others_counted_with_the_own_cluster", "others = (batch_size - cluster_size) / cluster_size",
     "others = batch_size / cluster_size"),
    ("mass_of_the_largest_cluster", "batch_size = int(sizes.min())", "batch_size = int(sizes.max())"),
    ("cross_growth_forgotten", "t = p * b + 1.0 - p", "t = p * b"),
)  # fmt: skip

LOSS_CERTIFICATE = bugs_in(
    "theory/loss_certificate.py", "theory/loss_certificate",
    ("row_certified_by_the_mean", "* float(count), LN2)", "* 1.0, LN2)"),
    ("divergence_of_weak_rows", "xlogy(s, 2.0 * s / (1.0 + s))", "xlogy(s, 2.0 * s / (2.0 + s))"),
    ("certificate_of_ten_halvings", "BISECTIONS = 60", "BISECTIONS = 10"),
    ("sharpest_row_for_the_mean", "1.0 - rows.mean(axis=0)", "1.0 - rows.max(axis=0)"),
)  # fmt: skip

EXACT_REPLAY = bugs_in(
    "theory/judging/exact_replay.py", "theory/judging/exact_replay",
    ("replay_mixes_the_wrong_way_round", "(1 - mixing) * x + mixing * y", "mixing * x + (1 - mixing) * y"),
)  # fmt: skip

BUGS = (
    *NOISE_CEILING, *CERTIFIED_COSINES, *ALPHA_NEEDED, *PROVED_EVENT, *PAIR_COUNTS, *PERSISTENCE, *NOISE_FREE,
    *PAIR_LAW, *MEASUREMENTS, *TRAJECTORY, *TILED_MEASUREMENTS, *SUBSPACES,
    *AFFINITY, *BLOCK_MODEL, *SOFTMAX_FUSION, *LOSS_CERTIFICATE,
    *EXACT_REPLAY,
)  # fmt: skip

"""Bugs in the batch floor (Theorem 2c): connectivity, the sphere, its two noises, denoising."""

from tests.mutants.bugs import bugs_in

BATCH_FLOOR = bugs_in(
    "theory/batch_floor.py", "theory/batch_floor synthetic/sweep_batch",
    ("missing_pairs_not_budgeted", "log_share(delta, 4 * within)", "log_share(delta, within)"),
    ("bounded_radius_turned_twice", "min_principal_angle - 4.0 * np.arcsin(noise_level)",
     "min_principal_angle - 2.0 * np.arcsin(noise_level)"),
    ("bounded_connection_turned_twice", "min_principal_angle - 4.0 * turn", "min_principal_angle - 2.0 * turn"),
    ("delta_not_shared_by_clusters", "1.0 - 1e-15), radius, delta / count)", "1.0 - 1e-15), radius, delta)"),
    ("gaussian_delta_not_split", "max(float(radius), 0.0), delta / (4 * count))",
     "max(float(radius), 0.0), delta / count)"),
)  # fmt: skip

LIMIT = bugs_in(
    "theory/denoising.py", "theory/batch_floor_tails",
    ("residual_limit_without_the_root", "np.sqrt(norm_floor_squared(min_within_cos, max_cluster_size))",
     "norm_floor_squared(min_within_cos, max_cluster_size)"),
)  # fmt: skip

DENOISING = bugs_in(
    "theory/denoising.py", "theory/batch_floor_tails theory/batch_floor",
    ("own_noise_tail_of_one_point", "tail(2 * clusters * largest)", "tail(2 * clusters)"),
    ("own_noise_tail_of_the_smallest_cluster", "tail(2 * clusters * largest)", "tail(2 * clusters * smallest)"),
    ("own_noise_tail_of_half_the_points", "tail(2 * clusters * largest)", "tail(clusters * largest)"),
    ("norm_tail_of_one_cluster", "averaged * (norm + tail(2 * clusters))\n    return",
     "averaged * (norm + tail(2))\n    return"),
    ("tail_of_the_wrong_variance", "np.sqrt(2.0 * np.log(ways / delta) / dim)", "np.sqrt(np.log(ways / delta) / dim)"),
    ("noise_averaged_over_too_many", "(smallest - 2) * kappa", "smallest * kappa"),
    ("noise_averaged_over_the_largest_cluster", "(smallest - 2) * kappa", "(largest - 2) * kappa"),
    ("share_of_averaged_noise_without_its_root", "/ np.sqrt(1.0 + (smallest", "/ (1.0 + (smallest"),
    ("own_share_of_the_noise_swapped", "own = (1.0 - mixing) ** float(depth)", "own = mixing ** float(depth)"),
    ("own_share_after_one_block_more", "own = (1.0 - mixing) ** float(depth)",
     "own = (1.0 - mixing) ** (depth + 1.0)"),
    ("norm_of_the_smallest_cluster", "np.sqrt(largest / dim)", "np.sqrt(smallest / dim)"),
)  # fmt: skip

# What is counted of the tables of neighbours.
TERMS = bugs_in(
    "theory/lemmas/connectivity.py",
    "theory/lemmas/connectivity_terms theory/lemmas/connectivity_regions theory/lemmas/connectivity",
    ("share_of_the_first_neighbour_not_halved", "closer + (better + mass.sum(axis=-1, keepdims=True)) / 2.0 + total",
     "closer + better + mass.sum(axis=-1, keepdims=True) / 2.0 + total"),
    ("other_side_need_not_be_empty", "closer + (better + mass.sum(axis=-1, keepdims=True)) / 2.0 + total",
     "closer + better / 2.0 + total"),
    ("lens_forgotten_beside_one_neighbour", "        closer + (better + mass", "        (better + mass"),
    ("lens_forgotten_beside_two_neighbours", "        closer + (better[:, one]", "        (better[:, one]"),
    ("reach_forgotten", "keepdims=True)) / 2.0 + total,", "keepdims=True)) / 2.0,"),
    ("better_neighbours_of_two_counted_twice", "(better[:, one] + better[:, two]) / 2.0 + joint",
     "(better[:, one] + better[:, two]) + joint"),
    ("better_neighbours_counted_twice", "(better + mass.sum(axis=-1, keepdims=True)) / 2.0",
     "(better + mass.sum(axis=-1, keepdims=True))"),
    ("one_sided_term_forgotten", "return self.one_sided(m, until) + self.two_sided", "return self.two_sided"),
    ("two_sided_term_forgotten", "return self.one_sided(m, until) + self.two_sided(m, until)",
     "return self.one_sided(m, until)"),
    ("isolated_points_forgotten", "self.alone(num_points, until) + self.neighbours", "self.neighbours"),
    ("choices_of_x_forgotten", "np.exp(np.log(size - 1.0) - _times(size - 2.0, rate))",
     "np.exp(-_times(size - 2.0, rate))"),
    ("one_point_too_many_misses_the_lens", "np.exp(np.log(size - 1.0) - _times(size - 2.0, rate))",
     "np.exp(np.log(size - 1.0) - _times(size - 1.0, rate))"),
    ("one_point_too_many_misses_two_regions", "np.log(size - 2.0) - _times(size - 3.0, rate)",
     "np.log(size - 2.0) - _times(size - 2.0, rate)"),
    ("one_point_too_many_misses_three_regions", "_times(size - 4.0, rate)", "_times(size - 3.0, rate)"),
    ("pairs_counted_once", "np.log(size - 1.0) + np.log(size - 2.0)", "np.log(size - 1.0)"),
    ("triples_counted_as_pairs", "3.0 * np.log(size - 2.0)", "2.0 * np.log(size - 2.0)"),
    ("cap_of_the_other_kind", "    cap = sheets * float(cap_measure(subspace_dim, radius))\n    return",
     "    cap = float(cap_measure(subspace_dim, radius))\n    return"),
    ("squared_distances_counted_once", "squared, d, sheets * w * distance_density", "squared, d, w * distance_density"),
)  # fmt: skip

# The tables themselves: which neighbours there are, and what they reach.
TABLES = bugs_in(
    "theory/lemmas/connectivity.py",
    "theory/lemmas/connectivity_regions theory/lemmas/connectivity_terms theory/lemmas/connectivity",
    ("pair_shares_over_four", "mass[:, two] / 2.0 * np.where", "mass[:, two] / 4.0 * np.where"),
    ("pairs_in_one_group_counted_twice", "np.where(one == two, 0.5, 1.0)", "np.where(one == two, 1.0, 1.0)"),
    ("full_sum_of_reaches", "np.maximum(joint, side[:, one] + other[:, two])", "total[:, one] + total[:, two]"),
    ("no_guard_at_45_degrees", "if not squared or radius <= np.pi / 4:", "if True:"),
    ("other_side_holds_all", "else total / 2.0", "else total"),
    ("smallest_reach_first", "order = np.argsort(-total", "order = np.argsort(total"),
    ("squared_neighbours_counted_once", "shares = (2.0 if squared else 1.0) * shares", "shares = 1.0 * shares"),
    ("closer_neighbours_taken_for_farther", "first = arccos(np.tan(p / 2.0) / np.tan(distance))[..., 0]",
     "first = 0.0 * arccos(np.tan(p / 2.0) / np.tan(distance))[..., 0]"),
)  # fmt: skip

CIRCLE = bugs_in(
    "theory/lemmas/connectivity.py", "theory/lemmas/connectivity_circle theory/lemmas/connectivity",
    ("stevens_without_the_minus_one", "(-1) ** j * (j - 1)", "(-1) ** j * j"),
    ("stevens_of_a_point_more", "max(1 - j * share, 0) ** (m - 1)", "max(1 - j * share, 0) ** m"),
    ("stevens_ends_a_term_early", "for j in range(2, count + 1)\n        )", "for j in range(2, count)\n        )"),
    ("two_gaps_halved", "float(0.5 * np.exp(np.log(size)", "float(0.25 * np.exp(np.log(size)"),
    ("two_gaps_on_half_the_circle", "np.pi / 2 if squared else np.pi)", "np.pi if squared else 2 * np.pi)"),
)  # fmt: skip

MARGINS = (
    *bugs_in(
        "theory/batch_floor.py", "theory/lemmas/connectivity",
        ("one_margin_for_both_descents", "delta / bounds.round_up(delta)", "delta / ROUND_UP"),
    ),
    *bugs_in(
        "theory/lemmas/connectivity.py", "theory/lemmas/connectivity",
        ("small_targets_as_large_ones", "TARGET_POWER = 1e-6, 0.02", "TARGET_POWER = 1e-6, 0.0"),
    ),
)  # fmt: skip

SPHERE = bugs_in(
    "theory/sphere.py", "theory/sphere_closed_forms theory/sphere theory/lemmas/connectivity_regions",
    ("cap_in_the_wrong_dimension", "betainc((subspace_dim - 1) / 2, 0.5, np.sin",
     "betainc(subspace_dim / 2, 0.5, np.sin"),
    ("lens_two_percent_too_large", "near = cap_intersection(subspace_dim, distance, radius, distance)",
     "near = cap_intersection(subspace_dim, distance, 1.02 * radius, distance)"),
    ("squared_lens_of_one_representative", "return 2.0 * (near + cap_intersection(",
     "return (near + cap_intersection("),
    ("reach_on_both_sides", "np.minimum(share, 0.5)", "share"),
    ("reach_includes_the_neighbours_of_x", "low = np.maximum(azimuth(radius, q, distance), turn - spread)",
     "low = np.maximum(0.0, turn - spread)"),
    ("squared_reach_of_one_representative", "return 2.0 * (near[0] + rest[0]), 2.0 * (near[1] + rest[1])",
     "return 2.0 * near[0], 2.0 * near[1]"),
    ("lateral_sphere_of_a_dimension_more", "cap_measure(subspace_dim - 2, chi)",
     "cap_measure(subspace_dim - 1, chi)"),
    ("distance_density_in_the_wrong_dimension", "np.exp((subspace_dim - 2) * np.log(sine)",
     "np.exp((subspace_dim - 1) * np.log(sine)"),
)  # fmt: skip

SEARCHES = (
    *bugs_in("theory/numerics/floor_search.py", "theory/numerics/floor_search theory/batch_floor",
             ("floor_of_the_first_crossing", "_first(partial(enough, np.inf))", "_first(lambda m: enough(m, m))"),
             ("floor_a_point_too_small", "    return bisect(enough, low, high)[1]\n",
              "    return max(bisect(enough, low, high)[1] - 1, 2)\n"),
             ("settled_on_the_last_that_is_not", "high == smallest else bisect(proved, low, high)[1]",
              "high == smallest else bisect(proved, low, high)[0]"),
             ("search_only_up", "        while high > smallest:", "        while high < smallest:"),
             ("search_ends_early", "while high - low > 1:", "while high - low > 4:"),
             ("ranges_not_walked_down", "while floor > 2:", "while floor > 10**9:")),
    *bugs_in("theory/lemmas/simulated_floor.py", "theory/batch_floor theory/lemmas/connectivity",
             ("simulated_floor_without_confidence", "<= 1.0 - CONFIDENCE", "<= CONFIDENCE"),
             ("simulated_radius_doubled", "> np.cos(radius)", "> np.cos(2.0 * radius)")),
)  # fmt: skip

BUGS = (*LIMIT, *BATCH_FLOOR, *DENOISING, *TERMS, *TABLES, *CIRCLE, *MARGINS, *SPHERE, *SEARCHES)

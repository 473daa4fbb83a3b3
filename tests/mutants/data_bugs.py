"""Bugs in the propositions about given rows: the law of a random batch, the floor of counts, certified means."""

from tests.mutants.bugs import bugs_in

LAW = (
    *bugs_in(
        "theory/batch_law.py",
        "theory/batch_law",
        (
            "row_counts_itself",
            "            if rows.member:\n                h[i] = 0.0",
            "            if False:\n                h[i] = 0.0",
        ),
        (
            "partner_drawn_like_others",
            "units = np.delete(sums, row_class)",
            "units = np.append(np.delete(sums, row_class), 0.0)",
        ),
        ("partner_forgotten", "draws, sums[row_class] + itself", "draws, itself"),
        (
            "strata_of_no_class",
            'strata = kind.index if kind.kind == "balanced" else',
            'strata = kind.index if kind.kind == "none" else',
        ),
        ("foreign_by_own", "np.count_nonzero(h[~own])", "np.count_nonzero(h[own])"),
    ),
    *bugs_in(
        "theory/lemmas/drawn_rows.py",
        "theory/batch_law_rounding theory/lemmas/binned_rows theory/batch_law",
        ("jensen_with_the_row_itself", "rest[stratum] * (masses[stratum] - h)", "rest[stratum] * masses[stratum]"),
        (
            "one_draw_too_many",
            "rest = np.maximum(m - 1, 0) / np.maximum(sizes - 1, 1)",
            "rest = m / np.maximum(sizes - 1, 1)",
        ),
        (
            "transform_of_one_draw_more",
            "np.maximum(m - 1, 0)[stratum, None] * log_others",
            "m[stratum, None] * log_others",
        ),
        ("mean_with_the_unit_itself", "sums[stratum] - decay, 0.0)", "sums[stratum] - 0.0 * decay, 0.0)"),
        ("zeros_left_out_of_the_mean", "+ (sizes - degree)[:, None]", "+ 0.0 * (sizes - degree)[:, None]"),
        ("present_weight_not_in_the_rest", "log_all = m @ log_means - present * rule.nodes", "log_all = m @ log_means"),
        (
            "sides_crossed",
            "1.0 - self.empty[1] - self.outside[1] - error",
            "1.0 - self.empty[1] - self.outside[0] - error",
        ),
        ("caps_exchanged", "missing_all(sizes, degree - hits, m)", "missing_all(sizes, hits, m)"),
        ("empty_of_one_draw_less", "gammaln(sizes - draws + 1.0)", "gammaln(sizes - draws + 2.0)"),
    ),
    *bugs_in(
        "theory/numerics/laplace_rule.py",
        "theory/numerics/laplace_rule theory/lemmas/binned_rows",
        ("error_of_one_side", "return float(2.0 * np.exp", "return float(1.0 * np.exp"),
        (
            "first_nodes_forgotten",
            "self.step * self.nodes[0] / math.expm1(self.step)",
            "0.0 * self.step * self.nodes[0]",
        ),
        (
            "last_nodes_forgotten",
            "np.maximum((1.0 + self.error) / times - kernel.sum(axis=-1), 0.0)",
            "0.0 * kernel.sum(axis=-1)",
        ),
        ("times_not_in_the_tail", "(1.0 + self.error) / times - kernel", "(1.0 + self.error) * 1.0 - kernel"),
    ),
    *bugs_in(
        "theory/lemmas/binned_rows.py",
        "theory/batch_law_rounding theory/lemmas/binned_rows theory/batch_law",
        ("chord_not_raised", "np.cosh(0.25 * np.log(np.where(steep, 1.0, ratio))) ** 2", "1.0"),
        ("units_below_the_cut_come_off", "_at_edges(counts, np.where(kink, 0.0, below))", "_at_edges(counts, below)"),
        (
            "reach_turned_round",
            "low_values, high_values = weight.value(edges - bins.reach), weight.value(edges + bins.reach)",
            "high_values, low_values = weight.value(edges - bins.reach), weight.value(edges + bins.reach)",
        ),
        ("jensen_of_the_wrong_side", "if high == weight.convex:", "if high != weight.convex:"),
        ("square_forgotten", "(constant * plain + square * cubed)", "(constant * plain)"),
        ("slope_of_the_tangent", "further * out + 2.0 * square, 0.0)", "further * out + 3.0 * square, 0.0)"),
        ("idle_rows_forgotten", "+ np.maximum(idle, 0.0)[..., None]", "+ 0.0 * np.maximum(idle, 0.0)[..., None]"),
        (
            "rest_with_all_draws",
            "apart = pool.present[1] + elsewhere[s] + rest[s] * masses[s]",
            "apart = pool.present[1] + elsewhere[s]",
        ),
        ("caps_of_every_class", "none(possible * ~pool.own)", "none(possible * pool.own)"),
    ),
    *bugs_in(
        "theory/lemmas/cosine_bins.py",
        "theory/batch_law_rounding theory/lemmas/binned_rows theory/batch_law",
        (
            "own_row_in_the_histogram",
            "counts[group, r, cells[column]] -= 1.0",
            "counts[group, r, cells[column]] -= 0.0",
        ),
        ("others_with_the_own_class", "counts[1, r] -= counts[0, r]", "counts[1, r] -= 0.0 * counts[0, r]"),
        ("pair_present_twice", "present = 0.5 * (weight.value(partner", "present = 1.0 * (weight.value(partner"),
        ("exact_single_precision", "rounding = (dim + 4) * UNIT_ROUND_OFF[dtype_name(dtype)]", "rounding = 0.0 * dim"),
        (
            "rows_left_in_class_order",
            "result.setdefault(name, np.zeros(shape, value.dtype))[..., which] = value",
            "result.setdefault(name, np.zeros(shape, value.dtype))[..., start : start + len(which)] = value",
        ),
    ),
    *bugs_in(
        "theory/lemmas/batch_weights.py",
        "theory/batch_law_rounding theory/lemmas/binned_rows theory/batch_law",
        (
            "one_more_row_in_the_pool",
            "np.array([self.num_points - member]), (n - 1)",
            "np.array([self.num_points]), (n - 1)",
        ),
        (
            "own_class_draws_as_many",
            "(n // len(self.sizes))[:, None] - own",
            "(n // len(self.sizes))[:, None] - 0 * own",
        ),
        (
            "cut_of_no_precision",
            'return Weight("relu", float(effective_threshold(self.threshold, dtype)), self.power)',
            'return Weight("relu", self.threshold, self.power)',
        ),
    ),
)

FLOOR = bugs_in(
    "theory/neighbour_floor.py",
    "theory/neighbour_floor",
    (
        "own_row_is_a_hit",
        "- np.diagonal(above[:, start - own.start :])",
        "- 0 * np.diagonal(above[:, start - own.start :])",
    ),
    ("n_draws_beside_the_row", "values, n - 1), 0.0, 1.0)[index]", "values, n), 0.0, 1.0)[index]"),
    ("k_neighbours_are_too_few", "hypergeom.cdf(k - 1,", "hypergeom.cdf(k,"),
    (
        "floor_before_it_holds",
        "    return high\n\n\n@half_as_float64\ndef neighbour_floor",
        "    return low\n\n\n@half_as_float64\ndef neighbour_floor",
    ),
    ("none_only_of_no_hits", "np.count_nonzero(found < k) /", "np.count_nonzero(found < 1) /"),
    ("large_pools_as_small_ones", "round_off(len(found) - 1)", "1e-10"),
    ("hits_in_class_order", "return layout.unsort_rows(np.concatenate(hits))", "return np.concatenate(hits)"),
)

MEANS = bugs_in(
    "theory/certified_mean.py",
    "theory/certified_mean",
    ("divergence_without_round_off", " + DIVERGENCE_ERROR", ""),
    ("two_sided_level", "-math.log(float(delta)) / count", "-math.log(2.0 * float(delta)) / count"),
    (
        "divergence_turned_round",
        "bernoulli_divergence(mean, middle) <= allowed",
        "bernoulli_divergence(middle, mean) <= allowed",
    ),
    (
        "batches_counted_as_blocks",
        "divergence_floor(average, num_rows // batch_size, delta)",
        "divergence_floor(average, num_rows, delta)",
    ),
    ("both_steps_at_full_level", "delta = 0.5 * float(delta)", "delta = 1.0 * float(delta)"),
    (
        "sequence_does_not_stop",
        "return int(missed[0]) if missed.size else len(found)",
        "return len(found) - len(missed)",
    ),
    ("influence_of_shares_alone", "psi = shares - shares.mean() + reached", "psi = shares - shares.mean()"),
    ("influence_one_sided", "reached -= (shares[rows] * inverse) @ h", "reached -= 0.0 * (shares[rows] * inverse) @ h"),
    ("influence_not_over_root_n", "/ math.sqrt(psi.size)", "/ 1.0"),
)

BUGS = (*LAW, *FLOOR, *MEANS)

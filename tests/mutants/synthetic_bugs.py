"""Bugs in synthetic/: how batches are drawn, measured and kept."""

from tests.mutants.bugs import SWEEP, bugs_in

CELLS = bugs_in(
    "synthetic/batches/cell.py", "synthetic/sweeps/noise_cells synthetic/sweep_noise",
    ("seeds_shared_across_cells", "self.seed, self.index, trials, stream)", "self.seed, 0, trials, stream)", SWEEP),
    ("last_trial_dropped", "min(start + chunk, self.trials))", "min(start + chunk, self.trials - 1))", SWEEP),
    ("noise_drawn_from_the_points", "(seeding.POINTS, seeding.NOISE)", "(seeding.POINTS, seeding.POINTS)", SWEEP),
)  # fmt: skip

GEOMETRY = bugs_in(
    "synthetic/batches/geometry.py", "synthetic/sweeps/noise_cells synthetic/sweep_noise",
    ("first_theorem_on_orthogonal_subspaces", 'arrangement="random"', 'arrangement="orthogonal"', SWEEP),
    ("clean_cosine_of_the_farthest_subspaces", "largest = max(float(", "largest = min(float("),
)  # fmt: skip

MEASURED = bugs_in(
    "synthetic/sweeps/noise_cells.py", "synthetic/sweeps/noise_cells synthetic/audit/rows synthetic/sweep_noise",
    ("counterexample_of_another_trial", "return self.cell.points([trial])[0]", "return self.cell.points([0])[0]"),
    ("hypotheses_of_the_last_layer", "trajectory.alpha[0], trajectory.beta[0]\n    return CellResult",
     "trajectory.alpha[-1], trajectory.beta[-1]\n    return CellResult", SWEEP),
    ("spread_judged_with_another_mixing", '"mixing": cell.mixing', '"mixing": 1.0 - cell.mixing', SWEEP),
    ("stack_without_the_threshold", "cell.depth, cell.threshold, cell.mixing, condition=condition",
     "cell.depth, 0.0, cell.mixing, condition=condition", SWEEP),
    ("every_batch_taken_for_distinct", "suspects, len(seen))", "suspects, cell.trials)"),
    ("batches_not_told_apart", "batch[[0, -1]].tobytes()", "batch[0].tobytes()[:0]", SWEEP),
)  # fmt: skip

SEEDING = bugs_in(
    "synthetic/batches/seeding.py", "synthetic/batches/seeding synthetic/sweeps/noise_cells",
    ("each_trial_drawn_twice", "generator(seed, cell, trial, stream)", "generator(seed, cell, trial // 2, stream)",
     SWEEP),
    ("streams_not_told_apart", "[seed, *key]", "[seed, *key[:-1]]", SWEEP),
)  # fmt: skip

NOISE = bugs_in(
    "synthetic/batches/noise.py", "synthetic/batches/noise",
    ("noise_by_the_batch_size", "noise_level / np.sqrt(dim)", "noise_level / np.sqrt(n)", SWEEP),
    ("radius_not_uniform_in_the_ball", "** (1.0 / dim)", "** 1.0"),
    ("worst_case_off_its_great_circle", "np.cos(turn) * (np.cos(turn) * point + step)", "np.cos(turn) * point + step"),
    ("worst_case_not_turned_by_arcsin", "pair_within, np.arcsin(noise_level)", "pair_within, noise_level"),
    ("worst_case_of_the_wrong_pair", "cosines[cross].max() - 1e-12", "cosines[cross].min() - 1e-12"),
)  # fmt: skip

UNION_OF_SUBSPACES = bugs_in(
    "synthetic/batches/union_of_subspaces.py", "synthetic/batches/union_of_subspaces",
    ("cones_twice_as_wide", "np.arccos(min_within_cos) / 2.0", "np.arccos(min_within_cos)", SWEEP),
    ("extreme_cosine_not_attained", "-tangent[:, first]", "tangent[:, first]", SWEEP),
    ("equiangular_not_equiangular", "vectors[:, keep] * np.sqrt(values[keep])", "vectors[:, keep] * values[keep]",
     SWEEP),
    ("principal_angles_squared", "np.sqrt(cosine) * blocks[0]", "cosine * blocks[0]"),
    ("uniform_points_not_on_the_sphere", "_embed(unit_points(weights), bases, sizes)", "_embed(weights, bases, sizes)"),
)  # fmt: skip

BOUNDARIES = bugs_in(
    "synthetic/measure/boundaries.py", "synthetic/measure/boundaries",
    ("crossing_interpolated_from_the_wrong_end", "share = (rates[i - 1] - goal)", "share = (goal - rates[i])", SWEEP),
    ("rates_not_monotone", "isotonic_regression(rates, increasing=False).x", "np.asarray(rates, dtype=float)", SWEEP),
    ("crossing_not_in_the_logarithm", "np.exp(-falling_crossing(-np.log(sizes)[::-1]",
     "(-falling_crossing(-sizes[::-1]"),
)  # fmt: skip

RECORDS = bugs_in(
    "synthetic/runs/records.py", "synthetic/runs/records synthetic/sweep_noise",
    ("half_a_cell_taken_for_whole", "counts.get(cell, 0) == count", "counts.get(cell, 0) <= count"),
    ("rows_in_order_of_arrival", 'sorted([*self.rows, row], key=lambda r: r["cell"])', "[*self.rows, row]"),
)  # fmt: skip

RUN_FOLDER = bugs_in(
    "models/run_folder.py", "models/run_folder synthetic/runs/records",
    ("another_configuration_resumed", "        elif one != other:", "        elif name not in first:"),
)  # fmt: skip

EVALUATION = bugs_in(
    "synthetic/training/evaluation.py", "synthetic/training/training synthetic/train_stack",
    ("certificate_of_half_the_loss", "certified_sharpness(loss))[0]", "certified_sharpness(0.5 * loss))[0]"),
    ("quantile_of_the_best_cross_pairs", "(found.cross, 1.0 - LEVEL)", "(found.cross, LEVEL)"),
    ("nearest_neighbour_is_the_other_view", "cosines.masked_fill(own, -2.0).argmax(-1)", "cosines.argmax(-1)"),
)  # fmt: skip

BUGS = (
    *CELLS,
    *GEOMETRY,
    *MEASURED,
    *SEEDING,
    *NOISE,
    *UNION_OF_SUBSPACES,
    *BOUNDARIES,
    *RECORDS,
    *RUN_FOLDER,
    *EVALUATION,
)

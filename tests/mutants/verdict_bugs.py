"""Bugs in what judges: theory/verdicts.py, and the rows, guarantees and verdicts of the sweeps."""

from tests.mutants.bugs import SWEEP, bugs_in

VERDICTS = bugs_in(
    "theory/verdicts.py", "theory/verdicts synthetic/sweep_noise",
    ("interval_of_twice_the_tail", "tail = (1.0 - confidence) / 2.0", "tail = 1.0 - confidence", SWEEP),
    ("lower_limit_of_a_success_more", "betaincinv(successes, trials - successes + 1, tail)",
     "betaincinv(successes + 1, trials - successes, tail)", SWEEP),
    ("upper_limit_of_a_success_less", "betaincinv(successes + 1, trials - successes, 1.0 - tail)",
     "betaincinv(successes, trials - successes + 1, 1.0 - tail)", SWEEP),
    ("holds_at_lower_confidence", "clopper_pearson(failures, trials, 0.90)[1]",
     "clopper_pearson(failures, trials, 0.10)[1]", SWEEP),
    ("holds_by_the_rate", "Status.HOLDS if high <= delta", "Status.HOLDS if rate <= delta", SWEEP),
    ("violated_at_twice_delta", "Status.VIOLATED if low > delta", "Status.VIOLATED if low > 2 * delta", SWEEP),
    ("least_serious_status_wins", "min((v.status for v in verdicts), key=SEVERITY.index)",
     "max((v.status for v in verdicts), key=SEVERITY.index)", SWEEP),
    ("bound_with_a_tolerance", "~close & ~(measured <= bound)", "~close & ~(measured <= bound + 0.01)", SWEEP),
    ("infinity_never_violates", "close &= finite & (not discrete)", "close |= ~finite", SWEEP),
    ("nan_is_let_through", "    reject_nan(measured=measured, bound=bound)\n", "\n"),
    ("near_ties_settled_leniently", "if not margin >= -EXACT_EQUALITY", "if not margin >= -1e-3"),
)  # fmt: skip

REPORT = bugs_in(
    "synthetic/report.py", "synthetic/sweep_noise",
    ("recovery_of_the_first_layer_only", "trajectory.recovered.all(axis=0)", "trajectory.recovered[0]", SWEEP),
    ("false_alarms_not_shared", "1.0 - FALSE_ALARM / len(guaranteed)", "1.0 - FALSE_ALARM", SWEEP),
    ("persistence_judged_by_separation", '"persistence": "admits_threshold"', '"persistence": "separated"', SWEEP),
    ("worst_cell_may_be_twice_delta", "worst.measured <= delta else", "worst.measured <= 2 * delta else", SWEEP),
    ("rate_promised_by_the_best_trial", "trajectory.alpha[0].min()), float(trajectory.beta[0].max())",
     "trajectory.alpha[0].max()), float(trajectory.beta[0].max())", SWEEP),
    ("recovery_guaranteed_at_any_threshold", "persists and recommended", "persists"),
    ("boundary_at_delta", "falling_crossing(levels, rates, 1.0 - delta)", "falling_crossing(levels, rates, delta)",
     SWEEP),
)  # fmt: skip

GRID = bugs_in(
    "synthetic/grid.py", "synthetic/sweep_noise",
    ("threshold_of_the_level_before", "_threshold(settings, laws[dim, n], float(level))",
     "_threshold(settings, laws[dim, n], float(levels[max(list(levels).index(level) - 1, 0)]))", SWEEP),
    ("threshold_of_the_first_group", "_threshold(settings, laws[dim, n],",
     "_threshold(settings, laws[dim, settings.batch_sizes[0]],", SWEEP),
    ("guaranteed_a_tenth_too_far", "(level <= ceiling if noise", "(level <= 1.1 * ceiling if noise", SWEEP),
    ("ceilings_swapped", "Ceilings(gaussian_separation(*law), gaussian_persistence(*law))",
     "Ceilings(gaussian_persistence(*law), gaussian_separation(*law))", SWEEP),
)  # fmt: skip

ONE_BLOCK = bugs_in(
    "synthetic/one_block.py", "synthetic/one_block synthetic/sweep_batch",
    ("false_edges_a_little_above_the_cut", "as_numpy(beta > cut)", "as_numpy(beta > cut + 0.02)"),
    ("failed_by_both_at_once", "np.flatnonzero(false | pieces)", "np.flatnonzero(false & pieces)"),
    ("complete_clusters_a_little_below_the_cut", "~(alpha > cut)", "~(alpha > cut - 0.05)"),
)  # fmt: skip

SWEEP_BATCH = bugs_in(
    "synthetic/sweep_batch.py", "synthetic/sweep_batch",
    ("exact_rate_of_one_cluster", "** group.model.num_clusters", "** 1"),
)  # fmt: skip

DENOISING = bugs_in(
    "synthetic/denoising.py", "synthetic/sweep_batch theory/batch_floor",
    ("clean_points_decide", "block.attend(both[:, :dim])", "block.attend(both[:, dim:])"),
    ("denoising_failures_not_counted", "sum(bool(noise > bound) for", "sum(bool(noise > 2.0 * bound) for"),
    ("kappa_without_the_threshold", "(alpha - threshold) / (1.0 - threshold)", "alpha"),
)  # fmt: skip

BUGS = (*VERDICTS, *REPORT, *GRID, *ONE_BLOCK, *SWEEP_BATCH, *DENOISING)

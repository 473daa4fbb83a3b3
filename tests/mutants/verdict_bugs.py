"""Bugs in what judges: verdicts, rates, and the rows, guarantees and verdicts of the sweeps."""

from tests.mutants.bugs import SWEEP, bugs_in

RATES = bugs_in(
    "theory/judging/rates.py", "theory/judging/verdicts synthetic/sweeps/noise_report",
    ("interval_of_twice_the_tail", "tail = (1.0 - confidence) / 2.0", "tail = 1.0 - confidence", SWEEP),
    ("lower_limit_of_a_success_more", "betaincinv(successes, trials - successes + 1, tail)",
     "betaincinv(successes + 1, trials - successes, tail)", SWEEP),
    ("upper_limit_of_a_success_less", "betaincinv(successes + 1, trials - successes, 1.0 - tail)",
     "betaincinv(successes, trials - successes + 1, 1.0 - tail)", SWEEP),
    ("holds_at_lower_confidence", "pool.confirmation(delta) <= UNSEEN", "pool.confirmation(delta) <= 0.4", SWEEP),
    ("holds_by_the_rate", "pool.confirmation(delta) <= UNSEEN", "pool.rate <= delta", SWEEP),
    ("one_pool_confirms_all", "all(pool.confirmation(delta)", "any(pool.confirmation(delta)", SWEEP),
    ("violated_at_twice_delta", "cell.excess(delta) <= FALSE_ALARM / len(tests)",
     "cell.excess(2.0 * delta) <= FALSE_ALARM / len(tests)", SWEEP),
    ("false_alarms_not_shared", "FALSE_ALARM / len(tests)", "FALSE_ALARM", SWEEP),
    ("only_pools_can_contradict", "tests = [*cells, *_pools(cells)]", "tests = _pools(cells) or [*cells]", SWEEP),
    ("worst_cell_may_be_twice_delta", "if confirmed and not doubtful else", "if confirmed else", SWEEP),
    ("doubts_not_shared", "cell.excess(delta) <= DOUBT / len(cells)", "cell.excess(delta) <= DOUBT", SWEEP),
    ("places_counted_once_a_promise",
     "places[cell.place] = max(places.get(cell.place, cell), cell, key=lambda c: c.failures)",
     "places[cell.place, cell.claim] = cell", SWEEP),
    ("place_counted_by_its_best_promise", "places[cell.place] = max(places", "places[cell.place] = min(places", SWEEP),
    ("excess_of_a_failure_more", "betainc(self.failures, self.trials - self.failures + 1, delta)",
     "betainc(self.failures + 1, self.trials - self.failures, delta)", SWEEP),
    ("excess_among_the_applicable_only", "betainc(self.failures, self.trials - self.failures + 1, delta)",
     "betainc(self.failures, self.counted - self.failures + 1, delta)"),
    ("confirmation_by_a_failure_less", "betaincc(self.failures + 1, self.counted - self.failures, delta)",
     "betaincc(max(self.failures, 1), self.counted - max(self.failures, 1) + 1, delta)", SWEEP),
    ("trials_outside_the_hypotheses_confirm", "return self.trials if self.applicable is None else self.applicable",
     "return self.trials"),
    ("noticed_rates_swapped", "return min(in_all, default=1.0), max(in_one, default=1.0)",
     "return max(in_one, default=1.0), min(in_all, default=1.0)", SWEEP),
    ("noticed_in_the_largest_cell", "max(in_one, default=1.0)", "min(in_one, default=1.0)", SWEEP),
    ("test_of_counted_trials_alone", "critical = _critical_number(trials, delta, level)",
     "critical = _critical_number(trials if counted is None else counted, delta, level)"),
    ("critical_number_one_too_small", "critical = _critical_number(trials, delta, level)",
     "critical = _critical_number(trials, delta, level) - 1", SWEEP),
)  # fmt: skip

VERDICTS = bugs_in(
    "theory/judging/verdicts.py", "theory/judging/verdicts synthetic/sweep_noise",
    ("least_serious_status_wins", "min((v.status for v in verdicts), key=SEVERITY.index)",
     "max((v.status for v in verdicts), key=SEVERITY.index)", SWEEP),
    ("bound_with_a_tolerance", "~close & ~(measured <= bound)", "~close & ~(measured <= bound + 0.01)", SWEEP),
    ("infinity_never_violates", "close &= finite & (not discrete)", "close |= ~finite", SWEEP),
    ("nan_is_let_through", "    reject_nan(measured=measured, bound=bound)\n", "\n"),
    ("near_ties_settled_leniently", "if not margin >= -EXACT_EQUALITY", "if not margin >= -1e-3"),
)  # fmt: skip

REPORT = bugs_in(
    "synthetic/sweeps/noise_report.py",
    "synthetic/sweeps/noise_report synthetic/audit/rows synthetic/sweep_noise",
    ("recovery_of_the_first_layer_only", "trajectory.recovered.all(axis=0)", "trajectory.recovered[0]", SWEEP),
    ("persistence_judged_by_separation", '"persistence": "admits_threshold"', '"persistence": "separated"', SWEEP),
    ("every_guaranteed_cell_confirms",
     'return AT_CEILING if row["noise_level"] == closest[_group(row, name)] else None', "return AT_CEILING", SWEEP),
    ("quietest_cell_confirms", 'max(closest.get(_group(row, name), 0.0), row["noise_level"])',
     'min(closest.get(_group(row, name), 9.0), row["noise_level"])', SWEEP),
    ("proved_event_in_no_pool", 'return EVENT if row["control"] == PROVED_EVENT else None', "return None", SWEEP),
    ("proved_event_confirmed_on_the_grid", 'return EVENT if row["control"] == PROVED_EVENT', "return EVENT if True",
     SWEEP),
    ("successes_taken_for_failures", 'int(row["trials"]) - int(row[GUARANTEES[name]])', "int(row[GUARANTEES[name]])",
     SWEEP),
    ("rate_promised_by_the_best_trial", "trajectory.alpha[0].min()), float(trajectory.beta[0].max())",
     "trajectory.alpha[0].max()), float(trajectory.beta[0].max())", SWEEP),
    ("recovery_guaranteed_at_any_threshold", "persists and recommended", "persists"),
    ("boundary_at_delta", "falling_crossing(levels, rates, 1.0 - delta)", "falling_crossing(levels, rates, delta)",
     SWEEP),
)  # fmt: skip

GRID = bugs_in(
    "synthetic/sweeps/noise_grid.py", "synthetic/sweeps/noise_grid synthetic/audit/rows",
    ("threshold_of_the_level_before", "laws[dim, n].extremes(settings.noise, float(level))",
     "laws[dim, n].extremes(settings.noise, float(levels[max(list(levels).index(level) - 1, 0)]))", SWEEP),
    ("threshold_of_the_first_group", "laws[dim, n].extremes(",
     "laws[dim, settings.batch_sizes[0]].extremes(", SWEEP),
    ("separation_and_persistence_swapped", "return separation, persistence\n",
     "return persistence, separation\n", SWEEP),
    ("ceilings_of_the_group_not_looked_at", "_with_ceilings(even, ceiling, settings.noise)", "even"),
    ("guaranteed_a_tenth_too_far", "(level <= ceiling if noise", "(level <= 1.1 * ceiling if noise", SWEEP),
    ("ceilings_swapped", "Ceilings(gaussian_separation(*self), gaussian_persistence(*self))",
     "Ceilings(gaussian_persistence(*self), gaussian_separation(*self))", SWEEP),
)  # fmt: skip

ONE_BLOCK = bugs_in(
    "synthetic/measure/one_block.py", "synthetic/measure/one_block synthetic/sweep_batch",
    ("false_edges_a_little_above_the_cut", "as_numpy(beta > cut)", "as_numpy(beta > cut + 0.02)"),
    ("complete_clusters_a_little_below_the_cut", "~(alpha > cut)", "~(alpha > cut - 0.05)"),
)  # fmt: skip

SUBSPACE_MODEL = bugs_in(
    "synthetic/sweeps/subspace_model.py", "synthetic/sweeps/subspace_model synthetic/sweep_batch",
    ("failed_by_both_at_once", "np.flatnonzero(false | pieces)", "np.flatnonzero(false & pieces)"),
)  # fmt: skip

SWEEP_BATCH = bugs_in(
    "synthetic/sweep_batch.py", "synthetic/sweep_batch",
    ("exact_rate_of_one_cluster", "** group.model.num_clusters", "** 1"),
)  # fmt: skip

DENOISING = bugs_in(
    "synthetic/sweeps/denoising.py", "synthetic/sweep_batch theory/batch_floor",
    ("clean_points_decide", "block.attend(both[:, :dim])", "block.attend(both[:, dim:])"),
    ("denoising_failures_not_counted", "sum(bool(noise > bound) for", "sum(bool(noise > 2.0 * bound) for"),
    ("kappa_without_the_threshold", "(alpha - threshold) / (1.0 - threshold)", "alpha"),
)  # fmt: skip

BUGS = (*RATES, *VERDICTS, *REPORT, *GRID, *ONE_BLOCK, *SUBSPACE_MODEL, *SWEEP_BATCH, *DENOISING)

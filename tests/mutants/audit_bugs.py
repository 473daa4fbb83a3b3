"""Bugs in the noise sweep's control cells and in its audit, which must not be blind.

A bug in the audit alone changes no number of a sound run: only the tests can notice it.
"""

from tests.mutants.bugs import SWEEP, bugs_in

CONTROLS = bugs_in(
    "synthetic/sweeps/noise_controls.py", "synthetic/audit/rows synthetic/sweep_noise",
    ("controls_numbered_as_the_grid", "index=first_index + i", "index=i", SWEEP),
    ("controls_take_the_grids_threshold", "recommended_threshold(*extremes, sizes), False",
     "settings.threshold or 0.3, False", SWEEP),
    ("controls_without_what_theory_allows", "settings.seed, extremes, name)", "settings.seed, None, name)", SWEEP),
    ("controls_allowed_twice_their_noise", "law.extremes(settings.noise, level)",
     "law.extremes(settings.noise, 2.0 * level)", SWEEP),
    ("event_control_of_few_trials", "0.5, settings.control_trials)", "0.5, FEW_TRIALS)", SWEEP),
)  # fmt: skip

AUDIT = bugs_in(
    "synthetic/audit/rows.py", "synthetic/audit/rows",
    ("audit_tolerance_of_one", "TOLERANCE = 1e-9", "TOLERANCE = 1.0"),
    ("audit_replays_against_itself", "abs(measured - plain[name])", "abs(measured - measured)"),
    ("audit_replays_one_layer", "for _ in range(cell.depth + 1):\n        key", "for _ in range(1):\n        key"),
    ("audit_replays_without_mixing", "(1.0 - cell.mixing) * x + cell.mixing * share @ x, x)", "x, x)"),
    ("audit_compares_no_counts", "if row[name] != count", "if count < 0"),
    ("audit_knows_no_other_shape", "getattr(trajectory, name).shape != expected]", "trajectory is None]"),
    ("audit_takes_batches_for_distinct", "result.distinct != cell.trials and not few", "False"),
    ("audit_believes_promises", "rtol=0.0, atol=TOLERANCE, equal_nan=True)", "rtol=0.0, atol=9.0, equal_nan=True)"),
    ("audit_does_not_hold_promises_against_layers", 'layer["alpha_min"] < rate - TOLERANCE',
     'layer["alpha_min"] < rate - 1.0'),
    ("audit_believes_the_rows", "if row[name] != value]", "if value is None]"),
    ("audit_forgets_missing_cells", "!= [cell.index for cell in cells]:", "== []:"),
    ("audit_forgets_the_cells_complaints", 'for row in rows if row["audit"] != "passed"]',
     'for row in rows if row["audit"] == ""]'),
    ("audit_believes_holds", "bdtr(failures, trials, delta) <= 0.05]", "bdtr(failures, trials, delta) <= 1.0]"),
)  # fmt: skip

PLAN = bugs_in(
    "synthetic/audit/plan.py", "synthetic/audit/plan synthetic/audit/rows",
    ("audit_looks_at_the_streams_of_one_cell", "for cell in cells:\n        trials",
     "for cell in cells[:1]:\n        trials"),
    ("audit_counts_no_streams", "len(streams) == count else", "len(streams) <= count else"),
    ("audit_believes_the_threshold", "abs(cell.threshold - expected)", "abs(expected - expected)"),
    ("audit_believes_guarantees", "if promised and not kept:", "if promised and None:"),
    ("audit_forgives_budgets", "- 1.0) <= TAIL_ERROR", "- 1.0) <= 10.0"),
    ("audit_forgives_low_ceilings", "and room > AT_CEILING", "and room > 2.0"),
    ("audit_forgets_the_controls", "    if events != expected:", "    if not expected and events:"),
    ("audit_of_the_plan_asks_no_rules", "*theorem_complaints(), *rule_complaints(settings.delta)]",
     "*theorem_complaints()]"),
    ("audit_of_the_plan_asks_no_theorems", "*theorem_complaints(), *rule_complaints(settings.delta)]",
     "*rule_complaints(settings.delta)]"),
    ("audit_believes_the_geometry", "np.abs(np.subtract(smallest, within)).max() <= TOLERANCE",
     "np.subtract(smallest, within).max() <= TOLERANCE"),
)  # fmt: skip

RULES = bugs_in(
    "synthetic/audit/rules.py", "synthetic/audit/rules",
    ("audit_takes_any_answer", "return [] if found == expected else", "return [] if found else"),
    ("audit_counts_failures_from_below", "binom.sf(counts - 1, trials, delta)", "binom.sf(counts, trials, delta)"),
    ("audit_believes_the_power", "np.allclose(found, expected, rtol=AGREE, atol=0.0):\n            yield f\"failure",
     "np.allclose(found, expected, rtol=1.0, atol=0.0):\n            yield f\"failure"),
    ("audit_asks_about_one_verdict", "for last in range(1, 5):", "for last in range(1, 2):"),
)  # fmt: skip

THEOREMS = bugs_in(
    "synthetic/audit/theorems.py", "synthetic/audit/theorems",
    ("audit_takes_any_verdict", "        if found != expected:", "        if found == expected == theorem:"),
    ("audit_believes_the_pair_law", "<= LAW_ERROR", "<= 10.0"),
    ("audit_believes_the_bessel_functions", "<= BESSEL_ERROR", "<= 100.0"),
    ("audit_plants_no_slow_layers", "spread * (1.0 + step if layer == DEPTH - 1 else 1.0 - STEP)",
     "spread * (1.0 - STEP)"),
    ("audit_of_hypotheses_takes_any_answer", "if not applicable == bool(persists", "if applicable is bool(persists"),
)  # fmt: skip

FORMULAS = bugs_in(
    "synthetic/audit/formulas.py", "synthetic/audit/theorems synthetic/audit/rows",
    ("audit_caps_by_the_largest_cluster_twice", "sorted(sizes)[-1], sorted(sizes)[-2]",
     "sorted(sizes)[-1], sorted(sizes)[-1]"),
    ("audit_contracts_as_the_best_cluster", "worst = max(worst,", "worst = min(worst or 1.0,"),
    ("audit_promises_the_first_layers_rate", "least = max(least, 1.0 - spread)", "least = alpha"),
    ("audit_spreads_by_the_smallest_cluster", "(1.0 - alpha) / max(sizes))", "(1.0 - alpha) / min(sizes))"),
)  # fmt: skip

EXIT_STATUS = bugs_in(
    "synthetic/sweep_noise.py", "synthetic/audit/rows synthetic/audit/plan",
    ("complaints_do_not_fail_the_run", "return AUDIT_FAILED if complaints else status", "return status"),
    ("complaints_about_the_plan_do_not_stop_it", "        if complaints:\n", "        if complaints is None:\n"),
    ("controls_left_out", "cells = [*grid, *(cell for cell, _ in controls)]", "cells = grid"),
)  # fmt: skip

BUGS = (*CONTROLS, *AUDIT, *PLAN, *RULES, *THEOREMS, *FORMULAS, *EXIT_STATUS)

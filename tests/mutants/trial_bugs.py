"""Bugs in how theorems are put on trial: what is drawn, judged, kept, and what counts as refuted."""

from tests.mutants.bugs import bugs_in

TRIAL = bugs_in(
    "synthetic/trials/trial.py", "synthetic/trials/trials",
    ("damaged_subject_ignored", "subject or self.subject", "self.subject"),
    ("one_failure_is_none", "Status.VIOLATED if count else", "Status.VIOLATED if count > 1 else"),
    ("values_of_the_first_case", "column[case] for name", "column[0] for name"),
)  # fmt: skip

STACKS = bugs_in(
    "synthetic/trials/stacks.py", "synthetic/trials/trials synthetic/trials/planted_bounds",
    ("cut_without_the_numerical_threshold", "return np.maximum(", "return np.minimum("),
    ("inputs_never_normalised", '"input" if cases.shared.get("unit_inputs", True) else "never"', '"never"'),
    ("query_key_map_left_out", "None if matrix is None or not np.size(matrix) else torch", "None if True else torch"),
)  # fmt: skip

SEARCH = bugs_in(
    "synthetic/trials/search.py", "synthetic/trials/trials",
    ("every_shape_the_same", "generator(seed, len(shapes), ", "generator(seed, 0, "),
    ("violations_are_forgotten", "    if broken:\n        keep", "    if not broken and counts:\n        keep"),
    ("controls_always_pass", "return any(trial.check", "return True or any(trial.check"),
    ("one_failure_finds_a_rate_out", "return bool(contradictions(counts, trial.rate.delta))",
     "return any(cell.failures for cell in counts)"),
)  # fmt: skip

FILES = bugs_in(
    "synthetic/trials/files.py", "synthetic/trials/trials",
    ("files_with_anything_are_read", "<= trial.needs | ORIGIN | EARLIER", "<= set(fields)"),
    ("earlier_files_lack_their_defaults", "{**trial.defaults, **fields}", "{**fields}"),
)  # fmt: skip

PROSECUTION = bugs_in(
    "synthetic/trials/prosecution.py", "negative_controls",
    ("nothing_is_ever_refuted", "self.attack.closest > (", "self.attack.closest > 1e9 + ("),
    ("true_and_killed_swapped", "in self.trial.violations", "in self.trial.killed"),
)  # fmt: skip

THEOREMS = (
    *bugs_in(
        "synthetic/trials/theorems/theorem_2a.py", "synthetic/trials/trials negative_controls",
        ("threshold_of_the_trial_at_zero", "np.where(inside, low + (0.001", "np.where(inside, 0.0 * low + (0.001"),
        ("cap_of_the_adversary_without_norms", ".clamp_min(1e-12).sqrt()", ".clamp_min(1e12).sqrt()"),
    ),
    *bugs_in(
        "synthetic/trials/theorems/theorem_2b.py", "synthetic/trials/trials synthetic/sweep_noise",
        ("separation_taken_for_its_failure", "~layers.separated[0]", "layers.separated[0]"),
        ("recovery_of_any_layer", "~layers.recovered.all(axis=0)", "~layers.recovered.any(axis=0)"),
    ),
    *bugs_in(
        "synthetic/trials/graphs.py", "synthetic/trials/trials",
        ("only_false_edges_fail", "measured[0] | measured[1]", "measured[0]"),
    ),
    *bugs_in(
        "synthetic/trials/theorems/theorem_2c.py", "synthetic/trials/trials",
        ("clusters_a_third_below_the_floor", "(size,) * clusters, angle", "(max(2, size // 3),) * clusters, angle"),
    ),
    *bugs_in(
        "synthetic/trials/theorems/block_model.py", "synthetic/trials/trials synthetic/trials/planted_bounds",
        ("models_power_ignored", 'ReluAttention(cut, float(cases["power"])', "ReluAttention(cut, 1.0"),
    ),
)  # fmt: skip

BUGS = (*TRIAL, *STACKS, *SEARCH, *FILES, *PROSECUTION, *THEOREMS)

"""Bugs in the figures of sweeps: curves upside down, predictions drawn from the measurement, labels that lie."""

from tests.mutants.bugs import bugs_in

NOISE_BOUNDS = bugs_in(
    "figures/sweeps/noise_bounds.py", "figures/noise_figures",
    ("band_low_is_rate", 'group[f"{outcome}_low"],', 'group[f"{outcome}_rate"],'),
    ("ceiling_promised_with_own_threshold", 'promised = outcome != "recovered" or run.config["threshold"] is None',
     "promised = True"),
    ("ceiling_of_other_outcome", '("separated", "separation",', '("separated", "persistence",'),
    ("success_upside_down", "ax.set_ylim(-0.03, 1.06)", "ax.set_ylim(1.06, -0.03)"),
    ("legend_of_sizes_reversed", '*(f"n = {size}" for size in sizes)', '*(f"n = {size}" for size in sizes[::-1])'),
)  # fmt: skip

LAYERS = bugs_in(
    "figures/sweeps/layers.py", "figures/noise_figures",
    ("cap_from_the_measurement", 'part["beta_cap"]', 'part["beta_max"]'),
    ("rate_bound_from_the_measurement", 'part["alpha_rate_bound"]', 'part["alpha_min"]'),
    ("layers_at_the_smallest_batch", 'group["batch_size"].max()', 'group["batch_size"].min()'),
    ("guarantees_swapped", 'return "one block guaranteed" if cell.separation_guaranteed else "no guarantee"',
     'return "no guarantee" if cell.separation_guaranteed else "one block guaranteed"'),
)  # fmt: skip

TIGHTNESS = bugs_in(
    "figures/sweeps/tightness.py", "figures/noise_figures",
    ("error_bar_ends_swapped",
     'ends = (group["measured"] - group["measured_low"], group["measured_high"] - group["measured"])',
     'ends = (group["measured_high"] - group["measured"], group["measured"] - group["measured_low"])'),
    ("bound_and_measured_swapped", '            group["bound"],\n            group["measured"],\n',
     '            group["measured"],\n            group["bound"],\n'),
    ("tightness_for_its_inverse", 'where, group["tightness"], yerr', 'where, 1 / group["tightness"], yerr'),
)  # fmt: skip

BATCH_FLOOR = bugs_in(
    "figures/sweeps/batch_floor.py", "figures/batch_figures",
    ("floor_lines_swapped", '= (("isolated", ":"), ("simulated", "--"), ("proved", "-"))',
     '= (("isolated", ":"), ("proved", "--"), ("simulated", "-"))'),
    ("exact_rate_from_the_measurement", 'part["exact_rate"]', 'part["recovered_rate"]'),
    ("signed_over_squared", 'pairs[f"{name}_y"] / pairs[f"{name}_x"]', 'pairs[f"{name}_x"] / pairs[f"{name}_y"]'),
    ("bound_for_limit", 'part["limit"]', 'part["bound"]'),
)  # fmt: skip

PHASE = bugs_in(
    "figures/sweeps/phase.py", "figures/batch_figures",
    ("phase_heat_map_inverted", 'array=squares["recovered_rate"].to_numpy()',
     'array=1.0 - squares["recovered_rate"].to_numpy()'),
    ("phase_transposed", '("noise_from", "noise_to", "size_from", "size_to")',
     '("size_from", "size_to", "noise_from", "noise_to")'),
    ("guaranteed_region_below", 'np.minimum(known["proved_floor"], top), top,',
     'np.minimum(known["proved_floor"], top), y0.min(),'),
)  # fmt: skip

OVER_FUSION = bugs_in(
    "figures/sweeps/over_fusion.py", "figures/fusion_figures",
    ("prediction_from_the_measurement", 'ax.plot(place, part["predicted"], color="0.15"',
     'ax.plot(place, part["sharpness_mean"], color="0.15"'),
    ("measured_peak", 'part[part["layer"] == curve.peak_predicted]', 'part[part["layer"] == curve.peak_measured]'),
    ("worst_error_for_mean", 'part["error_mean"].where(', 'part["error_max"].where('),
)  # fmt: skip

SHARPENING = bugs_in(
    "figures/sweeps/sharpening.py", "figures/fusion_figures",
    ("before_and_after_swapped", 'table[f"{name}_after"] - table[f"{name}_before"]',
     'table[f"{name}_before"] - table[f"{name}_after"]'),
    ("boundary_transposed", 'index="between", columns="within"', 'index="within", columns="between"'),
)  # fmt: skip

TRIALS = bugs_in(
    "figures/sweeps/trials.py", "figures/trial_figures",
    ("margins_on_the_next_line", 'part["name"].map(names.index)', 'part["name"].map(names.index) + 1'),
    ("approach_with_its_sign_lost", '(-known["closest"]).clip', '(known["closest"]).clip'),
    ("killed_statements_among_the_true", 'attacks[attacks["true"]]', "attacks"),
)  # fmt: skip

BUGS = (*TRIALS, *NOISE_BOUNDS, *LAYERS, *TIGHTNESS, *BATCH_FLOOR, *PHASE, *OVER_FUSION, *SHARPENING)

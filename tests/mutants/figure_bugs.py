"""Bugs in figures/: curves upside down, predictions drawn from the measurement, before and after swapped."""

from tests.mutants.bugs import bugs_in

NOISE_BOUNDS = bugs_in(
    "figures/noise_bounds.py", "figures/figures",
    ("success_upside_down", 'group[f"{outcome}_rate"], marker', '1.0 - group[f"{outcome}_rate"], marker'),
    ("ceiling_of_the_other_kind", 'group[f"{ceiling}_ceiling"].iloc[0]', 'group["separation_ceiling"].iloc[0]'),
    ("band_of_one_line", 'group[f"{outcome}_low"],', 'group[f"{outcome}_high"],'),
)  # fmt: skip

LAYERS = bugs_in(
    "figures/layers.py", "figures/figures",
    ("rate_drawn_from_the_measurement", 'part["layer"], part["alpha_rate_bound"]', 'part["layer"], part["alpha_min"]'),
    ("cap_drawn_from_the_measurement", 'part["layer"], part["beta_cap"]', 'part["layer"], part["beta_max"]'),
)  # fmt: skip

OTHERS = (
    *bugs_in("figures/sharpening.py", "figures/figures",
             ("heat_map_inverted", 'table[f"{name}_after"] - table[f"{name}_before"]',
              'table[f"{name}_before"] - table[f"{name}_after"]')),
    *bugs_in("figures/affinity_maps.py", "figures/figures",
             ("before_and_after_swapped", 'maps["stage"] == stage', 'maps["stage"] != stage')),
    *bugs_in("figures/tightness.py", "figures/figures",
             ("boundary_against_itself", 'group["bound"],\n            group["measured"],',
              'group["measured"],\n            group["measured"],')),
    *bugs_in("figures/phase.py", "figures/figures",
             ("recovery_inverted", 'array=squares["recovered_rate"].to_numpy()',
              'array=1.0 - squares["recovered_rate"].to_numpy()')),
    *bugs_in("figures/training.py", "figures/figures",
             ("best_seed_for_the_mean", 'groupby("noise_level")["sharpness"].mean()',
              'groupby("noise_level")["sharpness"].max()'),
             ("certificate_drawn_from_the_measurement", 'part["step"], part["certified"]',
              'part["step"], part["sharpness"]')),
)  # fmt: skip

BUGS = (*NOISE_BOUNDS, *LAYERS, *OTHERS)

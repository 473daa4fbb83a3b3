"""Bugs in the tables of proved numbers: counts of another event, ratios upside down, verdicts that let go."""

from tests.mutants.bugs import bugs_in

ROWS = bugs_in(
    "synthetic/slack/rows.py", "synthetic/slack/rows",
    ("floor_ratio_not_inverted", "[number / middle, number / high, number / low] if inverse",
     "[middle / number, low / number, high / number] if inverse"),
    ("ends_of_an_inverse_swapped", "[number / middle, number / high, number / low]",
     "[number / middle, number / low, number / high]"),
    ("successes_for_failures", '"failure_rate": failures / trials', '"failure_rate": 1.0 - failures / trials'),
    ("thresholds_judged_as_ceilings", 'row["ratio_low"] > 1.0 if below', 'row["ratio_high"] < 1.0 if below'),
    ("violation_alone_is_no_failure", "verdict.status is Status.VIOLATED or any(wrong)", "any(wrong)"),
    ("misled_pilot_believed", "if not (below or above):", "if True:"),
    ("pilot_without_the_others", "count(levels, trials), trials, goal)", "count(levels, pilot), trials, goal)"),
)  # fmt: skip

DEPTH = bugs_in(
    "synthetic/slack/depth.py", "synthetic/slack/measured",
    ("later_false_edges_forgiven", "(layers.false_edges == 0).all(axis=0)", "(layers.false_edges[0] == 0)"),
    ("orthogonal_whatever_the_angle", "float(np.radians(point[\"angles_deg\"])), point", "np.pi / 2, point"),
)  # fmt: skip

FUSION = bugs_in(
    "synthetic/slack/fusion.py", "synthetic/slack/measured",
    ("layer_0_must_be_whole", "layers.recovered[1:].all(axis=0)", "layers.recovered.all(axis=0)"),
    ("last_layer_alone", "layers.recovered[1:].all(axis=0)", "layers.recovered[-1]"),
    ("false_edges_of_layer_0_forgiven", "recovered_later(layers) & (layers.false_edges[0] == 0)",
     "recovered_later(layers)"),
    ("threshold_stays_behind", "replace(cell, noise_level=level, threshold=tau)", "replace(cell, noise_level=level)"),
    ("unit_inputs", "unit_inputs=False", "unit_inputs=True"),
)  # fmt: skip

SOFT = bugs_in(
    "synthetic/slack/soft.py", "synthetic/slack/measured",
    ("signs_always_count", 'point["affinities"] == "squared"\n    tau', "False\n    tau"),
    ("threshold_of_the_floor_at_every_size", "model.connection(size, level", "model.connection(2, level"),
)  # fmt: skip

OPTIONS = bugs_in(
    "synthetic/slack/options.py", "synthetic/slack/rows synthetic/commands",
    ("blocks_but_the_first_forgotten", "for block in ({**block, **given} for block in blocks)",
     "for block in ({**block, **given} for block in blocks[:1])"),
    ("what_is_given_ignored", "({**block, **given} for", "({**given, **block} for"),
)  # fmt: skip

FIGURE = bugs_in(
    "figures/sweeps/slack.py", "figures/slack_figures",
    ("shade_on_the_other_side", "((1.0, high) if below else (low, 1.0))", "((low, 1.0) if below else (1.0, high))"),
    ("ends_swapped", "np.stack([np.where(np.isfinite(end), end, 0.0) for end in ends])",
     "np.stack([np.where(np.isfinite(end), end, 0.0) for end in ends[::-1]])"),
    ("upside_down", "left.set_ylim(max(len(proved), 1) - 0.5, -0.5)",
     "left.set_ylim(-0.5, max(len(proved), 1) - 0.5)"),
    ("unproved_combinations_drawn", 'table[table["trials"] > 0]', "table"),
)  # fmt: skip

BOUNDARIES = bugs_in(
    "synthetic/measure/boundaries.py", "synthetic/measure/boundaries",
    ("ends_of_a_rise_swapped", "for level in (middle, early, late))", "for level in (middle, late, early))"),
    ("trials_in_another_order", "np.broadcast_to(trials, len(reached))[::-1]", "np.broadcast_to(trials, len(reached))"),
)  # fmt: skip

BUGS = (*ROWS, *DEPTH, *FUSION, *SOFT, *OPTIONS, *FIGURE, *BOUNDARIES)

"""Bugs in the figures of trainings, images and claims."""

from tests.mutants.bugs import bugs_in

ABLATIONS = bugs_in(
    "figures/trainings/ablations.py", "figures/training_figures",
    ("ablation_best_seed_as_the_mean", "grouped.mean(), grouped.std()", "grouped.max(), grouped.std()"),
    ("arms_upside_down", "    axes[0].invert_yaxis()\n", ""),
    ("measures_swapped",
     '("sharpness", "mean affinity sharpness"), ("neighbour_accuracy", "nearest neighbour of the own cluster")',
     '("sharpness", "nearest neighbour of the own cluster"), ("neighbour_accuracy", "mean affinity sharpness")'),
)  # fmt: skip

AFFINITY_MAPS = bugs_in(
    "figures/trainings/affinity_maps.py", "figures/training_figures",
    ("map_inverted", "values / ideal[:, None]", "1.5 - values / ideal[:, None]"),
    ("map_transposed", "values / ideal[:, None]", "(values / ideal[:, None]).T"),
    ("map_before_and_after_swapped", 'maps["stage"] == stage', 'maps["stage"] != stage'),
)  # fmt: skip

CATALOGUE = bugs_in(
    "figures/catalogue.py", "figures/catalogue figures/training_figures figures/batch_figures figures/figures",
    ("catalogue_swaps_two_figures", '(("floors",), batch_floor.draw_floors)', '(("floors",), batch_floor.draw)'),
    ("catalogue_swaps_two_maps", 'partial(affinity_maps.draw, table=f"maps_{head}")',
     'partial(affinity_maps.draw, table="maps_transfusion")'),
)  # fmt: skip

CLAIM_TESTS = "figures/claim_figures figures/planted_claims"

CLAIMS = (
    *bugs_in(
        "figures/claims/contrasts.py", CLAIM_TESTS,
        ("claimed_side_swapped", 'CLAIMED if side == "above" or differs else OTHER',
         'OTHER if side == "above" or differs else CLAIMED'),
        ("contrasts_upside_down", "ax.set_ylim(len(rows) - 0.5, -0.5)", "ax.set_ylim(-0.5, len(rows) - 0.5)"),
    ),
    *bugs_in(
        "figures/claims/curves.py", CLAIM_TESTS,
        ("claim_best_seed_as_the_mean", "    middle = grouped.mean()\n", "    middle = grouped.max()\n"),
        ("composition_flipped", "ax.imshow(cells, cmap=colors)", "ax.imshow(cells[::-1], cmap=colors)"),
    ),
    *bugs_in(
        "figures/claims/scores.py", CLAIM_TESTS,
        ("counts_for_densities", "np.nan_to_num(counts) / (total * widths)", "np.nan_to_num(counts) / total"),
        ("best_seed_as_the_final_mean", "[values.mean()] * 2", "[values.max()] * 2"),
    ),
    *bugs_in(
        "figures/claims/style.py", CLAIM_TESTS,
        ("interval_of_90_percent", "stdtrit(len(values) - 1, 0.975)", "stdtrit(len(values) - 1, 0.95)"),
        ("line_of_the_best_seed", "grouped.mean(), grouped.agg(spread)", "grouped.max(), grouped.agg(spread)"),
    ),
)  # fmt: skip

HEAD_COSTS = bugs_in(
    "figures/trainings/head_costs.py", "figures/training_figures",
    ("costs_unsorted", '        part = part.sort_values("batch_size")\n', ""),
    ("head_labels_sorted", 'groupby("head", sort=False)', 'groupby("head")'),
)  # fmt: skip

IMAGES = bugs_in(
    "figures/trainings/images.py", "figures/image_figures",
    ("radians_for_degrees", "np.degrees(epochs[name])", "np.asarray(epochs[name])"),
    ("scores_upside_down", "edges, roots[kind],", "edges, roots[kind][::-1],"),
    ("certified_and_sharpness_swapped", '"sharpness", "certified", chance', '"certified", "sharpness", chance'),
)  # fmt: skip

TRAINING = bugs_in(
    "figures/trainings/training.py", "figures/training_figures",
    ("best_seed_as_the_mean", '["sharpness"].mean()', '["sharpness"].max()'),
    ("leak_the_other_way_up", "    ax.invert_yaxis()\n", ""),
    ("certified_from_the_measurement", 'part["certified"], color=color', 'part["sharpness"], color=color'),
    ("breakdown_arms_swapped", 'names = [\n        *(f"trained: {arm}" for arm in arms),',
     'names = [\n        *(f"trained: {arm}" for arm in arms[::-1]),'),
)  # fmt: skip

BUGS = (*ABLATIONS, *AFFINITY_MAPS, *CATALOGUE, *CLAIMS, *HEAD_COSTS, *IMAGES, *TRAINING)

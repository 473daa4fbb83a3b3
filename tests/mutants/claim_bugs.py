"""Bugs in how claims are decided, which seeds come next, and what the report makes of it."""

from tests.mutants.bugs import bugs_in

STATISTICS = (
    *bugs_in(
        "paper_checks/statistics/decisions.py", "paper_checks/statistics/decisions",
        ("one_side_is_enough_to_be_inside", "return max(_tails(differences, worth)[0]",
         "return min(_tails(differences, worth)[0]"),
        ("no_bonferroni_for_what_is_inside", "same=min(1.0, len(found) * inside)", "same=min(1.0, inside)"),
        ("equal_differences_leave_no_doubt", "return bool(np.ptp(values) <= ",
         "return False and bool(np.ptp(values) <= "),
        ("equal_up_to_rounding_is_certain", "ROUNDING = 1e-14", "ROUNDING = 0.0"),
        ("intervals_of_all_looks_at_95", "mean_interval(differences, 1.0 - (1.0 - LEVEL) * share)",
         "mean_interval(differences, LEVEL)"),
    ),
    *bugs_in(
        "paper_checks/statistics/sequential.py", "paper_checks/statistics/sequential",
        ("every_look_at_the_full_rate", "[value / share for value", "[value for value"),
        ("equal_shares", "tuple(seeds / sum(plan) for seeds in plan)", "tuple(1.0 / len(plan) for seeds in plan)"),
        ("the_last_look_decides", "for count in range(1, len(found) + 1):", "for count in range(len(found), 0, -1):"),
    ),
    *bugs_in(
        "paper_checks/statistics/family.py", "paper_checks/statistics/family",
        ("a_claim_weighs_all_its_answers", "else min(most, sum(each)) for each", "else sum(each) for each"),
        ("a_claim_weighs_its_largest_answer", "else min(most, sum(each)) for each",
         "else max(each, default=0.0) for each"),
    ),
    *bugs_in(
        "paper_checks/statistics/power.py", "paper_checks/statistics/power",
        ("one_test_of_two", "2.0 * (1.0 - strict) if equivalence", "(1.0 - strict) if equivalence"),
        ("contrasts_are_no_harder", "and contrasts * (1.0 - plain) <= missed", "and (1.0 - plain) <= missed"),
        ("means_that_cannot_move", "math.sqrt(max(0.0, 1.0 / row[\"seeds\"] - 1.0 / seeds))", "0.0"),
    ),
)  # fmt: skip

STAGES = bugs_in(
    "paper_checks/stages.py", "paper_checks/stages",
    ("decided_claims_are_looked_at_again", "            break\n    return _settled",
     "            pass\n    return _settled"),
    ("dearest_look_first", "key=lambda step: (step.chance / max", "key=lambda step: (-step.chance / max"),
    ("failed_tasks_are_tried_for_ever", "if lacking and not any(task.name in (failures or {}) for task in lacking):",
     "if lacking:"),
    ("later_looks_that_fail_take_the_answer", "            if found:\n                # What",
     "            if False:\n                # What"),
    ("looks_that_decide_nothing_are_taken", "likely < least or hopeless(state.finding.rows, left)",
     "likely < least"),
    ("shared_time_counts_twice", "found[name][1] += seconds / len(names)", "found[name][1] += seconds"),
)  # fmt: skip

REPORT = (
    *bugs_in(
        "paper_checks/report/forest.py", "paper_checks/report/forest",
        ("forest_in_plain_units", "row[key] / worth if", "row[key] if"),
        ("kept_results_without_units",
         "worth = claim.worth.get(row.get(\"measure\", \"\"), math.nan)", "worth = math.nan"),
    ),
    *bugs_in(
        "paper_checks/precisions.py", "paper_checks/precisions",
        ("looked_at_and_trained_again", "asked != now and not looked:", "asked != now or not looked:"),
        ("looks_are_forgotten", "claim.id in looks or not", "not"),
        ("looks_at_readings_do_not_count", "not all(missing(each, tasks) for each in asked_of)",
         "not missing(needed, tasks)"),
        ("slow_precision_goes_on_unasked", "if asked is None and is_slow", "if asked is not None and is_slow"),
        ("nothing_is_left_alone", "!= asked\n        and is_slow", "!= asked\n        and not is_slow"),
    ),
    *bugs_in(
        "paper_checks/claims.py", "paper_checks/precisions",
        ("first_precision_counts", "one.tasks(replace(tier, precision=tier.precision or precision))",
         "one.tasks(replace(tier, precision=precision))"),
    ),
    *bugs_in(
        "paper_checks/same_images.py", "paper_checks/same_images",
        ("any_images_go_on", 'return [f"set of images: {told}"] if told else []', "return []"),
        ("runs_of_earlier_versions_take_any", "for name in OWN", "for name in ()"),
    ),
    *bugs_in(
        "paper_checks/papers/simclr.py", "paper_checks/process_claim",
        ("half_of_a_claim_is_enough", ' {}, {}), Contrast(LEAK, "nats", {}, {})]', ' {}, {})][:0]'),
        ("fewer_rows_count_as_no_leak", '*accuracy), Contrast(LEAK, "nats", {}, {})]',
         '*accuracy), Contrast(LEAK, "nats", shared, local)]'),
    ),
    *bugs_in(
        "paper_checks/trainings/two_processes.py", "paper_checks/process_claim",
        ("loss_of_all_anchors", "own_anchors_loss(first, second, rank).backward()",
         "nt_xent(first, second, TEMPERATURE).backward()"),
    ),
    *bugs_in(
        "paper_checks/trainings/moco_ways.py", "paper_checks/trainings/arms",
        ("followed_for_two_epochs", "FOLLOWED = 6", "FOLLOWED = 0"),
    ),
    *bugs_in(
        "paper_checks/papers/momenta.py", "paper_checks/momenta",
        ("first_epochs_fluctuate", 'row["gradient_fluctuation"] for row in epochs[FIRST_EPOCHS:]',
         'row["gradient_fluctuation"] for row in epochs'),
        ("correlations_as_they_are", "np.arctanh(np.clip(value, -MOST, MOST))", "np.clip(value, -MOST, MOST)"),
    ),
    *bugs_in(
        "paper_checks/trainings/collapsed.py", "paper_checks/trainings/collapsed",
        ("gradients_of_0_go_on", 'if row["gradient_norm"] == 0.0)', 'if row["gradient_norm"] < 0.0)'),
        ("dead_blocks_count", 'row["sharpness"] == 0.0 for row', 'row["sharpness"] < 0.0 for row'),
        ("one_dead_block_is_a_collapse", "if all(each.values())}", "if any(each.values())}"),
        ("blocks_without_a_loss_count", "if method.intermediate or index == last}", "}"),
        ("every_head_has_affinities", 'if method.name != "transfusion"', 'if method.name == ""'),
        ("collapsed_seeds_are_dropped", "seed: math.nan if seed in seeds else value for seed, value in values.items()",
         "seed: value for seed, value in values.items() if seed not in seeds"),
    ),
    *bugs_in(
        "paper_checks/report/other_readings.py", "paper_checks/other_readings",
        ("chance_fools", 'each.answer == "reproduced" and apart[name].stands', 'each.answer == "reproduced"'),
    ),
    *bugs_in(
        "paper_checks/trainings/arms.py", "paper_checks/image_claims",
        ("one_rate_for_all_batches", "(size / tier.config.batch_size) ** power", "(size / size) ** power"),
    ),
    *bugs_in(
        "paper_checks/trainings/arms.py", "paper_checks/precisions",
        ("arms_in_the_tiers_precision", "replace(config, precision=tier.precision)", "config"),
    ),
    *bugs_in(
        "figures/claims/forest.py", "figures/forest_figures",
        ("forest_band_of_2", "ax.axvspan(-1.0, 1.0,", "ax.axvspan(-2.0, 2.0,"),
        ("forest_upside_down", "ax.set_ylim(top - 0.5 * GAP, -0.5 * GAP)", "ax.set_ylim(-0.5 * GAP, top - 0.5 * GAP)"),
        ("forest_lines_on_one_another", "start + (i + 0.5) * LINE", "start + 0.5 * LINE"),
        ("forest_colors_by_the_first", 'ANSWERS[row["answer"]]', 'ANSWERS["reproduced"]'),
    ),
    *bugs_in(
        "paper_checks/report/pictures.py", "paper_checks/report/report",
        ("colors_of_thin_lines_lost", "Image.Quantize.MAXCOVERAGE", "Image.Quantize.MEDIANCUT"),
    ),
)  # fmt: skip

TASKS = bugs_in(
    "paper_checks/tasks.py", "paper_checks/tasks",
    ("any_task_is_the_one_asked_for", 'differing({"task": stored}, {"task": to_plain(task)})', "()"),
    ("later_settings_make_another_task", 'with_defaults(_record(path).get("task"), task)', '_record(path).get("task")'),
)  # fmt: skip

BUGS = (*STATISTICS, *STAGES, *REPORT, *TASKS)

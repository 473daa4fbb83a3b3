"""Bugs in the advisor and its figures: other rows measured, intervals too narrow, guarantees about their own rows."""

from tests.mutants.bugs import bugs_in

FIGURES = bugs_in(
    "figures/advisor.py", "figures/advisor_figures",
    ("predicted_for_measured", 'part["at"], part["measured"]', 'part["at"], part["value"]'),
    ("advice_band_upside_down", 'part["at"], part["low"], part["high"]', 'part["at"], part["low"], part["value"]'),
    ("low_end_from_the_high", 'part["value"] - part["low"].clip', 'part["value"] - part["high"].clip'),
)  # fmt: skip

BATCHES = bugs_in(
    "models/advisor/batches.py", "models/advisor/batches",
    ("partner_left_out", "chosen, chosen + half", "chosen, chosen"),
    ("rows_attend_to_themselves", "    torch.diagonal(raw, dim1=-2, dim2=-1).zero_()\n", ""),
    ("influence_of_the_pool_shown_whole", "np.sqrt(self.size / shown)", "np.sqrt(self.size * shown)"),
)  # fmt: skip

PROSPECTIVE = bugs_in(
    "models/advisor/prospective.py", "models/advisor/prospective",
    ("measurement_error_forgotten", " + measured.error**2", ""),
    ("own_interval_for_all", "measured.value < wide_low or measured.value > wide_high",
     "measured.value < low or measured.value > high"),
    ("hash_not_compared", "!= [_digest(path)]", "== []"),
    ("one_set_of_rows_forgotten", "(1 / prediction.rows + 1 / num_new)", "(1 / prediction.rows)"),
)  # fmt: skip

CERTIFIED = bugs_in(
    "models/advisor/questions/certified.py", "models/advisor/questions/certified",
    ("others_among_the_bank", "return np.flatnonzero(pool.bank), others",
     "return np.flatnonzero(pool.bank | True), others"),
    ("mean_instead_of_its_bound", "1.0 - mean_floor(1.0 - alone, config.delta) >", "alone.mean() >"),
    ("failures_passed_over", "            break\n        best = found", "            pass\n        best = found"),
)  # fmt: skip

SMALL_CLASSES = (
    *bugs_in(
        "models/advisor/pool.py", "models/advisor/coverage/coverage",
        ("rare_classes_thinned_out", "return pool.take(np.sort(rng.permutation(pool.size)[:most]))",
         "rows = np.sort(rng.permutation(pool.size)[:most])\n"
         "    return pool.take(rows[np.bincount(pool.classes[rows])[pool.classes[rows]] > 1])"),
    ),
    *bugs_in(
        "models/advisor/questions/laws.py", "models/advisor/questions/laws",
        ("others_taken_for_own", "own = row_classes[tile, None] == classes",
         "own = row_classes[tile, None] != classes"),
        ("rows_beside_themselves", "h[np.arange(len(h)), itself[tile]] = 0.0", "pass"),
    ),
    *bugs_in(
        "models/advisor/answers.py", "models/advisor/answers",
        ("some_pairs_for_all", "if shape.separated and unseen:", "if False:"),
        ("neighbors_by_softmax", "for point in findings.sizes if point.kind == \"relu\"",
         "for point in findings.sizes"),
    ),
)  # fmt: skip

QUESTIONS = (
    *bugs_in(
        "models/advisor/questions/attention.py", "models/advisor/questions/attention models/advisor/answers",
        ("chosen_by_all_rows", "    pool = pool.take(np.flatnonzero(pool.bank))\n", ""),
        ("sharpness_alone", "neighbors >= config.effective_neighbors", "neighbors >= 0"),
    ),
    *bugs_in(
        "models/advisor/questions/geometry.py", "models/advisor/questions/geometry",
        ("rows_as_their_own_neighbors", "rows] = -2.0", "rows] = 1.0"),
    ),
    *bugs_in(
        "models/advisor/questions/strength.py", "models/advisor/questions/strength_and_depth",
        ("last_crossing", "* (a - target) / (a - b)", "* (target - b) / (a - b)"),
    ),
    *bugs_in(
        "models/advisor/questions/influence.py", "models/advisor/questions/certified",
        ("only_the_row_itself", "alone - alone.mean() - reached", "alone - alone.mean()"),
    ),
    *bugs_in(
        "models/advisor/check_set.py", "models/advisor/answers",
        ("centered_by_its_own_mean", "self.findings.centered, strength, center)", "self.findings.centered, strength)"),
    ),
)  # fmt: skip

INPUTS = bugs_in(
    "models/advisor/inputs/arrays.py", "models/advisor/inputs/arrays",
    ("bombs_are_read", "limit.require(sum(member.file_size for member in members), str(path))", "pass"),
    ("views_of_one_number_are_read", "    limit.require(sum(each.numel() * each.element_size() for each in tensors",
     "    limit.require(0 * sum(each.numel() * each.element_size() for each in tensors"),
    ("tensors_are_unpickled", "weights_only=True", "weights_only=False"),
)  # fmt: skip

COMMAND = bugs_in(
    "models/advisor/__main__.py", "models/advisor/command",
    ("predictions_written_late", 'if not (folder / "predictions.json").exists():', "if False:"),
)  # fmt: skip

BUGS = (*FIGURES, *BATCHES, *PROSPECTIVE, *CERTIFIED, *SMALL_CLASSES, *QUESTIONS, *INPUTS, *COMMAND)

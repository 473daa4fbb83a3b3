"""Bugs in the limits on real data, and on the way to them: strengths, embeddings, the log, turns and floors."""

from tests.mutants.bugs import bugs_in

VIEWS = bugs_in(
    "models/cifar/data/views.py", "models/cifar/data/strengths",
    ("strength_of_crops_ignored", "self.min_area + (1.0 - self.strength) * (1.0 - self.min_area)", "self.min_area"),
    ("strength_ignored", "return self.strength * getattr(self, name)", "return getattr(self, name)"),
    ("flips_at_any_strength", "FLIP_PROBABILITY * min(1.0, config.strength)", "FLIP_PROBABILITY"),
    ("images_resampled_at_strength_0", "if config.strength == 0.0 and", "if config.strength < 0.0 and"),
    ("crops_without_area", 'self.scaled("min_area") <= 0.0', 'self.scaled("min_area") < 0.0'),
)  # fmt: skip

EMBEDDING = (
    *bugs_in(
        "models/cifar/evaluation/strengths.py", "models/cifar/embed models/cifar/training/advice",
        ("own_strength_counts_twice", "(STRENGTH_SEED), replace(view, strength=level)",
         "(STRENGTH_SEED), replace(view, strength=level * view.strength)"),
        ("other_draws_at_every_strength", "manual_seed(STRENGTH_SEED)", "manual_seed(int(100 * level))"),
        ("labels_without_names", "names[part.labels.cpu().numpy()]", "part.labels.cpu().numpy()"),
        ("all_images_are_asked", "part = images if count is None else", "part = images if True else"),
        ("strengths_out_of_the_views_reach", "            replace(view, strength=level)\n", "            pass\n"),
    ),
    *bugs_in(
        "models/cifar/embed.py", "models/cifar/embed",
        ("files_are_overwritten", "if path.exists():", "if path.is_dir():"),
        ("views_of_one_strength_short", "views=np.stack(features.views)", "views=np.stack(features.views[1:])"),
        ("always_the_validation_images", "getattr(splits, options.part)", "splits.validation"),
    ),
    *bugs_in(
        "models/cifar/training/train.py", "models/cifar/training/advice",
        ("asked_only_at_the_end", "(state.epoch % config.advise_every == 0 or state.epoch == config.epochs)",
         "(state.epoch == config.epochs)"),
        ("not_asked_at_the_end", "(state.epoch % config.advise_every == 0 or state.epoch == config.epochs)",
         "(state.epoch % config.advise_every == 0)"),
        ("strength_in_use_is_1", 'row["strength"] = config.view.strength', 'row["strength"] = 1.0'),
        ("advice_learns", "        _advise(state, splits, row)\n",
         "        state.learner(make_batch(config, splits.validation, torch.arange(8), 0, 0))\n"
         "        _advise(state, splits, row)\n"),
    ),
    *bugs_in(
        "models/advisor/critical_strength.py", "models/advisor/critical_strength",
        ("always_relu", "if each[0] == kind)", 'if each[0] == "relu")'),
        ("settings_of_the_defaults", "batch_size, config, keep_nothing)", "batch_size, DEFAULTS, keep_nothing)"),
    ),
    *bugs_in(
        "figures/trainings/images.py", "figures/image_figures",
        ("interval_upside_down", "yerr=[below, above]", "yerr=[above, below]"),
        ("limits_drawn_at_0", 'beyond["critical_low"], color', '0.0 * beyond["critical_low"], color'),
    ),
)  # fmt: skip

CURVES = bugs_in(
    "paper_checks/limits/curves.py", "paper_checks/limits/curves",
    ("valleys_are_tents", "(found[:, 1:] >= 0.0).all(-1)", "(found[:, 1:] >= -9.0).all(-1)"),
    ("largest_of_equal_peaks", "for k in (equal[0], equal[-1])", "for k in (equal[-1], equal[0])"),
    ("crossings_from_below", "(limits - strengths)[kept], 0.0)", "(strengths - limits)[kept], 0.0)"),
    ("censored_values_speak_for_the_claim", "        early = min(early, 0.0)\n", "        pass\n"),
    ("censored_late_values_speak_for_it", "        late = min(late, 0.0)\n", "        pass\n"),
    ("knot_anywhere", "if not (min(sizes) < knot < max(sizes)) or", "if not knot > 0 or"),
    ("draws_of_equal_weight", "weights = factorial(count) / factorial(draws).prod(axis=1) /",
     "weights = np.ones(len(draws)) /"),
)  # fmt: skip

CLAIMS = (
    *bugs_in(
        "paper_checks/papers/limits.py", "paper_checks/limits/limits",
        ("beyond_is_missing", '"critical": EMBEDDED[-1] if beyond else value', '"critical": value'),
        ("other_margin", "\nMARGIN = 0.15\n", "\nMARGIN = 0.3\n"),
        ("one_method_twice", "in METHODS.items():\n        rows = _levels(results, tier, name, method)",
         'in METHODS.items():\n        rows = _levels(results, tier, name, "simclr")'),
        ("certified_floor_decides", "slopes_beside(sizes, grid[seed], floor)",
         "slopes_beside(sizes, grid[seed], certified)"),
        ("first_epoch_for_the_last", 'last_epoch(results.table(task, "epochs"))[0]',
         'results.table(task, "epochs")[0]'),
        ("fall_is_enough", "measure, falling, rising)]", "measure, falling, dict.fromkeys(rising, 0.0))]"),
    ),
    *bugs_in(
        "figures/claims/limits.py", "figures/limit_figures",
        ("turn_for_crossing", '_mark(ax, mean, "crossing", CROSS', '_mark(ax, mean, "turning", CROSS'),
        ("diagonal_from_0", "below.plot(ends, ends", "below.plot(ends, ends - ends[0]"),
        ("seeds_of_both_methods", 'part = levels[levels["curve"] == curve]', "part = levels"),
    ),
)  # fmt: skip

BUGS = (*VIEWS, *EMBEDDING, *CURVES, *CLAIMS)

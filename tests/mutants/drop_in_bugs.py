"""Bugs in what goes into anybody's code: losses as modules, encoders and images that a user brings."""

from tests.mutants.bugs import bugs_in

LOSSES = (
    *bugs_in("models/head_output.py", "models/losses/modules models/head_output",
             ("zero_rows_left_to_the_norm", "(largest * length).masked_fill(zero, torch.inf)", "largest * length"),
             ("directions_in_half_precision", "_Directions.apply(widen(rows))", "_Directions.apply(rows)")),
    *bugs_in("models/losses/contrastive.py", "models/losses/modules",
             ("nan_hidden_without_anchors", "losses.mul_(labels.anchor_weights(keys.dtype))",
              "losses.masked_fill(labels.others == 0, 0.0).mul_(labels.anchor_weights(keys.dtype))")),
    *bugs_in("models/losses/modules.py", "models/losses/modules",
             ("values_looked_at_the_other_way", "values_trusted(not self.check_values)",
              "values_trusted(self.check_values)"),
             ("temperature_of_supcon_ignored", 'Objective("supcon", temperature=_positive(temperature))',
              'Objective("supcon", temperature=0.1)')),
    *bugs_in("models/losses/modules.py", "models/devices/gather",
             ("views_of_other_ranks_mixed", "ranks.transpose(0, 1).flatten(0, 2)", "ranks.flatten(0, 2)")),
    *bugs_in("models/losses/common.py", "models/losses/modules",
             ("mean_over_no_anchors", "anchors.to(dtype) / anchors.sum().clamp_min(1)",
              "anchors.to(dtype) / anchors.sum()")),
)  # fmt: skip

ENCODERS = (
    *bugs_in("models/foreign/encoder_factory.py", "models/foreign/encoder_factory",
             ("any_factory_is_consent", "if stored == named:", "if stored == named or named is not None:"),
             ("seed_of_a_factory_ignored", "enabled=generator is not None):\n        if generator is not None:",
              "enabled=generator is not None):\n        if generator is None:"),
             ("nan_of_a_factory_accepted", "if not bool(torch.isfinite(features).all()):", "if False:")),
    *bugs_in("models/cifar/training/state.py", "models/foreign/encoder_factory",
             ("files_run_code", "require_consent(config.encoder.factory, factory, str(path))", "str(path)")),
    *bugs_in("models/cifar/training/checks.py", "models/foreign/encoder_factory",
             ("encoder_not_tried_on_images", "features_of(encoder, each, own.factory)", "pass")),
    *bugs_in("models/cifar/training/initial.py", "models/foreign/encoder_factory",
             ("factory_not_handed_to_init", "state.device, state.config.encoder.factory)", "state.device)")),
)  # fmt: skip

IMAGES = bugs_in(
    "models/cifar/data/given/pixels.py", "models/cifar/data/given",
    ("floats_cut_instead_of_rounded", "np.rint(array.astype(np.float64) * 255.0)",
     "(array.astype(np.float64) * 255.0)"),
    ("floats_of_any_range", "(array >= 0) & (array <= 1)", "(array >= -9) & (array <= 9)"),
)  # fmt: skip

BUGS = (*LOSSES, *ENCODERS, *IMAGES)

"""Bugs in models/: attention, stacks, tiles, softmax stacks, momentum, transformations, losses of features, probes."""

from tests.mutants.bugs import SWEEP, bugs_in

ATTENTION = bugs_in(
    "models/attention.py", "models/attention models/stack",
    ("lerp_swapped", "torch.lerp(own, product.div_(mass), weight, out=product)",
     "torch.lerp(product.div_(mass), own, weight, out=product)", SWEEP),
    ("lonely_rows_go_to_zero", "torch.where(occupied, self.mixing, torch.zeros_like(mass))",
     "torch.full_like(mass, 1.0) * self.mixing"),
    ("points_attend_to_themselves", ".fill_(-1.0)", ".fill_(1.0)", SWEEP),
    ("bias_form_not_scaled", "scale = 1.0 + bias**2", "scale = 1.0 + 0.0 * bias"),
    ("power_ignored", "else rectified**self.power", "else rectified"),
    ("map_transposed_twice", "points @ self.query_key_map.mT", "points @ self.query_key_map.mT.abs()", SWEEP),
)  # fmt: skip

STACK = bugs_in(
    "models/stack.py", "models/stack models/tiled",
    ("output_not_squared", "block.rectify(attention) ** 2", "block.rectify(attention) ** 1"),
    ("one_block_too_few", "for _ in range(depth + 1)", "for _ in range(depth)", SWEEP),
    ("first_block_does_not_mix", "mix = self._block(layer).for_trials(trials), layer <",
     "mix = self._block(layer).for_trials(trials), 0 < layer <", SWEEP),
    ("inputs_not_normalised", 'if self.normalize == "never":', 'if self.normalize != "every":'),
    ("unsigned_output_of_positive_cosines", "attention.cosines.abs()", "attention.cosines.clamp_min(0.0)"),
)  # fmt: skip

TILED = bugs_in(
    "models/tiled.py", "models/tiled",
    ("tiled_level_of_the_wrong_sign", "level = -(pull * fused)", "level = (pull * fused)"),
    ("lonely_rows_shrink", "1.0 - weight * occupied.to(points.dtype)",
     "1.0 - weight * torch.ones_like(mass)[..., None]"),
    ("tiled_mixing_not_divided", "(gradient * (moved - points)).sum((-2, -1), keepdim=True) / mixing)",
     "(gradient * (moved - points)).sum((-2, -1), keepdim=True) * mixing)"),
    ("squares_skipped_without_a_look", "layer.is_between_clusters(rows, columns):", "columns is not rows:"),
    ("mirror_images_do_not_mix", "if columns is not rows:\n", "if columns is rows:\n"),
    ("tiled_keys_not_divided", "queries[..., rows, :] / divisor", "queries[..., rows, :]"),
)  # fmt: skip

SOFTMAX_STACK = bugs_in(
    "models/softmax_fusion.py", "models/softmax_stack",
    ("softmax_mixes_the_wrong_way_round", "/ mass.unsqueeze(-1), mixing)", "/ mass.unsqueeze(-1), 1.0 - mixing)"),
    ("temperature_for_its_inverse", "torch.exp(inverse_temperature * (cosines",
     "torch.exp(1.0 / inverse_temperature * (cosines"),
)  # fmt: skip

TRANSFORMATION = bugs_in(
    "models/feature_transform.py", "models/feature_transform",
    ("keys_moved_from_the_new_queries", "weights * keys + (1.0 - weights) * queries",
     "weights * keys + (1.0 - weights) * new_queries"),
    ("beta_of_small_parameters", "(-uniform).log1p() / shape_parameter", "(-uniform).log1p()"),
)  # fmt: skip

MOMENTUM = bugs_in(
    "models/momentum.py", "models/momentum",
    ("momentum_for_one_minus_momentum", "for name in old], 1.0 - momentum)", "for name in old], momentum)"),
    ("oldest_features_kept", "features[-self.size :]", "features[: self.size]"),
    ("buffers_not_copied", "[new_buffers[name] for name in old_buffers]", "list(old_buffers.values())"),
    ("positives_not_divided_by_temperature", "info_nce((queries * keys).sum(-1), ",
     "info_nce((queries * keys).sum(-1) * temperature, "),
    ("newest_row_of_the_queue_dropped", "% self.size\n        self.rows", "% max(self.size - 1, 1)\n        self.rows"),
    ("queue_written_from_its_first_row", "torch.arange(last - len(newest), last, device=self.rows.device) % self.size",
     "torch.arange(len(newest), device=self.rows.device)"),
    ("queue_in_the_order_of_its_rows", "[self.rows[oldest : len(self)], self.rows[:oldest]]",
     "[self.rows[: len(self)], self.rows[:0]]"),
    ("copy_in_the_graph", "    @torch.no_grad()\n    def forward(self", "    def forward(self"),
    ("copy_needs_gradients", ".requires_grad_(False)", ""),
)  # fmt: skip

CONTRASTIVE = bugs_in(
    "models/losses/contrastive.py",
    "models/losses/contrastive",
    ("positives_averaged_with_the_anchor", "/ counts.clamp_min(1), log_sums", "/ (counts + 1), log_sums"),
    (
        "tiled_gradient_of_rows_only",
        "d_keys.addmm_(slope.mT, keys[rows])",
        "d_keys.addmm_(slope.mT, keys[rows], alpha=0.0)",
    ),
    ("mean_over_all_rows", "return (losses * labels.anchor_weights(keys.dtype)).sum()", "return losses.mean()"),
    ("positives_pull_once", "-2.0 * weights", "-1.0 * weights"),
    ("partner_is_the_neighbour", "keys.roll(len(keys) // 2, 0)", "keys.roll(1, 0)"),
    ("exponents_beyond_their_range", "<= 0.5 * math.log(", "<= 50.0 * math.log("),
)

SYMMETRIC = bugs_in(
    "models/losses/symmetric.py", "models/losses/symmetric models/losses/contrastive",
    ("columns_have_no_sum", "value[:, tile.below :].sum(0)", "0.0 * value[:, tile.below :].sum(0)"),
    ("columns_do_not_pull", "pairs[:, tile.below :].mT, keys[tile.rows])",
     "pairs[:, tile.below :].mT, 0.0 * keys[tile.rows])"),
    ("pull_of_one_weight", "weights[tile.rows, None] + weights[tile.columns]",
     "weights[tile.rows, None] + 0.0 * weights[tile.columns]"),
    ("diagonal_is_a_pair", "base.diagonal().fill_(0.0)", "base.diagonal().mul_(1.0)"),
)  # fmt: skip

OTHER_LOSSES = (
    *bugs_in("models/losses/legacy.py", "models/losses/legacy",
             ("second_view_not_swapped", "second = unit_b @ torch.cat([unit_a, unit_b]).mT",
              "second = unit_b @ torch.cat([unit_b, unit_a]).mT")),
    *bugs_in("models/losses/divergence.py", "models/losses/divergence",
             ("other_divergence", "_relative_entropy(rows, (1.0 - smoothing) * target",
              "_relative_entropy(target, (1.0 - smoothing) * rows"),
             ("smoothing_not_taken_off", "(1.0 - smoothing) * rows + smoothing * uniform",
              "rows + smoothing * uniform")),
    *bugs_in("models/losses/objectives.py", "models/losses/objectives",
             ("intermediate_mean_of_two", "self.intermediate * (len(readings) - 1))", "self.intermediate)"),
             ("supcon_temperature_of_simclr", '"supcon": 0.1', '"supcon": 0.5'),
             ("tiled_power_of_the_other_readout", 'power = 2.0 if self.readout == "squared_relu" else 1.0',
              "power = 2.0")),
    *bugs_in("models/losses/readout.py", "models/losses/readout",
             ("square_of_the_other_readout", 'raw.square() if readout == "squared_relu"',
              'raw.square() if readout == "relu"'),
             ("heads_by_the_last", "raw.masked_fill(own, 0.0).mean(0)", "raw.masked_fill(own, 0.0)[-1]")),
)  # fmt: skip

PROBES = bugs_in(
    "models/cifar/evaluation/probes.py", "models/cifar/evaluation/probes",
    ("chosen_on_the_test_images", "accuracies = _knn_accuracies(train, validation, config",
     "accuracies = _knn_accuracies(train, test, config"),
    ("neighbours_without_validation", "knn_scores(fitted.features, fitted.labels, features",
     "knn_scores(train.features, train.labels, features"),
    ("linear_not_fitted_again", "fit_linear(fitted, weight", "fit_linear(train, weight"),
    ("votes_without_temperature", "((cosines - cosines[:, :1]) / temperature).exp()",
     "(cosines - cosines[:, :1]).exp()"),
    ("worst_candidate_chosen", "max(accuracies, key=", "min(accuracies, key="),
    ("narrow_interval", "clopper_pearson(correct, trials)", "clopper_pearson(correct, trials, 0.9)"),
)  # fmt: skip

ENCODERS = bugs_in(
    "models/encoders.py", "models/encoders",
    ("parts_of_rows_alone", "row.tensor_split(self.pool_size, 3)", "row.tensor_split(1, 3)"),
    ("parts_without_pixels_let_pass", "min(maps.shape[2:]) < self.pool_size", "min(maps.shape[2:]) < 1"),
)  # fmt: skip

OPTIMIZERS = bugs_in(
    "models/optim.py", "models/optim",
    ("weight_decay_ignored", "parameter_groups(module, config.weight_decay)", "parameter_groups(module, 0.0)"),
    ("nesterov_ignored", "config.momentum, config.nesterov", "config.momentum, False"),
    ("momentum_of_adamw_ignored", "betas=(config.momentum, 0.999)", "betas=(0.9, 0.999)"),
    ("biases_decayed", '"weight_decay": 0.0, "adapt": False', '"weight_decay": weight_decay, "adapt": False'),
    ("lars_upside_down", 'group["eta"] * sizes / slopes', 'group["eta"] * slopes / sizes'),
    ("schedule_ends_at_the_peak", "1.0 + math.cos(math.pi *", "1.0 + math.cos(2.0 * math.pi *"),
)  # fmt: skip

VIEWS = bugs_in(
    "models/cifar/data/view_operations.py", "models/cifar/data/views",
    ("hue_turned_twice", "(turn * (3.0 / math.pi))", "(turn * (6.0 / math.pi))"),
)  # fmt: skip

BUGS = (
    *ATTENTION, *STACK, *TILED, *SOFTMAX_STACK, *TRANSFORMATION, *MOMENTUM, *CONTRASTIVE, *SYMMETRIC, *OTHER_LOSSES,
    *PROBES, *ENCODERS, *OPTIMIZERS, *VIEWS,
)  # fmt: skip

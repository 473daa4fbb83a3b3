"""Bugs in the methods and the training loop: settings that do nothing, and images that are not what they should be."""

from tests.mutants.bugs import bugs_in

METHODS = bugs_in(
    "models/cifar/methods/learners.py",
    "models/cifar/oracles models/cifar/training/settings models/cifar/training/train",
    ("momentum_copy_never_updated", "copy.update(module)", "copy.update(copy.module)"),
    ("copy_of_the_head_never_updated", "zip(self.copies, (self.encoder, self.head))",
     "zip(self.copies, (self.encoder,))"),
    ("temperature_ignored", ", temperature=method.temperature)", ")"),
    ("moco_temperature_ignored", "info_nce(*scores, config.temperature)", "info_nce(*scores)"),
    ("intermediate_ignored", "intermediate=method.intermediate", "intermediate=1.0"),
    ("union_ignored", "torch.cat([negatives, mixed]) if config.union else mixed", "mixed"),
    ("symmetric_ignored", "[: 1 + self.config.symmetric]", "[:1]"),
    ("transform_from_epoch_ignored", " or batch.epoch < config.transform_from_epoch", ""),
    ("pairs_not_transformed", "pair = _transformed_pair(config, queries, keys, draws)",
     "pair = (queries, keys)"),
    ("queue_not_transformed", "negatives = _transformed_queue(config, negatives, draws)",
     "pass"),
    ("beta_of_the_negatives", "config.positive_beta, len(queries)", "config.negative_beta, len(queries)"),
    ("beta_of_the_positives", "config.negative_beta, queued", "config.positive_beta, queued"),
    ("interpolation_for_extrapolation", "extrapolate_positives(queries, keys, 1.0 + weights)",
     "interpolate_positives(queries, keys, weights)"),
    ("dimension_wise_ignored", "(rows, like.shape[1]) if config.dimension_wise else (rows,)", "(rows,)"),
    ("momentum_ignored", "MomentumCopy(module, config.momentum)", "MomentumCopy(module)"),
    ("queue_size_ignored", "config.queue_size or LARGEST_QUEUE", "LARGEST_QUEUE"),
    ("normalize_ignored", "normalize=method.normalize", "normalize=True"),
    ("classes_ignored", "if self.supervised:", "if False:"),
    ("classes_ignored_by_transfusion", " or (isinstance(method, TransFusion) and method.supervised)", ""),
    ("classes_of_neighbouring_rows", "of_classes(gather_labels(batch.labels), 2)",
     "of_classes(gather_labels(batch.labels).repeat_interleave(2), 1)"),
    ("both_views_in_one_attention", "self.head(rows, views=2), labels", "self.head(rows), labels"),
    ("negatives_scored_by_the_transformed_query", "queries @ negatives.mT", "pair[0] @ negatives.mT"),
    ("keys_queued_before_the_loss", "self._keys = keys\n\n        def",
     "[self.queue.enqueue(each) for each in keys]\n\n        def"),
    ("keys_of_the_trained_networks", "self.copies[1](self.copies[0](key))", "self.head(self.encoder(key))"),
)  # fmt: skip

TRAINER = bugs_in(
    "models/cifar/training/train.py", "models/cifar/oracles models/cifar/parts models/cifar/training/train",
    ("constant_learning_rate", "set_learning_rate(state.optimizer, rate)",
     "set_learning_rate(state.optimizer, config.optimiser.learning_rate)"),
    ("both_views_identical", "in (Stream.FIRST_VIEW, Stream.SECOND_VIEW)",
     "in (Stream.FIRST_VIEW, Stream.FIRST_VIEW)"),
    ("same_views_every_epoch", "generator_of(config, stream, epoch, place)", "generator_of(config, stream, 0, place)"),
    ("same_views_every_step", "place = step * world_size() + rank()", "place = rank()"),
    ("method_draws_alike_every_step", "generator_of(config, Stream.METHOD, epoch, step)",
     "generator_of(config, Stream.METHOD, epoch)"),
    ("schedule_begins_anew_every_epoch", "place, peak = state.epoch * steps + step,", "place, peak = step,"),
    ("labels_of_other_images", "train.labels[index], epoch", "train.labels[index.roll(1)], epoch"),
    ("no_shuffling", "order = torch.randperm(count, generator=generator_of(config, Stream.ORDER, epoch))",
     "order = torch.arange(count)"),
    ("same_order_every_epoch", "generator_of(config, Stream.ORDER, epoch)", "generator_of(config, Stream.ORDER, 0)"),
    ("nothing_follows_the_step", "learner.after_step()", "learner.training"),
    ("warmup_of_one_epoch", "config.optimiser.warmup_epochs * steps", "1 * steps"),
)  # fmt: skip

DRAWS = bugs_in(
    "models/cifar/training/state.py", "models/cifar/parts models/cifar/training/train",
    ("same_draws_every_epoch", "for part in (config.seed, stream, epoch, step)",
     "for part in (config.seed, stream, 0, step)"),
    ("seed_ignored", "for part in (config.seed, stream,", "for part in (0, stream,"),
)  # fmt: skip

EVALUATION = (
    *bugs_in("models/cifar/evaluate.py",
             "models/cifar/parts models/cifar/evaluation/features models/cifar/training/train",
             ("validation_and_test_swapped_by_the_probes", 'found["validation"], found.get("test")',
              'found["test"], found["validation"]'),
             ("labels_not_shuffled_along", "labels[name] = images.labels[order]", "labels[name] = images.labels")),
    *bugs_in("models/cifar/evaluation/epoch_measures.py", "models/cifar/parts models/cifar/training/train",
             ("monitor_shows_the_training_images", "splits.validation if len(splits.validation) else splits.train",
              "splits.train"),
             ("monitor_shows_the_test_images", "splits.validation if len(splits.validation) else splits.train",
              "splits.test")),
)  # fmt: skip

ORIGINS = (
    *bugs_in("models/cifar/data/fingerprint.py", "models/cifar/data/fingerprint",
             ("classes_of_images_not_hashed", "found.update(labels)", "pass"),
             ("pixels_not_hashed", "pixels.reshape(-1).data if pixels.size else", "")),
    *bugs_in("models/cifar/training/checkpoint.py", "models/cifar/training/checkpoint",
             ("checksum_not_compared", "elif kept != found:", "elif False:"),
             ("tensors_not_under_the_checksum", "    found.update(values.reshape", "    (values.reshape")),
    *bugs_in("models/cifar/training/schema.py", "models/cifar/training/checkpoint",
             ("weights_may_be_nan", "tensor.dtype.is_floating_point and not", "False and not"),
             ("expanded_tensors_are_read", "if value.numel() * value.element_size() >", "if 0 >")),
    *bugs_in("models/cifar/training/state.py", "models/cifar/training/origins",
             ("images_not_those_of_the_checkpoint", "    if images:\n", "    if False:\n"),
             ("images_not_those_of_the_folder", "    if told:\n        raise ValueError(f\"--resume {folder}",
              "    if False:\n        raise ValueError(f\"--resume {folder}")),
    *bugs_in("models/cifar/training/read_config.py", "models/cifar/training/origins",
             ("more_epochs_of_any_schedule", "before[\"optimiser\"][\"schedule\"] == \"constant\" and ", "")),
    *bugs_in("models/cifar/training/initial.py", "models/cifar/training/origins",
             ("momentum_copies_stay_new", "copy.module.load_state_dict(module.state_dict())", "pass")),
    *bugs_in("models/cifar/compare.py", "models/cifar/other_images",
             ("other_images_as_another_seed", '{"images": run.data["sha256"], "init"', '{"images": None, "init"'),
             ("started_weights_as_another_seed", '"sha256"], "init": run.init}', '"sha256"], "init": None}')),
    *bugs_in("models/cifar/evaluation/epoch_measures.py", "models/cifar/evaluation/left_out",
             ("zero_rows_count_as_found", "right = torch.zeros(len(read)", "right = torch.ones(len(read)")),
)  # fmt: skip

BUGS = (*METHODS, *TRAINER, *DRAWS, *EVALUATION, *ORIGINS)

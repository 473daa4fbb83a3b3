"""Bugs in the methods and the training loop: settings that do nothing, and images that are not what they should be."""

from tests.mutants.bugs import bugs_in

METHODS = bugs_in(
    "models/cifar/methods.py", "models/cifar/train paper_checks/image_claims",
    ("momentum_copy_never_updated", "copy.update(module)", "copy.update(copy.module)"),
    ("temperature_ignored", "replace(objective, temperature=method.temperature)", "objective"),
    ("moco_temperature_ignored", "0.2 if config.temperature is None else config.temperature", "0.2"),
    ("intermediate_ignored", "intermediate=method.intermediate", "intermediate=1.0"),
    ("union_ignored", "torch.cat([negatives, mixed]) if self.config.union else mixed", "mixed"),
    ("symmetric_ignored", "[: 1 + self.config.symmetric]", "[:1]"),
    ("transform_from_epoch_ignored", "if self.transform and batch.epoch >= self.config.transform_from_epoch:",
     "if self.transform:"),
    ("pairs_not_transformed", "pair = self._transform_pair(queries, keys, batch.generator)", "pair = (queries, keys)"),
    ("beta_of_the_negatives", "self._weights(self.config.positive_beta,", "self._weights(self.config.negative_beta,"),
    ("interpolation_for_extrapolation", "extrapolate_positives(queries, keys, 1.0 + weights)",
     "interpolate_positives(queries, keys, weights)"),
    ("dimension_wise_ignored", "tuple(rows.shape) if self.config.dimension_wise else (len(rows),)", "(len(rows),)"),
    ("momentum_ignored", "MomentumCopy(module, config.momentum)", "MomentumCopy(module)"),
    ("queue_size_ignored", "config.queue_size or LARGEST_QUEUE", "LARGEST_QUEUE"),
    ("normalize_ignored", "normalize=method.normalize", "normalize=True"),
    ("classes_ignored", "if self.supervised:", "if False:"),
    ("negatives_scored_by_the_transformed_query", "moco_logits(queries, keys, negatives, **options)[:, 1:]",
     "moco_logits(*pair, negatives, **options)[:, 1:]"),
)  # fmt: skip

TRAINER = bugs_in(
    "models/cifar/train.py", "models/cifar/train paper_checks/image_claims",
    ("constant_learning_rate", "set_learning_rate(state.optimiser, rate)",
     "set_learning_rate(state.optimiser, config.optimiser.learning_rate)"),
    ("both_views_identical", "for stream in (FIRST_VIEW, SECOND_VIEW)", "for stream in (FIRST_VIEW, FIRST_VIEW)"),
    ("same_views_every_epoch", "generator_of(config, stream, epoch, place)", "generator_of(config, stream, 0, place)"),
    ("labels_of_other_images", "train.labels[index], epoch", "train.labels[index.roll(1)], epoch"),
    ("no_shuffling", "order = torch.randperm(count, generator=generator_of(config, ORDER, epoch))",
     "order = torch.arange(count)"),
    ("same_order_every_epoch", "generator_of(config, ORDER, epoch)", "generator_of(config, ORDER, 0)"),
    ("nothing_follows_the_step", "state.learner.after_step()", "state.learner.training"),
    ("warmup_of_one_epoch", "config.optimiser.warmup_epochs * steps", "1 * steps"),
)  # fmt: skip

EVALUATION = (
    *bugs_in("models/cifar/evaluate.py", "models/cifar/train models/cifar/features",
             ("validation_and_test_swapped_by_the_probes", "train, validation, test = (",
              "train, test, validation = ("),
             ("labels_not_shuffled_along", "labels[name] = images.labels[order]", "labels[name] = images.labels")),
    *bugs_in("models/cifar/data.py", "models/cifar/data",
             ("validation_and_test_swapped", 'validation=parts["train"].subset(chosen),\n        test=parts["test"],',
              'validation=parts["test"],\n        test=parts["train"].subset(chosen),'),
             ("held_out_images_trained_on", 'parts["train"].subset(~chosen) if held_out.any() else parts["train"]',
              'parts["train"]')),
    *bugs_in("models/cifar/progress.py", "models/cifar/train models/cifar/measure",
             ("monitor_shows_the_training_images", "splits.validation if len(splits.validation) else splits.train",
              "splits.train")),
)  # fmt: skip

BUGS = (*METHODS, *TRAINER, *EVALUATION)

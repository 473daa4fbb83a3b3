"""A seed draws the images that are used and held out, the same for all arms; test images never change."""

from dataclasses import replace

import pytest
import torch

from models.cifar.data.images import DataConfig, load_images
from paper_checks.catalogue import all_claims
from paper_checks.tasks import unique
from paper_checks.tiers import CPU, GPU, QUICK
from paper_checks.trainings.arms import MOCO, SIMCLR, Training
from paper_checks.trainings.two_processes import TwoProcessTraining

SMALL = DataConfig(image_size=8, limit=14)


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU])
def test_a_seed_draws_the_images_for_all_arms(tier):
    tasks = unique(task for claim in all_claims().values() for task in claim.tasks(tier))
    trainings = [task for task in tasks if isinstance(task, (Training, TwoProcessTraining))]
    draws = {}
    for task in trainings:
        draws.setdefault(task.config.seed, set()).add(task.config.data)
    assert sorted(draws) == list(tier.all_seeds)
    assert all(len(each) == 1 for each in draws.values()), "arms of one seed are paired"
    assert len(set.union(*draws.values())) == tier.seeds, "no two seeds share a draw"


@pytest.mark.parametrize("data", [SMALL, replace(SMALL, limit=None)])
def test_seeds_differ_in_training_and_validation_images_and_not_in_test_images(data):
    tier = replace(QUICK, seeds=2, config=replace(QUICK.config, data=data))
    one, other = (load_images(task.config.data) for task in SIMCLR.trainings(tier))
    again = load_images(MOCO.trainings(tier)[1].config.data)
    for name in ("train", "validation"):
        first, second, third = (getattr(splits, name) for splits in (one, other, again))
        assert not torch.equal(first.images, second.images)
        assert torch.equal(first.labels.bincount(), second.labels.bincount())
        assert torch.equal(second.images, third.images)
    assert torch.equal(one.test.images, other.test.images)

    def rows(splits):
        return {row.numpy().tobytes() for part in (splits.train, splits.validation) for row in part.images}

    assert (rows(one) == rows(other)) == (data.limit is None), "with a limit other images are used at all"

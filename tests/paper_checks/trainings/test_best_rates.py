"""Arms at their best learning rate: chosen on validation images of each seed, read on test images once."""

import math
from dataclasses import replace

import numpy as np
import pytest

from paper_checks.papers import transfusion_training
from paper_checks.papers.transfusion_training import LABELLED, SAME, SUPCON, TRANSFUSION
from paper_checks.statistics.decisions import decide
from paper_checks.tiers import GPU, QUICK
from paper_checks.trainings.arms import SIMCLR
from paper_checks.trainings.best_rates import at_chosen, best_contrast, chosen, rate_tasks, rate_words, rates

TIER = replace(QUICK, seeds=3, cap=3)
T8 = next(claim for claim in transfusion_training.CLAIMS if claim.id == "T8")


class Planted:
    """Tables of trainings with given (validation, test) accuracies, by (method, factor of the rate, seed)."""

    def __init__(self, accuracies):
        self.accuracies = accuracies

    def table(self, task, name):
        method, rate = task.config.method, task.config.optimiser.learning_rate
        if name == "epochs":
            return [{"gradient_norm": 1e-3 if method.name == "transfusion" else 1.0, "seconds": 1.0}] * 2
        if name == "layers":
            return [{"epoch": 1, "part": "reading", "index": 0, "sharpness": 0.5}]
        factor = round(rate / QUICK.config.optimiser.learning_rate, 2)
        validation, test = self.accuracies(method.name, factor, task.config.seed)
        return [{"features": "h", "probe": "linear", "accuracy": test, "validation_accuracy": validation,
                 "encoder_parameters": 1.0, "head_parameters": 1.0}]  # fmt: skip


def test_a_grid_is_the_tiers_rate_and_three_times_less_and_more():
    for arm in (SIMCLR, TRANSFUSION):
        found = {
            factor: each.trainings(QUICK)[0].config for factor, each in rates(QUICK, arm, arm is TRANSFUSION).items()
        }
        base = arm.trainings(QUICK)[0].config
        assert found[1.0] == base
        for factor, config in found.items():
            assert config.optimiser.learning_rate == pytest.approx(3e-3 * factor)
            assert replace(config, optimiser=base.optimiser) == base, "nothing but the rate"
    assert list(found) == [1 / 3, 1.0, 3.0]


def test_with_sgd_a_faint_loss_is_scaled_as_a_whole():
    """One step w - rate (g + decay w) of the loss times f is one of rate f and decay / f."""
    assert GPU.config.optimiser.kind == "sgd"
    base = GPU.config.optimiser
    for factor, arm in rates(GPU, TRANSFUSION, faint=True).items():
        step = arm.trainings(GPU)[0].config.optimiser
        assert factor in (1.0, 30.0, 1000.0)
        w, g = 0.7, 1e-3
        ours = w - step.learning_rate * (g + step.weight_decay * w)
        assert ours == pytest.approx(w - base.learning_rate * (factor * g + base.weight_decay * w), rel=1e-12)
    assert list(rates(GPU, SIMCLR)) == [1 / 3, 1.0, 3.0]


def test_the_choice_is_by_validation_images_of_the_seed_and_test_images_take_no_part():
    best = {0: 0.33, 1: 3.0, 2: 1.0}

    def accuracies(method, factor, seed):
        # On test images the chosen one is the worst.
        return (0.9, 0.2 + 0.01 * seed) if factor == best[seed] else (0.5, 0.8)

    grid, results = rates(TIER, SIMCLR), Planted(accuracies)
    assert chosen(results, TIER, grid) == {0: 1 / 3, 1: 3.0, 2: 1.0}
    assert at_chosen(results, TIER, grid) == pytest.approx({0: 0.2, 1: 0.21, 2: 0.22})
    assert rate_words(results, TIER, {"SimCLR": (SIMCLR, False)}) == (
        "SimCLR 21.0% at its best rate (×1/3 1, ×1 1, ×3 1 of 3 seeds, 2 at an end of the grid), 60.7% at the tier's"
    )
    equal = Planted(lambda method, factor, seed: (0.5, factor))
    assert set(chosen(equal, TIER, grid).values()) == {1 / 3}, "of equals the first"


def test_a_comparison_that_is_the_learning_rates_is_seen_as_one():
    """At the tier's rate TransFusion is 20 points behind; at the best one of each it is 5 points ahead."""

    def accuracies(method, factor, seed):
        noise = 0.001 * ((seed * (len(method) // 4)) % 5)
        value = {"transfusion": {0.33: 0.4, 1.0: 0.5, 3.0: 0.75}}.get(method, {0.33: 0.6, 1.0: 0.7, 3.0: 0.65})[factor]
        return value + noise, value + noise

    results = Planted(accuracies)
    five = replace(QUICK, seeds=5, chosen_rates=True)
    contrast = best_contrast(results, five, "", (TRANSFUSION, True), (SIMCLR, False))
    assert np.mean(contrast.differences) == pytest.approx(0.05, abs=0.002)
    found = T8.judge(results, five)
    assert found.answer == decide(found.contrasts) == "reproduced"
    assert "Choosing rates moves the differences by +25.0, +25.0 points." in found.sentence
    assert "Mean norm of the gradient: transfusion 0.001, base 1," in found.sentence
    assert {(row["curve"], row["value"]) for row in found.tables["points"]} == {
        (name, factor) for name in ("transfusion", "transfusion,supervised=True", "base", "supcon")
        for factor in (1 / 3, 1.0, 3.0)}  # fmt: skip
    tasks = T8.tasks(five)
    assert len(set(tasks)) == 4 * 3 * 5
    assert set(tasks) == set(rate_tasks(five, {TRANSFUSION: True, LABELLED: True, SIMCLR: False, SUPCON: False}))
    same = next(each for each in T8.readings if each.name == SAME)
    assert same.judge(results, five).answer == T8.judge(results, QUICK).answer == "contradicted", "at one rate"
    assert set(same.tasks(five)) == set(T8.tasks(QUICK)) < set(tasks)


def test_no_second_best_stands_in_for_a_training_that_has_collapsed():
    """Compared at a rate that nobody would choose a method is contradicted by its choice."""

    class Collapsed(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            method, rate = task.config.method.name, task.config.optimiser.learning_rate
            factor = round(rate / QUICK.config.optimiser.learning_rate, 2)
            if name == "epochs":
                fallen = method == "transfusion" and (factor == 3.0 or (factor == 1.0 and task.config.seed == 1))
                return [{"epoch": 1.0, "gradient_norm": 0.0 if fallen else 1.0, "seconds": 1.0}]
            return rows

    results = Collapsed(lambda method, factor, seed: (0.5 - 0.1 * abs(factor - 1.0) + 0.01 * seed,) * 2)
    grid = rates(TIER, TRANSFUSION)
    assert set(chosen(results, TIER, grid).values()) == {1.0}
    found = at_chosen(results, TIER, grid)
    assert (found[0], found[2]) == pytest.approx((0.5, 0.52))
    assert math.isnan(found[1])
    words = rate_words(results, TIER, {"TransFusion": (TRANSFUSION, True)})
    assert (
        words == "TransFusion 51.0% over 2 seeds at its best rate (×1 3 of 3 seeds), 51.0% over 2 seeds at the tier's"
    )
    finding = T8.judge(results, replace(QUICK, seeds=3, cap=3, chosen_rates=True))
    assert finding.answer == "undecided"
    assert "moves the differences by (unknown), " in finding.sentence

"""One training: its batches, what is measured, and that it learns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.heads import HeadConfig, build_head
from models.losses import Objective, objective_from_name
from synthetic.batches.geometry import Geometry
from synthetic.training.ablations import LEARNING_RATES, build_variants
from synthetic.training.batch_source import BatchSource
from synthetic.training.evaluation import evaluate
from synthetic.training.ideal_weights import law_of_source, measure_ideal
from synthetic.training.training import (
    MEASURES,
    Optimisation,
    TrainingTask,
    clear_change,
    train,
)
from tests import reference
from theory.judging.verdicts import Status
from theory.noise_ceiling import gaussian_separation

CPU = torch.device("cpu")
GEOMETRY = Geometry(num_clusters=3, subspace_dim=2, within_cos=0.8)


def source(**changes):
    settings = {"geometry": GEOMETRY, "ambient_dim": 12, "batch_size": 18, "noise_level": 0.5, "supervision": "labels",
                "subspaces": "fixed", "seed": 0}  # fmt: skip
    return BatchSource(**{**settings, **changes})


def task(steps=120, objective=None, head=None, keep_maps=False, rate=3e-3, **changes):
    head = head or HeadConfig("transfusion", width=16, depth=2, out_dim=16)
    how = Optimisation(steps=steps, learning_rate=rate, evaluations=2, evaluation_batches=8)
    return TrainingTask(
        0, "arm", source(**changes), head, objective or Objective(intermediate=1.0), how, 0, keep_maps=keep_maps
    )


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_the_same_whenever_it_is_asked_for():
    first, again = source().batch(3), source().batch(3)
    torch.testing.assert_close(first.points, again.points, rtol=0, atol=0)
    for other in (source().batch(4), source().batch(3, evaluation=True), source(seed=1).batch(3)):
        assert (other.points - first.points).abs().max() > 0.1
    assert torch.equal(first.targets, first.classes)


def test_two_views_are_two_draws_on_one_point():
    batch = source(supervision="views", noise_level=0.0).batch(0)
    one, two = batch.points.chunk(2)
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    noisy = source(supervision="views", noise_level=0.3).batch(0)
    one, two = noisy.points.chunk(2)
    gap = (one - two).norm(dim=-1)
    assert gap.min() > 0.05
    assert batch.views == 2
    assert torch.equal(batch.targets, torch.arange(9).repeat(2))
    assert torch.equal(batch.samples, batch.targets)
    assert torch.equal(batch.classes.bincount(), torch.tensor([6, 6, 6]))


def test_fresh_subspaces_change_from_batch_to_batch():
    def spread(kind):
        points = torch.stack([source(subspaces=kind, noise_level=0.0).batch(i).points for i in range(6)])
        first = points[:, :6].reshape(-1, 12)
        return torch.linalg.svdvals(first)[2].item()

    assert spread("fixed") < 1e-12, "one cluster's points stay in its two dimensions"
    assert spread("fresh") > 0.1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"supervision": "views", "batch_size": 19}, "batch_sizes"),
        ({"supervision": "words"}, "supervision"),
        ({"subspaces": "moving"}, "subspaces"),
        ({"batch_size": 4}, "batch_sizes"),
        ({"ambient_dim": 5}, "ambient_dim"),
        ({"noise_level": -1.0}, "noise_level"),
    ],
)
def test_batches_that_cannot_be_are_refused(changes, name, as_users_call):
    with pytest.raises(ValueError, match=name):
        source(**changes)


# --- measurements -----------------------------------------------------------------------------------------------------


def test_measurements_are_the_double_loop():
    """A head that changes nothing: what is measured is what the points themselves say."""
    head = build_head(HeadConfig("none"), 12).double()
    found = evaluate(head, source(), 3, CPU)
    (layer,) = found.layers
    for number in range(3):
        batch = source().batch(number, evaluation=True)
        points, classes = batch.points.numpy(), batch.classes.numpy()
        affinity = reference.affinity(points, 1e-10, 2)
        same = classes[:, None] == classes[None, :]
        np.fill_diagonal(same, False)
        assert layer.sharpness[number] == pytest.approx((affinity * same).sum(1).mean(), abs=1e-12)
        assert layer.jsd[number] == pytest.approx(float(reference.mean_affinity_jsd(affinity, classes)), abs=1e-12)
        within, cross = reference.extremes(points, classes)
        assert layer.integrity[number] == pytest.approx(min(within) - max(cross), abs=1e-12)
        # Every pair counts from both of its ends.
        quantiles = np.quantile(np.tile(within, 2), 0.05) - np.quantile(np.tile(cross, 2), 0.95)
        assert layer.quantile_integrity[number] == pytest.approx(quantiles, abs=1e-12)
        cosines = points @ points.T - 3.0 * np.eye(len(points))
        assert found.neighbour_accuracy[number] == (classes[cosines.argmax(1)] == classes).mean()
    assert (layer.certified <= layer.sharpness).all()
    assert found.verdict.status is Status.HOLDS
    assert np.isnan(layer.attention).all()


def test_the_other_view_of_a_sample_is_no_neighbour():
    """Without noise every row's nearest is its own other view; what counts is the nearest other sample."""
    head = build_head(HeadConfig("none"), 12).double()
    noisy = source(supervision="views", noise_level=1.5)
    found = evaluate(head, noisy, 4, CPU)
    for number in range(4):
        batch = noisy.batch(number, evaluation=True)
        points, classes, samples = (each.numpy() for each in (batch.points, batch.classes, batch.samples))
        nearest = [max((j for j in range(18) if samples[j] != samples[i]), key=lambda j: points[i] @ points[j])
                   for i in range(18)]  # fmt: skip
        assert found.neighbour_accuracy[number] == (classes[nearest] == classes).mean()


def test_attention_mass_is_of_the_weights_that_were_applied():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = build_head(HeadConfig("deepfusion", width=16, depth=2, num_heads=2), 12).double().eval()
    found = evaluate(head, source(supervision="views"), 1, CPU)
    batch = source(supervision="views").batch(0, evaluation=True)
    weights = head(batch.points, views=2, trace=True).attentions[1].detach().numpy()
    classes = batch.classes.numpy()
    mass = np.mean([w[i, classes == classes[i]].sum() for w in weights for i in range(len(classes))])
    assert found.layers[1].attention[0] == pytest.approx(mass, abs=1e-12)


def test_a_change_is_clear_beyond_two_standard_errors():
    before = np.zeros(4)
    assert clear_change(before, np.array([1.0, 1.1, 0.9, 1.0])) == 1
    assert clear_change(before, -np.array([1.0, 1.1, 0.9, 1.0])) == -1
    assert clear_change(before, np.array([1.0, -1.1, 0.9, -1.0])) == 0
    assert clear_change(before[:1], np.array([1.0])) == 0


# --- training ---------------------------------------------------------------------------------------------------------


def test_training_sharpens_what_it_is_asked_to():
    result = train(task(keep_maps=True), CPU)
    first = [row for row in result.history if row["step"] == 0]
    last = [row for row in result.history if row["step"] == 120]
    assert [row["layer"] for row in last] == [0, 1, 2]
    assert last[-1]["sharpness"] > first[-1]["sharpness"] + 0.1
    assert result.row["sharpness"] == last[-1]["sharpness"]
    assert result.row["certified"] <= result.row["sharpness"]
    assert result.row["history_rows"] == len(result.history)
    assert result.verdict.status is Status.HOLDS
    assert len(result.maps) == 2 * 3 * 18
    for row in result.maps:
        assert sum(row[f"c{j}"] for j in range(18)) == pytest.approx(1.0, abs=0.01)


def test_the_same_task_gives_the_same_numbers():
    def numbers(seed=0):
        row = train(replace(task(steps=20), seed=seed), CPU).row
        return {name: value for name, value in row.items() if name not in ("seconds", "step_ms", "seed")}

    torch.manual_seed(5)
    first = numbers()
    torch.manual_seed(6)
    assert numbers() == first, "the initialization is the task's own"
    assert numbers(seed=1)["loss"] != first["loss"]


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train(task(steps=2), CPU)
    assert torch.rand(1) == expected


def test_a_training_that_blows_up_says_so():
    result = train(task(rate=1e30, objective=objective_from_name("nt_xent", normalize=False)), CPU)
    assert result.row["diverged"]
    assert all(math.isnan(result.row[name]) for name in MEASURES)
    assert result.row["history_rows"] == len(result.history) > 0


def test_learning_rates_warm_up_and_fall_to_nothing(monkeypatch):
    """What the optimizer is told, step by step."""
    rates = []
    step = torch.optim.Adam.step

    def listed(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", listed)
    train(task(steps=40, rate=0.01), CPU)
    assert rates[:2] == pytest.approx([0.005, 0.01])
    assert rates[2] == 0.01
    assert np.all(np.diff(rates[2:]) < 0)
    assert rates[21] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 19 / 38)))


# --- what it is compared with -----------------------------------------------------------------------------------------


def test_the_map_raises_the_ceiling_by_the_noise_it_takes_away():
    law, mapped = law_of_source(source(), 0.05), law_of_source(source(), 0.05, mapped=True)
    assert law.separation() == gaussian_separation(12, 3, (6, 6, 6), 0.8, 0.0, 0.05)
    assert mapped.separation() == pytest.approx(gaussian_separation(6, 3, (6, 6, 6), 0.8, 0.0, 0.05) * math.sqrt(2))
    assert law_of_source(source(subspaces="fresh"), 0.05, mapped=True) is None
    random = source(geometry=replace(GEOMETRY, arrangement="random"))
    assert law_of_source(random, 0.05, mapped=True) is None


def test_ideal_weights_separate_below_their_ceiling():
    law = law_of_source(source(), 0.05)
    row = measure_ideal(source(noise_level=0.9 * law.persistence()), 3, 20, 0.05)
    assert row["identity_separated"] == 1.0
    assert row["identity_sharpness"] == pytest.approx(1.0, abs=1e-9)
    assert row["input_sharpness"] < row["identity_sharpness"]
    noisy = measure_ideal(source(noise_level=1.2), 3, 20, 0.05)
    assert noisy["mapped_sharpness"] > noisy["input_sharpness"]


# --- ablations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ["none", "loss", "learning_rate", "depth", "attention", "supervision"])
def test_arms_differ_in_what_they_say(ablation):
    arms = build_variants(ablation, HeadConfig(width=16, out_dim=16), Objective(), "labels", Optimisation())
    keys = [(arm.name, arm.optimisation.learning_rate, arm.head.depth) for arm in arms]
    assert len(set(keys)) == len(keys)
    settings = [(arm.head, arm.objective, arm.supervision, arm.optimisation) for arm in arms]
    assert len(set(settings)) == len(settings), "no two arms are the same training"
    if ablation in ("loss", "learning_rate"):
        assert {arm.optimisation.learning_rate for arm in arms} == set(LEARNING_RATES)
        assert max(LEARNING_RATES) / min(LEARNING_RATES) == pytest.approx(1000.0)

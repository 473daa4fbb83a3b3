"""L1 and L2: what was registered is judged; planted limits are found, missed ones contradicted, chance is not."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.cifar.data.images import DataConfig
from models.cifar.training.checks import without_idle
from models.encoders import EncoderConfig
from paper_checks import __main__ as command
from paper_checks import tiers
from paper_checks.limits import trainings
from paper_checks.papers import limits
from paper_checks.papers.limits import CLAIMS, EMBEDDED, METHODS, STRENGTHS, batch_sizes, batch_training
from paper_checks.tasks import Results, carry_out, unique
from paper_checks.tiers import CPU, GPU, QUICK, LimitSizes
from tests.command_lines import status_of

ROOT = Path(__file__).parents[3]
REGISTERED = (ROOT / "paper_checks/registered/limits_on_real_data.md").read_text()
L1, L2 = CLAIMS
TINY = replace(
    QUICK,
    config=replace(QUICK.config, data=DataConfig(image_size=8, limit=24), encoder=EncoderConfig("small", width=2),
                   batch_size=32, measure_images=20),
    limits=LimitSizes(epochs=1, smallest_batch=4, epochs_at_smallest_batch=1, seeds=2),
)  # fmt: skip


def test_the_numbers_are_those_that_were_registered():
    numbers = json.loads(re.search(r"```json\n(.*?)```", REGISTERED, re.DOTALL).group(1))
    every = {"quick": QUICK, "cpu": CPU, "gpu": GPU}
    assert numbers == {
        "seeds": QUICK.limits.seeds, "validation_share": limits.VALIDATION_SHARE, "strengths": list(STRENGTHS),
        "embedded_strengths": list(EMBEDDED), "methods": list(METHODS.values()), "margin": limits.MARGIN,
        "batch_factors": list(limits.BATCH_FACTORS), "batch_method": limits.BATCH_METHOD,
        "batch_strength": limits.BATCH_STRENGTH,
        **{name: {tier: getattr(each.limits, name) for tier, each in every.items()}
           for name in ("epochs", "smallest_batch", "epochs_at_smallest_batch")},
    }  # fmt: skip
    assert {each.limits.seeds for each in every.values()} == {5}
    assert limits.FEWEST_LEVELS == 5
    assert "fewer than\nfive levels" in REGISTERED


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU])
def test_the_arms_are_those_that_were_registered(tier):
    strengths, batches = (unique(claim.tasks(tier)) for claim in CLAIMS)
    assert (len(strengths), len(batches)) == (70, 30)
    assert len({task.name for task in (*strengths, *batches)}) == 100
    for task in (*strengths, *batches):
        config = task.config
        assert config.data.validation_share == 0.3
        assert config.data.split_seed == config.seed
        assert config.measure_every == config.epochs
        # Nothing else than what the arm is about differs from the tier's own training.
        assert (config.encoder, config.optimiser) == (tier.config.encoder, tier.config.optimiser)
        # A tier's head has sizes for all methods, of which each keeps those that it reads.
        assert config.head == without_idle(replace(config, head=tier.config.head)).head
        assert replace(config.view, strength=1.0) == tier.config.view
    assert {task.config.batch_size for task in strengths} == {tier.config.batch_size}
    assert {task.config.view.strength for task in strengths} == set(STRENGTHS)
    assert {task.config.view.strength for task in batches} == {0.4}
    sizes = batch_sizes(tier)
    assert max(sizes) == 32 * min(sizes)
    # As many images a unit of batch: the same number of updates but for what fills no batch.
    assert {task.config.epochs / task.config.batch_size for task in batches} == {
        tier.limits.epochs_at_smallest_batch / tier.limits.smallest_batch
    }
    assert [task.asks for task in batches if task.config.batch_size == max(sizes)] == ["floor"] * 5
    warm = {task.config.optimiser.warmup_epochs <= task.config.epochs for task in batches}
    assert warm == {True}


@pytest.fixture(autouse=True)
def tasks_made_once(monkeypatch):
    """The same in every round; to make them takes longer than to judge."""
    for name in ("strength_training", "batch_training"):
        monkeypatch.setattr(limits, name, cache(getattr(limits, name)))


class Planted:
    """Tables of finished trainings: accuracy and critical strength, or floor, from functions of (task)."""

    def __init__(self, accuracy, advice, noise=0.0, seed=0):
        self.accuracy, self.advice, self.noise = accuracy, advice, noise
        self.rng = np.random.default_rng(seed)
        self.table = cache(self.table)

    def table(self, task, name):
        if name == "epochs":
            value = self.accuracy(task) + self.noise * self.rng.normal()
            # Of the first epoch nothing was measured.
            return [{"epoch": 0.0, "loss": 1.0}, {"epoch": float(task.config.epochs), "knn": value}]
        assert name == "advice"
        return self.advice(task, self.rng)


def critical(value, noise=0.0):
    def rows(task, rng):
        found = value(task.config.view.strength) + noise * rng.normal()
        known = np.isfinite(found) and found <= EMBEDDED[-1]
        low = np.nan if not np.isfinite(found) else min(found, EMBEDDED[-1]) - 0.05
        return [{"name": "strength_relu", "value": found if known else np.nan, "low": low, "high": np.nan}]

    return rows


def turning_at(peak, method=None, other=None):
    def accuracy(task):
        at = other if method is not None and task.config.method.name == method else peak
        strength = task.config.view.strength
        return 0.9 - 0.15 * max(0.0, at - strength) - 0.6 * max(0.0, strength - at)

    return accuracy


def test_accuracy_that_turns_at_the_crossing_reproduces_l1():
    found = L1.judge(Planted(turning_at(0.6), critical(lambda s: 0.65, 0.02), 0.003), QUICK)
    assert found.answer == "reproduced"
    assert found.p_values.claim <= 0.05
    assert len(found.rows) == 4
    means = [row for row in found.tables["limit_turns"] if row["seed"] == "mean curve"]
    assert [row["curve"] for row in means] == ["SimCLR", "TransFusion"]
    for row in means:
        assert row["turning"] == pytest.approx(0.6, abs=0.02)
        assert row["crossing"] == pytest.approx(0.65, abs=0.05)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert len(found.tables["limit_levels"]) == 70


@pytest.mark.parametrize("peak", [0.25, 0.95])
def test_accuracy_that_turns_elsewhere_contradicts_l1(peak):
    """For both methods, or for one of them alone."""
    for accuracy in (turning_at(peak), turning_at(0.6, "transfusion", peak)):
        found = L1.judge(Planted(accuracy, critical(lambda s: 0.6, 0.02), 0.003), QUICK)
        assert found.answer == "contradicted"


@pytest.mark.parametrize(
    ("peak", "value"),
    [
        # Accuracy only rises, and half is left everywhere: nothing turned, nothing crossed.
        (2.0, lambda s: 1.5),
        # Classes are not seen.
        (0.6, lambda s: np.nan),
        # Accuracy rises to the last level and the crossing is close to it.
        (2.0, lambda s: 0.95),
    ],
)
def test_what_was_not_measured_leaves_l1_undecided(peak, value):
    found = L1.judge(Planted(turning_at(peak), critical(value), 0.002), QUICK)
    assert found.answer == "undecided"


def test_critical_strengths_beyond_the_embedded_ones_are_counted():
    found = L1.judge(Planted(turning_at(0.6), critical(lambda s: 1.3 if s < 0.6 else 0.6, 0.01), 0.003), QUICK)
    # Without them fewer than five levels would be left.
    assert found.answer == "reproduced"
    assert "20 of 35 critical strengths beyond 1.2" in found.sentence


def floor_of(value):
    def rows(task, rng):
        return [{"name": "batch_floor", "value": value + rng.integers(-3, 4), "low": np.nan, "high": np.nan},
                {"name": "batch_floor_certified", "value": 3.0 * value, "low": np.nan, "high": np.nan}]  # fmt: skip

    return rows


def bent(knot, below, above):
    def accuracy(task):
        at = np.log2(task.config.batch_size / knot)
        return 0.8 + below * min(0.0, at) + above * max(0.0, at)

    return accuracy


@pytest.mark.parametrize(
    ("accuracy", "floor", "answer"),
    [
        (bent(45, 0.05, 0.0), 45, "reproduced"),
        (bent(45, 0.05, -0.02), 45, "reproduced"),
        (bent(45, -0.03, 0.0), 45, "contradicted"),
        # It falls below the floor, but no faster than above it: slower.
        (bent(45, 0.01, 0.05), 45, "contradicted"),
        (bent(45, 0.05, 0.0), 400, "undecided"),
        (bent(45, 0.05, 0.0), np.nan, "undecided"),
    ],
)
def test_l2_asks_whether_accuracy_falls_below_the_floor(accuracy, floor, answer):
    found = L2.judge(Planted(accuracy, floor_of(floor), 0.004), QUICK)
    assert found.answer == answer
    assert len(found.tables["floor_levels"]) == 30
    assert ("undecided" in found.sentence) == (floor != floor)
    if answer == "reproduced":
        slopes = [row["below"] for row in found.tables["floor_values"]]
        assert np.mean(slopes) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("claim", CLAIMS)
def test_chance_is_seldom_taken_for_an_effect(claim, monkeypatch):
    """All arms alike: L1 has no turning point, or one anywhere; L2 a flat line."""
    monkeypatch.setattr(limits, "bootstrap_interval", lambda *arguments: (np.nan, np.nan))
    advice = critical(lambda s: 0.55, 0.05) if claim is L1 else floor_of(45)
    found = [claim.judge(Planted(lambda task: 0.8, advice, 0.02, seed), QUICK).answer for seed in range(40)]
    assert "reproduced" not in found
    # At 2.5 % each, four and more of forty come with probability 2 %.
    assert found.count("contradicted") <= 3


def test_a_training_is_asked_and_leaves_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "BATCH_FACTORS", (1, 2, 4))
    strength = limits.strength_training(TINY, "transfusion", 0.55, 1)
    sizes = batch_sizes(TINY)
    small, large = (batch_training(TINY, size, 0) for size in (sizes[0], sizes[-1]))
    for task in (strength, small, large):
        carry_out(task, tmp_path)
        assert not (tmp_path / task.name / "checkpoint.pt").exists()
        assert 0.0 <= limits._accuracy(Results(tmp_path), task) <= 1.0
    found = Results(tmp_path)
    assert [row["name"] for row in found.table(strength, "advice")] == ["strength_relu"]
    assert [row["name"] for row in found.table(large, "advice")] == ["batch_floor", "batch_floor_certified"]
    assert not (tmp_path / small.name / "advice.csv").exists()

    def collapsed(*arguments, **more):
        raise ValueError("features of digits: row 0 is zero, so it has no direction")

    monkeypatch.setattr(trainings, "embed_strengths", collapsed)
    again = replace(strength, label="collapsed")
    carry_out(again, tmp_path)
    (row,) = found.table(again, "advice")
    assert row["status"] == "UNDECIDED"
    assert row["value"] != row["value"]
    assert "row 0 is zero" in row["meaning"]


@pytest.mark.slow
def test_a_run_is_resumed_and_with_shuffled_classes_reproduces_nothing(tmp_path, monkeypatch, capsys):
    few = {"STRENGTHS": (0.1, 1.0), "METHODS": {"SimCLR": "simclr"}, "FEWEST_LEVELS": 1, "BATCH_FACTORS": (1, 2),
           "EMBEDDED": (0.0, 1.0)}  # fmt: skip
    for name, value in few.items():
        monkeypatch.setattr(limits, name, value)
    monkeypatch.setitem(tiers.TIERS, "quick", TINY)
    out = tmp_path / "run"
    arguments = ["--only", "L1,L2", "--jobs", "1", "--control", "shuffled_labels", "--check", "--out", str(out)]
    assert status_of(command.main, arguments) == 0
    assert "2 claims: 0 reproduced" in capsys.readouterr().out
    assert (out / "claims/L1/claim_turns.png").exists()
    assert (out / "claims/L2/claim_floor.png").exists()
    assert "Registered in full in paper" in (out / "report.md").read_text()
    assert status_of(command.main, [*arguments, "--resume"]) == 0
    assert "8 tasks, 8 already there" in capsys.readouterr().out

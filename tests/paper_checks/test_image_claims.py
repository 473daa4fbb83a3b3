"""Claims about images: planted tables with a known answer, chance in place of an effect, and images without classes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from figures.run_folder import read_table
from models.cifar.compare import read_run
from models.cifar.data.images import DataConfig
from models.cifar.methods.learners import build_learner
from models.encoders import EncoderConfig
from paper_checks import __main__ as command
from paper_checks import tiers
from paper_checks.papers import deep_fusion, feature_transform, momenta, simclr, transfusion_training
from paper_checks.report.entries import Entry
from paper_checks.statistics.decisions import NO_EVIDENCE, PValues
from paper_checks.tasks import Results, carry_out, unique
from paper_checks.tiers import CPU, GPU, QUICK, tier_of
from paper_checks.trainings.arms import SIMCLR, Arm, Training, changed, images
from paper_checks.trainings.moco_ways import MAIN
from paper_checks.trainings.transformations import OF_COLOR, TRANSFORMATIONS, transformation_names
from tests.command_lines import status_of
from tests.paper_checks.planted import Planted

GENERATOR = torch.Generator().manual_seed(0)
ROOT = Path(__file__).parents[2]
CHOICES, INTERPOLATED = MAIN.choices(QUICK), MAIN.positives(QUICK, positives="interpolate")
FAMILIES = (transfusion_training, deep_fusion, simclr, feature_transform, momenta)
CLAIMS = {claim.id: claim for family in FAMILIES for claim in family.CLAIMS}
TINY = replace(
    QUICK,
    seeds=2,
    cap=2,
    batch_sizes=(16, 64),
    epochs=(1, 3),
    small_queue=32,
    config=replace(QUICK.config, data=DataConfig(image_size=8, limit=14), encoder=EncoderConfig("small", width=2),
                   epochs=4, batch_size=32, measure_images=20),
)  # fmt: skip


def answers(claim, accuracies, noise=0.004):
    """With accuracies by label; those not named have the base's."""
    rng = np.random.default_rng(1)

    def accuracy(label, seed, features):
        found = accuracies.get((label, features), accuracies.get(label, accuracies.get("base", 0.8)))
        return found + noise * rng.normal()

    finding = CLAIMS[claim].look(Planted(accuracy), QUICK)
    assert (finding.p_values.claim <= 0.05) == (finding.answer != "undecided")
    return finding.answer


def label(arm):
    return arm.label(QUICK)


@pytest.mark.parametrize(
    ("claim", "better", "worse"),
    [
        ("T8", {"transfusion": 0.9, "transfusion,supervised=True": 0.95, "supcon": 0.9}, {"transfusion": 0.7}),
        ("T9", {label(transfusion_training._without(a)): 0.7 for a in transfusion_training.SUPERVISIONS.values()},
         {"transfusion,intermediate=0": 0.9}),
        ("T10", {"transfusion": 0.9}, {"head.kind=batchformer": 0.9}),
        ("D1", {"deepfusion": 0.9}, {label(deep_fusion._heads(QUICK)["MLP of its size"]): 0.9}),
        ("S1", {label(simclr._composed("crop", "color")): 0.9}, {label(simclr._composed("crop")): 0.9}),
        ("S2", {("base", "z"): 0.5, "base": 0.9, "head.kind=linear": 0.8, "head.kind=none": 0.7},
         {("base", "z"): 0.95, "base": 0.9}),
        ("S3", {**{label(a): 0.6 for a in simclr.INNER_PRODUCTS.values()}, "temperature=1": 0.7},
         {label(a): 0.9 for a in simclr.INNER_PRODUCTS.values()}),
        ("S4a", {label(simclr._sizes(QUICK)[512]): 0.9}, {label(simclr._sizes(QUICK)[32]): 0.9}),
        ("S4b", {"epochs=20": 0.9}, {"epochs=3": 0.9}),
        ("S5", {(t, f): v for t in TRANSFORMATIONS for f, v in (("h", 0.9), ("z", 0.7))}, {("rotation", "z"): 0.9}),
        ("F2", {label(a): 0.9 for name, a in CHOICES.items() if name != "neither"}, {label(CHOICES["both"]): 0.7}),
        ("F3", {label(CHOICES["positives"]): 0.9}, {label(INTERPOLATED): 0.9}),
        ("F4", {label(MAIN.plain(QUICK)): 0.7}, {label(MAIN.plain(QUICK)): 0.9}),
        ("F5", {label(a): 0.9 for a in feature_transform._queues(QUICK)["transformed"].values()}, {"moco": 0.9}),
        ("F6", {label(CHOICES["neither"]): 0.6, label(CHOICES["both"]): 0.9}, {label(CHOICES["neither"]): 0.9}),
    ],
)  # fmt: skip
def test_planted_effects_are_found_and_reversed_ones_contradicted(claim, better, worse):
    assert answers(claim, better) == "reproduced"
    assert answers(claim, worse) == "contradicted"
    assert answers(claim, {}, noise=1e-4) == ("no difference" if CLAIMS[claim].equivalence else "undecided")
    assert answers(claim, {}, noise=0.1) != "no difference", "and what is not known is not said"


def test_sensitivity_is_to_either_side():
    factors = deep_fusion._factors(QUICK)
    low = {label(next(iter(arms.values()))): 0.6 for arms in factors.values()}
    high = {label(list(arms.values())[-1]): 0.6 for arms in factors.values()}
    assert answers("D3", low) == answers("D3", high) == "reproduced"
    assert answers("D3", dict(list(low.items())[:2])) == "no difference", "in the third"
    assert answers("D3", dict(list(low.items())[:2]), noise=0.03) == "undecided"


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU, TINY])
def test_a_feed_forward_head_of_the_transformers_size_is_one(tier):
    sizes = {}
    for name, arm in deep_fusion._heads(tier).items():
        config = changed(tier.config, dict(arm.changes))
        learner = build_learner(config.method, config.encoder, config.head.resolve(config.method.name), GENERATOR)
        sizes[name] = sum(parameter.numel() for parameter in learner.head.parameters())
    # One hidden unit more or less is below half a percent.
    assert abs(sizes["MLP of its size"] / sizes["Deep Fusion"] - 1.0) < 0.005
    assert sizes["MLP"] < 0.5 * sizes["Deep Fusion"]


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU])
def test_batch_sizes_have_the_learning_rates_of_their_claim(tier):
    sizes, factors = simclr._sizes(tier), deep_fusion._factors(tier)["batch size"]
    for size, arm in factors.items():
        rate = changed(tier.config, dict(arm.changes)).optimiser.learning_rate
        assert rate == changed(tier.config, dict(sizes[size].changes)).optimiser.learning_rate
        power = 0.5 if tier is not GPU else 1.0
        base = tier.config
        assert rate == pytest.approx(base.optimiser.learning_rate * (size / base.batch_size) ** power)


def test_gray_images_are_asked_what_their_trainings_were(tmp_path):
    """A folder of gray pictures is not called digits."""

    class Gray(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            return [r for r in rows if r["transformation"] not in OF_COLOR] if name == "transformations" else rows

    tier = replace(QUICK, config=replace(QUICK.config, data=replace(QUICK.config.data, dataset="gray.zip")))
    finding = CLAIMS["S5"].look(Gray(lambda label, seed, features: 0.8), tier)
    assert [row["contrast"] for row in finding.rows] == [f"{name}: h over z" for name in
                                                         ("rotation", "brightness", "noise")]  # fmt: skip


def test_blocks_and_gradients_that_follow_the_claim_reproduce_it():
    class Rising(Planted):
        def table(self, task, name):
            rows = super().table(task, name)
            if name == "layers":
                return [{**r, "sharpness": 0.1 * r["index"] + 0.001 * self.draw(),
                         "others_mass": 0.1 * r["index"] + 0.001 * self.draw()} for r in rows]  # fmt: skip
            if name == "epochs" and "momentum=0" in task.label.split(","):
                return [{**r, "gradient_fluctuation": 1.0 + 0.01 * self.draw()} for r in rows]
            return rows

    rising = Rising(lambda label, seed, features: 0.8)
    for claim in ("T4e", "D2", "F7"):
        assert CLAIMS[claim].judge(rising, QUICK).answer == "reproduced", claim


@pytest.mark.parametrize("claim", [name for name in CLAIMS if name not in ("S6", "F1")])
def test_chance_is_seldom_taken_for_an_effect(claim, monkeypatch):
    """All arms alike: each claim's own wiring, not the rule alone, keeps to the stated error rate."""
    # The same tasks in every round; to name them takes longer than to judge.
    monkeypatch.setattr(Arm, "trainings", cache(Arm.trainings))
    rng, found = np.random.default_rng(3), []
    for _ in range(100):
        planted = Planted(lambda label, seed, features: 0.8 + 0.02 * rng.normal(), rng)
        found.append(CLAIMS[claim].look(planted, QUICK).answer)
    # Of 100 at 5 % each the binomial distribution exceeds 15 less than once in 10,000 times.
    assert sum(answer in ("reproduced", "contradicted") for answer in found) <= 15


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU, TINY])
def test_tasks_of_all_claims_have_names_of_their_own(tier):
    tasks = unique(task for claim in CLAIMS.values() for task in claim.tasks(tier))
    assert len({task.name for task in tasks}) == len(tasks) > 50


def test_shuffled_classes_keep_their_numbers():
    data = DataConfig(limit=10, image_size=8)
    as_they_are, shuffled = images(data, "none"), images(data, "shuffled_labels")
    for name in ("train", "validation", "test"):
        one, other = getattr(as_they_are, name), getattr(shuffled, name)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels.bincount(), other.labels.bincount())
        assert not torch.equal(one.labels, other.labels)


def test_a_training_leaves_a_run_folder(tmp_path):
    task = SIMCLR.trainings(TINY)[1]
    carry_out(task, tmp_path)
    found = read_run(tmp_path / task.name)
    assert (found.config["seed"], len(found.results), len(found.epochs)) == (1, 2, TINY.config.epochs)
    assert not (tmp_path / task.name / "checkpoint.pt").exists()
    rows = Results(tmp_path).table(task, "transformations")
    assert {row["transformation"] for row in rows} == set(transformation_names(gray=True))
    assert len(rows) == 2 * len(transformation_names(gray=True))


def test_transformations_do_what_they_say():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=generator)
    for name, (count, transform) in TRANSFORMATIONS.items():
        made = [transform(pictures, way, generator) for way in range(count)]
        assert all(each.dtype == torch.uint8 and each.shape == pictures.shape for each in made)
        assert torch.equal(made[1 if name == "brightness" else 0], pictures), name
        assert all(not torch.equal(one, other) for i, one in enumerate(made) for other in made[:i]), name
    gray = TRANSFORMATIONS["grayscale"][1](pictures, 1, generator)
    assert torch.equal(gray[:, 0], gray[:, 2])


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(tiers.TIERS, "quick", TINY)


@pytest.mark.slow
def test_a_run_with_shuffled_classes_reproduces_nothing_about_them(tiny, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--only", "D1,F3", "--out", str(out), "--jobs", "1", "--readings", "--control", "shuffled_labels",
                 "--check"]  # fmt: skip
    assert status_of(command.main, arguments) == 0
    printed = capsys.readouterr().out
    assert "2 claims: 0 reproduced" in printed
    assert (out / "report.html").exists()
    for claim in ("D1", "F3"):
        assert json.loads((out / "claims" / claim / "config.json").read_text())["answer"] != "reproduced"
        assert (out / "claims" / claim / "claim_contrasts.png").exists()
        assert (out / "claims" / f"{claim}-readings" / "claim_contrasts.png").exists()
    assert "reproduced" not in {row["answer"] for row in read_table(out / "readings.csv").to_dict("records")}
    begun = (out / "tasks" / "base-seed0" / "results.csv").stat().st_mtime_ns
    assert status_of(command.main, [*arguments, "--resume"]) == 0
    assert "already there" in capsys.readouterr().out
    assert (out / "tasks" / "base-seed0" / "results.csv").stat().st_mtime_ns == begun
    assert status_of(command.main, [*arguments[:-3], "--resume"]) == 2
    assert "another tier, cpu" in capsys.readouterr().err


@pytest.mark.slow
def test_shuffled_classes_reproduce_nothing_where_seeds_are_added(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(tiers.TIERS, "quick", replace(TINY, seeds=5, cap=5))
    arguments = ["--only", "D1,F3", "--cap", "10", "--out", str(tmp_path / "run"), "--jobs", "2"]
    assert status_of(command.main, [*arguments, "--control", "shuffled_labels", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "2 claims: 0 reproduced" in printed
    assert "is undecided: 10 seeds" in printed


def test_check_fails_where_a_control_is_reproduced():
    options = command.PaperChecks(control="shuffled_labels", check=True)
    entry = Entry(CLAIMS["D1"], arms_finding("reproduced", PValues(1e-6, 1.0)), (), "", "")
    assert command._status([entry], options) == 1
    by_chance = Entry(CLAIMS["D3"], arms_finding("reproduced", PValues(0.024, 1.0)), (), "", "")
    assert command._status([by_chance, Entry(CLAIMS["D1"], arms_finding("undecided"), (), "", "")], options) == 0
    assert command._status([entry], replace(options, check=False)) == 0
    assert command._status([entry], replace(options, control="none")) == 0
    failed = Entry(CLAIMS["D1"], arms_finding("failed"), (), "", "")
    assert command._status([entry, failed], options) == command._status([failed], replace(options, check=False)) == 4
    theorem = Entry(replace(CLAIMS["D1"], kind="theorem"), arms_finding("undecided"), (), "", "")
    assert command._status([theorem], replace(options, control="none")) == 1


def arms_finding(answer, values=NO_EVIDENCE):
    return transfusion_training.Finding(answer, "Planted.", [], p_values=values)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "T99"], "--only: must name some of"),
        (["--only", ","], "--only: must name some of"),
        (["--tier", "cpu"], "--images: tier cpu needs the path"),
        (["--only", "D1", "--images", "/there/is/nothing"], "/there/is/nothing"),
        (["--only", "D1", "--device", "tpu"], "device"),
        (["--only", "D1", "--jobs", "0"], "jobs"),
        (["--only", "D1", "--resume"], "--resume: give the run folder"),
        (["--only", "D1", "--resume", "--out", "{tmp}"], "manifest.json: missing"),
    ],
)
def test_bad_arguments_are_named_and_leave_no_folder(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert status_of(command.main, [each.replace("{tmp}", str(tmp_path)) for each in arguments]) == 2
    assert named in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_and_a_failing_task(tiny, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert status_of(command.main, ["--only", "D1", "--out", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err

    def fail(self, folder):
        raise RuntimeError("planted")

    monkeypatch.setattr(Training, "run", fail)
    assert status_of(command.main, ["--only", "D1", "--jobs", "1", "--out", str(tmp_path / "run")]) == 4
    printed, error = capsys.readouterr()
    assert "deepfusion-seed0: RuntimeError: planted\nTraceback" in error
    assert "D1  not run (failed)  Nothing is said: 6 of the 6 tasks" in printed


@pytest.mark.parametrize(
    ("claim", "number"), [pytest.param("D1", signal.SIGINT, marks=pytest.mark.slow), ("T1", signal.SIGTERM)]
)
def test_an_interrupt_ends_everything(claim, number, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "paper_checks", "--only", claim, "--jobs", "2", "--out", str(out)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell's background jobs ignore interrupts, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 600.0
    # A task is under way.
    while not list(out.glob("tasks/.*.part")) and time.monotonic() < deadline:
        time.sleep(0.1)
    if number == signal.SIGINT:
        # As a terminal does, to all processes; a scheduler's goes to the first alone.
        os.killpg(process.pid, number)
    else:
        time.sleep(2.0)
        process.send_signal(number)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 128 + number, error
    assert "Traceback" not in error
    assert "--resume" in error
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a process outlives the run")


def test_claims_are_listed(capsys):
    assert status_of(command.main, ["--list"]) == 0
    printed = capsys.readouterr().out
    for name in (*CLAIMS, "T1", "T2", "T3", "T4a", "T4b", "T4c", "T4d", "T5", "T6", "T7"):
        assert f"{name} (" in printed
    assert printed.index("T4a (") < printed.index("T10 (")


def test_tiers_need_their_images():
    with pytest.raises(ValueError, match=r"^--images:"):
        tier_of("gpu", None, None, None, "none")
    tier = tier_of("cpu", "pictures.zip", None, None, "shuffled_labels")
    assert (tier.config.data.dataset, tier.control, tier.digits) == ("pictures.zip", "shuffled_labels", False)

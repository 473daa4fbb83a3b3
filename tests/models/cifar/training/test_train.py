"""The trainer: every method with every head, exact resumption, chunks, processes, and clear ends."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from models.cifar.__main__ import main
from models.cifar.data.images import DataConfig, ImageSet, Splits
from models.cifar.evaluate import evaluate
from models.cifar.evaluate import main as evaluate_main
from models.cifar.methods.learners import Batch, build_learner
from models.cifar.methods.settings import METHODS, MomentumContrast, SupCon, method_of
from models.cifar.training.checkpoint import FIELDS, load_checkpoint, save_checkpoint
from models.cifar.training.checks import check, without_idle
from models.cifar.training.config import HeadChoice, TrainConfig
from models.cifar.training.read_config import config_from, differences
from models.cifar.training.state import load_trained, new_learner
from models.cifar.training.train import DivergedError, fit
from models.encoders import EncoderConfig
from models.head_output import HeadOutput, Reading
from models.heads import Head, HeadKind
from models.optim import OptimizerConfig
from tests.command_lines import status_of
from tests.models.cifar.methods.several_processes import in_processes
from theory.numerics.whole_files import to_plain

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[4]
ENCODER = EncoderConfig("small", width=4, norm="group")
HEAD = HeadChoice("mlp", out_dim=8, width=8, depth=1, num_heads=1)


def config(**changes):
    settings = {"encoder": ENCODER, "head": HEAD, "epochs": 2, "batch_size": 8, "measure_images": 6,
                "optimiser": OptimizerConfig("adamw", 1e-3)}  # fmt: skip
    # HEAD has sizes for all kinds.
    return without_idle(TrainConfig(**{**settings, **changes}))


def with_queue(method):
    """A queue that batches do not fill evenly, where there is one."""
    return method_of(method, **({"queue_size": 13} if issubclass(METHODS[method], MomentumContrast) else {}))


@pytest.fixture(scope="module")
def splits():
    """Three classes of colors, 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(0)

    def part(each):
        labels = torch.arange(3).repeat_interleave(each)
        base = torch.eye(3)[labels][:, :, None, None] * 150
        images = (base + 60 * torch.rand(3 * each, 3, 8, 8, generator=generator)).to(torch.uint8)
        return ImageSet(images, labels, ("r", "g", "b"), "colors")

    return Splits(part(8), part(3), part(4))


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.learner.parameters()])


# supcon and deepfusion take simclr's way through the code, and moco moco_ft's.
ALL_HEADS = ("simclr", "moco_ft", "transfusion")


@pytest.mark.parametrize(
    ("method", "head"), [(m, h) for m in METHODS for h in get_args(HeadKind) if m in ALL_HEADS or h == "deepfusion"]
)
def test_every_method_trains_every_head(method, head, splits, tmp_path):
    options = config(method=with_queue(method), head=replace(HEAD, kind=head), epochs=1)
    before = new_learner(options)
    state = fit(options, splits, CPU, tmp_path)
    assert state.epoch == 1
    row = state.epochs[0]
    assert row["loss"] > 0
    assert row["gradient_norm"] > 0
    assert 0 < row["gradient_fluctuation"] < 10
    moved = [(a - b).abs().max() for a, b in zip(before.encoder.parameters(), state.learner.encoder.parameters())]
    assert max(moved) > 0
    assert (tmp_path / "checkpoint.pt").exists()
    assert (tmp_path / "epochs.csv").exists()


def test_the_same_configuration_gives_the_same_weights(splits, tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    torch.manual_seed(1)
    first = weights(fit(config(), splits, CPU, folders[0]))
    torch.manual_seed(2)
    assert torch.equal(weights(fit(config(), splits, CPU, folders[1])), first)
    assert not torch.equal(weights(fit(config(seed=1), splits, CPU, folders[2])), first)


@pytest.mark.parametrize("method", ["simclr", "moco_ft"])
def test_a_stopped_training_goes_on_to_the_same_weights(method, splits, tmp_path, monkeypatch):
    """Stopped in the middle of the second epoch, dropout and queue included."""
    head = replace(HEAD, kind="deepfusion", dropout=0.3)
    options = config(method=with_queue(method), head=head, epochs=3)
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    expected = fit(options, splits, CPU, whole)

    class Stop(Exception):
        pass

    import models.cifar.training.train as module

    true, calls = module.training_step, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise Stop
        return true(*arguments)

    monkeypatch.setattr(module, "training_step", stopping)
    with pytest.raises(Stop):
        fit(options, splits, CPU, part)
    monkeypatch.setattr(module, "training_step", true)
    torch.manual_seed(99)
    resumed = fit(options, splits, CPU, part, resume=True)
    assert torch.equal(weights(resumed), weights(expected))
    assert [row["loss"] for row in resumed.epochs] == [row["loss"] for row in expected.epochs]


@pytest.mark.slow
def test_a_killed_process_is_resumed_bit_by_bit(tmp_path):
    arguments = ["--encoder.width", "4", "--data.limit", "30", "--epochs", "8", "--batch-size", "32", "--no-figures",
                 "--measure-images", "20"]  # fmt: skip
    assert main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "models.cifar", *arguments, "--out", str(tmp_path / "part")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.time() + 600
        while not (tmp_path / "part" / "checkpoint.pt").exists() and time.time() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert load_checkpoint(tmp_path / "part" / "checkpoint.pt")["epoch"] < 8, "killed before it was done"
    assert main([*arguments, "--out", str(tmp_path / "part"), "--resume"]) == 0
    stored = [load_checkpoint(tmp_path / name / "checkpoint.pt")["learner"] for name in ("whole", "part")]
    for name, value in stored[0].items():
        assert torch.equal(value, stored[1][name]), name


@pytest.mark.parametrize("method", ["simclr", "moco", "transfusion"])
def test_chunks_change_nothing_but_rounding(method, splits, tmp_path):
    found = []
    for chunk in (None, 5):
        folder = tmp_path / str(chunk)
        folder.mkdir()
        options = config(method=with_queue(method), head=replace(HEAD, kind="mlp"), chunk=chunk, epochs=1)
        found.append(fit(options, splits, CPU, folder))
    assert found[1].epochs[0]["loss"] == pytest.approx(found[0].epochs[0]["loss"], rel=1e-5)
    torch.testing.assert_close(weights(found[1]), weights(found[0]), rtol=0, atol=2e-4)


SHARED = ("simclr", "supcon", "transfusion")


def _halves_of_batches(rank):
    return {method: _half_of_a_batch(rank, method) for method in SHARED}


def _half_of_a_batch(rank, method):
    learner, batch = _learner_and_batch(method)
    parts = [
        Batch(*(t.chunk(2)[r] for t in (batch.first, batch.second, batch.labels)), 0, batch.generator) for r in range(2)
    ]
    # Kept until gradients are averaged: a wrapper that is freed before averages nothing.
    network = DistributedDataParallel(learner)
    network(parts[rank]).backward()
    return [p.grad for p in learner.parameters() if p.requires_grad]


def _learner_and_batch(method):
    head = replace(HEAD, kind="transfusion" if method == "transfusion" else "mlp")
    learner = build_learner(method_of(method), ENCODER, head.resolve(method), torch.Generator().manual_seed(0))
    learner = learner.double()
    generator = torch.Generator().manual_seed(1)
    views = torch.rand(2, 8, 3, 8, 8, generator=generator, dtype=torch.float64)
    return learner, Batch(views[0], views[1], torch.arange(8) // 2, 0, generator)


def test_two_processes_have_the_gradient_of_one(tmp_path):
    """The loss compares all rows of the global batch, also under a head that attends over it."""
    expected = {}
    for method in SHARED:
        learner, batch = _learner_and_batch(method)
        learner(batch).backward()
        expected[method] = [p.grad for p in learner.parameters() if p.requires_grad]
    for found in in_processes(2, _halves_of_batches, tmp_path):
        for method in SHARED:
            torch.testing.assert_close(found[method], expected[method], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_run_of_two_processes(tmp_path):
    """With a head that NT-Xent does not train all of."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "models.cifar", "--encoder.width", "4", "--data.limit", "20", "--epochs", "2", "--batch-size", "32",
               "--no-figures", "--measure-images", "20", "--out", str(out), "--head.kind", "transfusion",
               "--head.depth", "1"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len((out / "epochs.csv").read_text().splitlines()) == 3
    assert (out / "results.csv").exists()


def test_a_loss_that_is_not_finite_ends_the_run(splits, tmp_path):
    for method in ("simclr", "moco", "transfusion"):
        options = config(optimiser=OptimizerConfig("sgd", 9e5, warmup_epochs=0), epochs=9, method=with_queue(method))
        folder = tmp_path / method
        folder.mkdir()
        with pytest.raises(DivergedError, match="try a smaller learning_rate"):
            fit(options, splits, CPU, folder)
        assert load_checkpoint(folder / "diverged.pt")["config"]["epochs"] == 9


def test_half_precision_does_not_merge_classes():
    """bfloat16 has no 257: labels must not pass through it."""
    learner = build_learner(SupCon(), ENCODER, HEAD.resolve("supcon"), torch.Generator().manual_seed(0))
    seen = []
    learner.objective = lambda output, labels: seen.append(labels) or output.embeddings.sum()
    views = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learner(Batch(views[0], views[1], torch.tensor([256, 257, 259, 260]), 0, torch.Generator()))
    # Places of the first row of each class among the sorted ones.
    assert seen[0].index.tolist() == [0, 2, 4, 6] * 2


@pytest.mark.parametrize(
    ("capability", "precision", "slow"), [("AVX2", "bf16", True), ("AVX2", "float32", False), ("AVX512", "bf16", False)]
)
def test_half_precision_without_instructions_for_it_is_warned_about(
    splits, monkeypatch, recwarn, capability, precision, slow
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    check(config(precision=precision), splits, CPU)
    assert [str(each.message)[:15] for each in recwarn] == ["precision: bf16"] * slow


def test_impossible_settings_are_refused(splits, tmp_path):
    with pytest.raises(ValueError, match="batch_size: must not exceed the 24"):
        fit(config(batch_size=25), splits, CPU, tmp_path)
    with pytest.raises(ValueError, match="precision: fp16 needs a GPU"):
        fit(config(precision="fp16"), splits, CPU, tmp_path)
    assert not list(tmp_path.iterdir())
    fit(config(epochs=1), splits, CPU, tmp_path)
    changed = config(epochs=3, optimiser=OptimizerConfig("adamw", 1e-3, momentum=0.5))
    with pytest.raises(
        ValueError, match=r"another epochs 1 \(now 3; .*--init.*\), optimiser\.momentum 0.9 \(now 0.5\)"
    ):
        fit(changed, splits, CPU, tmp_path, resume=True)
    with pytest.raises(ValueError, match="validation_share: must be above 0"):
        config(data=DataConfig(validation_share=0.0))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a checkpoint, or a damaged one"):
        fit(config(epochs=1), splits, CPU, tmp_path, resume=True)


def test_a_configuration_survives_the_checkpoint():
    from dataclasses import asdict

    for original in (config(), config(head=HeadChoice(), method=method_of("moco_ft", union=True), chunk=3),
                     *(config(method=method_of(name)) for name in METHODS)):  # fmt: skip
        stored = json.loads(json.dumps(to_plain(asdict(original))))
        assert config_from(TrainConfig, stored) == original
        assert differences(stored, original) == []
        assert differences(stored, replace(original, seed=9, compile=True)) == ["seed"]
    moco = to_plain(asdict(config(method=method_of("moco"))))
    assert differences(moco, config()) == ["method.name"]
    assert differences(moco, config(method=method_of("moco", momentum=0.5))) == ["method.momentum"]
    with pytest.raises(ValueError, match="unknown epoch_count"):
        config_from(TrainConfig, {"epoch_count": 3})
    with pytest.raises(ValueError, match=r"^here: its configuration is no table"):
        config_from(TrainConfig, [], "here")


def test_checkpoints_of_one_configuration_for_all_methods_are_refused(splits, tmp_path, capsys):
    """As earlier versions wrote them: which of the settings were meant is not known."""
    fit(config(epochs=1), splits, CPU, tmp_path)
    path = tmp_path / "checkpoint.pt"
    stored = {name: load_checkpoint(path)[name] for name in FIELDS}
    stored["config"]["method"] |= {"queue_size": 12, "intermediate": 1.0}
    save_checkpoint(path, stored)
    refused = "its method simclr has unknown intermediate, queue_size; earlier versions"
    with pytest.raises(ValueError, match=refused):
        fit(config(epochs=1), splits, CPU, tmp_path, resume=True)
    assert evaluate_main([str(path)]) == 2
    assert f"{path}: {refused}" in capsys.readouterr().err


def test_the_commands(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--encoder.width", "4", "--data.limit", "20", "--epochs", "1", "--batch-size", "32",
                 "--measure-images", "20", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    assert {"image_curves.png", "image_scores.png", "image_layers.png", "results.csv"} <= {
        p.name for p in out.iterdir()
    }
    results = (out / "results.csv").read_bytes()
    (out / "results.csv").unlink()
    assert evaluate_main([str(out / "checkpoint.pt")]) == 0
    assert (out / "results.csv").read_bytes() == results, "the evaluation is that of the training's end"
    assert load_trained(out / "checkpoint.pt", CPU).config.epochs == 1
    before = (out / "config.json").read_bytes()
    assert main([*arguments, "--resume", "--no-figures"]) == 0, "nothing is left to do"
    assert len(json.loads((out / "environment.json").read_text())["runs"]) == 2
    assert main([*arguments, "--resume", "--epochs", "3"]) == 2
    assert "another epochs" in capsys.readouterr().err
    assert (out / "config.json").read_bytes() == before, "a refused run changes nothing"
    for bad, name in (
        (arguments, "--out"),
        (["--resume"], "--out"),
        (["--method.name", "simsiam"], "method.name"),
        (["--epochs", "0"], "epochs"),
        (["--data.dataset", str(tmp_path / "nowhere")], "nowhere"),
        (["--device", "cuda:77"], "device"),
        (["--method.name", "moco", "--method.queue-size", "0"], "queue_size"),
        (["--method.queue-size", "9"], "--method.queue-size: is no setting of simclr"),
        (["--resume", "--out", str(tmp_path / "typo")], "no run to continue"),
        (["--batch-size", "100000", "--out", str(tmp_path / "large")], "batch_size"),
    ):
        assert status_of(main, bad) == 2, bad
        assert name in capsys.readouterr().err
    assert status_of(evaluate_main, [str(tmp_path / "none.pt")]) == 2
    assert not (tmp_path / "large").exists()
    assert not (tmp_path / "typo").exists()


def test_the_company_of_a_batch_tells_no_class(splits):
    """Sorted images would hand a head that looks at its batch the class of the batch."""

    class Company(Head):
        transductive = True

        def project(self, features, groups, trace):
            mean = features.mean(0, keepdim=True) + 1e-3 * features
            return HeadOutput(mean, (Reading.of_tokens(mean),))

    class Colors(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) + 1.0

    def part(seed):
        # A little color in every image, a lot in the mean of a batch of one class.
        generator, labels = torch.Generator().manual_seed(seed), torch.arange(3).repeat_interleave(60)
        tint = 12 * torch.eye(3)[labels][:, :, None, None] + 60 * torch.randn(180, 3, 1, 1, generator=generator)
        return ImageSet((128 + tint).clamp(0, 255).expand(-1, -1, 8, 8).to(torch.uint8), labels, tuple("rgb"), "noise")

    learner = new_learner(config())
    learner.encoder, learner.head = Colors(), Company(HEAD.resolve("simclr"), 3, 3)
    parts = Splits(part(1), part(2), part(3))
    (knn,) = [row for row in evaluate(config(batch_size=60), learner, parts, CPU)
              if (row["features"], row["probe"]) == ("z", "knn")]  # fmt: skip
    assert knn["transductive"]
    assert knn["accuracy"] < 0.6


def test_runs_are_compared_over_seeds(tmp_path, capsys):
    from models.cifar.compare import compare
    from models.cifar.compare import main as compare_main

    folders = [tmp_path / name for name in "ab"]
    for seed, folder in enumerate(folders):
        arguments = ["--encoder.width", "4", "--data.limit", "20", "--epochs", "1", "--batch-size", "32",
                     "--no-figures", "--measure-images", "20", "--seed", str(seed), "--out", str(folder)]  # fmt: skip
        assert main(arguments) == 0
    (row,) = compare(tuple(folders))
    assert row["seeds"] == 2
    singles = [compare((folder,))[0] for folder in folders]
    assert row["h_knn"] == pytest.approx((singles[0]["h_knn"] + singles[1]["h_knn"]) / 2)
    assert row["z_linear_low"] == min(single["z_linear_low"] for single in singles)
    assert compare_main([str(folders[0]), str(folders[1]), "--out", str(tmp_path / "table.csv")]) == 0
    assert (tmp_path / "table.csv").exists()
    (folders[0] / "results.csv").unlink()
    assert compare_main([str(folders[0])]) == 2
    assert "results.csv: missing" in capsys.readouterr().err

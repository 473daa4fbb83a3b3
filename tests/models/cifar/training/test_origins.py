"""What a run comes from: its images, the weights that it started with, and more epochs than it was started with."""

import json
import shutil
from dataclasses import replace
from itertools import product

import pytest
import torch

from models.cifar.__main__ import main
from models.cifar.evaluate import main as evaluate_main
from models.cifar.methods.settings import method_of
from models.cifar.training.checkpoint import FIRST_FIELDS, load_checkpoint, save_checkpoint
from models.cifar.training.config import HeadChoice
from models.cifar.training.initial import INIT_FILE
from models.cifar.training.read_config import refusals
from models.cifar.training.state import load_trained
from models.cifar.training.train import fit
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig
from tests.models.cifar.tiny import CPU, WORDS, colors, three_colors, tiny, write_folder
from theory.numerics.whole_files import to_plain

CONSTANT = OptimizerConfig("adamw", 1e-3, schedule="constant", warmup_epochs=1)


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.learner.parameters()])


def folder(path, name):
    (path / name).mkdir()
    return path / name


# --- images -----------------------------------------------------------------------------------------------------------


def test_other_images_do_not_go_on(tmp_path):
    """Of the same number, size and class names; by checkpoint and by the folder's own file, each alone."""
    options, splits = tiny(), three_colors()
    fit(options, splits, CPU, tmp_path)
    other = replace(splits, train=colors((6, 5, 5), 7))
    for removed in (None, "fingerprint.json", "checkpoint.pt"):
        if removed:
            (tmp_path / removed).rename(tmp_path / "aside")
        with pytest.raises(ValueError, match="the same counts, but other pixels, or another order, of the training"):
            fit(options, other, CPU, tmp_path, resume=True)
        if removed:
            (tmp_path / "aside").rename(tmp_path / removed)
    assert fit(options, splits, CPU, tmp_path, resume=True).epoch == 1


def test_a_folder_that_was_swapped_is_refused_and_nothing_is_changed(tmp_path, capsys):
    """Equally named, and with the same counts: as where a folder is swapped between epochs."""
    images, out = write_folder(tmp_path / "images", "abc"), tmp_path / "run"
    words = [*WORDS, "--data.dataset", str(images), "--data.root", str(tmp_path / "cache"), "--out", str(out)]
    assert main(words) == 0
    kept = json.loads((out / "fingerprint.json").read_text())
    assert kept == load_checkpoint(out / "checkpoint.pt")["data"]
    assert kept["sha256"] in (out / "results.csv").read_text()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(images)
    write_folder(images, "xyz", seed=1)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "the run there has another set of images: classes a, b, c against x, y, z" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# --- more epochs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(), (6,), (6, 6)])
def test_more_epochs_of_a_constant_schedule_are_the_longer_training(sizes, tmp_path):
    options = tiny(optimiser=CONSTANT, epochs=3, view_sizes=sizes)
    whole = fit(options, three_colors(), CPU, folder(tmp_path, "whole"))
    part = folder(tmp_path, "part")
    fit(replace(options, epochs=2), three_colors(), CPU, part)
    longer = fit(options, three_colors(), CPU, part, resume=True)
    assert torch.equal(weights(longer), weights(whole))
    assert [row["loss"] for row in longer.epochs] == [row["loss"] for row in whole.epochs]
    assert load_checkpoint(part / "checkpoint.pt")["config"]["epochs"] == 3
    with pytest.raises(ValueError, match=r"another epochs 3 \(now 2; a training can only be given more\)"):
        fit(replace(options, epochs=2), three_colors(), CPU, part, resume=True)


def test_a_cosine_cannot_go_on_and_says_how_else():
    words = refusals(to_plain(tiny()), tiny(epochs=2))
    assert words == ["epochs 1 (now 2; the cosine schedule is of these epochs: --init CHECKPOINT starts a new one from "
                     "the weights)"]  # fmt: skip
    both = refusals(to_plain(tiny()), tiny(batch_size=6, optimiser=OptimizerConfig("sgd", 1e-3, warmup_epochs=0)))
    assert both == ["batch_size 8 (now 6)", "optimiser.kind adamw (now sgd)"]


def test_more_epochs_never_change_the_views_of_those_that_were_trained(tmp_path):
    """Three sizes in three epochs, one each; of nine epochs the first three have the first size."""
    options = tiny(optimiser=CONSTANT, epochs=3, view_sizes=(4, 6, 8))
    words = refusals(to_plain(options), replace(options, epochs=9))
    assert words == ["epochs 3 (now 9; the view sizes 4 6 8 are of these epochs: --init CHECKPOINT starts a new one "
                     "from the weights)"]  # fmt: skip
    (word,) = refusals(to_plain(tiny(epochs=3, view_sizes=(4, 8))), tiny(epochs=9, view_sizes=(4, 8)))
    assert "the cosine schedule is and the view sizes 4 8 are of these epochs" in word
    fit(options, three_colors(), CPU, tmp_path)
    with pytest.raises(ValueError, match=r"another epochs 3 .*the view sizes 4 6 8"):
        fit(replace(options, epochs=9), three_colors(), CPU, tmp_path, resume=True)
    passed = set()
    for sizes, epochs, more in product([(), (6,), (6, 6), (4, 8), (8, 4, 8)], (1, 2, 3), (1, 2, 6)):
        short = replace(options, epochs=epochs, view_sizes=sizes)
        longer = replace(short, epochs=epochs + more)
        if not refusals(to_plain(short), longer):
            passed.add(sizes)
            for epoch in range(epochs):
                assert short.view_shape(epoch, 8, 8) == longer.view_shape(epoch, 8, 8)
    assert passed == {(), (6,), (6, 6)}


def test_the_command_keeps_the_longer_settings(tmp_path, capsys):
    out = tmp_path / "run"
    words = [*WORDS, "--data.dataset", str(write_folder(tmp_path / "images", "abc")), "--out", str(out),
             "--optimiser.schedule", "constant", "--optimiser.warmup-epochs", "0"]  # fmt: skip
    assert main(words) == 0
    assert main([*words, "--resume", "--epochs", "2"]) == 0
    assert json.loads((out / "config.json").read_text())["epochs"] == 2
    assert main([*words, "--resume"]) == 2
    assert "another epochs 2 (now 1; a training can only be given more)" in capsys.readouterr().err


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source")
    fit(tiny(), three_colors(), CPU, path)
    return path / "checkpoint.pt"


def started(options, source, path):
    """A training that is stopped before its first step, and what it was told to start from."""
    state = fit(replace(options, optimiser=replace(options.optimiser, learning_rate=1e-30)), three_colors(), CPU, path,
                init=source)  # fmt: skip
    return state, json.loads((path / INIT_FILE).read_text())


@pytest.mark.parametrize(
    ("changes", "taken", "left"),
    [
        ({}, ["encoder", "head"], "optimizer, schedule"),
        ({"method": method_of("moco", queue_size=5)}, ["encoder", "head"], "optimizer, schedule, queue"),
        ({"head": HeadChoice("linear", out_dim=5)}, ["encoder"],
         "optimizer, schedule, head (linear, now linear, or other sizes)"),
        ({"head": HeadChoice("none")}, ["encoder"], "optimizer, schedule, head (linear, now none, or other sizes)"),
    ],
)  # fmt: skip
def test_weights_are_taken_and_what_was_is_kept(changes, taken, left, source, tmp_path, capsys):
    state, record = started(tiny(**changes), source, tmp_path)
    assert (record["taken"], ", ".join(record["left"])) == (taken, left)
    assert f"taken are {' and '.join(taken)}; new are {left}" in capsys.readouterr().err
    stored = load_checkpoint(source)
    assert (record["sha256"], record["epoch"]) == (stored["sha256"], 1)
    assert record["data"] == stored["data"]["sha256"]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["init"] == record
    learner = load_trained(source, CPU).learner
    for module in ("encoder", "head")[: len(taken)]:
        for one, other in zip(getattr(learner, module).parameters(), getattr(state.learner, module).parameters()):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    if "queue" in left:
        for copy, module in zip(state.learner.copies, (state.learner.encoder, state.learner.head)):
            for one, other in zip(copy.module.parameters(), module.parameters()):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_another_encoder_is_refused_with_both_values(source, tmp_path):
    wider = tiny(encoder=EncoderConfig("small", width=4, norm="group"))
    with pytest.raises(ValueError, match=r"its encoder is another one: encoder\.width 2 \(now 4\)"):
        fit(wider, three_colors(), CPU, tmp_path, init=source)
    with pytest.raises(ValueError, match="there is no such checkpoint"):
        fit(tiny(), three_colors(), CPU, tmp_path, init=tmp_path / "nowhere.pt")


def test_what_cannot_be_started_from_leaves_no_run_folder(source, tmp_path, capsys):
    """A command that begins nothing has begun nothing: the same line with the right name needs no other folder."""
    out = tmp_path / "run"
    words = [*WORDS, "--data.dataset", str(write_folder(tmp_path / "images", "abc")), "--out", str(out)]
    for init, wider, says in ((tmp_path / "NOTHING.pt", [], "NOTHING.pt: there is no such checkpoint"),
                              (source, ["--encoder.width", "4"], "its encoder is another one")):  # fmt: skip
        assert main([*words, "--init", str(init), *wider]) == 2
        assert says in capsys.readouterr().err
        assert not out.exists()
    assert main([*words, "--init", str(source)]) == 0
    assert (out / INIT_FILE).exists()


def test_a_run_goes_on_from_the_weights_that_it_started_with(source, tmp_path):
    """With or without --init, and not with that of another checkpoint; before the first epoch only with it."""
    options, splits, moved = tiny(), three_colors(), tmp_path / "moved.pt"
    out, plain = folder(tmp_path, "out"), folder(tmp_path, "plain")
    fit(options, splits, CPU, out, init=source)
    shutil.copy(source, moved)
    for init in (None, source, moved):
        assert fit(options, splits, CPU, out, resume=True, init=init).init["checkpoint"] == str(source)
    fit(tiny(seed=1), splits, CPU, plain)
    with pytest.raises(ValueError, match=r"started from .*, of other content"):
        fit(options, splits, CPU, out, resume=True, init=plain / "checkpoint.pt")
    with pytest.raises(ValueError, match="started from new weights"):
        fit(tiny(seed=1), splits, CPU, plain, resume=True, init=source)
    (out / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"the run there starts from .*; give it with --init"):
        fit(options, splits, CPU, out, resume=True)
    with pytest.raises(ValueError, match="of other content"):
        fit(options, splits, CPU, out, resume=True, init=plain / "checkpoint.pt")
    assert fit(options, splits, CPU, out, resume=True, init=moved).epoch == 1


def test_a_checkpoint_of_an_earlier_version_can_be_started_from(source, tmp_path):
    found, old = load_checkpoint(source), tmp_path / "old.pt"
    torch.save({name: found[name] for name in FIRST_FIELDS}, old)
    record = started(tiny(), old, folder(tmp_path, "out"))[1]
    assert record["taken"] == ["encoder", "head"]
    assert record["data"] is None
    assert fit(replace(tiny(), optimiser=replace(tiny().optimiser, learning_rate=1e-30)), three_colors(), CPU,
               tmp_path / "out", resume=True, init=old).epoch == 1  # fmt: skip


def test_nothing_is_written_to_a_path_that_a_checkpoint_names(tmp_path):
    """Neither where it says that images are kept, nor where it ran."""
    out, trap = tmp_path / "run", tmp_path / "trap"
    images = write_folder(tmp_path / "images", "abc")
    assert main([*WORDS, "--data.dataset", str(images), "--out", str(out)]) == 0
    stored = load_checkpoint(out / "checkpoint.pt")
    stored.pop("sha256")
    stored["config"]["data"]["root"], stored["place"] = str(trap), str(trap)
    save_checkpoint(out / "checkpoint.pt", stored)
    assert evaluate_main([str(out / "checkpoint.pt")]) == 0
    assert not trap.exists()

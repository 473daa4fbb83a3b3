"""Only a finished run has results of its last epoch: what was stopped, has diverged or goes on is told apart."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from models.cifar import __main__ as trainer
from models.cifar.__main__ import main
from models.cifar.compare import compare, read_run
from models.cifar.compare import main as compare_main
from models.cifar.evaluate import main as evaluate_main
from models.cifar.training import train
from models.cifar.training.results import disagreement
from synthetic.integrity.folders import State, look_at
from tests.command_lines import status_of
from tests.models.cifar.tiny import WORDS, write_folder
from theory.numerics.whole_files import write_json, write_table

# Of a constant schedule a run may be given more.
CONSTANT = ["--optimiser.schedule", "constant", "--optimiser.warmup-epochs", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, and a finished run of one epoch on them."""
    path = tmp_path_factory.mktemp("place")
    write_folder(path / "images", "abc")
    assert main(words(path, "run")) == 0
    return path


def words(place, name, *more):
    return [*WORDS, *CONSTANT, "--data.dataset", str(place / "images"), "--out", str(place / name), *more]


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def undated(folder):
    """results.csv as earlier versions wrote it."""
    write_table(folder / "results.csv", [{k: v for k, v in row.items() if k != "epoch"}
                                         for row in table(folder / "results.csv")])  # fmt: skip


def stopping_after(patch, epochs):
    """Trainings that are interrupted in the epoch after these."""
    train_epoch = train._train_epoch

    def interrupted(state, *others):
        if state.epoch == epochs:
            raise KeyboardInterrupt
        return train_epoch(state, *others)

    patch.setattr(train, "_train_epoch", interrupted)


def stopping_in_the_evaluation(patch):
    def interrupted(*words, **named):
        raise KeyboardInterrupt

    patch.setattr(trainer, "evaluate", interrupted)


def test_a_finished_run_says_of_which_epoch_its_results_are(place):
    rows = table(place / "run" / "results.csv")
    assert {row["epoch"] for row in rows} == {"1"}
    assert list(rows[0])[-1] == "epoch", "readers of the other columns find them where they were"
    assert look_at(place / "run").words.startswith("whole, finished")


def test_what_was_stopped_has_no_results_of_a_finished_run(place, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stopping_after(patch, 1)
        assert main(words(place, "stopped", "--epochs", "6")) == 130
    stopped = place / "stopped"
    assert evaluate_main([str(stopped / "checkpoint.pt")]) == 0
    told = capsys.readouterr().out
    assert f"{stopped / 'checkpoint.pt'} is after epoch 1 of 6: these are no results of a finished run" in told
    assert not (stopped / "results.csv").exists()
    rows = table(stopped / "results-epoch-1.csv")
    assert {row["epoch"] for row in rows} == {"1"}
    assert compare_main([str(place / "run"), str(stopped)]) == 2
    # As earlier versions left it: evaluated after its first epoch, and saying nothing of that.
    write_table(stopped / "results.csv", rows)
    undated(stopped)
    assert compare_main([str(place / "run"), str(stopped)]) == 2
    assert f"{stopped}: epochs.csv ends with epoch 1, and config.json says 6 epochs" in capsys.readouterr().err
    assert look_at(stopped).words.startswith("whole, not finished: training on images, 1 row")


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_a_run_that_is_given_more_epochs_is_not_finished_until_it_is_evaluated(place, version, monkeypatch, capsys):
    folder = place / f"longer-{version}"
    shutil.copytree(place / "run", folder)
    if version == "earlier":
        undated(folder)
    more = words(place, folder.name, "--resume", "--epochs", "3")
    with monkeypatch.context() as patch:
        stopping_after(patch, 2)
        assert main(more) == 130
    assert compare_main([str(folder)]) == 2
    assert f"{folder}: epochs.csv ends with epoch 2, and config.json says 1 epochs" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        stopping_in_the_evaluation(patch)
        assert main(more) == 130
    assert len(table(folder / "epochs.csv")) == 3
    assert compare_main([str(folder)]) == 2
    assert f"{folder}: results.csv is of epoch 1, and config.json says 3 epochs" in capsys.readouterr().err
    found = look_at(folder)
    assert (found.state, found.words) == (State.WHOLE, "whole, not finished: training on images, 3 rows")
    assert main(more) == 0
    assert {row["epoch"] for row in table(folder / "results.csv")} == {"3"}
    assert compare((folder,))[0]["seeds"] == 1
    assert look_at(folder).words.startswith("whole, finished")


def test_the_checkpoint_of_fewer_epochs_is_not_that_of_the_run(place):
    """A copy of a finished run's checkpoint, evaluated once the run has gone on."""
    folder = place / "copied"
    shutil.copytree(place / "run", folder)
    shutil.copy(folder / "checkpoint.pt", folder / "first.pt")
    assert main(words(place, "copied", "--resume", "--epochs", "2")) == 0
    before = (folder / "results.csv").read_bytes()
    assert evaluate_main([str(folder / "first.pt")]) == 0
    assert (folder / "results.csv").read_bytes() == before
    assert {row["epoch"] for row in table(folder / "results-first-epoch-1.csv")} == {"1"}
    assert look_at(folder).words.startswith("whole, finished")


def test_a_training_that_diverged_has_no_results_of_a_finished_run(place, monkeypatch, capsys):
    read, steps = train._read, []

    def not_finite(state, unread, done, folder):
        steps.append(state.epoch)
        if state.epoch == 1:
            unread = [step._replace(loss=step.loss * float("nan")) for step in unread]
        return read(state, unread, done, folder)

    with monkeypatch.context() as patch:
        patch.setattr(train, "_read", not_finite)
        assert status_of(main, words(place, "diverged", "--epochs", "2")) == 5
    folder = place / "diverged"
    assert steps == [0, 1]
    assert evaluate_main([str(folder / "diverged.pt")]) == 0
    assert "diverged.pt is after epoch 1 of 2" in capsys.readouterr().out
    assert (folder / "results-diverged-epoch-1.csv").exists()
    assert not (folder / "results.csv").exists()
    assert look_at(folder).words.startswith("whole, not finished")


def test_results_of_earlier_versions_are_read_where_nothing_contradicts_them(place):
    folder = place / "undated"
    shutil.copytree(place / "run", folder)
    undated(folder)
    assert read_run(folder).results == [{k: v for k, v in row.items() if k != "epoch"}
                                        for row in read_run(place / "run").results]  # fmt: skip
    assert look_at(folder).words.startswith("whole, finished")


@pytest.mark.parametrize(
    ("epochs", "results", "told"),
    [
        ([1, 2], [2.0, "2"], ""),
        ([1, 2], ["", float("nan"), None], ""),
        ([1, 2], [2, 1], "results.csv is of epoch 1, and config.json says 2 epochs"),
        ([1, 2], ["two"], "results.csv is of epoch -1, and config.json says 2 epochs"),
        ([1, 2, 3], [2], "epochs.csv ends with epoch 3, and config.json says 2 epochs"),
        ([], [2], "epochs.csv has no epoch, and config.json says 2 epochs"),
        ([None], [2], "epochs.csv has no epoch, and config.json says 2 epochs"),
    ],
)
def test_in_what_tables_disagree(epochs, results, told):
    rows = [{"epoch": epoch} for epoch in epochs], [{"epoch": epoch} for epoch in results]
    assert disagreement({"epochs": 2}, *rows) == told


# --- what a comparison takes ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds(place):
    """Two runs of one row."""
    assert main(words(place, "second", "--seed", "1")) == 0
    return [place / "run", place / "second"]


def test_edited_tables_are_refused(place, seeds, tmp_path, capsys):
    for name in ("results.csv", "epochs.csv"):
        run = Path(shutil.copytree(place / "run", tmp_path / name))
        text = (run / name).read_text()
        (run / name).write_text(text.replace("0.", "0.9", 1))
        assert compare_main([str(run), str(seeds[1])]) == 2
        assert f"{run / name}: is not what the run wrote; it was edited or damaged" in capsys.readouterr().err


def test_a_seed_counts_once(place, seeds, tmp_path, monkeypatch, capsys):
    again = shutil.copytree(place / "run", tmp_path / "again")
    monkeypatch.chdir(place)
    for folders, told in (
        (["run", "run", "second"], "folders: run is given twice"),
        (["run", "second", "../" + place.name + "/run"], "run is given twice"),
        (["run", "second", str(again)], f"run and {again} are runs of the same settings and images with the same seed"),
    ):
        assert compare_main(folders) == 2
        assert told in capsys.readouterr().err
    assert compare_main(["run", "second"]) == 0
    assert re.search(r"^1  simclr, head linear +2 ", capsys.readouterr().out, re.MULTILINE)


def test_a_setting_that_came_later_is_as_by_default(seeds, tmp_path):
    """Runs of before were rows of their own."""
    old = shutil.copytree(seeds[0], tmp_path / "old")
    config = json.loads((old / "config.json").read_text())
    for name in ("exchange_views", "monitor"):
        del config[name]
    write_json(old / "config.json", config)
    (row,) = compare((old, seeds[1]))
    assert row["seeds"] == 2
    write_json(old / "config.json", {**config, "exchange_views": True})
    assert len(compare((old, seeds[1]))) == 2


def test_versions_that_differ_within_a_row_are_named(seeds, tmp_path, capsys):
    assert compare_main([str(each) for each in seeds]) == 0
    assert "versions" not in capsys.readouterr().out
    other = Path(shutil.copytree(seeds[1], tmp_path / "other"))
    kept = json.loads((other / "environment.json").read_text())
    start = kept["runs"][0]

    def said(*runs):
        write_json(other / "environment.json", {"runs": list(runs)})
        assert compare_main([str(seeds[0]), str(other)]) == 0
        return capsys.readouterr().out.partition("runs of one row were made with different versions:\n")[2]

    torch = start["torch"].split("+")[0]
    assert said(start | {"torch": f"{torch}+cu999", "commit": "0" * 40}) == "", "the same code, whatever its commit"
    wanted = f"  row 1, torch: {torch} in {seeds[0]}, {other}; 1.0.0 in {other}\n"
    assert said(start, start | {"torch": "1.0.0"}) == wanted, "a run that went on with another version"
    found = said(start | {"code": "f" * 64, "commit": "e" * 40, "uncommitted_changes": True, "device": "GPU"})
    assert f"commit eeeeeeeeee with changes in {other}\n" in found
    assert f"; GPU in {other}\n" in found
    assert "numpy" not in found
    write_json(other / "environment.json", {"runs": [1]})
    assert compare_main([str(other)]) == 2
    assert "environment.json: has no list of runs" in capsys.readouterr().err

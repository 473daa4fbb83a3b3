"""The command line: what it refuses before it works, what it leaves, and what it reads when."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import models.advisor.__main__ as command
from models.advisor.config import AdvisorConfig
from models.advisor.demo import STRENGTHS, augment, digits
from models.advisor.findings import exact_name, find, keep_in
from models.advisor.inputs.features import feature_set
from synthetic.integrity.folders import Found, State, look_at
from tests.models.advisor.rows import gaussian_set
from theory.numerics.manifest import adopt

QUICK = ["--batch-size", "16", "--depth", "2", "--batches", "4", "--no-figures"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An honest split, a shifted check set, and arrays one by one."""
    folder = tmp_path_factory.mktemp("features")
    for name, seed, noise in (("first", 0, 1.0), ("second", 1, 1.0), ("shifted", 1, 2.0)):
        found = gaussian_set(seed, 160, noise=noise)
        np.savez(folder / f"{name}.npz", embeddings=found.embeddings, labels=found.classes, views=found.views,
                 strengths=found.strengths)  # fmt: skip
        np.save(folder / f"{name}.npy", found.embeddings)
        np.save(folder / f"{name}_labels.npy", found.classes)
        for strength, view in zip(found.strengths, found.views):
            np.save(folder / f"{name}_{strength:g}.npy", view)
    return folder


def run(*arguments):
    return command.main([str(each) for each in arguments])


def test_a_run_leaves_its_files_and_a_check_goes_on_with_it(files, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(files / "first.npz", "--out", out, *QUICK) == 0
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {"advice.json", "config.json", "curves.csv", "environment.json", "manifest.json", "parts",
                     "predictions.json", "predictions.sha256", "report.txt"}  # fmt: skip
    assert look_at(out) == Found(State.WHOLE, "whole, finished: advice")
    before = (out / "predictions.json").read_bytes()
    assert run(files / "first.npz", "--out", out, "--resume", "--check", files / "second.npz", *QUICK) == 0
    assert (out / "predictions.json").read_bytes() == before
    assert json.loads((out / "advice.json").read_text())["check"]["contradicted"] == 0
    assert "CONFIRMED" in (out / "report.txt").read_text()
    assert run(files / "first.npz", "--out", out, "--resume", "--check", files / "shifted.npz", *QUICK) == 1
    assert "CONTRADICTED" in capsys.readouterr().out
    checked = (out / "checked.csv").read_text()
    (out / "checked.csv").write_text(checked.replace(",CONTRADICTED", ",CONFIRMED", 1))
    adopt(out)
    assert "is CONFIRMED, and by its numbers CONTRADICTED" in look_at(out).words
    (out / "checked.csv").write_text(checked)
    adopt(out)
    path = out / "predictions.json"
    path.write_bytes(before.replace(b'"value": 0', b'"value": 1', 1))
    assert run(files / "first.npz", "--out", out, "--resume", "--check", files / "second.npz", *QUICK) == 2
    assert "predictions.json: edited or damaged" in capsys.readouterr().err


def test_predictions_are_on_disk_before_the_check_is_read(files, tmp_path, monkeypatch):
    out, loaded = tmp_path / "run", []
    original = command.load_features

    def load(sources, *others):
        loaded.append((sources.features.name, (out / "predictions.sha256").exists()))
        return original(sources, *others)

    monkeypatch.setattr(command, "load_features", load)
    run(files / "first.npz", "--check", files / "second.npz", "--out", out, *QUICK)
    assert loaded == [("first.npz", False), ("second.npz", True)]


def test_views_in_files_of_their_own_and_no_labels(files, tmp_path):
    views = [part for s in (0, 0.5, 1, 2) for part in ("--view", f"{s}={files / f'first_{s}.npy'}")]
    assert run(files / "first.npy", *views, "--out", tmp_path / "run", *QUICK) == 0
    assert json.loads((tmp_path / "run" / "advice.json").read_text())["pair_strength"] == 0.5


def test_a_run_that_was_interrupted_goes_on(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    arguments = (files / "first.npy", "--labels", files / "first_labels.npy", "--out", out, *QUICK)
    monkeypatch.setattr(command, "advice_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*arguments) == 130
    assert f"--out {out} --resume" in capsys.readouterr().err
    parts = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    monkeypatch.undo()
    assert run(*arguments) == 2, "not without --resume"
    assert run(*arguments, "--resume") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == parts
    config = json.loads((out / "config.json").read_text())
    assert [role for role, _ in config["files"]] == ["features", "labels"]
    assert config["label_column"] == "label"
    assert run(files / "second.npy", "--labels", files / "second_labels.npy", "--out", out, "--resume", *QUICK) == 2
    assert "the run there has another" in capsys.readouterr().err


def test_a_run_goes_on_with_its_own_rows_alone(tmp_path, monkeypatch, capsys):
    """The same two files with their parts exchanged, and the same table with another column of labels, are others."""
    found = gaussian_set(0, 60)
    for name, rows in (("a", found.views[1]), ("b", found.views[2]), ("rows", found.embeddings)):
        np.save(tmp_path / f"{name}.npy", rows)
    np.save(tmp_path / "labels.npy", found.classes)
    names = [f"x{i}" for i in range(12)]
    other = np.roll(found.classes, 1)
    table = pd.DataFrame(found.embeddings, columns=names).assign(label=found.classes, other=other)
    table.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setattr(command, "find", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    def views(first, second):
        files = (("0", "rows"), ("0.5", first), ("1", second))
        return [part for strength, name in files for part in ("--view", f"{strength}={tmp_path / name}.npy")]

    rows = [tmp_path / "rows.npy", "--labels", tmp_path / "labels.npy"]
    asked = [tmp_path / "t.csv", "--label-column"]
    others = (
        (rows + views("a", "b"), rows + views("b", "a"), "files"),
        ([*asked, "label"], [*asked, "other"], "label_column"),
    )
    for place, (first, second, what) in enumerate(others):
        out = tmp_path / f"run{place}"
        assert run(*first, "--out", out, *QUICK) == 130
        assert run(*first, "--out", out, "--resume", *QUICK) == 130
        capsys.readouterr()
        assert run(*second, "--out", out, "--resume", *QUICK) == 2
        assert f"the run there has another {what} " in capsys.readouterr().err


def test_every_strength_has_a_part_of_its_own(tmp_path):
    """Two of them are alike in six digits; the names of the usual ones are short."""
    assert [exact_name(each) for each in (0.0, 0.5, 1.0, 1e-7)] == ["0", "0.5", "1", "1e-07"]
    close = (0.0, 0.5, 0.50000001)
    assert len({exact_name(each) for each in close}) == 3
    found = gaussian_set(0, 60)
    features = feature_set(found.embeddings, found.classes, found.views[:3], close)
    config = AdvisorConfig(batch_size=16, depth=1, batches=2, effective_neighbors=2.0)
    findings = find(features, config, keep_in(tmp_path))
    parts = [json.loads((tmp_path / "parts" / f"strength_{exact_name(each)}.json").read_text()) for each in close]
    assert findings.by_strength[1] != findings.by_strength[2]
    assert parts[1]["points"] != parts[2]["points"]


BAD = {
    "nothing": ([], "features: give a file of embeddings, or --demo"),
    "a demo of files": (["first.npz", "--demo"], "--demo: brings its own rows"),
    "no file": (["none.npy"], "none.npy: there is no such file"),
    "no labels": (["first.npy"], "labels: there are none"),
    "a view without strength": (["first.npy", "--view", "first_0.npy"], "--view: expected STRENGTH=FILE"),
    "a view without file": (["first.npy", "--view", "0="], "--view: expected STRENGTH=FILE"),
    "labels of no check": (["first.npz", "--check-labels", "first_labels.npy"], "--check: give the embeddings"),
    "no check": (["first.npz", "--check", "none.npz"], "--check: .*none.npz: there is no such file"),
    "a batch too large": (["first.npz", "--batch-size", "161"], r"batch_size: must be a whole number in \[2, 160\]"),
    "a batch of more than half": (
        ["first.npz", "--batch-size", "100"],
        r"batch_size: must be a whole number in \[2, 80\], got 100; batches of new rows are filled from about half",
    ),
    "a share of all": (["first.npz", "--share", "1"], r"share: must lie in \(0, 1\)"),
    "too little memory": (["first.npz", "--memory-limit", "1e-6"], "--memory-limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_in_one_line(files, tmp_path, name, monkeypatch, capsys):
    given, message = BAD[name]
    arguments = [str(files / each) if each.endswith((".npy", ".npz")) else each for each in given]
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert re.search(message, error), error


def test_the_demo_splits_the_digits_in_two():
    first, second = digits(0)
    images = load_digits().data
    assert first.num_rows + second.num_rows == len(images)
    together = np.concatenate([first.embeddings, second.embeddings])
    np.testing.assert_array_equal(np.sort(together.sum(1)), np.sort(images.sum(1)))
    assert first.strengths == STRENGTHS
    np.testing.assert_array_equal(first.views[0], first.embeddings)
    assert not np.array_equal(digits(1)[0].embeddings, first.embeddings)
    assert not AdvisorConfig().batch_size


def test_views_of_the_demo_move_and_blur():
    rng = np.random.default_rng(0)
    image = np.zeros((500, 64))
    image[:, 27] = 10.0
    still = augment(image, 0.0, rng)
    np.testing.assert_array_equal(still, image)
    moved = augment(image, 1.0, rng)
    peak = np.unravel_index(np.argmax(moved, axis=1), (8, 8))
    assert set(peak[0]) >= {0, 3, 6}
    assert moved[:, 63].std() == pytest.approx(6.0, rel=0.15)

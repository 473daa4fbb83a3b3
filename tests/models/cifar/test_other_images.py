"""Evaluation and comparison hold the images against the run's: from any folder, on other images, and across runs."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from models.cifar.__main__ import main
from models.cifar.compare import compare
from models.cifar.compare import main as compare_main
from models.cifar.embed import main as embed_main
from models.cifar.evaluate import main as evaluate_main
from models.cifar.training.state import load_trained
from models.cifar.training.stored_images import read_images
from tests.models.cifar.tiny import WORDS, write_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on images/, whose path was given relative to the folder where it ran; other/ has other images."""
    path = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        write_folder(path / "images", "abc")
        write_folder(path / "other", "xyzw", seed=1)
        for name, dataset, more in (("run", "images", []),
                                    ("longer", "images", ["--epochs", "2"]), ("elsewhere", "other", ["--seed", "1"]),
                                    ("moved", "renamed", ["--seed", "2"])):  # fmt: skip
            if dataset == "renamed":
                shutil.copytree("images", "renamed")
            assert main([*WORDS, "--data.dataset", dataset, "--out", name, *more]) == 0
    return path


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_evaluated_from_any_folder(place, tmp_path, monkeypatch):
    before = (place / "run" / "results.csv").read_bytes()
    (place / "run" / "results.csv").unlink()
    # A folder of the same name, with other images, lies where the evaluation is started.
    write_folder(tmp_path / "images", "pqr", seed=2)
    monkeypatch.chdir(tmp_path)
    assert evaluate_main([str(place / "run" / "checkpoint.pt")]) == 0
    assert (place / "run" / "results.csv").read_bytes() == before
    # Moved with its images, away from where it ran.
    shutil.copytree(place / "run", tmp_path / "away" / "run")
    shutil.copytree(place / "images", tmp_path / "away" / "run" / "images")
    (place / "images").rename(place / "hidden")
    try:
        assert evaluate_main([str(tmp_path / "away" / "run" / "checkpoint.pt")]) == 0
    finally:
        (place / "hidden").rename(place / "images")


def test_other_images_are_refused_or_named(place, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    shutil.copytree(place / "other", tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    (place / "images").rename(place / "hidden")
    before = (run / "results.csv").read_bytes()
    try:
        words = [str(run / "checkpoint.pt")]
        for command in (evaluate_main, lambda words: embed_main([*words, "--out", str(tmp_path / "f.npz")])):
            assert command(words) == 2
            told = capsys.readouterr().err
            assert "are not those of the training: classes a, b, c against w, x, y, z" in told
            assert "--dataset PATH reads other images" in told
        assert evaluate_main([*words, "--dataset", "images"]) == 0
    finally:
        (place / "hidden").rename(place / "images")
    assert (run / "results.csv").read_bytes() == before
    (other,) = run.glob("results-images-*.csv")
    assert str(other) in capsys.readouterr().out
    (name,) = {row["data_sha256"] for row in table(other)}
    assert name.startswith(other.stem[-8:])
    assert name == json.loads((place / "elsewhere" / "fingerprint.json").read_text())["sha256"]
    # The training's own images by another name are its own.
    assert evaluate_main([str(run / "checkpoint.pt"), "--dataset", str(place / "images")]) == 0
    assert (run / "results.csv").read_bytes() == before
    assert embed_main([str(run / "checkpoint.pt"), "--dataset", str(place / "other"), "--part", "test", "--out",
                       str(tmp_path / "f.npz"), "--strengths", "0", "1"]) == 0  # fmt: skip


def test_results_of_other_images_are_not_overwritten(place, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    shutil.copy(place / "elsewhere" / "results.csv", run)
    assert compare_main([str(run)]) == 2
    assert f"{run / 'results.csv'}: is not what the run wrote" in capsys.readouterr().err
    # Of an earlier version, which kept no manifest.
    (run / "manifest.json").unlink()
    assert evaluate_main([str(run / "checkpoint.pt")]) == 2
    assert "results.csv: has results on other images" in capsys.readouterr().err
    assert compare_main([str(run)]) == 2
    assert "results.csv is of other images than the run's fingerprint" in capsys.readouterr().err


def test_where_images_are_looked_for(place, tmp_path, monkeypatch):
    """An absolute path is taken as it is; a relative one begins where the training ran, then in the run folder."""
    monkeypatch.chdir(tmp_path)
    checkpoint = place / "run" / "checkpoint.pt"
    trained = load_trained(checkpoint, torch.device("cpu"))
    assert read_images(trained, checkpoint)[1] == trained.data
    absolute = replace(trained.config, data=replace(trained.config.data, dataset=str(place / "other")))
    with pytest.raises(ValueError, match="are not those of the training"):
        read_images(replace(trained, config=absolute), checkpoint)
    with pytest.raises(ValueError, match=r"neither one of digits.* nor a folder"):
        read_images(replace(trained, place=str(tmp_path)), checkpoint)
    assert read_images(replace(trained, place=None), place / "checkpoint.pt")[1] == trained.data


def test_images_that_are_gone_are_asked_for(place, tmp_path, monkeypatch, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    (place / "images").rename(place / "hidden")
    try:
        assert evaluate_main([str(tmp_path / "run" / "checkpoint.pt")]) == 2
    finally:
        (place / "hidden").rename(place / "images")
    assert "--dataset reads other images" in capsys.readouterr().err


def test_runs_on_other_images_are_another_row(place, capsys):
    names = ("run", "moved", "longer", "elsewhere")
    folders = [place / name for name in names]
    rows = compare(tuple(folders))
    assert [row["seeds"] for row in rows] == [2, 1, 1], "the same images by another name are the same"
    assert [row["epochs"] for row in rows] == [1, 2, 1]
    images = [row["images"] for row in rows]
    assert images[0] == images[1] != images[2]
    assert (images[0].split()[0], images[2].split()[0]) == ("images", "other")
    assert {name for name in rows[0] if name not in compare((folders[0],))[0]} == {"epochs", "images"}
    assert compare_main([str(folder) for folder in folders]) == 0
    printed = capsys.readouterr().out
    assert "epochs  1: 1, 2: 2, 3: 1" in printed
    name, sha256 = images[2].split()
    assert f"3: {name} {sha256[:8]}\n" in printed


def test_what_a_run_started_from_is_another_row(place, tmp_path):
    out = tmp_path / "tuned"
    words = [*WORDS, "--data.dataset", str(place / "images"), "--seed", "1", "--out", str(out)]
    assert main([*words, "--init", str(place / "run" / "checkpoint.pt")]) == 0
    rows = compare((place / "run", out))
    assert [row["seeds"] for row in rows] == [1, 1]
    assert [row["init"] is None for row in rows] == [True, False]

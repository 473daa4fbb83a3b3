"""--tensorboard: every number of an epoch goes to its writer, which is closed; without the package it is refused."""

import csv
import sys
import types
from importlib.machinery import ModuleSpec

from models.cifar.__main__ import main

SMALL = ["--tensorboard", "--epochs", "2", "--batch-size", "16", "--data.limit", "12", "--data.image-size", "8",
         "--encoder.width", "2", "--measure-every", "2", "--measure-images", "20", "--no-figures"]  # fmt: skip


class Writer:
    """Stands in for TensorBoard's."""

    def __init__(self, folder):
        self.folder, self.scalars, self.closed = folder, {}, False
        Writer.last = self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value


def test_epochs_are_logged(tmp_path, monkeypatch):
    # Its own library is no dependency of the tests.
    library = types.ModuleType("tensorboard")
    library.__spec__ = ModuleSpec("tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard", library)
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 0
    assert Writer.last.closed
    assert Writer.last.folder == str(tmp_path / "run" / "tensorboard")
    with open(tmp_path / "run" / "epochs.csv", newline="") as file:
        cells = {
            (name, int(row["epoch"])): float(cell) for row in csv.DictReader(file) for name, cell in row.items() if cell
        }
    assert {place: Writer.last.scalars[place] for place in cells} == cells
    assert ("loss", 1) in cells


def test_without_the_package_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 2
    assert (
        "--tensorboard: needs tensorboard; pip install 'contrastive-theory-toolkit[tensorboard]'"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()

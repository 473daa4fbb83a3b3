"""What a run says of its images, and which methods it refuses where there are no labels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import models.cifar.__main__ as trainer
import paper_checks.__main__
from models.cifar import prospective
from models.cifar.data import DataConfig, load_images
from models.cifar.data.images import require_test_and_classes
from models.cifar.methods.settings import DeepFusion, MoCo, SimCLR, SupCon, TransFusion
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from tests.models.cifar.data.image_files import encoded, random_pixels, write
from theory.numerics.whole_files import to_plain

CPU = torch.device("cpu")


@pytest.fixture
def unlabeled(tmp_path):
    rng = np.random.default_rng(0)
    files = {f"train/{i}.png": encoded(random_pixels(rng)) for i in range(24)}
    return load_images(DataConfig(str(write(tmp_path, files)), root=tmp_path / "cache"))


@pytest.mark.parametrize("method", [SupCon(), TransFusion(supervised=True)])
def test_methods_that_learn_from_labels_are_refused_without_them(unlabeled, method):
    with pytest.raises(ValueError, match=f"{method.name} learns from labels of at least 2 classes.* of class unlabel"):
        check(TrainConfig(method=method, batch_size=8), unlabeled, CPU)


@pytest.mark.parametrize("method", [SimCLR(), MoCo(), DeepFusion(), TransFusion()])
def test_methods_without_labels_are_not(unlabeled, method):
    check(TrainConfig(method=method, batch_size=8), unlabeled, CPU)


def test_studies_need_test_images_and_classes(unlabeled, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"dataset: images has no test images"):
        require_test_and_classes(unlabeled)
    with pytest.raises(ValueError, match="of one class, unlabeled; at least 2"):
        require_test_and_classes(replace(unlabeled, test=unlabeled.train))
    digits = load_images(DataConfig(limit=4))
    assert require_test_and_classes(digits) is digits
    path = tmp_path / "images"
    for main, options in ((prospective.main, []), (paper_checks.__main__.main, ["--tier", "cpu"])):
        out = tmp_path / "study"
        assert main([*options, "--images", str(path), "--out", str(out)]) == 2
        assert "has no test images" in capsys.readouterr().err
        assert not out.exists()


def stopped(*arguments, **options):
    raise KeyboardInterrupt


def test_the_report_is_printed_and_kept_before_the_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "fit", stopped)
    out = tmp_path / "run"
    assert (
        trainer.main(["--recipe", "plain", "--data.limit", "8", "--batch-size", "8", "--no-figures", "--out", str(out)])
        == 130
    )
    report = load_images(DataConfig(limit=8)).report
    assert json.loads((out / "data.json").read_text()) == to_plain(report)
    assert "\n".join(report.lines()) in capsys.readouterr().out

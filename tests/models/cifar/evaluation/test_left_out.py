"""Quantities are measured one by one: each leaves out what it cannot use and says so, and voids no other one."""

import csv
import math
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch

from figures.catalogue import FIGURES
from figures.run_folder import read_run_folder
from models.cifar.__main__ import main
from models.cifar.data.images import ImageSet, Splits
from models.cifar.evaluate import evaluate, print_results
from models.cifar.evaluation.epoch_measures import measure_epoch
from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.measure import ceiling_report
from models.cifar.evaluation.probes import ProbeConfig, knn_scores, probe
from models.cifar.methods.settings import method_of
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import new_learner
from models.cifar.training.train import fit
from models.heads import HeadConfig, build_head
from tests.models.cifar.tiny import CPU, WORDS, colors, three_colors, tiny, write_folder
from theory.judging.rates import clopper_pearson
from theory.numerics.whole_files import write_json, write_table

OPTIONS = tiny()


class Colors(torch.nn.Module):
    """Features are the color of an image, and zero where it is black."""

    def forward(self, images):
        scaled = images * torch.tensor(OPTIONS.view.std)[:, None, None]
        return (scaled + torch.tensor(OPTIONS.view.mean)[:, None, None]).mean((2, 3)).clamp_min(0.0)


@pytest.fixture
def learner():
    made = new_learner(OPTIONS)
    made.encoder, made.head = Colors(), build_head(HeadConfig("none"), 3)
    return made


def measured(learner, splits):
    # Views that are the images, so that black ones stay black.
    return measure_epoch(learner, splits, replace(OPTIONS.view, strength=0.0), CPU, 1, 8, 12)


def said(found):
    return {quantity: [row["why"] for row in found.left_out if row["quantity"] == quantity]
            for quantity in ("kNN", "affinities", "scores", "angles")}  # fmt: skip


def test_a_class_of_one_validation_image_voids_only_its_own_pairs(learner):
    splits = replace(three_colors(), validation=colors((3, 3, 1), 1))
    found = measured(learner, splits)
    words = said(found)
    assert words["angles"] == ["theta_within and the ceiling leave out class b of one validation image; "
                               "a larger data.validation_share or more images would do"]  # fmt: skip
    assert not words["affinities"] + words["scores"]
    features = Colors()((splits.validation.images / 255 - torch.tensor(OPTIONS.view.mean)[:, None, None])
                        / torch.tensor(OPTIONS.view.std)[:, None, None])  # fmt: skip
    expected = ceiling_report(features[:6], features[:6], splits.validation.labels[:6])
    for name in ("theta_within", "theta_between", "ceiling", "closer"):
        assert found.columns[name] == pytest.approx(expected[name], abs=1e-6)
    assert found.columns["knn"] == 1.0
    assert {row["epoch"] for row in found.layers + found.scores} == {1}


def test_classes_of_one_image_each_leave_angles_scores_and_neighbours(learner):
    found = measured(learner, replace(three_colors(), validation=colors((1, 1, 1), 1)))
    assert "phi_q50" in found.columns
    assert "alignment" in found.columns
    assert found.columns["knn"] == 1.0
    assert not {"theta_within", "ceiling", "closer"} & set(found.columns)
    (why,) = said(found)["angles"]
    assert "they need 2 classes of 2 validation images, classes r, g, b have one" in why


def test_zero_rows_are_left_out_and_counted(learner):
    splits = three_colors()
    black = splits.validation.images.clone()
    black[0] = 0
    train = splits.train.images.clone()
    train[[1, 2]] = 0
    dark = replace(splits, validation=replace(splits.validation, images=black),
                   train=replace(splits.train, images=train))  # fmt: skip
    found, whole = measured(learner, dark), measured(learner, splits)
    assert whole.columns["knn"] == 1.0
    assert found.columns["knn"] == pytest.approx(8 / 9)
    words = said(found)
    assert "2 of 16 training features are zero or not finite, and no neighbours" in words["kNN"]
    assert "1 of 9 validation features are zero or not finite, and count as not found" in words["kNN"]
    assert words["scores"] == ["1 of 9 images are left out, of which an embedding is zero or not finite"]
    assert sum(row["positive"] for row in found.scores) == 8
    kept = measured(learner, replace(dark, validation=dark.validation.subset(torch.arange(1, 9))))
    for name in ("alignment", "uniformity", "phi_q95", "theta_between"):
        assert found.columns[name] == kept.columns[name]


def test_the_neighbours_are_as_many_as_there_are(learner):
    words = said(measured(learner, three_colors()))["kNN"]
    assert words == ["16 neighbours instead of 20, there are no more training images"]
    more = replace(three_colors(), train=colors((7, 7, 6)))
    assert said(measured(learner, more))["kNN"] == []


def test_all_features_zero_leave_nothing_and_say_so(learner):
    splits = three_colors()
    dark = [replace(part, images=torch.zeros_like(part.images)) for part in (splits.train, splits.validation)]
    found = measured(learner, replace(splits, train=dark[0], validation=dark[1]))
    assert not {"knn", "alignment", "phi_q50"} & set(found.columns)
    assert all("not measured" in said(found)[quantity][-1] for quantity in ("kNN", "scores", "angles"))


def test_features_that_are_not_finite_leave_the_rest(learner):
    class Half(Colors):
        def forward(self, images):
            found = super().forward(images)
            return torch.where(found[:, :1] > found[:, 1:].amax(1, keepdim=True), math.nan, found)

    learner.encoder = Half()
    found = measured(learner, three_colors())
    assert found.columns["knn"] == pytest.approx(6 / 9)
    assert "phi_q50" in found.columns


# --- without labels ---------------------------------------------------------------------------------------------------


def one_class(test=False):
    parts = [colors((16,), seed, ("only",)) for seed in (0, 1, 2)]
    return Splits(parts[0], parts[1].subset(torch.arange(4)), parts[2] if test else parts[2].subset(torch.arange(0)))


# moco_ft and deepfusion take their ways through the code.
@pytest.mark.parametrize("method", ["simclr", "supcon", "moco", "transfusion"])
def test_methods_train_on_one_class_or_refuse_it_by_name(method, tmp_path, capsys):
    """Without test images too."""
    options = tiny(method=method_of(method, **({"queue_size": 5} if "moco" in method else {})))
    if method == "supcon":
        with pytest.raises(ValueError, match=r"method\.name: supcon learns from labels .* of class only; simclr, mo"):
            fit(options, one_class(), CPU, tmp_path)
        assert not list(tmp_path.iterdir())
        return
    state = fit(options, one_class(), CPU, tmp_path)
    assert state.epochs[0]["loss"] > 0
    assert state.epochs[0]["phi_q50"] > 0
    assert "knn" not in state.epochs[0]
    told = capsys.readouterr().err
    for quantity in ("kNN", "affinities", "angles"):
        assert re.search(rf"epoch 1: {quantity}: .*all images are of class only; it needs labels", told)
    with open(tmp_path / "left_out.csv", newline="") as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == {"kNN", "affinities", "angles"}


def test_supervised_transfusion_needs_labels_too(tmp_path):
    with pytest.raises(ValueError, match=r"method\.supervised: transfusion learns from labels"):
        fit(tiny(method=method_of("transfusion", supervised=True)), one_class(), CPU, tmp_path)


def test_what_was_said_is_said_once(tmp_path, capsys):
    fit(tiny(epochs=2), one_class(), CPU, tmp_path)
    told = capsys.readouterr().err
    assert told.count("kNN: ") == told.count("affinities: ") == 1
    with open(tmp_path / "left_out.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["quantity"] == "kNN"] == ["1", "2"]


def test_the_critical_strength_leaves_out_classes_of_one_image(tmp_path, capsys):
    options = tiny(advise_every=1, advise_strengths=(0.0, 1.0))
    fit(options, replace(three_colors(), validation=colors((4, 4, 1), 1)), CPU, tmp_path)
    assert "critical strength: leaves out class b of one validation image" in capsys.readouterr().err
    assert fit(replace(options, seed=1), one_class(), CPU, tmp_path).epochs[0]["strength"] == 1.0
    assert "no critical strength: needs labels: 2 classes of 2 validation images, there are 4 of class only" in (
        capsys.readouterr().err
    )


# --- probes -----------------------------------------------------------------------------------------------------------


def features(rows, labels):
    return LabelledFeatures(torch.tensor(rows, dtype=torch.float32), torch.tensor(labels))


def test_a_zero_row_does_not_void_the_neighbours_probe():
    """It is no neighbour, and is not found."""
    train = features([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [0, 0]], [0, 0, 1, 1, 1])
    validation, test = features([[1, 0.2], [0.2, 1]], [0, 1]), features([[1, 0], [0, 1], [0, 0], [0, 0]], [0, 1, 0, 1])
    found = probe(train, validation, test, ProbeConfig(neighbours=(1, 3), temperatures=(0.1,)))
    assert (found.correct, found.trials, found.accuracy) == (2, 4, 0.5)
    assert (found.low, found.high) == clopper_pearson(2, 4)
    assert found.validation_accuracy == 1.0
    assert found.left_out == ("1 of 5 training features are zero and are no neighbours",
                              "2 of 4 test features are zero and count as not found")  # fmt: skip
    without = probe(features([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 1, 1]), validation, test,
                    ProbeConfig(neighbours=(1, 3), temperatures=(0.1,)))  # fmt: skip
    assert (without.correct, without.chosen) == (found.correct, found.chosen)
    with pytest.raises(ValueError, match="all rows are zero"):
        probe(features([[0, 0], [0, 0]], [0, 1]), validation, test)


def test_k_is_clipped_and_that_is_said():
    train = features([[1, 0], [1, 0.1], [0, 1]], [0, 0, 1])
    validation = test = features([[1, 0.2], [0.2, 1]], [0, 1])
    found = probe(train, validation, test, ProbeConfig(neighbours=(1, 5, 10)))
    assert found.chosen["k"] == 1
    assert found.left_out == ("k 5, 10 left out: there are 3 training rows",)
    assert probe(train, validation, test, ProbeConfig(neighbours=(5,))).chosen["k"] == 3
    assert probe(train, validation, test, ProbeConfig(neighbours=(3,))).left_out == ()
    with pytest.raises(ValueError, match=r"k: must lie in \[1, 3\]"):
        knn_scores(train.features, train.labels, test.features, 4, 0.1, 2)


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_without_test_rows_a_candidate_is_chosen(kind):
    train = features([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 1, 1])
    found = probe(train, features([[1, 0.2], [0.2, 1]], [0, 1]), None, ProbeConfig(kind))
    assert found.validation_accuracy == 1.0
    assert (found.trials, math.isnan(found.accuracy), math.isnan(found.low)) == (0, True, True)


@pytest.mark.parametrize("labels", ["none", "no test images", "no validation images"])
def test_results_without_labels_or_parts_say_what_is_missing(labels, learner, capsys):
    splits = one_class() if labels == "none" else three_colors()
    nothing = splits.test.subset(torch.arange(0))
    splits = replace(splits, **{"no test images": {"test": nothing}, "no validation images": {"validation": nothing},
                                "none": {}}[labels])  # fmt: skip
    rows = evaluate(TrainConfig(batch_size=8), learner, splits, CPU)
    assert len(rows) == 8
    assert all(math.isnan(row["accuracy"]) for row in rows)
    assert [row["validation_accuracy"] == 1.0 for row in rows[:6]] == [labels == "no test images"] * 6
    print_results(rows)
    printed = capsys.readouterr().out
    expected = {"none": "all images are of class only", "no test images": "there are no test images to read",
                "no validation images": "probes choose on validation images"}[labels]  # fmt: skip
    assert expected in printed
    assert "nan" not in printed
    assert printed.count("not measured") == 8


# --- terminal and figures ---------------------------------------------------------------------------------------------


def test_epochs_that_are_not_measured_show_no_number(tmp_path, capsys):
    out, images = tmp_path / "run", write_folder(tmp_path / "images", "abc")
    words = [*WORDS, "--data.dataset", str(images), "--epochs", "2", "--measure-every", "2", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert [("kNN" in line) for line in printed.splitlines() if line.startswith("epoch")] == [False, True]
    assert "nan" not in (out / "epochs.csv").read_text()


def drawn(folder):
    """Names of the image figures that a folder has, each drawn."""
    run = read_run_folder(folder)
    found = {name: draw for name, (tables, draw) in FIGURES.items() if all(table in run.tables for table in tables)}
    figures = {name: draw(run) for name, draw in found.items()}
    titles = {ax.get_title() for ax in figures["image_curves"].axes}
    for figure in figures.values():
        plt.close(figure)
    return set(figures), titles


def odd(part):
    """Classes may be called anything."""
    return replace(part, class_names=("a\nb", 'c"d"', "e,f"))


ODD = Splits(odd(colors((6, 5, 5), 0)), odd(colors((1, 1, 1), 1)), odd(colors((2, 2, 2), 2)))


@pytest.mark.parametrize("splits", [one_class(), ODD])
def test_the_loss_is_always_drawn(splits, tmp_path):
    fit(OPTIONS, splits, CPU, tmp_path)
    write_json(tmp_path / "config.json", OPTIONS)
    labels = len(splits.train.class_names) > 1
    names, titles = drawn(tmp_path)
    assert names == {"image_curves", "image_scores", *(["image_layers"] if labels else [])}
    assert "angular noise of views, degrees" in titles
    assert ("kNN accuracy, validation" in titles) == labels
    for name in ("scores", "layers"):
        (tmp_path / f"{name}.csv").unlink(missing_ok=True)
    write_table(tmp_path / "epochs.csv", [{"epoch": 1, "loss": 2.0}])
    assert drawn(tmp_path) == ({"image_curves"}, {"loss"})


def test_labels_that_are_not_known_are_one_class():
    """As loaders deliver images without labels."""
    part = ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("",), "photos")
    found = measure_epoch(new_learner(OPTIONS), Splits(part, part, part.subset(torch.arange(0))), OPTIONS.view, CPU,
                          1, 8, 12)  # fmt: skip
    assert "alignment" in found.columns

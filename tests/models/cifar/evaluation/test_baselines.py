"""Pixels and untrained encoders beside what was learned: what they are, where they stand, and when a run says that it
is below them."""

import csv
import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from models.cifar.compare import baseline_lines, compare
from models.cifar.compare import main as compare_main
from models.cifar.data.views import ViewConfig, evaluation_view
from models.cifar.evaluate import evaluate, print_results
from models.cifar.evaluation import baselines
from models.cifar.evaluation.baselines import Pixels, below_baselines, calibrate, pixels_of, sign_test
from models.cifar.evaluation.features import LabelledFeatures, encode_features
from models.cifar.evaluation.probes import ProbeConfig, probe
from models.cifar.training.state import new_learner
from models.cifar.training.train import fit
from models.encoders import EncoderConfig, build_encoder
from tests.models.cifar.tiny import CPU, three_colors, tiny
from theory.numerics.whole_files import write_table

OLD = Path(__file__).parents[1] / "training" / "old_run"
PLAIN = ViewConfig(mean=(0.0,) * 3, std=(1.0,) * 3)


def images_of(count=6, side=8, seed=0):
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def by_features(rows):
    return {(row["features"], row["probe"]): row for row in rows}


def plain_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# --- what they are ----------------------------------------------------------------------------------------------------


def test_small_pixels_are_the_values_themselves_and_large_ones_means_of_squares():
    small, large = images_of(side=16), images_of(side=32)
    views = small / 255
    read, said = pixels_of(small)
    assert torch.equal(read(views), views.flatten(1))
    assert said == ""
    read, said = pixels_of(large)
    squares = (large / 255).reshape(6, 3, 16, 2, 16, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(read(large / 255), squares)
    assert said == "32 x 32 pixels are averaged to 16 x 16"


def test_many_images_are_read_at_a_smaller_side(monkeypatch):
    images = images_of(side=32)
    for values, side in ((6 * 3 * 256, 16), (6 * 3 * 256 - 1, 8), (1, 8)):
        monkeypatch.setattr(baselines, "VALUES", values)
        # Of the images that are trained on.
        read, said = pixels_of(images, images_of(1, side=32))
        assert read(images / 255).shape == (6, 3 * side**2)
        assert said.endswith(f"averaged to {side} x {side}")


def test_gray_images_have_one_channel_unless_any_part_is_colored():
    gray = images_of()[:, :1].expand(-1, 3, -1, -1)
    assert pixels_of(gray)[0](gray / 255).shape == (6, 64)
    assert pixels_of(gray, images_of(1))[0](gray / 255).shape == (6, 192)


def test_an_untrained_encoders_statistics_are_those_of_the_training_images():
    encoder, images = build_encoder(EncoderConfig("small", width=2), torch.Generator().manual_seed(0)), images_of(10)
    weights = {name: value.clone() for name, value in encoder.named_parameters()}
    encoder.train()
    encoder.blocks[0].eval()
    calibrate(encoder, images, partial(evaluation_view, config=PLAIN), 4, CPU)
    # Two whole batches of four, whose means and (unbiased) variances are averaged.
    hidden = encoder.conv(images[:8] / 255).detach().transpose(0, 1)
    parts = [hidden[:, start : start + 4].flatten(1) for start in (0, 4)]
    torch.testing.assert_close(encoder.norm.running_mean, sum(part.mean(1) for part in parts) / 2)
    torch.testing.assert_close(encoder.norm.running_var, sum(part.var(1) for part in parts) / 2)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.named_parameters())
    assert encoder.training
    assert not encoder.blocks[0].training, "modes are as they were"
    assert encoder.norm.momentum == 0.1


def test_group_normalization_has_nothing_to_calibrate():
    encoder = build_encoder(EncoderConfig("small", width=4, norm="group"))
    calibrate(encoder, images_of(), lambda batch: pytest.fail("nothing is to be read"), 4, CPU)


def test_no_more_images_are_read_for_statistics_than_stated(monkeypatch):
    monkeypatch.setattr(baselines, "CALIBRATED", 6)
    seen = []

    def view(batch):
        seen.append(len(batch))
        return batch / 255

    calibrate(build_encoder(EncoderConfig("small", width=1)), images_of(9), view, 4, CPU)
    assert seen == [4]


# --- in results -------------------------------------------------------------------------------------------------------


def test_both_stand_beside_every_evaluation_whatever_was_learned(tmp_path):
    config = tiny(encoder=EncoderConfig("small", width=2), epochs=2, seed=3)
    splits = three_colors()
    state = fit(config, splits, CPU, tmp_path)
    rows = evaluate(config, state.learner, splits, CPU)
    assert list(by_features(rows)) == [(f, p) for f in ("h", "z", "pixels", "untrained") for p in ("knn", "linear")]
    alone = ("h_alone", "this_alone")
    learned = [{name: value for name, value in row.items() if name not in alone} for row in rows[:4]]
    assert learned == evaluate(config, state.learner, splits, CPU, baselines=False)
    for asked, found in (("h", learned[:2]), ("z", learned[2:])):
        assert found == evaluate(config, state.learner, splits, CPU, baselines=False, features=(asked,))
    with pytest.raises(ValueError, match="features: must be one of h, z, got 'pixels'"):
        evaluate(config, state.learner, splits, CPU, features=("pixels",))
    again = evaluate(config, new_learner(replace(config, seed=4)), splits, CPU)
    assert repr(again[4:]) == repr(rows[4:]), "nothing of it depends on the training"
    # The monitor's number, as the last epoch has it.
    assert by_features(rows)["h", "knn"]["monitor_accuracy"] != by_features(rows)["h", "linear"]["monitor_accuracy"]
    assert all(math.isnan(row["monitor_accuracy"]) for row in rows if row["probe"] == "linear")
    # By hand, in the order of the images.
    view = partial(evaluation_view, config=config.view)
    untrained = calibrate(new_learner(config).encoder, shuffled(splits.train, 3), view, config.batch_size, CPU)
    for kind, encoder in (("pixels", nn.Flatten()), ("untrained", untrained)):
        parts = [
            LabelledFeatures(encode_features(encoder, part.images, view, 5, CPU), part.labels)
            for part in (splits.train, splits.validation, splits.test)
        ]
        found = probe(*parts, ProbeConfig("linear"))
        row = by_features(rows)[kind, "linear"]
        assert (row["accuracy"], row["validation_accuracy"]) == (found.accuracy, found.validation_accuracy)


def shuffled(part, seed):
    return part.images[torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))]


def test_the_monitors_accuracy_is_that_of_the_last_epoch(tmp_path):
    config, splits = tiny(encoder=EncoderConfig("small", width=2)), three_colors()
    # As many neighbours as the monitor asks for.
    more = replace(splits.train, images=splits.train.images.repeat(2, 1, 1, 1), labels=splits.train.labels.repeat(2))
    splits = replace(splits, train=more)
    state = fit(config, splits, CPU, tmp_path)
    row = by_features(evaluate(config, state.learner, splits, CPU, baselines=False))["h", "knn"]
    assert row["monitor_accuracy"] == state.epochs[-1]["knn"]


def rows_of(alone=(0, 20), **accuracies):
    """Rows of kNN by their features; ``alone``: images that h finds alone, and a baseline alone."""
    numbers = {"low": 0.0, "high": 1.0, "chosen": "", "left_out": "", "transductive": False,
               "h_alone": alone[0], "this_alone": alone[1]}  # fmt: skip
    return [
        {"features": name, "probe": "knn", "accuracy": value, "validation_accuracy": 0.5, **numbers}
        for name, value in accuracies.items()
    ]


@pytest.mark.parametrize(
    ("learned", "said"),
    [
        (0.93, "kNN on h 93.0% is below raw pixels 98.3% and untrained encoder 95.0%: what was learned tells less"),
        (0.96, "kNN on h 96.0% is below raw pixels 98.3%:"),
        (0.983, None),
        (math.nan, None),
    ],
)
def test_a_run_below_a_baseline_says_so_in_a_line(learned, said, capsys):
    rows = rows_of(h=learned, z=0.2, pixels=0.983, untrained=0.95)
    print_results(rows)
    lines = [line for line in capsys.readouterr().out.splitlines() if " is below " in line]
    assert lines == below_baselines(rows)
    assert len(lines) == (said is not None)
    assert said is None or lines[0].startswith(said)


@pytest.mark.parametrize(
    ("alone", "chance"),
    # By hand: 2 (1 + 5) / 2^5 = .375, 2 / 2^5 = .0625, 2 / 2^6 = .03125, 2 (1 + 9) / 2^9 = .039, 2 (1 + 8) / 2^8 = .07.
    [((0, 1), 1.0), ((1, 4), 0.375), ((0, 5), 0.0625), ((0, 6), 0.03125), ((1, 8), 0.0390625), ((1, 7), 0.0703125),
     ((100, 103), 0.888), ((math.nan, math.nan), 1.0), ((0, 0), 1.0)],
)  # fmt: skip
def test_only_images_that_decide_it_make_learned_features_worse(alone, chance):
    assert sign_test(*alone) == pytest.approx(chance, abs=1e-3)
    (line,) = below_baselines(rows_of(alone, h=0.93, z=0.2, pixels=0.94, untrained=0.5))
    assert line.startswith("kNN on h 93.0% is below raw pixels 94.0%")
    assert ("tells less of the classes than what was not" in line) == (chance <= 0.05)
    assert (f"do not decide: {alone[0]:.0f} are found on h alone, {alone[1]:.0f} there" in line) == (chance > 0.05)


def test_a_baseline_that_decides_and_one_that_does_not_have_a_line_each():
    rows = rows_of((0, 9), h=0.9, pixels=0.95) + rows_of((4, 5), untrained=0.91)
    undecided, decided = below_baselines(rows)
    assert "below untrained encoder 91.0%, which these images do not decide" in undecided
    assert "below raw pixels 95.0%: what was learned tells less" in decided


@pytest.mark.parametrize("tested", [True, False])
def test_images_are_counted_that_one_of_both_finds_alone(tested):
    """By hand, from the probes' own answers for each image."""
    config, splits = tiny(seed=3), three_colors()
    splits = splits if tested else replace(splits, test=splits.test.subset(torch.arange(0)))
    rows = by_features(evaluate(config, new_learner(config), splits, CPU, epoch=1))
    assert list(rows["h", "knn"])[-3:] == ["h_alone", "this_alone", "epoch"]
    order = ("train", "validation", "test")[: 3 if tested else 2]
    view = partial(evaluation_view, config=config.view)
    found = {}
    for kind, encoder in (("h", new_learner(config).encoder), ("pixels", nn.Flatten())):
        parts = [getattr(splits, name) for name in order]
        features = [LabelledFeatures(encode_features(encoder, shuffled(part, 3), view, 5, CPU),
                                     part.labels[torch.randperm(len(part), generator=seeded(3))])
                    for part in parts]  # fmt: skip
        found[kind] = probe(*features, *(() if tested else (None,)), ProbeConfig("knn"))
        assert len(found[kind].right) == len(parts[-1])
        of = "accuracy" if tested else "validation_accuracy"
        assert found[kind].right.double().mean().item() == pytest.approx(rows[kind, "knn"][of])
    alone = [int((found[one].right & ~found[other].right).sum()) for one, other in (("h", "pixels"), ("pixels", "h"))]
    assert sum(alone) > 0, "a comparison of nothing"
    assert [rows["pixels", "knn"][name] for name in ("h_alone", "this_alone")] == alone
    assert all(math.isnan(rows[kind, "knn"]["h_alone"]) for kind in ("h", "z"))
    assert "h_alone" not in evaluate(config, new_learner(config), splits, CPU, baselines=False)[0]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_without_baselines_nothing_is_below_them_and_without_test_images_validation_tells():
    assert below_baselines(rows_of(h=0.1, z=0.2)) == []
    rows = rows_of(h=math.nan, pixels=math.nan)
    rows[1]["validation_accuracy"] = 0.6
    (line,) = below_baselines(rows)
    assert line.startswith("kNN on h 50.0% is below raw pixels 60.0%")


# --- in comparisons ---------------------------------------------------------------------------------------------------


def with_baselines(folder, pixels):
    """A run folder of an earlier version, and baselines beside its results."""
    shutil.copytree(OLD, folder)
    rows = plain_table(folder / "results.csv")
    for kind, values in (("pixels", pixels), ("untrained", (0.25, 0.3))):
        for row, accuracy in zip(rows[:2], values):
            rows.append(row | {"features": kind, "accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01})
    write_table(folder / "results.csv", rows)
    return folder


def test_comparisons_have_each_baseline_once(tmp_path, capsys):
    same = [with_baselines(tmp_path / name, (0.5, 0.75)) for name in "ab"]
    other = with_baselines(tmp_path / "c", (0.125, 0.75))
    rows = compare((*same, OLD, other))
    assert [(row["pixels_knn"], row["pixels_linear_high"]) for row in rows][:2] == [(0.5, 0.76)] * 2
    assert math.isnan(rows[2]["pixels_knn"]), "a run of an earlier version has none"
    lines = baseline_lines(rows)
    assert [line.split("(")[0].strip() for line in lines] == ["raw pixels", "raw pixels", "untrained encoder"]
    assert [line.split("(")[1].split(")")[0] for line in lines] == ["of rows 1, 2", "of row 4", "of rows 1, 2, 4"]
    assert "50.0% [49.0%, 51.0%]" in lines[0]
    out = tmp_path / "table.csv"
    assert compare_main([*map(str, (*same, OLD, other)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(line.rstrip() in printed for line in lines)
    assert "pixels_knn" not in printed, "they are no settings in which rows differ"
    assert [row["untrained_linear"] for row in plain_table(out)] == ["0.3", "0.3", "", "0.3"]


def test_runs_of_earlier_versions_are_compared_without_any(capsys):
    assert compare_main([str(OLD)]) == 0
    assert "baselines" not in capsys.readouterr().out


def test_other_rows_in_results_are_still_refused(tmp_path, capsys):
    folder = with_baselines(tmp_path / "run", (0.5, 0.75))
    text = (folder / "results.csv").read_text().replace("untrained", "unheard of")
    (folder / "results.csv").write_text(text)
    assert compare_main([str(folder)]) == 2
    assert "is not that of a finished run" in capsys.readouterr().err
    assert json.loads((folder / "config.json").read_text())["method"]["name"] == "moco_ft"


def test_pixels_are_the_same_whatever_the_batches():
    images = images_of(7, 20)
    read = Pixels(gray=False)
    torch.testing.assert_close(read(images / 255), torch.cat([read(part / 255) for part in images.split(3)]))

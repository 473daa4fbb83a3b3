"""From a checkpoint to the advisor: what is embedded, that the advisor reads it, and what is refused."""

import numpy as np
import pytest
import torch

from models.advisor.__main__ import main as advisor_main
from models.advisor.inputs.arrays import MemoryLimit
from models.advisor.inputs.features import Sources, load_features
from models.cifar import embed
from models.cifar.__main__ import main as train_main
from models.cifar.data.images import ImageSet, load_images
from models.cifar.data.views import ViewConfig, evaluation_view, make_view
from models.cifar.evaluation.strengths import STRENGTH_SEED, embed_strengths
from models.cifar.training.state import load_trained
from tests.command_lines import status_of

LEVELS = ("0", "0.25", "0.5", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch of SimCLR on a few digits, at strength .5."""
    out = tmp_path_factory.mktemp("run") / "run"
    arguments = ["--recipe", "plain", "--epochs", "1", "--batch-size", "64", "--data.limit", "60",
                 "--data.image-size", "8", "--data.validation-share", "0.4", "--encoder.width", "4",
                 "--view.strength", "0.5", "--measure-images", "40", "--no-figures", "--out", str(out)]  # fmt: skip
    assert train_main(arguments) == 0
    return out / "checkpoint.pt"


def embedded(run, out, *arguments):
    assert status_of(embed.main, [str(run), "--strengths", *LEVELS, "--out", str(out), *arguments]) == 0
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_arrays_are_the_features_of_the_views(run, tmp_path, capsys):
    found = embedded(run, tmp_path / "f.npz")
    assert "python -m models.advisor" in capsys.readouterr().out
    trained = load_trained(run, torch.device("cpu"))
    config, learner = trained.config, trained.learner
    assert config.view.strength == 0.5
    part = load_images(config.data).validation
    learner.eval()
    assert set(found) == {"embeddings", "labels", "views", "strengths"}
    np.testing.assert_array_equal(found["strengths"], [0.0, 0.25, 0.5, 1.0])
    assert found["labels"].tolist() == [part.class_names[label] for label in part.labels]
    for level, rows in zip(found["strengths"], found["views"]):
        # The training's own strength plays no part: 1 is what its settings say.
        view = ViewConfig(strength=float(level))
        draw = torch.Generator().manual_seed(STRENGTH_SEED)
        with torch.no_grad():
            plain = [learner.encoder(make_view(batch, view, draw)) for batch in part.images.split(config.batch_size)]
        np.testing.assert_allclose(rows, torch.cat(plain).numpy(), atol=1e-5)
    with torch.no_grad():
        still = learner.encoder(evaluation_view(part.images, config.view)).numpy()
    np.testing.assert_allclose(found["embeddings"], still, atol=1e-5)
    np.testing.assert_array_equal(found["embeddings"], found["views"][0])


def test_the_advisor_reads_them_and_answers(run, tmp_path, capsys):
    out = tmp_path / "f.npz"
    found = embedded(run, out)
    features = load_features(Sources(out), MemoryLimit(1.0))
    np.testing.assert_array_equal(features.embeddings, found["embeddings"])
    np.testing.assert_array_equal(features.views, found["views"])
    assert features.strengths == (0.0, 0.25, 0.5, 1.0)
    assert len(features.class_names) == 10
    kept = tmp_path / "kept.npz"
    embedded(run, kept, "--part", "test")
    arguments = [str(out), "--check", str(kept), "--no-figures", "--depth", "1", "--batches", "2"]
    assert status_of(advisor_main, [*arguments, "--out", str(tmp_path / "advice")]) in (0, 1)
    printed = capsys.readouterr().out
    assert "Largest strength that keeps 50 %" in printed
    assert "Held against rows not seen before" in printed


def test_parts_and_numbers_of_images(run, tmp_path):
    config = load_trained(run, torch.device("cpu")).config
    splits = load_images(config.data)
    for part in ("train", "validation", "test"):
        whole = embedded(run, tmp_path / f"{part}.npz", "--part", part)
        assert len(whole["labels"]) == len(getattr(splits, part))
    few = embedded(run, tmp_path / "few.npz", "--part", "test", "--images", "30")
    assert np.unique(few["labels"], return_counts=True)[1].tolist() == [3] * 10


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--strengths", "0", "0.5", "0.25"], "strengths: must increase, number 2 is 0.25 after 0.5"),
        (["--strengths", "0", "0.5", "0.5"], "strengths: must increase"),
        (["--strengths", "0.25", "0.5"], "strengths: must begin with 0"),
        (["--strengths", "-0.5", "0", "1"], "strengths: number 0 must lie in [0, inf), got -0.5"),
        (["--strengths", "0", "nan"], "strengths: number 1 must lie in"),
        (["--strengths", "0", "1.25"], "strengths: strength: must be below 1.25"),
        (["--strengths", "0"], "strengths: needs 0 and at least one more"),
        (["--images", "3"], "images: must"),
        (["--images", "100000"], "images: must not exceed the"),
        (["--device", "tpu"], "device"),
        (["--out", "{there}"], "exists; give another name"),
        (["--out", "{tmp}/f.npy"], "out: must end in .npz"),
        (["--out", "{tmp}/no/f.npz"], "out: there is no folder"),
    ],
)
def test_what_cannot_be_is_named_and_nothing_is_written(arguments, named, run, tmp_path, capsys):
    there = tmp_path / "there.npz"
    there.write_bytes(b"mine")
    filled = [each.format(there=there, tmp=tmp_path) for each in arguments]
    out = [] if "--out" in filled else ["--out", str(tmp_path / "f.npz")]
    assert status_of(embed.main, [str(run), *filled, *out]) == 2
    assert named in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.npz"]
    assert there.read_bytes() == b"mine"


def test_what_is_no_checkpoint_is_refused(run, tmp_path, capsys):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(run.read_bytes()[:5000])
    for path, named in ((damaged, "not a checkpoint, or a damaged one"), (tmp_path / "none.pt", "no such checkpoint"),
                        (tmp_path, "is a folder")):  # fmt: skip
        assert status_of(embed.main, [str(path), "--out", str(tmp_path / "f.npz")]) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()


def test_there_is_a_whole_file_or_none(run, tmp_path, monkeypatch, capsys):
    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embed.np, "savez", full)
    assert status_of(embed.main, [str(run), "--out", str(tmp_path / "f.npz")]) == 3
    assert "No space left" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_features_that_say_nothing_are_refused_by_name(run, tmp_path, monkeypatch, capsys):
    import models.cifar.evaluation.strengths as module

    monkeypatch.setattr(module, "encode_features", lambda encoder, images, *rest: torch.zeros(len(images), 4))
    assert status_of(embed.main, [str(run), "--out", str(tmp_path / "f.npz")]) == 2
    assert "features of digits: row 0 is zero" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_classes_keep_their_names(run):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (9, 3, 8, 8), dtype=torch.uint8, generator=generator)
    part = ImageSet(pixels, torch.tensor([2, 0, 1] * 3), ("red", "green", "blue"), "colors")
    learner = load_trained(run, torch.device("cpu")).learner
    found = embed_strengths(learner.encoder, part, ViewConfig(), (0.0, 1.0), 4, torch.device("cpu"))
    assert [found.class_names[label] for label in found.classes] == ["blue", "red", "green"] * 3

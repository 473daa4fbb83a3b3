"""What a command line starts from depends on the images that it names, and what it says itself always counts."""

from dataclasses import fields, replace

import pytest

from models.cifar.__main__ import CifarRun, main
from models.cifar.data.images import DataConfig, load_images
from models.cifar.data.views import ViewConfig
from models.cifar.evaluate import evaluate
from models.cifar.methods.settings import DeepFusion, SupCon
from models.cifar.training import recipes
from models.cifar.training.checks import idle_settings, without_idle
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import parse_training
from models.cifar.training.recipes import DIGITS, fast_lane, recipe
from models.cifar.training.train import fit
from tests.models.cifar.tiny import CPU, WORDS, write_folder


def parsed(*words, recipes=True):
    options = parse_training(CifarRun, list(words), "train", None, recipes=recipes)
    return TrainConfig(**{each.name: getattr(options, each.name) for each in fields(TrainConfig)})


def test_digits_have_settings_of_their_own_and_other_images_the_classes():
    assert recipe("auto", "digits") is recipe("digits", "elsewhere") is DIGITS
    assert parsed() == parsed("--data.dataset", "digits") == DIGITS
    for words in (["--data.dataset", "cifar10"], ["--data.dataset=cifar10"],
                  ["--data.dataset", "digits", "--data.dataset", "cifar10"]):  # fmt: skip
        assert parsed(*words) == replace(TrainConfig(), data=replace(TrainConfig().data, dataset="cifar10"))
    assert parsed(recipes=False) == TrainConfig(), "the trainer's benchmark has no images"


def test_what_is_said_counts_and_the_rest_stays():
    found = parsed("--method.name", "moco", "--view.flip", "--epochs", "3")
    assert (found.method.name, found.view, found.epochs) == ("moco", replace(DIGITS.view, flip=True), 3)
    assert found.optimiser == DIGITS.optimiser
    assert parsed("--method.temperature", "0.7").method == replace(DIGITS.method, temperature=0.7)
    # Its last map is 1 x 1 for digits: parts of it are for who asks for them.
    other = ["--encoder.kind", "resnet18"]
    assert parsed(*other).encoder == replace(DIGITS.encoder, kind="resnet18", pool_size=None)
    assert parsed(*other, "--encoder.pool-size", "2").encoder == replace(DIGITS.encoder, kind="resnet18")
    assert parsed("--encoder.kind", "small").encoder == DIGITS.encoder


def test_a_recipe_is_taken_by_its_name():
    found = parsed("--recipe", "fast", "--data.dataset", "cifar10", "--epochs=90")
    assert found == replace(fast_lane(), data=replace(DataConfig(), dataset="cifar10"), epochs=90)
    assert parsed("--recipe=plain") == TrainConfig()
    # Another method has the recipe's network, views and optimizer, and its own settings.
    other = parsed("--recipe", "fast", "--method.name", "supcon")
    assert other == replace(fast_lane(), method=SupCon())
    # One loss has one temperature, whatever head is before it.
    assert parsed("--recipe", "fast", "--method.name", "deepfusion").method == DeepFusion(temperature=0.2)
    with pytest.raises(ValueError, match=r"^--recipe: must be one of auto, plain, digits, fast, got 'slow'"):
        parsed("--recipe", "slow")


def test_the_fast_lane_takes_the_precision_that_the_processor_multiplies(monkeypatch):
    for answer, precision in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(recipes, "multiplies_bf16", lambda answer=answer: answer)
        assert fast_lane().precision == precision
        assert not idle_settings(fast_lane())


def test_digits_are_not_mirrored_and_have_no_color():
    """A mirrored 2 is no 2, and gray images stay as they are."""
    assert not DIGITS.view.flip
    assert DIGITS.view.color_jitter == DIGITS.view.grayscale == 0.0
    assert 0.0 < DIGITS.view.rotation < 45.0, "a 6 must not become a 9"


def test_settings_of_a_data_set_are_none_that_somebody_said(tmp_path, capsys):
    """Nothing reads min_area without crops, nor any augmentation at strength 0: who says so has not said these."""
    for changes in ({"crop": False}, {"strength": 0.0}):
        assert not idle_settings(replace(DIGITS, view=replace(DIGITS.view, **changes)))
    said = replace(DIGITS, view=replace(DIGITS.view, crop=False, min_area=0.3))
    assert set(idle_settings(said)) == {"view.min_area"}
    assert without_idle(said).view.min_area == ViewConfig().min_area
    images = write_folder(tmp_path / "images", "ab")
    words = [*WORDS, "--data.dataset", str(images), "--view.no-crop", "--out", str(tmp_path / "run")]
    assert main([*words, "--view.min-area", str(DIGITS.view.min_area)]) == 2, "of other images it was said"
    assert "view.min_area: nothing reads it" in capsys.readouterr().err


@pytest.mark.slow
def test_the_default_beats_an_untrained_encoder_and_the_linear_probe_of_pixels(tmp_path):
    """Mean of three seeds, on test images."""
    found = []
    for seed in range(3):
        config = replace(DIGITS, seed=seed, measure_every=DIGITS.epochs)
        splits = load_images(config.data)
        (tmp_path / str(seed)).mkdir()
        state = fit(config, splits, CPU, tmp_path / str(seed))
        rows = evaluate(config, state.learner, splits, CPU)
        found.append({(row["features"], row["probe"]): row["accuracy"] for row in rows})
    mean = {name: sum(each[name] for each in found) / 3 for name in found[0]}
    for kind in ("knn", "linear"):
        assert mean["h", kind] > mean["untrained", kind]
    assert mean["h", "linear"] > mean["pixels", "linear"]

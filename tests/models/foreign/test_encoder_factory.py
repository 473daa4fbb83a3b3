"""Anybody's encoder: named, checked before anything is written, and never imported because a file names it."""

import sys
from dataclasses import replace

import pytest
import torch

from models.cifar import embed, evaluate
from models.cifar.__main__ import CifarRun, main
from models.cifar.methods.settings import method_of
from models.cifar.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from models.cifar.training.checks import check
from models.cifar.training.read_config import parse_training
from models.cifar.training.state import load_trained, new_learner
from models.cifar.training.train import fit
from models.encoders import EncoderConfig, build_encoder
from models.foreign.encoder_factory import made_by_factory
from models.optim import OptimizerConfig
from tests.command_lines import status_of
from tests.models.cifar.tiny import CPU, WORDS, three_colors, tiny, write_folder
from theory.numerics.whole_files import read_json

# Words of a small training, without those of the toolkit's own encoders.
OWN_WORDS = [word for word in WORDS if word not in ("--encoder.width", "2", "--encoder.norm", "group")]
OWN = '''
import torch
from pathlib import Path
from torch import nn

with open("imported", "a") as marker:
    marker.write("x")

class Means(nn.Module):
    """Channel means, and a layer; D is not told."""
    def __init__(self, dim=5, answer=lambda h: h, dtype=torch.float32):
        super().__init__()
        self.layer, self.answer = nn.Linear(3, dim, dtype=dtype), answer
    def forward(self, images):
        return self.answer(self.layer(images.mean((2, 3)).to(self.layer.weight.dtype)))

class Fixed(nn.Module):
    """Of 8 x 8 images only; says so."""
    feature_dim = 4
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 64, 4)
    def forward(self, images):
        return self.layer(images.flatten(1))

class Zoo:
    means = staticmethod(Means)

class Liar(Fixed):
    feature_dim = 7

class Word(Fixed):
    feature_dim = "four"

class Kept(Fixed):
    def get_extra_state(self):
        return {"a": 1}

def maps(): return Means(answer=lambda h: h[:, :, None, None])
def few(): return Means(answer=lambda h: h[:1])
def words(): return Means(answer=lambda h: ["no"])
def whole(): return Means(answer=lambda h: h.long())
def nan(): return Means(answer=lambda h: h / 0 * 0)
def half(): return Means(dtype=torch.bfloat16)
def undimensioned(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
def nothing(): return None
def broken(): raise RuntimeError("no weights here")
number = 3
'''


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a module of the user's, where the commands run; Python forgets it afterwards."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "evil.py").write_text(OWN.replace('"imported"', '"evil was here"'))
    (tmp_path / "odd.py").write_text("import no_such_library")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("own", "evil", "odd"):
        sys.modules.pop(name, None)


def foreign(factory, **changes):
    return tiny(encoder=EncoderConfig(factory=factory), **changes)


def weights(module):
    return torch.cat([each.detach().flatten() for each in module.parameters()])


# --- what is made -----------------------------------------------------------------------------------------------------


def test_a_module_with_or_without_a_dimension():
    assert made_by_factory("own:Means").feature_dim == 5
    assert made_by_factory("own:Zoo.means").feature_dim == 5
    assert made_by_factory("own:Fixed").feature_dim == 4
    assert made_by_factory("own:undimensioned", image_size=8).feature_dim == 4
    assert build_encoder(EncoderConfig(factory="own:Means")).training


def test_one_seed_gives_one_encoder_and_the_draws_of_others_are_left_alone():
    before = torch.random.get_rng_state()
    one, same = (weights(new_learner(foreign("own:Means")).encoder) for _ in range(2))
    other = weights(new_learner(foreign("own:Means", seed=1)).encoder)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("no_such_module:f", "no_such_module cannot be imported (ModuleNotFoundError"),
        ("odd:f", "odd cannot be imported (ModuleNotFoundError: No module named 'no_such_library'"),
        ("own:missing", "own has no missing"),
        ("own:Zoo.missing", "own has no Zoo.missing"),
        ("own:number", "number must be a function, is a int"),
        ("own:broken", "failed with RuntimeError: no weights here"),
        ("own:nothing", "must return a torch.nn.Module, returned a NoneType"),
        ("own:maps", "must make (2, D) of images (2, 3, 8, 8), made (2, 5, 1, 1)"),
        ("own:few", "must make (2, D) of images (2, 3, 8, 8), made (1, 5)"),
        ("own:words", "must return floating features (n, D), returned a list"),
        ("own:whole", "must return floating features (n, D), returned torch.int64"),
        ("own:nan", "makes NaN or infinity of images (2, 3, 8, 8)"),
        ("own:half", "parameters must be float32, layer.weight is torch.bfloat16"),
        ("own:Word", "feature_dim must be a whole number of at least 1, got 'four'"),
        ("own:Kept", "its state must be dense real tensors, which a checkpoint can hold; _extra_state is not"),
        ("own:Liar", "must make (2, 7) of images (2, 3, 8, 8), made (2, 4)"),
    ],
)
def test_what_is_wrong_is_said_before_a_training_starts(factory, told):
    with pytest.raises(ValueError) as error:
        check(foreign(factory), three_colors(), CPU)
    assert str(error.value).startswith(f"encoder.factory {factory}: ")
    assert told in str(error.value)


def test_a_dimension_that_cannot_be_found_says_what_to_do():
    with pytest.raises(ValueError, match=r"failed on images \(2, 3, 32, 32\).*feature_dim, or set --data.image-size"):
        made_by_factory("own:undimensioned")


@pytest.mark.parametrize("name", ["own", "own:", ":f", "own:f()", "../own:f", "a" * 300 + ":f", "", 3, "ö:f", "a:b;c"])
def test_names_that_are_none_are_refused(name, as_users_call):
    with pytest.raises(ValueError, match=r"^factory: must be MODULE:FUNCTION"):
        EncoderConfig(factory=name)


def test_settings_of_the_own_encoders_are_refused_beside_a_factory():
    for setting, value in (("kind", "resnet18"), ("width", 8), ("norm", "group"), ("zero_last_norm", True)):
        options = replace(tiny(), encoder=EncoderConfig(factory="own:Means", **{setting: value}))
        with pytest.raises(ValueError, match=rf"encoder\.{setting}: nothing reads it where encoder.factory makes"):
            check(options, three_colors(), CPU)


def test_a_recipe_leaves_the_encoder_to_the_factory_and_views_of_all_sizes_are_tried():
    words = ["--recipe", "fast", "--encoder.factory", "own:Fixed"]
    found = parse_training(CifarRun, words, "train", None, recipes=True)
    assert found.encoder == EncoderConfig(factory="own:Fixed")
    assert found.view_sizes
    with pytest.raises(ValueError, match=r"own:Fixed: its module failed on images \(2, 3, 4, 4\) with RuntimeError"):
        check(foreign("own:Fixed", view_sizes=(4, 8), epochs=2), three_colors(), CPU)
    check(foreign("own:Means", view_sizes=(4, 8), epochs=2), three_colors(), CPU)


# --- from the command line, and back from a checkpoint ----------------------------------------------------------------


def folder(place, name):
    (place / name).mkdir()
    return place / name


def test_train_evaluate_and_embed(place, capsys):
    images = ["--data.dataset", str(write_folder(place / "images", "abc"))]
    assert status_of(main, [*OWN_WORDS, *images, "--out", "run", "--encoder.factory", "own:Means"]) == 0
    assert load_checkpoint(place / "run" / CHECKPOINT)["config"]["encoder"]["factory"] == "own:Means"
    assert status_of(evaluate.main, ["run/checkpoint.pt", "--encoder-factory", "own:Means"]) == 0
    embedding = ["run/checkpoint.pt", "--out", "f.npz", "--strengths", "0", "1", "--part", "train"]
    assert status_of(embed.main, [*embedding, "--encoder-factory", "own:Means"]) == 0
    capsys.readouterr()
    assert status_of(evaluate.main, ["run/checkpoint.pt"]) == 2
    said = capsys.readouterr().err
    assert "run/checkpoint.pt: its encoder is made by code that is not the toolkit's, own:Means" in said
    assert "--encoder-factory own:Means" in said


def test_a_training_goes_on_and_another_starts_from_its_weights(place):
    options = foreign("own:Means", optimiser=OptimizerConfig("adamw", 1e-3, schedule="constant", warmup_epochs=0))
    first = fit(options, three_colors(), CPU, folder(place, "run"))
    assert not torch.equal(weights(first.learner.encoder), weights(new_learner(options).encoder))
    assert fit(replace(options, epochs=2), three_colors(), CPU, place / "run", resume=True).epoch == 2
    moco = replace(options, method=method_of("moco", queue_size=5))
    fit(moco, three_colors(), CPU, folder(place, "new"), init=place / "run" / CHECKPOINT)
    assert read_json(place / "new" / "init.json")["taken"] == ["encoder", "head"]


def planted(place, factory):
    """A checkpoint, whole and with its checksum, whose settings name somebody's code."""
    fit(foreign("own:Means"), three_colors(), CPU, folder(place, "run"))
    path = place / "run" / CHECKPOINT
    stored = load_checkpoint(path)
    stored.pop("sha256")
    stored["config"]["encoder"]["factory"] = factory
    save_checkpoint(path, stored)
    return path


def test_no_code_is_run_because_a_file_names_it(place, capsys):
    """By any command that reads a checkpoint; named by the reader it is, which leaves the mark that is looked for."""
    path = planted(place, "evil:Means")
    with pytest.raises(ValueError, match=r"evil:Means, which is not run because a file names it"):
        load_trained(path, CPU)
    with pytest.raises(ValueError, match=r"evil:Means, not own:Means, which is not run"):
        load_trained(path, CPU, "own:Means")
    images = ["--data.dataset", str(write_folder(place / "images", "abc"))]
    own = [*OWN_WORDS, *images]
    for command, words in (
        (evaluate.main, [str(path)]),
        (evaluate.main, [str(path), "--dataset", "digits", "--encoder-factory", "own:Means"]),
        (embed.main, [str(path), "--out", "f.npz"]),
        (main, [*WORDS, *images, "--out", "a", "--init", str(path)]),
        (main, [*own, "--out", "b", "--init", str(path), "--encoder.factory", "own:Means"]),
    ):
        assert status_of(command, words) == 2, words
        assert "made by code that is not the toolkit's, evil:Means" in capsys.readouterr().err, words
    for options in (tiny(), foreign("own:Means")):
        with pytest.raises(ValueError, match=r"another (.*, )?encoder.factory evil:Means \(now"):
            fit(options, three_colors(), CPU, path.parent, resume=True)
    assert "evil" not in sys.modules
    assert not (place / "evil was here").exists()
    assert weights(load_trained(path, CPU, "evil:Means").learner).shape == weights(load(path)).shape
    assert (place / "evil was here").read_text() == "x"


def load(path):
    """The networks, with the reader's consent."""
    return load_trained(path, CPU, "evil:Means").learner


def test_a_checkpoint_of_an_own_encoder_wants_no_factory(place):
    fit(tiny(), three_colors(), CPU, folder(place, "run"))
    with pytest.raises(ValueError, match="its encoder is the toolkit's own, no factory makes it; leave out own:Means"):
        load_trained(place / "run" / CHECKPOINT, CPU, "own:Means")


def test_weights_of_another_shape_than_the_factorys_are_refused(place):
    path = planted(place, "own:Fixed")
    with pytest.raises(ValueError, match="learner"):
        load_trained(path, CPU, "own:Fixed")

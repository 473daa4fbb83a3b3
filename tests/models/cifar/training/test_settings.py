"""No setting is dead: every one changes the weights where it applies, is refused where it does not, or is exempt."""

from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from models.cifar import evaluate, prospective
from models.cifar.__main__ import CifarRun
from models.cifar.benchmark import __main__ as benchmark
from models.cifar.data.images import DataConfig, ImageSet, Splits, load_images
from models.cifar.data.views import ViewConfig
from models.cifar.methods.settings import METHODS, MoCoFeatureTransform, method_of, setting_names
from models.cifar.training import train
from models.cifar.training.checks import READERS, check, idle_settings, require_no_idle, without_idle
from models.cifar.training.config import HeadChoice, TrainConfig
from models.cifar.training.read_config import parse_training
from models.cifar.training.state import start
from models.encoders import EncoderConfig
from models.heads import HeadConfig, build_head
from models.optim import OptimizerConfig
from tests.command_lines import status_of

CPU = torch.device("cpu")

# Settings that do not change the weights, and why they need not.
EXEMPT = {
    "method.name": "decides which other settings there are; methods differ by their oracles",
    "encoder.in_channels": "images are red, green and blue: any other number is refused",
    "encoder.factory": "another encoder altogether (tests/models/foreign)",
    "data.root": "where images are kept",
    "exchange_views": "which process encodes what: nothing to exchange in one (test_exchanged_views.py)",
    "chunk": "memory: the same gradients to rounding (test_train.py)",
    "channels_last": "memory layout: the same numbers to rounding",
    "compile": "speed: the same numbers to rounding (test_compile.py)",
    "compile_step": "speed: the same numbers to rounding (test_compile.py)",
    "check_values": "who looks for NaN: the same numbers (test_waits.py)",
    "measure_every": "how often features are measured, after a training's epochs",
    "measure_images": "how many images features are measured on",
    "monitor": "whether nearest neighbours are among the measurements",
    "advise_every": "how often the critical strength is logged, after a training's epochs",
    "advise_strengths": "strengths that images are embedded at for it",
}

# Another value for every setting of a method.
OTHER = {
    "temperature": 0.9, "normalize": False, "supervised": True, "intermediate": 0.1, "momentum": 0.3, "queue_size": 3,
    "symmetric": True, "positives": "interpolate", "positive_beta": 0.3, "negatives": "none", "negative_beta": 0.3,
    "weights": "row", "negatives_query": "transformed", "renormalize": True, "readout": "relu", "union": True,
    "transform_from_epoch": 1,
}  # fmt: skip
SGD = {"optimiser": OptimizerConfig("sgd", 0.1)}
DEEP = {"head": HeadChoice("deepfusion", width=8, num_heads=2, depth=1)}
COSINE = {"head": HeadChoice("transfusion", width=8, depth=1)}
# The other settings: name, another value, and what else the training needs for the setting to apply.
CASES: list[tuple[str, object, dict]] = [
    ("head.kind", "linear", {}),
    ("head.out_dim", 5, {}),
    ("head.hidden_dim", 5, {}),
    ("head.batch_norm", True, {}),
    ("head.width", 4, DEEP),
    ("head.depth", 2, DEEP),
    ("head.num_heads", 1, DEEP),
    ("head.feed_forward", 3, DEEP),
    ("head.dropout", 0.5, DEEP),
    ("head.attention_scope", "joint", DEEP),
    ("head.keep_diagonal", True, COSINE),
    ("head.attention_bias", False, COSINE),
    ("encoder.kind", "resnet18", {}),
    ("encoder.width", 8, {}),
    ("encoder.norm", "batch", {}),
    ("encoder.zero_last_norm", True, {}),
    ("encoder.stem_stride", 2, {}),
    ("encoder.features", 6, {}),
    ("encoder.pool_size", 2, {}),
    ("view.strength", 0.4, {}),
    ("view.crop", False, {}),
    ("view.min_area", 0.8, {}),
    ("view.flip", False, {}),
    ("view.rotation", 20.0, {}),
    ("view.color_jitter", 0.0, {}),
    ("view.grayscale", 1.0, {}),
    ("view.blur", 1.0, {}),
    ("view.noise_level", 0.1, {}),
    ("view.mean", (0.0, 0.4822, 0.4465), {}),
    ("view.std", (1.0, 0.2435, 0.2616), {}),
    ("optimiser.kind", "lars", {}),
    ("optimiser.learning_rate", 2e-3, {}),
    ("optimiser.momentum", 0.5, {}),
    ("optimiser.weight_decay", 0.3, {}),
    ("optimiser.warmup_epochs", 0, {}),
    ("optimiser.schedule", "constant", {}),
    ("optimiser.nesterov", True, SGD),
    ("epochs", 3, {}),
    ("view_sizes", (5, 8), {}),
    ("batch_size", 5, {}),
    ("precision", "bf16", {}),
    ("seed", 1, {}),
]


def config(name="simclr", **changes):
    settings = {"method": method_of(name), "encoder": EncoderConfig("small", width=4, norm="group"), "epochs": 2,
                "batch_size": 4, "optimiser": OptimizerConfig("adamw", 1e-3)}  # fmt: skip
    return TrainConfig(**{**settings, **changes})


def with_setting(options, name, value):
    group, _, setting = name.rpartition(".")
    changed = {group: replace(getattr(options, group), **{setting: value})} if group else {name: value}
    return replace(options, **changed)


@cache
def splits():
    generator = torch.Generator().manual_seed(0)

    def part(each):
        images = torch.randint(256, (3 * each, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(3 * each) % 3, ("a", "b", "c"), "noise")

    return Splits(part(4), part(2), part(2))


@cache
def trained(options, checked=True):
    """The weights after a training of two epochs of three steps, nothing measured and nothing written."""
    if checked:
        options = check(options, splits(), CPU)
    state = start(options, CPU)
    for _ in range(options.epochs):
        train._train_epoch(state, state.learner, splits().train, Path())
        state.epoch += 1
    return torch.cat(
        [p.detach().flatten() for p in (*state.learner.encoder.parameters(), *state.learner.head.parameters())]
    )


def differs(one, other):
    return one.shape != other.shape or bool((one - other).abs().max() > 1e-6)


def names_of(kind, prefix=""):
    """Dotted names of all settings of a configuration, methods apart."""
    for each in fields(kind):
        default = each.default_factory() if callable(each.default_factory) else each.default
        if is_dataclass(default):
            if each.name != "method":
                yield from names_of(type(default), f"{each.name}.")
        else:
            yield f"{prefix}{each.name}"


def test_every_setting_is_tried_or_exempt():
    of_data = {f"data.{each.name}" for each in fields(DataConfig)}
    assert set(names_of(TrainConfig)) == {name for name, *_ in CASES} | of_data | set(EXEMPT) - {"method.name"}
    assert {name for method in METHODS for name in setting_names(method)} == set(OTHER)


@pytest.mark.parametrize(("method", "setting"), [(m, s) for m in METHODS for s in setting_names(m)])
def test_every_setting_of_a_method_changes_the_weights(method, setting):
    # Few enough keys for a queue to be full, and a copy that lags behind.
    base = config(method)
    if "queue_size" in setting_names(method):
        base = with_setting(with_setting(base, "method.queue_size", 7), "method.momentum", 0.9)
    assert differs(trained(base), trained(with_setting(base, f"method.{setting}", OTHER[setting])))


@pytest.mark.parametrize(("name", "value", "needed"), CASES, ids=[name for name, *_ in CASES])
def test_every_other_setting_changes_the_weights(name, value, needed):
    base = config(**needed)
    assert differs(trained(base), trained(with_setting(base, name, value)))


def test_exempt_settings_change_nothing(tmp_path):
    base = config()
    kept = trained(base)
    torch.testing.assert_close(trained(replace(base, channels_last=False)), kept, rtol=0, atol=1e-4)
    assert torch.equal(trained(replace(base, exchange_views=True)), kept)
    measured = replace(base, measure_every=2, measure_images=5)
    unmonitored = replace(base, monitor=False)
    columns = {}
    for options in (unmonitored, measured, replace(base, advise_every=1, advise_strengths=(0.0, 0.5, 1.0))):
        state = train.fit(options, splits(), CPU, tmp_path)
        found = [*state.learner.encoder.parameters(), *state.learner.head.parameters()]
        assert torch.equal(torch.cat([p.detach().flatten() for p in found]), kept)
        columns[options] = {*state.epochs[-1]}
    assert columns[measured] - columns[unmonitored] == {"knn"}
    assert [row["strength"] for row in state.epochs] == [1.0, 1.0]
    with pytest.raises(ValueError, match="in_channels: must be 3"):
        config(encoder=EncoderConfig(in_channels=1))


def test_settings_of_the_images_change_them(tmp_path):
    base = DataConfig(limit=8, image_size=4)

    def loaded(**changes):
        return load_images(replace(base, **changes)).train.images.float()

    whole = loaded()
    for changes in ({"limit": 9}, {"image_size": 5}, {"validation_share": 0.5}, {"split_seed": 1}):
        assert differs(whole, loaded(**changes)), changes
    assert torch.equal(whole, loaded(root=tmp_path))
    with pytest.raises(ValueError, match="dataset: 'elsewhere'"):
        loaded(dataset="elsewhere")


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_does_not_have_cannot_be_said(method, as_users_call, capsys):
    foreign = sorted(set(OTHER) - set(setting_names(method)))
    assert foreign
    for setting in foreign:
        with pytest.raises(TypeError, match=f"'{setting}'"):
            METHODS[method](**{setting: OTHER[setting]})
        with pytest.raises(ValueError, match=f"^{setting}: is no setting of {method}, which has"):
            method_of(method, **{setting: OTHER[setting]})
        option = f"--method.{setting.replace('_', '-')}"
        with pytest.raises(ValueError, match=f"^{option}: is no setting of {method}"):
            parse_training(CifarRun, ["--method.name", method, option, str(OTHER[setting])], "train", None)
    with pytest.raises(ValueError, match=r"^name: must be one of"):
        METHODS[method](name="moco" if method != "moco" else "simclr")


def test_the_command_line_has_the_options_of_the_method(capsys):
    def parsed(*words):
        return parse_training(CifarRun, list(words), "train", "About.")

    assert parsed().method == method_of("simclr")
    assert parsed("--method.normalize").method.normalize
    assert not parsed("--method.no-normalize").method.normalize
    assert parsed("--method.name=moco", "--method.queue_size=9").method == method_of("moco", queue_size=9)
    assert parsed("--method.union", "--method.name", "moco_ft", "--epochs", "7").method.union
    assert parsed("--method.name", "moco", "--method.name", "supcon").method == method_of("supcon")
    for words in ([], ["--method.name", "moco_ft"]):
        assert status_of(lambda words: parsed(*words) and 0, [*words, "--help"]) == 0
        shown = capsys.readouterr().out
        assert ("--method.positive-beta" in shown) == bool(words)
        assert all(name in shown for name in METHODS)
        assert "--method.name NAME --help" in shown
    for wrong in (["--method.name", "simsiam"], ["--method.name"]):
        with pytest.raises(ValueError, match=r"^--method\.name: must be one of simclr"):
            parsed(*wrong)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"positives": "none", "positive_beta": 5.0}, "positive_beta"),
        ({"negatives": "none", "negative_beta": 5.0}, "negative_beta"),
        ({"negatives": "none", "union": True}, "union"),
        ({"positives": "none", "negatives_query": "transformed"}, "negatives_query"),
        ({"weights": "batch"}, "weights"),
        ({"negatives_query": "key"}, "negatives_query"),
        ({"positives": "none", "negatives": "none"}, "positives, negatives"),
        ({"positives": "outward"}, "positives"),
        ({"negative_beta": 0.0}, "negative_beta"),
        ({"transform_from_epoch": -1}, "transform_from_epoch"),
        ({"temperature": 0.0}, "temperature"),
        ({"momentum": 1.1}, "momentum"),
        ({"queue_size": 0}, "queue_size"),
    ],
)
def test_settings_of_a_method_that_cannot_go_together(settings, named, as_users_call):
    with pytest.raises(ValueError, match=f"^{named}:"):
        MoCoFeatureTransform(**settings)


def test_settings_beyond_the_last_epoch_are_refused():
    assert config(method=method_of("moco_ft", transform_from_epoch=1)).epochs == 2
    with pytest.raises(ValueError, match=r"^transform_from_epoch: must be below the 2 epochs, got 2"):
        config(method=method_of("moco_ft", transform_from_epoch=2))
    with pytest.raises(ValueError, match=r"^warmup_epochs: must not exceed the 2 epochs, got 3"):
        config(optimiser=OptimizerConfig("sgd", 0.1, warmup_epochs=3))
    with pytest.raises(ValueError, match=r"^nesterov: goes with sgd and lars only"):
        OptimizerConfig("adamw", 1e-3, nesterov=True)


IDLE = [
    (config(head=HeadChoice("mlp", width=16, depth=2, num_heads=2, dropout=0.5, feed_forward=3, keep_diagonal=True,
                            attention_bias=False, attention_scope="joint")),
     "head.width head.depth head.num_heads head.dropout head.feed_forward head.keep_diagonal head.attention_bias "
     "head.attention_scope"),
    (config(head=HeadChoice("none", out_dim=8, hidden_dim=9)), "head.out_dim head.hidden_dim"),
    (config(head=HeadChoice("reluformer", width=8, depth=1, dropout=0.5, batch_norm=True)),
     "head.batch_norm head.dropout"),
    (config("transfusion", head=HeadChoice(width=8, depth=1, out_dim=9)), "head.out_dim"),
    (config(method=method_of("moco", queue_size=7),
            head=HeadChoice("deepfusion", width=8, depth=1, attention_scope="joint")), "head.attention_scope"),
    (with_setting(config("transfusion", head=HeadChoice("mlp")), "method.intermediate", 0.5), "method.intermediate"),
    (config(view=ViewConfig(crop=False, min_area=0.45)), "view.min_area"),
    (config(view=ViewConfig(strength=0.0, min_area=0.45, blur=0.5)), "view.min_area view.blur"),
    (config(view=ViewConfig(0.5, crop=False, flip=False, color_jitter=0.0, grayscale=0.0)), "view.strength"),
    (config(advise_strengths=(0.0, 0.5)), "advise_strengths"),
    (config(optimiser=OptimizerConfig("sgd", 0.1, warmup_epochs=2, schedule="constant")), "optimiser.schedule"),
]  # fmt: skip


def test_view_sizes_take_equal_shares_of_the_epochs():
    seven = config(epochs=7, view_sizes=(4, 6, 8))
    # Epoch e ends (e + 1)/7 of the way through three shares.
    assert [seven.view_shape(epoch, 8, 12) for epoch in range(7)] == [(4, 6)] * 2 + [(6, 9)] * 2 + [(8, 12)] * 3
    assert config(epochs=1, view_sizes=(4, 6, 8)).view_shape(0, 8, 12) == (8, 12)
    assert [config(epochs=2, view_sizes=(4, 6, 8)).view_shape(epoch, 8, 8)[0] for epoch in (0, 1)] == [6, 8]
    assert config().view_shape(1, 8, 12) == (8, 12)
    with pytest.raises(ValueError, match=r"^view_sizes: must not exceed the images' height of 8, got 9"):
        check(config(view_sizes=(4, 9)), splits(), CPU)
    with pytest.raises(ValueError, match=r"^view_sizes"):
        config(view_sizes=(3,))


def test_parts_that_some_view_leaves_without_pixels_are_refused_before_training():
    pooled = EncoderConfig("small", width=4, pool_size=2)
    check(config(encoder=pooled, view_sizes=(5, 8)), splits(), CPU)
    with pytest.raises(ValueError, match=r"^pool_size: must lie in \[1, 1\], images leave a map of 1 x 1 pixels"):
        check(config(encoder=pooled, view_sizes=(4, 8)), splits(), CPU)


@pytest.mark.parametrize(("options", "names"), IDLE, ids=[names.split()[0] for _, names in IDLE])
def test_settings_that_nothing_reads_are_refused_and_indeed_change_nothing(options, names):
    assert set(idle_settings(options)) == set(names.split())
    with pytest.raises(ValueError, match="nothing reads it") as error:
        check(options, splits(), CPU)
    assert all(f"{name}: " in str(error.value) for name in names.split())
    without = without_idle(options)
    require_no_idle(without)
    assert torch.equal(trained(options, checked=False), trained(without))


CHANGED = {"out_dim": 5, "hidden_dim": 5, "batch_norm": True, "width": 4, "depth": 2, "num_heads": 2,
           "keep_diagonal": True, "attention_bias": False, "feed_forward": 3, "dropout": 0.5,
           "attention_scope": "joint"}  # fmt: skip


@pytest.mark.parametrize("kind", ["none", "linear", "mlp", "transfusion", "deepfusion", "reluformer", "batchformer"])
def test_heads_read_what_the_table_says(kind):
    """On features of two views, in training: by whether weights or outputs change."""
    assert set(CHANGED) == set(READERS) == {each.name for each in fields(HeadConfig)} - {"kind"}
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))

    def answers(**settings):
        torch.manual_seed(0)
        made = build_head(HeadConfig(kind, **{"width": 8, "depth": 1, "num_heads": 1, **settings}), 8)
        output = made(features, views=2)
        streams = (output, *output.auxiliary)
        return torch.cat([each.detach().flatten() for each in (*made.parameters(), *(s.embeddings for s in streams))])

    for setting, value in CHANGED.items():
        needed = {"feed_forward": 8} if setting == "dropout" else {}
        changed = differs(answers(**needed), answers(**needed, **{setting: value}))
        assert changed == (kind in READERS[setting]), setting


def test_the_options_of_both_commands_start_from_one_configuration():
    from models.cifar.benchmark.__main__ import BenchmarkOptions

    parse = partial(parse_training, prog="train", description=None)
    for kind in (CifarRun, BenchmarkOptions):
        assert parse(kind, []) == kind()
        assert parse(kind, ["--method.name", "moco", "--seed", "3"]) == kind(method=method_of("moco"), seed=3)


@pytest.mark.parametrize("room", [evaluate, benchmark, prospective])
def test_a_device_without_float64_is_refused_by_name(room, tmp_path, monkeypatch, capsys):
    """By all that measures, before anything is read or written; a device that this machine need not have."""
    monkeypatch.setattr(room, "resolve_device", torch.device)
    monkeypatch.chdir(tmp_path)
    words = [str(tmp_path / "checkpoint.pt")] if room is evaluate else []
    assert room.main([*words, "--device", "mps"]) == 2
    assert "device: must be cpu or cuda, measurements need float64, got mps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

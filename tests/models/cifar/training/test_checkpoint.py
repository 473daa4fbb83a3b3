"""Checkpoints are data: every field of its type and in its range, every bit under a checksum, no path of it written."""

import json
import random
import zipfile
from copy import deepcopy

import pytest
import torch

from models.cifar.__main__ import main
from models.cifar.methods.settings import method_of
from models.cifar.training.checkpoint import FIELDS, FIRST_FIELDS, digest, load_checkpoint, save_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import config_from
from models.cifar.training.schema import (
    OPTIMIZER_STATE,
    check_optimizer,
    check_plain,
    check_scaler,
    check_sizes,
    check_weights,
)
from models.cifar.training.state import load_trained, new_learner, start
from models.cifar.training.train import fit
from models.optim import OptimizerConfig
from tests.models.cifar.tiny import CPU, three_colors, tiny
from theory.numerics.whole_files import to_plain

CONFIG = tiny(method=method_of("moco", queue_size=5))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of a training with a queue."""
    folder = tmp_path_factory.mktemp("run")
    fit(CONFIG, three_colors(), CPU, folder)
    return folder / "checkpoint.pt"


@pytest.fixture(scope="module")
def content(path):
    found = load_checkpoint(path)
    return {name: found[name] for name in FIELDS}


def test_without_checkpoints_tables_alone_are_left(path, content, tmp_path):
    state = fit(CONFIG, three_colors(), CPU, tmp_path, checkpoints=False)
    assert all(torch.equal(value, content["learner"][name]) for name, value in state.learner.state_dict().items())
    left, whole = ({each.name for each in folder.iterdir()} for folder in (tmp_path, path.parent))
    assert whole - left == {"checkpoint.pt"}
    assert "epochs.csv" in left


def outcome(data, path, good):
    """What becomes of a changed file: noticed, harmless, or silently different."""
    path.write_bytes(data)
    try:
        found = load_checkpoint(path)
        load_trained(path, CPU)
    except ValueError as error:
        return "noticed" if str(path) in str(error) else f"names no file: {error}"
    tensors = [[*each["learner"].values(), *(t for kept in each["optimiser"]["state"].values() for t in kept.values())]
               for each in (found, good)]  # fmt: skip
    bits = [[tensor.reshape(-1).view(torch.uint8) for tensor in each] for each in tensors]
    alike = all(torch.equal(one, other) for one, other in zip(*bits))
    # As JSON: NaN, which tables hold, is not equal to itself.
    words = [json.dumps([each[name] for name in sorted(FIELDS - {"learner", "optimiser"})]
                        + each["optimiser"]["param_groups"]) for each in (found, good)]  # fmt: skip
    return "harmless" if alike and words[0] == words[1] else "silent"


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flipped_everywhere(path, scratch, count, seed):
    """Outcomes of ``count`` files with one random bit flipped."""
    data, good, rng = path.read_bytes(), load_checkpoint(path), random.Random(seed)
    return [outcome(flip(data, rng.randrange(8 * len(data))), scratch, good) for _ in range(count)]


def test_a_flipped_bit_is_noticed_or_harmless(path, tmp_path):
    found = flipped_everywhere(path, tmp_path / "flipped.pt", 20, 0)
    assert set(found) == {"noticed", "harmless"}
    assert found.count("noticed") > 10, "some of the file is padding, but most is not"


def test_every_tensor_is_under_the_checksum(path, content, tmp_path):
    """The lowest bit of the last number of each storage: still finite, still in range."""
    data, good = path.read_bytes(), load_checkpoint(path)
    with zipfile.ZipFile(path) as archive:
        members = [each for each in archive.infolist() if "/data/" in each.filename]
    assert len(members) > 60
    chosen = members[::12]
    for each in chosen:
        # A member's own header: 30 bytes, then its name and padding.
        start = each.header_offset
        names = int.from_bytes(data[start + 26 : start + 28], "little")
        begin = start + 30 + names + int.from_bytes(data[start + 28 : start + 30], "little")
        changed = flip(data, 8 * (begin + each.file_size - 4))
        assert outcome(changed, tmp_path / "flipped.pt", good) == "noticed", each.filename


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True])
def test_many_flipped_bits_of_a_whole_checkpoint(earlier, tmp_path):
    """100 bits of a checkpoint as the defaults make it, and of one of earlier versions."""
    out = tmp_path / "run"
    assert main(["--data.limit", "40", "--epochs", "2", "--no-figures", "--out", str(out)]) == 0
    path = out / "checkpoint.pt"
    if earlier:
        found = load_checkpoint(path)
        torch.save({name: found[name] for name in FIRST_FIELDS}, path)
    found = flipped_everywhere(path, tmp_path / "flipped.pt", 100, 1)
    print({kind: found.count(kind) for kind in set(found)})
    assert set(found) == {"noticed", "harmless"}


def changed(content, place, damage):
    """The content with one field replaced, by a path of keys; what is not on the path is shared."""
    key, copy = place[0], list(content) if isinstance(content, list) else dict(content)
    if len(place) > 1:
        copy[key] = changed(content[key], place[1:], damage)
    else:
        copy[key] = damage(content.get(key) if isinstance(content, dict) else content[key])
    return copy


COUNT = "queue._extra_state"


def first_weight(content):
    return next(iter(content["learner"]))


# (path of keys, "?" the name of the first weight; another value from the old one; words that name the field)
DAMAGES = [
    (["epoch"], lambda old: -1, "epoch: must be a whole number in"),
    (["epoch"], lambda old: True, "epoch: must be a whole number"),
    (["epoch"], lambda old: 2, "epochs: must have one row for each of the 2 epochs"),
    (["processes"], lambda old: 0, "processes: must be a whole number in"),
    (["processes"], lambda old: 1.0, "processes: must be a whole number"),
    (["place"], lambda old: 3, "place: must be text"),
    (["data"], lambda old: old | {"sha256": "0" * 64}, "data.sha256: is not that of the classes"),
    (["init"], lambda old: {"checkpoint": "x"}, "init: must have exactly"),
    (["config"], lambda old: [], "no table of settings"),
    (["config", "epochs"], lambda old: "3", "epochs: cannot be '3'"),
    (["config", "epochs"], lambda old: 0, "epochs: must be"),
    (["config", "seed"], lambda old: True, "seed: cannot be True"),
    (["config", "encoder", "width"], lambda old: 2**20, "width: must be a whole number in"),
    (["config", "encoder", "width"], lambda old: 3, "learner.encoder"),
    (["config", "encoder", "kind"], lambda old: "vit", "kind: cannot be 'vit'"),
    (["config", "head", "kind"], lambda old: "mlp", "its networks are not those of its configuration"),
    (["config", "method", "queue_size"], lambda old: 2**40, "queue_size: must be a whole number in"),
    (["config", "method"], lambda old: "moco", "method: cannot be 'moco'"),
    (["config", "optimiser", "momentum"], lambda old: float("nan"), "config.optimiser.momentum: must be finite"),
    (["config", "data", "dataset"], lambda old: b"digits", "config.data.dataset: must be a number, text"),
    (["epochs"], lambda old: [*old, {}], "epochs: must have one row"),
    (["epochs", 0, "loss"], lambda old: [1.0], "epochs: row 0: loss: must be a number, text"),
    (["epochs", 0, "loss"], lambda old: torch.ones(1), "epochs: row 0: loss: must be a number, text"),
    (["layers", 0, "epoch"], lambda old: 7, r"layers: a row's epoch must lie in \[1, 1\]"),
    (["scores"], lambda old: (), "scores: must be a list"),
    (["scaler"], lambda old: {"scale": 2.0}, "scaler: must have exactly nothing"),
    (["learner"], lambda old: {}, "learner: misses"),
    (["learner", "new"], lambda old: torch.ones(1), "learner: has unknown new"),
    (["learner", "?"], lambda old: old.double(), "must be torch.float32, got torch.float64"),
    (["learner", "?"], lambda old: old + 0j, "must be of real numbers"),
    (["learner", "?"], lambda old: old[:1].clone(), "must have shape"),
    (["learner", "?"], lambda old: old * float("nan"), "contains NaN or infinity"),
    (["learner", "?"], lambda old: old.tolist(), "must be a tensor, got a list"),
    (["learner", "?"], lambda old: torch.zeros(1).expand(old.shape), "claims shape"),
    (["learner", "?"], lambda old: torch.zeros(1).expand(2**20, 2**20), "claims shape"),
    (["learner", "?"], lambda old: torch.empty(old.shape, device="meta"), "must be a dense tensor"),
    (["learner", "?"], lambda old: old.to_sparse(), "must be a dense tensor"),
    (["learner", COUNT], lambda old: -old, "learner.queue._extra_state: must be at least 0"),
    (["optimiser", "state", 0, "exp_avg_sq"], lambda old: -old, "optimiser.state.0.exp_avg_sq: must be at least 0"),
    (["optimiser", "state", 0, "exp_avg"], lambda old: old[0].clone(), "optimiser.state.0.exp_avg: must have shape"),
    (["optimiser", "state", 0], lambda old: {"step": old["step"]}, "optimiser.state.0: must have exactly step"),
    (["optimiser", "state", 99], lambda old: {}, "optimiser.state: has unknown 99"),
    (["optimiser", "state", "x"], lambda old: {}, "optimiser.state: must be tables by number"),
    (["optimiser", "param_groups"], lambda old: old[:1], "optimiser.param_groups: must be 2"),
    (["optimiser", "param_groups", 0, "lr"], lambda old: 0.5, r"optimiser.param_groups.lr: must lie in \[0, 0.001\]"),
    (["optimiser", "param_groups", 0, "lr"], lambda old: float("nan"), "optimiser.param_groups.lr: must lie in"),
    (["optimiser", "param_groups", 0, "betas"], lambda old: (0.9, 2.0), "optimiser.param_groups.betas: must be"),
    (["optimiser", "param_groups", 0, "maximize"], lambda old: 1, "optimiser.param_groups.maximize: must be"),
]  # fmt: skip


def on_meta(config):
    with torch.device("meta"):
        return new_learner(config)


@pytest.fixture(scope="module")
def refuse(path):
    """What reading a checkpoint asks of its content, without the file."""
    where, fresh = str(path), start(CONFIG, CPU)
    own = to_plain(CONFIG)

    def ask(content):
        check_plain(content, where)
        config = config_from(TrainConfig, content["config"], where)
        check_sizes(config, where)
        like = fresh.learner if content["config"] == own else on_meta(config)
        check_weights(content, like.state_dict(), where)
        check_optimizer(content, CONFIG, fresh.optimizer, where)
        check_scaler(content, fresh.scaler, where)

    return ask


@pytest.mark.parametrize(("place", "damage", "named"), DAMAGES)
def test_what_is_out_of_its_type_or_range_is_refused_by_name(place, damage, named, content, refuse):
    place = [first_weight(content) if key == "?" else key for key in place]
    with pytest.raises(ValueError, match=named):
        refuse(changed(content, place, damage))


def test_what_is_sound_is_not_refused(content, refuse):
    refuse(content)


def test_damage_with_a_right_checksum_is_refused_in_files(content, tmp_path):
    """As someone would write it who means harm: by whoever reads weights, and by whoever goes on."""
    path = tmp_path / "checkpoint.pt"
    for place, damage, named in (
        (["learner", first_weight(content)], lambda old: old * float("nan"), "contains NaN"),
        (["config", "encoder", "width"], lambda old: 2**20, "width: must be a whole number in"),
        (["epoch"], lambda old: -1, "epoch: must be a whole number"),
    ):
        save_checkpoint(path, changed(content, place, damage))
        with pytest.raises(ValueError, match=named):
            load_trained(path, CPU)
        with pytest.raises(ValueError, match=named):
            start(CONFIG, CPU, tmp_path)
    save_checkpoint(path, changed(content, ["optimiser", "param_groups", 0, "lr"], lambda old: 0.5))
    with pytest.raises(ValueError, match=r"optimiser\.param_groups\.lr: must lie in"):
        start(CONFIG, CPU, tmp_path)


def test_unknown_and_missing_fields_are_named(content, tmp_path):
    path = tmp_path / "checkpoint.pt"
    for wrong in ({**content, "sha256": "0" * 64, "more": 1}, {"epoch": 1}):
        torch.save(wrong, path)
        with pytest.raises(ValueError, match=r"missing or unknown: .*(more|learner)"):
            load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="not a checkpoint: it holds a list"):
        load_checkpoint(path)
    torch.save({**content, "sha256": "0" * 64}, path)
    with pytest.raises(ValueError, match="does not have the checksum"):
        load_checkpoint(path)


def test_sizes_are_checked_before_anything_is_read(path, tmp_path, monkeypatch):
    """Compressed members expand to any size; and files that are larger than any checkpoint."""
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in source.infolist():
            archive.writestr(each.filename, bytes(2**22) if each.filename.endswith("/data/0") else source.read(each))
    assert bomb.stat().st_size < 2**21

    def read(*arguments, **options):
        raise AssertionError("was read")

    monkeypatch.setattr(torch, "load", read)
    with pytest.raises(ValueError, match="its members are compressed"):
        load_checkpoint(bomb)
    for limit, named in (("LARGEST_PICKLE", "its tables must have"), ("LARGEST_FILE", "must have at most 1000 bytes")):
        monkeypatch.setattr(f"models.cifar.training.checkpoint.{limit}", 1000)
        with pytest.raises(ValueError, match=named):
            load_checkpoint(path)


def test_tensors_that_share_numbers_do_not_grow(content, tmp_path):
    """A thousand names of one storage: small on disk, large in memory once they are copied."""
    one, path = torch.ones(2**16), tmp_path / "checkpoint.pt"
    save_checkpoint(path, {**content, "learner": {str(i): one for i in range(1000)}})
    with pytest.raises(ValueError, match=r"its tensors claim 2\d+ bytes, far more than the file has"):
        load_checkpoint(path)


@pytest.mark.parametrize(("kind", "momentum"), [("sgd", 0.9), ("sgd", 0.0), ("lars", 0.9)])
def test_every_optimizer_keeps_what_the_schema_says(kind, momentum, tmp_path):
    options = tiny(optimiser=OptimizerConfig(kind, 0.01, momentum=momentum, warmup_epochs=0))
    before = fit(options, three_colors(), CPU, tmp_path).optimizer.state_dict()["state"]
    assert {name for kept in before.values() for name in kept} == set(OPTIMIZER_STATE[kind] if momentum else ())
    after = start(options, CPU, tmp_path).optimizer.state_dict()["state"]
    for number, kept in before.items():
        assert all(torch.equal(value, after[number][name]) for name, value in kept.items() if value is not None)


def test_a_number_of_another_type_is_another_content(content):
    """The checksum tells 1 from True and 1.0, and which tensor is which."""
    before = digest(content)
    swapped = dict(reversed(content["learner"].items()))
    others = [{**content, "processes": value} for value in (True, 1.0)] + [{**content, "learner": swapped}]
    assert len({before, *map(digest, others)}) == 4
    assert digest(deepcopy(content)) == before

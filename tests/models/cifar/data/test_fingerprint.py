"""Fingerprints of data sets: equal for equal images, and whatever differs is said in words."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from models.cifar.data.fingerprint import check_fingerprint, fingerprint, fingerprint_differences, read_fingerprint
from models.cifar.data.images import Splits
from tests.models.cifar.tiny import colors, three_colors

SPLITS = three_colors()


def differences(other):
    return fingerprint_differences(fingerprint(SPLITS), fingerprint(other))


def test_it_is_of_json_and_its_hashes_are_those_of_the_arrays():
    found = fingerprint(SPLITS)
    assert json.loads(json.dumps(found)) == found == check_fingerprint(found, "here")
    assert (found["name"], found["class_names"], found["shape"]) == ("colors", ["r", "g", "b"], [3, 8, 8])
    assert [found[part]["per_class"] for part in ("train", "validation", "test")] == [[6, 5, 5], [3, 3, 3], [2, 2, 2]]
    expected = hashlib.sha256(b'["uint8", [16, 3, 8, 8]]')
    expected.update(SPLITS.train.labels.numpy().tobytes() + SPLITS.train.images.numpy().tobytes())
    assert found["train"]["sha256"] == expected.hexdigest()


def test_memory_layout_name_and_place_do_not_matter():
    other = replace(SPLITS.train, images=SPLITS.train.images.to(memory_format=torch.channels_last), name="moved")
    assert differences(replace(SPLITS, train=other)) == []


def test_what_differs_is_said():
    train, few = SPLITS.train, colors((5, 5, 5), 0)
    changed = train.images.clone()
    changed[3, 0, 0, 0] ^= 1
    swapped = replace(train, images=train.images.flip(0), labels=train.labels.flip(0))
    letters = [replace(each, class_names=("x", "y", "z")) for each in (SPLITS.train, SPLITS.validation, SPLITS.test)]
    larger = replace(train, images=torch.zeros(16, 3, 9, 8, dtype=torch.uint8))
    for other, words in (
        (replace(SPLITS, train=few), ["6 training images of class r against 5"]),
        (Splits(*letters), ["classes r, g, b against x, y, z"]),
        (replace(SPLITS, train=replace(train, images=changed)), ["the same counts, but other pixels"]),
        (replace(SPLITS, train=swapped), ["of the training images"]),
        (replace(SPLITS, train=larger), ["images of 3 x 8 x 8 against images of 3 x 9 x 8"]),
        (replace(SPLITS, test=SPLITS.test.subset(torch.arange(0))), ["2 test images of class r against 0"]),
    ):
        told = "; ".join(differences(other))
        assert all(each in told for each in words), told


def test_labels_alone_make_other_images():
    """One image of another class, the counts the same."""
    labels = SPLITS.train.labels.clone()
    labels[[0, 6]] = labels[[6, 0]]
    assert differences(replace(SPLITS, train=replace(SPLITS.train, labels=labels)))


def test_parts_may_be_empty():
    none = SPLITS.test.subset(torch.arange(0))
    found = check_fingerprint(fingerprint(replace(SPLITS, test=none, validation=none)), "here")
    assert found["test"] == found["validation"]
    assert found["test"]["images"] == 0


def test_many_classes_and_counts_are_cut_short():
    names = tuple(map(str, range(9)))
    part = replace(colors((9,)), labels=torch.arange(9), class_names=names)
    more = part.subset(torch.arange(9).repeat(2))
    one, other = (fingerprint(Splits(train, part, part)) for train in (part, more))
    assert fingerprint_differences(one, other)[-1] == "and so in 3 further classes"
    renamed = replace(part, class_names=tuple("abcdefghi"))
    (words,) = fingerprint_differences(one, fingerprint(Splits(renamed, renamed, renamed)))
    assert words == "classes 0, 1, 2, 3, 4, 5 and 3 more against a, b, c, d, e, f and 3 more"


def edited(path, value):
    found = fingerprint(SPLITS)
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["name"], 3, "name: must be text"),
        (["class_names"], [], "class_names: must be a list of 1"),
        (["class_names"], ["r", "g", 3], "class_names: must be"),
        (["class_names"], ["r", "g", "x"], "sha256: is not that of the classes and parts"),
        (["shape"], [3, 8], "shape: must be channels"),
        (["shape"], [3, True, 8], "shape: must be"),
        (["train", "images"], 15, "train.images: must be the sum of per_class, 16"),
        (["train", "per_class"], [16, 0], "train.per_class: must be 3 counts"),
        (["train", "per_class"], [17, -1, 0], "train.per_class: must be 3 counts"),
        (["test", "sha256"], "0" * 63, "test.sha256: must be a SHA-256"),
        (["test", "sha256"], "0" * 64, "sha256: is not that of the classes and parts"),
        (["more"], 1, "must have exactly"),
        (["validation"], None, "validation: must have exactly images"),
    ],
)
def test_what_was_edited_is_refused_by_name(path, value, named):
    with pytest.raises(ValueError, match=f"^here.*{named}"):
        check_fingerprint(edited(path, value), "here")


def test_a_folder_keeps_it(tmp_path):
    assert read_fingerprint(tmp_path) is None
    path = tmp_path / "fingerprint.json"
    path.write_text(json.dumps(fingerprint(SPLITS)))
    assert read_fingerprint(tmp_path) == fingerprint(SPLITS)
    path.write_text(path.read_text().replace('"r"', '"x"'))
    with pytest.raises(ValueError, match=r"fingerprint\.json\.sha256: is not that"):
        read_fingerprint(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not a whole JSON file"):
        read_fingerprint(tmp_path)

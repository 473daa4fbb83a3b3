"""Splits are drawn by content: what is added or removed leaves the others where they are."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from models.cifar.data.images import DataConfig, load_images
from models.cifar.data.splitting import content_hash, content_hashes, draw_order, held_out, set_aside, some_of_each
from tests.models.cifar.data.image_files import encoded, random_pixels, write

CLASSES = ("a", "b")


def hashes(rng, count):
    return rng.integers(0, 2**64, (count, 2), dtype=np.uint64)


def split(images, labels, share, seed=0):
    """Content -> side (True: held out), with content as pairs of integers."""
    mask = held_out(labels, draw_order(images, seed, "validation"), share, CLASSES)
    return {(*image.tolist(), int(label)): side for image, label, side in zip(images, labels, mask)}


def moved(before, after):
    """Images that are in both, on different sides."""
    return {image for image in before.keys() & after.keys() if before[image] != after[image]}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_adding_or_removing_an_image_moves_at_most_one_other(share):
    rng, most = np.random.default_rng(0), 0
    for count in (*range(14, 34), 199, 200, 201):
        images, labels = hashes(rng, count), np.arange(count) % 2
        before = split(images, labels, share)
        for left_out in rng.permutation(count)[:8]:
            rest = np.arange(count) != left_out
            found = moved(before, split(images[rest], labels[rest], share))
            # None of the other class, whose images are the same ones.
            assert all(label == labels[left_out] for *_, label in found)
            most = max(most, len(found))
    assert most == 1, "the share's rounding must be felt"


def test_a_split_by_place_moves_many():
    """The checker finds what it is there to find."""

    def by_place(images, share):
        mask = np.zeros(len(images), dtype=bool)
        mask[np.random.default_rng(0).permutation(len(images))[: round(share * len(images))]] = True
        return {tuple(image.tolist()): side for image, side in zip(images, mask)}

    images = hashes(np.random.default_rng(1), 100)
    assert len(moved(by_place(images, 0.2), by_place(images[1:], 0.2))) > 10


def test_identical_images_of_a_class_are_on_one_side_and_move_as_one():
    rng = np.random.default_rng(2)
    for seed in range(30):
        different = hashes(rng, 12)
        images = different[rng.integers(0, 12, 40)]
        labels = np.zeros(40, dtype=np.int64)
        order = draw_order(images, seed, "validation")
        mask = held_out(labels, order, 0.2, CLASSES)
        sides = {}
        for image, side in zip(images, mask):
            assert sides.setdefault(tuple(image.tolist()), side) == side
        # As near to the share as whole sets allow.
        assert 1 <= mask.sum() < 40
        largest = max(Counter(map(tuple, images.tolist())).values())
        assert 8 <= mask.sum() < 8 + largest
        assert len(moved(split(images, labels, 0.2, seed), split(images[1:], labels[1:], 0.2, seed))) <= 1


def test_where_whole_sets_leave_nothing_the_share_is_smaller_or_refused():
    images = np.repeat(hashes(np.random.default_rng(3), 2), [1, 9], axis=0)
    for seed in range(6):
        mask = held_out(np.zeros(10, np.int64), draw_order(images, seed, "validation"), 0.3, CLASSES)
        assert mask.sum() in (1, 9)
        assert len(set(mask[1:].tolist())) == 1
    same = np.repeat(images[:1], 4, axis=0)
    with pytest.raises(ValueError, match="4 training images of class a are all identical"):
        held_out(np.zeros(4, np.int64), draw_order(same, 0, "validation"), 0.3, CLASSES)


def test_the_order_in_plain_integers():
    """SplitMix64's last step, as its authors write it, over both halves of the hash."""
    images = hashes(np.random.default_rng(4), 5)
    digest = hashlib.sha256(b"limit 7").digest()
    limit = 2**64
    for image, found in zip(images.tolist(), draw_order(images, 7, "limit").tolist()):
        z = 0
        for half, offset in zip(image, (digest[:8], digest[8:16])):
            z = ((z ^ half) + int.from_bytes(offset, "little")) % limit
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % limit
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % limit
            z ^= z >> 31
        assert found == z


def test_every_image_is_held_out_as_often_as_any_other():
    """Over 400 seeds: 100 times, with a standard deviation of 8.7; also images whose hashes differ in one bit."""
    images = hashes(np.random.default_rng(5), 40)
    images[20:] = images[:20] ^ np.array([0, 1], dtype=np.uint64)
    labels = np.zeros(40, dtype=np.int64)
    masks = np.array([held_out(labels, draw_order(images, s, "validation"), 0.25, CLASSES) for s in range(400)])
    assert np.abs(masks.sum(axis=0) - 100).max() < 40
    together = (masks[:, :20] & masks[:, 20:]).sum(axis=0)
    # 400 * (10 / 40) * (9 / 39) = 23, with a standard deviation below 5.
    assert np.abs(together - 23).max() < 20


def test_draws_of_two_kinds_have_nothing_to_do_with_each_other():
    images = hashes(np.random.default_rng(6), 300)
    first, second, other = (draw_order(images, *key) for key in ((0, "limit"), (0, "validation"), (1, "limit")))
    for one in (second, other):
        assert abs(np.corrcoef(np.argsort(np.argsort(first)), np.argsort(np.argsort(one)))[0, 1]) < 0.25


def test_a_limit_takes_the_first_or_the_first_in_order():
    labels = np.array([1, 0, 1, 1, 0, 0, 1])
    order = np.array([6, 5, 4, 3, 2, 1, 0], dtype=np.uint64)
    assert some_of_each(labels, 2).tolist() == [0, 1, 2, 4]
    assert some_of_each(labels, 2, order).tolist() == [3, 4, 5, 6]
    assert some_of_each(labels, None).tolist() == list(range(7))
    assert some_of_each(labels, 9, order).tolist() == list(range(7))


def test_content_is_pixels_and_shape():
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    found = content_hashes(images)
    for image, pair in zip(images, found):
        wanted = hashlib.sha256(b"(4, 6, 3)" + image.transpose(1, 2, 0).tobytes()).digest()[:16]
        assert pair.astype("<u8").tobytes() == wanted
    black = np.zeros((2, 8, 3), np.uint8)
    assert content_hash(black) != content_hash(black.reshape(8, 2, 3))


def test_setting_aside_is_indexing():
    rng = np.random.default_rng(8)
    for share in (0.0, 0.3, 0.9, 1.0):
        images = rng.integers(0, 256, (50, 3, 2, 2), dtype=np.uint8)
        mask, whole = rng.random(50) < share, images.copy()
        others, taken = set_aside(images, mask)
        np.testing.assert_array_equal(others, whole[~mask])
        np.testing.assert_array_equal(taken, whole[mask])


def contents(images):
    return {image.numpy().tobytes() for image in images.images}


@pytest.mark.parametrize("size", [None, 5])
def test_a_folder_that_grows_keeps_its_sides(tmp_path, size):
    """Files that get other names, and one more file before all of them."""
    rng = np.random.default_rng(9)
    files = {f"{part}/{cls}/{i}.png": encoded(random_pixels(rng)) for part, count in (("train", 20), ("test", 1))
             for cls in CLASSES for i in range(count)}  # fmt: skip

    def load(name, files):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name, files)
        return load_images(DataConfig(str(path), root=tmp_path / "cache", image_size=size, validation_share=0.2))

    before = load("before", files)
    renamed = load("renamed", {n.replace("train/a/", "train/a/x") if "1" in n else n: d for n, d in files.items()})
    assert contents(renamed.validation) == contents(before.validation)
    grown = load("grown", {**files, "train/a/+.png": encoded(random_pixels(rng))})
    assert len(contents(before.validation) - contents(grown.validation)) <= 1
    assert len(contents(before.train) - contents(grown.train)) <= 1
    other_size = load_images(DataConfig(str(tmp_path / "before/images"), root=tmp_path / "cache", image_size=7,
                                        validation_share=0.2))  # fmt: skip
    assert [each.labels.tolist() for each in (other_size.train, other_size.validation)] == [
        each.labels.tolist() for each in (before.train, before.validation)
    ]


def test_a_draw_of_some_images_keeps_all_but_one_when_one_is_added(tmp_path):
    rng = np.random.default_rng(10)
    files = {f"train/a/{i}.png": encoded(random_pixels(rng)) for i in range(30)}
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name, files)
        config = DataConfig(str(path), root=tmp_path / "c", limit=10, limit_seed=1, validation_share=0.0)
        drawn.append(contents(load_images(config).train))
        files["train/a/+.png"] = encoded(random_pixels(rng))
    assert len(drawn[0]) == len(drawn[1]) == 10
    assert len(drawn[0] - drawn[1]) <= 1

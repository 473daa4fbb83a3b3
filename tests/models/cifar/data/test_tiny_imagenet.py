"""Tiny-ImageNet's own layout: images one folder further down, classes of val/ in a table, test/ without classes."""

import numpy as np
import pytest

from tests.models.cifar.data.image_files import encoded, load, random_pixels, write


def tiny(rng):
    """Files, and for each class the pixels of its val images in the order of their names."""
    pixels = {f"train/{cls}/images/{cls}_{i}.PNG": random_pixels(rng) for cls in ("n02", "n01") for i in range(2)}
    told = {"val_3.PNG": "n01", "val_0.PNG": "n02", "val_2.PNG": "n02", "val_1.PNG": "n01"}
    pixels |= {f"val/images/{name}": random_pixels(rng) for name in told}
    pixels |= {f"test/images/test_{i}.PNG": random_pixels(rng) for i in range(2)}
    files = {name: encoded(image) for name, image in pixels.items()}
    files["val/val_annotations.txt"] = "".join(f"{n}\t{c}\t0\t0\t7\t7\n" for n, c in told.items()).encode()
    files |= {f"train/{cls}/{cls}_boxes.txt": b"0 0 1 1" for cls in ("n01", "n02")}
    return files, pixels, told


@pytest.mark.parametrize("suffix", ["", ".tar", ".tar.gz", ".zip"])
@pytest.mark.parametrize("prefix", ["", "tiny-imagenet-200/"])
def test_it_is_read_where_it_is(tmp_path, suffix, prefix):
    if suffix == "" and prefix:
        pytest.skip("a folder is given by its own path")
    files, pixels, told = tiny(np.random.default_rng(0))
    path = write(tmp_path, files, suffix, prefix)
    arrays, classes = load(path, None, tmp_path / "cache")
    assert classes == ("n01", "n02")
    wanted = [(label, f"train/{cls}/images/{cls}_{i}.PNG") for label, cls in enumerate(classes) for i in range(2)]
    assert arrays["train_labels"].tolist() == [label for label, _ in wanted]
    for image, (_, name) in zip(arrays["train_images"], wanted):
        np.testing.assert_array_equal(image, pixels[name].transpose(2, 0, 1))
    wanted = [(label, name) for label, cls in enumerate(classes) for name in sorted(n for n in told if told[n] == cls)]
    assert arrays["test_labels"].tolist() == [label for label, _ in wanted]
    for image, (_, name) in zip(arrays["test_images"], wanted):
        np.testing.assert_array_equal(image, pixels[f"val/images/{name}"].transpose(2, 0, 1))


def test_an_image_that_the_table_does_not_tell_is_passed_over(tmp_path):
    files, _, _ = tiny(np.random.default_rng(0))
    files["val/images/val_9.PNG"] = files["val/images/val_0.PNG"]
    arrays, _ = load(write(tmp_path, files), None, tmp_path / "cache")
    assert len(arrays["test_labels"]) == 4


def test_a_table_with_other_classes_is_refused(tmp_path):
    files, _, _ = tiny(np.random.default_rng(0))
    files["val/val_annotations.txt"] = files["val/val_annotations.txt"].replace(b"n01", b"n03")
    with pytest.raises(ValueError, match=r"classes that only one of train and test has: n01, n03"):
        load(write(tmp_path, files), None, tmp_path / "cache")


def test_a_class_may_be_called_images(tmp_path):
    rng = np.random.default_rng(0)
    files = {
        f"{part}/{cls}/0.png": encoded(random_pixels(rng)) for part in ("train", "test") for cls in ("images", "x")
    }
    assert load(write(tmp_path, files), None, tmp_path / "cache")[1] == ("images", "x")

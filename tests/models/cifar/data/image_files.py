"""Small data sets of image files, written as a folder or archive."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image

from models.cifar.data.image_folder import load_image_folder

SIZE = 8


def load(path, image_size, cache, **options):
    """Arrays by name (train_images, train_labels, ...) and classes, as a folder or archive has them."""
    data = load_image_folder(path, image_size, cache, **options)
    whats = ("images", "labels")
    arrays = {f"{name}_{what}": getattr(part, what) for name, part in data.parts.items() for what in whats}
    return arrays, data.classes


def encoded(pixels, mode="RGB", form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def random_pixels(rng, height=SIZE, width=SIZE):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels_of_files():
    """Names and pixels of a small data set, not in the order of the names."""
    rng = np.random.default_rng(0)
    names = [f"{part}/{cls}/{i}.png" for part in ("train", "test") for cls in ("dog", "cat", "eel") for i in (2, 0, 1)]
    return {name: random_pixels(rng) for name in names}


def small_files():
    """Names and encoded bytes of a small data set."""
    return {name: encoded(pixels) for name, pixels in pixels_of_files().items()}


def write(folder, files, suffix="", prefix="", folders=()):
    """The files as a folder or archive; ``folders`` are empty ones."""
    path = folder / f"images{suffix}"
    if suffix == "":
        for name in folders:
            (path / name).mkdir(parents=True)
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in folders:
                archive.writestr(f"{prefix}{name}/", b"")
            for name, data in files.items():
                archive.writestr(prefix + name, data)
    else:
        kind = {"gz": "gz", "tgz": "gz", "xz": "xz", "bz2": "bz2"}.get(suffix.rsplit(".", 1)[-1], "")
        with tarfile.open(path, f"w:{kind}") as archive:
            for name in folders:
                info = tarfile.TarInfo(prefix + name)
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            for name, data in files.items():
                info = tarfile.TarInfo(prefix + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def expected(pixels):
    """Arrays by hand: sorted names, sorted classes, channels first."""
    arrays = {}
    for part in ("train", "test"):
        names = sorted(name for name in pixels if name.startswith(part))
        arrays[f"{part}_images"] = np.stack([pixels[name].transpose(2, 0, 1) for name in names])
        arrays[f"{part}_labels"] = np.array([["cat", "dog", "eel"].index(name.split("/")[1]) for name in names])
    return arrays


def assert_same(found, wanted):
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)

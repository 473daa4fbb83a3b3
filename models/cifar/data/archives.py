"""The official CIFAR archives: downloaded once, checked before anything is opened, read without running any code.

They hold pickles, and a pickle can name any function to be called while it is read. Two guards: the bytes must have the
published checksums, and the reader below knows three names, those that arrays are made of.

Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import hashlib
import http.client
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from theory.numerics.whole_files import PART

IMAGE_SHAPE = (3, 32, 32)
CHUNK_BYTES = 2**18
TIMEOUT_SECONDS = 30
# A connection that breaks is taken up again where it ended, this many times in one call.
ATTEMPTS = 4


@dataclass(frozen=True)
class Archive:
    """Where an archive is, how it is recognized and what its members are called.

    Attributes:
        url: its address; the last part is its name on disk.
        checksums: algorithm (as hashlib has it) and hexadecimal digest; all must agree.
        train: members with training images, in this order.
        test: members with test images.
        names: member with the names of the classes.
        labels_key: under which a batch keeps its labels.
        names_key: under which ``names`` keeps the names.
    """

    url: str
    checksums: tuple[tuple[str, str], ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    labels_key: str
    names_key: str

    @property
    def file_name(self) -> str:
        """Its name on disk."""
        return self.url.rsplit("/", 1)[-1]


ARCHIVES: Mapping[str, Archive] = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        checksums=(
            ("md5", "c58f30108f718f92721af3b95e74349a"),
            ("sha256", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
        ),
        train=tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        test=("cifar-10-batches-py/test_batch",),
        names="cifar-10-batches-py/batches.meta",
        labels_key="labels",
        names_key="label_names",
    ),
    "cifar100": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        checksums=(
            ("md5", "eb9058c3a382ffc7106e4002c42a8d85"),
            ("sha256", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
        ),
        train=("cifar-100-python/train",),
        test=("cifar-100-python/test",),
        names="cifar-100-python/meta",
        labels_key="fine_labels",
        names_key="fine_label_names",
    ),
}


def load_archive(archive: Archive, folder: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The images of an archive, which is downloaded to ``folder`` unless it is there.

    Returns:
        train_images and test_images, uint8 (N, 3, 32, 32); train_labels and test_labels, int64 (N,); names of the
        classes.

    Raises:
        ValueError: names the file: not downloadable, a wrong checksum, or not what the archive should hold.
    """
    return read_archive(archive, fetch(archive, folder))


def fetch(archive: Archive, folder: Path) -> Path:
    """The path of an archive with the right checksums, downloaded if need be.

    What a broken download leaves behind is a hidden file beside the path, which the next call goes on with. One process
    at a time: two that download into one folder spoil each other's file, which the checksum finds out.

    Raises:
        ValueError: names the file, its address, and where to put it by hand.
    """
    path = Path(folder) / archive.file_name
    try:
        if path.exists():
            problem = _checksum_problem(path, archive)
            if problem:
                raise ValueError(f"{path}: {problem}; remove it, or replace it by {archive.url}")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}{PART}")
        resumed = part.exists()
        _download(archive, part, path)
        problem = _checksum_problem(part, archive)
        if problem and resumed:
            # The part may have been of something else: once more, from the start.
            part.unlink()
            _download(archive, part, path)
            problem = _checksum_problem(part, archive)
        if problem:
            part.unlink()
            raise ValueError(f"{path.name}: what {archive.url} sent {problem}; nothing was kept. {_by_hand(path)}")
        os.replace(part, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read or written ({error})") from error
    return path


def _by_hand(path: Path) -> str:
    return f"To do without a download, put the file at {path}"


def _checksum_problem(path: Path, archive: Archive) -> str:
    """Empty if all checksums agree."""
    for algorithm, expected in archive.checksums:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            return f"has {algorithm} {found}, expected {expected}"
    return ""


def _download(archive: Archive, part: Path, path: Path) -> None:
    """Fill ``part``, from where it ends."""
    for attempt in range(1, ATTEMPTS + 1):
        start = part.stat().st_size if part.exists() else 0
        try:
            if _transfer(archive.url, part, start):
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                # The part is no beginning of what is there.
                part.unlink()
            problem = str(error)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(error)
        ended = part.stat().st_size if part.exists() else 0
        if attempt == ATTEMPTS or ended == start:
            raise ValueError(f"{path.name}: cannot be downloaded from {archive.url} ({problem}). {_by_hand(path)}")


def _transfer(url: str, part: Path, start: int) -> bool:
    """One request; whether all of the file has come."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            # This server does not do ranges, and begins at the beginning.
            start = 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], disable=None
            ) as bar,
        ):
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            return total is None or file.tell() == total


def read_archive(archive: Archive, path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """``load_archive`` of a file whose checksums have been checked."""
    try:
        with tarfile.open(path, "r:*") as tar:
            names = _class_names(_unpickle(tar, archive.names, path), archive, path)
            arrays = {}
            for part, members in (("train", archive.train), ("test", archive.test)):
                batches = [
                    _batch(_unpickle(tar, member, path), archive, len(names), path, member) for member in members
                ]
                arrays[f"{part}_images"] = np.concatenate([images for images, _ in batches])
                arrays[f"{part}_labels"] = np.concatenate([labels for _, labels in batches])
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole archive ({error})") from error
    return arrays, names


class ArrayUnpickler(pickle.Unpickler):
    """Reads numbers, strings, lists, dicts and NumPy arrays; every other name is refused, so nothing can be called."""

    # By hand, because the module that has the first of them moved between versions of NumPy.
    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def __init__(self, data: bytes) -> None:
        # Python 2 wrote the archives: its strings are bytes, of arrays too.
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names.

        Raises:
            pickle.UnpicklingError: it is none of the allowed.
        """
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no archive of images needs")
        return self.ALLOWED[module, name]


def _unpickle(tar: tarfile.TarFile, member: str, path: Path) -> dict:
    try:
        file = tar.extractfile(member)
    except KeyError:
        file = None
    if file is None:
        raise ValueError(f"{path}: has no member {member}")
    # All bytes first, so that a broken archive is not taken for a broken pickle.
    with file:
        data = file.read()
    try:
        content = ArrayUnpickler(data).load()
    except Exception as error:  # a damaged pickle can end in any exception
        raise ValueError(f"{path}: member {member} is refused ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: member {member} holds no dict but a {type(content).__name__}")
    return content


def _class_names(content: dict, archive: Archive, path: Path) -> tuple[str, ...]:
    names = content.get(archive.names_key)
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: member {archive.names} has no list {archive.names_key} of at least 2 names")
    return tuple(names)


def _batch(content: dict, archive: Archive, classes: int, path: Path, member: str) -> tuple[np.ndarray, np.ndarray]:
    data, labels = content.get("data"), content.get(archive.labels_key)
    where = f"{path}: member {member}"
    width = int(np.prod(IMAGE_SHAPE))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (width,) or not len(data):
        raise ValueError(f"{where} has no uint8 array data of shape (N, {width}), N >= 1")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(each) is int for each in labels):
        raise ValueError(f"{where} has no list {archive.labels_key} of {len(data)} whole numbers")
    if not 0 <= min(labels) <= max(labels) < classes:
        raise ValueError(f"{where}: labels must lie in [0, {classes - 1}], got {min(labels)} to {max(labels)}")
    return data.reshape(-1, *IMAGE_SHAPE), np.array(labels, dtype=np.int64)

"""The official format, on tiny archives of it that a server on this machine hands out."""

import dataclasses
import hashlib
import io
import os
import pickle
import pickletools
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from models.cifar.data.archives import ARCHIVES, Archive, fetch, load_archive, read_archive

PER_BATCH = 6
CLASSES = ["cat", "dog", "frog"]


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 wrote its strings, which is how the official archives have them."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        short = len(data) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(data)]) if short else pickle.BINSTRING + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


def python2_pickle(content):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


class Official:
    """An archive in the making: its description, and its members, which a test may spoil."""

    def __init__(self, kind, rng):
        published = ARCHIVES[kind]
        self.archive = published
        self.images, self.labels = {}, {}
        self.members = {published.names: {published.names_key: CLASSES}}
        for member in (*published.train, *published.test):
            self.images[member] = rng.integers(0, 256, (PER_BATCH, 3, 32, 32), dtype=np.uint8)
            self.labels[member] = [int(label) for label in rng.integers(0, len(CLASSES), PER_BATCH)]
            self.members[member] = {
                "batch_label": member,
                published.labels_key: self.labels[member],
                "data": self.images[member].reshape(PER_BATCH, -1),
                "filenames": [f"{i}.png" for i in range(PER_BATCH)],
            }

    def bytes(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, content in self.members.items():
                data = content if isinstance(content, bytes) else python2_pickle(content)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    def described(self, data, url="http://127.0.0.1:9/tiny.tar.gz"):
        checksums = tuple((name, hashlib.new(name, data).hexdigest()) for name in ("md5", "sha256"))
        return dataclasses.replace(self.archive, url=url, checksums=checksums)

    def placed(self, folder):
        """Written to disk, described by its true checksums."""
        data = self.bytes()
        (folder / "tiny.tar.gz").write_bytes(data)
        return self.described(data)


@pytest.fixture(params=["cifar10", "cifar100"])
def official(request):
    return Official(request.param, np.random.default_rng(0))


@pytest.fixture
def cifar10():
    return Official("cifar10", np.random.default_rng(1))


class Server:
    """Hands out one file. ``breaks`` are numbers of bytes after which the next answers stop, one after the other."""

    def __init__(self, data):
        self.data, self.ranges, self.breaks, self.requests = data, True, [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                server.requests.append(wanted)
                if not self.path.endswith("tiny.tar.gz"):
                    return self.send_error(404)
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
                if start >= len(server.data):
                    return self.send_error(416)
                body = server.data[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/tiny.tar.gz"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(data):
        server = Server(data)
        thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def test_published_checksums():
    assert dict(ARCHIVES["cifar10"].checksums)["md5"] == "c58f30108f718f92721af3b95e74349a"
    assert dict(ARCHIVES["cifar100"].checksums)["md5"] == "eb9058c3a382ffc7106e4002c42a8d85"
    assert ARCHIVES["cifar100"].file_name == "cifar-100-python.tar.gz"


def test_the_pickles_of_these_tests_are_like_python_2s(cifar10):
    data = python2_pickle(cifar10.members[ARCHIVES["cifar10"].test[0]])
    assert b"cnumpy.core.multiarray\n_reconstruct" in data
    used = {code.name for code, _, _ in pickletools.genops(data)}
    assert "SHORT_BINSTRING" in used
    assert not used & {"BINUNICODE", "SHORT_BINBYTES", "FRAME"}


def test_what_was_packed_is_read(official, serve, tmp_path):
    data = official.bytes()
    server = serve(data)
    archive = official.described(data, server.url)
    arrays, names = load_archive(archive, tmp_path / "new" / "folder")
    assert names == tuple(CLASSES)
    for part, members in (("train", archive.train), ("test", archive.test)):
        np.testing.assert_array_equal(arrays[f"{part}_images"], np.concatenate([official.images[m] for m in members]))
        assert arrays[f"{part}_labels"].tolist() == [label for m in members for label in official.labels[m]]
    assert os.listdir(tmp_path / "new" / "folder") == ["tiny.tar.gz"]
    again, _ = load_archive(archive, tmp_path / "new" / "folder")
    assert len(server.requests) == 1
    np.testing.assert_array_equal(again["test_images"], arrays["test_images"])


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_is_gone_on_with(cifar10, serve, tmp_path, ranges):
    data = cifar10.bytes()
    server = serve(data)
    server.ranges = ranges
    (tmp_path / ".tiny.tar.gz.part").write_bytes(data[:1000])
    path = fetch(cifar10.described(data, server.url), tmp_path)
    assert server.requests == ["bytes=1000-"]
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["tiny.tar.gz"]


def test_broken_connections_are_taken_up_again(cifar10, serve, tmp_path):
    data = cifar10.bytes()
    server = serve(data)
    server.breaks = [700, 300]
    assert fetch(cifar10.described(data, server.url), tmp_path).read_bytes() == data
    assert server.requests == [None, "bytes=700-", "bytes=1000-"]


def test_what_a_broken_download_leaves_serves_the_next_call(cifar10, serve, tmp_path):
    data = cifar10.bytes()
    server = serve(data)
    archive = cifar10.described(data, server.url)
    server.breaks = [500, 0]
    with pytest.raises(ValueError, match="cannot be downloaded"):
        fetch(archive, tmp_path)
    assert not (tmp_path / "tiny.tar.gz").exists()
    assert fetch(archive, tmp_path).read_bytes() == data
    assert server.requests[-1] == "bytes=500-"


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * 10**6], ids=["of another file", "too long"])
def test_a_wrong_part_is_thrown_away(cifar10, serve, tmp_path, part):
    data = cifar10.bytes()
    assert 1000 < len(data) < 10**6
    (tmp_path / ".tiny.tar.gz.part").write_bytes(part)
    assert fetch(cifar10.described(data, serve(data).url), tmp_path).read_bytes() == data


def test_a_download_with_a_wrong_checksum_is_not_kept(cifar10, serve, tmp_path):
    data = cifar10.bytes()
    server = serve(data[:-1] + bytes([data[-1] ^ 1]))
    archive = cifar10.described(data, server.url)
    with pytest.raises(ValueError, match=r"tiny\.tar\.gz: .* has md5 .*, expected"):
        load_archive(archive, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", ["md5", "sha256"])
def test_every_checksum_counts(cifar10, tmp_path, wrong):
    archive = cifar10.placed(tmp_path)
    checksums = tuple((name, "0" * len(value) if name == wrong else value) for name, value in archive.checksums)
    before = (tmp_path / "tiny.tar.gz").read_bytes()
    with pytest.raises(ValueError, match=rf"tiny\.tar\.gz: has {wrong} .* remove it"):
        load_archive(dataclasses.replace(archive, checksums=checksums), tmp_path)
    assert (tmp_path / "tiny.tar.gz").read_bytes() == before


def test_without_a_connection_the_message_helps(cifar10, serve, tmp_path):
    archive = cifar10.described(b"")
    with pytest.raises(ValueError) as caught:
        load_archive(archive, tmp_path)
    assert archive.url in str(caught.value)
    assert str(tmp_path / "tiny.tar.gz") in str(caught.value)
    assert not list(tmp_path.iterdir())
    missing = serve(b"").url.replace("tiny", "other")
    with pytest.raises(ValueError, match="404"):
        load_archive(dataclasses.replace(archive, url=missing), tmp_path)


def test_a_folder_that_cannot_be_made(cifar10, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be read or written"):
        load_archive(cifar10.described(b""), tmp_path / "file" / "folder")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(cifar10, tmp_path, share):
    data = cifar10.bytes()
    data = data[: int(share * len(data))]
    (tmp_path / "tiny.tar.gz").write_bytes(data)
    with pytest.raises(ValueError, match=r"tiny\.tar\.gz: "):
        load_archive(cifar10.described(data), tmp_path)


class Call:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_a_command_is_refused(cifar10, tmp_path):
    mark = tmp_path / "ran"
    attack = pickle.dumps(Call(os.system, f"touch '{mark}'"), protocol=2)
    pickle.loads(attack)
    assert mark.exists(), "the attack works on an ordinary reader"
    mark.unlink()
    cifar10.members[ARCHIVES["cifar10"].train[2]] = attack
    archive = cifar10.placed(tmp_path)
    with pytest.raises(ValueError, match=r"data_batch_3 is refused .*system"):
        load_archive(archive, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        Call(eval, "1"),
        Call(getattr, "text", "upper"),
        Call(np.load, "some.npy"),
        {"data": Call(np.fromstring, "1", float)},
        Call(io.open, "/dev/null"),
    ],
    ids=["eval", "getattr", "load", "inside a dict", "open"],
)
def test_other_names_are_refused(cifar10, tmp_path, content):
    cifar10.members[ARCHIVES["cifar10"].names] = pickle.dumps(content, protocol=2)
    with pytest.raises(ValueError, match=r"batches\.meta is refused .*asks for"):
        load_archive(cifar10.placed(tmp_path), tmp_path)


def spoiled(key, value):
    return lambda content: {**content, key: value}


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("test_batch", None, "has no member cifar-10-batches-py/test_batch"),
        ("test_batch", lambda content: b"", "test_batch is refused"),
        ("test_batch", lambda content: python2_pickle(content)[:-200], "test_batch is refused"),
        ("test_batch", lambda content: [content], "holds no dict but a list"),
        ("test_batch", spoiled("data", [1, 2]), "no uint8 array data"),
        ("test_batch", spoiled("data", np.zeros((PER_BATCH, 3072))), "no uint8 array data"),
        ("test_batch", spoiled("data", np.zeros((PER_BATCH, 3071), np.uint8)), "no uint8 array data"),
        ("test_batch", spoiled("data", np.zeros((0, 3072), np.uint8)), "no uint8 array data"),
        ("test_batch", spoiled("labels", [0] * (PER_BATCH - 1)), f"no list labels of {PER_BATCH}"),
        ("test_batch", spoiled("labels", ["cat"] * PER_BATCH), f"no list labels of {PER_BATCH}"),
        ("test_batch", spoiled("labels", [0] * (PER_BATCH - 1) + [3]), r"must lie in \[0, 2\]"),
        ("test_batch", spoiled("labels", [-1] * PER_BATCH), r"must lie in \[0, 2\]"),
        ("batches.meta", spoiled("label_names", ["cat"]), "at least 2 names"),
        ("batches.meta", spoiled("label_names", None), "at least 2 names"),
    ],
)
def test_contents_of_another_form_are_refused(cifar10, tmp_path, member, change, message):
    member = f"cifar-10-batches-py/{member}"
    content = cifar10.members.pop(member)
    if change is not None:
        cifar10.members[member] = change(content)
    archive = cifar10.placed(tmp_path)
    assert isinstance(archive, Archive)
    with pytest.raises(ValueError, match=message):
        read_archive(archive, tmp_path / "tiny.tar.gz")

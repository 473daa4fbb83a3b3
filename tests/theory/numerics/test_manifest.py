"""The manifest of a run folder: what it notices, what it does not know, and that it is right at every moment."""

import json
import os
import random
import stat

import pytest

from theory.numerics import manifest
from theory.numerics.manifest import (
    MANIFEST,
    MUTEX,
    adopt,
    begin_manifest,
    discrepancies,
    has_manifest,
    read_manifest,
    require_unchanged,
    settle,
)
from theory.numerics.part_files import new_part, write_part
from theory.numerics.whole_files import DamagedFileError, read_json, replacing, write_all, write_json, write_whole


@pytest.fixture
def folder(tmp_path):
    begin_manifest(tmp_path)
    write_json(tmp_path / "config.json", {"seed": 1})
    write_whole(tmp_path / "rows.csv", "cell\n0\n")
    return tmp_path


def test_every_file_that_is_written_is_entered(folder):
    with replacing(folder / "figure.png") as temporary:
        temporary.write_bytes(b"png")
    (folder / "parts").mkdir()
    write_json(folder / "parts" / "floor.json", {"a": 1})
    write_whole(folder / "checkpoint.pt", b"has its own checksums")
    settle(folder)
    files = read_manifest(folder)
    assert set(files) == {"config.json", "rows.csv", "figure.png", "parts/floor.json"}
    assert all(len(hashes) == 1 for hashes in files.values())
    # printf png | sha256sum
    assert files["figure.png"] == ["8f8cbb7dcf46e0bc7d53265749a6c17d116093a6ba95e442764060c76fd4a86c"]
    assert discrepancies(folder) == manifest.Discrepancies()


def test_what_was_edited_removed_or_added_is_named(folder):
    (folder / "rows.csv").write_text("cell\n1\n")
    (folder / "config.json").unlink()
    for name in ("more.csv", "notes.txt", ".hidden.csv"):
        (folder / name).write_text("mine")
    found = discrepancies(folder)
    assert (found.changed, found.missing, found.foreign) == (("rows.csv",), ("config.json",), ("more.csv",))
    for path in (folder / "rows.csv", folder / "more.csv"):
        with pytest.raises(DamagedFileError, match=path.name):
            require_unchanged(path, path.read_bytes())
    settle(folder)
    assert discrepancies(folder) == found, "an edit is not made good by settling"
    adopt(folder)
    assert discrepancies(folder) == manifest.Discrepancies()


def test_a_bit_anywhere_in_the_manifest_is_noticed(folder):
    path, rng = folder / MANIFEST, random.Random(0)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(DamagedFileError, match=r"manifest\.json"):
            read_manifest(folder)
    path.write_bytes(whole)
    # Written with care, but for its own hash.
    content = json.loads(whole)
    content["files"]["rows.csv"] = content["files"]["config.json"]
    path.write_text(json.dumps(content, indent=1) + "\n")
    with pytest.raises(DamagedFileError, match="edited or damaged"):
        read_manifest(folder)


def test_old_and_new_file_are_right_while_one_replaces_the_other(folder, monkeypatch):
    """Two files at once, and a process that dies before either, or between them."""
    true, died = os.replace, []

    def dying(source, target):
        if target.name == died[0]:
            raise KeyboardInterrupt
        true(source, target)

    for name, expected in (("new.csv", (None, "cell\n0\n")), ("rows.csv", ("x\n1\n", "cell\n0\n"))):
        died[:] = [name]
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            with pytest.raises(KeyboardInterrupt):
                write_all({folder / "new.csv": "x\n1\n", folder / "rows.csv": "cell\n7\n"})
        found = tuple((folder / each).read_text() if (folder / each).exists() else None
                      for each in ("new.csv", "rows.csv"))  # fmt: skip
        assert found == expected
        assert discrepancies(folder) == manifest.Discrepancies()
    # What the dead process never wrote is no content that the file may have later.
    settle(folder)
    (folder / "rows.csv").write_text("cell\n7\n")
    assert discrepancies(folder).changed == ("rows.csv",)


def test_earlier_content_is_not_accepted_for_ever(folder):
    earlier = (folder / "rows.csv").read_bytes()
    write_whole(folder / "rows.csv", "cell\n0\n1\n")
    write_whole(folder / "totals.csv", "n\n2\n")
    (folder / "rows.csv").write_bytes(earlier)
    assert discrepancies(folder).changed == ("rows.csv",)


def test_folders_of_other_programs_are_left_alone(tmp_path):
    (tmp_path / MANIFEST).write_text('{"name": "a web page"}')
    write_json(tmp_path / "config.json", {"a": 1})
    assert read_json(tmp_path / "config.json") == {"a": 1}
    assert not has_manifest(tmp_path)
    assert (tmp_path / MANIFEST).read_text() == '{"name": "a web page"}'


def test_modes_follow_the_umask(tmp_path):
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            begin_manifest(tmp_path)
            write_whole(tmp_path / f"{mask}.csv", "a\n1\n")
            with replacing(tmp_path / f"{mask}.png") as temporary:
                temporary.write_bytes(b"x")
        finally:
            os.umask(before)
        for name in (f"{mask}.csv", f"{mask}.png", MANIFEST):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode, (name, oct(mask))


def test_parts_are_beside_their_place_and_leave_nothing_when_they_fail(tmp_path, monkeypatch):
    part = write_part(tmp_path / "a.csv", b"1")
    assert (part.parent, part.read_bytes()) == (tmp_path, b"1")
    assert new_part(tmp_path / "a.csv") != part

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        write_part(tmp_path / "a.csv", b"1")
    assert set(tmp_path.iterdir()) == before
    with pytest.raises(OSError, match=r"nowhere.a\.csv"):
        write_whole(tmp_path / "nowhere" / "a.csv", "1")
    assert not (tmp_path / MUTEX).exists()


def test_folders_in_folders_are_taken_with_manifests_of_their_own(tmp_path):
    (tmp_path / "tasks" / "a").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    for name in ("config.json", "pictures/p.png", "tasks/a/rows.csv"):
        (tmp_path / name).write_text("x")
    adopt(tmp_path)
    assert set(read_manifest(tmp_path)) == {"config.json", "pictures/p.png"}
    assert set(read_manifest(tmp_path / "tasks" / "a")) == {"rows.csv"}
    assert discrepancies(tmp_path) == manifest.Discrepancies()
    (tmp_path / "tasks" / "a" / MANIFEST).unlink()
    assert discrepancies(tmp_path).foreign == ("tasks/a/rows.csv",)

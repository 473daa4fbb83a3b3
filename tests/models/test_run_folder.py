"""Run folders: new ones, those that go on, and those of another run."""

import errno
import json
import multiprocessing
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from models.environment import ROOMS, code_digest
from models.run_folder import differing, open_run_folder, whole_folder, with_defaults
from synthetic.integrity.folders import State, look_at
from theory.numerics.locks import LOCK
from theory.numerics.manifest import MANIFEST, MUTEX
from theory.numerics.whole_files import PART, DamagedFileError, write_whole

CPU = torch.device("cpu")
CONFIG = {"seed": 1, "head": {"kind": "mlp", "width": 8}}


def test_differences_have_dotted_names_and_both_values():
    other = {"seed": 1, "head": {"kind": "linear", "width": 8}, "epochs": 3}
    assert differing(CONFIG, other) == {"head.kind": ("mlp", "linear"), "epochs": (None, 3)}
    assert differing(CONFIG, CONFIG) == {}
    assert differing({"head": None}, CONFIG) == {"seed": (None, 1), "head": (None, CONFIG["head"])}
    assert list(differing({"b": 1, "a": 1}, {"b": 2, "a": 2})) == ["b", "a"]


@dataclass(frozen=True)
class Inner:
    width: int
    deep: bool = False


@dataclass(frozen=True)
class Settings:
    inner: Inner
    seed: int = 0
    sizes: tuple[int, ...] = (1, 2)


def test_what_is_stored_has_the_defaults_of_what_came_later():
    now = Settings(Inner(3, True), 5, (7,))
    assert with_defaults({"inner": {"width": 2}}, now) == {
        "inner": {"width": 2, "deep": False}, "seed": 0, "sizes": [1, 2]
    }  # fmt: skip
    whole = {"inner": {"width": 2, "deep": None}, "seed": 1, "sizes": [], "gone": 1}
    assert with_defaults(whole, now) == whole
    for stored in (None, [1], {"inner": None, "seed": 1, "sizes": []}):
        assert with_defaults(stored, now) == stored
    assert with_defaults({}, now) == {"seed": 0, "sizes": [1, 2]}, "what has no default is missing"
    assert with_defaults({"a": 1}, {"a": 1, "b": 2}) == {"a": 1}


def test_every_start_is_kept(tmp_path):
    path = tmp_path / "a" / "b"
    with open_run_folder("x", path, False, CONFIG, CPU) as folder:
        assert folder == path
    (path / ".rows.csv.x.part").write_text("left by a killed run")
    with open_run_folder("x", path, True, dict(CONFIG), CPU) as folder:
        assert folder == path
    assert json.loads((path / "config.json").read_text()) == CONFIG
    assert len(json.loads((path / "environment.json").read_text())["runs"]) == 2
    visible = {each.name for each in path.iterdir() if each.name not in (LOCK, MUTEX)}
    assert visible == {"config.json", "environment.json", "manifest.json"}


def test_a_folder_without_a_name_has_the_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_run_folder("moco", None, False, CONFIG, CPU) as folder:
        assert folder.parent.name == "runs"
        assert folder.name.startswith("moco-20")


def test_another_run_is_not_continued(tmp_path):
    open_run_folder("x", tmp_path, False, CONFIG, CPU, "tier.json")
    before = (tmp_path / "environment.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"^--resume .*: the run there has another head\.width 8 \(now 9\), seed 1 \(now 2\)$"
    ):
        open_run_folder("x", tmp_path, True, {"seed": 2, "head": {"kind": "mlp", "width": 9}}, CPU, "tier.json")
    with pytest.raises(ValueError, match="has another tier"):
        open_run_folder("x", tmp_path, True, CONFIG, CPU, "tier.json", lambda stored, config: ["tier"])
    open_run_folder("x", tmp_path, True, {"seed": 2}, CPU, "tier.json", lambda stored, config: [])
    assert json.loads((tmp_path / "tier.json").read_text()) == CONFIG
    assert (tmp_path / "environment.json").read_bytes() != before


@pytest.mark.parametrize("content", ["", "[1]", '{"runs": 3}', None])
def test_a_damaged_folder_is_not_continued(tmp_path, content):
    open_run_folder("x", tmp_path / "a", False, CONFIG, CPU)
    path = tmp_path / "a" / "environment.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(
        DamagedFileError, match=rf"^--resume.*environment\.json: {'missing.*no run' if content is None else 'edited'}"
    ):
        open_run_folder("x", tmp_path / "a", True, CONFIG, CPU)


def test_folders_in_use_and_none(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match="exists and is not an empty folder"):
            open_run_folder("x", path, False, CONFIG, CPU)
    with pytest.raises(ValueError, match="--resume: give the run folder"):
        open_run_folder("x", None, True, CONFIG, CPU)


# --- born whole, one process at a time --------------------------------------------------------------------------------


def opened(path, config=CONFIG, resume=False, **how):
    with open_run_folder("x", path, resume, config, CPU, **how) as folder:
        return folder


def test_a_new_folder_is_renamed_into_its_place_when_it_is_whole(tmp_path, monkeypatch):
    seen = []
    true = Path.rename

    def rename(self, target):
        seen.append((self.parent, self.name.startswith(".run."), {each.name for each in self.iterdir()}))
        return true(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    opened(tmp_path / "run")
    whole = {"config.json", "environment.json", MANIFEST, LOCK, MUTEX}
    assert seen == [(tmp_path, True, whole)]
    assert {each.name for each in tmp_path.iterdir()} == {"run"}


def test_what_a_killed_start_left_aside_is_removed_once_it_is_old(tmp_path):
    for name in (".run.123.new", ".other.123.new", ".run.new.txt"):
        (tmp_path / name).mkdir()
    opened(tmp_path / "run")
    assert (tmp_path / ".run.123.new").exists(), "perhaps somebody is just beginning"
    for name in (".run.123.new", ".other.123.new", ".run.new.txt"):
        os.utime(tmp_path / name, (0, 0))
    with pytest.raises(ValueError, match="not an empty folder"):
        opened(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    opened(tmp_path / "run")
    assert {each.name for each in tmp_path.iterdir()} == {"run", ".other.123.new", ".run.new.txt"}


def test_an_empty_folder_keeps_its_mode_and_a_hidden_file_is_no_emptiness(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    opened(tmp_path / "run")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / ".git").write_text("")
    with pytest.raises(ValueError, match="not an empty folder"):
        opened(tmp_path / "git")
    assert [each.name for each in (tmp_path / "git").iterdir() if each.name != LOCK] == [".git"]
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    opened(tmp_path / "link")
    assert (tmp_path / "elsewhere" / MANIFEST).exists()


def test_modes_of_new_folders_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        opened(tmp_path / "run")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "run" / "config.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("where", ["/proc/nowhere/run", "file/run", "n" * 300])
def test_a_folder_that_cannot_be_made_is_an_argument_that_is_refused(tmp_path, where):
    (tmp_path / "file").write_text("")
    path = Path(where) if where.startswith("/") else tmp_path / where
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"^--(out|resume)"):
            opened(path, resume=resume)
    assert {each.name for each in tmp_path.iterdir()} == {"file"}


def test_a_full_disk_is_no_argument(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        opened(tmp_path / "run")
    assert not isinstance(raised.value, ValueError)
    assert not list(tmp_path.iterdir()), "nothing is left"


@pytest.mark.parametrize("out", ["", "."])
def test_an_empty_path_is_refused_by_name(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^--out: is empty, or the current folder"):
        opened(Path(out))
    assert not list(tmp_path.iterdir())
    opened(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    opened(Path("."), resume=True)


def hold(path, told):
    """What another process does: it begins a run, and is killed in the midst of it."""
    with open_run_folder("x", path, False, {"seed": 1}, CPU):
        told.set()
        time.sleep(600)


def test_two_processes_do_not_use_one_folder(tmp_path):
    run, forked = tmp_path / "run", multiprocessing.get_context("fork")
    told = forked.Event()
    other = forked.Process(target=hold, args=(run, told))
    other.start()
    try:
        assert told.wait(60)
        starts = (run / "environment.json").read_bytes()
        with pytest.raises(ValueError, match=rf"^--out {run}: in use by process {other.pid} \("):
            opened(run, {"seed": 1}, resume=True)
        assert look_at(run).state is State.IN_USE
        assert f"in use by process {other.pid}" in look_at(run).words
        assert (run / "environment.json").read_bytes() == starts
    finally:
        other.kill()
        other.join()
    opened(run, {"seed": 1}, resume=True)
    assert look_at(run).state is State.WHOLE


# --- other versions ---------------------------------------------------------------------------------------------------


def test_results_of_another_version_are_refused_unless_accepted_and_that_is_kept(tmp_path, monkeypatch):
    now = {"code": "a" * 64, "numpy": "2.0", "scipy": "1.0", "torch": "2.6+cpu", "python": "3.11"}
    monkeypatch.setattr("models.run_folder.environment", lambda device: dict(now))
    opened(tmp_path / "run")
    now |= {"torch": "2.6+cu128", "python": "3.13"}
    opened(tmp_path / "run", resume=True)
    now |= {"code": "b" * 64, "numpy": "2.1"}
    before = (tmp_path / "run" / "environment.json").read_bytes()
    told = r"another version: code a{12} \(now b{12}\), numpy 2\.0 \(now 2\.1\); .* with --accept-other-version"
    with pytest.raises(ValueError, match=told):
        opened(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "environment.json").read_bytes() == before
    opened(tmp_path / "run", resume=True, accept_other_version=True)
    last = json.loads((tmp_path / "run" / "environment.json").read_text())["runs"][-1]
    assert last["accepted_other_version"] == {"code": "a" * 64, "numpy": "2.0"}
    # It is this version's run now.
    opened(tmp_path / "run", resume=True)


def test_the_code_is_told_by_its_source(tmp_path):
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("x = 1\n")
    code_digest.cache_clear()
    found = {code_digest(tmp_path)}
    for change in (
        lambda: (tmp_path / "theory" / "a.py").write_text("x = 2\n"),
        lambda: (tmp_path / "models" / "a.py").rename(tmp_path / "models" / "b.py"),
        lambda: (tmp_path / "synthetic" / "c.py").write_text(""),
    ):
        change()
        code_digest.cache_clear()
        found.add(code_digest(tmp_path))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.py").write_text("")
    code_digest.cache_clear()
    found.add(code_digest(tmp_path))
    assert len(found) == 4
    code_digest.cache_clear()
    assert code_digest() == code_digest(Path(__file__).parents[2])


def test_a_run_without_a_manifest_is_taken_as_it_is_only_when_asked(tmp_path):
    opened(tmp_path / "run")
    (tmp_path / "run" / MANIFEST).unlink()
    with pytest.raises(ValueError, match="an earlier version wrote it, without a manifest"):
        opened(tmp_path / "run", resume=True)
    opened(tmp_path / "run", resume=True, accept_other_version=True)
    (tmp_path / "run" / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ValueError, match=r"config\.json: edited"):
        opened(tmp_path / "run", resume=True, accept_other_version=True)


def test_whole_folders_replace_only_their_own_kind(tmp_path):
    place = tmp_path / "claim"
    for content in ("a\n1\n", "a\n2\n"):
        with whole_folder(place) as made:
            write_whole(made / "t.csv", content)
        assert (place / "t.csv").read_text() == content
        assert look_at(place).state is State.WHOLE
    with pytest.raises(KeyError), whole_folder(place) as made:
        made.joinpath("t.csv").write_text({}["fails"])
    assert (place / "t.csv").read_text() == "a\n2\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not a folder of this run; move it away"), whole_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


class KilledError(BaseException):
    """Stands for a process that ends where it is."""


@pytest.mark.parametrize("damage", [None, "cut off", "gone"])
def test_a_whole_folder_that_was_stopped_between_two_names_is_put_in_its_place(tmp_path, monkeypatch, damage):
    """The old one is moved away and the new one not yet there: the new one takes its place, if it is whole, before
    either is removed."""
    place, true = tmp_path / "claim", Path.rename
    with whole_folder(place) as made:
        write_whole(made / "t.csv", "a\n1\n")

    def rename(self, target):
        if self.name.endswith(f".new{PART}"):
            raise KilledError
        return true(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KilledError), whole_folder(place) as made:
        write_whole(made / "t.csv", "a\n2\n")
    monkeypatch.undo()
    assert not place.exists()
    new = tmp_path / f".claim.new{PART}"
    if damage == "cut off":
        (new / "t.csv").write_text("a\n")
    elif damage == "gone":
        shutil.rmtree(new)
    with pytest.raises(KilledError), whole_folder(place):
        raise KilledError
    assert not (tmp_path / f".claim.old{PART}").exists()
    assert place.exists() == (damage is None)
    if damage is None:
        assert (place / "t.csv").read_text() == "a\n2\n"
        assert look_at(place).state is State.WHOLE


@pytest.mark.parametrize("removed", [(), ("t.csv",), (MANIFEST,)])
def test_an_old_folder_that_was_not_wholly_removed_does_not_come_back(tmp_path, removed):
    """Nor what was left of it, where its successor was deleted and the next one fails."""
    place, old = tmp_path / "claim", tmp_path / f".claim.old{PART}"
    with whole_folder(old) as made:
        write_whole(made / "t.csv", "a\n1\n")
    for name in removed:
        (old / name).unlink()
    with pytest.raises(KilledError), whole_folder(place):
        raise KilledError
    assert not place.exists()
    assert not old.exists()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_a_whole_folder_is_refused_by_name(tmp_path, dangling):
    target, link = tmp_path / "elsewhere", tmp_path / "claim"
    with whole_folder(target) as made:
        write_whole(made / "t.csv", "a\n1\n")
    link.symlink_to(tmp_path / "nowhere" if dangling else target)
    with pytest.raises(ValueError, match=r"claim: is a link, .* remove it"), whole_folder(link):
        pass
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["claim", "elsewhere"]
    assert (target / "t.csv").read_text() == "a\n1\n"

"""Run folders: new ones, those that go on, and those of another run."""

import json

import pytest
import torch

from models.run_folder import differing, open_run_folder
from theory.numerics.locks import LOCK
from theory.numerics.manifest import MUTEX
from theory.numerics.whole_files import DamagedFileError

CPU = torch.device("cpu")
CONFIG = {"seed": 1, "head": {"kind": "mlp", "width": 8}}


def test_differences_have_dotted_names_and_both_values():
    other = {"seed": 1, "head": {"kind": "linear", "width": 8}, "epochs": 3}
    assert differing(CONFIG, other) == {"head.kind": ("mlp", "linear"), "epochs": (None, 3)}
    assert differing(CONFIG, CONFIG) == {}
    assert differing({"head": None}, CONFIG) == {"seed": (None, 1), "head": (None, CONFIG["head"])}
    assert list(differing({"b": 1, "a": 1}, {"b": 2, "a": 2})) == ["b", "a"]


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

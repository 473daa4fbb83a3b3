"""python -m synthetic.verify: what is whole, what is not and why, and verdicts that are not those of their rows."""

import json
import random
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

from figures.catalogue import draw_all
from models.advisor.config import AdvisorConfig
from models.cifar.training.config import TrainConfig
from models.run_folder import open_run_folder
from synthetic.head_costs import CostSettings
from synthetic.integrity.folders import Found, State, kind_of, look_at
from synthetic.integrity.kinds import KINDS
from synthetic.over_fusion import FusionSettings
from synthetic.phase_diagram import PhaseSettings
from synthetic.runs.stored_verdicts import verdict_columns, verdict_of, verdict_of_rows
from synthetic.sharpening_map import MapSettings
from synthetic.sweep_batch import BatchSettings
from synthetic.sweeps.noise_grid import SweepSettings
from synthetic.train_stack import TrainSettings
from synthetic.verify import main
from tests.command_lines import status_of
from tests.crashes import Disk, KilledError
from tests.small_runs import RUNS
from theory.judging.verdicts import Status, Verdict
from theory.numerics.manifest import MANIFEST, adopt, settle
from theory.numerics.whole_files import write_json

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Without the audit of the plan, which takes most of a small sweep's time and writes nothing."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthetic.sweep_noise.audit_plan", lambda *plan: [])
        RUNS["sweep_noise"](folder, False)
    return folder


@pytest.fixture
def run(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "run")


def said(capsys, *folders):
    status = status_of(main, [str(each) for each in folders])
    return status, capsys.readouterr().out


def test_a_whole_run_is_said_to_be_whole(run, capsys):
    rows = len((run / "rows.csv").read_text().splitlines()) - 1
    assert said(capsys, run, run) == (
        0, 2 * f"{run}: whole, finished: noise sweep, {rows} rows; its verdicts follow from the rows: "
               f"{statuses(run)}\n",
    )  # fmt: skip


def statuses(run):
    found = [verdict["status"] for verdict in json.loads((run / "verdicts.json").read_text())]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found))


def swap_rows(path):
    first, second, third, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, third, second, *rest]))


def of_another_run(path):
    path.write_text(path.read_text().replace("\n0,1,", "\n0,2,", 1))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("rows.csv", swap_rows, "rows.csv: edited or damaged since the run wrote it"),
        ("layers.csv", of_another_run, "layers.csv: edited"),
        ("config.json", lambda path: path.write_text(path.read_text().replace("20", "21")), "config.json: edited"),
        ("environment.json", lambda path: path.write_text("{}"), "environment.json: edited"),
        ("verdicts.json", lambda path: path.unlink(), "verdicts.json: missing"),
        ("denoising.csv", lambda path: path.write_text("x\n1\n"), "denoising.csv: not of this run"),
        (MANIFEST, lambda path: path.write_text(path.read_text()[:-2]), "manifest.json: "),
    ],
)
def test_what_was_changed_is_named_here_and_refused_by_resume(run, capsys, name, damage, says):
    damage(run / name)
    status, out = said(capsys, run)
    assert status == 6
    assert out.startswith(f"{run}: NOT WHOLE: {'' if name != MANIFEST else run}")
    assert says in out
    if name != "verdicts.json":
        with pytest.raises(ValueError, match=rf"^--resume:? .*{name}: "):
            open_run_folder("x", run, True, {}, CPU)


def edited(run, name, change):
    """A file that was changed by somebody who made the manifest agree."""
    content = json.loads((run / name).read_text()) if name.endswith(".json") else (run / name).read_text()
    content = change(content)
    (run / name).write_text(json.dumps(content) if name.endswith(".json") else content)
    adopt(run)


def test_verdicts_that_are_not_those_of_the_rows_are_noticed(run, capsys):
    edited(run, "verdicts.json", lambda found: [{**found[0], "status": "VIOLATED"}, *found[1:]])
    status, out = said(capsys, run)
    assert status == 6
    assert "NOT WHOLE: verdicts.json: Theorem 1 is VIOLATED, and by the rows HOLDS" in out
    edited(run, "verdicts.json", lambda found: found[1:])
    assert "verdicts.json: Theorem 1 is not there, and by the rows HOLDS" in said(capsys, run)[1]


def test_tables_and_complaints_that_do_not_follow_are_noticed(run, capsys):
    edited(
        run, "boundaries.csv", lambda text: text.replace("fusion,", "fusion,1").replace("separation,", "separation,1")
    )
    assert said(capsys, run) == (6, f"{run}: NOT WHOLE: boundaries.csv: is not what follows from the rows\n")


def test_of_runs_of_another_version_its_rules_are_named_too(run, capsys):
    """An earlier one counted trainings that diverged as 0 in breakdowns.csv."""
    edited(run, "boundaries.csv", lambda text: text.replace("separation,", "separation,1"))
    edited(run, "environment.json", lambda kept: {"runs": [{**kept["runs"][0], "code": "of before"}]})
    assert said(capsys, run) == (
        6, f"{run}: NOT WHOLE: boundaries.csv: is not what follows from the rows; another version of the code took "
           "part in the run, and its rules may have been others\n",
    )  # fmt: skip


def test_an_audit_that_lost_its_complaints_is_noticed(run, capsys):
    edited(run, "rows.csv", lambda text: text.replace(",passed,", ",alpha is another,", 1))
    assert "audit.json: has none of the rows' complaints" in said(capsys, run)[1]


def test_a_run_whose_own_audit_complains_is_not_whole(run, capsys):
    edited(run, "rows.csv", lambda text: text.replace(",passed,", ",alpha is another,", 1))
    edited(run, "audit.json", lambda kept: {**kept, "complaints": ["cell 3: alpha is another"]})
    status, out = said(capsys, run)
    assert (status, "NOT WHOLE: audit.json: cell 3: alpha is another" in out) == (6, True)


def test_folders_that_cannot_be_judged(run, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text('{"name": "of another program"}')
    for folder in (tmp_path / "nowhere", tmp_path / "other", run / "rows.csv"):
        status, out = said(capsys, folder)
        assert (status, out.startswith(f"{folder}: NO RUN FOLDER: ")) == (2, True)
    assert said(capsys, run, tmp_path / "nowhere")[0] == 2
    assert status_of(main, []) == 2
    (run / "rows.csv").unlink()
    assert said(capsys, tmp_path / "nowhere", run)[0] == 6


def test_what_is_inside_must_be_whole_too(run, capsys):
    for place in ("own", "tasks/inner"):
        with open_run_folder("x", run / place, False, {"seed": 1}, CPU):
            pass
    assert "; so are 2 folders in it" in said(capsys, run)[1]
    write_json(run / "tasks" / "inner" / "config.json", {"seed": 2})
    assert said(capsys, run)[0] == 0, "written by this toolkit"
    inner = run / "tasks" / "inner" / MANIFEST
    whole = inner.read_text()
    inner.write_text(whole.replace("contrastive", "contrastivE"))
    assert "NOT WHOLE: tasks/inner/config.json, " in said(capsys, run)[1]
    inner.write_text(whole)
    assert said(capsys, run)[0] == 0
    (run / "tasks" / "inner" / "config.json").write_text("{}")
    assert said(capsys, run) == (
        6,
        f"{run}: NOT WHOLE: tasks/inner: config.json: edited or damaged since the run wrote it\n",
    )


def test_a_run_that_was_stopped_is_whole_and_not_finished(tmp_path, monkeypatch, capsys):
    with Disk(60).watched(monkeypatch), pytest.raises(KilledError):
        RUNS["over_fusion"](tmp_path / "run", False)
    capsys.readouterr()
    assert said(capsys, tmp_path / "run") == (0, f"{tmp_path / 'run'}: whole, not finished: over-fusion, 1 row\n")


SETTINGS = {
    "noise sweep": SweepSettings(), "batch sweep": BatchSettings(), "phase diagram": PhaseSettings(),
    "trained stacks": TrainSettings(), "over-fusion": FusionSettings(), "sharpening map": MapSettings(),
    "head costs": CostSettings(), "training on images": TrainConfig(),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_kinds_are_told_by_their_settings(tmp_path, name):
    write_json(tmp_path / "config.json", asdict(SETTINGS[name]))
    kind, config = kind_of(tmp_path)
    assert (kind.name, len(config)) == (name, len(asdict(SETTINGS[name])))


def test_a_damaged_checkpoint_is_noticed_in_a_training_that_is_not_finished_too(tmp_path):
    write_json(tmp_path / "config.json", asdict(TrainConfig()))
    adopt(tmp_path)
    assert look_at(tmp_path) == Found(State.WHOLE, "whole, not finished: training on images")
    (tmp_path / "checkpoint.pt").write_bytes(b"PK damaged")
    assert "checkpoint.pt: not a checkpoint, or a damaged one" in look_at(tmp_path).words


def test_other_kinds(tmp_path):
    advice = {each.name: None for each in fields(AdvisorConfig)} | {"files": {}, "strengths": []}
    write_json(tmp_path / "config.json", advice)
    assert kind_of(tmp_path)[0].name == "advice"
    write_json(tmp_path / "config.json", {"seed": 1})
    assert kind_of(tmp_path) is None
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_every_command_that_makes_run_folders_has_its_kind():
    makes, none = set(), {"synthetic.runs.records", "models.run_folder"}
    for path in (path for room in ("synthetic", "models", "paper_checks") for path in (ROOT / room).rglob("*.py")):
        if re.search(r"\b(RunRecorder|open_run_folder)\(", path.read_text()):
            makes.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    assert len(makes) > 14
    assert makes - none == {kind.command for kind in KINDS}


def test_verdicts_read_back_from_columns():
    held = Verdict("Theorem 4", Status.HOLDS, 0.5, 0.75, 0.25, 1 / 3, 7, 8, 2)
    broken = Verdict("Theorem 4", Status.VIOLATED, 1.5, 0.75, -0.75, -0.5, 3, 4, 1, "violated in 1 cases")
    rows = [{"cell": i, **verdict_columns("theorem_4", each)} for i, each in enumerate((held, broken, None))]
    assert str(verdict_of(rows[1], "theorem_4", "Theorem 4")) == str(broken)
    assert verdict_of(rows[2], "theorem_4", "Theorem 4") is None
    found = verdict_of_rows(rows, "theorem_4", "Theorem 4")
    assert (found.status, found.measured, found.applicable, found.cases) == (Status.VIOLATED, 1.5, 10, 12)
    with pytest.raises(ValueError, match="an earlier version's, without the column"):
        verdict_of({"theorem_4": "HOLDS"}, "theorem_4", "Theorem 4")


# --- bit flips --------------------------------------------------------------------------------------------------------


def flipped(folder, rng):
    """One bit of one of the folder's files, chosen among all their bits; its file and what stood there."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    place = rng.randrange(sum(path.stat().st_size for path in files))
    for path in files:
        if place < path.stat().st_size:
            break
        place -= path.stat().st_size
    before = path.read_bytes()
    after = bytearray(before)
    after[place] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(after))
    return path, before


def flips(folder, count, seed):
    """How many of so many flips are noticed by verify and by --resume; all others must be harmless."""
    rng, noticed, refused = random.Random(seed), 0, 0
    assert look_at(folder).state is State.WHOLE
    config = json.loads(next(folder / name for name in ("config.json", "tier.json") if (folder / name).exists())
                        .read_text())  # fmt: skip
    for _ in range(count):
        path, before = flipped(folder, rng)
        found = look_at(folder).state
        try:
            open_run_folder("x", folder, True, config, CPU, other=lambda *_: ["refused before anything is written"])
        except ValueError as error:
            told = "refused before" not in str(error)
        path.write_bytes(before)
        # Locks hold nothing but a name for people, and what a killed run was writing is written again.
        harmless = any(part.startswith(".") for part in path.relative_to(folder).parts)
        # The gaps of a checkpoint's archive hold nothing either: its checksum is over what is read.
        harmless |= path.suffix == ".pt"
        assert harmless or found in (State.BROKEN, State.NO_RUN), path
        assert harmless or told or path.suffix == ".pt" or path.parent != folder, path
        noticed, refused = noticed + (found is not State.WHOLE), refused + told
    assert look_at(folder).state is State.WHOLE
    return noticed, refused


def test_flipped_bits_are_noticed(run):
    assert flips(run, 60, seed=0) == (60, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_200_flipped_bits_of_every_run_are_noticed(tmp_path, monkeypatch, capsys, name):
    """Of a finished run, with its figures, and of one that was killed half-way."""
    small = RUNS[name]
    small(tmp_path / "finished", False)
    # Of runs that are too small some figures have nothing to show.
    with suppress(ValueError):
        draw_all(tmp_path / "finished")
    settle(tmp_path / "finished")
    with Disk().watched(monkeypatch) as disk:
        small(tmp_path / "counted", False)
    with Disk(disk.count * 3 // 5).watched(monkeypatch), pytest.raises((KilledError, AssertionError)):
        small(tmp_path / "killed", False)
    told = {kind: flips(tmp_path / kind, 200, seed=1) for kind in ("finished", "killed")}
    with capsys.disabled():
        print(f"{name}: of 200 bits each, noticed by verify and refused by --resume: {told}")

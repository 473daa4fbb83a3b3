"""The bench's engine on a tiny project: it notices a planted bug, and does not notice a change that is none."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.mutants import engine
from tests.mutants.bench import Bench, readable
from tests.mutants.bugs import Bug, StaleBugError

SWEEP = """
import json, sys
from pathlib import Path
from theory.halves import half, quarter

out = Path(sys.argv[-1])
out.mkdir()
status = "HOLDS" if half(6) == 3 else "UNDECIDED"
(out / "verdicts.json").write_text(json.dumps([{"statement": "Theorem 0", "status": status, "measured": 1.0}]))
sys.exit(quarter(8) != 2)
"""
HALVES = """
def half(x):
    return x / 2

def quarter(x):
    return x / 4

def third(x):
    return x / 3

def untested(x):
    return x + 1
"""
FILES = {
    "theory/__init__.py": "",
    "theory/halves.py": HALVES,
    "synthetic/__init__.py": "",
    "synthetic/sweep_noise.py": SWEEP,
    "tests/test_half.py": "from theory.halves import half\n\ndef test_half():\n    assert half(4) == 2\n",
    "tests/test_rest.py": (
        "from theory.halves import quarter, third\n\nclass TestQuarter:\n    def test_it(self):\n"
        "        assert quarter(4) == 1\n\ndef test_third():\n    assert third(6) == 2\n"
    ),
    "tests/test_project.py": "def test_style():\n    assert 'x / 2' in open('theory/halves.py').read()\n",
    "tests/mutants/test_catalogue.py": "def test_never_asked():\n    raise AssertionError\n",
}
HALF = Bug("half", "theory/halves.py", "x / 2", "x / 3", ("tests/test_half.py",), sweep=True)
QUARTER = Bug("quarter", "theory/halves.py", "x / 4", "x / 5", ("tests/test_half.py",), sweep=True)
EQUIVALENT = Bug("equivalent", "theory/halves.py", "x / 2", "0.5 * x", ("tests/test_half.py",), sweep=True)
UNTESTED = Bug("untested", "theory/halves.py", "x + 1", "x + 2", ("tests/test_half.py",))
BROKEN = Bug("broken", "theory/halves.py", "def half", "def halves", ("tests/test_half.py",), sweep=True)
STALE = replace(HALF, name="stale", old="x / 7")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def bench(project, tmp_path_factory):
    return Bench(project, tmp_path_factory.mktemp("bench"), (HALF, QUARTER, EQUIVALENT, UNTESTED))


@pytest.mark.slow
def test_what_the_tests_notice(project, bench):
    assert set(bench.sound_tests().seconds) == {"tests/test_half.py", "tests/test_rest.py"}, "the bench asks itself"
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    assert set(bench.sound_tests(HALF.tests).seconds) == {"tests/test_half.py"}
    found = bench.tests_notice(HALF)
    assert (found.noticed, found.by) == (True, "tests/test_half.py::test_half")
    # Not in the file that it names, but in another.
    found = bench.tests_notice(QUARTER)
    assert (found.noticed, found.by) == (True, "tests/test_rest.py::TestQuarter::test_it")
    # A file that cannot be collected is noticed too.
    assert bench.tests_notice(BROKEN).by == "tests/test_half.py"
    assert not bench.tests_notice(EQUIVALENT).noticed
    with pytest.raises(StaleBugError, match="stale"):
        bench.tests_notice(STALE)
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before, "the project itself is untouched"


def test_what_the_sweep_notices(bench):
    assert bench.sound_sweep.verdicts == (("Theorem 0", "HOLDS"),)
    assert bench.sweep_notices(HALF).by == "Theorem 0: UNDECIDED"
    assert bench.sweep_notices(QUARTER).by.startswith("exit status 1")
    assert "cannot import name 'half'" in bench.sweep_notices(BROKEN).by
    assert not bench.sweep_notices(EQUIVALENT).noticed


@pytest.mark.slow
def test_outcomes_are_kept_for_the_code_that_they_were_found_on(project, bench, monkeypatch):
    for bug in (HALF, EQUIVALENT):
        bench.tests_notice(bug)
    bench.sweep_notices(HALF)
    monkeypatch.setattr("tests.mutants.bench.ask_tests", None)
    again = Bench(project, bench.folder, bench.bugs)
    assert again.tests_notice(HALF).noticed
    rows = {row["name"]: row for row in again.rows()}
    assert (rows["half"]["tests"], rows["half"]["sweep"]) == ("yes", "yes")
    assert (rows["equivalent"]["tests"], rows["untested"]["sweep"]) == ("no", "-")
    table = (bench.folder / "table.csv").read_text().splitlines()
    assert table[0] == "name,path,tests,tests_by,sweep,sweep_by"
    assert table[1].startswith("half,theory/halves.py,yes,tests/test_half.py::test_half,yes,")
    assert (bench.folder / "table.txt").read_text() == readable(again.rows())
    # Another bug under the same name, or other code, is asked for again.
    assert again._read("tests-half", replace(HALF, new="x / 9")) is None
    (project / "tests" / "test_more.py").write_text("")
    try:
        assert Bench(project, bench.folder, bench.bugs)._read("tests-half", HALF) is None
    finally:
        (project / "tests" / "test_more.py").unlink()


def test_totals():
    asked = [("theory/a.py", "yes", "no"), ("theory/a.py", "no", "-"), ("models/b.py", "yes", "yes"),
             ("models/b.py", "", "")]  # fmt: skip
    rows = [{"name": f"n{i}", "path": path, "tests": tests, "tests_by": "", "sweep": sweep, "sweep_by": ""}
            for i, (path, tests, sweep) in enumerate(asked)]  # fmt: skip
    lines = [line.split() for line in readable(rows).splitlines()]
    assert ["theory", "1", "of", "2", "(50.0%)", "0", "of", "1", "(0.0%)"] in lines
    assert ["models", "1", "of", "1", "(100.0%)", "1", "of", "1", "(100.0%)"] in lines
    assert ["all", "2", "of", "3", "(66.7%)", "1", "of", "2", "(50.0%)"] in lines


def test_hanging_is_noticed_only_where_sound_code_is_faster(project, monkeypatch):
    limits = []

    def stopped(arguments, folder, limit, sound_status=0):
        limits.append(limit)
        return engine.Ran(sound_status if "x / 2" in (folder / HALF.path).read_text() else None, "", limit)

    monkeypatch.setattr(engine, "run_on_leash", stopped)

    def sound(_):
        return engine.SoundTests({"tests/test_half.py": 50.0})

    assert engine.ask_tests(project, HALF, sound).by.startswith("hangs")
    assert limits == [engine.SLOWNESS * 50.0, engine.SLOWNESS * 25.0]
    monkeypatch.setattr(engine, "run_on_leash", partial(stopped, sound_status=None))
    with pytest.raises(engine.BenchError, match="not twice as fast"):
        engine.ask_tests(project, HALF, sound)


def test_all_parts_of_this_project_are_copied(tmp_path):
    root = Path(__file__).parents[2]
    with engine.copied(root) as folder:
        assert sorted(path.name for path in folder.iterdir()) == sorted(engine.PARTS)
        assert not (folder / "tests" / "mutants").exists()


def test_no_copied_test_needs_what_is_left_out():
    root = Path(__file__).parents[2]
    files = {path.relative_to(root).as_posix(): path for path in (root / "tests").rglob("*.py")}
    kept = {name: path for name, path in files.items() if not name.startswith(engine.LEFT_OUT)}
    assert len(files) - len(kept) > 20
    modules = "|".join(re.escape(name.removesuffix(".py").replace("/", ".")) for name in engine.LEFT_OUT)
    # At the top: what a function imports is there only where it is called.
    needs = re.compile(rf"^(from|import) ({modules})\b", re.MULTILINE)
    found = [name for name, path in kept.items() if needs.search(path.read_text())]
    assert found == []


@pytest.mark.parametrize("name", ["tests/test_rest.py", "synthetic/sweep_noise.py"])
def test_nothing_is_learned_from_sound_code_that_fails(project, tmp_path, name):
    engine.copy_project(project, tmp_path / "failing")
    (tmp_path / "failing" / name).write_text("def test_it():\n    raise AssertionError\n\ntest_it()\n")
    time_it = engine.time_sweep if "sweep" in name else engine.time_tests
    with pytest.raises(engine.BenchError, match="fail"):
        time_it(tmp_path / "failing")


def test_pytest_that_finds_no_tests_is_an_error(project, tmp_path):
    engine.copy_project(project, tmp_path / "empty")
    (tmp_path / "empty" / "tests" / "test_half.py").write_text("")
    with pytest.raises(engine.BenchError, match="pytest ended with 5"):
        engine.ask_tests(tmp_path / "empty", HALF, lambda _: engine.SoundTests({"tests/test_half.py": 0.1}))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_starter(tmp_path, how):
    """Interrupted, or killed with its whole process group: the command that it had started ends as well."""
    beat = tmp_path / "beat"
    command = f"import pathlib, time\nwhile True:\n    pathlib.Path({str(beat)!r}).write_text('')\n    time.sleep(.02)"
    starter = (
        "import pathlib\nfrom tests.mutants.engine import run_on_leash\n"
        f"run_on_leash(['-c', {command!r}], pathlib.Path({str(tmp_path)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # A test run in the background of a shell ignores interrupts, and so would the starter.
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment, stderr=subprocess.DEVNULL,
                               start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    _wait_for(beat.exists)
    os.killpg(process.pid, how)
    process.wait(60.0)

    def silent():
        beat.unlink(missing_ok=True)
        time.sleep(0.3)
        return not beat.exists()

    _wait_for(silent)


def _wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_the_leash_passes_the_exit_status_on(tmp_path):
    assert engine.run_on_leash(["-c", "import sys; print('so'); sys.exit(7)"], tmp_path).status == 7
    ran = engine.run_on_leash(["-c", "import os; os.kill(os.getpid(), 9)"], tmp_path)
    assert ran.status == 128 + 9
    ran = engine.run_on_leash(["-c", "import time; time.sleep(60)"], tmp_path, limit=0.5)
    assert (ran.status, ran.seconds < 30) == (None, True)

"""Runs that are killed, at a random moment or at any call to the file system, go on to the same files.

python -m pytest -n 0 -m slow tests/synthetic/test_killed_runs.py                  40 kills of each main command
KILLS=10 python -m pytest -n 0 -m slow tests/synthetic/test_killed_runs.py -k "moment and train_stack"
"""

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from models import run_folder
from models.run_folder import ENVIRONMENT
from synthetic.integrity.folders import State, look_at
from tests.crashes import Disk, KilledError
from tests.small_runs import RUNS, results

KILLS, EVERY = int(os.environ.get("KILLS", "40")), int(os.environ.get("EVERY", "1"))


def started(run, folder, resume):
    """A process, forked from this one, which has imported everything."""

    def work():
        os.setsid()
        said = os.open(folder.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        run(folder, resume)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def begun(folder: Path) -> bool:
    """Whether there is a run to continue; a start that was killed leaves nothing that is in the way of another."""
    return (folder / ENVIRONMENT).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_runs_that_are_killed_at_a_random_moment_go_on_to_the_same_files(tmp_path, name):
    """Every run is killed again and again until one start comes through; what is there after a kill is whole."""
    run, rng = RUNS[name], random.Random(name)
    clock = time.monotonic()
    whole = started(run, tmp_path / "whole", False)
    whole.join()
    assert whole.exitcode == 0
    lasts = time.monotonic() - clock
    expected, kills, number = results(tmp_path / "whole"), 0, 0
    while kills < KILLS:
        folder, number = tmp_path / f"run{number}", number + 1
        while True:
            process = started(run, folder, begun(folder))
            # The last start of a folder is left alone, so that every folder comes to its end.
            wait = None if kills >= KILLS else rng.uniform(0.0, 1.1 * lasts)
            process.join(wait)
            if process.exitcode is not None:
                assert process.exitcode == 0, folder.with_suffix(".txt").read_text()
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            if begun(folder):
                assert look_at(folder).state is State.WHOLE, look_at(folder)
        assert results(folder) == expected, (name, number)
        assert look_at(folder).state is State.WHOLE, look_at(folder)
    print(f"{name}: {kills} kills of {number} runs, {lasts:.1f} s each")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_runs_that_die_at_any_call_go_on_to_the_same_files(tmp_path, monkeypatch, name, capsys, as_users_call):
    run, told = RUNS[name], {"started": "now", "code": "this", "python": "3", "numpy": "2", "scipy": "1",
                             "torch": "2", "device": "cpu", "commit": "none"}  # fmt: skip
    monkeypatch.setattr(run_folder, "environment", lambda device: dict(told))
    # It takes most of a small sweep's time, and writes nothing.
    monkeypatch.setattr("synthetic.sweep_noise.audit_plan", lambda *plan: [])
    # What is loaded or decoded at the first call is no part of a run.
    run(tmp_path / "first", False)
    with Disk().watched(monkeypatch) as disk:
        run(tmp_path / "whole", False)
    expected = results(tmp_path / "whole")
    for at in range(0, disk.count, EVERY):
        folder = tmp_path / f"crash{at}"
        with Disk(at).watched(monkeypatch), suppress(KilledError, AssertionError):
            run(folder, False)
        if begun(folder):
            assert look_at(folder).state is State.WHOLE, (at, look_at(folder))
        run(folder, begun(folder))
        assert results(folder) == expected, at
        assert look_at(folder).state is State.WHOLE, (at, look_at(folder))
    with capsys.disabled():
        print(
            f"{name}: dead at every call of {disk.count}"
            if EVERY == 1
            else f"{name}: at each {EVERY}th of {disk.count}"
        )

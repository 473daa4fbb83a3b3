"""Locks on folders: between processes, within one, and after one has died."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from theory.numerics import locks
from theory.numerics.locks import LOCK, InUseError, exclusive, holder, lock_folder

ROOT = Path(__file__).parents[3]
HOLDS = """
import sys, time
from pathlib import Path
from theory.numerics.locks import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_folder_is_one_process_own_until_that_dies(tmp_path, other):
    with pytest.raises(InUseError, match=rf"{tmp_path}: in use by process {other.pid} \(.+\)$"):
        lock_folder(tmp_path)
    assert holder(tmp_path).startswith(f"{other.pid} (")
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(tmp_path) is None
    lock = lock_folder(tmp_path)
    assert (tmp_path / LOCK).read_text().startswith(f"{os.getpid()} (")
    lock.release()


def test_a_process_does_not_exclude_itself(tmp_path):
    first, second = lock_folder(tmp_path), lock_folder(tmp_path)
    assert holder(tmp_path) is None
    first.release()
    key = second.key
    assert key in locks._held
    second.release()
    second.release()
    assert key not in locks._held
    assert holder(tmp_path / "nowhere") is None


def test_one_at_a_time_is_inside(tmp_path):
    """Threads have descriptors of their own, as processes do."""
    inside, most = [], []

    def work():
        for _ in range(20):
            with exclusive(tmp_path / "mutex"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (80, 1)


@pytest.mark.parametrize("number", [37, 95])
def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, number):
    def none(handle, operation):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with pytest.warns(UserWarning, match="no locks here"):
        lock_folder(tmp_path).release()
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(UserWarning, match="no flock"), exclusive(tmp_path / "mutex"):
        pass

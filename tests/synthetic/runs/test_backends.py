"""Sweeps over joblib's backends: the same bytes everywhere, and what happens when workers, schedulers or disks fail."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from distributed import Client, Future
from distributed.comm import CommClosedError
from tornado.iostream import StreamClosedError

from synthetic.batches.geometry import Geometry
from synthetic.runs import backends, dask_cluster
from synthetic.runs.backends import BackendOptions, WorkersLostError, open_backend
from synthetic.runs.statuses import exit_status
from synthetic.sweep_noise import SweepNoise, main, run
from synthetic.sweeps.noise_grid import build_cells
from tests.command_lines import disk_that_fills, status_of
from tests.synthetic.work_elsewhere import dask_command, deadly_stack, double, number_of_threads, refuse
from theory.numerics import whole_files

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
SMALL = ["--ambient-dims", "16", "--batch-sizes", "12", "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2",
         "--trials", "20", "--depth", "3", "--control-trials", "100", "--no-figures"]  # fmt: skip
# Long enough to be interrupted.
LONGER = [*SMALL, "--batch-sizes", "12", "24", "--trials", "100"]
FILES = ("rows.csv", "layers.csv", "boundaries.csv", "verdicts.json", "config.json")


class Cluster:
    """A scheduler on loopback and its worker processes, one thread each."""

    def __init__(self, folder):
        self.file = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--port", "0", "--no-dashboard")
        self.workers = []
        wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"))

        self.client = Client(scheduler_file=str(self.file), set_as_default=False)
        self.address = self.client.scheduler.address

    def start(self, program, *arguments):
        """``dask scheduler`` or ``dask worker``, forked from a process that has imported torch and dask."""
        arguments = ["--scheduler-file", str(self.file), *arguments, "--host", "127.0.0.1"]
        process = get_context("forkserver").Process(target=dask_command, args=(program, arguments), daemon=True)
        process.start()
        return process

    def ensure(self, workers):
        """So many workers, and the address."""
        self.workers = [worker for worker in self.workers if worker.is_alive()]
        for worker in self.workers[workers:]:
            worker.kill()
            worker.join()
        del self.workers[workers:]
        while len(self.workers) < workers:
            self.workers.append(self.start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"))
        wait_until(lambda: len(self.client.ncores()) == workers)
        return self.address

    def stop(self):
        self.client.close()
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    """The folders of the serial runs, SMALL and LONGER."""
    folder = tmp_path_factory.mktemp("serial")
    assert main([*SMALL, "--out", str(folder / "small")]) == 0
    assert main([*LONGER, "--out", str(folder / "longer")]) == 0
    return folder


@pytest.fixture(autouse=True)
def busy_machines_may_be_slow(monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    """Loky's processes are children of this one; those of the cluster are known."""
    before = children()
    yield
    wait_until(lambda: not [child for child in children() - before if "popen_loky" in command(child)])


def children():
    return {path.name for path in Path("/proc").glob("[0-9]*") if status(path)[1] == os.getpid()}


def status(process):
    """State, parent and process group."""
    try:
        state, parent, group = (process / "stat").read_text().rsplit(")", 1)[1].split()[:3]
    except OSError:
        return "X", 0, 0
    return state, int(parent), int(group)


def group_members(group):
    return [path for path in Path("/proc").glob("[0-9]*") if status(path)[2] == group and status(path)[0] not in "XZ"]


def command(process):
    try:
        return Path("/proc", process, "cmdline").read_text()
    except OSError:
        return ""


def wait_until(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def flags(backend, cluster, workers=2):
    if backend == "dask":
        return ["--backend", "dask", "--scheduler", cluster.ensure(workers)]
    return ["--backend", backend, *(["--jobs", "2"] if backend == "loky" else [])]


def finished(out):
    return len((out / "rows.csv").read_text().splitlines()) - 1 if (out / "rows.csv").exists() else 0


def when_finished(out, count, act):
    """A thread that acts as soon as so many cells are on disk."""

    def work():
        wait_until(lambda: finished(out) >= count)
        act()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def assert_same(out, whole):
    for name in FILES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_other_versions_of_the_libraries_are_refused():
    call = backends._Call(0, double, 1, torch.get_num_threads(), {"torch": "0.1"})
    with pytest.raises(ValueError, match=r"but this run torch 0\.1; rows would differ"):
        backends._run(call)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--backend", "dask"], "--scheduler: is required with --backend dask"),
        (["--scheduler", "tcp://127.0.0.1:8786"], "--scheduler: goes with --backend dask only"),
        (["--backend", "loky", "--scheduler", "tcp://127.0.0.1:8786"], "--scheduler: goes with"),
        (["--backend", "serial", "--jobs", "2"], "--jobs: goes with --backend loky only"),
        (["--backend", "loky", "--jobs", "0"], "jobs"),
        (["--backend", "loky", "--jobs", "100000"], "[1, 512]"),
        (["--threads", "0"], "threads"),
        (["--backend", "dask", "--scheduler", "127.0.0.1"], "--scheduler 127.0.0.1: must be PROTOCOL://HOST:PORT"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:99999"], "must be PROTOCOL://HOST:PORT"),
        (["--backend", "dask", "--scheduler", "file:///etc/passwd"], "must be PROTOCOL://HOST:PORT"),
        (["--backend", "dask", "--scheduler", "tcp://[::1:8786"], "must be PROTOCOL://HOST:PORT"),
        (["--backend", "spark"], "spark"),
    ],
)
def test_bad_arguments_exit_with_2(tmp_path, monkeypatch, capsys, arguments, names):
    monkeypatch.chdir(tmp_path)
    assert status_of(main, ["--quick", *arguments]) == 2
    assert names in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("listens", [False, True])
def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch, capsys, listens):
    """Nobody listens, or something that is no scheduler and never answers."""
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        assert main([*SMALL, "--backend", "dask", "--scheduler", f"tcp://127.0.0.1:{port}"]) == 2
    answer = f"--scheduler tcp://127.0.0.1:{port}: no dask scheduler answered there within 1 s"
    assert answer in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("options", [BackendOptions("loky"), BackendOptions("dask", scheduler="tcp://localhost:8786")])
def test_gpu_batches_stay_in_one_process(options):
    with pytest.raises(ValueError, match="one process per device"), open_backend(options, torch.device("cuda:0")):
        pass


# The order of what follows spares the cluster starts: first what needs two workers, then what loses one, then all.


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_rows_are_the_same_on_every_backend(tmp_path, cluster, local_run, backend):
    assert main([*SMALL, "--out", str(tmp_path / "run"), *flags(backend, cluster)]) == 0
    assert_same(tmp_path / "run", local_run / "small")


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_the_full_disk_keeps_what_is_finished(tmp_path, monkeypatch, capsys, cluster, local_run, backend):
    true_write = whole_files.write_part
    arguments = [*SMALL, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(whole_files, "write_part", disk_that_fills(true_write))
    assert main([*arguments, *flags(backend, cluster)]) == 3
    assert "No space left" in capsys.readouterr().err
    monkeypatch.setattr(whole_files, "write_part", true_write)
    assert 1 <= finished(tmp_path / "run") < 5
    assert main([*arguments, "--resume"]) == 0, "a run may go on on another backend"
    assert_same(tmp_path / "run", local_run / "small")


@pytest.mark.parametrize("backend", ["serial", "loky", "dask"])
def test_map_can_be_called_again_and_fixes_the_threads(cluster, backend):
    options = BackendOptions(
        backend, jobs=2 if backend == "loky" else None, threads=3,
        scheduler=cluster.ensure(2) if backend == "dask" else None,
    )  # fmt: skip
    before = torch.get_num_threads()
    with open_backend(options, CPU) as backend:
        for tasks in ([3, 1, 2], [], [5]):
            assert dict(backend.map(double, tasks)) == {i: 2 * task for i, task in enumerate(tasks)}
        assert dict(backend.map(number_of_threads, [0, 1])) == {0: 3, 1: 3}
        with pytest.raises(ValueError, match="task 7"):
            list(backend.map(refuse, [7]))
        next(backend.map(double, [1, 2, 3, 4]))
        with pytest.raises(RuntimeError, match="not finished"):
            backend.map(double, [1])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("backend", ["loky", pytest.param("dask", marks=pytest.mark.slow)])
def test_an_interrupt_keeps_what_is_finished_and_leaves_nothing_running(tmp_path, cluster, backend):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "synthetic.sweep_noise", *LONGER, "--trials", "1500", "--out", str(out)]
    # A test run in the background of a shell ignores interrupts, and so would the command.
    process = subprocess.Popen(
        [*command, *flags(backend, cluster)], cwd=ROOT, start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        wait_until(lambda: finished(out) >= 2 or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        # As the terminal does it: to the command and to all processes that it has started.
        os.killpg(process.pid, signal.SIGINT)
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 130, error
        assert "cells are kept" in error
        assert "Traceback" not in error
        # Loky's resource tracker notices a moment later that the command has gone.
        wait_until(lambda: not group_members(process.pid))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if backend == "dask":
        wait_until(lambda: not any(cluster.client.processing().values()))


def test_a_closing_client_prints_no_tracebacks(cluster, caplog):
    """Of connections that it closed itself; what else goes wrong in asyncio is still told."""
    dask_cluster.connect(cluster.ensure(1)).close()
    for name in dask_cluster.EVENT_LOOPS:
        caplog.clear()
        for error in (CommClosedError("closed"), StreamClosedError(), OSError("lost"), ValueError("wrong")):
            logging.getLogger(name).error("exception was never retrieved", exc_info=error)
        assert [type(record.exc_info[1]) for record in caplog.records if record.name == name] == [OSError, ValueError]


def test_a_worker_killed_mid_run_changes_nothing(tmp_path, cluster, local_run):
    arguments = flags("dask", cluster)
    killer = when_finished(tmp_path / "run", 3, cluster.workers[0].kill)
    assert main([*LONGER, "--out", str(tmp_path / "run"), *arguments]) == 0
    killer.join()
    cluster.workers[0].join()
    assert cluster.workers[0].exitcode == -signal.SIGKILL
    assert finished(tmp_path / "run") > 10
    assert_same(tmp_path / "run", local_run / "longer")


def test_rows_are_the_same_on_a_cluster_of_one_thread(tmp_path, cluster, local_run):
    """Where joblib's own backend would run all tasks in this process."""
    assert main([*SMALL, "--out", str(tmp_path / "run"), *flags("dask", cluster, 1)]) == 0
    assert_same(tmp_path / "run", local_run / "small")


def test_a_cluster_that_loses_all_its_workers(tmp_path, monkeypatch, capsys, cluster):
    arguments = [*LONGER, "--out", str(tmp_path / "run"), *flags("dask", cluster, 1)]
    # Enough for the run to find its worker on a busy machine.
    monkeypatch.setattr(dask_cluster, "WORKER_SECONDS", 2.0)
    killer = when_finished(tmp_path / "run", 2, cluster.workers[0].kill)
    assert main(arguments) == 4
    killer.join()
    assert "all workers are gone" in capsys.readouterr().err
    assert finished(tmp_path / "run") >= 2


def test_a_result_that_died_with_the_last_worker_is_not_waited_for(monkeypatch):
    """A future that its client still calls finished."""
    monkeypatch.setattr(dask_cluster, "WORKER_SECONDS", 0.05)
    future = MagicMock(spec=Future, result=MagicMock(side_effect=TimeoutError))
    future.add_done_callback = lambda callback: callback(future)
    client = MagicMock(spec=Client)
    client.map.return_value, client.ncores.return_value = [future], {}
    with pytest.raises(WorkersLostError, match="all workers are gone"):
        list(dask_cluster.results(client, "tcp://127.0.0.1:1", double, [1]))
    client.cancel.assert_called_once_with([future])


def test_a_cluster_without_workers(monkeypatch, cluster):
    monkeypatch.setattr(dask_cluster, "WORKER_SECONDS", 1.0)
    address = cluster.ensure(0)
    with (
        pytest.raises(ValueError, match=f"{address}: it has no worker after 1 s; start some with `dask worker"),
        open_backend(BackendOptions("dask", scheduler=address), CPU),
    ):
        pass


@pytest.mark.parametrize("backend", ["loky", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_task_that_kills_every_worker_ends_the_run(tmp_path, cluster, capsys, backend):
    out = tmp_path / "run"
    options = {"backend": backend, "jobs": 2 if backend == "loky" else None,
               "scheduler": cluster.ensure(2) if backend == "dask" else None}  # fmt: skip
    sweep = SweepNoise(out=out, ambient_dims=(16,), batch_sizes=(12,), trials=20, depth=3, figures=False,
                       controls=False, geometry=Geometry(num_clusters=3, subspace_dim=2), **options)  # fmt: skip
    last = build_cells(sweep)[0][-1].threshold
    assert exit_status(lambda: run(sweep, partial(deadly_stack, last))) == 4
    error = capsys.readouterr().err
    assert "died" in error
    assert "cells are kept" in error
    assert f"--out {out} --resume" in error
    assert "Traceback" not in error
    assert finished(out) >= 1


def test_a_scheduler_that_dies(tmp_path, capsys, cluster):
    arguments = [*LONGER, "--out", str(tmp_path / "run"), *flags("dask", cluster, 1)]
    killer = when_finished(tmp_path / "run", 2, cluster.scheduler.kill)
    assert main(arguments) == 4
    killer.join()
    assert "the dask scheduler is gone" in capsys.readouterr().err
    assert finished(tmp_path / "run") >= 2


def test_lost_workers_have_their_own_status(capsys):
    def work():
        raise WorkersLostError("all of them")

    assert exit_status(work) == 4
    assert capsys.readouterr().err == "error: all of them\n"

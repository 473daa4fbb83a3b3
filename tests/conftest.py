"""One thread a process, checked annotations, and Hypothesis profiles that do not depend on how busy the machine is."""

import multiprocessing
import os
from functools import cache, partial
from pathlib import Path

import jaxtyping
import pytest
import torch
import torch.multiprocessing
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits

import tests.typechecking  # noqa: F401  (the hook looks it up by name)

# pytest-xdist gives every core a process of its own. Threads inside these only wait for each other: the matrices of the
# tests are small. Child processes inherit the environment.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
torch.set_num_threads(1)
threadpool_limits(1)

install_import_hook(["theory", "models", "synthetic", "figures"], "tests.typechecking.typechecked")

settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("default")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Simulated floors are kept in a folder of the test run, which all its processes share."""
    folder = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each of its processes a folder inside that of the run.
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "floors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRASTIVE_THEORY_CACHE", str(folder))
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk():
    """Files are written whole for processes that are killed; no test survives the machine that is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


# Groups of processes and dask's workers come from one that has imported what they need: imports are most of their time.
# As where they are spawned, what they do and are given is pickled; but their environment is that of the first of them.
multiprocessing.set_forkserver_preload(
    [
        "torch._dynamo",
        "paper_checks.trainings.two_processes",
        "synthetic.sweep_noise",
        "distributed.cli.dask_worker",
        "pytest",
    ]
)


@pytest.fixture(autouse=True, scope="session")
def groups_are_forked():
    """What torch would spawn."""
    with pytest.MonkeyPatch.context() as patch:
        forked = partial(torch.multiprocessing.start_processes, start_method="forkserver")
        patch.setattr(torch.multiprocessing, "spawn", forked)
        # What the server imports is named above, for all.
        patch.setattr(torch.multiprocessing, "set_forkserver_preload", lambda names: None)
        yield


def pytest_terminal_summary(terminalreporter, config):
    """After planted bugs: how many were noticed, and where the table is."""
    if config.getoption("markexpr") != "mutants":
        return
    # Here, because the copies that bugs are planted in have no bench.
    from tests.mutants.bench import folder_of

    table = folder_of(config.rootpath) / "table.txt"
    if table.exists():
        terminalreporter.section("planted bugs")
        totals = table.read_text(encoding="utf-8").rsplit("\n\n", 1)[-1]
        terminalreporter.write(f"{totals}\nevery bug: {table}\n")


@pytest.fixture
def as_users_call():
    """Annotations unchecked, as outside the tests: bad shapes and dtypes meet the functions' own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@cache
def shares_fixtures(path):
    """Tests of this file share what one of them has computed."""
    return 'scope="module"' in (Path(__file__).parents[1] / path).read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests go one by one to the process that is free, but all of a file with shared fixtures to the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class SharedFixturesTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.split("::")[0]
            return path if shares_fixtures(path) else nodeid

    return SharedFixturesTogether(config, log) if config.getvalue("dist") == "loadscope" else None

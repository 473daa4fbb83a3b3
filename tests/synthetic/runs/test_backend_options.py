"""Where tasks run when nobody says, and what a backend needs that is not there."""

import sys

import pytest
import torch

from synthetic.runs.backends import BackendOptions, open_backend

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("given", "cores", "device", "small", "found"),
    [
        ({}, 2, "cpu", False, ("loky", 2, 1)),
        ({}, 64, "cpu", False, ("loky", 8, 1)),
        ({}, 1, "cpu", False, ("serial", None, None)),
        ({}, 2, "cpu", True, ("serial", None, None)),
        ({}, 2, "cuda", False, ("serial", None, None)),
        ({"threads": 2}, 2, "cpu", False, ("serial", None, 2)),
        ({"jobs": 3}, 2, "cpu", True, ("loky", 3, None)),
        ({"backend": "serial"}, 2, "cpu", False, ("serial", None, None)),
        ({"backend": "loky"}, 2, "cpu", False, ("loky", None, None)),
    ],
)
def test_where_tasks_run_unasked(monkeypatch, given, cores, device, small, found):
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    resolved = BackendOptions(**given).resolved(torch.device(device), small)
    assert (resolved.backend, resolved.jobs, resolved.threads) == found


def test_dask_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "synthetic.runs.dask_cluster", raising=False)
    with (
        pytest.raises(ValueError, match=r"contrastive-theory-toolkit\[dask\]"),
        open_backend(BackendOptions("dask", scheduler="tcp://127.0.0.1:8786"), CPU),
    ):
        pass

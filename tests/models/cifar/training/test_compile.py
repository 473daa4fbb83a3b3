"""Compiled trainings are the same trainings, whatever the method, and are refused where nothing compiles."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from models.cifar.training.checks import require_compilable, require_no_idle
from models.devices import compiler
from tests.models.cifar.training.compiled_steps import CASES, SETTINGS
from tests.stand_in.steps import configuration


def compiler_is_there():
    try:
        compiler.require_compiler("compile", torch.device("cpu"))
    except ValueError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not compiler_is_there(), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(
    "names",
    [(name,) for name in CASES],
    ids=lambda names: names[0],
)
def test_a_compiled_training_is_the_same(names):
    command = [sys.executable, "-m", "tests.models.cifar.training.compiled_steps", *names]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Traceback" not in run.stderr
    assert "lru_cache" not in run.stderr, "what users need not hear"
    for name, found in json.loads(run.stdout.splitlines()[-1]).items():
        assert found["operations without"] == 0
        for setting in SETTINGS:
            assert found[setting]["losses"] == pytest.approx(found["losses"], rel=1e-5), (name, setting)
            assert found[setting]["difference"] < 1e-5, (name, setting)
        assert 0 < found["compile"]["operations"] < found["compile_step"]["operations"], name


def test_what_cannot_be_compiled_is_refused(monkeypatch):
    whole = replace(configuration("simclr", None, "small"), compile_step=True)
    with pytest.raises(ValueError, match="compile: nothing reads it with compile_step"):
        require_no_idle(replace(whole, compile=True))
    with pytest.raises(ValueError, match="compile_step: goes without chunk"):
        require_compilable(replace(whole, chunk=4), torch.device("cpu"))
    monkeypatch.setattr("models.cifar.training.checks.world_size", lambda: 2)
    with pytest.raises(ValueError, match="compile_step: goes with one process only"):
        require_compilable(whole, torch.device("cpu"))


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_compiler_no_compilation(monkeypatch, setting):
    config = replace(configuration("simclr", None, "small"), **{setting: True})
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=rf"^{setting}: torch.compile needs a C\+\+ compiler, and there is no no-such"):
        require_compilable(config, torch.device("cpu"))
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"^{setting}: torch.compile needs the package triton for cuda"):
        require_compilable(config, torch.device("cuda"))
    require_compilable(replace(config, **{setting: False}), torch.device("cpu"))

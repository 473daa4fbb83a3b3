"""Thousands of wrong command lines, in one process: each is refused by name or done, within seconds."""

import os
import time
from importlib import import_module

import numpy as np
import pytest

from synthetic import over_fusion, phase_diagram, sharpening_map, sweep_batch, sweep_noise, train_stack
from tests.command_lines import status_of
from tests.hostile_lines import COMMANDS, LONG, Line, lines, options_of, sample
from theory.console.completion import options_of as completed_options
from theory.console.table import MODULES, import_name
from theory.numerics.commands import BAD_ARGUMENTS, DONE, NOT_WRITTEN

# On a machine that does much else.
SECONDS = 60.0


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder of a case, with a small set of embeddings; the cache is in it as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTRASTIVE_THEORY_CACHE", str(tmp_path / "cache"))
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(3), 50)
    rows = 2.0 * np.eye(3)[labels] @ rng.standard_normal((3, 6)) + 0.3 * rng.standard_normal((150, 6))
    np.save("features.npy", rows)
    np.save("labels.npy", labels)
    return tmp_path


def what_is_wrong(line: Line, scratch, capsys) -> str | None:
    """None for a case that ended well."""
    words = [word.replace("{}", str(scratch)) for word in line.words]
    start = time.monotonic()
    status = COMMANDS[line.command].main(words)
    spent, said = time.monotonic() - start, capsys.readouterr().err
    right = (
        status in allowed_statuses(line)
        and "Traceback" not in said
        and spent < SECONDS
        and (status == DONE or said.strip())
    )
    return None if right else f"{line}: status {status}, {spent:.0f} s: {said[-500:]}"


def allowed_statuses(line: Line) -> set[int]:
    """What is right; a folder that cannot be made may be told in two ways."""
    if line.refused:
        return {BAD_ARGUMENTS}
    return {BAD_ARGUMENTS, DONE, NOT_WRITTEN} if "--out" in line.words else {BAD_ARGUMENTS, DONE}


def test_the_battery_has_every_option_of_every_command():
    cases = lines()
    assert len(cases) > 3000
    for name, command in COMMANDS.items():
        tried = {word for line in cases if line.command == name for word in line.words}
        options = [option for option, _ in options_of(command.kind) if option.removeprefix("--") not in command.skip]
        # Without a small run only what must be refused is tried, which a word or a path may never be.
        untried = {*options} - tried
        assert not untried or command.small is None, (name, untried)
        assert not {option for option in untried if option.removeprefix("--") in ("depth", "rounds", "seed", "sizes")}
    assert sum(line.refused for line in cases) > 2000
    assert any(LONG in line.words for line in cases)


def test_completion_in_the_shell_has_every_option_of_every_command():
    by_main = {import_module(import_name(module)).main: module for module in MODULES}
    for command in COMMANDS.values():
        found = {*completed_options(by_main.pop(command.main))}
        fields = {option for option, _ in options_of(command.kind)}
        turned_off = {"--" + ".".join([*parts[:-1], f"no-{parts[-1]}"]) for option in fields
                      for parts in [option.removeprefix("--").split(".")]}  # fmt: skip
        assert fields <= found
        assert found - fields <= {"--help"} | turned_off
    # It takes a folder, and has no options to be given a wrong value.
    assert list(by_main.values()) == ["figures"]
    assert completed_options("figures") == ("--help",)


def test_some_wrong_lines_are_refused_or_done(scratch, capsys):
    wrong = [what_is_wrong(line, scratch, capsys) for line in sample(60, seed=20261129) if line.refused]
    assert [each for each in wrong if each] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_all_wrong_lines_are_refused_or_done(name, scratch, capsys):
    wrong = [what_is_wrong(line, scratch, capsys) for line in lines() if line.command == name]
    assert [each for each in wrong if each] == []


# --- what is given wins over --quick ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "words", "field", "value"),
    [(sweep_noise, ("--trials", "200"), "trials", 200), (sweep_noise, ("--ambient-dims", "64", "256"), "ambient_dims",
                                                         (64, 256)),
     (sweep_batch, ("--denoise", "--trials", "400"), "denoise", True),
     (sweep_batch, ("--trials", "400"), "trials", 400),
     (phase_diagram, ("--refinements", "3"), "refinements", 3), (sharpening_map, ("--steps", "20"), "steps", 20),
     (over_fusion, ("--depth", "128"), "depth", 128), (train_stack, ("--seeds", "2"), "seeds", 2),
     (train_stack, ("--optimisation.steps", "800"), "optimisation.steps", 800)],
)  # fmt: skip
@pytest.mark.parametrize("order", [1, -1])
def test_quick_changes_defaults_alone(monkeypatch, module, words, field, value, order):
    """The usual default, said aloud, is no default."""
    seen = []
    runs = "run_or_replay" if module is sweep_noise else "run"
    monkeypatch.setattr(module, runs, lambda options: seen.append(options) or 0)
    for line in (
        [*words, "--quick"] if order == 1 else ["--quick", *words],
        ["--quick"],
        ["--quick", "--no-quick"],
        [],
    ):
        assert module.main(line) == 0

    def read(options):
        for name in field.split("."):
            options = getattr(options, name)
        return options

    given, quick, neither, plain = map(read, seen)
    assert given == value
    assert quick != value
    assert neither == plain != quick
    assert [options.quick for options in seen] == [True, True, False, False]


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "named"),
    [("sweep_noise", ("--trials", "10000001"), "trials"), ("sweep_noise", ("--depth", "4097"), "depth"),
     ("sweep_noise", ("--batch-sizes", "16777217"), "batch_sizes"),
     ("sweep_noise", ("--batch-sizes", "16000000", "--ambient-dims", "512"), "batch_sizes"),
     ("sweep_noise", ("--batch-sizes", "4000000", "--trials", "1000000"), "batch_sizes"),
     ("sweep_noise", ("--ambient-dims", "1000000", "--geometry.subspace-dim", "60000"), "ambient_dim"),
     ("phase_diagram", ("--coarse", "128", "--refinements", "6"), "coarse"),
     ("train_stack", ("--head.width", "16384", "--head.depth", "4096"), "depth"),
     ("large_batches", ("--sizes", "16777216", "--depth", "4096"), "sizes"),
     ("tightness", ("--cluster-sizes", "8388608", "--ambient-dims", "1048576"), "cluster_sizes")],
)  # fmt: skip
def test_work_that_nobody_sees_the_end_of_is_refused_at_once(name, words, named, scratch, capsys):
    command = COMMANDS[name]
    given = {word for word in words if word.startswith("--")}
    kept, skipping = [], False
    for word in command.small or ():
        skipping = word in given if word.startswith("--") else skipping
        kept += [] if skipping else [word]
    start = time.monotonic()
    assert status_of(command.main, [*kept, *words]) == BAD_ARGUMENTS
    assert time.monotonic() - start < 2.0
    assert f"{named}: " in capsys.readouterr().err
    assert not [*scratch.glob("runs/*")]
    assert os.listdir(scratch)

"""The console command: its help, what it refuses, and that a subcommand is the module."""

import pytest

from tests.theory.console.folders import CONSOLE, ROOT, plant, python
from theory.console import dispatch
from theory.console.table import COMMANDS
from theory.console.typed import as_typed
from theory.numerics.commands import BAD_ARGUMENTS, CRASHED, DONE, OUT_OF_MEMORY, statuses_in_words


def test_help_lists_every_command_and_loads_no_library(tmp_path):
    code = (
        "import sys, contrastive_theory; status = contrastive_theory.main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib', 'tyro', 'joblib'} & {*sys.modules}\n"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)"
    )
    found = python(tmp_path, "-c", code)
    assert (found.returncode, found.stderr) == (0, "")
    assert [line.split()[0] for line in found.stdout.splitlines() if line.startswith("    ") and line[4].isalpha()][
        : len(COMMANDS)
    ] == [*COMMANDS]
    assert statuses_in_words() in found.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [(["sweep-nose"], "sweep-nose: is no command; do you mean sweep-noise or "),
     (["synthetic.sweep_noise"], "do you mean sweep-noise"), (["over_fusion"], "do you mean over-fusion?"),
     (["coverage"], "do you mean advisor-coverage?"), (["benchmarks"], "benchmark or cifar-benchmark"),
     (["zzz"], f"zzz: is no command; there are {', '.join(COMMANDS)}"), ([""], "is no command; there are sweep-noise"),
     ([], "a command is missing; there are sweep-noise"), (["--verbose"], "--verbose: is no command"),
     (["--print-completion"], "must be one of bash, zsh, fish, got ''"),
     (["--print-completion", "powershell"], "must be one of bash, zsh, fish, got 'powershell'")],
)  # fmt: skip
def test_what_is_no_command_is_refused_with_those_that_are_near(words, says, capsys):
    assert dispatch.main(words) == BAD_ARGUMENTS
    out, said = capsys.readouterr()
    assert says in said
    assert said.startswith("error: ")
    assert not out


@pytest.mark.parametrize(
    ("error", "status"),
    [(ZeroDivisionError("planted"), CRASHED), (MemoryError(), OUT_OF_MEMORY), (ValueError("planted"), CRASHED)],
)
def test_a_library_that_does_not_load_ends_by_the_table(error, status, monkeypatch, capsys):
    def fails(name):
        raise error

    monkeypatch.setattr(dispatch, "import_module", fails)
    assert dispatch.main(["cifar", "--no-such-option"]) == status
    assert "error: " in capsys.readouterr().err


def test_a_subcommand_is_its_module_by_another_name(tmp_path):
    """Its words, what it prints and its status; in its help, what was typed."""
    plant(tmp_path, "models", "synthetic", "theory")
    for program, words, status in (
        (["-m", "contrastive_theory"], ["--no-such"], BAD_ARGUMENTS), ([CONSOLE], ["--help"], DONE)
    ):  # fmt: skip
        own, found = python(ROOT, "-m", "figures", *words), python(tmp_path, *program, "figures", *words)
        assert found.returncode == own.returncode == status
        as_module = (found.stdout + found.stderr).replace("python -m contrastive_theory fig", "python -m fig")
        # Frames are as wide as what is in them.
        assert as_module.replace("─", "").split() == (own.stdout + own.stderr).replace("─", "").split()


def test_commands_are_called_as_they_were_typed(tmp_path):
    rest = "but not python -m models.cifar_x, models.cifar"
    text = f"python -m models.cifar.compare A and `python -m models.cifar` {rest}"
    assert as_typed(text) == text
    code = (
        "import sys; from contrastive_theory.theory.console.typed import as_typed\n"
        "for sys.argv[0] in ('/venv/bin/contrastive-theory', '/x/contrastive_theory.py'): print(as_typed(sys.argv[1]))"
    )
    found = python(tmp_path, "-c", code, text)
    assert found.stdout.splitlines() == [
        f"contrastive-theory cifar-compare A and `contrastive-theory cifar` {rest}",
        f"python -m contrastive_theory cifar-compare A and `python -m contrastive_theory cifar` {rest}",
    ]

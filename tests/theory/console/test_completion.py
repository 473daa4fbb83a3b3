"""Completion in the shell; that every option of every command is there, tests/test_hostile_lines.py asks."""

import shutil
import subprocess

import pytest

from theory.console.completion import SHELLS, completion

OPTIONS = {"sweep-noise": ["--trials", "--no-figures"], "cifar": ["--data.dataset", "--data.limit"], "figures": []}


def bash_completes(*words):
    """What bash offers for the last of these words."""
    given = " ".join(f"'{word}'" for word in ("contrastive-theory", *words))
    script = f"""{completion("bash", OPTIONS)}
COMP_WORDS=({given}); COMP_CWORD={len(words)}
_contrastive_theory; printf '%s\\n' "${{COMPREPLY[@]}}"; complete -p contrastive-theory >&2"""
    found = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, check=True)
    assert "-o default" in found.stderr, "file names, where it has nothing to say"
    return found.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [(["sw"], ["sweep-noise"]), ([""], [*OPTIONS, "--help", "--print-completion"]),
     (["cifar", "--data.l"], ["--data.limit"]), (["sweep-noise", "--trials", "5", "--"], OPTIONS["sweep-noise"]),
     (["cifar", "fo"], []), (["nothing", "--"], [])],
)  # fmt: skip
def test_bash_completes_commands_and_their_options(words, offered):
    assert bash_completes(*words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_given_every_command_and_option(shell):
    text = completion(shell, OPTIONS)
    for name, options in OPTIONS.items():
        assert name in text
        assert all(option.removeprefix("--") in text for option in options)
    assert text.count("'") % 2 == 0, "quotes are closed"
    if shutil.which(shell):
        found = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (found.returncode, found.stderr) == (0, "")

"""Completion in the shell: subcommands, and the options of each, as words for bash, zsh or fish.

Options are read from each command's --help when the words are made, so they are those of this version; values are
completed as file names are.
"""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from importlib import import_module

from theory.console.start import PROGRAM
from theory.console.table import COMMANDS, import_name, summary

# A line of --help begins with an option and its other forms, right after the frame; what is said of it is indented.
_NAMES = re.compile(r"^\W (?:-h, )?(--[\w.-]*\w(?:, --[\w.-]*\w)*)", re.MULTILINE)


def options_of(module: str) -> tuple[str, ...]:
    """The options that a command's --help lists."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        import_module(import_name(module)).main(["--help"])
    lines = _NAMES.findall(re.sub(r"\x1b\[[\d;]*m", "", text.getvalue()))
    return tuple(dict.fromkeys(each for line in lines for each in line.split(", ")))


def completion(shell: str, options: Mapping[str, Sequence[str]] | None = None) -> str:
    """What the shell reads to complete the console command.

    Args:
        shell: one of SHELLS.
        options: those of every subcommand; by default they are asked.

    Raises:
        ValueError: another shell.
    """
    if shell not in SHELLS:
        raise ValueError(f"--print-completion: must be one of {', '.join(SHELLS)}, got {shell!r}")
    known = {name: options_of(module) for name, module in COMMANDS.items()} if options is None else options
    return SHELLS[shell](known)


def _bash(options: Mapping[str, Sequence[str]]) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(words)}" ;;' for name, words in options.items())
    return f"""# {PROGRAM}: append to ~/.bashrc, or eval "$({PROGRAM} --print-completion bash)"
_contrastive_theory() {{
  local words="" current="${{COMP_WORDS[COMP_CWORD]}}"
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{" ".join(options)} --help --print-completion" -- "$current"))
    return
  fi
  [[ $current == -* ]] || return
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _contrastive_theory {PROGRAM}"""


def _zsh(options: Mapping[str, Sequence[str]]) -> str:
    names = "\n".join(f"      {_quoted(f'{name}:{summary(COMMANDS[name])}')}" for name in options)
    cases = "\n".join(f"    {name}) compadd -- {' '.join(words)} ;;" for name, words in options.items())
    return f"""#compdef {PROGRAM}
# A file named _{PROGRAM} in a folder of $fpath, or eval "$({PROGRAM} --print-completion zsh)" after compinit
_contrastive_theory() {{
  if (( CURRENT == 2 )); then
    local -a commands=(
{names}
    )
    _describe command commands
    return
  fi
  if [[ $PREFIX != -* ]]; then
    _files
    return
  fi
  case $words[2] in
{cases}
  esac
}}
compdef _contrastive_theory {PROGRAM}"""


def _fish(options: Mapping[str, Sequence[str]]) -> str:
    lines = [f"# {PROGRAM}: a file ~/.config/fish/completions/{PROGRAM}.fish"]
    for name, words in options.items():
        what = _quoted(summary(COMMANDS[name]))
        lines.append(f"complete -c {PROGRAM} -n __fish_is_first_token -f -a {name} -d {what}")
        within = _quoted(f"__fish_seen_subcommand_from {name}")
        lines += [f"complete -c {PROGRAM} -n {within} -l {each.removeprefix('--')}" for each in words]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """For zsh and fish alike, which differ in how a quote is written within quotes: there is none."""
    return "'" + text.replace("'", "’") + "'"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}

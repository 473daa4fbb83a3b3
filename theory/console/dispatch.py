"""``contrastive-theory``: every command of the toolkit in any folder, whatever packages of its own are there.

The command is imported when it is asked for, and told its own words; how it ends is its own (theory.numerics.commands).
"""

import difflib
import shutil
import sys
import textwrap
from importlib import import_module

from theory.console.completion import SHELLS, completion
from theory.console.extras import missing_for
from theory.console.start import PROGRAM
from theory.console.table import COMMANDS, import_name, summary
from theory.console.typed import program
from theory.numerics.commands import DONE, exit_status, status_before_start, statuses_in_words, tell

PRINT_COMPLETION = "--print-completion"


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand and return its exit status.

    Args:
        arguments: None takes the words of the process.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    return exit_status(lambda: _dispatch(words))


def overview() -> str:
    """What --help shows: every command and what it does."""
    name, indent = program() or PROGRAM, 6 + max(map(len, COMMANDS))
    # As wide as the window, and on no window unreadably narrow.
    width = max(shutil.get_terminal_size((120, 24)).columns, indent + 30)
    lines = "\n".join(
        textwrap.fill(f"    {each}".ljust(indent) + summary(module), width, subsequent_indent=" " * indent)
        for each, module in COMMANDS.items()
    )
    return (
        f"usage: {name} COMMAND ...\n\nChecks of contrastive-learning theory, in any folder.\n\n{lines}\n\n"
        f"    {name} COMMAND --help    what it does, and its options\n"
        f"    {name} {PRINT_COMPLETION} {'|'.join(SHELLS)}    for a shell that completes commands and options\n\n"
        f"{statuses_in_words()}"
    )


def _dispatch(words: list[str]) -> int:
    if words[:1] in (["-h"], ["--help"]):
        print(overview())
        return DONE
    if words[:1] == [PRINT_COMPLETION]:
        print(completion(words[1] if len(words) == 2 else ""))
        return DONE
    module = command_of(words)
    if (why := missing_for(module)) is not None:
        raise ValueError(why)
    return run(module, words[1:])


def command_of(words: list[str]) -> str:
    """The module that the first word asks for.

    Raises:
        ValueError: none does; names those that are near.
    """
    if not words:
        raise ValueError(f"a command is missing; there are {', '.join(COMMANDS)}")
    if words[0] not in COMMANDS:
        # As a module, with underscores, or nearly.
        asked = words[0].rpartition(".")[2].replace("_", "-") or words[0]
        near = difflib.get_close_matches(asked, COMMANDS, n=3, cutoff=0.5)
        near += [each for each in COMMANDS if asked in each and len(asked) > 2 and each not in near]
        what = f"do you mean {' or '.join(near)}?" if near else f"there are {', '.join(COMMANDS)}"
        raise ValueError(f"{words[0]}: is no command; {what}")
    return COMMANDS[words[0]]


def run(module: str, words: list[str]) -> int:
    """A command with its words; what goes wrong while its modules are imported is no fault of theirs."""
    try:
        command = import_module(import_name(module))
    except BaseException as error:
        status = status_before_start(error)
        tell(error, status)
        return status
    return command.main(words)

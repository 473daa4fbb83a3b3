"""What a planted bug is: one piece of one source file, a few tokens of it changed, so that the result is wrong."""

from dataclasses import dataclass

# The fourth entry of a bug that the default noise sweep could notice.
SWEEP = True


@dataclass(frozen=True)
class Bug:
    """One planted bug.

    Attributes:
        name: unique; selects it (``-k NAME``) and names its results.
        path: the source file, from the project's root.
        old: text that occurs exactly once in the file; ``new`` takes its place.
        tests: test files that are asked first, quickest first.
        sweep: the default noise sweep runs the line and could tell: its numbers come out differently, or the line is
            part of what judges them.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
    sweep: bool = False


class StaleBugError(ValueError):
    """The text that a bug replaces does not occur exactly once: the bug has to be written anew."""


def bugs_in(path: str, tests: str, *entries: tuple) -> tuple[Bug, ...]:
    """The bugs of one source file, entries (name, old, new) or (name, old, new, SWEEP).

    Args:
        tests: names of test files below tests/, separated by spaces, without test_ and .py: "theory/persistence".
    """
    places = [("tests/" + name).rpartition("/") for name in tests.split()]
    files = tuple(f"{folder}/test_{name}.py" for folder, _, name in places)
    return tuple(Bug(name, path, old, new, files, bool(rest)) for name, old, new, *rest in entries)


def with_bug(source: str, bug: Bug) -> str:
    """The source with the bug in it.

    Raises:
        StaleBugError: the text to replace occurs not at all, or more than once.
    """
    found = source.count(bug.old)
    if found != 1:
        raise StaleBugError(f"{bug.name}: {bug.path} has {found} places that read {bug.old!r}; there must be exactly 1")
    return source.replace(bug.old, bug.new)

"""What tests of command lines share."""

from collections.abc import Callable


def status_of(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """A command's exit status, however it ends."""
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code


def disk_that_fills(write: Callable, room: int = 8) -> Callable:
    """``write`` (path, data) that works ``room`` times and then finds no space left."""
    calls = []

    def nearly_full(path, data):
        calls.append(path)
        if len(calls) > room:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    return nearly_full

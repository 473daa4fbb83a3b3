"""Runs a command for as long as its starter holds the other end of standard input: ``python leash.py COMMAND ...``.

When standard input ends (the starter closed it, died, or was killed) the command and everything it started in its
process group is interrupted, and killed if that does not end it. Exit status: the command's own, 128 + n after signal
n.
"""

import os
import signal
import subprocess
import sys
import threading
import time

# Seconds between asking a process group to end and making it.
GRACE = 10.0


def end_group(group: int) -> None:
    """Interrupt a process group, then kill it; one that is gone already is left alone."""
    for number, patience in ((signal.SIGINT, GRACE), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(group, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def main(command: list[str]) -> int:
    """Run the command; return its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def watch() -> None:
        # Not by way of sys.stdin, whose lock this thread would hold when the interpreter ends.
        while os.read(0, 4096):
            pass
        end_group(process.pid)

    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    # Whatever the command left running.
    end_group(process.pid)
    process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The bench: every planted bug asked for, its outcome kept at once, and the table of all outcomes.

A folder holds one small file an outcome, so that a bench that was interrupted goes on where it was, and table.csv and
table.txt, which are rewritten after each. Several processes may share it (pytest-xdist). Outcomes count for the code
that they were found on: where any source or test has changed since, the bug is asked for again.
"""

import csv
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from tests.mutants.bugs import Bug
from tests.mutants.engine import (
    LEFT_OUT,
    PARTS,
    Outcome,
    SoundSweep,
    SoundTests,
    ask_sweep,
    ask_tests,
    time_sweep,
    time_tests,
)
from theory.numerics.whole_files import write_whole

# Where outcomes are kept, unless the environment variable names another folder.
FOLDER, FOLDER_VARIABLE = "runs/mutants", "MUTANTS_OUT"
COLUMNS = ("name", "path", "tests", "tests_by", "sweep", "sweep_by")


def folder_of(root: Path) -> Path:
    """The bench's folder of a project."""
    return Path(os.environ.get(FOLDER_VARIABLE) or root / FOLDER)


class Bench:
    """Outcomes of planted bugs in one folder.

    Args:
        root: the project.
        folder: made if need be.
        bugs: all there are; the table has a row for each.
    """

    def __init__(self, root: Path, folder: Path, bugs: tuple[Bug, ...]) -> None:
        self.root, self.folder, self.bugs = root, folder, bugs
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def code(self) -> str:
        """A fingerprint of all that is copied."""
        digest = hashlib.sha256()
        files = [path for part in PARTS for path in (self.root / part, *(self.root / part).rglob("*"))]
        for path in sorted(files):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and path.suffix in (".py", ".toml", ".j2", ".mplstyle") and not name.startswith(LEFT_OUT):
                digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def tests_notice(self, bug: Bug) -> Outcome:
        """Ask the tests, or read what they said before."""
        return self._ask("tests", bug, lambda: ask_tests(self.root, bug, self.sound_tests))

    def sweep_notices(self, bug: Bug) -> Outcome:
        """Ask the default noise sweep, or read what it said before."""
        return self._ask("sweep", bug, lambda: ask_sweep(self.root, bug, self.sound_sweep))

    def sound_tests(self, files: tuple[str, ...] = ("tests",)) -> SoundTests:
        """Tests of some files on sound code, by default of all; one process runs them, the others wait for it."""
        which = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
        return SoundTests(**self._once(f"sound-tests-{which}", lambda: asdict(time_tests(self.root, files))))

    @cached_property
    def sound_sweep(self) -> SoundSweep:
        """The sweep on sound code, likewise."""
        stored = self._once("sound-sweep", lambda: asdict(time_sweep(self.root)))
        return SoundSweep(tuple(tuple(pair) for pair in stored["verdicts"]), stored["seconds"])

    def _once(self, name: str, find: Callable[[], dict]) -> dict:
        with self._lock(name):
            stored = self._read(name, None)
            if stored is None:
                stored = find()
                self._write(name, {"code": self.code, **stored})
        return {key: value for key, value in stored.items() if key != "code"}

    def _ask(self, question: str, bug: Bug, ask: Callable[[], Outcome]) -> Outcome:
        name = f"{question}-{bug.name}"
        stored = self._read(name, bug)
        if stored is None:
            stored = {"code": self.code, "old": bug.old, "new": bug.new, **asdict(ask())}
            self._write(name, stored)
            self.write_tables()
        return Outcome(**{key: stored[key] for key in ("noticed", "by", "seconds")})

    def _read(self, name: str, bug: Bug | None) -> dict | None:
        """What is stored, if it was found on this code (and with this bug)."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        stored = json.loads(path.read_text(encoding="utf-8"))
        same = stored["code"] == self.code and (bug is None or (stored["old"], stored["new"]) == (bug.old, bug.new))
        return stored if same else None

    def _write(self, name: str, values: dict) -> None:
        write_whole(self.folder / f"{name}.json", (json.dumps(values, indent=1) + "\n").encode())

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        # Let go by the system when its holder ends, however that happens.
        with (self.folder / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def rows(self) -> list[dict]:
        """One row a bug: yes, no, "" where it was not asked for on this code, "-" where the sweep runs no such line."""
        rows = []
        for bug in self.bugs:
            row = {"name": bug.name, "path": bug.path}
            for question in ("tests", "sweep"):
                stored = self._read(f"{question}-{bug.name}", bug)
                row[question] = "" if stored is None else "yes" if stored["noticed"] else "no"
                row[f"{question}_by"] = "" if stored is None else stored["by"]
            rows.append(row if bug.sweep else {**row, "sweep": "-"})
        return rows

    def write_tables(self) -> None:
        """table.csv and table.txt."""
        with self._lock("table"):
            rows = self.rows()
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            write_whole(self.folder / "table.csv", text.getvalue().encode())
            write_whole(self.folder / "table.txt", readable(rows).encode())


def readable(rows: list[dict]) -> str:
    """The table for people: every bug, then the totals of every package and of all."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'planted bug':<{width}}  tests  sweep  file, and what noticed it"]
    for row in rows:
        by = "; ".join(row[f"{question}_by"] for question in ("tests", "sweep") if row[f"{question}_by"])
        lines.append(f"{row['name']:<{width}}  {row['tests']:<5}  {row['sweep']:<5}  {row['path']}  {by}".rstrip())
    packages = dict.fromkeys(row["path"].split("/")[0] for row in rows)
    lines += ["", f"{'noticed of those asked for':<{width}}  by the tests      by the sweep"]
    for package in (*packages, "all"):
        part = [row for row in rows if package in ("all", row["path"].split("/")[0])]
        lines.append(f"{package:<{width}}  {_share(part, 'tests'):<16}  {_share(part, 'sweep')}".rstrip())
    return "\n".join(lines) + "\n"


def _share(rows: list[dict], question: str) -> str:
    asked = [row[question] for row in rows if row[question] in ("yes", "no")]
    if not asked:
        return "-"
    return f"{asked.count('yes')} of {len(asked)} ({asked.count('yes') / len(asked):.1%})"

"""One run folder, held against its manifest, and its verdicts against those that follow from its rows again."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from figures.run_folder import parse_table, read_table
from models.environment import code_digest
from models.run_folder import ENVIRONMENT, is_vacant
from synthetic.integrity.kinds import KINDS, VERDICTS, Kind
from theory.numerics.locks import holder
from theory.numerics.manifest import discrepancies, has_manifest
from theory.numerics.whole_files import DamagedFileError, GrowingTable, read_json, to_plain

TASK = "task.json"


class State(Enum):
    """What can be said of a folder."""

    WHOLE = "whole"
    BROKEN = "not whole"
    NO_RUN = "no run folder"
    IN_USE = "in use"


@dataclass(frozen=True)
class Found:
    """What was found in a folder; ``words`` say it in one line, without the folder's name."""

    state: State
    words: str


def look_at(folder: Path) -> Found:
    """Whether the folder, and the run folders in it, are whole. Nothing is written."""
    if not folder.is_dir():
        return Found(State.NO_RUN, "there is no such folder")
    if not has_manifest(folder):
        return Found(State.NO_RUN, "no run folder, or one of an earlier version: it has no manifest.json that is ours")
    try:
        user = holder(folder)
        if user is not None:
            return Found(State.IN_USE, f"in use by process {user}; look again when it has ended")
        found = _one(folder)
        inside = {path: _one(path) for path in _folders_in(folder)}
    except OSError as error:
        return Found(State.BROKEN, f"cannot be read ({error})")
    broken = [f"{path.relative_to(folder)}: {each.words}" for path, each in inside.items()
              if each.state is not State.WHOLE]  # fmt: skip
    if broken:
        own = [found.words] if found.state is not State.WHOLE else []
        return Found(State.BROKEN, "; ".join([*own, *broken]))
    return replace(found, words=found.words + (f"; so are {len(inside)} folders in it" if inside else ""))


def _folders_in(folder: Path) -> list[Path]:
    """Run folders inside another, tasks and claims among them; hidden ones are under way, or left by a killed run."""
    rooms = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    found = [path for path in rooms if has_manifest(path)]
    for room in (path for path in rooms if path not in found):
        found += [path for path in sorted(room.iterdir())
                  if path.is_dir() and not path.name.startswith(".") and has_manifest(path)]  # fmt: skip
    return found


def _one(folder: Path) -> Found:
    try:
        differing = discrepancies(folder)
    except DamagedFileError as error:
        return Found(State.BROKEN, str(error))
    complaints = [f"{', '.join(names)}: {why}" for names, why in (
        (differing.changed, "edited or damaged since the run wrote it"), (differing.missing, "missing"),
        (differing.foreign, "not of this run"),
    ) if names]  # fmt: skip
    if complaints:
        return Found(State.BROKEN, "; ".join(complaints))
    try:
        return _contents(folder)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        # All files are as they were written: an earlier version wrote them in another way.
        words = f"as the run left it, but cannot be worked out again ({type(error).__name__}: {error})"
        return Found(State.BROKEN, words)


def kind_of(folder: Path) -> tuple[Kind, dict] | None:
    """The kind of a run folder and its settings; None where it is of no kind that is known.

    Raises:
        DamagedFileError: the settings are damaged.
    """
    found = []
    for kind in KINDS:
        if (folder / kind.file).exists():
            config = read_json(folder / kind.file)
            if kind.settings <= set(config):
                found.append((len(kind.settings), kind, config))
    return max(found, key=lambda each: each[0])[1:] if found else None


def _contents(folder: Path) -> Found:
    known = kind_of(folder)
    if known is None:
        if is_vacant(folder, ("config.json", ENVIRONMENT)):
            return Found(State.NO_RUN, "a run was stopped here before it began; for a new one the folder is empty")
        # Such as a task's folder that holds tables alone.
        return Found(State.WHOLE, "whole, of a kind that is not known here")
    kind, config = known

    def table(name: str) -> list[dict]:
        path = folder / f"{name}.csv"
        return read_table(path).to_dict("records") if path.exists() else []

    rows = 0 if kind.rows is None else len(table(kind.rows))
    count = f", {rows} row{'s' if rows > 1 else ''}" if rows else ""
    unlisted = kind.check(folder)
    if unlisted:
        return Found(State.BROKEN, "; ".join(unlisted))
    if not ((folder / TASK).exists() or ((folder / kind.last).exists() and kind.finished(config, table))):
        return Found(State.WHOLE, f"whole, not finished: {kind.name}{count}")
    again = kind.again(config, table, folder)
    complaints = list(again.complaints)
    stored = _stored_verdicts(folder)
    derived = [to_plain(verdict) for verdict in again.verdicts]
    names = {verdict["statement"] for verdict in derived}
    for verdict in derived:
        if verdict not in stored:
            told = [str(each.get("status")) for each in stored if each.get("statement") == verdict["statement"]]
            words = f"{' and '.join(told) or 'not there'}, and by the rows {verdict['status']} ({verdict['detail']})"
            complaints.append(f"{VERDICTS}: {verdict['statement']} is {words}")
    for name, derived_rows in (again.tables or {}).items():
        path = folder / f"{name}.csv"
        # By value: a whole number may be written as a float.
        made = parse_table(GrowingTable(path).text(derived_rows))
        if not path.exists() or not read_table(path).equals(made):
            complaints.append(f"{path.name}: is not what follows from the rows")
    if complaints:
        return Found(State.BROKEN, "; ".join([*complaints, *_other_code(folder)]))
    return Found(State.WHOLE, f"whole, finished: {kind.name}{count}{_told(derived, stored, names)}")


def _other_code(folder: Path) -> list[str]:
    """What follows from the rows depends on the rules of the version that wrote it."""
    runs = read_json(folder / ENVIRONMENT).get("runs", []) if (folder / ENVIRONMENT).exists() else []
    if all(start.get("code") == code_digest() for start in runs):
        return []
    return ["another version of the code took part in the run, and its rules may have been others"]


def _stored_verdicts(folder: Path) -> list[dict]:
    path = folder / VERDICTS
    return json.loads(path.read_bytes()) if path.exists() else []


def _told(derived: list[dict], stored: list[dict], names: set[str]) -> str:
    counts = Counter(verdict["status"] for verdict in derived)
    searched = sum(verdict["statement"] not in names for verdict in stored)
    parts = []
    if derived:
        parts.append("its verdicts follow from the rows: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    if searched:
        parts.append(f"{searched} verdicts are of searches, which leave no rows")
    return "".join(f"; {part}" for part in parts)
